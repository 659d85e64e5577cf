mod rest;

use super::*;
use crate::poller::{Drained, Poller, PollerId, Turn};
use crate::ring::Ring;
use crate::task::oneshot::Cancelled;
use std::cell::Cell;
use std::time::Duration;

/// A few reactors that share mailboxes, and a time of their own.
struct World {
    mail: Mail,
    reactors: Vec<Reactor>,
    now: Nanos,
}

impl World {
    fn new(cores: u16) -> Self {
        Self::with(cores, Limits::default())
    }

    fn with(cores: u16, limits: Limits) -> Self {
        let mail = Mail::new(usize::from(cores), limits.mailbox_depth).unwrap();
        let reactor = |i| Reactor::new(CoreId(i), &mail, Pools::empty(i), limits);
        Self { reactors: (0..cores).map(reactor).collect(), mail, now: Nanos::ZERO }
    }

    /// One turn of core `core`, a microsecond later.
    fn turn(&mut self, core: usize) -> Progress {
        self.now = self.now + Duration::from_micros(1);
        self.reactors[core].turn(self.now)
    }
}

type Log = Rc<RefCell<Vec<&'static str>>>;

/// Does what its parts say.
#[derive(Default)]
struct Puppet {
    name: &'static str,
    log: Log,
    busy: bool,
    awake: bool,
    deadline: Option<Nanos>,
    fds: Vec<RawFd>,
    drains: u32,
    panics: bool,
    _token: Token,
}

/// Counts its end.
#[derive(Default)]
struct Token(Rc<Cell<u32>>);

