//! A queue pair's handle.

use super::inner::Inner;
use crate::connection::{Ended, Parameters};
use crate::counters::Counters;
use crate::memory::{Access, Remote, Sge, Stag};
use crate::provider::{QueuePair, Room};
use crate::work::{ReceiveRequest, Refusal, Refused, WorkRequest};
use alloc::rc::Rc;
use core::cell::RefCell;
use primitives::{Key, Tag};

/// One end of a connection between nodes.
#[derive(Debug)]
pub struct LoopbackQueue {
    world: Rc<RefCell<Inner>>,
    key: Key,
}

impl LoopbackQueue {
    pub(super) fn new(world: Rc<RefCell<Inner>>, key: Key) -> Self {
        Self { world, key }
    }
}

impl QueuePair for LoopbackQueue {
    fn start(&mut self, parameters: &Parameters) -> Result<(), Refused> {
        self.world.borrow_mut().start(self.key, parameters)
    }

    fn post_receive(&mut self, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>> {
        self.world.borrow_mut().post_receive(self.key, request)
    }

    fn post_send(&mut self, request: WorkRequest) -> Result<(), Refusal<WorkRequest>> {
        self.world.borrow_mut().post_send(self.key, request)
    }

    fn bind(&mut self, tag: Tag, sge: Sge, access: Access) -> Result<Remote, Refusal<Sge>> {
        self.world.borrow_mut().bind(self.key, tag, sge, access)
    }

    fn reclaim(&mut self, stag: Stag) -> Option<Sge> {
        let mut world = self.world.borrow_mut();
        let queue = world.queues.get_mut(self.key)?;
        let unreachable = queue.is_drained();
        queue.windows.reclaim(stag, unreachable)
    }

    fn ring(&mut self) {
        self.world.borrow_mut().ring(self.key);
    }

    fn to_error(&mut self) {
        self.world.borrow_mut().fail(self.key, Ended::Local, Some(Ended::Peer));
    }

    fn room(&self) -> Room {
        self.world.borrow().room(self.key)
    }

    fn outstanding(&self) -> u32 {
        self.world.borrow().queues.get(self.key).map_or(0, |q| q.outstanding())
    }

    fn counters(&self) -> Counters {
        self.world.borrow().queues.get(self.key).map(|q| q.counters).unwrap_or_default()
    }
}

impl Drop for LoopbackQueue {
    fn drop(&mut self) {
        // A test that panics inside the world must not panic again here.
        if let Ok(mut world) = self.world.try_borrow_mut() {
            world.fail(self.key, Ended::Local, Some(Ended::Peer));
            if let Some(queue) = world.queues.get_mut(self.key) {
                queue.abandoned = true;
            }
            world.free_if_over(self.key);
        }
    }
}
