//! The data path allocates nothing.

use super::{Harness, Link, Side};
use rdma::{Access, Op, Sge, Sgl};

/// One iSER read and one iSER write, seen from the verbs.
fn commands<H: Harness>(link: &mut Link<H>) {
    for access in [Access::RemoteWrite, Access::RemoteRead] {
        let (command, response) = (link.receive(Side::Server, 0), link.receive(Side::Client, 0));
        let window = link.window(Side::Client, 0, 4096, 1, access);
        let send = link.say(Side::Client, 0, &[0; 76]);
        let got = link.completion(Side::Server, command);
        link.give(Side::Server, got);
        let data = link.plain(Side::Server, 4096, 2);
        let sgl = Sgl::one(Sge::filled(data));
        match access {
            Access::RemoteWrite => {
                link.post(Side::Server, 0, Op::Write { to: window }, sgl, false);
            }
            Access::RemoteRead => {
                let read = link.send(Side::Server, 0, Op::Read { from: window }, sgl);
                link.succeeds(Side::Server, read);
            }
        }
        let answer = link.plain(Side::Server, 76, 3);
        let op = Op::Send { solicited: false, invalidate: Some(window.stag) };
        let answered = link.send(Side::Server, 0, op, Sgl::one(Sge::filled(answer)));
        link.closed_by_peer(Side::Client, 0, response, window.stag);
        link.succeeds(Side::Server, answered);
        link.succeeds(Side::Client, send);
        let queue = link.queues[Side::Client as usize][0].as_mut().unwrap();
        let sge = rdma::QueuePair::reclaim(queue, window.stag).expect("the response closed it");
        link.end(Side::Client).pools.give(sge.buf);
        // The unsignalled Write and Bind came back with what was behind them.
        for side in Side::BOTH {
            while let Some(completion) = link.end(side).done.pop() {
                assert!(completion.status.is_ok());
                link.give(side, completion);
            }
            assert!(link.end(side).out.is_empty());
        }
    }
}

pub fn allocates_nothing_per_request<H: Harness>() {
    let mut link = Link::<H>::connected();
    for _ in 0..20 {
        commands(&mut link);
    }
    let ((), counts) = reactors::guard::count(|| {
        for _ in 0..100 {
            commands(&mut link);
        }
    });
    assert_eq!((counts.allocations, counts.deallocations), (0, 0), "the data path allocates");
    link.finish();
}
