//! Solicited data: R2T out, Data-Out in, order and bounds (hostile-input classes Q, X2, X3; RFC 7143 §11.7, §11.8).
use crate::support::*;
use iscsi::datamover::{DataStatus, Datamover, GetData, Upcall, Violation};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, DataOut, Opcode, R2t};
use iscsi_tcp::Limits;
use iscsi_tcp::limits::MAX_GETS;
use primitives::{Buf, Serial};
use std::ptr::NonNull;

fn done(index: u16, bytes: Vec<u8>) -> Event {
    Event::Done { tag: tag(index), bytes, status: DataStatus::Ok }
}

fn sequence_error(events: &[Event], index: u16) -> bool {
    matches!(events, [Event::Done { tag: t, status: DataStatus::SequenceError, .. }] if *t == tag(index))
}

#[test]
fn an_r2t_says_what_the_get_said() {
    let mut rig = Rig::enabled(&parameters());
    let get = GetData { r2t_sn: 3, ..rig.get(tag(1), 0xABCD, 8192, 65_536) };
    rig.tcp.get_data(get).unwrap();
    rig.tcp.flush();
    let r2t = R2t::decode(&rig.sent()[0].bhs);
    assert_ne!(r2t.ttt, u32::MAX);
    let expected = R2t {
        lun: LUN,
        itt: 0xABCD,
        ttt: r2t.ttt,
        stat_sn: Serial(100),
        exp_cmd_sn: Serial(10),
        max_cmd_sn: Serial(41),
        r2t_sn: Serial(3),
        buffer_offset: 8192,
        desired_length: 65_536,
    };
    assert_eq!(r2t, expected);
    rig.finish();
}

#[test]
fn a_sequence_of_pdus_fills_the_sink() {
    for digest in [false, true] {
        let mut rig = Rig::enabled(&Parameters { header_digest: digest, data_digest: digest, ..parameters() });
        let ttt = rig.solicit(tag(1), 9, 4096, 20_001);
        let all = bytes(20_001);
        rig.arrive_pdu(&data_out(9, ttt, 0, 4096, false), &all[..8192]);
        rig.arrive_pdu(&data_out(9, ttt, 1, 12_288, false), &[]);
        rig.arrive_pdu(&data_out(9, ttt, 2, 12_288, true), &all[8192..]);
        assert_eq!(rig.settle(), [done(1, all)]);
        rig.finish();
    }
}

#[test]
fn transfers_interleave() {
    let mut rig = Rig::enabled(&parameters());
    let a = rig.solicit(tag(1), 1, 0, 200);
    let b = rig.solicit(tag(2), 2, 0, 100);
    rig.arrive_pdu(&data_out(1, a, 0, 0, false), &bytes(100));
    rig.arrive_pdu(&data_out(2, b, 0, 0, true), &bytes(100));
    rig.arrive_pdu(&data_out(1, a, 1, 100, true), &bytes(200)[100..]);
    assert_eq!(rig.settle(), [done(2, bytes(100)), done(1, bytes(200))]);
    rig.finish();
}

