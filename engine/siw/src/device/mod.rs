//! What the queue pairs of a device share, and its turn.

mod core;
mod incoming;
mod linger;
mod queues;
mod turn;

pub(crate) use self::core::Core;
pub use incoming::Parcel;
pub(crate) use incoming::Requested;
pub(crate) use queues::{Completions, Received, SharedReceives};

use crate::config::Config;
use crate::limits::{COMPLETION_QUEUES, QUEUE_DEPTH, QUEUES, WINDOWS};
use crate::pair::{Pair, Plan, Target};
use primitives::{Key, Slab};
use rdma::{CompletionBatch, Counters, Memory, Refused, Stag};

/// A device.
#[derive(Debug)]
pub(crate) struct Device {
    pub pairs: Slab<Box<Pair>>,
    pub core: Core,
    /// Connections that received something in each of the last turns: they are read from without being asked for.
    hot: Vec<Key>,
    turn: u32,
    /// Turns since the last look for readiness.
    since_look: u32,
    /// Counts of queue pairs that are gone.
    gone: Counters,
}

fn limit(what: &'static str, limit: usize) -> Refused {
    Refused::Limit { what, limit }
}

impl Device {
    pub fn new(config: Config) -> Result<Self, Refused> {
        let core = Core::new(config)?;
        let (pairs, hot) = (Slab::new(QUEUES), Vec::with_capacity(QUEUES));
        Ok(Self { pairs, core, hot, turn: 0, since_look: 0, gone: Counters::default() })
    }

    /// A queue pair that nobody hears of yet.
    pub fn prepare(&mut self, plan: Plan) -> Result<Key, Refused> {
        let bounds = [
            ("send requests", plan.send_depth, QUEUE_DEPTH),
            ("receives", plan.receive_depth, QUEUE_DEPTH),
            ("windows", plan.windows, WINDOWS),
        ];
        for (what, asked, most) in bounds {
            if asked > most {
                return Err(limit(what, usize::from(most)));
            }
        }
        if plan.shared.is_some() && plan.receive_depth > 0 {
            return Err(Refused::Unsupported);
        }
        let at_one = |s: Key| self.core.receives.get(s).is_some_and(|s| s.completions == plan.completions);
        if plan.shared.is_some_and(|s| !at_one(s)) {
            return Err(Refused::Unsupported);
        }
        // Events of queue pairs are bounded by their number, if their owner polls them.
        if self.pairs.len() == QUEUES || self.core.is_deaf() {
            return Err(limit("queue pairs", QUEUES));
        }
        if let Target::Of(request) = plan.target {
            self.core.unclaimed(request).ok_or(Refused::Gone)?;
        }
        self.core.promise(plan.completions, u32::from(plan.send_depth) + u32::from(plan.receive_depth))?;
        let Ok(key) = self.pairs.insert(Box::new(Pair::new(plan))) else { return Err(limit("queue pairs", QUEUES)) };
        if let Some(pair) = self.pairs.get_mut(key) {
            pair.set_key(key);
        }
        if let Some(shared) = plan.shared.and_then(|s| self.core.receives.get_mut(s)) {
            shared.users += 1;
        }
        if let Target::Of(request) = plan.target {
            self.core.claim(request);
        }
        Ok(key)
    }

    /// Does something with a queue pair and what it shares; nothing, if it is gone.
    pub fn with<R>(&mut self, key: Key, act: impl FnOnce(&mut Pair, &mut Core) -> R) -> Option<R> {
        self.pairs.get_mut(key).map(|pair| act(pair, &mut self.core))
    }

    /// The holder of a queue pair lets it go.
    pub fn abandon(&mut self, key: Key) {
        self.with(key, Pair::abandon);
        self.free_if_over(key);
    }

