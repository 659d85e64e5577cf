//! Ends of every kind at every moment (hostile-input class T): all comes back once, and the end comes last and once.
use crate::random::{Driver, random_rig, turn};
use crate::rig::{ADDRESSES, Options, Rig, Seen, TARGET, bytes, statuses, tag};
use crate::server::Server;
use iscsi::datamover::{Advertised, DataStatus, Datamover, Ended, Violation};
use iscsi::wire::{LogoutResponse, NopIn, NopOut};
use rdma::loopback::{Fault, What, When};
use rdma::{Access, Event, Opcode, QueuePair, Status};

/// How a conversation is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cut {
    AtOnce,
    Graceful,
    GracefulThenAtOnce,
    GracefulThenLost,
    PeerLeaves,
    Lost,
    DeviceRemoved,
    PeersDeviceRemoved,
    Fails(Opcode, Status),
    Rubbish,
}

const CUTS: [Cut; 14] = [
    Cut::AtOnce,
    Cut::Graceful,
    Cut::GracefulThenAtOnce,
    Cut::GracefulThenLost,
    Cut::PeerLeaves,
    Cut::Lost,
    Cut::DeviceRemoved,
    Cut::PeersDeviceRemoved,
    Cut::Fails(Opcode::Send, Status::RnrRetryExceeded),
    Cut::Fails(Opcode::Send, Status::RemoteAccess),
    Cut::Fails(Opcode::Write, Status::RemoteAccess),
    Cut::Fails(Opcode::Read, Status::RemoteAccess),
    Cut::Fails(Opcode::Read, Status::Fatal(7)),
    Cut::Rubbish,
];

fn strike(rig: &mut Rig, cut: Cut) {
    match cut {
        Cut::AtOnce => rig.mover.terminate(false),
        Cut::Graceful | Cut::GracefulThenAtOnce | Cut::GracefulThenLost => rig.mover.terminate(true),
        Cut::PeerLeaves => rig.peer.queue.to_error(),
        Cut::Lost => rig.inject(What::Lose(TARGET)),
        Cut::DeviceRemoved => rig.inject(What::Remove(ADDRESSES[0])),
        Cut::PeersDeviceRemoved => rig.inject(What::Remove(ADDRESSES[1])),
        Cut::Fails(opcode, status) => {
            let when = When::Request { queue: TARGET, opcode: Some(opcode), n: 1 };
            rig.world.inject(Fault { when, what: What::Fail(status) }).unwrap();
        }
        Cut::Rubbish => rig.peer.say(&[0xEE; 99]),
    }
}

fn fits(cut: Cut, ended: Ended) -> bool {
    match cut {
        // Whatever happens once the end was asked for.
        Cut::AtOnce | Cut::Graceful | Cut::GracefulThenAtOnce | Cut::GracefulThenLost | Cut::Rubbish => {
            ended == Ended::Local
        }
        Cut::PeerLeaves => matches!(ended, Ended::Peer | Ended::Failed(_)),
        _ => matches!(ended, Ended::Failed(_)),
    }
}

/// A conversation of `before` turns, its end, and the account.
fn conversation(seed: u64, before: usize, cut: Cut) {
    let mut driver = Driver::new(seed);
    let mut rig = random_rig(&mut driver.rng);
    let mut server = Server::default();
    for _ in 0..before {
        driver.issue(&mut rig);
        turn(&mut rig, &mut server, &mut driver);
    }
    strike(&mut rig, cut);
    for after in 0..400 {
        if rig.ended.is_some() {
            break;
        }
        match cut {
            Cut::GracefulThenAtOnce if after == 3 => rig.mover.terminate(false),
            Cut::GracefulThenLost if after == 0 => rig.inject(What::Lose(TARGET)),
            _ => {}
        }
        if after < 60 {
            // Whoever does not know yet goes on.
            driver.issue(&mut rig);
        }
        turn(&mut rig, &mut server, &mut driver);
    }
    let Some(ended) = rig.ended else {
        assert!(matches!(cut, Cut::Fails(..)), "seed {seed}, {before} turns, {cut:?}: no end");
        // No such request was made any more.
        return rig.finish();
    };
    assert!(fits(cut, ended), "seed {seed}, {before} turns, {cut:?}: {ended:?}");
    rig.finished();
}

