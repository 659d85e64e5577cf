//! What goes over the wire, and what comes of it.

use crate::support::*;
use initiator::session::{Completion, Event, Outcome, Residual, Why, status};
use initiator::transport::{Data, Transport};
use initiator::{Arena, Options};
use iscsi::wire::{NopIn, NopOut, Opcode, RESERVED_TAG, ScsiResponse, TmfRequest, TmfResponse, function};

type InfiniBand = Loopback<false>;
type Iwarp = Loopback<true>;

pub fn completed<F: Fabric>(rig: &mut Rig<F>) -> Completion {
    match rig.event() {
        Event::Completed(completion) => completion,
        other => panic!("{other:?}"),
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 7) >> 3) as u8).collect()
}

/// The connection request, the login and its keys are as Linux has them.
#[test]
fn connects_and_logs_in_like_linux() {
    let mut rig = Rig::<Iwarp>::new(&options());
    let first = rig.request();
    let asked = rig.target.asked.as_ref().unwrap();
    assert_eq!(asked.private.as_slice()[..4], [0x80, 0, 0, 0]);
    assert!(asked.depth.ird > 0);
    assert!(first.write.is_none() && first.read.is_none());
    rig.target.answer_login(&first);
    let second = rig.request();
    let keys = String::from_utf8(second.data.clone()).unwrap();
    for key in [
        "RDMAExtensions=Yes",
        "TargetRecvDataSegmentLength=8192",
        "InitiatorRecvDataSegmentLength=512",
        "HeaderDigest=None",
    ] {
        assert!(keys.contains(key), "{keys}");
    }
    assert!(!keys.contains("iSERHelloRequired") && !keys.contains("MaxRecvDataSegmentLength=6"), "{keys}");
    rig.target.answer_login(&second);
    let Event::LoggedIn(agreed) = rig.event() else { panic!() };
    assert_eq!((agreed.max_send_segment, agreed.max_recv_segment), (8192, 512));
    assert_eq!(rig.session().transport().name(), "iser/test");
    rig.finish();
}

/// A read advertises exactly its bytes; the response closes the window and says how many came.
fn reads<F: Fabric>(invalidate: bool) {
    let mut rig = Rig::<F>::logged_in();
    let mut arena = rig.arena(1, 8192);
    let bytes = pattern(5000);
    for short in [0, 904, 5000] {
        rig.submit(read_of(&mut arena, 5000));
        let (command, message) = rig.command();
        assert!(command.read && command.final_bit && !command.write && command.edtl == 5000);
        let to = message.read.unwrap();
        assert!(message.write.is_none() && message.data.is_empty());
        rig.target.write(to, 0, &bytes[..2000]);
        rig.target.write(to, 2000, &bytes[2000..5000 - short.min(3000)]);
        let response =
            ScsiResponse { itt: command.itt, underflow: short > 0, residual: short as u32, ..Default::default() };
        rig.target.respond(response, invalidate.then_some(to.stag));
        let done = completed(&mut rig);
        let residual = if short > 0 { Residual::Underflow(short as u32) } else { Residual::None };
        assert_eq!(done.outcome, Outcome::Status { status: status::GOOD, residual, sense: None });
        let buf = done.buf.unwrap();
        assert_eq!(buf.filled(), &bytes[..5000 - short]);
        arena.give(buf);
    }
    let counters = rig.session().transport().rdma_counters().unwrap();
    assert_eq!((counters.binds, counters.invalidates), (3, if invalidate { 0 } else { 3 }));
    rig.finish();
}

#[test]
fn reads_end_with_remote_and_with_local_invalidation() {
    for invalidate in [true, false] {
        reads::<InfiniBand>(invalidate);
        reads::<Iwarp>(invalidate);
        reads::<SoftIwarp>(invalidate);
    }
}

/// Immediate data, unsolicited Data-Out and what is left to RDMA Reads, in every mixture that can be negotiated.
#[test]
fn writes_split_as_was_negotiated() {
    writes::<Iwarp>();
    writes::<InfiniBand>();
    writes::<SoftIwarp>();
}