    /// Moves completions from a queue to `batch`, as many as there is room for; how many.
    pub fn reap(&mut self, queue: Key, batch: &mut CompletionBatch) -> usize {
        let before = batch.len();
        let Some(waiting) = self.core.completions.get_mut(queue) else { return 0 };
        let mut over = false;
        while batch.room() > 0
            && let Some(pair) = waiting.received.front().map(|received| received.pair)
        {
            let Some(pair) = self.pairs.get_mut(pair) else { break };
            let count = pair.tell_received(&mut waiting.received, batch);
            if let Some(shared) = pair.plan().shared.and_then(|s| self.core.receives.get_mut(s)) {
                shared.taken -= count;
            }
            over |= pair.is_over();
        }
        while batch.room() > 0
            && let Some(index) = waiting.ripe.peek()
        {
            let Some((_, pair)) = self.pairs.at(index) else { break };
            if pair.tell_sent(batch) {
                waiting.ripe.pop();
            }
            over |= pair.is_over();
        }
        if over {
            self.free_all_over();
        }
        batch.len() - before
    }

    /// Seldom: something ended.
    #[cold]
    fn free_all_over(&mut self) {
        for index in 0..self.pairs.capacity() as u32 {
            if let Some((key, _)) = self.pairs.at(index) {
                self.free_if_over(key);
            }
        }
    }

    fn free_if_over(&mut self, key: Key) {
        if !self.pairs.get(key).is_some_and(|p| p.is_over()) {
            return;
        }
        let Some(pair) = self.pairs.remove(key) else { return };
        self.gone += pair.counters();
        self.core.release(pair.plan());
    }

    pub fn counters(&self) -> Counters {
        let mut sum = self.gone;
        self.pairs.iter().for_each(|(_, pair)| sum += pair.counters());
        self.core.receives.iter().for_each(|(_, shared)| sum += shared.counters);
        sum += self.core.gone_receives;
        sum
    }

    pub fn add_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        self.core.regions.add(memory)
    }

    pub fn remove_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        if !self.core.regions.has(memory) {
            return Err(Refused::Gone);
        }
        let used = self.pairs.iter().any(|(_, pair)| pair.uses(&memory)) || self.core.uses(&memory);
        if used { Err(Refused::InUse) } else { self.core.regions.remove(memory) }
    }

    /// Lets every peer of the device use a region.
    pub fn expose(&mut self, memory: Memory, read: bool, write: bool) -> Result<Stag, Refused> {
        if memory.len == 0 || !self.core.regions.knows(memory.addr, memory.len) {
            return Err(Refused::Gone);
        }
        self.core.exposures.add(memory, read, write, &mut self.core.random)
    }

    /// Ends that. Connections in the middle of using it end too.
    pub fn conceal(&mut self, stag: Stag) -> Result<(), Refused> {
        self.core.exposures.remove(stag)?;
        for (_, pair) in self.pairs.iter_mut() {
            pair.concealed(&mut self.core, stag);
        }
        Ok(())
    }

    pub fn completion_queue(&mut self, depth: u32) -> Result<Key, Refused> {
        if depth > rdma::limits::MAX_COMPLETIONS {
            return Err(limit("completions of a queue", rdma::limits::MAX_COMPLETIONS as usize));
        }
        let inserted = self.core.completions.insert(Completions::new(depth));
        inserted.map_err(|_| limit("completion queues", COMPLETION_QUEUES))
    }

    pub fn receive_queue(&mut self, completions: Key, depth: u16) -> Result<Key, Refused> {
        if depth > QUEUE_DEPTH {
            return Err(limit("receives", usize::from(QUEUE_DEPTH)));
        }
        if self.core.receives.len() == self.core.receives.capacity() {
            return Err(limit("shared receive queues", COMPLETION_QUEUES));
        }
        self.core.promise(completions, u32::from(depth))?;
        let inserted = self.core.receives.insert(SharedReceives::new(completions, depth));
        inserted.map_err(|_| limit("shared receive queues", COMPLETION_QUEUES))
    }

    /// When something is to be done though no socket is ready: the time, or 0 for "at once".
    pub fn deadline(&self) -> Option<u64> {
        if !self.core.is_quiet() {
            return Some(0);
        }
        (self.core.wake < u64::MAX).then_some(self.core.wake)
    }
}
