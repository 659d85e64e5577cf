//! Releases and ends (hostile-input class T): every buffer comes back once, and the end comes last and once.
use crate::support::*;
use iscsi::datamover::{DataStatus, Datamover, Ended};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, NopIn, Opcode};

fn statuses(events: &[Event]) -> Vec<(u16, DataStatus)> {
    let of = |e: &Event| match e {
        Event::Done { tag, status, .. } => Some((tag.index(), *status)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

/// A connection with something in every stage: a get halfway through its payload, one that waits, one that is
/// unsolicited, a put partly sent, one queued, and a control PDU behind them.
fn busy() -> Rig {
    let mut rig = Rig::enabled(&parameters());
    rig.arrive_pdu(&write_command(4, false), &[]);
    assert_eq!(rig.settle().len(), 1);
    rig.expect(tag(4), 4, 0, 100);
    let ttt = rig.solicit(tag(1), 1, 0, 50_000);
    rig.solicit(tag(2), 2, 0, 100);
    let wire = rig.peer.frame(&data_out(1, ttt, 0, 0, true), &[], &bytes(50_000));
    rig.arrive(&wire[..20_000]);
    for i in 5..7 {
        let put = rig.put(tag(i), u32::from(i), &bytes(9000));
        rig.tcp.put_data(put).unwrap();
    }
    rig.tcp.send_control(&NopIn::default().encode(), b"last").unwrap();
    rig.pipe.0.borrow_mut().write_room = Some(100);
    assert_eq!(rig.settle(), []);
    rig
}

const ALL: [u16; 5] = [1, 2, 4, 5, 6];

fn all_released(events: &[Event]) {
    let mut released = statuses(events);
    released.sort_unstable_by_key(|(index, _)| *index);
    assert_eq!(released, ALL.map(|i| (i, DataStatus::Released)));
}

#[test]
fn t1_an_end_at_once_returns_everything() {
    let mut rig = busy();
    rig.tcp.terminate(false);
    let events = rig.drain();
    all_released(&events);
    assert_eq!(events.last(), Some(&Event::Terminated(Ended::Local)));
    assert_eq!(rig.pipe.0.borrow().shut, Some(true));
    rig.finished();
}

#[test]
fn t1_the_peer_closes() {
    let mut rig = busy();
    rig.pipe.0.borrow_mut().closed = true;
    let events = rig.settle();
    all_released(&events);
    assert_eq!(events.last(), Some(&Event::Terminated(Ended::Peer)));
    rig.finished();
}

#[test]
fn t1_what_came_before_the_close_is_seen_first() {
    let mut rig = Rig::enabled(&parameters());
    rig.arrive_pdu(&Bhs::new(Opcode::LOGOUT_REQUEST), &[]);
    rig.arrive(&[0; 20]);
    rig.pipe.0.borrow_mut().closed = true;
    let events = rig.settle();
    assert!(matches!(events[..], [Event::Control { .. }, Event::Terminated(Ended::Peer)]), "{events:?}");
    rig.finished();
}

#[test]
fn t1_the_peer_closes_while_its_data_is_held() {
    let mut rig = Rig::enabled(&parameters());
    rig.arrive_pdu(&write_command(1, false), &[]);
    rig.arrive_pdu(&data_out(1, u32::MAX, 0, 0, true), &bytes(10));
    assert_eq!(rig.settle().len(), 1);
    rig.pipe.0.borrow_mut().closed = true;
    assert_eq!(rig.settle(), [Event::Terminated(Ended::Peer)]);
    rig.finished();
}

#[test]
fn t1_a_reset_while_reading_or_writing() {
    let mut rig = busy();
    rig.pipe.0.borrow_mut().read_error = Some(libc::ECONNRESET);
    let events = rig.settle();
    all_released(&events);
    assert_eq!(events.last(), Some(&Event::Terminated(Ended::Failed(libc::ECONNRESET))));
    rig.finished();

    let mut rig = busy();
    rig.pipe.0.borrow_mut().write_error = Some(libc::EPIPE);
    let events = rig.settle();
    all_released(&events);
    assert_eq!(events.last(), Some(&Event::Terminated(Ended::Failed(libc::EPIPE))));
    rig.finished();
}

#[test]
fn a_graceful_end_sends_what_is_queued_and_waits_for_the_peer() {
    let mut rig = busy();
    rig.tcp.terminate(true);
    assert_eq!(statuses(&rig.settle()), [4, 1, 2].map(|i| (i, DataStatus::Released)));
    assert_eq!(rig.pipe.0.borrow().shut, None, "not while something is queued");
    rig.pipe.0.borrow_mut().write_room = None;
    assert_eq!(statuses(&rig.settle()), [(5, DataStatus::Ok), (6, DataStatus::Ok)]);
    assert_eq!(rig.sent().last().unwrap().data, b"last");
    assert_eq!(rig.pipe.0.borrow().shut, Some(false), "our direction only");
    rig.arrive(&bytes(200_000));
    assert_eq!(rig.settle(), [], "what still arrives is discarded");
    assert!(rig.pipe.0.borrow().inbound.is_empty());
    rig.pipe.0.borrow_mut().closed = true;
    assert_eq!(rig.settle(), [Event::Terminated(Ended::Local)]);
    rig.finished();
}

#[test]
fn a_graceful_end_can_be_cut_short() {
    for turns in 0..2 {
        let mut rig = busy();
        rig.tcp.terminate(true);
        let mut events = Vec::new();
        for _ in 0..turns {
            events.extend(rig.settle());
        }
        rig.tcp.terminate(false);
        events.extend(rig.drain());
        all_released(&events);
        assert_eq!(events.last(), Some(&Event::Terminated(Ended::Local)));
        rig.finished();
    }
}

#[test]
fn a_graceful_end_of_an_idle_connection_whose_peer_is_gone_is_at_once() {
    let mut rig = Rig::enabled(&parameters());
    rig.pipe.0.borrow_mut().closed = true;
    rig.tcp.receive();
    rig.tcp.terminate(true);
    assert_eq!(rig.drain(), [Event::Terminated(Ended::Local)]);
    rig.finished();
}

#[test]
fn what_is_begun_after_the_end_comes_back() {
    let mut rig = Rig::enabled(&parameters());
    rig.tcp.terminate(true);
    let put = rig.put(tag(1), 1, &bytes(10));
    rig.tcp.put_data(put).unwrap();
    let get = rig.get(tag(2), 2, 0, 10);
    rig.tcp.get_data(get).unwrap();
    rig.tcp.send_control(&NopIn::default().encode(), &[]).unwrap();
    assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Released), (2, DataStatus::Released)]);
    assert_eq!(rig.sent(), []);
    rig.tcp.terminate(false);
    assert_eq!(rig.drain(), [Event::Terminated(Ended::Local)]);
    let put = rig.put(tag(3), 1, &bytes(10));
    let put = rig.tcp.put_data(put).expect_err("nothing is taken any more");
    rig.pool.give(put.data);
    rig.finished();
}

