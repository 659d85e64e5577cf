//! Messages between their completion and the end of their use.

use crate::frame::Parts;
use alloc::vec::Vec;
use core::ops::Range;
use primitives::{Buf, Ring, Tag};
use rdma::{QueuePair, ReceiveRequest};

/// The message that is open, and what of it is shown.
#[derive(Debug)]
struct Shown {
    message: ReceiveRequest,
    parts: Parts,
}

/// The receiving half of a connection. A message is the receive it came in, with its length set.
#[derive(Debug)]
pub(crate) struct Inbound {
    inbox: Ring<ReceiveRequest>,
    shown: Option<Shown>,
    /// Used receives, to be posted again.
    free: Vec<ReceiveRequest>,
    /// They are posted by this; otherwise by the owner.
    reposts: bool,
}

impl Inbound {
    pub fn new(limit: usize, shared: bool) -> Self {
        let free = Vec::with_capacity(limit + 1);
        Self { inbox: Ring::new(limit), shown: None, free, reposts: !shared }
    }

    /// A message came. The peer may have sent more than it should: then it is given back.
    #[inline]
    pub fn push(&mut self, message: ReceiveRequest) -> Result<(), ReceiveRequest> {
        self.inbox.push(message)
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Opens the oldest message, until [`Inbound::hide`]: all its bytes.
    #[inline]
    pub fn open(&mut self) -> &[u8] {
        self.shown = self.inbox.pop().map(|message| Shown { message, parts: Parts::NONE });
        self.message()
    }

    /// The bytes of the message that is open.
    #[inline]
    pub fn message(&self) -> &[u8] {
        self.shown.as_ref().map_or(&[], |shown| shown.message.buf.filled())
    }

    /// The message that is open has these parts.
    #[inline]
    pub fn show(&mut self, parts: Parts) {
        if let Some(shown) = &mut self.shown {
            shown.parts = parts;
        }
    }

    /// Closes the message that is open, as if it had not been opened.
    pub fn put_back(&mut self) {
        if let Some(Shown { message, .. }) = self.shown.take() {
            let put = self.inbox.push_front(message);
            debug_assert!(put.is_ok(), "its place was free");
        }
    }

    pub fn segment(&self) -> &[u8] {
        self.part(|shown| shown.parts.data())
    }

    pub fn ahs(&self) -> &[u8] {
        self.part(|shown| shown.parts.ahs())
    }

    #[inline]
    fn part(&self, which: impl Fn(&Shown) -> Range<usize>) -> &[u8] {
        self.shown.as_ref().and_then(|shown| shown.message.buf.filled().get(which(shown))).unwrap_or_default()
    }

    /// The message that is open is not needed any more.
    #[inline]
    pub fn hide(&mut self) {
        if let Some(shown) = self.shown.take() {
            self.free.push(shown.message);
        }
    }

    /// A receive is not used any more.
    #[inline]
    pub fn free(&mut self, tag: Tag, buf: Buf) {
        // With a shared receive queue, as many as it has: the owner takes them every turn.
        self.free.push(ReceiveRequest { tag, buf });
    }

    /// Receives that are not in use, for their owner.
    pub fn free_receives(&mut self) -> &mut Vec<ReceiveRequest> {
        &mut self.free
    }

    /// Posts the receives that are not in use to the queue pair they are from. `true` if any were posted; the others
    /// stay for their owner.
    #[inline]
    pub fn repost<Q: QueuePair>(&mut self, queue: &mut Q) -> bool {
        if !self.reposts || self.free.is_empty() {
            return false;
        }
        let before = self.free.len();
        // A queue pair that takes no receives has ended, and says so by other means.
        let _ = queue.post_receives(&mut self.free);
        self.free.len() < before
    }

    /// Frees all messages that nobody looked at.
    pub fn forget(&mut self) {
        while let Some(message) = self.inbox.pop() {
            self.free.push(message);
        }
    }

    /// The same, and from now on nothing is posted again.
    pub fn end(&mut self) {
        self.reposts = false;
        self.forget();
    }
}