impl Drop for Token {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

impl Poller for Puppet {
    fn poll(&mut self, _: &mut Turn<'_>) -> Progress {
        assert!(!self.panics, "as asked");
        self.log.borrow_mut().push(self.name);
        Progress::from_bool(self.busy)
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn wake_fds(&self, out: &mut Vec<RawFd>) {
        out.extend(&self.fds);
    }

    fn may_sleep(&mut self) -> bool {
        !self.awake
    }

    fn before_sleep(&mut self) {
        self.log.borrow_mut().push("arm");
    }

    fn after_wake(&mut self) {
        self.log.borrow_mut().push("disarm");
    }

    fn deadline(&self) -> Option<Nanos> {
        self.deadline
    }

    fn drain(&mut self) -> Drained {
        self.log.borrow_mut().push("drain");
        match self.drains.checked_sub(1) {
            None => Drained::Done,
            Some(left) => {
                self.drains = left;
                Drained::Busy
            }
        }
    }
}

fn add(world: &mut World, core: usize, puppet: Puppet) -> PollerId {
    world.reactors[core].core().add_poller(Box::new(puppet)).unwrap()
}

#[test]
fn a_turn_serves_mail_then_pollers_then_timers_then_tasks() {
    let mut world = World::new(1);
    let log = Log::default();
    add(&mut world, 0, Puppet { name: "poller", log: log.clone(), ..Puppet::default() });
    let spawner = world.reactors[0].core().spawner().clone();
    let (sleeper, clock) = (log.clone(), spawner.clone());
    let task = async move {
        sleeper.borrow_mut().push("task");
        clock.sleep(Duration::from_micros(1)).await;
        sleeper.borrow_mut().push("timer");
    };
    world.reactors[0].core().insert_local(log.clone());
    spawner.spawn(task).unwrap();
    let job = |core: &mut Core| core.local::<Log>().unwrap().borrow_mut().push("mail");
    world.mail.post(CoreId(0), Box::new(job)).unwrap();
    assert_eq!(world.turn(0), Progress::Busy);
    assert_eq!(*log.borrow(), ["mail", "poller", "task"]);
    assert_eq!(world.turn(0), Progress::Busy);
    assert_eq!(log.borrow()[3..], ["poller", "timer"]);
    assert_eq!(world.turn(0), Progress::Idle);
}

#[test]
fn jobs_keep_their_order_and_the_budget() {
    let limits = Limits { mailbox_depth: 5, messages_per_turn: 2, ..Limits::default() };
    let mut world = World::with(1, limits);
    world.reactors[0].core().insert_local(Vec::<u32>::new());
    for i in 0..5 {
        world.mail.post(CoreId(0), Box::new(move |core| core.local::<Vec<u32>>().unwrap().push(i))).unwrap();
    }
    let refused = world.mail.post(CoreId(0), Box::new(|_| {})).unwrap_err();
    assert!(refused.is_full() && refused.to_string().contains("full"));
    for expected in [2, 4, 5] {
        assert_eq!(world.turn(0), Progress::Busy);
        assert_eq!(world.reactors[0].core().local::<Vec<u32>>().unwrap().len(), expected);
    }
    assert_eq!(*world.reactors[0].core().local::<Vec<u32>>().unwrap(), [0, 1, 2, 3, 4]);
    world.mail.post(CoreId(0), refused.into_job()).unwrap();
    assert!(matches!(world.mail.post(CoreId(1), Box::new(|_| {})), Err(crate::PostError::NoSuchCore(_))));
}

#[test]
fn task_polls_keep_the_budget() {
    let mut world = World::with(1, Limits { tasks_per_turn: 3, ..Limits::default() });
    for _ in 0..7 {
        world.reactors[0].core().spawn(async {}).unwrap();
    }
    let polls = [3, 6, 7, 7].map(|_| {
        let _ = world.turn(0);
        world.reactors[0].stats().snapshot().task_polls
    });
    assert_eq!(polls, [3, 6, 7, 7]);
}

#[test]
fn counters_tell_busy_from_idle() {
    let mut world = World::new(1);
    let (_, shared) = world.reactors[0].core().add_shared(Puppet { name: "p", ..Puppet::default() }).unwrap();
    for busy in [true, true, false, false, false] {
        shared.borrow_mut().busy = busy;
        assert_eq!(world.turn(0).is_busy(), busy);
    }
    let stats = world.reactors[0].stats();
    let seen = stats.snapshot();
    assert_eq!((seen.turns, seen.busy_turns, seen.polls, seen.busy_polls), (5, 2, 5, 2));
    // The last turn is booked when the next one begins.
    assert_eq!((seen.busy_ticks, seen.idle_ticks), (2_000, 2_000));
    let poller = stats.pollers()[0];
    assert_eq!((poller.name, poller.polls, poller.busy_polls), ("p", 5, 2));
}

#[test]
fn a_shared_poller_is_reached_by_jobs_tasks_and_other_pollers() {
    struct Peeks(Rc<Cell<bool>>);
    impl Poller for Peeks {
        fn poll(&mut self, turn: &mut Turn<'_>) -> Progress {
            let puppet = turn.locals.get::<Rc<RefCell<Puppet>>>().unwrap();
            self.0.set(puppet.borrow().busy);
            Progress::Idle
        }
        fn name(&self) -> &'static str {
            "peeks"
        }
    }
    let mut world = World::new(1);
    let seen = Rc::new(Cell::new(false));
    world.reactors[0].core().add_shared(Puppet::default()).unwrap();
    world.reactors[0].core().add_poller(Box::new(Peeks(seen.clone()))).unwrap();
    let set = |core: &mut Core, busy| core.local::<Rc<RefCell<Puppet>>>().unwrap().borrow_mut().busy = busy;
    world.mail.post(CoreId(0), Box::new(move |core| set(core, true))).unwrap();
    let _ = world.turn(0);
    assert!(seen.get());
    let handle = world.reactors[0].core().handle().clone();
    world.reactors[0].core().spawn(async move { handle.with(|core| set(core, false)) }).unwrap();
    let _ = world.turn(0);
    assert_eq!(world.turn(0), Progress::Idle);
    assert!(!seen.get());
}

#[test]
fn pollers_come_and_go_in_order_within_the_limit() {
    let mut world = World::with(1, Limits { pollers: 2, ..Limits::default() });
    let log = Log::default();
    let puppet = |name| Puppet { name, log: log.clone(), ..Puppet::default() };
    let a = add(&mut world, 0, puppet("a"));
    add(&mut world, 0, puppet("b"));
    let full = world.reactors[0].core().add_poller(Box::new(puppet("c"))).unwrap_err();
    assert!(full.to_string().contains("2 pollers"));
    let _ = world.turn(0);
    assert_eq!(world.reactors[0].core().remove_poller(a).unwrap().name(), "a");
    assert!(world.reactors[0].core().remove_poller(a).is_none());
    add(&mut world, 0, puppet("c"));
    let _ = world.turn(0);
    assert_eq!(*log.borrow(), ["a", "b", "b", "c"]);
    let names: Vec<_> = world.reactors[0].stats().pollers().iter().map(|p| p.name).collect();
    assert_eq!(names, ["b", "c"]);
}

#[test]
fn a_poller_that_panics_is_set_aside_and_fails_the_process_not_the_turn() {
    let mut world = World::new(1);
    let (log, dropped) = (Log::default(), Rc::new(Cell::new(0)));
    let puppet =
        |name, panics| Puppet { name, log: log.clone(), panics, _token: Token(dropped.clone()), ..Puppet::default() };
    add(&mut world, 0, puppet("a", false));
    add(&mut world, 0, puppet("bad", true));
    add(&mut world, 0, puppet("b", false));
    let _ = world.turn(0);
    assert_eq!(*log.borrow(), ["a", "b"], "the others had their turn");
    let failure = world.reactors[0].failure().unwrap().clone();
    assert_eq!((failure.poller, failure.message.as_str()), ("bad", "as asked"));
    let _ = world.turn(0);
    assert_eq!(*log.borrow(), ["a", "b", "a", "b"]);
    assert_eq!(world.reactors[0].stats().snapshot().panics, 1);
    assert!(world.reactors[0].may_sleep());
    drop(world);
    assert_eq!(dropped.get(), 2, "the one that panicked is never dropped");
}

#[test]
fn a_job_that_panics_costs_itself() {
    let mut world = World::new(1);
    let mut answer = world.mail.ask(CoreId(0), |_| -> u32 { panic!("no") }).unwrap();
    let mut other = world.mail.ask(CoreId(0), |core| core.id()).unwrap();
    let _ = world.turn(0);
    assert_eq!(answer.try_take(), Some(Err(Cancelled)));
    assert_eq!(other.try_take(), Some(Ok(CoreId(0))));
    assert!(world.reactors[0].failure().is_none());
    assert_eq!(world.reactors[0].stats().snapshot().panics, 1);
}

#[test]
fn cores_ask_each_other() {
    let mut world = World::new(2);
    let mail = world.reactors[0].core().mail().clone();
    let got = Rc::new(Cell::new(None));
    let seen = got.clone();
    let task = async move {
        let answer = mail.ask(CoreId(1), |core| core.id().0 + 40).unwrap();
        seen.set(Some(answer.await));
    };
    world.reactors[0].core().spawn(task).unwrap();
    let _ = world.turn(0);
    assert_eq!(world.turn(0), Progress::Idle, "it waits without polling");
    let _ = world.turn(1);
    let _ = world.turn(0);
    assert_eq!(got.get(), Some(Ok(41)));
    assert_eq!(world.reactors[0].stats().snapshot().messages_out, 1);
    assert_eq!(world.reactors[1].stats().snapshot().messages_in, 1);
}

#[test]
fn draining_asks_each_poller_until_it_is_done() {
    let mut world = World::new(1);
    let log = Log::default();
    add(&mut world, 0, Puppet { name: "p", log: log.clone(), drains: 2, ..Puppet::default() });
    let _ = world.turn(0);
    assert!(!world.reactors[0].is_drained());
    world.mail.post(CoreId(0), Box::new(Core::begin_drain)).unwrap();
    for drained in [false, false, true, true] {
        let _ = world.turn(0);
        assert_eq!(world.reactors[0].is_drained(), drained);
    }
    assert_eq!(log.borrow().iter().filter(|e| **e == "drain").count(), 3, "not asked after Done");
    assert_eq!(log.borrow().iter().filter(|e| **e == "p").count(), 5, "but polled");
    world.mail.post(CoreId(0), Box::new(Core::stop)).unwrap();
    let _ = world.turn(0);
    assert_eq!(world.reactors[0].phase(), Phase::Stopped);
    // Draining once begun does not come back from the end.
    world.reactors[0].core().begin_drain();
    assert_eq!(world.reactors[0].core().phase(), Phase::Stopped);
    assert!(world.reactors.remove(0).finish().is_empty());
}

#[test]
fn what_has_not_drained_is_reported_and_leaked_not_freed() {
    let mut world = World::new(1);
    let (slow, quick) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    add(&mut world, 0, Puppet { name: "slow", drains: 9, _token: Token(slow.clone()), ..Puppet::default() });
    add(&mut world, 0, Puppet { name: "quick", _token: Token(quick.clone()), ..Puppet::default() });
    world.reactors[0].core().spawn(std::future::pending()).unwrap();
    world.reactors[0].core().begin_drain();
    let _ = world.turn(0);
    let left = world.reactors.remove(0).finish();
    assert_eq!(left, Leftover { pollers: vec!["slow"], tasks: 1, buffers: 0 });
    assert_eq!((slow.get(), quick.get()), (0, 1));
}

#[test]
fn a_stopped_core_refuses_mail_and_cancels_what_it_had() {
    let mut world = World::new(1);
    let mut answer = world.mail.ask(CoreId(0), |_| ()).unwrap();
    drop(world.reactors.remove(0));
    assert_eq!(answer.try_take(), Some(Err(Cancelled)));
    let refused = world.mail.post(CoreId(0), Box::new(|_| {})).unwrap_err();
    assert!(matches!(refused, crate::PostError::Stopped(_)) && !refused.is_full());
}

#[test]
fn sleep_is_only_possible_when_nothing_is_pending() {
    let mut world = World::new(1);
    let (_, shared) = world.reactors[0].core().add_shared(Puppet::default()).unwrap();
    assert!(world.reactors[0].may_sleep());
    shared.borrow_mut().awake = true;
    assert!(!world.reactors[0].may_sleep());
    shared.borrow_mut().awake = false;
    world.reactors[0].core().spawn(async {}).unwrap();
    assert!(!world.reactors[0].may_sleep(), "a task is ready");
    let _ = world.turn(0);
    assert!(world.reactors[0].may_sleep());
    world.mail.post(CoreId(0), Box::new(|_| {})).unwrap();
    assert!(!world.reactors[0].may_sleep(), "mail is waiting");
    let _ = world.turn(0);
    assert!(world.reactors[0].may_sleep());
}

#[test]
fn a_sleep_ends_at_the_nearest_deadline() {
    let mut world = World::new(1);
    let _ = world.turn(0);
    assert_eq!(world.reactors[0].deadline(), None);
    for at in [900, 300] {
        add(&mut world, 0, Puppet { deadline: Some(Nanos::new(at * 1_000_000)), ..Puppet::default() });
    }
    assert_eq!(world.reactors[0].deadline(), Some(Nanos::new(300_000_000)));
    let spawner = world.reactors[0].core().spawner().clone();
    world.reactors[0].core().spawn(async move { spawner.sleep(Duration::from_millis(9)).await }).unwrap();
    let _ = world.turn(0);
    assert_eq!(world.reactors[0].deadline(), Some(world.now + Duration::from_millis(9)));
    world.reactors[0].core().begin_drain();
    assert_eq!(world.reactors[0].deadline(), Some(world.now + DRAIN_NAP));
}

#[test]
fn what_arrives_while_arming_is_found_before_sleeping() {
    let mut world = World::new(1);
    let log = Log::default();
    add(&mut world, 0, Puppet { name: "p", log: log.clone(), fds: vec![7, 8], ..Puppet::default() });
    let ring = Arc::new(Ring::new(1, world.mail.bell(CoreId(0)).unwrap()));
    struct Consumer(Arc<Ring<u8>>);
    impl Poller for Consumer {
        fn poll(&mut self, _: &mut Turn<'_>) -> Progress {
            Progress::from_bool(self.0.pop().is_some())
        }
        fn name(&self) -> &'static str {
            "consumer"
        }
    }
    world.reactors[0].core().add_poller(Box::new(Consumer(ring.clone()))).unwrap();
    // Too early to ring: the flag is not up yet.
    ring.push(1).unwrap();
    world.reactors[0].arm();
    assert_eq!(world.turn(0), Progress::Busy, "the turn between arming and sleeping finds it");
    world.reactors[0].disarm();
    // Too late for that turn: rings.
    world.reactors[0].arm();
    assert_eq!(world.turn(0), Progress::Idle);
    ring.push(2).unwrap();
    let mut fds = Vec::new();
    world.reactors[0].wake_fds(&mut fds);
    assert_eq!(fds[1..], [7, 8]);
    let mut wait = [libc::pollfd { fd: fds[0], events: libc::POLLIN, revents: 0 }];
    assert_eq!(crate::bell::wait_readable(&mut wait, Some(Duration::ZERO)), 1, "the bell is rung");
    world.reactors[0].disarm();
    assert_eq!(crate::bell::wait_readable(&mut wait, Some(Duration::ZERO)), 0);
    assert_eq!(*log.borrow(), ["arm", "p", "disarm", "arm", "p", "disarm"]);
}