#[test]
fn t1_cut_at_every_turn_in_every_way() {
    for seed in 0..6 {
        for cut in CUTS {
            for before in (0..48).step_by(1 + seed as usize % 3) {
                conversation(1000 + seed, before, cut);
            }
        }
    }
}

#[test]
fn t1_cut_while_connecting_and_in_login() {
    for options in Options::kinds() {
        for cut in CUTS {
            for before in 0..20 {
                let mut rig = Rig::unconnected(Options { seed: before, ..options });
                for i in 0..before as u32 {
                    rig.turn();
                    if rig.peer.queue_has_room() {
                        rig.peer.send(
                            &NopOut { itt: i, ..NopOut::default() }.encode(),
                            &bytes(50),
                            Advertised::default(),
                        );
                    }
                    for seen in rig.drain() {
                        assert!(matches!(seen, Seen::Control { .. }), "{seen:?}");
                        let _ = rig.mover.send_control(&NopIn::default().encode(), &bytes(1000));
                    }
                    rig.mover.flush();
                }
                strike(&mut rig, cut);
                if rig.settle().contains(&Seen::Violation(Violation::Header)) {
                    assert_eq!(cut, Cut::Rubbish);
                    rig.mover.terminate(false);
                    rig.settle();
                }
                if rig.ended.is_some() { rig.finished() } else { rig.finish() }
            }
        }
    }
}

/// A connection with something in every stage: a put held back, one posted, a get whose read is under way, one that
/// waits, one that is unsolicited, a message shown, one not looked at, a PDU under way.
fn busy(options: Options) -> Rig {
    let mut rig = crate::unsolicited::announced(Options { ird: 1, ..options });
    let read = rig.peer.open(2, &bytes(500), Access::RemoteWrite);
    let write = rig.peer.open(3, &bytes(500), Access::RemoteRead);
    rig.settle();
    let remote = Advertised { write: Some(write), read: Some(read) };
    rig.expect(tag(1), 1, 0, 100);
    for i in [2, 3] {
        let get = rig.get(tag(i), remote, 0, 500);
        rig.mover.get_data(get).unwrap();
    }
    let put = rig.put(tag(4), remote, 0, &bytes(500));
    rig.mover.put_data(put).unwrap();
    rig.mover.send_control(&NopIn::default().encode(), b"posted").unwrap();
    rig.mover.flush();
    let put = rig.put(tag(5), remote, 0, &bytes(500));
    rig.mover.put_data(put).unwrap();
    rig.mover.send_control(&LogoutResponse::default().encode(), b"last").unwrap();
    let put = rig.put(tag(6), remote, 0, &bytes(500));
    rig.mover.put_data(put).unwrap();
    rig
}

#[test]
fn an_end_at_once_returns_everything() {
    for options in Options::kinds() {
        let mut rig = busy(options);
        rig.mover.terminate(false);
        // What the device does not have comes back at once.
        let at_once = statuses(&rig.drain());
        assert!(at_once.iter().all(|(_, status)| *status == DataStatus::Released));
        let mut indices: Vec<_> = at_once.iter().map(|(index, _)| *index).collect();
        indices.sort_unstable();
        assert_eq!(indices, [1, 3, 5, 6]);
        let seen = rig.settle();
        let mut rest: Vec<_> = statuses(&seen).iter().map(|(index, _)| *index).collect();
        rest.sort_unstable();
        assert_eq!(rest, [2, 4]);
        assert_eq!(seen.last(), Some(&Seen::Terminated(Ended::Local)));
        rig.finished();
    }
}

