//! The end of a connection, in every state.

use super::link::name;
use super::{Harness, Link, Options, Shape, Side};
use rdma::{Ended, Event, Op, Peer, QueuePair, Sge, Sgl, Status, Why, WorkRequest};

/// Both ends have heard of the end once, take nothing, and have drained.
fn over<H: Harness>(link: &mut Link<H>, n: usize) {
    for side in Side::BOTH {
        link.drained(side, n);
        let (tag, sgl) = (link.tag(side), Sgl::NONE);
        let refusal = link.queue(side, n).post_send(WorkRequest { tag, op: Op::SEND, sgl, signalled: true });
        assert_eq!(refusal.unwrap_err().why, Why::Closed);
        let room = link.queue(side, n).room();
        assert_eq!((room.send, room.reads, room.receive), (0, 0, 0));
    }
    link.turns(50);
    for side in Side::BOTH {
        let of = |e: &&Event| matches!(e, Event::Disconnected { queue, .. } if *queue == name(side, n));
        assert_eq!(link.end(side).events.iter().filter(of).count(), 0, "an end is told of once");
    }
}

pub fn by_either_side<H: Harness>() {
    for side in Side::BOTH {
        let mut link = Link::<H>::connected();
        let receives = Side::BOTH.map(|side| (side, link.receive(side, 0)));
        link.queue(side, 0).to_error();
        assert_eq!(link.disconnected(side, 0), Ended::Local);
        assert!(matches!(link.disconnected(side.other(), 0), Ended::Peer | Ended::Lost));
        for (side, receive) in receives {
            let flushed = link.completion(side, receive);
            assert_eq!((flushed.status, flushed.byte_len), (Status::Flushed, 0));
            link.give(side, flushed);
        }
        over(&mut link, 0);
        link.connect_again();
        link.finish();
    }
}

pub fn twice<H: Harness>() {
    let mut link = Link::<H>::connected();
    for side in Side::BOTH {
        link.queue(side, 0).to_error();
        link.queue(side, 0).to_error();
    }
    for side in Side::BOTH {
        assert!(matches!(link.disconnected(side, 0), Ended::Local | Ended::Peer));
    }
    over(&mut link, 0);
    link.finish();
}

pub fn while_connecting<H: Harness>() {
    let mut link = Link::<H>::listening(Options::default(), Shape::default(), 4);
    let client = link.prepare(Side::Client, Peer::At(link.listening));
    link.receive(Side::Client, client);
    link.start(Side::Client, client, &[]).unwrap();
    link.queue(Side::Client, client).to_error();
    assert_eq!(link.disconnected(Side::Client, client), Ended::Local);
    link.drained(Side::Client, client);
    link.turns(50);
    link.end(Side::Server).events.clear();
    link.connect_again();
    link.finish();
}

pub fn while_requested<H: Harness>() {
    let mut link = Link::<H>::listening(Options::default(), Shape::default(), 1);
    let client = link.prepare(Side::Client, Peer::At(link.listening));
    link.start(Side::Client, client, &[]).unwrap();
    let request = link.request();
    link.queues[Side::Client as usize][client] = None;
    link.turns(50);
    // Gone now, or found to be gone on the way.
    if let Ok(mut server) = link.setup(Side::Server, Peer::Of(request.id), 9)
        && server.start(&link.parameters(Side::Server, &[])).is_ok()
    {
        link.disconnected(Side::Server, 9);
    }
    link.end(Side::Client).events.clear();
    link.connect_again();
    link.finish();
}

pub fn while_prepared<H: Harness>() {
    let mut link = Link::<H>::listening(Options::default(), Shape::default(), 1);
    let client = link.prepare(Side::Client, Peer::At(link.listening));
    link.start(Side::Client, client, &[]).unwrap();
    let request = link.request();
    let server = link.prepare(Side::Server, Peer::Of(request.id));
    link.receive(Side::Server, server);
    link.queue(Side::Server, server).to_error();
    link.event(Side::Client, "the end", |e| match e {
        Event::Rejected { .. } | Event::Disconnected { .. } => Some(()),
        _ => None,
    });
    link.drained(Side::Server, server);
    assert!(link.end(Side::Server).events.is_empty(), "who never started is told of nothing");
    link.connect_again();
    link.finish();
}

