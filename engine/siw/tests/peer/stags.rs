//! M1: what a peer reaches for.

use super::support::{Raw, Rig, send_header};
use rdma::{Access, Ended, Op, Provider, QueuePair, Remote, Sgl, Status};
use siw::wire::{Fault, Header, Opcode, Place, ReadRequest};
use siw::{Config, SiwQueue};

const LEN: u32 = 1000;

fn opened(access: Access) -> (Rig, SiwQueue, Raw, Remote) {
    let mut rig = Rig::new(Config::default());
    let (mut queue, raw) = rig.accepted();
    let window = rig.window(&mut queue, LEN, 0x11, access);
    let mut raw = raw;
    // The window opens when the bind is executed, which waits for the peer's first word.
    raw.rdma_write(0, 0, b"");
    rig.turns(10);
    (rig, queue, raw, window)
}

/// A Write, or a Read, ends the connection with this fault and has changed nothing.
fn wrong(access: Access, right: Access, bad: impl Fn(Remote) -> Remote, len: u32, fault: Fault) {
    let (mut rig, mut queue, mut raw, window) = opened(right);
    let Remote { stag, va } = bad(window);
    match access {
        Access::RemoteWrite => raw.rdma_write(stag.0, va, &vec![0xEE; len as usize]),
        Access::RemoteRead => {
            raw.read_request(1, ReadRequest { sink_stag: 1, sink_to: 2, len, source_stag: stag.0, source_to: va })
        }
    }
    assert_eq!(raw.terminated(&mut rig), fault, "{access:?} of {len} at {stag:?} {va:#x}");
    assert_eq!(rig.ended(), Ended::Terminated);
    rig.drained(&queue);
    let sge = queue.reclaim(window.stag).expect("the connection is over");
    assert!(sge.buf.filled().iter().all(|b| *b == 0x11), "the memory is untouched");
    rig.pools.give(sge.buf);
    assert_eq!(rig.pools.outstanding(), 0);
}

#[test]
fn writes_outside_or_without_a_window() {
    let write = Access::RemoteWrite;
    let at = |bit: u32| move |w: Remote| Remote { stag: rdma::Stag(w.stag.0 ^ 1 << bit), ..w };
    for bit in 0..32 {
        wrong(write, write, at(bit), 1, Fault::STAG);
    }
    wrong(write, write, |w| Remote { stag: rdma::Stag(0), ..w }, 1, Fault::STAG);
    wrong(write, write, |w| Remote { va: w.va - 1, ..w }, 1, Fault::BOUNDS);
    wrong(write, write, |w| w, LEN + 1, Fault::BOUNDS);
    wrong(write, write, |w| Remote { va: w.va + u64::from(LEN), ..w }, 1, Fault::BOUNDS);
    wrong(write, write, |w| Remote { va: u64::MAX - 5, ..w }, 5, Fault::BOUNDS);
    wrong(write, write, |w| Remote { va: u64::MAX - 4, ..w }, 5, Fault::WRAP);
    wrong(write, Access::RemoteRead, |w| w, 1, Fault::RIGHTS);
}

#[test]
fn reads_outside_or_without_a_window() {
    let read = Access::RemoteRead;
    wrong(read, read, |w| Remote { stag: rdma::Stag(w.stag.0 ^ 0x100), ..w }, 1, Fault::READ_STAG);
    wrong(read, read, |w| Remote { va: w.va - 1, ..w }, 1, Fault::READ_BOUNDS);
    wrong(read, read, |w| w, LEN + 1, Fault::READ_BOUNDS);
    wrong(read, read, |w| w, u32::MAX, Fault::READ_BOUNDS);
    wrong(read, read, |w| Remote { va: u64::MAX, ..w }, 2, Fault::READ_WRAP);
    wrong(read, Access::RemoteWrite, |w| w, 1, Fault::RIGHTS);
}

#[test]
fn what_is_allowed_lands_exactly_there() {
    let (mut rig, mut queue, mut raw, window) = opened(Access::RemoteWrite);
    raw.rdma_write(window.stag.0, window.va, &[1; 10]);
    raw.rdma_write(window.stag.0, window.va + 990, &[2; 10]);
    raw.rdma_write(window.stag.0, window.va + 1000, b"");
    raw.rdma_write(12345, u64::MAX, b"");
    let receive = rig.receive(&mut queue);
    let place = Place::Untagged { ulp: window.stag.0, queue: 0, msn: 1, mo: 0 };
    raw.segment(&Header { last: true, opcode: Opcode::SendInvalidate, place }, b"done");
    let got = rig.completion(receive);
    assert_eq!((got.status, got.invalidated), (Status::Success, Some(window.stag)));
    rig.give(got);
    let sge = queue.reclaim(window.stag).unwrap();
    let bytes = sge.buf.filled();
    assert!(bytes[1024..1034] == [1; 10] && bytes[2014..2024] == [2; 10]);
    assert_eq!(bytes.iter().filter(|b| **b == 0x11).count(), 8192 - 20);
    rig.pools.give(sge.buf);
    // And it is closed.
    raw.rdma_write(window.stag.0, window.va, &[3]);
    assert_eq!(raw.terminated(&mut rig), Fault::STAG);
}

