//! Counters of a core and of its pollers: written by their core alone, readable from any thread at any time.

use crate::poller::PollerId;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    /// Calls of [`crate::Poller::poll`].
    pub polls: Counter,
    /// Those that did something.
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
    /// Nanoseconds of turns in which nothing was done, and of sleep.
    pub idle_ticks: Counter,
    /// Times the reactor slept.
    pub sleeps: Counter,
    /// Sleeps ended by a message, a ring or a descriptor, not by a deadline.
    pub wakes: Counter,
    pollers: Mutex<Vec<Arc<PollerStats>>>,
}

/// What is counted for one poller.
#[derive(Debug)]
pub struct PollerStats {
    /// The poller.
    pub id: PollerId,
    /// [`crate::Poller::name`] when it was added.
    pub name: &'static str,
    /// Calls of [`crate::Poller::poll`].
    pub polls: Counter,
    /// Those that did something.
    pub busy_polls: Counter,
}

/// The counters of a core at one moment. Each figure is exact; they are not read at quite the same instant.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CoreSnapshot {
    /// See [`CoreStats::turns`].
    pub turns: u64,
    /// See [`CoreStats::busy_turns`].
    pub busy_turns: u64,
    /// See [`CoreStats::polls`].
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
    /// See [`CoreStats::idle_ticks`] and [`TICK_RATE`].
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
    /// See [`PollerStats::polls`].
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
            polls: self.polls.get(),
            busy_polls: self.busy_polls.get(),
            messages_in: self.messages_in.get(),
            messages_out: self.messages_out.get(),
            task_polls: self.task_polls.get(),
            panics: self.panics.get(),
            busy_ticks: self.busy_ticks.get(),
            idle_ticks: self.idle_ticks.get(),
            sleeps: self.sleeps.get(),
            wakes: self.wakes.get(),
        }
    }

    /// All pollers now, in the order they are polled.
    #[must_use]
    pub fn pollers(&self) -> Vec<PollerSnapshot> {
        let pollers = self.pollers.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |p: &Arc<PollerStats>| PollerSnapshot {
            id: p.id,
            name: p.name,
            polls: p.polls.get(),
            busy_polls: p.busy_polls.get(),
        };
        pollers.iter().map(read).collect()
    }

    pub(crate) fn add_poller(&self, id: PollerId, name: &'static str) -> Arc<PollerStats> {
        let stats = Arc::new(PollerStats { id, name, polls: Counter::default(), busy_polls: Counter::default() });
        self.pollers.lock().unwrap_or_else(PoisonError::into_inner).push(stats.clone());
        stats
    }

    pub(crate) fn remove_poller(&self, id: PollerId) {
        self.pollers.lock().unwrap_or_else(PoisonError::into_inner).retain(|p| p.id != id);
    }
}
