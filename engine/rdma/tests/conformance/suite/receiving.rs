//! Messages that do not fit, and receives that are not there.

use super::{Harness, Link, Options, Shape, Side};
use rdma::{Op, Peer, Provider, QueuePair, Sge, Sgl, Status};

pub fn too_long_a_message<H: Harness>() {
    let mut link = Link::<H>::connected();
    // A small receive buffer; the message needs a large one.
    let receive = link.receive(Side::Server, 0);
    let message = link.plain(Side::Client, 8193, 5);
    let send = link.send(Side::Client, 0, Op::SEND, Sgl::one(Sge::filled(message)));
    link.refused(0, send, Status::RemoteInvalidRequest);
    let got = link.completion(Side::Server, receive);
    assert!(matches!(got.status, Status::LocalLength | Status::Flushed), "{got:?}");
    assert_eq!(got.byte_len, 0);
    link.give(Side::Server, got);
    link.finish();
}

pub fn no_receive_posted_for_a_while<H: Harness>() {
    let options = Options { patient: true, ..Options::default() };
    let mut link = Link::<H>::connected_with(options, Shape::default());
    if link.iwarp() {
        // iWARP does not wait; the next clause shows what it does.
        return link.finish();
    }
    // Patience is that of each Send: many in turn may have to wait.
    for round in 1..10 {
        let first = link.say(Side::Client, 0, b"early");
        let second = link.say(Side::Client, 0, b"behind it");
        if link.harness.leeway().uncounted_waits {
            link.turns(50);
        } else {
            link.until("a wait", |l| (l.harness.provider(Side::Client).counters().rnr_waits >= round).then_some(()));
        }
        let receives = [link.receive(Side::Server, 0), link.receive(Side::Server, 0)];
        assert_eq!(link.bytes(Side::Server, receives[0]), b"early");
        assert_eq!(link.bytes(Side::Server, receives[1]), b"behind it");
        link.succeeds(Side::Client, first);
        link.succeeds(Side::Client, second);
    }
    link.finish();
}

pub fn no_receive_posted_ever<H: Harness>() {
    let mut link = Link::<H>::connected();
    let send = link.say(Side::Client, 0, b"nobody wants this");
    let done = link.completion(Side::Client, send);
    if link.iwarp() {
        assert!(matches!(done.status, Status::Success | Status::Flushed | Status::RemoteOperation), "{done:?}");
    } else {
        assert_eq!(done.status, Status::RnrRetryExceeded);
    }
    link.give(Side::Client, done);
    for side in Side::BOTH {
        link.disconnected(side, 0);
    }
    link.finish();
}

pub fn receives_before_start_catch_the_first_message<H: Harness>() {
    for seed in 0..20 {
        let mut link = Link::<H>::listening(Options { seed, ..Options::default() }, Shape::default(), 4);
        let client = link.prepare(Side::Client, Peer::At(link.listening));
        link.start(Side::Client, client, &[]).unwrap();
        let request = link.request();
        let server = link.prepare(Side::Server, Peer::Of(request.id));
        let receive = link.receive(Side::Server, server);
        link.start(Side::Server, server, &[]).unwrap();
        link.established(Side::Client, client);
        // The requester speaks at once, whether or not the acceptor has heard that the connection stands.
        let send = link.say(Side::Client, client, b"login");
        assert_eq!(link.bytes(Side::Server, receive), b"login");
        link.established(Side::Server, server);
        link.succeeds(Side::Client, send);
        assert_eq!(link.queue(Side::Client, client).counters().rnr_waits, 0);
        link.finish();
    }
}