pub fn while_accepting<H: Harness>() {
    for side in Side::BOTH {
        for wait in 0..12 {
            let mut link = Link::<H>::listening(Options { seed: wait, ..Options::default() }, Shape::default(), 4);
            let client = link.prepare(Side::Client, Peer::At(link.listening));
            link.start(Side::Client, client, &[]).unwrap();
            let request = link.request();
            let server = link.prepare(Side::Server, Peer::Of(request.id));
            link.receive(Side::Server, server);
            link.start(Side::Server, server, &[]).unwrap();
            link.turns(wait as usize);
            link.queue(side, 0).to_error();
            let (one, other) = (link.disconnected(side, 0), link.disconnected(side.other(), 0));
            assert_eq!(one, Ended::Local);
            assert!(matches!(other, Ended::Peer | Ended::Lost), "{other:?}");
            for side in Side::BOTH {
                link.end(side).events.clear();
            }
            over(&mut link, 0);
            link.finish();
        }
    }
}

pub fn never_started<H: Harness>() {
    let mut link = Link::<H>::listening(Options::default(), Shape::default(), 4);
    let client = link.prepare(Side::Client, Peer::At(link.listening));
    let receive = link.receive(Side::Client, client);
    link.queue(Side::Client, client).to_error();
    assert!(link.start(Side::Client, client, &[]).is_err());
    let flushed = link.completion(Side::Client, receive);
    assert_eq!(flushed.status, Status::Flushed);
    link.give(Side::Client, flushed);
    assert!(link.end(Side::Client).events.is_empty());
    link.finish();
}

pub fn dropped_while_busy<H: Harness>() {
    for side in Side::BOTH {
        let mut link = Link::<H>::connected();
        // All receives first: over iWARP a message that finds none ends the connection.
        for end in [Side::BOTH; 4].into_iter().flatten() {
            link.receive(end, 0);
        }
        for end in [Side::BOTH; 4].into_iter().flatten() {
            link.say(end, 0, &[7; 600]);
        }
        link.queues[side as usize][0] = None;
        assert_eq!(link.disconnected(side, 0), Ended::Local);
        link.disconnected(side.other(), 0);
        link.until("the drain of a dropped queue pair", |l| l.end(side).out.is_empty().then_some(()));
        link.connect_again();
        link.finish();
    }
}

pub fn device_removed<H: Harness>() {
    for side in Side::BOTH {
        let mut link = Link::<H>::connected();
        link.receive(side, 0);
        let message = link.filled(side, &[1; 50]);
        link.send(side, 0, Op::SEND, Sgl::one(Sge::filled(message)));
        if !link.harness.remove_device(side) {
            return link.finish();
        }
        assert_eq!(link.disconnected(side, 0), Ended::Removed);
        link.until("the removal", |l| l.end(side).events.iter().any(|e| matches!(e, Event::Removed)).then_some(()));
        link.disconnected(side.other(), 0);
        over(&mut link, 0);
        let address = link.listening;
        assert!(link.setup(side, Peer::At(address), 5).is_err(), "a removed device takes nothing");
        link.finish();
    }
}

pub fn connection_lost<H: Harness>() {
    let mut link = Link::<H>::connected();
    link.receive(Side::Server, 0);
    if !link.harness.lose(name(Side::Server, 0)) {
        return link.finish();
    }
    for side in Side::BOTH {
        assert_eq!(link.disconnected(side, 0), Ended::Lost);
    }
    over(&mut link, 0);
    link.connect_again();
    link.finish();
}
