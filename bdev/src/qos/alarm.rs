//! Sleeping while operations wait: a bell that rings when it is time, or when the limits change.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reactors::task::oneshot::{Sender, oneshot};
use reactors::{Bell, Nanos, Spawner};

use super::{Throttling, bump};

/// What others see of a channel: its counters, which only its core writes, and its bell, which anybody may ring.
#[derive(Debug)]
pub(super) struct Seat {
    /// Without one (the process is out of descriptors) the core does not sleep while something waits.
    bell: Option<Bell>,
    ops: AtomicU64,
    wait_ns: AtomicU64,
    waiting: AtomicU64,
}

impl Seat {
    pub fn new() -> Self {
        Self { bell: Bell::new().ok(), ops: AtomicU64::new(0), wait_ns: AtomicU64::new(0), waiting: AtomicU64::new(0) }
    }

    pub fn ring(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    pub fn count(&self, wait_ns: u64) {
        bump(&self.ops, 1);
        bump(&self.wait_ns, wait_ns);
    }

    pub fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting as u64, Ordering::Relaxed);
    }

    pub fn throttling(&self) -> Throttling {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Throttling { ops: load(&self.ops), wait_ns: load(&self.wait_ns), waiting: load(&self.waiting) }
    }
}

/// A channel's alarm clock.
#[derive(Debug)]
pub(super) struct Alarm {
    seat: Arc<Seat>,
    /// When it rings; dropping the sender ends the task that waits for it.
    set: Option<(Nanos, Sender<()>)>,
    armed: bool,
}

impl Alarm {
    pub fn new(seat: Arc<Seat>) -> Self {
        Self { seat, set: None, armed: false }
    }

    pub fn fd(&self) -> Option<RawFd> {
        self.seat.bell.as_ref().map(Bell::fd)
    }

    /// Rings at `at` at the latest, unless it cannot be set. Look for news afterwards.
    pub fn arm(&mut self, clock: &Spawner, at: Nanos) -> bool {
        let Some(bell) = &self.seat.bell else { return false };
        if !self.set.as_ref().is_some_and(|(set, _)| clock.now() < *set && *set <= at) {
            let (sender, cancelled) = oneshot();
            let (seat, wait) = (self.seat.clone(), clock.timeout(at.since(clock.now()), cancelled));
            let task = async move {
                if wait.await.is_err() {
                    seat.ring();
                }
            };
            if clock.spawn(task).is_err() {
                return false;
            }
            self.set = Some((at, sender));
        }
        bell.arm();
        self.armed = true;
        true
    }

    /// It may have rung because its time has come.
    pub fn is_due(&self, now: Nanos) -> bool {
        self.set.as_ref().is_some_and(|(at, _)| *at <= now)
    }

    /// Takes back what [`Alarm::arm`] announced, and what rang meanwhile.
    pub fn disarm(&mut self) {
        if std::mem::take(&mut self.armed)
            && let Some(bell) = &self.seat.bell
        {
            bell.disarm();
        }
    }
}
