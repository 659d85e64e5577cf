//! The state of a world and what its time does.

use super::audit::Audit;
use super::config::{Latency, NodeConfig};
use super::fault::{Fault, What};
use super::queue::{Asked, Completions, Queue, Reported, Shared, State};
use super::rng::Rng;
use crate::completion::Completion;
use crate::connection::{Ended, Event, PrivateData, RejectReason};
use crate::counters::Counters;
use crate::limits::LOOPBACK_REGIONS;
use crate::memory::{Memory, Sge};
use crate::work::Refused;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use primitives::{Key, Slab};

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) at: SocketAddr,
    pub(super) backlog: u16,
    pub(super) waiting: u16,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) config: NodeConfig,
    pub(super) memory: Vec<Memory>,
    pub(super) listeners: Vec<Listener>,
    pub(super) events: VecDeque<Event>,
    pub(super) counters: Counters,
    pub(super) removed: bool,
    pub(super) next_port: u16,
}

impl Node {
    pub(super) fn knows(&self, sge: &Sge) -> bool {
        sge.len == 0 || self.memory.iter().any(|m| m.contains(sge.addr(), sge.len as usize))
    }

    pub(super) fn add_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        if self.memory.len() >= LOOPBACK_REGIONS {
            return Err(Refused::Limit { what: "memory regions", limit: LOOPBACK_REGIONS });
        }
        if self.memory.iter().any(|m| m.overlaps(&memory)) {
            return Err(Refused::InUse);
        }
        self.memory.push(memory);
        Ok(())
    }
}

/// What connection management has under way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Errand {
    /// A request reaches the listener.
    Ask(Key),
    /// An acceptance reaches the requester.
    Accepted { client: Key, server: Key, private: PrivateData },
    /// A rejection reaches the requester.
    Refuse { client: Key, why: RejectReason, private: PrivateData },
    /// The requester's confirmation reaches the acceptor.
    Ready(Key),
    /// Word of a failure reaches the other end.
    Over { queue: Key, how: Ended },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Appointment {
    pub(super) at: u64,
    pub(super) errand: Errand,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) now: u64,
    pub(super) rng: Rng,
    pub(super) latency: Latency,
    pub(super) nodes: Vec<Node>,
    pub(super) queues: Slab<Queue>,
    pub(super) completions: Slab<Completions>,
    pub(super) shared: Slab<Shared>,
    pub(super) asked: Slab<Asked>,
    pub(super) agenda: Vec<Appointment>,
    pub(super) faults: Vec<Fault>,
    pub(super) audit: Audit,
    /// The next window number that was never used; 24 bits of them name windows of this world.
    pub(super) next_window: u32,
}

impl Inner {
    pub(super) fn tick(&mut self) {
        self.now += 1;
        self.keep_appointments();
        self.strike_due();
        let count = self.queues.capacity() as u64;
        // Whose turn is first differs every tick: work of different queue pairs has no order.
        let first = self.rng.below(count);
        for i in 0..count {
            let index = ((first + i) % count) as u32;
            if let Some((key, _)) = self.queues.at(index) {
                self.run(key);
            }
        }
    }

    fn run(&mut self, key: Key) {
        let Some(queue) = self.queues.get(key) else { return };
        if queue.state == State::Established {
            while self.execute(key) {}
            self.retire(key);
        }
        self.flush_due(key);
        self.free_if_over(key);
    }

    /// A moment after now when a message sent now arrives.
    pub(super) fn arrival(&mut self) -> u64 {
        let spread = self.latency.max.saturating_sub(self.latency.min).saturating_add(1);
        self.now + 1 + self.latency.min + self.rng.below(spread)
    }

    fn strike_due(&mut self) {
        while let Some(i) = self.faults.iter().position(|f| f.is_due(self.now)) {
            let fault = self.faults.swap_remove(i);
            self.strike(fault.what);
        }
    }

    /// Does what a fault does apart from the request that met it.
    pub(super) fn strike(&mut self, what: What) {
        match what {
            What::Lose(name) => {
                let found = self.queues.iter().find(|(_, q)| q.name == name).map(|(key, _)| key);
                if let Some(key) = found {
                    self.fail(key, Ended::Lost, Some(Ended::Lost));
                }
            }
            What::Remove(addr) => {
                let found = self.nodes.iter().position(|n| n.config.addr == addr && !n.removed);
                if let Some(node) = found {
                    self.remove_node(node);
                }
            }
            What::Fail(_) | What::Hold(_) => {}
        }
    }

