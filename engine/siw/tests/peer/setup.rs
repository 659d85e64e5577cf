//! MPA: what is accepted, what is answered, what is turned away.

use super::support::{DEPTH, Raw, Rig, SECOND, siw_request};
use rdma::{Event, Parameters, Peer, PrivateData, Provider, QueuePair, ReadDepth, Refused, RejectReason};
use siw::wire::mpa::UNNEGOTIATED;
use siw::wire::{Depths, Fault, Frame, Opcode, Role};
use siw::{Config, Crc};
use std::net::{Ipv4Addr, TcpListener};

fn depths(ird: u16, ord: u16) -> Depths {
    Depths { depth: ReadDepth { ird, ord }, ..Depths::default() }
}

/// What a request is answered with.
fn answered(config: Config, change: impl FnOnce(&mut Frame)) -> Option<Frame> {
    let mut rig = Rig::new(config);
    let mut frame = siw_request();
    change(&mut frame);
    let mut raw = Raw::connect(rig.at);
    raw.frame(&frame);
    let asked = rig.until("a request or an answer", |rig| {
        let found = rig.events.pop();
        let answered = raw.socket.peek(&mut [0]).is_ok();
        found.map(Some).or(answered.then_some(None))
    });
    let Some(Event::Request(request)) = asked else {
        let reply = raw.reply(&mut rig);
        raw.closed(&mut rig);
        return Some(reply);
    };
    assert_eq!(request.private, frame.private);
    let mut queue = rig.prepare(Peer::Of(request.id), None);
    queue.start(&Parameters { depth: DEPTH, private: PrivateData::new(b"yes").unwrap() }).unwrap();
    let reply = raw.reply(&mut rig);
    assert!(raw.is_silent(&mut rig), "nothing follows the reply");
    Some(reply)
}

#[test]
fn the_request_of_siw_is_answered_as_siw_wants_it() {
    let reply = answered(Config::default(), |_| {}).unwrap();
    assert!(!reply.reject && !reply.markers && !reply.crc && reply.revision == 2);
    // IRD 128 bounds the ORD by more than this side wants; it is not zero.
    assert_eq!((reply.enhanced, reply.private.as_slice()), (Some(depths(4, 4)), &b"yes"[..]));
}

#[test]
fn crc_is_mirrored_or_insisted_on_or_refused() {
    for (policy, asked, on) in [
        (Crc::IfAsked, false, Some(false)),
        (Crc::IfAsked, true, Some(true)),
        (Crc::Always, false, Some(true)),
        (Crc::Always, true, Some(true)),
        (Crc::Never, false, Some(false)),
        (Crc::Never, true, None),
    ] {
        let reply = answered(Config { crc: policy, ..Config::default() }, |f| f.crc = asked).unwrap();
        assert_eq!((!reply.reject).then_some(reply.crc), on, "{policy:?}, asked {asked}");
    }
}

#[test]
fn revisions_and_markers() {
    for (revision, taken) in [(0, false), (1, true), (2, true), (3, false), (255, false)] {
        let reply = answered(Config::default(), |f| (f.revision, f.enhanced) = (revision, None)).unwrap();
        assert_eq!(!reply.reject, taken, "revision {revision}");
        assert!(reply.enhanced.is_none(), "who did not ask for the enhanced set-up does not get it");
        assert!(reply.revision <= 2);
    }
    assert!(answered(Config::default(), |f| f.markers = true).unwrap().reject);
    assert!(answered(Config::default(), |f| f.reject = true).unwrap().reject, "a request that rejects");
}

#[test]
fn depths_are_agreed_on_or_left_alone() {
    let with = |asked: Depths| answered(Config::default(), |f| f.enhanced = Some(asked)).unwrap().enhanced.unwrap();
    assert_eq!(with(depths(1, 9)), depths(4, 1));
    assert_eq!(with(depths(0, 0)), depths(4, 0));
    assert_eq!(with(depths(UNNEGOTIATED, 1)), depths(4, UNNEGOTIATED));
    assert_eq!(with(depths(1, UNNEGOTIATED)), depths(UNNEGOTIATED, 1));
}

#[test]
fn ready_to_receive_is_agreed_on_as_the_peer_can() {
    let with = |by_send, by_write, by_read| {
        let asked = Depths { peer_to_peer: true, by_send, by_write, by_read, ..depths(4, 4) };
        let reply = answered(Config::default(), |f| f.enhanced = Some(asked)).unwrap().enhanced.unwrap();
        assert!(reply.peer_to_peer);
        (reply.by_send, reply.by_write, reply.by_read)
    };
    assert_eq!(with(true, false, false), (true, false, false));
    assert_eq!(with(false, true, false), (false, true, false));
    assert_eq!(with(false, false, true), (false, false, true));
    assert_eq!(with(true, true, true), (true, true, true));
    assert_eq!(with(false, false, false), (false, true, false), "one is offered in any case");
    let meaningless = Depths { by_send: true, by_write: true, ..depths(4, 4) };
    let reply = answered(Config::default(), |f| f.enhanced = Some(meaningless)).unwrap().enhanced.unwrap();
    assert_eq!(reply, depths(4, 4), "without A the others say nothing");
}