fn writes<F: Fabric>() {
    // (ImmediateData, InitialR2T, FirstBurstLength) and, for a write of 20,000 bytes, what is immediate and unasked.
    let ways = [
        ((true, true, 65_536), 8192, 8192),
        ((true, true, 4096), 4096, 4096),
        ((true, true, 512), 512, 512),
        ((false, true, 65_536), 0, 0),
        ((true, false, 65_536), 8192, 20_000),
        ((true, false, 12_000), 8192, 12_000),
        ((false, false, 12_000), 0, 12_000),
    ];
    for ((immediate_data, initial_r2t, first_burst), immediate, unasked) in ways {
        let mut rig = Rig::<F>::logged_in_with(&options(), |target| {
            let policy = &mut target.policy;
            (policy.immediate_data, policy.initial_r2t, policy.first_burst) =
                (immediate_data, initial_r2t, first_burst);
        });
        let mut arena = rig.arena(1, 20_000);
        let bytes = pattern(20_000);
        rig.submit(write_of(&mut arena, &bytes));
        let (command, message) = rig.command();
        assert!(command.write && !command.read && command.edtl == 20_000);
        assert_eq!(message.data, bytes[..immediate]);
        assert_eq!(command.final_bit, immediate == unasked);
        let mut at = immediate;
        while at < unasked {
            let part = rig.request();
            let pdu = iscsi::wire::DataOut::decode(&part.bhs);
            assert_eq!((pdu.itt, pdu.ttt, pdu.buffer_offset as usize), (command.itt, RESERVED_TAG, at));
            assert_eq!(part.data, bytes[at..at + part.data.len()]);
            at += part.data.len();
            assert_eq!(pdu.final_bit, at == unasked);
            assert!(part.write.is_none() && part.read.is_none());
        }
        assert_eq!((at, message.write.is_some()), (unasked, unasked < 20_000));
        if let Some(from) = message.write {
            rig.target.fetch(from, 0, 20_000 - unasked);
            assert_eq!(rig.fetched(), bytes[unasked..]);
        }
        rig.target.good(command.itt, message.write.map(|w| w.stag));
        let done = completed(&mut rig);
        assert!(done.outcome == Outcome::GOOD);
        let buf = done.buf.unwrap();
        assert_eq!(buf.filled(), bytes);
        arena.give(buf);
        rig.finish();
    }
}

/// More unsolicited data at once than there are message buffers: what finds no room is left to be asked for.
#[test]
fn writes_survive_a_shortage_of_message_buffers() {
    let mut rig = Rig::<InfiniBand>::logged_in_with(&options(), |target| target.policy.initial_r2t = false);
    let mut disk = Disk::new(1 << 20, true);
    let mut arena = rig.arena(4, 100_000);
    for round in 0..5usize {
        for n in 0..4 {
            let mut write = write_of(&mut arena, &[(round * 4 + n) as u8 + 1; 100_000 / 512 * 512]);
            (write.cdb[0], write.cdb[4]) = (0x2A, n as u8);
            rig.submit(write);
        }
        for _ in 0..4 {
            rig.until(|rig| {
                disk.serve(&mut rig.target);
                rig.has_reported().then_some(())
            });
            let done = completed(&mut rig);
            assert_eq!(done.outcome, Outcome::GOOD);
            arena.give(done.buf.unwrap());
        }
        for n in 0..4 {
            let at = n * 256 * 512;
            assert!(disk.bytes()[at..at + 99_840].iter().all(|b| usize::from(*b) == round * 4 + n + 1));
        }
    }
    assert_eq!(disk.unasked, 65_536, "of the first in each round");
    rig.finish();
}

