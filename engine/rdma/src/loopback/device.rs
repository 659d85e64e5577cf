//! A node as a provider, and its completion and shared receive queues.

use super::inner::{Inner, Listener};
use super::post::check_receive;
use super::queue::{Asked, Completions, Queue, Shared, State, Target};
use super::queue_pair::LoopbackQueue;
use super::window::WindowTable;
use crate::attributes::Attributes;
use crate::completion::CompletionBatch;
use crate::connection::{Event, PrivateData, ReadDepth, RejectReason, RequestId};
use crate::counters::Counters;
use crate::limits::{
    LOOPBACK_EVENTS, LOOPBACK_EVENTS_PER_QUEUE as EVENTS_PER_QUEUE, LOOPBACK_LISTENERS, MAX_COMPLETIONS,
    MAX_QUEUE_DEPTH,
};
use crate::memory::Memory;
use crate::provider::{CompletionQueue, Peer, Provider, QueueSetup, ReceiveQueue};
use crate::work::{ReceiveRequest, Refusal, Refused, Why};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::SocketAddr;
use primitives::Key;

/// A host's device. See [`World::node`](super::World::node).
#[derive(Debug)]
pub struct LoopbackNode {
    world: Rc<RefCell<Inner>>,
    node: usize,
}

/// A completion queue of a node.
#[derive(Debug)]
pub struct LoopbackCompletions {
    world: Rc<RefCell<Inner>>,
    key: Key,
}

/// A shared receive queue of a node.
#[derive(Debug)]
pub struct LoopbackReceives {
    world: Rc<RefCell<Inner>>,
    key: Key,
    node: usize,
}

impl LoopbackNode {
    pub(super) fn new(world: Rc<RefCell<Inner>>, node: usize) -> Self {
        Self { world, node }
    }
}

impl Provider for LoopbackNode {
    type Queue = LoopbackQueue;
    type Completions = LoopbackCompletions;
    type Receives = LoopbackReceives;

    fn attributes(&self) -> Attributes {
        self.world.borrow().nodes[self.node].config.attributes
    }

    fn add_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        self.world.borrow_mut().nodes[self.node].add_memory(memory)
    }

    fn remove_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        let mut world = self.world.borrow_mut();
        if world.uses(self.node, &memory) {
            return Err(Refused::InUse);
        }
        let known = &mut world.nodes[self.node].memory;
        let at = known.iter().position(|m| *m == memory).ok_or(Refused::Gone)?;
        known.swap_remove(at);
        Ok(())
    }

    fn completion_queue(&mut self, depth: u32) -> Result<LoopbackCompletions, Refused> {
        let mut world = self.world.borrow_mut();
        world.nodes[self.node].alive()?;
        if depth > MAX_COMPLETIONS {
            return Err(Refused::Limit { what: "completions of a queue", limit: MAX_COMPLETIONS as usize });
        }
        let ring = VecDeque::with_capacity(depth as usize);
        let queue = Completions { node: self.node, ring, depth, promised: 0, users: 0, abandoned: false };
        let limit = world.completions.capacity();
        let key = world.completions.insert(queue).map_err(|_| Refused::Limit { what: "completion queues", limit })?;
        Ok(LoopbackCompletions { world: self.world.clone(), key })
    }

    fn receive_queue(&mut self, completions: &LoopbackCompletions, depth: u16) -> Result<LoopbackReceives, Refused> {
        let mut world = self.world.borrow_mut();
        let node = &world.nodes[self.node];
        node.alive()?;
        if !node.config.attributes.shared_receive {
            return Err(Refused::Unsupported);
        }
        if depth > MAX_QUEUE_DEPTH {
            return Err(Refused::Limit { what: "receives", limit: usize::from(MAX_QUEUE_DEPTH) });
        }
        let limit = world.shared.capacity();
        let full = Refused::Limit { what: "shared receive queues", limit };
        if world.shared.len() == limit {
            return Err(full);
        }
        world.promise(completions.key, u32::from(depth))?;
        let shared = Shared {
            completions: completions.key,
            ring: VecDeque::with_capacity(usize::from(depth)),
            rung: 0,
            depth,
            unpolled: 0,
            users: 0,
            abandoned: false,
        };
        let key = world.shared.insert(shared).map_err(|_| full)?;
        Ok(LoopbackReceives { world: self.world.clone(), key, node: self.node })
    }

    fn listen(&mut self, at: SocketAddr, backlog: u16) -> Result<SocketAddr, Refused> {
        let mut world = self.world.borrow_mut();
        let node = &mut world.nodes[self.node];
        node.alive()?;
        if at.ip() != node.config.addr {
            return Err(Refused::Unsupported);
        }
        if node.listeners.len() >= LOOPBACK_LISTENERS {
            return Err(Refused::Limit { what: "listeners", limit: LOOPBACK_LISTENERS });
        }
        let taken = |port: u16| node.listeners.iter().any(|l| l.at.port() == port);
        let port = if at.port() == 0 { (1_024..).find(|p| !taken(*p)).unwrap_or(0) } else { at.port() };
        if port == 0 || taken(port) {
            return Err(Refused::InUse);
        }
        let at = SocketAddr::new(at.ip(), port);
        node.listeners.push(Listener { at, backlog, waiting: 0 });
        Ok(at)
    }

    fn unlisten(&mut self, at: SocketAddr) {
        let mut world = self.world.borrow_mut();
        world.nodes[self.node].listeners.retain(|l| l.at != at);
        let waits = |asked: &Asked| asked.node == Some(self.node) && asked.to == at && !asked.claimed;
        let waiting: Vec<_> = world.asked.iter().filter(|(_, a)| waits(a)).map(|(key, _)| key).collect();
        for request in waiting {
            world.refuse(request, RejectReason::NoListener, PrivateData::EMPTY);
        }
    }

    fn prepare(&mut self, peer: Peer, setup: QueueSetup<'_, Self>) -> Result<LoopbackQueue, Refused> {
        let mut world = self.world.borrow_mut();
        let target = match peer {
            Peer::At(to) => Target::At(to),
            Peer::Of(request) => Target::Of(request.key()),
        };
        let key = world.make_queue(self.node, target, &setup)?;
        Ok(LoopbackQueue::new(self.world.clone(), key))
    }

    fn reject(&mut self, request: RequestId, private: PrivateData) -> Result<(), Refused> {
        self.world.borrow_mut().reject(self.node, request, private)
    }

    /// Does nothing: the time of a loopback world is its own, see [`World::advance`](super::World::advance).
    fn progress(&mut self, _now: u64) {}

    fn poll(&mut self) -> Option<Event> {
        self.world.borrow_mut().nodes[self.node].events.pop_front()
    }

    fn counters(&self) -> Counters {
        self.world.borrow().nodes[self.node].counters
    }
}

