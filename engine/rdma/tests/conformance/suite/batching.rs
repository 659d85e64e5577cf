//! Doorbells, signals, counters.

use super::{Harness, Link, Options, Shape, Side};
use rdma::{CompletionBatch, Counters, Op, Provider, QueuePair, Sge, Sgl};

pub fn one_doorbell_for_a_batch<H: Harness>() {
    let mut link = Link::<H>::connected();
    let before = link.queue(Side::Client, 0).counters();
    let receives: Vec<_> = (0..4).map(|_| link.receive(Side::Server, 0)).collect();
    for _ in 0..4 {
        link.post_receive(Side::Client, 0);
        let message = link.plain(Side::Client, 10, 1);
        link.post(Side::Client, 0, Op::SEND, Sgl::one(Sge::filled(message)), true);
    }
    for _ in 0..3 {
        link.queue(Side::Client, 0).ring();
    }
    let after = link.queue(Side::Client, 0).counters();
    assert_eq!((after.doorbells - before.doorbells, after.sends, after.receives), (1, 4, 4));
    for receive in receives {
        link.bytes(Side::Server, receive);
    }
    link.finish();
}

pub fn nothing_moves_before_the_doorbell<H: Harness>() {
    let mut link = Link::<H>::connected();
    let receive = link.receive(Side::Server, 0);
    let message = link.plain(Side::Client, 10, 1);
    let send = link.post(Side::Client, 0, Op::SEND, Sgl::one(Sge::filled(message)), true);
    link.turns(50);
    assert!(Side::BOTH.iter().all(|side| link.end(*side).done.is_empty()));
    link.queue(Side::Client, 0).ring();
    link.bytes(Side::Server, receive);
    link.succeeds(Side::Client, send);
    link.finish();
}

pub fn unsignalled_complete_with_the_next_signalled<H: Harness>() {
    let mut link = Link::<H>::connected();
    for _ in 0..10 {
        let receives: Vec<_> = (0..4).map(|_| link.receive(Side::Server, 0)).collect();
        let mut sends = vec![];
        for i in 0..4 {
            let message = link.plain(Side::Client, 10, 1);
            sends.push(link.post(Side::Client, 0, Op::SEND, Sgl::one(Sge::filled(message)), i == 2));
        }
        link.queue(Side::Client, 0).ring();
        for receive in receives {
            link.bytes(Side::Server, receive);
        }
        link.until("what was signalled", |l| (l.end(Side::Client).done.len() >= 3).then_some(()));
        link.turns(50);
        let done: Vec<_> = link.end(Side::Client).done.iter().map(|c| c.tag).collect();
        assert_eq!(done, sends[..3], "and the one behind it waits");
        // The next signalled one brings the rest.
        let receive = link.receive(Side::Server, 0);
        let last = link.say(Side::Client, 0, b"!");
        link.bytes(Side::Server, receive);
        link.succeeds(Side::Client, last);
        assert_eq!(link.end(Side::Client).done.last().map(|c| c.tag), sends.last().copied());
        for completion in core::mem::take(&mut link.end(Side::Client).done) {
            link.give(Side::Client, completion);
        }
    }
    link.finish();
}

pub fn small_batches_lose_nothing<H: Harness>() {
    let mut link = Link::<H>::listening(Options::default(), Shape::default(), 4);
    link.connect();
    for side in Side::BOTH {
        link.end(side).batch = CompletionBatch::new(1);
    }
    let receives: Vec<_> = (0..10).map(|_| link.receive(Side::Server, 0)).collect();
    let sends: Vec<_> = (0..10).map(|i| link.say(Side::Client, 0, &[i; 5])).collect();
    link.until("all of them", |l| (l.end(Side::Server).done.len() == 10).then_some(()));
    let order: Vec<_> = link.end(Side::Server).done.iter().map(|c| c.tag).collect();
    assert_eq!(order, receives);
    for send in sends {
        link.succeeds(Side::Client, send);
    }
    link.finish();
}

pub fn counters_add_up<H: Harness>() {
    let mut link = Link::<H>::connected();
    for n in [0, 1] {
        if n == 1 {
            link.connect();
        }
        for i in 0..6u8 {
            let receive = link.receive(Side::Server, n);
            let send = link.say(Side::Client, n, &[i; 100]);
            link.bytes(Side::Server, receive);
            link.succeeds(Side::Client, send);
        }
    }
    link.receive(Side::Server, 0);
    link.queue(Side::Server, 0).to_error();
    link.disconnected(Side::Client, 0);
    link.drained(Side::Server, 0);
    for side in Side::BOTH {
        let mut sum = Counters::default();
        for n in [0, 1] {
            sum += link.queue(side, n).counters();
        }
        let total = link.harness.provider(side).counters();
        assert_eq!(sum, total, "{side:?}");
        assert_eq!(total.posted(), total.completions, "nothing is outstanding");
        match side {
            Side::Client => {
                assert_eq!((total.sends, total.signalled, total.bytes_out, total.flushed), (12, 12, 1200, 0))
            }
            Side::Server => assert_eq!((total.receives, total.bytes_in, total.flushed), (13, 1200, 1)),
        }
    }
    link.finish();
}
