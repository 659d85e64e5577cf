//! What only the loopback provider does: plans of faults, the audit, determinism, disorder across queue pairs.

#[path = "conformance/loopback.rs"]
mod loopback;
#[path = "conformance/suite/mod.rs"]
#[macro_use]
#[allow(dead_code, unused_macros, reason = "only the link of the suite is used here")]
mod suite;

use loopback::{InfiniBand, Iwarp};
use rdma::loopback::{Fault, What, When, Wrong};
use rdma::{Access, Ended, Op, Opcode, Remote, Sge, Sgl, Status};
use suite::link::name;
use suite::{Harness, Link, Options, Shape, Side};

fn seeded(seed: u64) -> Link<InfiniBand> {
    Link::connected_with(Options { seed, ..Options::default() }, Shape::default())
}

fn fail(n: u32, opcode: Option<Opcode>, what: What) -> Fault {
    Fault { when: When::Request { queue: name(Side::Client, 0), opcode, n }, what }
}

#[test]
fn every_status_can_be_had() {
    let all = [
        Status::LocalLength,
        Status::LocalOperation,
        Status::LocalProtection,
        Status::LocalAccess,
        Status::Window,
        Status::BadResponse,
        Status::RemoteInvalidRequest,
        Status::RemoteAccess,
        Status::RemoteOperation,
        Status::RetryExceeded,
        Status::RnrRetryExceeded,
        Status::Fatal(7),
    ];
    for (i, status) in all.into_iter().enumerate() {
        let mut link = seeded(i as u64);
        link.harness.world().inject(fail(2, Some(Opcode::Send), What::Fail(status))).unwrap();
        let receives = [link.receive(Side::Server, 0), link.receive(Side::Server, 0)];
        let sends = [(); 3].map(|()| link.say(Side::Client, 0, b"some"));
        link.succeeds(Side::Client, sends[0]);
        let failed = link.completion(Side::Client, sends[1]);
        let flushed = link.completion(Side::Client, sends[2]);
        assert_eq!((failed.status, flushed.status), (status, Status::Flushed));
        assert!(!status.to_string().is_empty());
        assert_eq!(link.disconnected(Side::Client, 0), Ended::Failed(status));
        link.give(Side::Client, failed);
        link.give(Side::Client, flushed);
        link.bytes(Side::Server, receives[0]);
        let unused = link.completion(Side::Server, receives[1]);
        assert_eq!(unused.status, Status::Flushed, "a failed Send is not delivered");
        link.give(Side::Server, unused);
        link.finish();
    }
}

#[test]
fn reads_beyond_the_ird_are_refused_while_it_is_in_use() {
    let depth = |ird, ord| rdma::ReadDepth { ird, ord };
    let shape = Shape { depth: [depth(0, 8), depth(2, 0)], ..Shape::default() };
    let mut refused = 0;
    for seed in 0..20 {
        let options = Options { seed, overruns_depth: true, ..Options::default() };
        let mut link = Link::<InfiniBand>::connected_with(options, shape);
        let window = link.window(Side::Client, 0, 100, 1, Access::RemoteRead);
        let receive = link.receive(Side::Server, 0);
        link.say(Side::Client, 0, b"here");
        link.bytes(Side::Server, receive);
        let reads = [(); 4].map(|()| {
            let sink = link.plain(Side::Server, 100, 0);
            link.post(Side::Server, 0, Op::Read { from: window }, Sgl::one(Sge::filled(sink)), true)
        });
        rdma::QueuePair::ring(link.queue(Side::Server, 0));
        let done = reads.map(|read| {
            let completion = link.completion(Side::Server, read);
            let status = completion.status;
            link.give(Side::Server, completion);
            status
        });
        assert!(done[0].is_ok() && done[1].is_ok(), "two are allowed: {done:?}");
        refused += u32::from(done.contains(&Status::RemoteInvalidRequest));
        rdma::QueuePair::to_error(link.queue(Side::Client, 0));
        link.drained(Side::Client, 0);
        link.reclaim(Side::Client, 0, window.stag);
        link.finish();
    }
    assert!(refused > 0);
}

#[test]
fn a_held_request_delays_its_queue_pair_alone() {
    let mut link = seeded(3);
    link.connect();
    link.harness.world().inject(fail(1, None, What::Hold(500))).unwrap();
    let receives = [link.receive(Side::Server, 0), link.receive(Side::Server, 1)];
    let start = link.harness.world().now();
    let sends = [link.say(Side::Client, 0, b"slow"), link.say(Side::Client, 1, b"fast")];
    link.bytes(Side::Server, receives[1]);
    assert!(link.harness.world().now() < start + 100);
    link.bytes(Side::Server, receives[0]);
    assert!(link.harness.world().now() >= start + 500);
    for send in sends {
        link.succeeds(Side::Client, send);
    }
    link.finish();
}

