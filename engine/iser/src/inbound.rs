//! Messages between their completion and the end of their use.

use crate::frame::Parts;
use crate::list;
use crate::wire::HEADERS;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;
use primitives::{Buf, Tag};
use rdma::{QueuePair, ReceiveRequest};

/// The receiving half of a connection. A message is the receive it came in, with its length set.
///
/// Messages stay where they came to until the turn ends; then all that are used leave at once.
#[derive(Debug)]
pub(crate) struct Inbound {
    /// The oldest first: those that were opened, then those that were not.
    messages: Vec<ReceiveRequest>,
    /// How many were opened.
    opened: usize,
    /// The one opened last still is.
    is_open: bool,
    /// Messages there may be.
    limit: usize,
    /// Used receives, to be posted again.
    free: Vec<ReceiveRequest>,
    /// They are posted by this; otherwise by the owner.
    reposts: bool,
}

impl Inbound {
    pub fn new(limit: usize, shared: bool) -> Self {
        // A message that is open must not stop the next one.
        let limit = limit + 1;
        let empty = || Vec::with_capacity(limit);
        Self { messages: empty(), opened: 0, is_open: false, limit, free: empty(), reposts: !shared }
    }

    /// Makes room for so many more messages in place of those that were used.
    #[inline]
    pub fn make_room(&mut self, more: usize) {
        if self.messages.len() + more > self.limit {
            self.collect();
        }
    }

    /// There is room for one more message; if room was made and there is none, the peer has sent more than it should.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.messages.len() < self.limit
    }

    /// A message came, for which there is room.
    #[inline]
    pub fn push(&mut self, message: ReceiveRequest) {
        let pushed = list::push(&mut self.messages, message);
        debug_assert!(pushed, "there was room");
    }

    /// None waits to be opened.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.opened == self.messages.len()
    }

    /// Opens the oldest message that waits, until [`Inbound::hide`]: all its bytes.
    #[inline]
    pub fn open(&mut self) -> &[u8] {
        if !self.is_empty() {
            self.opened += 1;
            self.is_open = true;
        }
        self.message()
    }

    /// Opens the oldest message that waits if its headers are `wanted`, and closes the one before it.
    #[inline]
    pub fn open_if(&mut self, wanted: impl FnOnce(&[u8; HEADERS]) -> bool) -> Option<&[u8; HEADERS]> {
        let headers = self.messages.get(self.opened)?.buf.filled().first_chunk()?;
        if !wanted(headers) {
            return None;
        }
        self.opened += 1;
        self.is_open = true;
        Some(headers)
    }

    /// The bytes of the message that is open.
    #[inline]
    pub fn message(&self) -> &[u8] {
        let open = if self.is_open { self.messages.get(self.opened.wrapping_sub(1)) } else { None };
        open.map_or(&[], |message| message.buf.filled())
    }

    /// Closes the message that is open, as if it had not been opened.
    pub fn put_back(&mut self) {
        self.opened -= usize::from(mem::take(&mut self.is_open));
    }

    pub fn segment(&self) -> &[u8] {
        self.part(Parts::data)
    }

    pub fn ahs(&self) -> &[u8] {
        self.part(Parts::ahs)
    }

    fn part(&self, which: impl FnOnce(Parts) -> Range<usize>) -> &[u8] {
        let message = self.message();
        // It was judged before it was shown.
        let parts = Parts::of(message, u32::MAX);
        parts.ok().and_then(|parts| message.get(which(parts))).unwrap_or_default()
    }

    /// The message that is open is not needed any more.
    #[inline]
    pub fn hide(&mut self) {
        self.is_open = false;
    }

    /// A receive is not used any more.
    #[inline]
    pub fn free(&mut self, tag: Tag, buf: Buf) {
        // With a shared receive queue, as many as it has: the owner takes them every turn.
        self.free.push(ReceiveRequest { tag, buf });
    }

    /// The messages that were used are free.
    fn collect(&mut self) {
        let used = self.opened - usize::from(self.is_open);
        if used == 0 {
            return;
        }
        if self.is_empty() && self.free.is_empty() {
            mem::swap(&mut self.messages, &mut self.free);
            let open = if self.is_open { self.free.pop() } else { None };
            self.messages.extend(open);
        } else {
            self.free.extend(self.messages.drain(..used));
        }
        self.opened -= used;
    }

    /// Receives that are not in use, for their owner.
    pub fn free_receives(&mut self) -> &mut Vec<ReceiveRequest> {
        self.collect();
        &mut self.free
    }

    /// Posts the receives that are not in use to the queue pair they are from. `true` if any were posted; the others
    /// stay for their owner.
    #[inline]
    pub fn repost<Q: QueuePair>(&mut self, queue: &mut Q) -> bool {
        if !self.reposts {
            return false;
        }
        self.collect();
        let before = self.free.len();
        if before > 0 {
            // A queue pair that takes no receives has ended, and says so by other means.
            let _ = queue.post_receives(&mut self.free);
        }
        self.free.len() < before
    }

    /// Frees all messages that nobody looked at.
    pub fn forget(&mut self) {
        self.free.extend(self.messages.drain(self.opened..));
    }

    /// The same, and from now on nothing is posted again.
    pub fn end(&mut self) {
        self.reposts = false;
        self.forget();
    }
}
