//! The pollers of one core, and the boundary their panics stop at.

use crate::clock::Nanos;
use crate::panics::guarded;
use crate::poller::{Drained, Poller, PollerId, Progress, Turn};
use crate::stats::{CoreStats, PollerStats};
use std::os::fd::RawFd;
use std::sync::Arc;

/// A core polls as many pollers as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{limit} pollers run on this core already")]
pub struct PollersFull {
    /// The limit.
    pub limit: usize,
}

/// A poller panicked: the process must end, in order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("poller '{poller}' panicked: {message}")]
pub struct Failure {
    /// Its name.
    pub poller: &'static str,
    /// What the panic said.
    pub message: String,
}

pub(crate) struct PollerSet {
    entries: Vec<Entry>,
    next_id: u64,
    limit: usize,
    stats: Arc<CoreStats>,
    failures: Vec<Failure>,
    /// The one being polled, or [`NOBODY`].
    polled: usize,
}

const NOBODY: usize = usize::MAX;

struct Entry {
    id: PollerId,
    poller: Box<dyn Poller>,
    stats: Arc<PollerStats>,
    drained: bool,
}

impl PollerSet {
    pub(crate) fn new(limit: usize, stats: Arc<CoreStats>) -> Self {
        Self { entries: Vec::new(), next_id: 0, limit, stats, failures: Vec::new(), polled: NOBODY }
    }

    pub(crate) fn add(&mut self, poller: Box<dyn Poller>) -> Result<PollerId, PollersFull> {
        if self.entries.len() >= self.limit {
            return Err(PollersFull { limit: self.limit });
        }
        let id = PollerId(self.next_id);
        self.next_id += 1;
        let stats = self.stats.add_poller(id, poller.name());
        self.entries.push(Entry { id, poller, stats, drained: false });
        Ok(id)
    }

    pub(crate) fn remove(&mut self, id: PollerId) -> Option<Box<dyn Poller>> {
        let at = self.entries.iter().position(|e| e.id == id)?;
        self.stats.remove_poller(id);
        // The others keep their order.
        Some(self.entries.remove(at).poller)
    }

    /// Polls each once, and is not the boundary of their panics: whoever catches one calls [`Self::set_aside_polled`]
    /// and then this again, which goes on behind the culprit.
    #[inline(always)]
    pub(crate) fn poll(&mut self, turn: &mut Turn<'_>) -> Progress {
        let (mut busy, mut progress) = (0, Progress::Rest);
        if self.polled == NOBODY {
            self.polled = 0;
        }
        while let Some(entry) = self.entries.get_mut(self.polled) {
            let found = entry.poller.poll(turn);
            if found.is_busy() {
                entry.stats.busy_polls.add(1);
                busy += 1;
            }
            progress = progress.or(found);
            self.polled += 1;
        }
        self.polled = NOBODY;
        if busy > 0 {
            self.stats.busy_polls.add(busy);
        }
        progress
    }

    /// The poller that was being polled panicked; `false` if none was.
    #[cold]
    pub(crate) fn set_aside_polled(&mut self, message: &str) -> bool {
        let found = self.polled < self.entries.len();
        if found {
            self.set_aside(self.polled, message.to_owned());
        }
        found
    }

    /// Asks each that has not drained yet to drain.
    pub(crate) fn drain(&mut self) {
        self.visit(|entry| {
            if !entry.drained {
                entry.drained = entry.poller.drain() == Drained::Done;
            }
        });
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.entries.iter().all(|e| e.drained)
    }

    /// Names of those that have not drained.
    pub(crate) fn undrained(&self) -> Vec<&'static str> {
        self.entries.iter().filter(|e| !e.drained).map(|e| e.stats.name).collect()
    }

    pub(crate) fn may_sleep(&mut self) -> bool {
        let mut all = true;
        self.visit(|entry| all = all && entry.poller.may_sleep());
        all
    }

    pub(crate) fn before_sleep(&mut self) {
        self.visit(|entry| entry.poller.before_sleep());
    }

    pub(crate) fn after_wake(&mut self) {
        self.visit(|entry| entry.poller.after_wake());
    }

    pub(crate) fn wake_fds(&mut self, out: &mut Vec<RawFd>) {
        self.visit(|entry| entry.poller.wake_fds(out));
    }

    pub(crate) fn deadline(&mut self) -> Option<Nanos> {
        let mut first = None;
        self.visit(|entry| first = first.into_iter().chain(entry.poller.deadline()).min());
        first
    }

    /// The first thing that went wrong; forgets the others, which are logged.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failures.drain(..).next()
    }

    #[inline]
    pub(crate) fn has_failed(&self) -> bool {
        !self.failures.is_empty()
    }

    /// Takes all out, first added first, each with whether it has drained.
    pub(crate) fn clear(&mut self) -> Vec<(Box<dyn Poller>, bool)> {
        for entry in &self.entries {
            self.stats.remove_poller(entry.id);
        }
        std::mem::take(&mut self.entries).into_iter().map(|e| (e.poller, e.drained)).collect()
    }

    /// Calls `f` for each poller; after a panic goes on behind the culprit, which is set aside.
    fn visit(&mut self, mut f: impl FnMut(&mut Entry)) {
        let mut done = 0;
        loop {
            let (rest, f) = (self.entries.get_mut(done..).unwrap_or_default(), &mut f);
            let walk = || {
                for entry in rest {
                    f(entry);
                    done += 1;
                }
            };
            match guarded(walk) {
                Ok(()) => break,
                Err(message) => self.set_aside(done, message),
            }
        }
    }

    #[cold]
    fn set_aside(&mut self, at: usize, message: String) {
        let entry = self.entries.remove(at);
        self.stats.remove_poller(entry.id);
        self.stats.panics.add(1);
        tracing::error!(poller = entry.stats.name, message, "a poller panicked; the process has to end");
        self.failures.push(Failure { poller: entry.stats.name, message });
        // Not dropped: its state is unknown, and a device may still write to memory it owns.
        std::mem::forget(entry.poller);
    }
}

impl std::fmt::Debug for PollerSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|e| e.stats.name)).finish()
    }
}
