//! A turn allocates nothing, whether there is something to do or not.

use reactors::limits::Limits;
use reactors::{CoreId, Mail, Nanos, Poller, Pools, Progress, Reactor, Ring, Timers, Turn, WaitQueue, guard};
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: guard::Counting = guard::Counting;

/// A data path in miniature: takes an item, a buffer and a timer, and gives them all back.
struct Worker {
    ring: Arc<Ring<u32>>,
    timers: Timers<u32>,
    waiting: WaitQueue<u32>,
    served: u32,
}

impl Poller for Worker {
    fn poll(&mut self, turn: &mut Turn<'_>) -> Progress {
        let mut progress = Progress::Idle;
        while let Some(item) = self.ring.pop() {
            let timer = self.timers.arm(turn.now, item).expect("has room");
            let buf = self.waiting.take_or_wait(turn.pools, 4096, item).expect("has room").expect("is free");
            assert!(self.waiting.take_or_wait(turn.pools, 100_000, item).expect("has room").is_none());
            assert!(self.waiting.serve(turn.pools).is_none() && self.waiting.forget(item));
            turn.pools.give(buf);
            self.timers.cancel(timer);
            self.served += 1;
            progress = Progress::Busy;
        }
        progress
    }

    fn name(&self) -> &'static str {
        "worker"
    }
}

#[test]
fn neither_an_idle_nor_a_busy_turn_allocates() {
    let core = CoreId(0);
    let mail = Mail::new(1, 4).unwrap();
    let ring = Arc::new(Ring::new(8, mail.bell(core).unwrap()));
    let mut reactor = Reactor::new(core, &mail, Pools::for_tests(0, 4, 0), Limits::default());
    let worker = Worker { ring: ring.clone(), timers: Timers::new(8), waiting: WaitQueue::new(8), served: 0 };
    let (_, worker) = reactor.core().add_shared(worker).unwrap();
    let _ = reactor.turn(Nanos::new(1));

    let (_, idle) = guard::count(|| {
        for t in 2..100 {
            assert_eq!(reactor.turn(Nanos::new(t)), Progress::Idle);
        }
    });
    assert_eq!(idle, guard::Counts::default(), "an idle turn");

    let (_, busy) = guard::count(|| {
        for t in 100..200 {
            for item in 0..8 {
                ring.push(item).unwrap();
            }
            assert_eq!(reactor.turn(Nanos::new(t)), Progress::Busy);
        }
    });
    assert_eq!(worker.borrow().served, 800);
    assert_eq!(busy, guard::Counts::default(), "a busy turn");

    let (_, asleep) = guard::count(|| {
        reactor.arm();
        assert!(reactor.may_sleep() && reactor.deadline().is_none());
        reactor.disarm();
    });
    assert_eq!(asleep, guard::Counts::default(), "the way to sleep");
}

#[test]
fn the_guard_counts() {
    let (boxed, counts) = guard::count(|| std::hint::black_box(vec![0u8; 100]));
    assert_eq!((counts.allocations, counts.deallocations, counts.bytes), (1, 0, 100));
    let ((), counts) = guard::count(|| drop(boxed));
    assert_eq!((counts.allocations, counts.deallocations), (0, 1));
}
