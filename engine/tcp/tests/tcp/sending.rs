//! Control PDUs and Data-In: framing, order, resumption, back-pressure (hostile-input class R2).
use crate::support::*;
use iscsi::datamover::{DataStatus, Datamover, FinalStatus, Later, PutData};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, DataIn, NopIn, Opcode};
use iscsi_tcp::Limits;
use primitives::Serial;

fn nop(itt: u32) -> Bhs {
    NopIn { itt, ..NopIn::default() }.encode()
}

fn small() -> Parameters {
    Parameters { initiator_max_recv: 1024, max_burst: 2048, ..parameters() }
}

fn done(index: u16, bytes: Vec<u8>) -> Event {
    Event::Done { tag: tag(index), bytes, status: DataStatus::Ok }
}

#[test]
fn a_put_is_split_numbered_and_ended() {
    let mut rig = Rig::enabled(&small());
    let all = bytes(5001);
    let status = FinalStatus { status: 0, stat_sn: Serial(55), residual_flags: 2, residual: 7 };
    let put = PutData { data_sn: 4, status: Some(status), ..rig.put(tag(1), 0x77, &all) };
    assert_eq!(rig.tcp.put_data(put).unwrap(), 9);
    assert!(!rig.tcp.is_flushed());
    assert_eq!(rig.settle(), [done(1, all.clone())]);
    assert!(rig.tcp.is_flushed());
    let sent = rig.sent();
    let pdus: Vec<DataIn> = sent.iter().map(|pdu| DataIn::decode(&pdu.bhs)).collect();
    for (header, pdu) in pdus.iter().zip(&sent) {
        assert_eq!(pdu.data, all[header.buffer_offset as usize..][..pdu.data.len()]);
    }
    let finals: Vec<bool> = pdus.iter().map(|p| p.final_bit).collect();
    assert_eq!(finals, [false, true, false, true, true], "F at each burst and at the end");
    assert!(pdus.iter().enumerate().all(|(i, p)| p.data_sn == Serial(4 + i as u32) && p.itt == 0x77));
    let (last, others) = pdus.split_last().unwrap();
    assert!(others.iter().all(|p| !p.has_status && p.stat_sn == Serial(0)));
    assert!(last.has_status && last.underflow && !last.overflow);
    assert_eq!((last.stat_sn, last.residual, last.max_cmd_sn), (Serial(55), 7, Serial(41)));
    rig.finish();
}

#[test]
fn a_put_in_the_middle_of_a_buffer_sends_only_its_bytes() {
    let mut rig = Rig::enabled(&parameters());
    let put = rig.put(tag(1), 1, &bytes(100));
    let put = PutData { start: 10, len: 21, offset: 512, last: false, ..put };
    rig.tcp.put_data(put).unwrap();
    rig.settle();
    let sent = rig.sent();
    let pdu = DataIn::decode(&sent[0].bhs);
    assert_eq!((sent.len(), &sent[0].data[..], pdu.buffer_offset), (1, &bytes(100)[10..31], 512));
    assert!(!pdu.final_bit, "more of the task's data follows");
    rig.finish();
}

#[test]
fn a_status_needs_no_data() {
    let mut rig = Rig::enabled(&parameters());
    let status = FinalStatus { status: 8, stat_sn: Serial(1), residual_flags: 0, residual: 0 };
    let put = PutData { status: Some(status), ..rig.put(tag(1), 1, &[]) };
    assert_eq!(rig.tcp.put_data(put).unwrap(), 1);
    assert_eq!(rig.settle(), [done(1, vec![])]);
    let pdu = DataIn::decode(&rig.sent()[0].bhs);
    assert!(pdu.has_status && pdu.final_bit && pdu.status == 8);
    rig.finish();
}

#[test]
#[should_panic(expected = "meaningful")]
fn d1_bytes_that_were_never_written_are_not_sent() {
    let mut rig = Rig::enabled(&parameters());
    let put = PutData { data: rig.pool.take(100), len: 100, ..rig.put(tag(1), 1, &[]) };
    let _ = rig.tcp.put_data(put);
}

#[test]
fn everything_queued_goes_out_in_one_call_and_in_order() {
    let mut rig = Rig::enabled(&parameters());
    for i in 0..20u16 {
        rig.tcp.send_control(&nop(u32::from(i)), &bytes(usize::from(i))).unwrap();
        let put = rig.put(tag(i), 100 + u32::from(i), &bytes(4096));
        rig.tcp.put_data(put).unwrap();
    }
    rig.tcp.flush();
    assert_eq!(rig.pipe.0.borrow().writes, 1);
    let sent = rig.sent();
    let itts: Vec<u32> = sent.iter().map(|p| p.bhs.itt()).collect();
    assert_eq!(itts, (0..20).flat_map(|i| [i, 100 + i]).collect::<Vec<_>>());
    assert!(sent.iter().step_by(2).enumerate().all(|(i, p)| p.data == bytes(i)));
    assert_eq!(rig.drain().len(), 20);
    rig.finish();
}

#[test]
fn a_flush_makes_at_most_two_calls() {
    let mut rig = Rig::enabled(&small());
    let put = rig.put(tag(1), 1, &bytes(400 * 1024));
    rig.tcp.put_data(put).unwrap();
    rig.tcp.flush();
    assert_eq!(rig.pipe.0.borrow().writes, 2);
    assert!(!rig.tcp.is_flushed() && !rig.tcp.wants_write(), "the rest is for the next turn, not for EPOLLOUT");
    assert_eq!(rig.settle(), [done(1, bytes(400 * 1024))]);
    rig.finish();
}