    fn remove_node(&mut self, node: usize) {
        self.nodes[node].removed = true;
        self.nodes[node].listeners.clear();
        let waiting: Vec<_> = self.asked.iter().filter(|(_, a)| a.node == Some(node)).map(|(key, _)| key).collect();
        for request in waiting {
            self.refuse(request, RejectReason::Unreachable, PrivateData::EMPTY);
        }
        let own: Vec<_> = self.queues.iter().filter(|(_, q)| q.node == node).map(|(key, _)| key).collect();
        for queue in own {
            self.fail(queue, Ended::Removed, Some(Ended::Lost));
        }
        self.nodes[node].events.push_back(Event::Removed);
    }

    /// Puts a completion where it belongs.
    pub(super) fn report(&mut self, key: Key, shared: bool, completion: Completion) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        let cq = queue.completions;
        queue.unpolled_shared += u32::from(shared);
        if let Some(cq) = self.completions.get_mut(cq) {
            assert!(cq.ring.len() < cq.depth as usize, "a completion queue overran: its promises were not kept");
            cq.ring.push_back(Reported { queue: key, shared, completion });
        }
    }

    /// Counts for a queue pair and for its node.
    pub(super) fn tally(&mut self, key: Key, count: impl Fn(&mut Counters)) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        count(&mut queue.counters);
        count(&mut self.nodes[queue.node].counters);
    }

    /// Forgets a queue pair nobody holds, once nothing of it is left.
    pub(super) fn free_if_over(&mut self, key: Key) {
        let over = |q: &Queue| q.abandoned && q.is_drained() && q.unpolled_shared == 0;
        if !self.queues.get(key).is_some_and(over) {
            return;
        }
        let Some(queue) = self.queues.remove(key) else { return };
        self.audit.lost_windows += queue.windows.memory().count() as u64;
        if let Some(shared) = queue.shared.and_then(|s| self.shared.get_mut(s)) {
            shared.users -= 1;
        } else if let Some(cq) = self.completions.get_mut(queue.completions) {
            cq.promised -= u32::from(queue.receive_depth);
        }
        if let Some(cq) = self.completions.get_mut(queue.completions) {
            cq.promised -= u32::from(queue.send_depth);
            cq.users -= 1;
        }
        if let Some(shared) = queue.shared {
            self.free_shared(shared);
        }
        self.free_completions(queue.completions);
    }

    pub(super) fn free_shared(&mut self, key: Key) {
        let over = |s: &Shared| s.abandoned && s.users == 0 && s.ring.is_empty();
        if !self.shared.get(key).is_some_and(over) {
            return;
        }
        let Some(shared) = self.shared.remove(key) else { return };
        if let Some(cq) = self.completions.get_mut(shared.completions) {
            cq.promised -= u32::from(shared.depth);
            cq.users -= 1;
        }
        self.free_completions(shared.completions);
    }

    pub(super) fn free_completions(&mut self, key: Key) {
        if self.completions.get(key).is_some_and(|c| c.abandoned && c.users == 0) {
            self.completions.remove(key);
        }
    }

    /// Whether a request or window of `node` uses a byte of `memory`.
    pub(super) fn uses(&self, node: usize, memory: &Memory) -> bool {
        let touches = |sge: &Sge| memory.overlaps(&Memory { addr: sge.addr(), len: sge.len as usize });
        let receives = |r: &crate::work::ReceiveRequest| {
            memory.overlaps(&Memory { addr: r.buf.as_ptr().addr(), len: r.buf.capacity() })
        };
        let by_queue = |q: &Queue| {
            q.send.iter().flat_map(|e| e.sgl.iter()).any(touches)
                || q.windows.memory().any(touches)
                || q.receive.iter().any(receives)
        };
        let by_shared = |s: &Shared| {
            let here = self.completions.get(s.completions).is_some_and(|c| c.node == node);
            here && s.ring.iter().any(receives)
        };
        self.queues.iter().any(|(_, q)| q.node == node && by_queue(q)) || self.shared.iter().any(|(_, s)| by_shared(s))
    }
}
