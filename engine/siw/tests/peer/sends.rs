//! M4: receives that are there, are not there, or are shared.

use super::support::{Rig, SECOND, send_header};
use primitives::Tag;
use rdma::{Ended, Op, Provider, QueuePair, ReceiveQueue, ReceiveRequest, Sge, Sgl, Status};
use siw::wire::{Fault, Header, Opcode, Place};
use siw::{Config, Crc, Fpdu, SiwReceives};

#[test]
fn no_receive_of_its_own() {
    let mut rig = Rig::new(Config::default());
    let (queue, mut raw) = rig.accepted();
    raw.send(1, b"nobody is here");
    assert_eq!(raw.terminated(&mut rig), Fault::NO_BUFFER);
    assert_eq!((rig.ended(), queue.outstanding()), (Ended::Terminated, 0));
}

#[test]
fn a_receive_that_was_not_rung_is_none() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    let (tag, buf) = (rig.tag(), rig.pools.take(1).unwrap());
    queue.post_receive(ReceiveRequest { tag, buf }).map_err(|r| r.why).unwrap();
    raw.send(1, b"too early");
    assert_eq!(raw.terminated(&mut rig), Fault::NO_BUFFER);
    let got = rig.completion(tag);
    assert_eq!(got.status, Status::Flushed);
    rig.give(got);
}

#[test]
fn messages_of_any_length_up_to_the_receive() {
    for crc in [Crc::Never, Crc::Always] {
        let mut rig = Rig::new(Config { crc, ..Config::default() });
        let (mut queue, mut raw) = rig.accepted();
        for (msn, len) in (1..).zip([0usize, 1, 2, 3, 4, 5, 76, 127, 4096, 8191, 8192]) {
            let receive = rig.receive(&mut queue);
            raw.send(msn, &vec![msn as u8; len]);
            assert_eq!(rig.bytes(receive), vec![msn as u8; len]);
        }
        let receive = rig.receive(&mut queue);
        raw.send(12, &[1; 8193]);
        assert_eq!(raw.terminated(&mut rig), Fault::TOO_LONG);
        let got = rig.completion(receive);
        assert_eq!((got.status, got.byte_len), (Status::LocalLength, 0));
        rig.give(got);
    }
}

#[test]
fn too_long_by_its_last_segment() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    let receive = rig.receive(&mut queue);
    raw.segment(&send_header(1, 0, false), &[1; 8000]);
    raw.segment(&send_header(1, 8000, true), &[1; 193]);
    assert_eq!(raw.terminated(&mut rig), Fault::TOO_LONG);
    assert_eq!(rig.completion(receive).status, Status::LocalLength);
}

#[test]
fn every_kind_of_send_goes_out_as_the_wire_has_it() {
    let mut rig = Rig::new(Config { fpdu: Fpdu::UpTo(136), ..Config::default() });
    let (mut queue, mut raw) = rig.connected();
    let stag = rdma::Stag(0x0102_0304);
    for (msn, (solicited, invalidate)) in
        (1..).zip([(false, None), (false, Some(stag)), (true, None), (true, Some(stag))])
    {
        let (head, tail) = (rig.buf(76, 1), rig.buf(201, 2));
        let sgl = Sgl::two(Sge::filled(head), Sge::new(tail, 1, 200));
        let tag = rig.post(&mut queue, Op::Send { solicited, invalidate }, sgl);
        queue.ring();
        let (mut at, mut bytes) = (0, vec![]);
        loop {
            let (header, payload) = raw.fpdu(&mut rig);
            assert_eq!(header.opcode, Opcode::send(solicited, invalidate.is_some()));
            let ulp = invalidate.map_or(0, |s| s.0);
            assert_eq!(header.place, Place::Untagged { ulp, queue: 0, msn, mo: at });
            at += payload.len() as u32;
            bytes.extend(payload);
            if header.last {
                break;
            }
            assert_eq!(bytes.len() % 112, 0, "segments are as long as they may be: 136 bytes with all around them");
        }
        assert_eq!(bytes, [vec![1; 76], vec![2; 200]].concat());
        rig.succeeds(tag);
    }
}

fn shared(rig: &mut Rig) -> SiwReceives {
    rig.device.receive_queue(&rig.completions, 8).unwrap()
}

fn post(rig: &mut Rig, receives: &mut SiwReceives) -> Tag {
    let (tag, buf) = (rig.tag(), rig.pools.take(1).unwrap());
    receives.post_receive(ReceiveRequest { tag, buf }).map_err(|r| r.why).unwrap();
    receives.ring();
    tag
}

