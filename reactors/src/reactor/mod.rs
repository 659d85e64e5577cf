//! `Reactor`: the loop's body. It neither waits nor reads a clock, so anything can drive it.

pub(crate) mod pollers;
#[cfg(test)]
mod tests;

pub use pollers::{Failure, PollersFull};

use crate::clock::Nanos;
use crate::limits::{DRAIN_NAP, Limits, TIMERS_PER_TURN};
use crate::mail::Mail;
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
    mail: Mail,
    id: CoreId,
    limits: Limits,
    phase: Phase,
    drained: bool,
    /// When the last turn began and what it achieved: the time since is booked by that.
    last: Option<(Nanos, Progress)>,
    failure: Option<Failure>,
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
        let bell = mail.bell(id).expect("the mail knows every core of its fleet");
        let executor = Executor::new(limits.tasks, limits.sleeps, bell);
        let core = Core::new(id, mail.clone(), executor.spawner().clone(), pools, limits);
        let stats = core.borrow().stats.clone();
        Self {
            core,
            executor,
            stats,
            mail: mail.clone(),
            id,
            limits,
            phase: Phase::Running,
            drained: false,
            last: None,
            failure: None,
        }
    }

    /// The core, between turns.
    pub fn core(&mut self) -> RefMut<'_, Core> {
        self.core.borrow_mut()
    }

    /// The counters, to be read from any thread.
    #[must_use]
    pub fn stats(&self) -> &Arc<CoreStats> {
        &self.stats
    }

    /// One turn at time `now`, which must not run backwards. `Idle` means that nothing at all was there to do.
    pub fn turn(&mut self, now: Nanos) -> Progress {
        self.book(now);
        let mut progress = self.turn_core(now);
        if self.executor.advance(now, TIMERS_PER_TURN) > 0 {
            progress = Progress::Busy;
        }
        if !self.executor.is_idle() {
            self.run_tasks();
            progress = Progress::Busy;
        }
        self.stats.turns.add(1);
        if progress.is_busy() {
            self.stats.busy_turns.add(1);
        }
        self.last = Some((now, progress));
        progress
    }

    /// Mailbox and pollers.
    #[inline]
    fn turn_core(&mut self, now: Nanos) -> Progress {
        let core = &mut *self.core.borrow_mut();
        core.now = now;
        let mut progress = Progress::Idle;
        if !self.mail.is_empty(self.id) {
            receive(&self.mail, core);
            progress = Progress::Busy;
        }
        progress = progress.or(core.poll());
        if core.phase == Phase::Draining {
            core.pollers.drain();
            self.drained = core.pollers.is_drained();
        }
        if core.pollers.has_failed() {
            let failure = core.pollers.take_failure();
            self.failure = self.failure.take().or(failure);
        }
        self.phase = core.phase;
        progress
    }

    #[cold]
    fn run_tasks(&mut self) {
        let ran = self.executor.run(self.limits.tasks_per_turn);
        self.stats.task_polls.add(ran.polls as u64);
        self.stats.panics.add(ran.panics as u64);
        // A task may have begun the drain or the end.
        self.phase = self.core.borrow().phase;
    }

    /// Books the time since the last turn as what that turn was.
    #[inline]
    fn book(&mut self, now: Nanos) {
        if let Some((then, progress)) = self.last {
            let ticks = if progress.is_busy() { &self.stats.busy_ticks } else { &self.stats.idle_ticks };
            ticks.add(now.get().saturating_sub(then.get()));
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
            && self.mail.is_empty(self.id)
            && self.executor.is_idle()
            && pollers.may_sleep()
            && !pollers.has_failed()
    }

    /// Announces sleep to pollers and producers. Take one more turn, and sleep only if that was idle and
    /// [`Reactor::may_sleep`] still holds; then, whether slept or not, [`Reactor::disarm`].
    pub fn arm(&mut self) {
        self.core.borrow_mut().pollers.before_sleep();
        if let Some(bell) = self.mail.bell(self.id) {
            bell.arm();
        }
    }

    /// Ends the announcement.
    pub fn disarm(&mut self) {
        if let Some(bell) = self.mail.bell(self.id) {
            bell.disarm();
        }
        self.core.borrow_mut().pollers.after_wake();
    }

    /// Appends every descriptor that ends a sleep.
    pub fn wake_fds(&mut self, out: &mut Vec<RawFd>) {
        out.extend(self.mail.bell(self.id).map(|bell| bell.fd()));
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
        self.mail.close(self.id);
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
fn receive(mail: &Mail, core: &mut Core) {
    for _ in 0..core.limits.messages_per_turn {
        let Some(job) = mail.take(core.id()) else { break };
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
