//! What arrives, and in which order.

use super::{Harness, Link, Side};
use rdma::{Access, Op, Opcode, Sge, Sgl};

/// Bytes of a Read that takes longer than a Send.
const READ: u32 = 7_000;

pub fn sends_arrive_in_order_and_whole<H: Harness>() {
    let mut link = Link::<H>::connected();
    for round in 0..20u8 {
        let receives: Vec<_> = (0..8).map(|_| link.receive(Side::Server, 0)).collect();
        let sends: Vec<_> =
            (0..8).map(|i| link.say(Side::Client, 0, &vec![round ^ i; 100 * usize::from(i) + 1])).collect();
        for (i, receive) in receives.into_iter().enumerate() {
            assert_eq!(link.bytes(Side::Server, receive), vec![round ^ i as u8; 100 * i + 1]);
        }
        for send in sends {
            link.succeeds(Side::Client, send);
        }
    }
    link.finish();
}

pub fn writes_are_placed_before_the_send_behind_them<H: Harness>() {
    let mut link = Link::<H>::connected();
    for round in 1..10u8 {
        let window = link.window(Side::Client, 0, 3000, 0, Access::RemoteWrite);
        announce(&mut link);
        let receive = link.receive(Side::Client, 0);
        for part in 0..3u64 {
            let data = link.plain(Side::Server, 1000, round + part as u8);
            let to = rdma::Remote { va: window.va + 1000 * part, ..window };
            link.post(Side::Server, 0, Op::Write { to }, Sgl::one(Sge::filled(data)), false);
        }
        let response = link.filled(Side::Server, b"done");
        let op = Op::Send { solicited: false, invalidate: Some(window.stag) };
        let last = link.send(Side::Server, 0, op, Sgl::one(Sge::filled(response)));
        link.closed_by_peer(Side::Client, 0, receive, window.stag);
        // The receive is the proof: nothing else is waited for.
        let bytes = link.reclaim(Side::Client, 0, window.stag);
        for part in 0..3 {
            assert!(bytes[1024 + 1000 * part..][..1000].iter().all(|b| *b == round + part as u8));
        }
        assert!(bytes[..1024].iter().chain(&bytes[4024..]).all(|b| *b == 0), "not a byte beside the window");
        link.succeeds(Side::Server, last);
        settle(&mut link);
    }
    link.finish();
}

/// The client tells the server of its windows: the message travels behind their binds.
fn announce<H: Harness>(link: &mut Link<H>) {
    let receive = link.receive(Side::Server, 0);
    let send = link.say(Side::Client, 0, b"here");
    assert_eq!(link.bytes(Side::Server, receive), b"here");
    link.succeeds(Side::Client, send);
}

/// Gives back what has completed and is not looked at.
fn settle<H: Harness>(link: &mut Link<H>) {
    for side in Side::BOTH {
        for completion in core::mem::take(&mut link.end(side).done) {
            assert!(completion.status.is_ok(), "{completion:?}");
            link.give(side, completion);
        }
    }
}

pub fn reads_bring_what_is_there<H: Harness>() {
    let mut link = Link::<H>::connected();
    let window = link.window(Side::Client, 0, 4096, 0x77, Access::RemoteRead);
    announce(&mut link);
    for (start, len) in [(0, 4096u32), (100, 1), (0, 5), (4000, 96)] {
        let sink = link.plain(Side::Server, 8192, 0);
        let from = rdma::Remote { va: window.va + u64::from(4096 - len), ..window };
        let read = link.send(Side::Server, 0, Op::Read { from }, Sgl::one(Sge::new(sink, start, len)));
        let mut done = link.completion(Side::Server, read);
        assert_eq!((done.status.is_ok(), done.opcode, done.byte_len), (true, Opcode::Read, len));
        let sge = done.sgl.take().unwrap();
        let bytes = super::link::copied(&sge.buf, 0, 8192);
        let (start, end) = (start as usize, (start + len) as usize);
        assert!(bytes[start..end].iter().all(|b| *b == 0x77));
        assert!(bytes[..start].iter().chain(&bytes[end..]).all(|b| *b == 0), "not a byte beside the sink");
        link.end(Side::Server).pools.give(sge.buf);
    }
    link.close(Side::Client, 0, window.stag);
    link.finish();
}

pub fn completions_keep_the_order_of_posting<H: Harness>() {
    let mut link = Link::<H>::connected();
    let window = link.window(Side::Client, 0, READ, 1, Access::RemoteRead);
    announce(&mut link);
    link.end(Side::Server).done.clear();
    for _ in 0..8 {
        let receive = link.receive(Side::Client, 0);
        let mut expected = vec![];
        for i in 0..3 {
            let sink = link.plain(Side::Server, READ as usize, 0);
            expected.push(link.post(Side::Server, 0, Op::Read { from: window }, Sgl::one(Sge::filled(sink)), i != 1));
        }
        let message = link.filled(Side::Server, b"behind the reads");
        expected.push(link.send(Side::Server, 0, Op::SEND, Sgl::one(Sge::filled(message))));
        link.until("all completions", |l| (l.end(Side::Server).done.len() == 4).then_some(()));
        let done = core::mem::take(&mut link.end(Side::Server).done);
        assert_eq!(done.iter().map(|c| c.tag).collect::<Vec<_>>(), expected);
        for completion in done {
            // The Send was perhaps done long before what it follows.
            let sink = completion.sgl.iter().next().filter(|_| completion.opcode == Opcode::Read);
            assert!(
                sink.is_none_or(|sge| sge.buf.filled().iter().all(|b| *b == 1)),
                "a Read is done when its data is here"
            );
            link.give(Side::Server, completion);
        }
        assert_eq!(link.bytes(Side::Client, receive), b"behind the reads");
    }
    link.close(Side::Client, 0, window.stag);
    link.finish();
}

pub fn gathers_and_empty_messages<H: Harness>() {
    let mut link = Link::<H>::connected();
    let receives = [(); 3].map(|()| link.receive(Side::Server, 0));
    let (head, tail) = (link.filled(Side::Client, b"head and "), link.filled(Side::Client, b"not data no"));
    let gathered = Sgl::two(Sge::filled(head), Sge::new(tail, 4, 4));
    let solicited = Op::Send { solicited: true, invalidate: None };
    let mut sends = vec![link.send(Side::Client, 0, solicited, gathered)];
    sends.push(link.send(Side::Client, 0, Op::SEND, Sgl::NONE));
    let unused = link.filled(Side::Client, b"abc");
    sends.push(link.send(Side::Client, 0, Op::SEND, Sgl::one(Sge::new(unused, 3, 0))));
    assert_eq!(link.bytes(Side::Server, receives[0]), b"head and data");
    assert_eq!(link.bytes(Side::Server, receives[1]), b"");
    assert_eq!(link.bytes(Side::Server, receives[2]), b"");
    for (send, bytes) in sends.into_iter().zip([13, 0, 0]) {
        let done = link.completion(Side::Client, send);
        assert_eq!((done.status.is_ok(), done.byte_len), (true, bytes));
        link.give(Side::Client, done);
    }
    link.finish();
}
