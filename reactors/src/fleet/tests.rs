use super::*;
use crate::clock::Nanos;
use crate::percore::Core;
use crate::poller::{Drained, Poller, Progress, Turn};
use crate::ring::Ring;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const ZERO: CoreId = CoreId(0);
/// Far longer than anything here takes: only a hang gets there.
const HANG: Duration = Duration::from_secs(20);

fn fleet(cores: u16) -> Fleet {
    Fleet::start(FleetConfig::for_tests(cores)).unwrap()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until the core sleeps: it stands still for longer than it ever spins.
fn asleep(fleet: &Fleet) {
    let turns = || fleet.stats(ZERO).unwrap().turns;
    eventually("the core sleeps", || {
        let before = turns();
        std::thread::sleep(Duration::from_millis(3));
        fleet.stats(ZERO).unwrap().sleeps > 0 && turns() == before
    });
}

#[test]
fn every_core_answers_as_itself() {
    let fleet = fleet(3);
    assert_eq!(fleet.cores(), 3);
    for core in fleet.core_ids() {
        let answer = fleet.call(core, |core| (core.id(), std::thread::current().name().map(str::to_owned))).unwrap();
        assert_eq!(answer, (core, Some(format!("reactor-{core}"))));
        let (number, small) = fleet.call(core, |c| (c.pools.number(), c.pools.can_take(1))).unwrap();
        assert!(number == core.0 && small);
    }
    assert_eq!(fleet.call(CoreId(3), |_| ()), Err(CallError::NoSuchCore { core: CoreId(3) }));
    assert!(fleet.stats(CoreId(3)).is_none() && fleet.cpu(CoreId(3)).is_none());
    assert_eq!(fleet.arena().regions().len(), 1);
    assert!(fleet.shutdown(HANG).is_clean());
}

#[test]
fn reactors_are_pinned() {
    let mut config = FleetConfig::first(1).unwrap();
    config.idle = crate::Idle::Adaptive;
    config.memory = FleetConfig::for_tests(1).memory;
    let fleet = Fleet::start(config).unwrap();
    let cpus = fleet.call(ZERO, |_| crate::cpu::usable()).unwrap();
    assert_eq!(Some(cpus), fleet.cpu(ZERO).map(|cpu| vec![cpu]));
    assert_eq!(fleet.spins(ZERO), Some(false));
}

#[test]
fn a_fleet_that_cannot_start_says_why_and_leaves_nothing() {
    let mut config = FleetConfig::for_tests(1);
    config.pin = true;
    config.cores = vec![CpuId(1023)];
    let message = Fleet::start(config).unwrap_err().to_string();
    assert!(message.contains("CPU 1023 cannot be used"), "{message}");
    let mut config = FleetConfig::for_tests(1);
    config.memory.pools = 1 << 46;
    let message = Fleet::start(config).unwrap_err().to_string();
    assert!(message.contains("buffer pools") && message.contains("to spare"), "{message}");
}

#[test]
fn calls_that_panic_cost_the_caller_only() {
    let fleet = fleet(1);
    assert_eq!(fleet.call(ZERO, |_| panic!("no")), Err::<(), _>(CallError::Panicked { core: ZERO }));
    assert_eq!(fleet.call(ZERO, |_| 7), Ok(7));
    assert_eq!(fleet.failure(), None);
}

#[test]
fn a_late_call_is_withdrawn_and_never_runs() {
    let fleet = fleet(1);
    let (entered, wait_entered) = channel();
    let (release, wait_release) = channel::<()>();
    // The only time a reactor may be blocked: on purpose.
    let block = move |_: &mut Core| {
        entered.send(()).unwrap();
        wait_release.recv().unwrap();
    };
    fleet.post(ZERO, block).unwrap();
    wait_entered.recv().unwrap();
    let ran = Arc::new(AtomicU64::new(0));
    let count = ran.clone();
    let late = fleet.call_within(ZERO, Duration::from_millis(5), move |_| count.fetch_add(1, Ordering::SeqCst));
    let error = late.unwrap_err();
    assert!(matches!(error, CallError::Deadline { began: false, .. }));
    assert!(error.to_string().contains("withdrawn"));
    release.send(()).unwrap();
    fleet.call(ZERO, |_| ()).unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}

#[test]
fn a_reactor_may_not_wait_for_a_reactor() {
    let fleet = Arc::new(fleet(1));
    let inner = Arc::downgrade(&fleet);
    let answer = fleet.call(ZERO, move |_| inner.upgrade().map(|fleet| fleet.call(ZERO, |_| ())));
    assert_eq!(answer, Ok(Some(Err(CallError::OnReactor))));
}

#[test]
fn async_work_runs_on_the_core() {
    let fleet = fleet(2);
    let work = |handle: crate::CoreHandle| async move {
        handle.spawner().sleep(Duration::from_millis(2)).await;
        let there = handle.mail().ask(CoreId(1), |core| core.id()).unwrap().await.unwrap();
        (handle.with(|core| core.id()), there)
    };
    assert_eq!(fleet.run(ZERO, HANG, work), Ok((ZERO, CoreId(1))));
    let never = fleet.run(ZERO, Duration::from_millis(5), |_| std::future::pending::<()>());
    assert!(matches!(never, Err(CallError::Deadline { began: true, .. })));
    let report = fleet.shutdown(HANG);
    assert!(report.is_clean());
    assert_eq!(report.left[0].left.as_ref().unwrap().tasks, 1);
    let bad = self::fleet(1).run(ZERO, HANG, |_| async { panic!("in a task") });
    assert_eq!(bad, Err::<(), _>(CallError::Panicked { core: ZERO }));
}

#[test]
fn a_core_without_room_for_tasks_says_so() {
    let mut config = FleetConfig::for_tests(1);
    config.limits.tasks = 1;
    let fleet = Fleet::start(config).unwrap();
    fleet.call(ZERO, |core| core.spawn(std::future::pending())).unwrap().unwrap();
    let error = fleet.run(ZERO, HANG, |_| async {}).unwrap_err();
    assert!(matches!(error, CallError::Tasks { .. }), "{error}");
}

/// Counts what it takes from a ring, a socket and its deadline.
struct Ears {
    ring: Arc<Ring<u64>>,
    socket: UnixStream,
    deadline: Option<Nanos>,
    heard: Arc<AtomicU64>,
}

impl Poller for Ears {
    fn poll(&mut self, turn: &mut Turn<'_>) -> Progress {
        let mut heard = 0;
        while self.ring.pop().is_some() {
            heard += 1;
        }
        let mut bytes = [0; 8];
        heard += self.socket.read(&mut bytes).unwrap_or(0) as u64 * 100;
        if self.deadline.is_some_and(|at| at <= turn.now) {
            self.deadline = None;
            heard += 10_000;
        }
        self.heard.fetch_add(heard, Ordering::SeqCst);
        Progress::from_bool(heard > 0)
    }

    fn name(&self) -> &'static str {
        "ears"
    }

    fn wake_fds(&self, out: &mut Vec<RawFd>) {
        out.push(self.socket.as_raw_fd());
    }

    fn deadline(&self) -> Option<Nanos> {
        self.deadline
    }
}