#[test]
fn immediate_data_claimed_after_a_failure_comes_back() {
    let mut rig = Rig::enabled(&parameters());
    rig.arrive_pdu(&write_command(1, true), &bytes(20_000));
    rig.tcp.receive();
    assert!(rig.tcp.poll().is_some());
    rig.pipe.0.borrow_mut().write_error = Some(libc::EPIPE);
    rig.tcp.send_control(&NopIn::default().encode(), &[]).unwrap();
    rig.tcp.flush();
    let sink = rig.pool.take(20_000);
    rig.tcp.accept_immediate(tag(1), sink, 0);
    let events = rig.drain();
    assert_eq!(statuses(&events), [(1, DataStatus::Released)]);
    assert!(matches!(events[1], Event::Terminated(Ended::Failed(libc::EPIPE))));
    rig.finished();
}

#[test]
fn t2_a_released_put_that_was_not_begun_is_never_sent() {
    let mut rig = Rig::enabled(&parameters());
    for i in [1, 2] {
        let put = rig.put(tag(i), u32::from(i), &bytes(100));
        rig.tcp.put_data(put).unwrap();
    }
    rig.tcp.release_task(tag(1));
    assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Released), (2, DataStatus::Ok)]);
    assert_eq!(rig.sent().iter().map(|p| p.bhs.itt()).collect::<Vec<_>>(), [2]);
    rig.finish();
}

#[test]
fn t2_a_released_put_finishes_the_pdu_it_began_and_no_other() {
    for room in [1, 47, 48, 49, 8000, 8239, 8240, 8241, 9000] {
        let mut rig = Rig::enabled(&parameters());
        let put = rig.put(tag(1), 1, &bytes(30_000));
        rig.tcp.put_data(put).unwrap();
        rig.tcp.send_control(&NopIn::default().encode(), b"after").unwrap();
        rig.pipe.0.borrow_mut().write_room = Some(room);
        rig.tcp.flush();
        rig.tcp.release_task(tag(1));
        rig.tcp.release_task(tag(1));
        rig.pipe.0.borrow_mut().write_room = None;
        assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Released)]);
        let sent = rig.sent();
        assert_eq!(sent.len(), 1 + room.div_ceil(8240), "room for {room}");
        assert_eq!(sent.last().unwrap().data, b"after");
        rig.finish();
    }
}