impl super::inner::Node {
    fn alive(&self) -> Result<(), Refused> {
        if self.removed { Err(Refused::Removed) } else { Ok(()) }
    }
}

impl Inner {
    /// Keeps room for `more` completions.
    fn promise(&mut self, key: Key, more: u32) -> Result<(), Refused> {
        let cq = self.completions.get_mut(key).ok_or(Refused::Gone)?;
        let promised = cq.promised.saturating_add(more);
        if promised > cq.depth {
            return Err(Refused::Limit { what: "completions of a queue", limit: cq.depth as usize });
        }
        cq.promised = promised;
        cq.users += 1;
        Ok(())
    }

    fn make_queue(
        &mut self,
        node: usize,
        target: Target,
        setup: &QueueSetup<'_, LoopbackNode>,
    ) -> Result<Key, Refused> {
        self.nodes[node].alive()?;
        self.check_depths(node, setup)?;
        if let Target::Of(request) = target {
            self.asked.get(request).filter(|a| a.node == Some(node) && !a.claimed).ok_or(Refused::Gone)?;
        }
        let shared = setup.receives.map(|r| r.key);
        let completions = setup.completions.key;
        if shared.is_some_and(|s| self.shared.get(s).is_none_or(|s| s.completions != completions)) {
            return Err(Refused::Unsupported);
        }
        let limit = self.queues.capacity();
        let full = Refused::Limit { what: "queue pairs", limit };
        // A queue pair brings two events at most, and there must be room for them.
        let unheard = self.nodes[node].events.len() + 2 * (self.queues.len() + 1);
        if self.queues.len() == limit || unheard > LOOPBACK_EVENTS.min(EVENTS_PER_QUEUE * limit) {
            return Err(full);
        }
        self.promise(completions, u32::from(setup.send_depth) + u32::from(setup.receive_depth))?;
        let queue = new_queue(node, target, setup, self.next_window);
        // 24 bits of window number: a world that runs out of them reuses the oldest.
        self.next_window = (self.next_window + u32::from(setup.windows)) % (1 << 24);
        let key = self.queues.insert(queue).map_err(|_| full)?;
        if let Some(shared) = shared.and_then(|s| self.shared.get_mut(s)) {
            shared.users += 1;
        }
        if let Target::Of(request) = target
            && let Some(asked) = self.asked.get_mut(request)
        {
            asked.claimed = true;
        }
        Ok(key)
    }