#[test]
fn a_sleeping_core_wakes_for_rings_descriptors_deadlines_and_mail() {
    let fleet = fleet(1);
    let ring = Arc::new(Ring::new(4, fleet.mail().bell(ZERO).unwrap()));
    let (mut mouth, socket) = UnixStream::pair().unwrap();
    socket.set_nonblocking(true).unwrap();
    let heard = Arc::new(AtomicU64::new(0));
    let (ring_there, heard_there) = (ring.clone(), heard.clone());
    let add = move |core: &mut Core| {
        let deadline = Some(core.now() + Duration::from_millis(5));
        let ears = Ears { ring: ring_there, socket, deadline, heard: heard_there };
        core.add_poller(Box::new(ears)).map(|_| ())
    };
    fleet.call(ZERO, add).unwrap().unwrap();
    eventually("the deadline", || heard.load(Ordering::SeqCst) == 10_000);
    asleep(&fleet);
    ring.push(1).unwrap();
    eventually("the ring", || heard.load(Ordering::SeqCst) == 10_001);
    asleep(&fleet);
    mouth.write_all(b"x").unwrap();
    eventually("the descriptor", || heard.load(Ordering::SeqCst) == 10_101);
    asleep(&fleet);
    assert_eq!(fleet.call(ZERO, |_| 1), Ok(1));
    let stats = fleet.stats(ZERO).unwrap();
    assert!(stats.wakes >= 1 && stats.sleeps > stats.wakes, "{stats:?}");
    assert_eq!(fleet.pollers(ZERO).unwrap()[0].name, "ears");
}

