//! M2: RDMA Reads, in both directions.

use super::support::{Raw, Rig};
use primitives::Tag;
use rdma::{Access, Ended, Op, QueuePair, Remote, Sge, Sgl, Stag, Status};
use siw::wire::{Fault, Header, Opcode, Place, ReadRequest};
use siw::{Config, Fpdu, SiwQueue};

const SOURCE: Remote = Remote { stag: Stag(77), va: 0x1234_5678_9ABC };

/// A Read of this side under way, as its peer sees it.
fn asked(len: u32) -> (Rig, SiwQueue, Raw, Tag, ReadRequest) {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.connected();
    let sink = rig.buf(8192, 0x22);
    let tag = rig.post(&mut queue, Op::Read { from: SOURCE }, Sgl::one(Sge::new(sink, 100, len)));
    queue.ring();
    let (header, payload) = raw.fpdu(&mut rig);
    assert_eq!(header.place, Place::Untagged { ulp: 0, queue: 1, msn: 1, mo: 0 });
    let request = ReadRequest::decode(&payload).unwrap();
    assert_eq!((request.len, request.source_stag, request.source_to), (len, SOURCE.stag.0, SOURCE.va));
    (rig, queue, raw, tag, request)
}

fn response(stag: u32, to: u64, last: bool) -> Header {
    Header { last, opcode: Opcode::ReadResponse, place: Place::Tagged { stag, to } }
}

#[test]
fn a_response_in_one_piece_or_many() {
    for pieces in [1usize, 2, 100] {
        let (mut rig, mut queue, mut raw, tag, request) = asked(1000);
        let len = 1000 / pieces;
        for i in 0..pieces {
            let to = request.sink_to + (i * len) as u64;
            raw.segment(&response(request.sink_stag, to, i + 1 == pieces), &vec![i as u8; len]);
        }
        let bytes = rig.bytes(tag);
        assert!(bytes.chunks(len).enumerate().all(|(i, c)| c.iter().all(|b| *b == i as u8)));
        assert!(queue.room().reads == 4);
        queue.to_error();
    }
}

#[test]
fn what_is_done_ends_before_what_is_behind_it() {
    let (mut rig, mut queue, mut raw, read, request) = asked(10);
    let send = rig.say(&mut queue, 3, 9);
    assert_eq!(raw.message(&mut rig).1, [9; 3], "a Send does not wait for the Read before it");
    rig.turns(10);
    assert!(rig.done.is_empty(), "but its completion does");
    raw.segment(&response(request.sink_stag, request.sink_to, true), &[1; 10]);
    rig.until("both", |rig| (rig.done.len() == 2).then_some(()));
    assert_eq!(rig.done.iter().map(|c| c.tag).collect::<Vec<_>>(), [read, send]);
}

fn wrong(len: u32, answer: impl FnOnce(&mut Raw, ReadRequest), fault: Fault) {
    let (mut rig, queue, mut raw, tag, request) = asked(len);
    answer(&mut raw, request);
    assert_eq!(raw.terminated(&mut rig), fault);
    assert_eq!(rig.ended(), Ended::Terminated);
    let mut done = rig.completion(tag);
    assert_eq!(done.status, Status::Flushed);
    let sge = done.sgl.take().unwrap();
    let bytes = sge.buf.filled();
    assert!(bytes[..100].iter().chain(&bytes[100 + len as usize..]).all(|b| *b == 0x22), "not a byte beside the sink");
    rig.pools.give(sge.buf);
    rig.drained(&queue);
    assert_eq!(rig.pools.outstanding(), 0);
}

#[test]
fn responses_that_answer_something_else() {
    wrong(10, |raw, r| raw.segment(&response(r.sink_stag ^ 1, r.sink_to, true), &[1; 10]), Fault::STAG);
    wrong(10, |raw, r| raw.segment(&response(r.sink_stag, r.sink_to, true), &[1; 11]), Fault::BOUNDS);
    wrong(10, |raw, r| raw.segment(&response(r.sink_stag, r.sink_to, true), &[1; 9]), Fault::MALFORMED);
    wrong(10, |raw, r| raw.segment(&response(r.sink_stag, r.sink_to, true), &[]), Fault::MALFORMED);
    wrong(10, |raw, r| raw.segment(&response(r.sink_stag, r.sink_to + 1, false), &[1; 1]), Fault::BOUNDS);
    wrong(10, |raw, r| raw.segment(&response(r.sink_stag, r.sink_to - 1, false), &[1; 1]), Fault::BOUNDS);
    wrong(10, |raw, r| raw.segment(&response(r.sink_stag, u64::MAX, false), &[1; 5]), Fault::BOUNDS);
    // The sink is no window, neither for Writes nor for Reads.
    wrong(10, |raw, r| raw.rdma_write(r.sink_stag, r.sink_to, &[1; 10]), Fault::STAG);
    wrong(
        10,
        |raw, r| raw.read_request(1, ReadRequest { source_stag: r.sink_stag, source_to: r.sink_to, ..r }),
        Fault::READ_STAG,
    );
    // Each sink is good for one response.
    wrong(
        10,
        |raw, r| {
            raw.segment(&response(r.sink_stag, r.sink_to, false), &[1; 5]);
            raw.segment(&response(r.sink_stag, r.sink_to, false), &[2; 5]);
        },
        Fault::BOUNDS,
    );
}

#[test]
fn a_response_nobody_asked_for() {
    let mut rig = Rig::new(Config::default());
    let (_queue, mut raw) = rig.connected();
    raw.segment(&response(1, 0, true), &[]);
    assert_eq!(raw.terminated(&mut rig), Fault::STAG);
    let (mut rig, _queue, mut raw, tag, r) = asked(4);
    raw.segment(&response(r.sink_stag, r.sink_to, true), &[1; 4]);
    rig.succeeds(tag);
    raw.segment(&response(r.sink_stag, r.sink_to, true), &[1; 4]);
    assert_eq!(raw.terminated(&mut rig), Fault::STAG, "it was used");
}

