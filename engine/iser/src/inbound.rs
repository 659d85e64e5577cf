//! Messages between their completion and the end of their use.

use crate::frame::Pdu;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;
use primitives::{Buf, Tag};
use rdma::{QueuePair, ReceiveRequest};

/// A message received.
#[derive(Debug)]
pub(crate) struct Message {
    /// The receive's.
    pub tag: Tag,
    pub buf: Buf,
}

/// The message of the PDU that was shown last, and what of it is shown.
#[derive(Debug)]
struct Shown {
    message: Message,
    ahs: Range<usize>,
    data: Range<usize>,
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(crate) struct Inbound {
    inbox: VecDeque<Message>,
    limit: usize,
    shown: Option<Shown>,
    /// Buffers for the owner.
    free: Vec<Buf>,
    /// Used buffers are posted again.
    pub reposts: bool,
}

impl Inbound {
    pub fn new(limit: usize, shared: bool) -> Self {
        let free = Vec::with_capacity(limit + 1);
        Self { inbox: VecDeque::with_capacity(limit), limit, shown: None, free, reposts: !shared }
    }

    /// A message came. The peer may have sent more than it should: then it is given back.
    #[inline]
    pub fn push(&mut self, message: Message) -> Result<(), Message> {
        if self.inbox.len() >= self.limit {
            return Err(message);
        }
        self.inbox.push_back(message);
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    /// The oldest message, left in place.
    pub fn front(&self) -> Option<&[u8]> {
        self.inbox.front().map(|message| message.buf.filled())
    }

    #[inline]
    pub fn pop(&mut self) -> Option<Message> {
        let oldest = self.inbox.pop_front();
        if self.inbox.is_empty() {
            // Begins again at its beginning, which is in a cache.
            self.inbox.clear();
        }
        oldest
    }

    /// Shows the parts of the oldest message, which was this PDU, until [`Inbound::hide`].
    pub fn show(&mut self, pdu: Pdu) {
        if let Some(message) = self.pop() {
            self.shown = Some(Shown { message, ahs: pdu.ahs, data: pdu.data });
        }
    }

    pub fn segment(&self) -> &[u8] {
        self.shown.as_ref().and_then(|shown| shown.message.buf.filled().get(shown.data.clone())).unwrap_or_default()
    }

    pub fn ahs(&self) -> &[u8] {
        self.shown.as_ref().and_then(|shown| shown.message.buf.filled().get(shown.ahs.clone())).unwrap_or_default()
    }

    /// The end of what was shown; its message, to be recycled.
    pub fn hide(&mut self) -> Option<Message> {
        self.shown.take().map(|shown| shown.message)
    }

    /// Posts a used buffer again, or puts it where its owner finds it. `true` if something was posted.
    #[inline]
    pub fn recycle<Q: QueuePair>(&mut self, queue: &mut Q, message: Message) -> bool {
        let Message { tag, buf } = message;
        if !self.reposts {
            self.free(buf);
            return false;
        }
        match queue.post_receive(ReceiveRequest { tag, buf }) {
            Ok(()) => true,
            Err(refusal) => {
                self.free(refusal.request.buf);
                false
            }
        }
    }

    /// Puts a buffer where its owner finds it.
    #[inline]
    pub fn free(&mut self, buf: Buf) {
        // With a shared receive queue, as many as it has: the owner takes them every turn.
        self.free.push(buf);
    }

    pub fn take_free(&mut self) -> Option<Buf> {
        self.free.pop()
    }

    /// Frees all messages that nobody looked at, from now on without posting them again.
    pub fn clear(&mut self) {
        self.reposts = false;
        while let Some(message) = self.pop() {
            self.free(message.buf);
        }
    }
}
