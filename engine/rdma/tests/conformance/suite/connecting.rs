//! Connection set-up.

use super::link::name;
use super::{Harness, Link, Options, Shape, Side};
use rdma::{Event, Peer, PrivateData, Provider, QueuePair, ReadDepth, Refused, RejectReason};

fn listening<H: Harness>(backlog: u16) -> Link<H> {
    Link::listening(Options::default(), Shape::default(), backlog)
}

/// Private data arrives whole; a transport may pad it with zeros.
fn carries(got: &PrivateData, sent: &[u8]) {
    let (head, tail) = got.as_slice().split_at(sent.len());
    assert!(head == sent && tail.iter().all(|b| *b == 0), "{got:?} is not {sent:02x?}");
}

fn rejected<H: Harness>(link: &mut Link<H>, n: usize) -> (RejectReason, PrivateData) {
    link.event(Side::Client, "the rejection", |e| match e {
        Event::Rejected { queue, why, private } if *queue == name(Side::Client, n) => Some((*why, *private)),
        _ => None,
    })
}

pub fn negotiates_depth_and_carries_private_data<H: Harness>() {
    let depth = [ReadDepth { ird: 1, ord: 9 }, ReadDepth { ird: 3, ord: 7 }];
    let shape = Shape { depth, ..Shape::default() };
    let mut link = Link::<H>::listening(Options::default(), shape, 8);
    let client = link.prepare(Side::Client, Peer::At(link.listening));
    link.start(Side::Client, client, &[0x80, 0, 0, 1]).unwrap();
    let request = link.request();
    carries(&request.private, &[0x80, 0, 0, 1]);
    assert_eq!((request.to, request.depth), (link.listening, ReadDepth { ird: 3, ord: 7 }));
    let server = link.prepare(Side::Server, Peer::Of(request.id));
    link.start(Side::Server, server, &[0xC0, 2]).unwrap();
    let (client_depth, private) = link.established(Side::Client, client);
    carries(&private, &[0xC0, 2]);
    let (server_depth, _) = link.established(Side::Server, server);
    let ird = if link.harness.leeway().generous_depth { client_depth.ord.clamp(1, 7) } else { 1 };
    assert_eq!((server_depth.ord, client_depth.ord), (3, ird), "each side's ORD is bounded by the other's IRD");
    link.finish();
}

pub fn carries_the_largest_private_data<H: Harness>() {
    let mut link = listening::<H>(8);
    let room = link.harness.provider(Side::Client).attributes().private_data;
    let bytes = |n: u16| (0..n).map(|i| (i % 251) as u8 + 1).collect::<Vec<u8>>();
    let client = link.prepare(Side::Client, Peer::At(link.listening));
    link.start(Side::Client, client, &bytes(room.connect)).unwrap();
    let request = link.request();
    carries(&request.private, &bytes(room.connect));
    let server = link.prepare(Side::Server, Peer::Of(request.id));
    link.start(Side::Server, server, &bytes(room.accept)).unwrap();
    carries(&link.established(Side::Client, client).1, &bytes(room.accept));

    let second = link.prepare(Side::Client, Peer::At(link.listening));
    link.start(Side::Client, second, &[]).unwrap();
    let request = link.request();
    assert!(request.private.as_slice().iter().all(|b| *b == 0));
    let no = PrivateData::new(&bytes(room.reject)).unwrap();
    link.harness.provider(Side::Server).reject(request.id, no).unwrap();
    carries(&rejected(&mut link, second).1, &bytes(room.reject));
    link.finish();
}

