//! How connections end, and what still arrives.

use super::support::{Raw, Rig, SECOND, send_header};
use rdma::{Ended, Provider, QueuePair, Status};
use siw::Config;
use siw::wire::Opcode;
use std::net::Shutdown;

#[test]
fn the_last_words_arrive() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    let receive = rig.receive(&mut queue);
    raw.send(1, b"logout");
    rig.succeeds(receive);
    // Input that is never read would reset the connection if the socket were just closed.
    raw.send(2, &[0; 1000]);
    rig.receive(&mut queue);
    rig.say(&mut queue, 48, 7);
    queue.to_error();
    drop(queue);
    assert_eq!(rig.ended(), Ended::Local);
    raw.send(3, &[0; 1000]);
    assert_eq!(raw.message(&mut rig).1, [7; 48]);
    raw.closed(&mut rig);
}

#[test]
fn the_last_words_arrive_though_the_socket_was_full() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    raw.rdma_write(0, 0, b"");
    rig.turns(5);
    let posted = rig.fill(&mut queue);
    let last = rig.say(&mut queue, 5, 0xFF);
    queue.to_error();
    let done = rig.completion(last);
    assert_eq!(done.status, Status::Flushed, "nobody knows whether it arrives");
    rig.give(done);
    rig.drained(&queue);
    assert_eq!(rig.pools.outstanding(), 0, "no memory is needed for that any more");
    for i in 0..posted {
        let (header, bytes) = raw.message(&mut rig);
        assert!(header.opcode == Opcode::Send && bytes.len() == 8192 && bytes.iter().all(|b| *b == i as u8));
    }
    assert_eq!(raw.message(&mut rig).1, [0xFF; 5]);
    raw.closed(&mut rig);
}

#[test]
fn a_peer_that_never_reads_is_let_go() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    raw.rdma_write(0, 0, b"");
    rig.turns(5);
    rig.fill(&mut queue);
    let before = rig.device.stats();
    rig.turns(50);
    let after = rig.device.stats();
    assert_eq!(before.writes, after.writes, "a socket that is full is not written to");
    queue.to_error();
    rig.drained(&queue);
    assert_eq!(rig.pools.outstanding(), 0);
    rig.turns(5);
    rig.now += 3 * SECOND;
    rig.turns(5);
    assert!(rig.device.deadline().is_none(), "nothing is waited for any more");
    raw.gone(&mut rig);
}

#[test]
fn an_orderly_end_and_one_in_the_middle() {
    let mut rig = Rig::new(Config::default());
    let (_queue, raw) = rig.accepted();
    drop(raw);
    assert_eq!(rig.ended(), Ended::Peer);

    let (_queue, mut raw) = rig.accepted();
    raw.write(&[0, 40, 0x41]);
    rig.turns(5);
    drop(raw);
    assert_eq!(rig.ended(), Ended::Lost);

    let (mut queue, mut raw) = rig.accepted();
    let receive = rig.receive(&mut queue);
    raw.send(1, b"half");
    raw.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rig.ended(), Ended::Peer, "a direction that is closed is the end of both");
    assert_eq!(rig.bytes(receive), b"half", "but not of what came before it");
    raw.gone(&mut rig);
}

#[test]
fn a_reset_is_a_loss() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    raw.rdma_write(0, 0, b"");
    let receive = rig.receive(&mut queue);
    rig.turns(5);
    rig.say(&mut queue, 100, 1);
    rig.turns(5);
    // Closed with bytes unread.
    drop(raw);
    assert_eq!(rig.ended(), Ended::Lost);
    let flushed = rig.completion(receive);
    assert_eq!(flushed.status, Status::Flushed);
    rig.give(flushed);
    rig.drained(&queue);
    assert_eq!(rig.pools.outstanding(), 0);
}

#[test]
fn sending_into_a_lost_connection() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    raw.rdma_write(0, 0, b"");
    rig.turns(5);
    rig.say(&mut queue, 100, 1);
    rig.turns(5);
    drop(raw);
    // The reset is here, or will be: sending may find it before receiving does.
    for _ in 0..3 {
        rig.say(&mut queue, 100, 1);
    }
    assert_eq!(rig.ended(), Ended::Lost);
    rig.drained(&queue);
}

#[test]
fn a_message_half_sent_is_finished_before_the_terminate() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    raw.rdma_write(0, 0, b"");
    rig.turns(5);
    rig.fill(&mut queue);
    raw.send(99, b"out of order");
    assert_eq!(rig.ended(), Ended::Terminated);
    rig.drained(&queue);
    assert_eq!(rig.pools.outstanding(), 0);
    // Whole FPDUs up to the Terminate message: the peer keeps its place.
    assert_eq!(raw.terminated(&mut rig), siw::wire::Fault::MSN);
}

#[test]
fn one_that_lingers_gives_way_to_time() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    queue.to_error();
    rig.turns(5);
    raw.send(1, b"the peer goes on as if nothing had happened");
    rig.turns(5);
    let at = rig.device.deadline().expect("a time to give up");
    assert!(at <= rig.now + 2 * SECOND);
    rig.now = at;
    rig.events.clear();
    rig.turns(5);
    assert_eq!(rig.device.deadline(), None);
    raw.gone(&mut rig);
}

#[test]
fn many_ends_leave_nothing_behind() {
    let mut rig = Rig::new(Config { linger: SECOND, ..Config::default() });
    let mut peers: Vec<Raw> = vec![];
    for i in 0..300 {
        let (mut queue, mut raw) = rig.accepted();
        raw.segment(&send_header(5, 0, true), b"");
        if i % 2 == 0 {
            queue.to_error();
        }
        rig.ended();
        drop(queue);
        peers.push(raw);
    }
    rig.turns(5);
    rig.now += 2 * SECOND;
    rig.turns(5);
    assert_eq!(rig.device.deadline(), None);
    let total = rig.device.counters();
    assert_eq!(total.posted(), total.completions);
}
