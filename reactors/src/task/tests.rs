use super::*;
use crate::bell::Bell;
use crate::clock::Nanos;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

fn executor(tasks: usize, sleeps: usize) -> Executor {
    Executor::new(tasks, sleeps, Arc::new(Bell::new().unwrap()))
}

fn run(executor: &mut Executor, polls: usize) -> super::executor::Ran {
    executor.run(0, polls)
}

/// Lets it be `now`; returns how many timers fired.
fn at(executor: &mut Executor, now: Nanos) -> usize {
    executor.set_now(now);
    if executor.wants_turn(executor.spawner().now()) { executor.run(9, 0).fired } else { 0 }
}

type Log = Rc<RefCell<Vec<u32>>>;

/// Waits until somebody wakes the waker it leaves in `cell`.
fn parked(cell: Rc<RefCell<Option<Waker>>>) -> impl Future<Output = ()> {
    let mut first = true;
    poll_fn(move |cx| {
        if std::mem::replace(&mut first, false) {
            *cell.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
}

#[test]
fn tasks_run_in_the_order_spawned_within_the_budget() {
    let mut executor = executor(8, 0);
    let log = Log::default();
    for i in 0..5 {
        let log = log.clone();
        executor.spawner().spawn(async move { log.borrow_mut().push(i) }).unwrap();
    }
    assert!(log.borrow().is_empty(), "spawning runs nothing");
    assert_eq!(run(&mut executor, 2).polls, 2);
    assert_eq!(*log.borrow(), [0, 1]);
    assert!(!executor.is_idle());
    assert_eq!(run(&mut executor, 9).polls, 3);
    assert_eq!(*log.borrow(), [0, 1, 2, 3, 4]);
    assert!(executor.is_idle());
    assert_eq!(executor.spawner().live(), 0);
}

#[test]
fn the_number_of_tasks_is_bounded_and_slots_come_back() {
    let mut executor = executor(2, 0);
    let spawner = executor.spawner().clone();
    for _ in 0..10 {
        spawner.spawn(async {}).unwrap();
        spawner.spawn(yield_now()).unwrap();
        let refused = spawner.spawn(async {}).unwrap_err();
        assert!(refused.to_string().contains("2 control-plane tasks"));
        while !executor.is_idle() {
            run(&mut executor, 1);
        }
        assert_eq!(spawner.live(), 0);
    }
}

#[test]
fn a_task_that_wakes_itself_does_not_starve_others() {
    let mut executor = executor(2, 0);
    let log = Log::default();
    let (greedy, modest) = (log.clone(), log.clone());
    executor
        .spawner()
        .spawn(async move {
            for _ in 0..3 {
                greedy.borrow_mut().push(1);
                yield_now().await;
            }
        })
        .unwrap();
    executor.spawner().spawn(async move { modest.borrow_mut().push(2) }).unwrap();
    run(&mut executor, 10);
    assert_eq!(*log.borrow(), [1, 2, 1, 1]);
}

#[test]
fn wakes_come_from_any_thread_and_ring_the_bell() {
    let bell = Arc::new(Bell::new().unwrap());
    let mut executor = Executor::new(1, 0, bell.clone());
    let waker = Rc::new(RefCell::new(None));
    executor.spawner().spawn(parked(waker.clone())).unwrap();
    run(&mut executor, 9);
    assert!(executor.is_idle());
    bell.arm();
    let waker: Waker = waker.borrow_mut().take().unwrap();
    std::thread::spawn(move || {
        // Repeated wakes queue the task once.
        waker.wake_by_ref();
        waker.wake();
    })
    .join()
    .unwrap();
    assert!(bell.disarm(), "a sleeping core is woken");
    assert_eq!(run(&mut executor, 9).polls, 1);
    assert_eq!(executor.spawner().live(), 0);
}

/// A task that ends while its slot is queued must not pass its wake on to whoever gets the slot next, nor may a
/// waker that outlives its task.
#[test]
fn stale_wakes_reach_nobody() {
    let mut executor = executor(1, 0);
    let kept: Rc<RefCell<Option<Waker>>> = Rc::default();
    for _ in 0..5 {
        let keep = kept.clone();
        let wakes_itself = poll_fn(move |cx| {
            cx.waker().wake_by_ref();
            *keep.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        });
        executor.spawner().spawn(wakes_itself).unwrap();
        assert_eq!(run(&mut executor, 1).polls, 1);
        assert_eq!(executor.spawner().live(), 1, "its slot is still queued");
        assert_eq!(run(&mut executor, 1).polls, 0);
        assert_eq!(executor.spawner().live(), 0);
    }
    let polls = Rc::new(Cell::new(0));
    let seen = polls.clone();
    let counts = poll_fn(move |_| {
        seen.set(seen.get() + 1);
        Poll::<()>::Pending
    });
    executor.spawner().spawn(counts).unwrap();
    run(&mut executor, 9);
    kept.borrow_mut().take().unwrap().wake();
    run(&mut executor, 9);
    assert_eq!(polls.get(), 1);
}

#[test]
fn a_panic_ends_its_task_only() {
    let mut executor = executor(2, 0);
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let done = Rc::new(Cell::new(false));
    let flag = done.clone();
    executor.spawner().spawn(async { panic!("first") }).unwrap();
    executor.spawner().spawn(async move { flag.set(true) }).unwrap();
    assert_eq!(run(&mut executor, 9).panics, 1);
    assert!(done.get());
    let loud = Loud;
    executor.spawner().spawn(async move { drop(loud) }).unwrap();
    assert_eq!(run(&mut executor, 9).panics, 1);
    assert_eq!(executor.spawner().live(), 0);
}

#[test]
fn sleep_keeps_virtual_time() {
    let mut executor = executor(4, 4);
    let log = Log::default();
    for (i, micros) in [(0, 30), (1, 10), (2, 20)] {
        let (spawner, log) = (executor.spawner().clone(), log.clone());
        let task = async move {
            spawner.sleep(Duration::from_micros(micros)).await;
            log.borrow_mut().push(i);
        };
        executor.spawner().spawn(task).unwrap();
    }
    run(&mut executor, 9);
    assert_eq!(executor.deadline(), Some(Nanos::new(10_000)));
    assert_eq!(at(&mut executor, Nanos::new(9_999)), 0);
    assert!(executor.is_idle());
    assert_eq!(at(&mut executor, Nanos::new(20_000)), 2);
    run(&mut executor, 9);
    assert_eq!(*log.borrow(), [1, 2]);
    assert_eq!(executor.deadline(), Some(Nanos::new(30_000)));
    at(&mut executor, Nanos::MAX);
    run(&mut executor, 9);
    assert_eq!(*log.borrow(), [1, 2, 0]);
    assert_eq!(executor.deadline(), None);
}

#[test]
fn without_a_timer_left_a_sleeper_is_polled_each_turn() {
    let mut executor = executor(2, 1);
    for _ in 0..2 {
        let spawner = executor.spawner().clone();
        executor.spawner().spawn(async move { spawner.sleep(Duration::from_nanos(5)).await }).unwrap();
    }
    run(&mut executor, 2);
    assert!(!executor.is_idle(), "the second one keeps the core awake");
    run(&mut executor, 1);
    at(&mut executor, Nanos::new(5));
    run(&mut executor, 2);
    assert_eq!(executor.spawner().live(), 0);
}

#[test]
fn timeout_cuts_a_task_short_and_frees_its_timer() {
    let mut executor = executor(2, 2);
    let spawner = executor.spawner().clone();
    let results = Rc::new(RefCell::new(Vec::new()));
    let seen = results.clone();
    let task = async move {
        let slow = spawner.sleep(Duration::from_secs(1));
        let cut = spawner.timeout(Duration::from_millis(1), slow).await;
        let quick = spawner.timeout(Duration::from_millis(1), async {}).await;
        seen.borrow_mut().extend([cut, quick]);
    };
    executor.spawner().spawn(task).unwrap();
    run(&mut executor, 9);
    assert_eq!(executor.deadline(), Some(Nanos::new(1_000_000)));
    at(&mut executor, Nanos::new(1_000_000));
    run(&mut executor, 9);
    assert_eq!(*results.borrow(), [Err(Elapsed), Ok(())]);
    assert_eq!(executor.deadline(), None, "both timers were cancelled");
}

#[test]
fn oneshot_answers_once_or_tells_that_nobody_will() {
    let mut executor = executor(4, 0);
    let got = Rc::new(RefCell::new(Vec::new()));
    let spawner = executor.spawner().clone();
    let ask = |receiver: oneshot::Receiver<u32>| {
        let got = got.clone();
        let task = async move {
            let answer = receiver.await;
            got.borrow_mut().push(answer);
        };
        spawner.spawn(task).unwrap();
    };
    let (early, receiver) = oneshot();
    early.send(1).unwrap();
    ask(receiver);
    let (late, receiver) = oneshot();
    ask(receiver);
    let (never, receiver) = oneshot();
    ask(receiver);
    run(&mut executor, 9);
    assert_eq!(*got.borrow(), [Ok(1)]);
    std::thread::spawn(move || late.send(2).unwrap()).join().unwrap();
    run(&mut executor, 9);
    drop(never);
    run(&mut executor, 9);
    assert_eq!(*got.borrow(), [Ok(1), Ok(2), Err(oneshot::Cancelled)]);

    let (sender, receiver) = oneshot();
    assert!(!sender.is_closed());
    drop(receiver);
    assert!(sender.is_closed());
    assert_eq!(sender.send(3), Err(3));
    let (sender, mut receiver) = oneshot();
    assert_eq!(receiver.try_take(), None);
    sender.send(4).unwrap();
    assert_eq!(receiver.try_take(), Some(Ok(4)));
    assert_eq!(receiver.try_take(), Some(Err(oneshot::Cancelled)));
}

#[test]
fn clear_drops_every_task_and_admits_no_more() {
    struct Dying(Rc<Cell<u32>>, Spawner);
    impl Drop for Dying {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            assert!(self.1.spawn(async {}).is_err());
        }
    }
    let mut executor = executor(3, 1);
    let dropped = Rc::new(Cell::new(0));
    for _ in 0..3 {
        let dying = Dying(dropped.clone(), executor.spawner().clone());
        let task = async move {
            std::future::pending::<()>().await;
            drop(dying);
        };
        executor.spawner().spawn(task).unwrap();
        run(&mut executor, 1);
    }
    let waiting = Dying(dropped.clone(), executor.spawner().clone());
    assert!(executor.spawner().spawn(async move { drop(waiting) }).is_err());
    dropped.set(0);
    assert_eq!(executor.clear(), 3);
    assert_eq!((dropped.get(), executor.spawner().live()), (3, 0));
    assert_eq!(run(&mut executor, 9).polls, 0);
}