pub fn refuses_private_data_that_is_too_long<H: Harness>() {
    let mut link = listening::<H>(8);
    let room = link.harness.provider(Side::Client).attributes().private_data;
    let longest = rdma::limits::MAX_PRIVATE_DATA;
    let client = link.prepare(Side::Client, Peer::At(link.listening));
    if usize::from(room.connect) < longest {
        let error = link.start(Side::Client, client, &vec![1; usize::from(room.connect) + 1]);
        assert_eq!(error, Err(Refused::PrivateData { room: room.connect.into() }));
    }
    link.start(Side::Client, client, &[1]).expect("the refusal has cost nothing");
    let request = link.request();
    if usize::from(room.reject) < longest {
        let long = PrivateData::new(&vec![1; usize::from(room.reject) + 1]).unwrap();
        let error = link.harness.provider(Side::Server).reject(request.id, long);
        assert_eq!(error, Err(Refused::PrivateData { room: room.reject.into() }));
    }
    let server = link.prepare(Side::Server, Peer::Of(request.id));
    if usize::from(room.accept) < longest {
        let error = link.start(Side::Server, server, &vec![1; usize::from(room.accept) + 1]);
        assert_eq!(error, Err(Refused::PrivateData { room: room.accept.into() }));
    }
    link.start(Side::Server, server, &[2]).expect("the refusal has cost nothing");
    link.established(Side::Client, client);
    assert!(PrivateData::new(&vec![0; longest + 1]).is_none());
    link.finish();
}

pub fn rejects_with_private_data<H: Harness>() {
    let mut link = listening::<H>(8);
    let client = link.prepare(Side::Client, Peer::At(link.listening));
    let receive = link.receive(Side::Client, client);
    link.start(Side::Client, client, b"please").unwrap();
    let request = link.request();
    link.harness.provider(Side::Server).reject(request.id, PrivateData::new(b"no").unwrap()).unwrap();
    let again = link.harness.provider(Side::Server).reject(request.id, PrivateData::EMPTY);
    assert_eq!(again, Err(Refused::Gone));
    assert_eq!(link.setup(Side::Server, Peer::Of(request.id), 1).unwrap_err(), Refused::Gone);
    let (why, private) = rejected(&mut link, client);
    assert_eq!(why, RejectReason::Consumer);
    carries(&private, b"no");
    let flushed = link.completion(Side::Client, receive);
    assert_eq!(flushed.status, rdma::Status::Flushed);
    link.give(Side::Client, flushed);
    link.connect_again();
    link.finish();
}

pub fn nobody_listens<H: Harness>() {
    let mut link = listening::<H>(8);
    let nowhere = link.harness.nowhere();
    let client = link.prepare(Side::Client, Peer::At(nowhere));
    link.start(Side::Client, client, &[]).unwrap();
    let (why, _) = rejected(&mut link, client);
    assert!(matches!(why, RejectReason::NoListener | RejectReason::Unreachable));
    link.finish();
}

pub fn backlog_is_kept<H: Harness>() {
    let mut link = listening::<H>(2);
    let clients = [(); 3].map(|()| link.prepare(Side::Client, Peer::At(link.listening)));
    for client in clients {
        link.start(Side::Client, client, &[]).unwrap();
    }
    let requests = [link.request(), link.request()];
    let why = link.event(Side::Client, "one rejection", |e| match e {
        Event::Rejected { why, .. } => Some(*why),
        _ => None,
    });
    let silent = why == RejectReason::Consumer && link.harness.leeway().silent_refusal;
    assert!(silent || matches!(why, RejectReason::NoListener | RejectReason::Unreachable), "{why:?}");
    for request in requests {
        link.harness.provider(Side::Server).reject(request.id, PrivateData::EMPTY).unwrap();
    }
    link.turns(50);
    let events = &link.end(Side::Client).events;
    assert_eq!(events.iter().filter(|e| matches!(e, Event::Rejected { .. })).count(), 2);
    link.connect_again();
    link.finish();
}

