//! Exhaustion (hostile-input class R): back-pressure, never growth, never a hang.
use crate::rig::{Options, Rig, Seen, bytes, tag};
use iscsi::datamover::{Advertised, DataStatus, Datamover, Ended, Later, PutData, Upcall};
use iscsi::wire::{Bhs, NopIn, NopOut, RESERVED_TAG, ScsiResponse};
use iser::Limits;
use rdma::Access;

const NONE: Advertised = Advertised { write: None, read: None };

fn nop(itt: u32) -> Bhs {
    NopOut { itt, ttt: RESERVED_TAG, ..NopOut::default() }.encode()
}

fn answer(itt: u32) -> Bhs {
    NopIn { itt, ..NopIn::default() }.encode()
}

#[test]
fn control_pdus_end_with_the_buffers_and_go_on_when_they_are_back() {
    for options in Options::kinds() {
        let mut rig = Rig::enabled(Options { control: 3, ..options });
        for round in 0..4 {
            for i in 0..3 {
                assert_eq!(rig.mover.send_control(&answer(i), &[]), Ok(()), "round {round}");
            }
            assert_eq!(rig.mover.send_control(&answer(3), &[]), Err(Later));
            rig.settle();
        }
        assert_eq!((rig.peer.got.len(), rig.mover.stats().refused), (12, 4));
        rig.finish();
    }
}

#[test]
fn responses_leave_a_reserve_to_answers_and_data_leaves_room_for_both() {
    let options = Options::default();
    let limits = Limits { reserve: 4, puts: 1000, ..options.limits };
    let mut rig = Rig::enabled(Options { send_depth: 16, control: 16, limits, ..options });
    let read = rig.peer.open(1, &bytes(64), Access::RemoteWrite);
    rig.settle();
    let remote = Advertised { write: None, read: Some(read) };
    let mut puts = 0;
    let refused = loop {
        let put = rig.put(tag(puts), remote, 0, &bytes(64));
        match rig.mover.put_data(put) {
            Ok(_) => puts += 1,
            Err(put) => break put,
        }
    };
    rig.buffers.give(refused.data);
    assert_eq!(puts, 12);
    let response = ScsiResponse::default().encode();
    assert_eq!(rig.mover.send_response(&response, &[], &NONE), Err(Later));
    // A command that is refused has to be answered at once, as any PDU that was shown.
    assert_eq!(rig.mover.send_control(&response, &[]), Ok(()));
    for i in 1..4 {
        assert_eq!(rig.mover.send_control(&answer(i), &[]), Ok(()));
    }
    assert_eq!(rig.mover.send_control(&answer(5), &[]), Err(Later));
    assert_eq!(statuses_ok(&rig.settle()), 12);
    assert_eq!(rig.mover.send_response(&response, &[], &NONE), Ok(()));
    rig.finish();
}

#[test]
fn responses_leave_control_buffers_to_answers() {
    let options = Options::default();
    let limits = Limits { reserve: 4, ..options.limits };
    let mut rig = Rig::enabled(Options { control: 6, limits, ..options });
    let response = ScsiResponse::default().encode();
    let sent = (0..6).filter(|_| rig.mover.send_response(&response, &[], &NONE).is_ok()).count();
    let answered = (0..6).filter(|i| rig.mover.send_control(&answer(*i), &[]).is_ok()).count();
    assert_eq!((sent, answered), (2, 4));
    rig.finish();
}

fn statuses_ok(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::Done { status: DataStatus::Ok, .. })).count()
}

#[test]
fn puts_beyond_their_limit_come_back() {
    let options = Options::default();
    let mut rig = Rig::enabled(Options { limits: Limits { puts: 2, ..options.limits }, ..options });
    let read = rig.peer.open(1, &bytes(64), Access::RemoteWrite);
    rig.settle();
    for round in 0..3 {
        for i in 0..3 {
            let put = rig.put(tag(i), Advertised { write: None, read: Some(read) }, 0, &bytes(64));
            match rig.mover.put_data(put) {
                Ok(_) => assert!(i < 2),
                Err(put) => {
                    assert_eq!((i, put.tag, put.data.filled()), (2, tag(2), &bytes(64)[..]), "round {round}");
                    rig.buffers.give(put.data);
                }
            }
        }
        assert_eq!(statuses_ok(&rig.settle()), 2);
    }
    rig.finish();
}

#[test]
fn ended_operations_that_nobody_looks_at_stop_new_ones() {
    let options = Options::default();
    let limits = Limits { puts: 2, gets: 1, unsolicited: 1, ..options.limits };
    let mut rig = Rig::enabled(Options { limits, ..options });
    let mut taken = 0;
    loop {
        let mut put = rig.put(tag(taken), NONE, 0, b"x");
        put.len = 0;
        match rig.mover.put_data(put) {
            Ok(_) => taken += 1,
            Err(put) => break rig.buffers.give(put.data),
        }
        assert!(taken < 100, "a queue without end");
    }
    assert_eq!(rig.drain().len(), usize::from(taken));
    rig.finish();
}