#[test]
fn each_way_to_be_ready_opens_the_way_back() {
    for way in 0..4 {
        let mut rig = Rig::new(Config::default());
        let asked = Depths { peer_to_peer: true, by_send: true, by_write: true, by_read: true, ..depths(4, 4) };
        let (mut queue, mut raw) = rig.accepted_with(|f| f.enhanced = Some(asked), None);
        let receive = rig.receive(&mut queue);
        let said = rig.say(&mut queue, 10, 1);
        assert!(raw.is_silent(&mut rig), "the peer has not spoken");
        let next = match way {
            0 => {
                raw.rdma_write(0, 0, b"");
                1
            }
            1 => {
                raw.read_request(1, siw::wire::ReadRequest::default());
                1
            }
            2 => {
                // An FPDU of nothing.
                raw.write(&[0; 8]);
                1
            }
            _ => {
                raw.send(1, b"");
                2
            }
        };
        assert_eq!(raw.message(&mut rig).1, [1; 10], "way {way}");
        if way == 1 {
            assert_eq!(raw.fpdu(&mut rig).0.opcode, Opcode::ReadResponse);
        }
        rig.succeeds(said);
        raw.send(next, b"first");
        assert_eq!(rig.bytes(receive), b"first", "and none of it used a receive up");
    }
}

#[test]
fn a_whole_frame_in_any_pieces_and_nothing_behind_it() {
    let mut bytes = [0; siw::wire::mpa::MAX_FRAME];
    let len = siw_request().encode(&mut bytes);
    for cut in 0..len {
        let mut rig = Rig::new(Config::default());
        let mut raw = Raw::connect(rig.at);
        raw.write(&bytes[..cut]);
        rig.turns(5);
        assert!(rig.events.is_empty());
        raw.write(&bytes[cut..len]);
        rig.request();
    }
    let mut rig = Rig::new(Config::default());
    let mut raw = Raw::connect(rig.at);
    raw.write(&bytes[..len]);
    raw.write(b"x");
    rig.turns(10);
    raw.gone(&mut rig);
    let asked = rig.events.pop();
    if let Some(Event::Request(request)) = asked {
        assert_eq!(rig.device.reject(request.id, PrivateData::EMPTY), Err(Refused::Gone), "it was over at once");
    }
}

#[test]
fn what_is_not_mpa_is_dropped_at_the_first_wrong_byte() {
    let mut rig = Rig::new(Config::default());
    for wrong in [&b"GET / HTTP/1.1\r\n"[..], b"M", b"MPA ID Rep Frame", b"\0"] {
        let mut raw = Raw::connect(rig.at);
        raw.write(wrong);
        if wrong == b"M" {
            rig.turns(10);
            raw.write(b"A");
        }
        raw.gone(&mut rig);
    }
    let mut long = [0; 22];
    long[..16].copy_from_slice(b"MPA ID Req Frame");
    long[16..20].copy_from_slice(&[0x10, 2, 0x02, 0x01]);
    let mut raw = Raw::connect(rig.at);
    raw.write(&long);
    raw.gone(&mut rig);
    assert!(rig.events.is_empty());
    assert_eq!(rig.device.stats().half_open_dropped, 5);
}

#[test]
fn who_is_slow_is_dropped_and_who_is_quicker_gets_the_place() {
    let mut rig = Rig::new(Config { half_open: 3, ..Config::default() });
    let mut idle: Vec<Raw> = (0..3).map(|_| Raw::connect(rig.at)).collect();
    rig.turns(10);
    assert_eq!(rig.device.stats().half_open_dropped, 0);
    let mut quick = Raw::connect(rig.at);
    quick.frame(&siw_request());
    rig.request();
    idle[0].gone(&mut rig);
    assert_eq!(rig.device.stats().half_open_dropped, 1, "the oldest made room");
    // One byte now and then does not help.
    idle[1].write(b"M");
    rig.now += 9 * SECOND;
    rig.turns(5);
    assert_eq!(rig.device.stats().half_open_dropped, 1);
    idle[2].write(b"M");
    rig.now += 2 * SECOND;
    for raw in &mut idle[1..] {
        raw.gone(&mut rig);
    }
    assert_eq!(rig.device.stats().half_open_dropped, 3);
}