pub fn request_is_withdrawn<H: Harness>() {
    let mut link = listening::<H>(1);
    let client = link.prepare(Side::Client, Peer::At(link.listening));
    link.start(Side::Client, client, &[]).unwrap();
    let request = link.request();
    link.queue(Side::Client, client).to_error();
    link.disconnected(Side::Client, client);
    link.turns(50);
    // Whether the acceptor learns at once or only when it answers is the transport's.
    if let Ok(mut server) = link.setup(Side::Server, Peer::Of(request.id), 77) {
        let parameters = link.parameters(Side::Server, &[]);
        if server.start(&parameters).is_ok() {
            link.disconnected(Side::Server, 77);
        }
    }
    link.connect_again();
    link.finish();
}

pub fn unlisten_rejects_what_waits<H: Harness>() {
    let mut link = listening::<H>(8);
    let client = link.prepare(Side::Client, Peer::At(link.listening));
    link.start(Side::Client, client, &[]).unwrap();
    let request = link.request();
    let at = link.listening;
    link.harness.provider(Side::Server).unlisten(at);
    rejected(&mut link, client);
    assert!(link.setup(Side::Server, Peer::Of(request.id), 0).is_err());
    let late = link.prepare(Side::Client, Peer::At(at));
    link.start(Side::Client, late, &[]).unwrap();
    rejected(&mut link, late);
    assert_eq!(link.harness.provider(Side::Server).listen(at, 1), Ok(at), "the address is free again");
    assert_eq!(link.harness.provider(Side::Server).listen(at, 1), Err(Refused::InUse));
    link.connect_again();
    link.finish();
}

pub fn a_queue_starts_once<H: Harness>() {
    let mut link = Link::<H>::connected();
    for side in Side::BOTH {
        assert_eq!(link.start(side, 0, &[]), Err(Refused::State));
    }
    link.finish();
}

/// Nothing of a connection stays behind: completion queues and tables hold far fewer than come and go here.
pub fn ends_make_room_for_others<H: Harness>() {
    let mut link = listening::<H>(8);
    for n in 0..60 {
        link.connect_again();
        let side = if n % 2 == 0 { Side::Server } else { Side::Client };
        for side in [side, side.other()] {
            link.queue(side, n).to_error();
            link.drained(side, n);
        }
        for side in Side::BOTH {
            link.disconnected(side, n);
            link.queues[side as usize][n] = None;
        }
        link.turns(10);
    }
    link.finish();
}

pub fn limits_are_refusals<H: Harness>() {
    let mut link = listening::<H>(8);
    let attributes = link.harness.provider(Side::Client).attributes();
    assert!(usize::from(attributes.max_sge) >= rdma::limits::MAX_SGE);
    let peer = Peer::At(link.listening);
    let usual = link.shape;
    if let Some(send) = attributes.max_send.checked_add(1) {
        link.shape = Shape { send, ..usual };
        assert!(matches!(link.setup(Side::Client, peer, 0), Err(Refused::Limit { .. })));
    }
    // 512 completions fit, so 32 queue pairs of 16 + 16 cannot all be told of.
    link.shape = usual;
    let mut queues = vec![];
    let refused = (0..32).find_map(|n| match link.setup(Side::Client, peer, n) {
        Ok(queue) => {
            queues.push(queue);
            None
        }
        Err(refused) => Some(refused),
    });
    assert!(matches!(refused, Some(Refused::Limit { .. })), "{refused:?}");
    drop(queues);
    link.turns(20);
    link.connect_again();
    link.finish();
}

impl<H: Harness> Link<H> {
    /// The provider still works: a connection comes about and carries a message.
    pub fn connect_again(&mut self) {
        // Numbers of both ends may differ by now; a fresh pair of equal ones is taken.
        let n = self.queues[0].len().max(self.queues[1].len());
        for queues in &mut self.queues {
            queues.resize_with(n, || None);
        }
        let n = self.connect();
        let receive = self.receive(Side::Server, n);
        let send = self.say(Side::Client, n, b"still here");
        assert_eq!(self.bytes(Side::Server, receive), b"still here");
        self.succeeds(Side::Client, send);
    }
}