/// Drains after some asking, or never.
struct Slow {
    asks: u32,
    _kept: Vec<u8>,
}

impl Poller for Slow {
    fn poll(&mut self, _: &mut Turn<'_>) -> Progress {
        Progress::Idle
    }

    fn name(&self) -> &'static str {
        "slow"
    }

    fn drain(&mut self) -> Drained {
        if self.asks == 0 {
            return Drained::Done;
        }
        self.asks = self.asks.saturating_sub(1).max(u32::from(self.asks == u32::MAX) * u32::MAX);
        Drained::Busy
    }
}

fn add_slow(fleet: &Fleet, core: CoreId, asks: u32) {
    let add = move |core: &mut Core| core.add_poller(Box::new(Slow { asks, _kept: vec![1] })).map(|_| ());
    fleet.call(core, add).unwrap().unwrap();
}

#[test]
fn shutdown_waits_until_all_have_drained() {
    let fleet = fleet(2);
    add_slow(&fleet, CoreId(1), 20);
    let report = fleet.shutdown(HANG);
    assert_eq!(report, ShutdownReport::default());
    assert_eq!(report.to_string(), "everything was drained");
    assert_eq!(fleet.call(ZERO, |_| ()), Err(CallError::Stopped { core: ZERO }));
    assert_eq!(fleet.shutdown(HANG), report, "once is enough");
    assert!(fleet.arena().regions().is_empty(), "the pools' memory is free again");
}

#[test]
fn shutdown_says_what_was_left() {
    let fleet = fleet(2);
    add_slow(&fleet, CoreId(1), u32::MAX);
    fleet.call(CoreId(1), |core| assert!(core.pools.take(1).is_some())).unwrap();
    let report = fleet.shutdown(Duration::from_millis(20));
    assert!(!report.is_clean());
    let text = report.to_string();
    assert!(text.contains("core 1: 1 pollers not drained (slow)") && text.contains("1 buffers"), "{text}");
    assert_eq!(fleet.arena().regions().len(), 1, "memory somebody may still write to is not freed");
}

#[test]
fn a_poller_that_panics_fails_the_fleet() {
    struct Bad;
    impl Poller for Bad {
        fn poll(&mut self, _: &mut Turn<'_>) -> Progress {
            panic!("on purpose")
        }
        fn name(&self) -> &'static str {
            "bad"
        }
    }
    let fleet = fleet(2);
    fleet.call(CoreId(1), |core| core.add_poller(Box::new(Bad))).unwrap().unwrap();
    let mut fds = [libc::pollfd { fd: fleet.failure_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    assert_eq!(crate::bell::wait_readable(&mut fds, Some(HANG)), 1);
    let failure = fleet.failure().unwrap();
    assert_eq!(failure.core, CoreId(1));
    assert_eq!(failure.to_string(), "core 1 failed: poller 'bad' panicked: on purpose");
    assert_eq!(fleet.call(CoreId(1), |_| 1), Ok(1), "the core still turns, to shut down in order");
    assert!(fleet.shutdown(HANG).is_clean());
}
