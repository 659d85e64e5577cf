//! What is refused when it is posted: whole, and without harm.

use super::{Harness, Link, Options, Shape, Side};
use rdma::{Access, Op, Peer, Provider, QueuePair, ReceiveRequest, Refused, Remote, Sge, Sgl, Why, WorkRequest};
use reactors::Pools;

fn refused<H: Harness>(link: &mut Link<H>, op: Op, sgl: Sgl) -> Why {
    let tag = link.tag(Side::Client);
    let request = WorkRequest { tag, op, sgl, signalled: true };
    let mut refusal = link.queue(Side::Client, 0).post_send(request).expect_err("this is not to be taken");
    assert_eq!((refusal.request.tag, refusal.request.op), (tag, op));
    while let Some(buf) = refusal.request.sgl.take_buf() {
        if buf.home() != (primitives::Home::Pool { pool: 9, index: 0 }) {
            link.end(Side::Client).pools.give(buf);
        }
    }
    refusal.why
}

pub fn refuses_what_exceeds_the_buffer<H: Harness>() {
    let mut link = Link::<H>::connected();
    let to = Remote::default();
    for (start, len) in [(0, 101), (101, 0), (100, 1), (u32::MAX, 1), (1, u32::MAX), (u32::MAX, u32::MAX)] {
        for op in [Op::SEND, Op::Write { to }] {
            let buf = link.plain(Side::Client, 100, 1);
            assert_eq!(refused(&mut link, op, Sgl::one(Sge::new(buf, start, len))), Why::Range, "{start} + {len}");
        }
    }
    for (start, len) in [(0, 8193), (8192, 1), (u32::MAX, 2)] {
        let buf = link.plain(Side::Client, 100, 1);
        assert_eq!(refused(&mut link, Op::Read { from: to }, Sgl::one(Sge::new(buf, start, len))), Why::Range);
    }
    let (one, two) = (link.plain(Side::Client, 8, 1), link.plain(Side::Client, 8, 1));
    let two_sinks = Sgl::two(Sge::filled(one), Sge::filled(two));
    assert_eq!(refused(&mut link, Op::Read { from: to }, two_sinks), Why::Unsupported);
    link.connect_again();
    link.finish();
}

pub fn refuses_foreign_memory<H: Harness>() {
    let mut link = Link::<H>::connected();
    let mut foreign = Pools::for_tests(9, 1, 0);
    let mut buf = foreign.take(64).unwrap();
    buf.set_len(64);
    let tag = link.tag(Side::Client);
    let queue = link.queue(Side::Client, 0);
    let request = WorkRequest { tag, op: Op::SEND, sgl: Sgl::one(Sge::filled(buf)), signalled: true };
    let mut refusal = queue.post_send(request).unwrap_err();
    assert_eq!(refusal.why, Why::Unregistered);
    let buf = refusal.request.sgl.take_buf().unwrap();
    let refusal = queue.bind(tag, Sge::filled(buf), Access::RemoteWrite).unwrap_err();
    assert_eq!(refusal.why, Why::Unregistered);
    let refusal = queue.post_receive(ReceiveRequest { tag, buf: refusal.request.buf }).unwrap_err();
    assert_eq!(refusal.why, Why::Unregistered);
    foreign.give(refusal.request.buf);
    link.connect_again();
    link.finish();
}

pub fn refuses_in_the_wrong_state<H: Harness>() {
    let mut link = Link::<H>::listening(Options::default(), Shape::default(), 4);
    link.prepare(Side::Client, Peer::At(link.listening));
    assert_eq!(refused(&mut link, Op::SEND, Sgl::NONE), Why::NotConnected);
    link.start(Side::Client, 0, &[]).unwrap();
    assert_eq!(refused(&mut link, Op::SEND, Sgl::NONE), Why::NotConnected);
    assert_eq!(link.queue(Side::Client, 0).room().send, 0);
    link.queue(Side::Client, 0).to_error();
    assert_eq!(refused(&mut link, Op::SEND, Sgl::NONE), Why::Closed);
    let (tag, buf) = (link.tag(Side::Client), link.plain(Side::Client, 1, 1));
    let refusal = link.queue(Side::Client, 0).post_receive(ReceiveRequest { tag, buf }).unwrap_err();
    assert_eq!(refusal.why, Why::Closed);
    link.end(Side::Client).pools.give(refusal.request.buf);
    assert!(!Why::Closed.is_transient() && Why::Full.is_transient());
    link.finish();
}

pub fn full_queues_are_values<H: Harness>() {
    let mut link = Link::<H>::shaped(Shape { send: 3, receive: 2, ..Shape::default() });
    let receives = [link.post_receive(Side::Server, 0), link.post_receive(Side::Server, 0)];
    let (tag, buf) = (link.tag(Side::Server), link.plain(Side::Server, 1, 1));
    assert_eq!(link.queue(Side::Server, 0).room().receive, 0);
    let refusal = link.queue(Side::Server, 0).post_receive(ReceiveRequest { tag, buf }).unwrap_err();
    assert_eq!(refusal.why, Why::Full);
    link.end(Side::Server).pools.give(refusal.request.buf);
    link.queue(Side::Server, 0).ring();
    let mut sends = vec![];
    for i in 0..3 {
        assert_eq!(link.queue(Side::Client, 0).room().send, 3 - i);
        let buf = link.plain(Side::Client, 9, i as u8);
        let op = if i == 2 { Op::Write { to: Remote::default() } } else { Op::SEND };
        let sge = if i == 2 { Sge::new(buf, 0, 0) } else { Sge::filled(buf) };
        sends.push(link.post(Side::Client, 0, op, Sgl::one(sge), true));
    }
    assert_eq!(refused(&mut link, Op::SEND, Sgl::NONE), Why::Full);
    link.queue(Side::Client, 0).ring();
    assert_eq!(refused(&mut link, Op::SEND, Sgl::NONE), Why::Full, "a ring makes no room");
    for send in sends {
        link.succeeds(Side::Client, send);
    }
    for receive in receives {
        link.bytes(Side::Server, receive);
    }
    assert_eq!(link.queue(Side::Client, 0).room().send, 3);
    link.connect_again();
    link.finish();
}

pub fn memory_in_use_stays_registered<H: Harness>() {
    let mut link = Link::<H>::connected();
    let memory = link.end(Side::Server).memory;
    assert!(link.harness.provider(Side::Server).add_memory(memory).is_err(), "twice");
    let receive = link.receive(Side::Server, 0);
    assert_eq!(link.harness.provider(Side::Server).remove_memory(memory), Err(Refused::InUse));
    let send = link.say(Side::Client, 0, b"in use");
    link.bytes(Side::Server, receive);
    link.succeeds(Side::Client, send);
    link.harness.provider(Side::Server).remove_memory(memory).unwrap();
    assert_eq!(link.harness.provider(Side::Server).remove_memory(memory), Err(Refused::Gone));
    link.harness.provider(Side::Server).add_memory(memory).unwrap();
    link.connect_again();
    link.finish();
}