#[test]
fn a_requester_waits_so_long_and_no_longer() {
    let mut rig = Rig::new(Config::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut queue = rig.prepare(Peer::At(listener.local_addr().unwrap()), None);
    let receive = rig.receive(&mut queue);
    rig.start(&mut queue);
    let mut raw = Raw::new(listener.accept().unwrap().0);
    let request = raw.request(&mut rig);
    assert!(!request.crc && !request.markers && request.revision == 2);
    let asked = request.enhanced.unwrap();
    assert!(asked.peer_to_peer && asked.by_write && asked.depth == DEPTH);
    rig.now += 4 * SECOND;
    rig.turns(5);
    assert!(rig.events.is_empty());
    assert!(rig.device.deadline().is_some_and(|at| at > rig.now && at < rig.now + 2 * SECOND));
    rig.now += 2 * SECOND;
    let why = rig.event("the rejection", |e| if let Event::Rejected { why, .. } = e { Some(*why) } else { None });
    assert_eq!(why, RejectReason::Unreachable);
    let flushed = rig.completion(receive);
    assert_eq!(flushed.status, rdma::Status::Flushed);
    raw.gone(&mut rig);
}

/// What a requester makes of a reply: the queue pair, the peer, and how it ended if it did.
fn replied(config: Config, change: impl FnOnce(&mut Frame)) -> (Rig, Raw, Option<RejectReason>) {
    let mut rig = Rig::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut queue = rig.prepare(Peer::At(listener.local_addr().unwrap()), None);
    rig.start(&mut queue);
    let mut raw = Raw::new(listener.accept().unwrap().0);
    let request = raw.request(&mut rig);
    let mut reply = Frame { role: Role::Reply, private: PrivateData::new(b"no").unwrap(), ..request };
    reply.enhanced = Some(depths(4, 4));
    change(&mut reply);
    raw.frame(&reply);
    raw.crc = reply.crc;
    let why = rig.event("an answer", |e| match e {
        Event::Rejected { why, private, .. } => {
            assert_eq!(private.is_empty(), *why != RejectReason::Consumer);
            Some(Some(*why))
        }
        Event::Established { .. } => Some(None),
        _ => None,
    });
    drop(queue);
    (rig, raw, why)
}

#[test]
fn replies_a_requester_can_live_with() {
    let ok = |change: fn(&mut Frame)| replied(Config::default(), change).2;
    assert_eq!(ok(|_| {}), None);
    assert_eq!(ok(|f| f.crc = true), None);
    assert_eq!(ok(|f| f.enhanced = Some(depths(4, 128))), None, "more Reads than offered, but not than possible");
    assert_eq!(ok(|f| f.enhanced = Some(depths(UNNEGOTIATED, UNNEGOTIATED))), None);
    assert_eq!(ok(|f| f.reject = true), Some(RejectReason::Consumer));
    assert_eq!(ok(|f| f.markers = true), Some(RejectReason::Incompatible));
    assert_eq!(ok(|f| f.enhanced = None), Some(RejectReason::Incompatible));
    let never = Config { crc: Crc::Never, ..Config::default() };
    assert_eq!(replied(never, |f| f.crc = true).2, Some(RejectReason::Incompatible));
    assert_eq!(replied(Config::default(), |f| f.role = Role::Request).2, Some(RejectReason::Incompatible));
}

#[test]
fn replies_that_are_answered_with_a_terminate() {
    let (mut rig, mut raw, why) = replied(Config::default(), |f| f.enhanced = Some(depths(4, 129)));
    assert_eq!((why, raw.terminated(&mut rig)), (Some(RejectReason::Incompatible), Fault::DEPTH));
    let by_send = Depths { peer_to_peer: true, by_send: true, ..depths(4, 4) };
    let (mut rig, mut raw, why) = replied(Config::default(), |f| f.enhanced = Some(by_send));
    assert_eq!((why, raw.terminated(&mut rig)), (Some(RejectReason::Incompatible), Fault::READY));
}

#[test]
fn a_request_that_is_withdrawn_is_gone() {
    let mut rig = Rig::new(Config::default());
    for claimed in [false, true] {
        let mut raw = Raw::connect(rig.at);
        raw.frame(&siw_request());
        let request = rig.request();
        let queue = claimed.then(|| rig.prepare(Peer::Of(request.id), None));
        drop(raw);
        rig.turns(20);
        assert_eq!(rig.device.reject(request.id, PrivateData::EMPTY), Err(Refused::Gone));
        if let Some(mut queue) = queue {
            let parameters = Parameters { depth: DEPTH, private: PrivateData::EMPTY };
            assert_eq!(queue.start(&parameters), Err(Refused::Gone));
        }
    }
}

#[test]
fn an_fpdu_of_nothing_means_nothing_later() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    let receive = rig.receive(&mut queue);
    raw.send(1, b"login");
    assert_eq!(rig.bytes(receive), b"login");
    raw.write(&[0; 8]);
    assert_eq!(raw.terminated(&mut rig), Fault::FPDU);
}