#[test]
fn q_whatever_breaks_the_order_ends_the_get() {
    let good = |ttt| DataOut::decode(&data_out(9, ttt, 0, 4096, true));
    type Spoil = (&'static str, fn(&mut DataOut), usize);
    let cases: [Spoil; 9] = [
        ("DataSN skipped", |p| p.data_sn = Serial(1), 100),
        ("offset before", |p| p.buffer_offset = 0, 100),
        ("offset behind", |p| p.buffer_offset += 4, 100),
        ("offset that wraps", |p| p.buffer_offset = u32::MAX - 50, 100),
        ("one byte too many", |_| {}, 101),
        ("too few with F", |_| {}, 99),
        ("all without F", |p| p.final_bit = false, 100),
        ("ITT of another task", |p| p.itt = 10, 100),
        ("LUN of another unit", |p| p.lun = [0; 8], 100),
    ];
    for (what, spoil, len) in cases {
        let mut rig = Rig::enabled(&parameters());
        let ttt = rig.solicit(tag(1), 9, 4096, 100);
        let mut pdu = good(ttt);
        spoil(&mut pdu);
        rig.arrive_pdu(&pdu.encode(), &bytes(len));
        let events = rig.settle();
        assert!(sequence_error(&events, 1), "{what}: {events:?}");
        // The rest of the sequence is late data, and the connection goes on.
        rig.arrive_pdu(&good(ttt).encode(), &bytes(100));
        rig.arrive_pdu(&Bhs::new(Opcode::NOP_OUT), b"next");
        assert!(matches!(&rig.settle()[..], [Event::Control { data, .. }] if data == b"next"), "{what}");
        assert_eq!(rig.tcp.stats().late, 1, "{what}");
        rig.finish();
    }
}

#[test]
fn q_a_data_sn_that_repeats_ends_the_get() {
    let mut rig = Rig::enabled(&parameters());
    let ttt = rig.solicit(tag(1), 9, 0, 100);
    rig.arrive_pdu(&data_out(9, ttt, 0, 0, false), &bytes(50));
    rig.arrive_pdu(&data_out(9, ttt, 0, 50, true), &bytes(50));
    assert!(sequence_error(&rig.settle(), 1));
    rig.finish();
}

#[test]
fn q_data_beyond_the_r2t_is_late() {
    let mut rig = Rig::enabled(&parameters());
    let ttt = rig.solicit(tag(1), 9, 0, 100);
    rig.arrive_pdu(&data_out(9, ttt, 0, 0, true), &bytes(100));
    rig.arrive_pdu(&data_out(9, ttt, 1, 100, true), &bytes(20_000));
    assert_eq!(rig.settle(), [done(1, bytes(100))]);
    assert_eq!(rig.tcp.stats().late, 1);
    rig.finish();
}

#[test]
fn q_a_stale_tag_does_not_reach_the_next_transfer_in_its_slot() {
    let mut rig = Rig::enabled(&parameters());
    let old = rig.solicit(tag(1), 9, 0, 100);
    rig.tcp.release_task(tag(1));
    let new = rig.solicit(tag(2), 10, 0, 100);
    assert_ne!(old, new);
    assert_eq!(old & (MAX_GETS as u32 - 1), new & (MAX_GETS as u32 - 1), "the same slot");
    rig.arrive_pdu(&data_out(9, old, 0, 0, true), &[0xEE; 100]);
    rig.arrive_pdu(&data_out(10, new, 0, 0, true), &bytes(100));
    let events = rig.settle();
    assert!(matches!(events[0], Event::Done { status: DataStatus::Released, .. }), "{events:?}");
    assert_eq!(events[1..], [done(2, bytes(100))]);
    assert_eq!(rig.tcp.stats().late, 1);
    rig.finish();
}

#[test]
fn x3_a_tag_that_was_never_made_is_a_violation() {
    let limits = Limits { gets: 4, ..Limits::default() };
    for index in [4u32, 100, MAX_GETS as u32 - 1] {
        let mut rig = Rig::with(limits);
        rig.enable(&parameters());
        rig.arrive_pdu(&data_out(9, index, 0, 0, true), &bytes(10));
        assert_eq!(rig.settle(), [Event::Violation(Violation::UnexpectedData)]);
        rig.finish();
    }
}

#[test]
fn x2_data_for_a_task_that_has_none_is_late() {
    let mut rig = Rig::enabled(&parameters());
    rig.arrive_pdu(&data_out(9, 0, 0, 0, true), &bytes(10));
    rig.arrive_pdu(&data_out(9, u32::MAX, 0, 0, true), &bytes(10));
    assert_eq!(rig.settle(), []);
    assert_eq!(rig.tcp.stats().late, 2);
    rig.finish();
}

#[test]
fn p_data_out_before_full_feature_phase_is_a_violation() {
    for ttt in [0, u32::MAX] {
        let mut rig = Rig::new();
        rig.arrive_pdu(&data_out(9, ttt, 0, 0, true), &bytes(10));
        assert_eq!(rig.settle(), [Event::Violation(Violation::UnexpectedData)]);
        rig.finish();
    }
}

#[test]
fn l6_a_wrong_data_digest_ends_the_get() {
    let mut rig = Rig::enabled(&Parameters { data_digest: true, ..parameters() });
    let ttt = rig.solicit(tag(1), 9, 0, 30_000);
    let mut wire = rig.peer.frame(&data_out(9, ttt, 0, 0, true), &[], &bytes(30_000));
    wire[20_000] ^= 1;
    rig.pipe.0.borrow_mut().read_sizes = [10_000].into();
    rig.arrive(&wire);
    let events = rig.settle();
    assert!(matches!(events[..], [Event::Done { status: DataStatus::DigestError(_), .. }]), "{events:?}");
    rig.finish();
}

#[test]
fn a_large_payload_goes_straight_into_its_sink() {
    let mut rig = Rig::enabled(&parameters());
    let all = bytes(256 * 1024);
    let ttt = rig.solicit(tag(1), 9, 0, all.len() as u32);
    rig.arrive_pdu(&data_out(9, ttt, 0, 0, true), &all);
    assert_eq!(rig.turn(), []);
    assert_eq!(rig.turn(), [done(1, all)]);
    assert!(rig.pipe.0.borrow().last_read[0] > 250_000, "the rest of the payload, in one call");
    let counts = rig.tcp.stats().received;
    assert_eq!((counts.calls, counts.direct + counts.copied), (2, 256 * 1024));
    assert!(counts.copied < 512, "{counts:?}");
    rig.finish();
}

#[test]
fn what_is_bound_for_cold_memory_is_staged() {
    let mut rig = Rig::enabled(&parameters());
    // Another large payload is expected meanwhile, which is not to be staged.
    rig.solicit(tag(2), 8, 0, 60_000);
    let all = bytes(256 * 1024);
    let mut memory = vec![0xdb; all.len()];
    let mut get = rig.get(tag(1), 9, 0, all.len() as u32);
    // SAFETY: the memory lives to the end of the test, and this thread alone looks.
    let cold = unsafe { Buf::from_cold(NonNull::new(memory.as_mut_ptr()).unwrap(), all.len() as u32) };
    rig.pool.give(std::mem::replace(&mut get.sink, cold));
    rig.tcp.get_data(get).unwrap();
    rig.tcp.flush();
    let ttt = rig.sent().last().unwrap().bhs.ttt();
    rig.arrive_pdu(&data_out(9, ttt, 0, 0, true), &all);
    let mut reads = Vec::new();
    let done = loop {
        if let Some(upcall) = rig.tcp.poll() {
            break upcall;
        }
        assert!(rig.tcp.receive());
        reads.push(rig.pipe.0.borrow().last_read[0]);
    };
    assert!(matches!(done, Upcall::DataDone { status: DataStatus::Ok, ref buf, .. } if buf.len() == all.len()));
    assert_eq!((rig.tcp.stats().received.direct, memory == all), (0, true));
    assert!(reads[1..].iter().all(|read| *read <= 64 * 1024) && reads.len() < 8, "{reads:?}");
    rig.finish();
}

#[test]
fn after_a_large_payload_the_next_is_not_staged() {
    let mut rig = Rig::enabled(&parameters());
    rig.claim = Some(tag(1));
    let mut copied = Vec::new();
    for itt in 0..3 {
        rig.arrive_pdu(&write_command(itt, true), &bytes(60_000));
        rig.settle();
        copied.push(rig.tcp.stats().received.copied);
    }
    assert!(copied[2] - copied[0] < 1024, "{copied:?}");
    // Small PDUs end that, and arrive in batches again.
    for _ in 0..20 {
        rig.arrive_pdu(&Bhs::new(Opcode::NOP_OUT), &[]);
    }
    rig.settle();
    assert!(rig.pipe.0.borrow().last_read[0] > 60_000);
    rig.finish();
}

#[test]
fn a_large_payload_is_expected_only_while_its_get_is_active() {
    let mut rig = Rig::enabled(&parameters());
    rig.solicit(tag(1), 1, 0, 40_000);
    rig.turn();
    assert!(rig.pipe.0.borrow().last_read[0] <= 512);
    rig.tcp.release_task(tag(1));
    rig.turn();
    assert!(rig.pipe.0.borrow().last_read[0] > 60_000);
    rig.finish();
}

#[test]
fn small_payloads_arrive_many_to_a_call() {
    let mut rig = Rig::enabled(&parameters());
    for i in 0..15u16 {
        let ttt = rig.solicit(tag(i), u32::from(i), 0, 4096);
        rig.arrive_pdu(&data_out(u32::from(i), ttt, 0, 0, true), &bytes(4096));
    }
    let events = rig.turn();
    assert_eq!(events, (0..15).map(|i| done(i, bytes(4096))).collect::<Vec<_>>());
    assert_eq!(rig.tcp.stats().received.calls, 1);
    rig.finish();
}

#[test]
fn r1_a_full_table_gives_the_get_back() {
    let mut rig = Rig::with(Limits { gets: 2, ..Limits::default() });
    rig.enable(&parameters());
    let ttt = rig.solicit(tag(1), 1, 0, 10);
    rig.solicit(tag(2), 2, 0, 10);
    let get = rig.get(tag(3), 3, 0, 10);
    let get = rig.tcp.get_data(get).expect_err("the table is full");
    rig.arrive_pdu(&data_out(1, ttt, 0, 0, true), &bytes(10));
    assert_eq!(rig.settle(), [done(1, bytes(10))]);
    rig.tcp.get_data(get).expect("a slot is free");
    rig.finish();
}
