//! The loopback provider: both ends of every connection in one process, with time that stands still until it is told
//! to pass, and deterministic from a seed.
//!
//! A [`World`] holds nodes, each a [`Provider`](crate::Provider) of its own. [`World::advance`] lets messages travel:
//! each takes a random while, those of one direction of a connection stay in order, those of different connections do
//! not. Data really moves between registered buffers. [`Fault`]s strike by plan. Every RDMA access is held against the
//! windows that are live, and against the tasks a test declares over ([`World::task_over`]).
//!
//! It plays both families ([`Transport`](crate::Transport)): InfiniBand with NAKs and RNR, and iWARP with Terminate.

mod audit;
mod config;
mod connect;
mod device;
mod execute;
mod fault;
mod inner;
mod post;
mod queue;
mod queue_pair;
mod rng;
mod window;

pub use audit::{Touch, Violation, Wrong};
pub use config::{Config, Latency, NodeConfig};
pub use device::{LoopbackCompletions, LoopbackNode, LoopbackReceives};
pub use fault::{Fault, What, When};
pub use queue_pair::LoopbackQueue;

use crate::limits::{
    LOOPBACK_COMPLETION_QUEUES, LOOPBACK_EVENTS_PER_QUEUE, LOOPBACK_FAULTS, LOOPBACK_LISTENERS, LOOPBACK_QUEUES,
    LOOPBACK_REGIONS,
};
use crate::memory::Stag;
use crate::work::Refused;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use audit::Audit;
use core::cell::RefCell;
use core::fmt::Write as _;
use inner::{Inner, Node};
use primitives::{Slab, Tag};
use rng::Rng;

/// Nodes, the wires between them, and their time. Cheap to clone: all clones are one world.
#[derive(Clone, Debug)]
pub struct World(Rc<RefCell<Inner>>);

impl World {
    /// A world without nodes, at tick zero.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let queues = config.queues.clamp(1, LOOPBACK_QUEUES);
        let inner = Inner {
            now: 0,
            rng: Rng::new(config.seed),
            latency: config.latency,
            nodes: Vec::new(),
            queues: Slab::new(queues),
            completions: Slab::new(queues.min(LOOPBACK_COMPLETION_QUEUES)),
            shared: Slab::new(queues.min(LOOPBACK_COMPLETION_QUEUES)),
            asked: Slab::new(queues),
            agenda: Vec::with_capacity(4 * queues),
            faults: Vec::new(),
            audit: Audit::new(),
            next_window: 1,
        };
        Self(Rc::new(RefCell::new(inner)))
    }

    /// Adds a host. Its address must be unlike those of the others.
    #[must_use]
    pub fn node(&self, config: NodeConfig) -> LoopbackNode {
        let mut inner = self.0.borrow_mut();
        let events = LOOPBACK_EVENTS_PER_QUEUE * inner.queues.capacity();
        inner.nodes.push(Node {
            config,
            memory: Vec::with_capacity(LOOPBACK_REGIONS),
            listeners: Vec::with_capacity(LOOPBACK_LISTENERS),
            events: VecDeque::with_capacity(events),
            counters: crate::Counters::default(),
            removed: false,
            next_port: 49_152,
        });
        LoopbackNode::new(self.0.clone(), inner.nodes.len() - 1)
    }

    /// Lets `ticks` pass.
    pub fn advance(&self, ticks: u64) {
        for _ in 0..ticks {
            self.0.borrow_mut().tick();
        }
    }

    /// The tick.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.borrow().now
    }

    /// Plans a fault.
    ///
    /// # Errors
    /// [`Refused::Limit`].
    pub fn inject(&self, fault: Fault) -> Result<(), Refused> {
        let mut inner = self.0.borrow_mut();
        if inner.faults.len() >= LOOPBACK_FAULTS {
            return Err(Refused::Limit { what: "faults", limit: LOOPBACK_FAULTS });
        }
        inner.faults.push(fault);
        Ok(())
    }

    /// Declares the task that advertised `stag` on `queue` over: its response, or the response to the task management
    /// function that ended it, is out. From now on every access to the window is a [`Violation`], live or not, until
    /// the STag is used again.
    pub fn task_over(&self, queue: Tag, stag: Stag) {
        self.0.borrow_mut().audit.task_over(queue, stag);
    }

    /// The latest accesses to windows, oldest first.
    #[must_use]
    pub fn touches(&self) -> Vec<Touch> {
        self.0.borrow().audit.touches()
    }

    /// Takes the violations so far: for a test that provokes them. Those nobody takes fail [`World::finish`].
    #[must_use]
    pub fn take_violations(&self) -> Vec<Violation> {
        self.0.borrow_mut().audit.take_violations()
    }

    /// What is wrong with the world now: violations, requests or completions not accounted for, memory left in windows.
    ///
    /// # Errors
    /// All of it, in words.
    pub fn check(&self) -> Result<(), String> {
        let inner = self.0.borrow();
        let mut wrong = String::new();
        let (violations, more) = inner.audit.violations();
        for violation in violations {
            let _ = writeln!(wrong, "{violation}");
        }
        if more > 0 {
            let _ = writeln!(wrong, "and {more} more accesses that must not have been made");
        }
        for (_, queue) in inner.queues.iter() {
            let (out, held) = (queue.outstanding(), queue.windows.memory().count());
            if out > 0 || held > 0 {
                let _ = writeln!(wrong, "{:?} has {out} requests out and {held} windows with memory", queue.name);
            }
        }
        let unpolled: usize = inner.completions.iter().map(|(_, c)| c.ring.len()).sum();
        let receives: usize = inner.shared.iter().map(|(_, s)| s.ring.len()).sum();
        let lost = inner.audit.lost_windows;
        if unpolled > 0 || receives > 0 || lost > 0 {
            let _ = writeln!(
                wrong,
                "{unpolled} completions unpolled, {receives} shared receives left, {lost} windows lost"
            );
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// The end of a test.
    ///
    /// # Panics
    /// If [`World::check`] finds anything.
    pub fn finish(&self) {
        if let Err(wrong) = self.check() {
            panic!("the loopback world is not in order:\n{wrong}");
        }
    }
}
