//! The handles of queue pairs, completion queues and shared receive queues.

use crate::inner::Inner;
use crate::share::Share;
use primitives::{Key, Tag};
use rdma::{
    Access, CompletionBatch, CompletionQueue, Counters, Ended, Parameters, QueuePair, ReceiveQueue, ReceiveRequest,
    Refusal, Refused, Remote, Room, Sge, Stag, WorkRequest,
};
use std::fmt;
use std::sync::Arc;

/// One end of a connection.
pub struct VerbsQueue {
    pub(crate) inner: Arc<Share<Inner>>,
    pub(crate) key: Key,
}

/// A completion queue.
pub struct VerbsCompletions {
    pub(crate) inner: Arc<Share<Inner>>,
    pub(crate) key: Key,
}

/// A shared receive queue.
pub struct VerbsReceives {
    pub(crate) inner: Arc<Share<Inner>>,
    pub(crate) key: Key,
}

macro_rules! debug {
    ($($name:ident),*) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.key).finish()
            }
        })*
    };
}

debug!(VerbsQueue, VerbsCompletions, VerbsReceives);

impl QueuePair for VerbsQueue {
    fn start(&mut self, parameters: &Parameters) -> Result<(), Refused> {
        self.inner.borrow().start(self.key, parameters)
    }

    fn post_receive(&mut self, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>> {
        self.inner.borrow().post_receive(self.key, request)
    }

    fn post_send(&mut self, request: WorkRequest) -> Result<(), Refusal<WorkRequest>> {
        self.inner.borrow().post_send(self.key, request)
    }

    fn bind(&mut self, tag: Tag, sge: Sge, access: Access) -> Result<Remote, Refusal<Sge>> {
        self.inner.borrow().bind(self.key, tag, sge, access)
    }

    fn reclaim(&mut self, stag: Stag) -> Option<Sge> {
        let inner = &mut *self.inner.borrow();
        let queue = inner.queues.get_mut(self.key)?;
        let unreachable = queue.is_drained();
        queue.windows.reclaim(stag, unreachable, &mut inner.regions)
    }

    fn ring(&mut self) {
        self.inner.borrow().ring(self.key);
    }

    fn to_error(&mut self) {
        self.inner.borrow().fail(self.key, Ended::Local);
    }

    fn room(&self) -> Room {
        let none = Room { send: 0, reads: 0, receive: 0 };
        self.inner.borrow().queues.get(self.key).map_or(none, |queue| queue.room())
    }

    fn outstanding(&self) -> u32 {
        self.inner.borrow().queues.get(self.key).map_or(0, |queue| queue.outstanding())
    }

    fn counters(&self) -> Counters {
        self.inner.borrow().queues.get(self.key).map(|queue| queue.counters).unwrap_or_default()
    }
}

impl Drop for VerbsQueue {
    fn drop(&mut self) {
        if let Some(mut inner) = self.inner.try_borrow() {
            inner.abandon(self.key);
        }
    }
}

impl CompletionQueue for VerbsCompletions {
    fn poll(&mut self, batch: &mut CompletionBatch) -> usize {
        self.inner.borrow().poll(self.key, batch)
    }
}

impl Drop for VerbsCompletions {
    fn drop(&mut self) {
        if let Some(mut inner) = self.inner.try_borrow() {
            if let Some(completions) = inner.completions.get_mut(self.key) {
                completions.abandoned = true;
            }
            inner.free_completions_if_over(self.key);
        }
    }
}

impl ReceiveQueue for VerbsReceives {
    fn post_receive(&mut self, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>> {
        self.inner.borrow().post_shared(self.key, request)
    }

    fn ring(&mut self) {
        self.inner.borrow().ring_shared(self.key);
    }

    fn room(&self) -> u16 {
        self.inner.borrow().shared.get(self.key).map_or(0, crate::shared::Shared::room)
    }

    fn take_back(&mut self) -> Option<ReceiveRequest> {
        self.inner.borrow().take_back(self.key)
    }
}

impl Drop for VerbsReceives {
    fn drop(&mut self) {
        if let Some(mut inner) = self.inner.try_borrow() {
            if let Some(shared) = inner.shared.get_mut(self.key) {
                shared.abandoned = true;
            }
            inner.free_shared_if_over(self.key);
        }
    }
}