#[test]
fn a_graceful_end_sends_what_is_queued_and_then_closes() {
    for options in Options::kinds() {
        let mut rig = busy(options);
        rig.mover.terminate(true);
        let mut seen = rig.drain();
        assert!(!rig.mover.is_flushed());
        seen.extend(rig.settle());
        let mut ended = statuses(&seen);
        ended.sort_by_key(|(index, _)| *index);
        let expected = [1, 2, 3, 4, 5, 6].map(|i| (i, if i < 4 { DataStatus::Released } else { DataStatus::Ok }));
        assert_eq!(ended, expected);
        assert_eq!(seen.last(), Some(&Seen::Terminated(Ended::Local)));
        assert_eq!(rig.peer.got.last().unwrap().data, b"last");
        rig.turns(40);
        let how = rig
            .peer
            .events
            .iter()
            .find_map(|e| if let Event::Disconnected { how, .. } = e { Some(*how) } else { None });
        assert_eq!(how, Some(rdma::Ended::Peer), "the peer is told");
        rig.finished();
    }
}

#[test]
fn what_is_begun_while_ending_comes_back_released() {
    for graceful in [false, true] {
        let mut rig = busy(Options::default());
        rig.mover.terminate(graceful);
        let put = rig.put(tag(7), Advertised::default(), 0, &bytes(10));
        rig.mover.put_data(put).unwrap();
        let get = rig.get(tag(8), Advertised::default(), 0, 10);
        rig.mover.get_data(get).unwrap();
        rig.mover.send_control(&NopIn::default().encode(), b"never").unwrap();
        let seen = rig.settle();
        assert!([7, 8].iter().all(|i| statuses(&seen).contains(&(*i, DataStatus::Released))), "{seen:?}");
        assert!(rig.peer.got.iter().all(|got| got.data != b"never"));
        rig.finished();
    }
}

#[test]
fn after_the_last_upcall_nothing_is_taken() {
    let mut rig = Rig::enabled(Options::default());
    rig.mover.terminate(false);
    rig.settle();
    let put = rig.put(tag(7), Advertised::default(), 0, &bytes(10));
    let put = rig.mover.put_data(put).unwrap_err();
    let get = rig.get(tag(8), Advertised::default(), 0, 10);
    let get = rig.mover.get_data(get).unwrap_err();
    assert!(rig.mover.send_control(&NopIn::default().encode(), b"").is_err());
    rig.buffers.give(put.data);
    rig.buffers.give(get.sink);
    rig.finished();
}

#[test]
fn supplies_are_not_handed_out_before_the_end() {
    let mut rig = busy(Options::default());
    assert!(rig.mover.take_supplies().is_none());
    rig.mover.terminate(false);
    assert!(rig.mover.take_supplies().is_none());
    rig.settle();
    rig.finished();
}

#[test]
fn a_violation_lets_what_is_queued_go_out() {
    for options in Options::kinds() {
        let mut rig = Rig::enabled(options);
        rig.peer.say(b"rubbish");
        rig.turns(40);
        rig.mover.send_control(&NopIn::default().encode(), b"parting").unwrap();
        assert_eq!(rig.settle(), [Seen::Violation(Violation::Header)]);
        rig.peer.send(&NopOut::default().encode(), &[], Advertised::default());
        assert_eq!(rig.settle(), [], "nothing is looked at any more");
        assert_eq!(rig.peer.got[0].data, b"parting");
        rig.mover.terminate(true);
        assert_eq!(rig.settle(), [Seen::Terminated(Ended::Local)]);
        rig.finished();
    }
}

#[test]
fn completions_that_are_polled_and_not_handed_over_are_waited_for() {
    for options in Options::kinds() {
        let mut rig = busy(options);
        rig.mover.terminate(false);
        rig.peer_turns(60);
        // To the queue pair, everything has been polled.
        let mut held = rig.hold_completions();
        assert_eq!(rig.mover.queue().outstanding(), 0);
        rig.drain();
        assert_eq!(rig.ended, None);
        rig.mover.complete(held.as_mut_slice());
        assert!(rig.drain().contains(&Seen::Terminated(Ended::Local)));
        rig.finished();
    }
}

#[test]
fn an_end_before_the_connection_stands() {
    let mut rig = Rig::unconnected(Options::default());
    rig.peer.queue.to_error();
    rig.mover.terminate(true);
    assert_eq!(rig.settle(), [Seen::Terminated(Ended::Local)]);
    rig.finished();
}