#[test]
fn reads_are_answered_in_order_and_whole() {
    let mut rig = Rig::new(Config { fpdu: Fpdu::UpTo(136), ..Config::default() });
    let (mut queue, mut raw) = rig.accepted();
    let window = rig.window(&mut queue, 1000, 0x11, Access::RemoteRead);
    // The bind is executed when the peer has spoken.
    raw.rdma_write(0, 0, b"");
    rig.turns(10);
    let said = rig.say(&mut queue, 300, 5);
    for msn in 1..=4u32 {
        raw.read_request(
            msn,
            ReadRequest {
                sink_stag: msn,
                sink_to: u64::MAX - 50,
                len: 250 * msn,
                source_stag: window.stag.0,
                source_to: window.va,
            },
        );
    }
    let mut responses = 0;
    for _ in 0..5 {
        let (header, payload) = raw.message(&mut rig);
        if header.opcode == Opcode::Send {
            assert_eq!(payload, [5; 300]);
            continue;
        }
        responses += 1;
        let to = u64::MAX - 50;
        assert_eq!(header.place, Place::Tagged { stag: responses, to }, "offsets of the sink are the peer's affair");
        assert_eq!(payload, vec![0x11; 250 * responses as usize]);
    }
    rig.succeeds(said);
}

#[test]
fn more_reads_than_the_depth() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    let window = rig.window(&mut queue, 1000, 0x11, Access::RemoteRead);
    let read = |msn| {
        let sink = ReadRequest { sink_stag: msn, sink_to: 0, len: 8, source_stag: window.stag.0, source_to: window.va };
        (msn, sink)
    };
    // The window opens with the first FPDU; five at once are one too many, if none of them is answered in between.
    raw.rdma_write(0, 0, b"");
    rig.turns(10);
    let mut all = vec![];
    for msn in 1..=5 {
        let place = Place::Untagged { ulp: 0, queue: 1, msn, mo: 0 };
        let header = Header { last: true, opcode: Opcode::ReadRequest, place };
        all.extend(raw.bytes_of(&header, &read(msn).1.encode(), Default::default()));
    }
    raw.write(&all);
    assert_eq!(raw.terminated(&mut rig), Fault::NO_BUFFER);
    assert_eq!(rig.ended(), Ended::Terminated);
}

#[test]
fn read_requests_that_make_no_sense() {
    let request = ReadRequest::default();
    for (place, opcode_last, payload, fault) in [
        (Place::Untagged { ulp: 0, queue: 1, msn: 2, mo: 0 }, true, 28, Fault::MSN),
        (Place::Untagged { ulp: 0, queue: 1, msn: 0, mo: 0 }, true, 28, Fault::MSN),
        (Place::Untagged { ulp: 0, queue: 1, msn: 1, mo: 1 }, true, 28, Fault::OFFSET),
        (Place::Untagged { ulp: 0, queue: 1, msn: 1, mo: 0 }, false, 28, Fault::MALFORMED),
        (Place::Untagged { ulp: 0, queue: 1, msn: 1, mo: 0 }, true, 27, Fault::MALFORMED),
        (Place::Untagged { ulp: 0, queue: 1, msn: 1, mo: 0 }, true, 0, Fault::MALFORMED),
        (Place::Untagged { ulp: 0, queue: 0, msn: 1, mo: 0 }, true, 28, Fault::QUEUE),
        (Place::Untagged { ulp: 0, queue: 3, msn: 1, mo: 0 }, true, 28, Fault::QUEUE),
    ] {
        let mut rig = Rig::new(Config::default());
        let (_queue, mut raw) = rig.accepted();
        let header = Header { last: opcode_last, opcode: Opcode::ReadRequest, place };
        raw.segment(&header, &request.encode()[..payload]);
        assert_eq!(raw.terminated(&mut rig), fault, "{place:?}");
    }
}

#[test]
fn a_window_is_read_to_the_end_before_it_closes() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    raw.rdma_write(0, 0, b"");
    rig.turns(10);
    let len = 128 * 1024;
    let (tag, buf) = (rig.tag(), rig.buf(len, 0x44));
    let window = queue.bind(tag, Sge::filled(buf), Access::RemoteRead).map_err(|r| r.why).unwrap();
    queue.ring();
    // The peer does not read: the responses are held up.
    let said = rig.fill(&mut queue);
    let before = rig.device.stats().fpdus_in;
    for msn in 1..=4 {
        let (source_stag, source_to) = (window.stag.0, window.va);
        let request = ReadRequest { sink_stag: 5, sink_to: 0, len: len as u32, source_stag, source_to };
        raw.read_request(msn, request);
    }
    rig.until("the requests", |rig| (rig.device.stats().fpdus_in == before + 4).then_some(()));
    let invalidate = rig.post(&mut queue, Op::Invalidate(window.stag), Sgl::NONE);
    queue.ring();
    rig.turns(20);
    assert!(queue.reclaim(window.stag).is_none() && rig.done.iter().all(|c| c.tag != invalidate));
    let mut responses = 0;
    for _ in 0..said + 4 {
        let (header, payload) = raw.message(&mut rig);
        if header.opcode == Opcode::ReadResponse {
            responses += 1;
            assert!(payload.len() == len && payload.iter().all(|b| *b == 0x44));
        }
    }
    assert_eq!(responses, 4);
    rig.succeeds(invalidate);
    let sge = queue.reclaim(window.stag).unwrap();
    rig.pools.give(sge.buf);
}