#[test]
fn foreign_stags_are_not_invalidated() {
    for which in 0..4 {
        let mut rig = Rig::new(Config::default());
        let (mut other, mut other_raw) = rig.accepted();
        let foreign = rig.window(&mut other, 100, 1, Access::RemoteWrite);
        other_raw.rdma_write(0, 0, b"");
        let (mut queue, mut raw) = rig.accepted();
        let window = rig.window(&mut queue, 100, 1, Access::RemoteWrite);
        let receive = rig.receive(&mut queue);
        raw.rdma_write(0, 0, b"");
        rig.turns(10);
        let stag = [foreign.stag.0, window.stag.0 ^ 0x80, 0, u32::MAX][which];
        let place = Place::Untagged { ulp: stag, queue: 0, msn: 1, mo: 0 };
        raw.segment(&Header { last: true, opcode: Opcode::SendSolicitedInvalidate, place }, b"bye");
        assert_eq!(raw.terminated(&mut rig), Fault::INVALIDATE);
        let got = rig.completion(receive);
        assert_eq!((got.status, got.invalidated, got.byte_len), (Status::LocalAccess, None, 0));
        rig.give(got);
        // The other connection, and its window, are unharmed.
        other_raw.rdma_write(foreign.stag.0, foreign.va, &[9; 100]);
        other_raw.rdma_write(0, 0, b"");
        assert!(other_raw.is_silent(&mut rig), "nobody is told of a fault");
    }
}

#[test]
fn another_connections_window_is_no_window() {
    let (mut rig, queue, mut raw, window) = opened(Access::RemoteWrite);
    let (_second, mut stranger) = rig.accepted();
    stranger.rdma_write(window.stag.0, window.va, &[0xEE; 8]);
    assert_eq!(stranger.terminated(&mut rig), Fault::STAG);
    raw.rdma_write(window.stag.0, window.va, &[1; 8]);
    assert!(raw.is_silent(&mut rig) && queue.counters().flushed == 0);
}

#[test]
fn a_window_does_not_close_while_the_peer_is_in_the_middle_of_it() {
    let (mut rig, mut queue, mut raw, window) = opened(Access::RemoteWrite);
    let header =
        Header { last: true, opcode: Opcode::Write, place: Place::Tagged { stag: window.stag.0, to: window.va } };
    let bytes = raw.bytes_of(&header, &[7; 1000], Default::default());
    raw.write(&bytes[..500]);
    rig.turns(10);
    let invalidate = rig.post(&mut queue, Op::Invalidate(window.stag), Sgl::NONE);
    let behind = rig.say(&mut queue, 5, 5);
    rig.turns(10);
    assert!(queue.reclaim(window.stag).is_none() && rig.done.iter().all(|c| c.tag != invalidate));
    assert!(raw.is_silent(&mut rig), "what was posted behind it waits too");
    raw.write(&bytes[500..]);
    rig.succeeds(invalidate);
    rig.succeeds(behind);
    assert_eq!(raw.message(&mut rig).1, [5; 5]);
    let sge = queue.reclaim(window.stag).unwrap();
    assert_eq!(sge.buf.filled()[1024..2024], [7; 1000]);
    rig.pools.give(sge.buf);
}

#[test]
fn the_end_takes_the_memory_from_a_peer_in_the_middle_of_it() {
    let (mut rig, mut queue, mut raw, window) = opened(Access::RemoteWrite);
    let place = Place::Tagged { stag: window.stag.0, to: window.va };
    let header = Header { last: true, opcode: Opcode::Write, place };
    let bytes = raw.bytes_of(&header, &[7; 1000], Default::default());
    raw.write(&bytes[..500]);
    rig.turns(10);
    queue.to_error();
    rig.drained(&queue);
    let mut sge = queue.reclaim(window.stag).unwrap();
    sge.buf.storage().fill(0x33);
    raw.write(&bytes[500..]);
    rig.turns(20);
    assert!(sge.buf.filled().iter().all(|b| *b == 0x33), "nothing comes late");
    rig.pools.give(sge.buf);
    rig.device.remove_memory(rig.memory).unwrap();
}

#[test]
fn sends_are_not_for_tagged_buffers_and_writes_not_for_queues() {
    let (mut rig, _queue, mut raw, _) = opened(Access::RemoteWrite);
    let bytes = raw.bytes_of(
        &send_header(1, 0, true),
        b"abc",
        super::support::Twist { rdmap: Some(0x40), ..Default::default() },
    );
    raw.write(&bytes);
    assert_eq!(raw.terminated(&mut rig), Fault::OPCODE);
}