/// The window is on the rest of the write alone, and on no byte behind it.
#[test]
fn a_window_gives_exactly_the_solicited_bytes() {
    for (offset, len) in [(0, 11_809), (11_808, 1), (u64::MAX, 1), (11_807, 2)] {
        let mut rig = Rig::<InfiniBand>::logged_in();
        let mut arena = rig.arena(1, 32 << 10);
        rig.submit(write_of(&mut arena, &pattern(20_000)));
        let (_, message) = rig.command();
        let mut from = message.write.unwrap();
        from.va = from.va.wrapping_add(offset);
        rig.target.fetch(from, 0, len);
        let lost = completed(&mut rig);
        assert_eq!(lost.outcome, Outcome::Lost);
        arena.give(lost.buf.unwrap());
        assert_eq!(arena.outstanding(), 0);
        assert_eq!(rig.fabric.world.take_violations().len(), 1);
        assert!(rig.target.fetched.is_empty());
        rig.finish();
    }
}

#[test]
fn a_write_that_goes_whole_has_no_window() {
    let mut rig = Rig::<Iwarp>::logged_in();
    let mut arena = rig.arena(1, 8192);
    for len in [1, 512, 513, 8192] {
        rig.submit(write_of(&mut arena, &pattern(len)));
        let (command, message) = rig.command();
        assert_eq!(message.data, pattern(len));
        assert!(message.write.is_none() && command.final_bit);
        rig.target.good(command.itt, None);
        arena.give(completed(&mut rig).buf.unwrap());
    }
    assert_eq!(rig.session().transport().rdma_counters().unwrap().binds, 0);
    rig.finish();
}

#[test]
fn pings_go_both_ways_and_sense_comes_whole() {
    let mut rig = Rig::<Iwarp>::logged_in();
    let now = rig.now;
    rig.session().ping(b"echo", 5, now).unwrap();
    assert_eq!(rig.session().ping(&[0; 513], 5, now), Err(Why::BadLength));
    let ping = rig.request();
    assert_eq!(ping.data, b"echo");
    let pong = NopIn { itt: ping.bhs.itt(), ttt: RESERVED_TAG, ..NopIn::default() };
    rig.target.send(pong.encode(), b"echo", true, None);
    assert!(matches!(rig.event(), Event::Pong { user: 5 }));
    assert_eq!(rig.session().segment(), b"echo");

    rig.target.send(NopIn { itt: RESERVED_TAG, ttt: 77, ..NopIn::default() }.encode(), &[], false, None);
    let pong = NopOut::decode(&rig.request().bhs);
    assert_eq!((pong.itt, pong.ttt, pong.immediate), (RESERVED_TAG, 77, true));

    let mut arena = rig.arena(1, 512);
    rig.submit(read_of(&mut arena, 512));
    let (command, _) = rig.command();
    let check = ScsiResponse {
        itt: command.itt,
        status: status::CHECK_CONDITION,
        underflow: true,
        residual: 512,
        ..ScsiResponse::default()
    };
    let mut sense = vec![0, 252, 0x70, 0, 5];
    sense.resize(254, 0);
    rig.target.send(check.encode(), &sense, true, None);
    let done = completed(&mut rig);
    let Outcome::Status { status: status::CHECK_CONDITION, sense: Some(sense), .. } = done.outcome else { panic!() };
    assert_eq!((sense.key, rig.session().sense().len()), (5, 252));
    let buf = done.buf.unwrap();
    assert!(buf.is_empty());
    arena.give(buf);
    rig.finish();
}

/// A task management function ends a read whose response never comes: its window is closed before the buffer goes back.
#[test]
fn an_aborted_task_keeps_its_buffer_until_the_window_is_closed() {
    let mut rig = Rig::<InfiniBand>::logged_in();
    let mut arena = rig.arena(1, 4096);
    rig.submit(read_of(&mut arena, 4096));
    let (_, message) = rig.command();
    let now = rig.now;
    rig.session().manage(function::LOGICAL_UNIT_RESET, [0; 8], None, 3, now).unwrap();
    // Immediate, so it does not wait for the command before it; it names the next CmdSN.
    let reset = TmfRequest::decode(&rig.request().bhs);
    rig.target.send(TmfResponse { itt: reset.itt, ..TmfResponse::default() }.encode(), &[], true, None);
    assert!(matches!(rig.event(), Event::Managed { user: 3, response: 0 }));
    let done = completed(&mut rig);
    assert_eq!(done.outcome, Outcome::Aborted);
    assert_eq!(rig.session().transport().rdma_counters().unwrap().invalidates, 1);
    let buf = done.buf.unwrap();
    assert!(buf.is_empty());
    arena.give(buf);
    // Now that the buffer is back, nothing of the target's reaches it.
    rig.target.write(message.read.unwrap(), 0, &[0xEE; 4096]);
    assert!(matches!(rig.event(), Event::Failed(_)));
    assert_eq!(rig.fabric.world.take_violations().len(), 1);
    assert!(arena.take().is_some_and(|mut buf| buf.storage().iter().all(|b| *b == 0)));
    rig.finish();
}