#[test]
fn ended_operations_that_are_never_all_looked_at_take_no_more_memory() {
    let options = Options::default();
    let limits = Limits { puts: 2, gets: 1, unsolicited: 1, ..options.limits };
    let mut rig = Rig::enabled(Options { limits, ..options });
    let nothing = |rig: &mut Rig, i| {
        let put = rig.put(tag(i), NONE, 0, b"x");
        PutData { len: 0, ..put }
    };
    let put = nothing(&mut rig, 0);
    assert!(rig.mover.put_data(put).is_ok());
    for i in 1..1000 {
        let put = nothing(&mut rig, i);
        let (oldest, counts) = reactors::guard::count(|| {
            assert!(rig.mover.put_data(put).is_ok());
            rig.mover.poll()
        });
        let Some(Upcall::DataDone { tag, buf, .. }) = oldest else { panic!("{oldest:?}") };
        rig.buffers.give(buf);
        assert_eq!((tag.index(), counts.allocations), (i - 1, 0));
    }
    assert_eq!(rig.drain().len(), 1);
    rig.finish();
}

#[test]
fn r2_who_does_not_take_answers_is_not_listened_to() {
    // The initiator has receives for two messages and posts no more; it pings and pings. On iWARP that ends the
    // connection, on InfiniBand the Sends wait for a while first.
    for iwarp in [false, true] {
        let mut rig = Rig::enabled(Options { iwarp, peer_receives: 2, control: 6, ..Options::default() });
        rig.peer.reads = false;
        let (mut shown, mut ended) = (0, None);
        for i in 0..400 {
            if rig.peer.queue_has_room() && i < 20 {
                rig.peer.send(&nop(i), &[], NONE);
            }
            rig.turn();
            for seen in rig.drain() {
                match seen {
                    Seen::Control { .. } => {
                        shown += 1;
                        rig.mover.send_control(&answer(i), &[]).expect("room for an answer to what is shown");
                    }
                    Seen::Terminated(how) => ended = Some(how),
                    other => panic!("{other:?}"),
                }
            }
            rig.mover.flush();
        }
        assert!(shown <= 6, "{shown} shown");
        assert!(matches!(ended, Some(Ended::Failed(_))), "{ended:?}");
        rig.finished();
    }
}

#[test]
fn r3_a_flood_into_a_shared_queue_ends_the_connection_that_sends_it() {
    let options = Options { shared: true, receives: 40, ..Options::default() };
    let mut rig = Rig::enabled(Options { limits: Limits { receives: 10, ..options.limits }, ..options });
    for i in 0..30 {
        rig.peer.send(&nop(i), &[], NONE);
    }
    // Nobody looks at the messages meanwhile.
    rig.turns(40);
    let seen = rig.settle();
    assert!(matches!(seen[..], [Seen::Terminated(Ended::Failed(_))]), "{seen:?}");
    rig.finished();
}

#[test]
fn r3_messages_that_wait_are_all_seen() {
    for options in Options::kinds() {
        let mut rig = Rig::enabled(options);
        for i in 0..24 {
            rig.peer.send(&nop(i), &bytes(i as usize), NONE);
        }
        rig.turns(60);
        let seen = rig.settle();
        assert_eq!(seen.len(), 24);
        for (i, seen) in seen.iter().enumerate() {
            assert!(matches!(seen, Seen::Control { bhs, data, .. } if bhs.itt() == i as u32 && *data == bytes(i)));
        }
        rig.finish();
    }
}

#[test]
fn a_message_stays_open_until_the_next_poll_whatever_else_comes_and_goes() {
    for options in Options::kinds() {
        let mut rig = Rig::enabled(options);
        let (mut sent, mut seen) = (0, 0);
        while seen < 200 {
            // Never more than there are receives for, of which one is in the open message.
            while sent < 200 && sent < seen + 20 {
                rig.peer.send(&nop(sent), &bytes(sent as usize % 100), NONE);
                sent += 1;
            }
            rig.turns(20);
            for _ in 0..seen % 3 + 5 {
                let Some(Upcall::Control(control)) = rig.mover.poll() else { break };
                rig.turns(4);
                rig.mover.flush();
                assert_eq!((control.bhs.itt(), rig.mover.segment()), (seen, &bytes(seen as usize % 100)[..]));
                seen += 1;
            }
        }
        assert!(rig.mover.poll().is_none() && rig.mover.segment().is_empty());
        rig.finish();
    }
}

#[test]
fn messages_before_the_confirmation_wait_for_it() {
    for options in Options::kinds() {
        for seed in 0..20 {
            let mut rig = Rig::unconnected(Options { seed, ..options });
            assert_eq!(rig.mover.send_control(&answer(1), &[]), Err(Later), "not connected yet");
            while !rig.peer.queue_has_room() {
                rig.turn();
            }
            rig.peer.send(&nop(1), &[], NONE);
            assert!(matches!(rig.settle()[..], [Seen::Control { .. }]));
            rig.finish();
        }
    }
}

#[test]
fn text_waits_for_a_message_buffer() {
    let mut rig = Rig::new(Options::default());
    rig.mover.send_control(&answer(1), &bytes(8192)).unwrap();
    assert_eq!(rig.mover.send_control(&answer(2), &bytes(8192)), Err(Later));
    // A login request that came now would need one for its answer.
    rig.peer.send(&nop(3), &[], NONE);
    rig.turns(60);
    assert!(rig.drain().is_empty() && !rig.mover.has_more());
    rig.mover.flush();
    assert!(matches!(rig.settle()[..], [Seen::Control { .. }]));
    rig.finish();
}