    fn check_depths(&self, node: usize, setup: &QueueSetup<'_, LoopbackNode>) -> Result<(), Refused> {
        let attributes = &self.nodes[node].config.attributes;
        let bounds = [
            ("send requests", setup.send_depth, attributes.max_send),
            ("receives", setup.receive_depth, attributes.max_receive),
            ("windows", setup.windows, attributes.max_windows),
        ];
        for (what, asked, limit) in bounds {
            if asked > limit {
                return Err(Refused::Limit { what, limit: usize::from(limit) });
            }
        }
        if setup.receives.is_some() && setup.receive_depth > 0 { Err(Refused::Unsupported) } else { Ok(()) }
    }
}

fn new_queue(node: usize, target: Target, setup: &QueueSetup<'_, LoopbackNode>, first_window: u32) -> Queue {
    Queue {
        name: setup.name,
        node,
        completions: setup.completions.key,
        shared: setup.receives.map(|r| r.key),
        target,
        request: None,
        peer: None,
        state: State::Idle,
        halted: false,
        depth: ReadDepth::default(),
        send_depth: setup.send_depth,
        receive_depth: setup.receive_depth,
        send: VecDeque::with_capacity(usize::from(setup.send_depth)),
        rung: 0,
        executed: 0,
        receive: VecDeque::with_capacity(usize::from(setup.receive_depth)),
        receive_rung: 0,
        reads: 0,
        windows: WindowTable::new(setup.windows, first_window),
        last_arrival: 0,
        last_done: 0,
        last_control: 0,
        rnr: 0,
        flush_send: 0,
        flush_receive: 0,
        sends_out: 0,
        receives_out: 0,
        unpolled_shared: 0,
        abandoned: false,
        counters: Counters::default(),
    }
}

impl CompletionQueue for LoopbackCompletions {
    fn poll(&mut self, batch: &mut CompletionBatch) -> usize {
        let mut world = self.world.borrow_mut();
        let mut n = 0;
        while batch.room() > 0
            && let Some(reported) = world.completions.get_mut(self.key).and_then(|c| c.ring.pop_front())
        {
            world.polled(reported.queue, reported.shared, reported.completion.opcode);
            // There is room, which was asked first.
            let _ = batch.push(reported.completion);
            n += 1;
        }
        n
    }
}

impl Drop for LoopbackCompletions {
    fn drop(&mut self) {
        if let Ok(mut world) = self.world.try_borrow_mut() {
            if let Some(queue) = world.completions.get_mut(self.key) {
                queue.abandoned = true;
            }
            world.free_completions(self.key);
        }
    }
}

impl ReceiveQueue for LoopbackReceives {
    fn post_receive(&mut self, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>> {
        let mut world = self.world.borrow_mut();
        let Inner { nodes, shared, .. } = &mut *world;
        let node = &mut nodes[self.node];
        let Some(queue) = shared.get_mut(self.key) else { return Err(Refusal { request, why: Why::Closed }) };
        let full = queue.ring.len() + usize::from(queue.unpolled) >= usize::from(queue.depth);
        match if full { Err(Why::Full) } else { check_receive(node, &request) } {
            Ok(()) => {
                node.counters.receives += 1;
                queue.ring.push_back(request);
                Ok(())
            }
            Err(why) => {
                node.counters.refused += 1;
                Err(Refusal { request, why })
            }
        }
    }

    fn ring(&mut self) {
        let mut world = self.world.borrow_mut();
        let Some(queue) = world.shared.get_mut(self.key) else { return };
        let news = queue.rung < queue.ring.len();
        queue.rung = queue.ring.len();
        world.nodes[self.node].counters.doorbells += u64::from(news);
    }

    fn room(&self) -> u16 {
        let world = self.world.borrow();
        world.shared.get(self.key).map_or(0, |q| q.depth - q.unpolled - q.ring.len() as u16)
    }

    fn take_back(&mut self) -> Option<ReceiveRequest> {
        let mut world = self.world.borrow_mut();
        let queue = world.shared.get_mut(self.key).filter(|q| q.users == 0)?;
        let request = queue.ring.pop_front()?;
        queue.rung = queue.rung.min(queue.ring.len());
        Some(request)
    }
}

impl Drop for LoopbackReceives {
    fn drop(&mut self) {
        if let Ok(mut world) = self.world.try_borrow_mut() {
            if let Some(queue) = world.shared.get_mut(self.key) {
                queue.abandoned = true;
            }
            world.free_shared(self.key);
        }
    }
}
