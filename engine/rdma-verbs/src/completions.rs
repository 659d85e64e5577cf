//! Completion queues.

use crate::inner::Inner;
use crate::sys;
use primitives::Key;
use rdma::{Completion, CompletionBatch};
use std::collections::VecDeque;

/// Whose place becomes free when a completion is polled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    Send(Key),
    Receive(Key),
    Shared(Key),
}

/// A completion queue.
#[derive(Debug)]
pub struct Completions {
    pub device: sys::Completions,
    pub depth: u32,
    /// Places promised to queue pairs and shared receive queues.
    pub reserved: u32,
    /// Completions that found no room in their batch, in order: unsignalled requests come several at a time, and what
    /// a device does not flush is flushed here.
    pub staged: VecDeque<(Origin, Completion)>,
    pub abandoned: bool,
}

impl Completions {
    pub fn is_unused(&self) -> bool {
        self.abandoned && self.reserved == 0
    }
}

impl Inner {
    /// A completion goes to its owner.
    pub fn hand(&mut self, completions: Key, origin: Origin, completion: Completion, batch: &mut CompletionBatch) {
        let Some(queue) = self.completions.get_mut(completions) else { return };
        if batch.room() > 0 && queue.staged.is_empty() {
            self.polled(origin, &completion);
            let _ = batch.push(completion);
        } else {
            queue.staged.push_back((origin, completion));
        }
    }

    /// A completion waits for the next poll.
    pub fn stage(&mut self, completions: Key, origin: Origin, completion: Completion) {
        if let Some(queue) = self.completions.get_mut(completions) {
            queue.staged.push_back((origin, completion));
        }
    }

    /// Moves what waits into `batch`, as far as it has room.
    pub fn unstage(&mut self, completions: Key, batch: &mut CompletionBatch) {
        while batch.room() > 0 {
            let Some(queue) = self.completions.get_mut(completions) else { return };
            let Some((origin, completion)) = queue.staged.pop_front() else { return };
            self.polled(origin, &completion);
            let _ = batch.push(completion);
        }
    }

    /// A completion is its owner's: its place is free.
    fn polled(&mut self, origin: Origin, completion: &Completion) {
        let flushed = u64::from(completion.status == rdma::Status::Flushed);
        self.counters.completions += 1;
        self.counters.flushed += flushed;
        let key = match origin {
            Origin::Shared(key) => {
                if let Some(shared) = self.shared.get_mut(key) {
                    shared.unpolled -= 1;
                }
                return;
            }
            Origin::Send(key) | Origin::Receive(key) => key,
        };
        let Some(queue) = self.queues.get_mut(key) else { return };
        queue.counters.completions += 1;
        queue.counters.flushed += flushed;
        match origin {
            Origin::Send(_) => queue.sends_out -= 1,
            _ => queue.receives_out -= 1,
        }
    }

    /// Completion queues whose handle was dropped go with the last that uses them.
    pub fn free_completions_if_over(&mut self, key: Key) {
        if self.completions.get(key).is_some_and(Completions::is_unused) {
            self.completions.remove(key);
        }
    }
}
