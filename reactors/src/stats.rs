//! Counters of a core and of its pollers: written by their core alone, readable from any thread at any time.

use crate::poller::PollerId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ticks in a second of all `*_ticks` figures: a tick is a nanosecond.
pub const TICK_RATE: u64 = 1_000_000_000;

/// A counter with one writer: no locked instruction, any number of readers.
#[derive(Default, Debug)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning core may call this; two writers would lose counts, nothing worse.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The count.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the value. Only the owning core may call this.
    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `n` from any thread: a locked instruction, for the control plane only.
    pub fn add_shared(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

/// What one reactor counts. Aligned to two cache lines (adjacent-line prefetch), so no other core's writes disturb it.
#[derive(Default, Debug)]
#[repr(align(128))]
pub struct CoreStats {
    /// Turns of the loop.
    pub turns: Counter,
    /// Turns in which something was done.
    pub busy_turns: Counter,
    /// Calls of [`crate::Poller::poll`] that did something.
    pub busy_polls: Counter,
    /// Jobs taken from the mailbox.
    pub messages_in: Counter,
    /// Jobs this core's [`crate::Mail`] posted to any core; counted with [`Counter::add_shared`].
    pub messages_out: Counter,
    /// Polls of control-plane tasks.
    pub task_polls: Counter,
    /// Jobs and tasks that ended in a panic.
    pub panics: Counter,
    /// Nanoseconds of turns in which something was done.
    pub busy_ticks: Counter,
    /// Times the reactor slept.
    pub sleeps: Counter,
    /// Sleeps ended by a message, a ring or a descriptor, not by a deadline.
    pub wakes: Counter,
    /// When the first turn began, in ticks.
    pub(crate) began: Counter,
    /// When the last turn began, in ticks. What was neither busy since the first one nor after this, was idle.
    pub(crate) now: Counter,
    pollers: Mutex<Roll>,
}

/// The pollers there are.
#[derive(Default, Debug)]
struct Roll {
    present: Vec<Arc<PollerStats>>,
    /// Polls of those that are gone.
    past_polls: u64,
}

/// What is counted for one poller.
#[derive(Debug)]
pub struct PollerStats {
    /// The poller.
    pub id: PollerId,
    /// [`crate::Poller::name`] when it was added.
    pub name: &'static str,
    /// Calls of [`crate::Poller::poll`] that did something.
    pub busy_polls: Counter,
    /// The core's turns when it was added: it is polled in each turn since, so its polls need no counter.
    added: u64,
}

/// The counters of a core at one moment. Each figure is exact; they are not read at quite the same instant.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CoreSnapshot {
    /// See [`CoreStats::turns`].
    pub turns: u64,
    /// See [`CoreStats::busy_turns`].
    pub busy_turns: u64,
    /// Calls of [`crate::Poller::poll`].
    pub polls: u64,
    /// See [`CoreStats::busy_polls`].
    pub busy_polls: u64,
    /// See [`CoreStats::messages_in`].
    pub messages_in: u64,
    /// See [`CoreStats::messages_out`].
    pub messages_out: u64,
    /// See [`CoreStats::task_polls`].
    pub task_polls: u64,
    /// See [`CoreStats::panics`].
    pub panics: u64,
    /// See [`CoreStats::busy_ticks`] and [`TICK_RATE`].
    pub busy_ticks: u64,
    /// Nanoseconds of turns in which nothing was done, and of sleep. See [`TICK_RATE`].
    pub idle_ticks: u64,
    /// See [`CoreStats::sleeps`].
    pub sleeps: u64,
    /// See [`CoreStats::wakes`].
    pub wakes: u64,
}

/// The counters of a poller at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PollerSnapshot {
    /// The poller.
    pub id: PollerId,
    /// Its name.
    pub name: &'static str,
    /// Calls of [`crate::Poller::poll`].
    pub polls: u64,
    /// See [`PollerStats::busy_polls`].
    pub busy_polls: u64,
}

impl CoreStats {
    /// All counters now.
    #[must_use]
    pub fn snapshot(&self) -> CoreSnapshot {
        CoreSnapshot {
            turns: self.turns.get(),
            busy_turns: self.busy_turns.get(),
            polls: self.polls(),
            busy_polls: self.busy_polls.get(),
            messages_in: self.messages_in.get(),
            messages_out: self.messages_out.get(),
            task_polls: self.task_polls.get(),
            panics: self.panics.get(),
            busy_ticks: self.busy_ticks.get(),
            idle_ticks: self.now.get().saturating_sub(self.began.get()).saturating_sub(self.busy_ticks.get()),
            sleeps: self.sleeps.get(),
            wakes: self.wakes.get(),
        }
    }

    /// All pollers now, in the order they are polled.
    #[must_use]
    pub fn pollers(&self) -> Vec<PollerSnapshot> {
        let turns = self.turns.get();
        let read = |p: &Arc<PollerStats>| PollerSnapshot {
            id: p.id,
            name: p.name,
            polls: turns.saturating_sub(p.added),
            busy_polls: p.busy_polls.get(),
        };
        self.roll().present.iter().map(read).collect()
    }

    fn polls(&self) -> u64 {
        let (roll, turns) = (self.roll(), self.turns.get());
        roll.past_polls + roll.present.iter().map(|p| turns.saturating_sub(p.added)).sum::<u64>()
    }

    pub(crate) fn add_poller(&self, id: PollerId, name: &'static str) -> Arc<PollerStats> {
        let stats = Arc::new(PollerStats { id, name, busy_polls: Counter::default(), added: self.turns.get() });
        self.roll().present.push(stats.clone());
        stats
    }

    pub(crate) fn remove_poller(&self, id: PollerId) {
        let (mut roll, turns) = (self.roll(), self.turns.get());
        if let Some(at) = roll.present.iter().position(|p| p.id == id) {
            let gone = roll.present.remove(at);
            roll.past_polls += turns.saturating_sub(gone.added);
        }
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.pollers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