#[test]
fn t2_a_released_put_is_not_continued_when_there_is_room_again() {
    let mut rig = Rig::enabled(&Parameters { initiator_max_recv: 1024, ..parameters() });
    let put = rig.put(tag(1), 1, &bytes(200 * 1024));
    rig.tcp.put_data(put).unwrap();
    rig.pipe.0.borrow_mut().write_room = Some(10 * (48 + 1024) + 100);
    rig.tcp.flush();
    rig.tcp.release_task(tag(1));
    rig.pipe.0.borrow_mut().write_room = None;
    assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Released)]);
    assert_eq!(rig.sent().len(), 11, "what was sent, and the PDU that was begun");
    rig.finish();
}

#[test]
fn t2_slots_of_released_puts_are_used_again_without_confusion() {
    let mut rig = Rig::enabled(&parameters());
    rig.pipe.0.borrow_mut().write_room = Some(10);
    for round in 0..20u16 {
        for i in 0..3 {
            let put = rig.put(tag(3 * round + i), u32::from(i), &bytes(20_000));
            rig.tcp.put_data(put).unwrap();
        }
        rig.tcp.flush();
        for i in 0..2 {
            rig.tcp.release_task(tag(3 * round + i));
        }
        rig.pipe.0.borrow_mut().write_room = Some(usize::from(round) * 1000);
        rig.turn();
    }
    rig.pipe.0.borrow_mut().write_room = None;
    rig.settle();
    assert_eq!(rig.pool.outstanding(), 0);
    assert!(!rig.sent().is_empty(), "and the stream is well-formed");
    rig.finish();
}

#[test]
fn t2_a_released_get_lets_the_rest_of_its_payload_pass() {
    let mut rig = busy();
    rig.tcp.release_task(tag(1));
    assert_eq!(statuses(&rig.drain()), [(1, DataStatus::Released)]);
    let wire = rig.peer.frame(&Bhs::new(Opcode::DATA_OUT), &[], &bytes(50_000));
    rig.arrive(&wire[20_000..]);
    rig.arrive_pdu(&Bhs::new(Opcode::NOP_OUT), b"next");
    let events = rig.settle();
    assert!(matches!(&events[..], [Event::Control { data, .. }] if data == b"next"), "{events:?}");
    rig.finish();
}

#[test]
fn t2_a_get_released_before_its_digest_came_is_not_reported_again() {
    let digests = Parameters { header_digest: true, data_digest: true, ..parameters() };
    for missing in 1..8 {
        let mut rig = Rig::enabled(&digests);
        let ttt = rig.solicit(tag(1), 1, 0, 101);
        let wire = rig.peer.frame(&data_out(1, ttt, 0, 0, true), &[], &bytes(101));
        let (now, later) = wire.split_at(wire.len() - missing);
        rig.arrive(now);
        assert_eq!(rig.settle(), []);
        rig.tcp.release_task(tag(1));
        assert_eq!(statuses(&rig.drain()), [(1, DataStatus::Released)]);
        rig.arrive(later);
        rig.arrive_pdu(&Bhs::new(Opcode::NOP_OUT), b"next");
        let events = rig.settle();
        assert!(matches!(&events[..], [Event::Control { data, .. }] if data == b"next"), "{events:?}");
        rig.finish();
    }
}

#[test]
fn t2_released_immediate_data_comes_back_and_the_rest_passes() {
    let mut rig = Rig::enabled(&parameters());
    rig.claim = Some(tag(1));
    let wire = rig.peer.frame(&write_command(1, true), &[], &bytes(50_001));
    rig.arrive(&wire[..30_000]);
    assert_eq!(rig.settle().len(), 1);
    rig.tcp.release_task(tag(1));
    assert_eq!(statuses(&rig.drain()), [(1, DataStatus::Released)]);
    rig.arrive(&wire[30_000..]);
    rig.arrive_pdu(&Bhs::new(Opcode::NOP_OUT), b"next");
    assert_eq!(rig.settle().len(), 1);
    rig.finish();
}

#[test]
fn t2_a_release_touches_only_its_task() {
    let mut rig = busy();
    rig.tcp.release_task(tag(99));
    rig.tcp.release_task(primitives::Tag::new(1, 8, 1, 0));
    assert_eq!(rig.drain(), []);
    rig.finish();
}

#[test]
fn a_violation_leaves_time_for_a_last_word() {
    let mut rig = Rig::enabled(&parameters());
    rig.arrive(&Bhs::new(Opcode::NOP_OUT).with_data_segment_length(0xff_ffff).0);
    assert_eq!(rig.settle().len(), 1);
    rig.tcp.send_control(&Bhs::new(Opcode::ASYNC_MESSAGE), &[]).unwrap();
    rig.tcp.terminate(true);
    assert_eq!(rig.settle(), []);
    assert_eq!(rig.sent().len(), 1);
    rig.pipe.0.borrow_mut().closed = true;
    assert_eq!(rig.settle(), [Event::Terminated(Ended::Local)]);
    rig.finished();
}