#[test]
fn a_buffer_that_is_not_registered_is_refused() {
    let mut rig = Rig::<Iwarp>::logged_in();
    let mut foreign = Arena::new(1, 512);
    let now = rig.now;
    let refused = rig.session().submit(read_of(&mut foreign, 512), now).unwrap_err();
    assert_eq!(refused.why, Why::Unregistered);
    foreign.give(refused.command.data.into_buf().unwrap());
    rig.session().register(&foreign).unwrap();
    assert!(rig.session().register(&foreign).is_err());
    rig.submit(read_of(&mut foreign, 512));
    assert!(rig.session().unregister(&foreign).is_err(), "it is in use");
    let (command, message) = rig.command();
    rig.target.good(command.itt, message.read.map(|r| r.stag));
    foreign.give(completed(&mut rig).buf.unwrap());
    rig.session().unregister(&foreign).unwrap();
    rig.submit(command_without_data());
    let (bare, message) = rig.command();
    assert!(message.read.is_none() && message.write.is_none() && bare.edtl == 0);
    rig.target.good(bare.itt, None);
    assert!(completed(&mut rig).buf.is_none());
    rig.finish();
}

fn command_without_data() -> initiator::session::Command {
    command(Data::None)
}

/// With the target's window wide open, the session's own depth and the provider's windows bound what is outstanding.
#[test]
fn a_full_queue_is_a_wait() {
    let mut rig = Rig::<InfiniBand>::logged_in();
    let mut arena = rig.arena(5, 16_384);
    for _ in 0..4 {
        rig.submit(write_of(&mut arena, &[1; 16_384]));
    }
    assert!(!rig.session().can_submit());
    for _ in 0..4 {
        let (command, message) = rig.command();
        rig.target.good(command.itt, message.write.map(|w| w.stag));
    }
    for _ in 0..4 {
        arena.give(completed(&mut rig).buf.unwrap());
    }
    assert!(rig.session().can_submit());
    rig.finish();
}

/// A discovery session lives on the buffers of the login, and takes a long answer in pieces.
#[test]
fn discovery_takes_segments_of_eight_kilobytes() {
    let mut rig = Rig::<Iwarp>::with_target(&options(), None, |_| {});
    rig.log_in();
    let now = rig.now;
    rig.session().send_text(b"SendTargets=All\0", 9, now).unwrap();
    for (n, more) in [(0, true), (1, true), (2, false)] {
        let request = rig.request();
        assert_eq!(request.bhs.opcode(), Opcode::TEXT_REQUEST);
        let response = iscsi::wire::TextResponse {
            final_bit: !more,
            cont: more,
            itt: request.bhs.itt(),
            ttt: if more { 5 } else { RESERVED_TAG },
            ..Default::default()
        };
        rig.target.send(response.encode(), &[b'a' + n; 8192], true, None);
    }
    assert!(matches!(rig.event(), Event::Text { user: 9 }));
    assert_eq!(rig.session().text().len(), 3 * 8192);
    rig.finish();
}

#[test]
fn the_provider_bounds_the_queue_depth() {
    let (_fabric, ours, _theirs, at) = Iwarp::build();
    let options = Options { queue_depth: 1024, ..options() };
    let setup = initiator::transport::iser::Setup::of(&options);
    let error = initiator::transport::iser::Iser::connect(ours, "iser/test", at, setup).unwrap_err();
    assert!(matches!(error, initiator::Error::Option { option: "queue_depth", .. }), "{error}");
}