#[test]
fn r2_every_partial_write_resumes_at_the_next_byte() {
    for digest in [false, true] {
        for size in (1..120).chain([1000, 1071, 1072, 1073]) {
            let mut rig = Rig::enabled(&Parameters { header_digest: digest, data_digest: digest, ..small() });
            rig.pipe.0.borrow_mut().write_sizes = [size].into();
            let put = rig.put(tag(1), 1, &bytes(2101));
            rig.tcp.send_control(&nop(0), &bytes(7)).unwrap();
            rig.tcp.put_data(put).unwrap();
            rig.tcp.send_control(&nop(2), &bytes(9)).unwrap();
            assert_eq!(rig.settle(), [done(1, bytes(2101))]);
            let sent = rig.sent();
            assert_eq!(sent.iter().map(|p| p.data.len()).collect::<Vec<_>>(), [7, 1024, 1024, 53, 9]);
            let data: Vec<u8> = sent[1..4].iter().flat_map(|p| p.data.clone()).collect();
            assert_eq!(data, bytes(2101));
            rig.finish();
        }
    }
}

#[test]
fn a_put_comes_back_only_after_its_last_byte() {
    let mut rig = Rig::enabled(&parameters());
    let put = rig.put(tag(1), 1, &bytes(1001));
    rig.tcp.put_data(put).unwrap();
    rig.pipe.0.borrow_mut().write_room = Some(48 + 1003);
    assert_eq!(rig.settle(), []);
    assert!(rig.tcp.wants_write(), "one byte of padding is left");
    rig.pipe.0.borrow_mut().write_room = None;
    assert_eq!(rig.settle(), [done(1, bytes(1001))]);
    assert!(!rig.tcp.wants_write());
    rig.finish();
}

#[test]
fn r2_a_peer_that_does_not_read_is_met_with_refusals() {
    let limits = Limits { jobs: 8, control_reserve: 3, puts: 4, ..Limits::default() };
    let mut rig = Rig::with(limits);
    rig.enable(&parameters());
    rig.pipe.0.borrow_mut().write_room = Some(0);
    for i in 0..4 {
        let put = rig.put(tag(i), 1, &bytes(10));
        rig.tcp.put_data(put).unwrap();
    }
    let put = rig.put(tag(9), 1, &bytes(10));
    let refused = rig.tcp.put_data(put).expect_err("no put is left");
    assert_eq!((refused.tag, refused.data.filled()), (tag(9), &bytes(10)[..]));
    rig.tcp.send_control(&nop(1), &[]).unwrap();
    let get = rig.get(tag(8), 8, 0, 10);
    let get = rig.tcp.get_data(get).expect_err("an R2T may not use the reserve");
    for _ in 0..3 {
        rig.tcp.send_control(&nop(1), &[]).unwrap();
    }
    assert_eq!(rig.tcp.send_control(&nop(1), &[]), Err(Later));
    rig.pool.give(get.sink);
    rig.pipe.0.borrow_mut().write_room = None;
    assert_eq!(rig.settle().len(), 4);
    assert_eq!(rig.tcp.put_data(refused).unwrap(), 1);
    assert_eq!(rig.settle(), [done(9, bytes(10))]);
    assert_eq!(rig.sent().len(), 9);
    rig.finish();
}

#[test]
fn r1_operations_wait_while_too_many_ends_are_unread() {
    let mut rig = Rig::with(Limits { puts: 2, gets: 1, ..Limits::default() });
    for i in 0..3 {
        let put = rig.put(tag(i), 1, &bytes(10));
        rig.tcp.put_data(put).unwrap();
        rig.tcp.flush();
    }
    let put = rig.put(tag(9), 1, &bytes(10));
    let put = rig.tcp.put_data(put).expect_err("three ends are unread");
    assert_eq!(rig.drain().len(), 3);
    rig.tcp.put_data(put).unwrap();
    assert_eq!(rig.settle(), [done(9, bytes(10))]);
    rig.finish();
}

#[test]
fn r1_control_data_without_room_is_refused_whole() {
    let mut rig = Rig::with(Limits { arena: 8192, ..Limits::default() });
    rig.tcp.send_control(&Bhs::new(Opcode::LOGIN_RESPONSE), &bytes(5000)).unwrap();
    assert_eq!(rig.tcp.send_control(&Bhs::new(Opcode::LOGIN_RESPONSE), &bytes(5000)), Err(Later));
    rig.settle();
    rig.tcp.send_control(&Bhs::new(Opcode::LOGIN_RESPONSE), &bytes(5000)).unwrap();
    rig.settle();
    assert_eq!(rig.sent().iter().map(|p| p.data.len()).collect::<Vec<_>>(), [5000, 5000]);
    rig.finish();
}

#[test]
fn the_control_segment_limit_follows_the_peer() {
    let mut rig = Rig::new();
    assert_eq!(rig.tcp.control_segment_limit(), 8192);
    rig.enable(&Parameters { initiator_max_recv: 512, ..parameters() });
    assert_eq!(rig.tcp.control_segment_limit(), 512);
    rig.enable(&Parameters { initiator_max_recv: 1 << 20, ..parameters() });
    assert_eq!(rig.tcp.control_segment_limit(), 8192);
    rig.finish();
}

#[test]
fn nothing_to_send_is_no_call() {
    let mut rig = Rig::enabled(&parameters());
    rig.settle();
    assert_eq!(rig.pipe.0.borrow().writes, 0);
    rig.finish();
}
