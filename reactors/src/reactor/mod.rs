//! `Reactor`: the loop's body. It neither waits nor reads a clock, so anything can drive it.

pub(crate) mod pollers;
#[cfg(test)]
mod tests;

pub use pollers::{Failure, PollersFull};

use crate::clock::Nanos;
use crate::limits::{DRAIN_NAP, Limits, REST_TURNS, TIMERS_PER_TURN};
use crate::mail::{Inbox, Mail};
use crate::panics::guarded;
use crate::percore::{Core, CoreId, Phase};
use crate::poller::Progress;
use crate::pools::Pools;
use crate::stats::CoreStats;
use crate::task::Executor;
use std::cell::{RefCell, RefMut};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

/// One core's machine: a turn serves the mailbox, every poller, the timers and the control-plane tasks, each within a
/// budget. A fleet runs it on a thread; a simulator steps it with times of its own.
pub struct Reactor {
    core: Rc<RefCell<Core>>,
    executor: Executor,
    stats: Arc<CoreStats>,
    inbox: Arc<Inbox>,
    id: CoreId,
    limits: Limits,
    phase: Phase,
    drained: bool,
    last: Last,
    rest: Rest,
    failure: Option<Failure>,
}

/// The turns that resting pollers are left out of.
#[derive(Clone, Copy, Default)]
struct Rest {
    /// That are left.
    left: u32,
    /// That were taken.
    taken: u32,
    /// Until this instant, if that comes first.
    until: Nanos,
}

/// The last turn: the time until the next one is booked as what it was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    None,
    Idle,
    Busy,
}

/// What a stopped reactor left behind.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Leftover {
    /// Pollers that had not drained.
    pub pollers: Vec<&'static str>,
    /// Control-plane tasks that had not ended.
    pub tasks: usize,
    /// Pool buffers that had not come back when pollers and tasks were gone.
    pub buffers: usize,
}

impl Leftover {
    /// Nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Reactor {
    /// The reactor of core `id`, which receives through `mail`.
    ///
    /// # Panics
    /// If `mail` has no such core.
    #[must_use]
    pub fn new(id: CoreId, mail: &Mail, pools: Pools, limits: Limits) -> Self {
        let inbox = mail.inbox(id).expect("the mail knows every core of its fleet").clone();
        let executor = Executor::new(limits.tasks, limits.sleeps, inbox.bell().clone());
        let core = Core::new(id, mail.clone(), executor.spawner().clone(), pools, limits);
        let stats = core.borrow().stats.clone();
        Self {
            core,
            executor,
            stats,
            inbox,
            id,
            limits,
            phase: Phase::Running,
            drained: false,
            last: Last::None,
            rest: Rest::default(),
            failure: None,
        }
    }