#[test]
fn faults_strike_when_a_request_is_executed() {
    let mut link = seeded(4);
    link.harness.world().inject(fail(1, Some(Opcode::Write), What::Lose(name(Side::Server, 0)))).unwrap();
    let data = link.plain(Side::Client, 10, 1);
    let write = link.send(Side::Client, 0, Op::Write { to: Remote::default() }, Sgl::one(Sge::filled(data)));
    let flushed = link.completion(Side::Client, write);
    assert_eq!(flushed.status, Status::Flushed);
    link.give(Side::Client, flushed);
    for side in Side::BOTH {
        assert_eq!(link.disconnected(side, 0), Ended::Lost);
    }
    link.finish();
}

/// What happened, in order, in a small busy world.
fn story(seed: u64) -> Vec<String> {
    let mut link = seeded(seed);
    link.connect();
    let mut story = vec![];
    for n in [0, 1, 0, 1, 1, 0] {
        link.receive(Side::Server, n);
        link.say(Side::Client, n, &[n as u8; 30]);
    }
    for _ in 0..100 {
        link.turn();
        for side in Side::BOTH {
            for completion in std::mem::take(&mut link.end(side).done) {
                let now = link.harness.world().now();
                story.push(format!("{now} {side:?} {:?} {:?}", completion.queue, completion.tag));
                link.give(side, completion);
            }
        }
    }
    link.finish();
    story
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let stories: Vec<_> = (0..10).map(story).collect();
    for (seed, told) in stories.iter().enumerate() {
        assert_eq!(*told, story(seed as u64));
        assert_eq!(told.len(), 12);
    }
    assert!(stories.windows(2).any(|pair| pair[0] != pair[1]), "and another seed another one");
}

#[test]
fn queue_pairs_overtake_each_other() {
    let mut first_wins = 0;
    for seed in 0..50 {
        let mut link = seeded(seed);
        link.connect();
        let receives = [link.receive(Side::Server, 0), link.receive(Side::Server, 1)];
        let sends = [link.say(Side::Client, 0, b"first"), link.say(Side::Client, 1, b"second")];
        let first = link.until("one of them", |l| l.end(Side::Server).done.first().map(|c| c.tag));
        first_wins += u32::from(first == receives[0]);
        for (receive, send) in receives.into_iter().zip(sends) {
            link.bytes(Side::Server, receive);
            link.succeeds(Side::Client, send);
        }
        link.finish();
    }
    assert!((5..45).contains(&first_wins), "{first_wins} of 50");
}

fn audited<H: Harness>() -> (Link<H>, Remote) {
    let mut link = Link::<H>::connected();
    let window = link.window(Side::Client, 0, 100, 0, Access::RemoteWrite);
    let receive = link.receive(Side::Server, 0);
    let send = link.say(Side::Client, 0, b"command");
    link.bytes(Side::Server, receive);
    link.succeeds(Side::Client, send);
    (link, window)
}

fn write(link: &mut Link<InfiniBand>, to: Remote) -> primitives::Tag {
    let data = link.plain(Side::Server, 100, 1);
    link.send(Side::Server, 0, Op::Write { to }, Sgl::one(Sge::filled(data)))
}

#[test]
fn a_write_after_the_task_is_over_is_a_violation() {
    let (mut link, window) = audited::<InfiniBand>();
    let fine = write(&mut link, window);
    link.succeeds(Side::Server, fine);
    let touch = link.harness.world().touches().pop().unwrap();
    assert_eq!((touch.by, touch.queue), (name(Side::Server, 0), name(Side::Client, 0)));
    assert_eq!((touch.access, touch.remote, touch.len), (Access::RemoteWrite, window, 100));
    // The task management response is out; the window is still live, so no device would mind.
    link.harness.world().task_over(name(Side::Client, 0), window.stag);
    let late = write(&mut link, window);
    link.succeeds(Side::Server, late);
    let check = link.harness.world().check().unwrap_err();
    assert!(check.contains("TaskOver"), "{check}");
    let violations = link.harness.world().take_violations();
    assert_eq!(violations.iter().map(|v| v.wrong).collect::<Vec<_>>(), [Wrong::TaskOver]);
    link.close(Side::Client, 0, window.stag);
    link.finish();
}

#[test]
fn a_write_after_invalidation_is_a_violation_nobody_can_overlook() {
    let (mut link, window) = audited::<InfiniBand>();
    link.close(Side::Client, 0, window.stag);
    let late = write(&mut link, window);
    link.completion_of(late);
    let world = link.harness.world().clone();
    assert!(world.check().unwrap_err().contains("Invalidated"));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.finish()));
    assert!(caught.is_err(), "finish fails");
    assert_eq!(world.take_violations().len(), 1);
    link.finish();
}

#[test]
fn the_world_misses_what_is_not_returned() {
    let (mut link, window) = audited::<Iwarp>();
    assert!(link.harness.world().check().unwrap_err().contains("1 windows with memory"));
    link.receive(Side::Server, 0);
    assert!(link.harness.world().check().unwrap_err().contains("1 requests out"));
    link.close(Side::Client, 0, window.stag);
    link.finish();
}

impl Link<InfiniBand> {
    /// Whatever its status.
    fn completion_of(&mut self, tag: primitives::Tag) {
        let completion = self.completion(Side::Server, tag);
        assert!(!completion.status.is_ok());
        self.give(Side::Server, completion);
    }
}