#[test]
fn everything_works_with_limits_of_one() {
    let mut world = World::with(1, Limits::ones());
    add(&mut world, 0, Puppet { name: "p", ..Puppet::default() });
    let done = Rc::new(Cell::new(0u32));
    world.reactors[0].core().insert_local(done.clone());
    for _ in 0..3 {
        let job = |core: &mut Core| {
            let (done, spawner) = (core.local::<Rc<Cell<u32>>>().unwrap().clone(), core.spawner().clone());
            let task = async move {
                spawner.sleep(Duration::from_micros(2)).await;
                done.set(done.get() + 1);
            };
            core.spawn(task).unwrap();
        };
        world.mail.post(CoreId(0), Box::new(job)).unwrap();
        assert!(world.mail.post(CoreId(0), Box::new(|_| {})).unwrap_err().is_full());
        for _ in 0..4 {
            let _ = world.turn(0);
        }
    }
    assert_eq!(done.get(), 3);
    assert_eq!(world.reactors[0].stats().snapshot().panics, 0);
}

#[test]
fn a_handle_refuses_to_reach_into_a_core_in_use() {
    let mut world = World::new(1);
    let handle = world.reactors[0].core().handle().clone();
    assert_eq!(handle.with(|core| core.id()), CoreId(0));
    let core = world.reactors[0].core();
    assert_eq!(handle.try_with(|_| ()), None);
    drop(core);
    drop(world);
    assert_eq!(handle.try_with(|_| ()), None);
}