    /// The core, between turns.
    pub fn core(&mut self) -> RefMut<'_, Core> {
        self.rest.left = 0;
        self.core.borrow_mut()
    }

    /// The counters, to be read from any thread.
    #[must_use]
    pub fn stats(&self) -> &Arc<CoreStats> {
        &self.stats
    }

    /// One turn at time `now`, which must not run backwards. `Idle` means that nothing at all was there to do.
    pub fn turn(&mut self, now: Nanos) -> Progress {
        self.turns(1, || now)
    }

    /// Up to `limit` turns, each at the time `clock` tells; fewer once the core drains, stops or has failed. `Idle`
    /// means that nothing was there to do in any of them.
    ///
    /// The boundary that a poller's panic stops at is drawn around all of them, as it costs as much as the rest of a
    /// turn that finds nothing.
    pub fn turns(&mut self, limit: u32, mut clock: impl FnMut() -> Nanos) -> Progress {
        let (mut left, mut progress) = (limit, Progress::Rest);
        loop {
            let caught = guarded(|| {
                while left > 0 {
                    left -= 1;
                    progress = progress.or(self.unguarded_turn(clock()));
                    if self.phase != Phase::Running || self.failure.is_some() {
                        break;
                    }
                }
            });
            let Err(message) = caught else { return Progress::from_bool(progress.is_busy()) };
            if !self.core.borrow_mut().pollers.set_aside_polled(&message) {
                std::panic::resume_unwind(Box::new(message));
            }
            // Another turn, which goes on behind the culprit.
            left += 1;
        }
    }

    #[inline(always)]
    fn unguarded_turn(&mut self, now: Nanos) -> Progress {
        if self.last != Last::Idle {
            self.book(now);
        }
        self.stats.now.set(now.get());
        self.stats.turns.add(1);
        self.executor.set_now(now);
        let rests = self.rest.left > 0 && now < self.rest.until;
        if rests && self.inbox.is_empty() && !self.executor.wants_turn(now) {
            self.rest.left -= 1;
            self.rest.taken += 1;
            return Progress::Rest;
        }
        let mut progress = self.turn_core(now);
        if self.executor.wants_turn(now) {
            progress = progress.or(self.run_tasks());
        }
        self.last = Last::Idle;
        match progress {
            Progress::Rest => self.begin_rest(),
            Progress::Idle => {}
            Progress::Busy => {
                self.last = Last::Busy;
                self.stats.busy_turns.add(1);
            }
        }
        progress
    }

    /// All pollers rest: they are left out of the next turns, as long as nothing happens here.
    fn begin_rest(&mut self) {
        let until = self.core.borrow_mut().pollers.deadline().unwrap_or(Nanos::MAX);
        self.rest = Rest { left: if self.phase == Phase::Running { REST_TURNS } else { 0 }, taken: 0, until };
    }

    /// Mailbox and pollers.
    #[inline(always)]
    fn turn_core(&mut self, now: Nanos) -> Progress {
        let core = &mut *self.core.borrow_mut();
        core.now = now;
        self.rest.left = 0;
        let rested = std::mem::take(&mut self.rest.taken);
        let mut progress = Progress::Rest;
        if !self.inbox.is_empty() {
            receive(&self.inbox, core);
            progress = Progress::Busy;
        }
        progress = progress.or(core.poll(rested));
        if core.phase != Phase::Running || core.pollers.has_failed() {
            (self.phase, self.drained) = (core.phase, core.drain());
            let failure = core.pollers.take_failure();
            self.failure = self.failure.take().or(failure);
        }
        progress
    }

    #[cold]
    fn run_tasks(&mut self) -> Progress {
        let ran = self.executor.run(TIMERS_PER_TURN, self.limits.tasks_per_turn);
        self.stats.task_polls.add(ran.polls as u64);
        self.stats.panics.add(ran.panics as u64);
        // A task may have begun the drain or the end.
        self.phase = self.core.borrow().phase;
        Progress::from_bool(ran.fired + ran.polls > 0)
    }

    /// Books the time since the last turn if that was busy. What is not booked is idle.
    #[cold]
    fn book(&mut self, now: Nanos) {
        match self.last {
            Last::None => self.stats.began.set(now.get()),
            Last::Busy => self.stats.busy_ticks.add(now.get().saturating_sub(self.stats.now.get())),
            Last::Idle => {}
        }
    }

    /// Where the core is in its life.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Draining began and every poller is done.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        self.drained
    }

    /// The first poller that panicked. The process has to end.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Nothing is pending here and no poller objects to sleeping.
    pub fn may_sleep(&mut self) -> bool {
        let pollers = &mut self.core.borrow_mut().pollers;
        self.phase != Phase::Stopped
            && self.inbox.is_empty()
            && self.executor.is_idle()
            && pollers.may_sleep()
            && !pollers.has_failed()
    }

    /// Announces sleep to pollers and producers. Take one more turn, and sleep only if that was idle and
    /// [`Reactor::may_sleep`] still holds; then, whether slept or not, [`Reactor::disarm`].
    pub fn arm(&mut self) {
        self.rest.left = 0;
        self.core.borrow_mut().pollers.before_sleep();
        self.inbox.bell().arm();
    }

    /// Ends the announcement.
    pub fn disarm(&mut self) {
        self.inbox.bell().disarm();
        self.rest.left = 0;
        self.core.borrow_mut().pollers.after_wake();
    }

    /// Appends every descriptor that ends a sleep.
    pub fn wake_fds(&mut self, out: &mut Vec<RawFd>) {
        out.push(self.inbox.bell().fd());
        self.core.borrow_mut().pollers.wake_fds(out);
    }

    /// The instant by which a sleep must end.
    pub fn deadline(&mut self) -> Option<Nanos> {
        let core = &mut *self.core.borrow_mut();
        let nap = (core.phase == Phase::Draining).then(|| core.now + DRAIN_NAP);
        nap.into_iter().chain(core.pollers.deadline()).chain(self.executor.deadline()).min()
    }

    /// Ends the reactor: its mailbox refuses, its tasks and pollers are dropped. Pollers that were asked to drain and
    /// did not are leaked instead, as a device may still use their memory.
    #[must_use]
    pub fn finish(mut self) -> Leftover {
        self.wind_up()
    }

    fn wind_up(&mut self) -> Leftover {
        self.inbox.close();
        let tasks = self.executor.clear();
        let core = self.core.clone();
        // The borrow ends before any destructor runs: that may want the core.
        let (draining, undrained) = (core.borrow().phase != Phase::Running, core.borrow().pollers.undrained());
        let (pollers, locals) = {
            let core = &mut *core.borrow_mut();
            (core.pollers.clear(), std::mem::take(&mut core.locals))
        };
        for (poller, drained) in pollers {
            if drained || !draining {
                report(guarded(move || drop(poller)));
            } else {
                std::mem::forget(poller);
            }
        }
        report(guarded(move || drop(locals)));
        let buffers = core.borrow().pools.outstanding();
        Leftover { pollers: if draining { undrained } else { Vec::new() }, tasks, buffers }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // After `finish` there is nothing left to do a second time.
        let _ = self.wind_up();
    }
}

impl std::fmt::Debug for Reactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactor").field("id", &self.id).field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// Runs the jobs at hand, within the budget. A job's panic ends the job, not the core.
#[cold]
fn receive(inbox: &Inbox, core: &mut Core) {
    for _ in 0..core.limits.messages_per_turn {
        let Some(job) = inbox.take() else { break };
        core.stats.messages_in.add(1);
        if let Err(message) = guarded(|| job(core)) {
            core.stats.panics.add(1);
            tracing::error!(core = %core.id(), message, "a job panicked");
        }
    }
}

fn report(outcome: Result<(), String>) {
    if let Err(message) = outcome {
        tracing::error!(message, "a destructor panicked while its core stopped");
    }
}
