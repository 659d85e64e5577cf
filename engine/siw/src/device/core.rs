//! What queue pairs share.

use super::incoming::{Incoming, Listener};
use super::linger::Linger;
use super::{Completions, Received, SharedReceives, limit};
use crate::config::Config;
use crate::limits::{COMPLETION_QUEUES, EVENTS_PER_QUEUE, LINGERING, LISTENERS, QUEUES};
use crate::memory::{Exposures, Regions};
use crate::pair::Plan;
use crate::random::Random;
use crate::stats::Stats;
use crate::stream::socket::refused;
use crate::stream::{Epoll, Socket};
use primitives::{Key, Slab};
use rdma::{Counters, Event, Memory, Refused};
use std::collections::VecDeque;
use std::fmt;

/// Everything of a device but its queue pairs.
pub(crate) struct Core {
    pub config: Config,
    pub regions: Regions,
    pub exposures: Exposures,
    pub random: Random,
    pub stats: Stats,
    pub completions: Slab<Completions>,
    pub receives: Slab<SharedReceives>,
    /// Counts of shared receive queues that are gone.
    pub gone_receives: Counters,
    pub listeners: Slab<Listener>,
    pub incoming: Slab<Box<Incoming>>,
    /// Of `incoming`, those that made a request.
    pub requests: usize,
    pub lingering: Slab<Linger>,
    pub events: VecDeque<Event>,
    pub epoll: Epoll,
    /// The time of the present turn, or of the last.
    pub now: u64,
    /// When the next timer is due; zero if that is to be found out at the next turn.
    pub wake: u64,
    /// Numbers what has an age, oldest first.
    ages: u64,
    /// Queue pairs that wait for shared receives, first come first served.
    pub paused: VecDeque<Key>,
    /// Shared receives were posted that connections wait for.
    pub resume: bool,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("config", &self.config).field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl Core {
    pub fn new(config: Config) -> Result<Self, Refused> {
        let incoming = usize::from(config.half_open.max(1)) + usize::from(config.requests);
        Ok(Self {
            config,
            regions: Regions::default(),
            exposures: Exposures::new(),
            random: Random::new(),
            stats: Stats::default(),
            completions: Slab::new(COMPLETION_QUEUES),
            receives: Slab::new(COMPLETION_QUEUES),
            gone_receives: Counters::default(),
            listeners: Slab::new(LISTENERS),
            incoming: Slab::new(incoming),
            requests: 0,
            lingering: Slab::new(LINGERING),
            events: VecDeque::with_capacity(16),
            epoll: Epoll::new().map_err(|e| refused(&e))?,
            now: 0,
            wake: u64::MAX,
            ages: 0,
            paused: VecDeque::with_capacity(16),
            resume: false,
        })
    }

    /// Keeps room for `more` completions.
    pub fn promise(&mut self, key: Key, more: u32) -> Result<(), Refused> {
        let queue = self.completions.get_mut(key).ok_or(Refused::Gone)?;
        let promised = queue.promised.saturating_add(more);
        if promised > queue.depth {
            return Err(limit("completions of a queue", queue.depth as usize));
        }
        queue.promised = promised;
        queue.users += 1;
        Ok(())
    }

    /// Gives back what a queue pair shared.
    pub fn release(&mut self, plan: &Plan) {
        self.unpromise(plan.completions, u32::from(plan.send_depth) + u32::from(plan.receive_depth));
        if let Some(key) = plan.shared {
            if let Some(shared) = self.receives.get_mut(key) {
                shared.users -= 1;
            }
            self.free_receives(key);
        }
    }

    fn unpromise(&mut self, key: Key, less: u32) {
        if let Some(queue) = self.completions.get_mut(key) {
            queue.promised -= less;
            queue.users -= 1;
        }
        self.free_completions(key);
    }

    /// A receive is done.
    #[inline]
    pub fn report(&mut self, key: Key, received: Received) {
        if let Some(queue) = self.completions.get_mut(key) {
            let pushed = queue.received.push(received);
            assert!(pushed.is_ok(), "a completion queue overran: its promises were not kept");
        }
    }

    pub fn free_receives(&mut self, key: Key) {
        if !self.receives.get(key).is_some_and(|s| s.abandoned && s.users == 0) {
            return;
        }
        // Receives nobody took back are lost with their memory, as their owner chose.
        if let Some(shared) = self.receives.remove(key) {
            self.gone_receives += shared.counters;
            self.unpromise(shared.completions, u32::from(shared.depth));
        }
    }

    pub fn free_completions(&mut self, key: Key) {
        if self.completions.get(key).is_some_and(|c| c.abandoned && c.users == 0) {
            self.completions.remove(key);
        }
    }

    /// Whether an exposure or a shared receive uses a byte of `memory`.
    pub fn uses(&self, memory: &Memory) -> bool {
        let extent = |buf: &primitives::Buf| Memory { addr: buf.as_ptr().addr(), len: buf.capacity() };
        let shared = |s: &SharedReceives| s.ring.iter().any(|r| memory.overlaps(&extent(&r.buf)));
        self.exposures.overlaps(memory) || self.receives.iter().any(|(_, s)| shared(s))
    }

    /// Nothing waits for the owner or for the next turn, apart from time.
    pub fn is_quiet(&self) -> bool {
        self.events.is_empty() && !self.resume && self.completions.iter().all(|(_, c)| c.is_empty())
    }

    /// The age of something new.
    pub fn age(&mut self) -> u64 {
        self.ages += 1;
        self.ages
    }

    /// Events that wait for the owner are as many as there may be.
    pub fn is_deaf(&self) -> bool {
        self.events.len() + EVENTS_PER_QUEUE > EVENTS_PER_QUEUE * QUEUES + usize::from(self.config.requests)
    }

    /// Watches a timer: the next one is not due after it.
    pub fn note_due(&mut self, due: u64) {
        self.wake = self.wake.min(due);
    }

    /// Closes a socket of the set.
    pub fn close(&mut self, socket: Socket) {
        self.epoll.remove(&socket);
        drop(socket);
    }
}