#[test]
fn an_empty_shared_queue_is_waited_for() {
    for crc in [Crc::Never, Crc::Always] {
        let mut rig = Rig::new(Config { crc, ..Config::default() });
        let mut receives = shared(&mut rig);
        let (queue, mut raw) = rig.accepted_with(|_| {}, Some(&receives));
        let (mut other, mut other_raw) = rig.accepted();
        for msn in 1..=20 {
            raw.send(msn, &[msn as u8; 100]);
        }
        rig.turns(20);
        assert!(rig.done.is_empty() && raw.is_silent(&mut rig));
        assert_eq!((queue.counters().rnr_waits, rig.device.stats().pauses), (1, 1));
        let quiet = rig.device.stats();
        rig.turns(10);
        assert_eq!(rig.device.stats().reads, quiet.reads, "it is not read from");
        // Another connection is not held up.
        let receive = rig.receive(&mut other);
        other_raw.send(1, b"meanwhile");
        assert_eq!(rig.bytes(receive), b"meanwhile");
        for msn in 1..=20u8 {
            rig.until("the wait", |rig| (rig.device.stats().pauses == u64::from(msn)).then_some(()));
            assert!(rig.device.deadline().is_none_or(|at| at > rig.now), "it sleeps until there is a receive");
            let tag = post(&mut rig, &mut receives);
            assert_eq!(rig.device.deadline(), Some(0), "and is told of it ({msn})");
            assert_eq!(rig.bytes(tag), [msn; 100]);
        }
    }
}

#[test]
fn who_waits_longest_is_served_first() {
    let mut rig = Rig::new(Config::default());
    let mut receives = shared(&mut rig);
    let mut waiting: Vec<_> = (0..4).map(|_| rig.accepted_with(|_| {}, Some(&receives))).collect();
    for (i, (_, raw)) in waiting.iter_mut().enumerate() {
        raw.send(1, &[i as u8; 10]);
        raw.send(2, &[i as u8 + 4; 10]);
        rig.until("the wait", |rig| (rig.device.stats().pauses == i as u64 + 1).then_some(()));
    }
    // The third has gone meanwhile.
    waiting[2].0.to_error();
    for expected in [0, 1, 3, 4, 5, 7] {
        let tag = post(&mut rig, &mut receives);
        assert_eq!(rig.bytes(tag), [expected; 10]);
    }
}

#[test]
fn it_is_not_waited_for_for_ever() {
    let mut rig = Rig::new(Config::default());
    let receives = shared(&mut rig);
    let (queue, mut raw) = rig.accepted_with(|_| {}, Some(&receives));
    raw.send(1, b"hello?");
    rig.turns(10);
    rig.now += 4 * SECOND;
    rig.turns(10);
    assert!(rig.events.is_empty());
    rig.now += 2 * SECOND;
    assert_eq!(raw.terminated(&mut rig), Fault::NO_BUFFER);
    assert_eq!((rig.ended(), queue.outstanding()), (Ended::Terminated, 0));
    drop((queue, receives));
}

#[test]
fn a_peer_that_goes_while_it_waits() {
    let mut rig = Rig::new(Config::default());
    let receives = shared(&mut rig);
    let (_queue, mut raw) = rig.accepted_with(|_| {}, Some(&receives));
    raw.send(1, b"hello?");
    rig.turns(10);
    // Closed with something unread, which resets the connection.
    let (mut other, _other_raw) = rig.accepted();
    other.to_error();
    drop(raw);
    rig.now += 6 * SECOND;
    assert!(matches!(rig.ended(), Ended::Local | Ended::Lost | Ended::Terminated));
    assert!(matches!(rig.ended(), Ended::Local | Ended::Lost | Ended::Terminated));
}

#[test]
fn a_message_half_arrived_gives_its_shared_receive_back() {
    let mut rig = Rig::new(Config::default());
    let mut receives = shared(&mut rig);
    let tag = post(&mut rig, &mut receives);
    let (queue, mut raw) = rig.accepted_with(|_| {}, Some(&receives));
    raw.segment(&send_header(1, 0, false), b"half");
    rig.turns(10);
    drop(raw);
    assert_eq!(rig.ended(), Ended::Peer);
    let got = rig.completion(tag);
    assert_eq!((got.status, got.byte_len), (Status::Flushed, 0));
    rig.give(got);
    assert_eq!(receives.room(), 8);
    drop(queue);
    rig.turns(2);
    assert!(receives.take_back().is_none());
    assert_eq!(rig.pools.outstanding(), 0);
}

#[test]
fn solicited_sends_are_sends() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    let receive = rig.receive(&mut queue);
    let place = Place::Untagged { ulp: 0xFFFF_FFFF, queue: 0, msn: 1, mo: 0 };
    raw.segment(&Header { last: true, opcode: Opcode::SendSolicited, place }, b"look");
    let got = rig.completion(receive);
    assert_eq!((got.status, got.invalidated, got.byte_len), (Status::Success, None, 4));
    rig.give(got);
}
