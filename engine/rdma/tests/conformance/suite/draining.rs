//! Every request completes exactly once, however a connection ends. ([`Link`] fails on what completes twice or was
//! never posted.)

use super::{Harness, Link, Options, Shape, Side};
use rdma::{Access, Op, Opcode, QueuePair, Sge, Sgl, Status};

pub fn every_request_completes_once<H: Harness>() {
    let mut link = Link::<H>::connected();
    let window = link.window(Side::Client, 0, 2000, 9, Access::RemoteRead);
    let announce = link.receive(Side::Server, 0);
    link.say(Side::Client, 0, b"!");
    link.bytes(Side::Server, announce);
    let mut posted = vec![];
    for _ in 0..4 {
        link.receive(Side::Client, 0);
        let sink = link.plain(Side::Server, 100, 0);
        posted.push(link.post(Side::Server, 0, Op::Read { from: window }, Sgl::one(Sge::filled(sink)), false));
        let data = link.plain(Side::Server, 100, 0);
        posted.push(link.post(Side::Server, 0, Op::SEND, Sgl::one(Sge::filled(data)), true));
    }
    link.receive(Side::Server, 0);
    // Half of it was never rung.
    link.queue(Side::Server, 0).to_error();
    link.drained(Side::Server, 0);
    let done = core::mem::take(&mut link.end(Side::Server).done);
    let sent: Vec<_> = done.iter().filter(|c| c.opcode != Opcode::Receive).map(|c| c.tag).collect();
    assert_eq!(sent, posted, "in the order of posting");
    let eager = link.harness.leeway().eager;
    let mut over = false;
    for completion in done {
        // What a device has done by then is done. A Send overtakes Reads, but no other Send.
        if eager && !over && completion.status.is_ok() {
            assert_eq!(completion.byte_len, 100);
        } else {
            assert_eq!((completion.status, completion.byte_len), (Status::Flushed, 0));
            over |= completion.opcode == Opcode::Send;
        }
        assert_eq!(completion.sgl.count(), 1, "with its memory");
        link.give(Side::Server, completion);
    }
    link.disconnected(Side::Client, 0);
    link.drained(Side::Client, 0);
    link.reclaim(Side::Client, 0, window.stag);
    link.finish();
}

pub fn unsignalled_requests_come_back<H: Harness>() {
    let mut link = Link::<H>::connected();
    let receives: Vec<_> = (0..5).map(|_| link.receive(Side::Server, 0)).collect();
    for i in 0..5 {
        let data = link.plain(Side::Client, 10, i);
        link.post(Side::Client, 0, Op::SEND, Sgl::one(Sge::filled(data)), false);
    }
    link.queue(Side::Client, 0).ring();
    for receive in receives {
        link.bytes(Side::Server, receive);
    }
    link.turns(50);
    assert!(link.end(Side::Client).done.is_empty(), "nothing was signalled");
    assert_eq!(link.queue(Side::Client, 0).outstanding(), 5);
    link.queue(Side::Client, 0).to_error();
    link.drained(Side::Client, 0);
    assert_eq!(link.end(Side::Client).done.len(), 5);
    link.finish();
}

pub fn windows_come_back<H: Harness>() {
    let mut link = Link::<H>::connected();
    let open = [Access::RemoteRead, Access::RemoteWrite].map(|access| link.window(Side::Server, 0, 100, 1, access));
    link.turns(20);
    let late = link.window(Side::Server, 0, 100, 1, Access::RemoteWrite);
    link.queue(Side::Client, 0).to_error();
    link.disconnected(Side::Server, 0);
    link.drained(Side::Server, 0);
    for window in open.into_iter().chain([late]) {
        link.reclaim(Side::Server, 0, window.stag);
        assert!(link.queue(Side::Server, 0).reclaim(window.stag).is_none());
    }
    link.finish();
}

/// Traffic of every kind both ways, cut off after a number of turns by one side or the other.
pub fn at_any_moment<H: Harness>() {
    for seed in 0..40u64 {
        let shape = Shape { send: 24, receive: 24, ..Shape::default() };
        let mut link = Link::<H>::connected_with(Options { seed, ..Options::default() }, shape);
        let mut open = vec![];
        for side in Side::BOTH {
            for access in [Access::RemoteRead, Access::RemoteWrite] {
                open.push((side, access, link.window(side, 0, 500, side as u8, access)));
            }
            for _ in 0..12 {
                link.receive(side, 0);
            }
        }
        // Both know that the binds are done.
        for side in Side::BOTH {
            let send = link.say(side, 0, b"windows are open");
            link.succeeds(side, send);
        }
        for round in 0..4 {
            for (owner, access, window) in open.clone() {
                let side = owner.other();
                let buf = link.plain(side, 500, 0xAB);
                let op = match access {
                    Access::RemoteRead => Op::Read { from: window },
                    Access::RemoteWrite => Op::Write { to: window },
                };
                link.post(side, 0, op, Sgl::one(Sge::filled(buf)), round % 2 == 0);
                let message = link.plain(side, 40, round);
                link.send(side, 0, Op::SEND, Sgl::one(Sge::filled(message)));
            }
        }
        link.turns(seed as usize / 2);
        let side = if seed % 2 == 0 { Side::Server } else { Side::Client };
        link.queue(side, 0).to_error();
        for side in Side::BOTH {
            link.disconnected(side, 0);
            link.drained(side, 0);
            let done = link.end(side).done.iter().filter(|c| c.opcode == Opcode::Send);
            let sends: Vec<_> = done.map(|c| c.status).collect();
            let failed = sends.iter().position(|status| !status.is_ok()).unwrap_or(sends.len());
            // What an eager device was about to send may tell in its own way that the connection is over.
            let first = usize::from(link.harness.leeway().eager);
            let flushed = sends.iter().skip(failed + first).all(|status| *status == Status::Flushed);
            assert!(flushed, "nothing succeeds after a failure: {sends:?}");
        }
        for (side, _, window) in open {
            link.reclaim(side, 0, window.stag);
        }
        link.finish();
    }
}
