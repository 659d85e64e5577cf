//! Shared receive queues.

use super::link::{copied, name};
use super::{Harness, Link, Options, Shape, Side};
use primitives::Tag;
use rdma::{Op, Peer, Provider, QueuePair, QueueSetup, ReceiveQueue, ReceiveRequest, Sge, Sgl, Status, Why};

type Receives<H> = <<H as Harness>::P as Provider>::Receives;

fn post<H: Harness>(link: &mut Link<H>, receives: &mut Receives<H>) -> Tag {
    let (tag, buf) = (link.tag(Side::Server), link.plain(Side::Server, 1, 0));
    receives.post_receive(ReceiveRequest { tag, buf }).unwrap();
    link.taken(Side::Server, tag);
    tag
}

/// Two connections whose server ends share eight receives; `None` when the provider shares none.
fn two<H: Harness>() -> Option<(Link<H>, Receives<H>)> {
    let mut link = Link::<H>::listening(Options::default(), Shape::default(), 4);
    let provider = link.harness.provider(Side::Server);
    let receives = provider.receive_queue(&link.ends[Side::Server as usize].completions, 8);
    let Ok(mut receives) = receives else {
        assert!(!provider.attributes().shared_receive);
        return None;
    };
    for _ in 0..4 {
        post(&mut link, &mut receives);
    }
    receives.ring();
    for n in 0..2 {
        let client = link.prepare(Side::Client, Peer::At(link.listening));
        link.start(Side::Client, client, &[]).unwrap();
        let request = link.request();
        let setup = QueueSetup {
            name: name(Side::Server, n),
            completions: &link.ends[Side::Server as usize].completions,
            receives: Some(&receives),
            send_depth: 8,
            receive_depth: 0,
            windows: 0,
        };
        let queue = link.harness.provider(Side::Server).prepare(Peer::Of(request.id), setup).unwrap();
        link.queues[Side::Server as usize].push(Some(queue));
        link.start(Side::Server, n, &[]).unwrap();
        link.established(Side::Client, client);
        link.established(Side::Server, n);
    }
    Some((link, receives))
}

fn empty<H: Harness>(mut link: Link<H>, mut receives: Receives<H>) {
    assert!(receives.take_back().is_none(), "queue pairs still draw from it");
    for side in Side::BOTH {
        for n in 0..2 {
            link.queue(side, n).to_error();
            link.drained(side, n);
        }
    }
    for completion in core::mem::take(&mut link.end(Side::Server).done) {
        link.give(Side::Server, completion);
    }
    link.queues[Side::Server as usize].clear();
    link.turns(20);
    while let Some(request) = receives.take_back() {
        link.end(Side::Server).out.remove(&request.tag.to_bits()).expect("it was posted");
        link.end(Side::Server).pools.give(request.buf);
    }
    drop(receives);
    link.finish();
}

pub fn draws_from_one_pool_for_two_connections<H: Harness>() {
    let Some((mut link, mut receives)) = two::<H>() else { return };
    for round in 0..10u8 {
        for n in 0..2usize {
            let send = link.say(Side::Client, n, &[round, n as u8]);
            let mut got = link.until("the message", |l| l.end(Side::Server).done.pop());
            assert_eq!((got.queue, got.status), (name(Side::Server, n), Status::Success), "it says whose it is");
            let buf = got.sgl.take_buf().unwrap();
            assert_eq!(copied(&buf, 0, 2), [round, n as u8]);
            link.end(Side::Server).pools.give(buf);
            link.succeeds(Side::Client, send);
            post(&mut link, &mut receives);
            receives.ring();
        }
    }
    assert_eq!(receives.room(), 4);
    let (tag, buf) = (link.tag(Side::Server), link.plain(Side::Server, 1, 0));
    let refusal = link.queue(Side::Server, 0).post_receive(ReceiveRequest { tag, buf }).unwrap_err();
    assert_eq!(refusal.why, Why::Unsupported);
    link.end(Side::Server).pools.give(refusal.request.buf);
    for _ in 0..4 {
        post(&mut link, &mut receives);
    }
    let (tag, buf) = (link.tag(Side::Server), link.plain(Side::Server, 1, 0));
    let refusal = receives.post_receive(ReceiveRequest { tag, buf }).unwrap_err();
    assert_eq!(refusal.why, Why::Full);
    link.end(Side::Server).pools.give(refusal.request.buf);
    empty(link, receives);
}

pub fn survives_one_connections_failure<H: Harness>() {
    let Some((mut link, receives)) = two::<H>() else { return };
    link.queue(Side::Client, 0).to_error();
    link.disconnected(Side::Server, 0);
    link.drained(Side::Server, 0);
    link.turns(50);
    assert!(link.end(Side::Server).done.is_empty(), "shared receives are not flushed with one connection");
    let message = link.filled(Side::Client, b"other");
    let send = link.send(Side::Client, 1, Op::SEND, Sgl::one(Sge::filled(message)));
    link.succeeds(Side::Client, send);
    let got = link.until("the message", |l| l.end(Side::Server).done.pop());
    assert_eq!((got.queue, got.byte_len), (name(Side::Server, 1), 5));
    link.give(Side::Server, got);
    empty(link, receives);
}
