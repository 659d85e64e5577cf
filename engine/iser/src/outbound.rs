//! Posting: what goes into the send queue, and which of it is signalled.

use crate::limits::{BATCH, Limits};
use crate::supplies::{Size, Supplies};
use primitives::{Buf, Key, Tag};
use rdma::{Op, QueuePair, Remote, SendBatch, Sge, Sgl, Why, WorkRequest};

/// Kinds of tags in the send queue.
mod kind {
    pub const CONTROL: u8 = 1;
    pub const MESSAGE: u8 = 2;
    pub const READ: u8 = 3;
}

/// The sending half of a connection.
///
/// Requests are gathered and posted together at the end of the turn: only then is known which is the last, the one to
/// signal.
#[derive(Debug)]
pub(crate) struct Outbound<Q> {
    pub queue: Q,
    supplies: Supplies,
    /// Not posted yet.
    batch: SendBatch,
    /// Something was posted since the last ring.
    pub unrung: bool,
    /// Places in the send queue, while the connection is established.
    depth: usize,
    /// Requests that were queued and have not completed.
    under_way: usize,
    /// Why the queue pair refused something for good.
    broken: Option<Why>,
    reserve: usize,
}

impl<Q: QueuePair> Outbound<Q> {
    pub fn new(queue: Q, supplies: Supplies, limits: &Limits) -> Self {
        assert!(supplies.suffice(), "buffers for Sends must hold what they are for");
        // With all of it in reserve nothing else could ever be sent.
        let reserve = limits.reserve.min(supplies.control.len().saturating_sub(1));
        let batch = SendBatch::new(BATCH);
        Self { queue, supplies, batch, unrung: false, depth: 0, under_way: 0, broken: None, reserve }
    }

    /// The connection is established: something can be sent.
    pub fn established(&mut self) {
        self.depth = usize::from(self.queue.room().send);
    }

    /// The connection is over: nothing is sent any more.
    pub fn closed(&mut self) {
        self.depth = 0;
    }

    /// Everything that was given to it is completed.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.under_way == 0
    }

    /// Everything that was given to it is with the device.
    #[inline]
    pub fn is_flushed(&self) -> bool {
        !self.unrung && self.batch.is_empty()
    }

    /// Why nothing can be posted any more, once.
    #[inline]
    pub fn take_broken(&mut self) -> Option<Why> {
        self.broken.take()
    }

    /// Places left in the send queue. Counted here: asking the queue pair each time would cost as much as posting.
    #[inline]
    fn room(&self) -> usize {
        self.depth.saturating_sub(self.under_way)
    }

    /// There is a place in the send queue that is not reserved for answers.
    #[inline]
    pub fn has_room_for_data(&self) -> bool {
        self.room() > self.reserve
    }

    /// A response can be sent that is not owed at once.
    #[inline]
    pub fn has_room_for_response(&self) -> bool {
        self.has_room_for_data() && self.supplies.control.len() > self.reserve
    }

    /// The answer to one more PDU can be sent, in a buffer of this size, and some that are owed for earlier ones.
    #[inline]
    pub fn has_room_for_answer(&self, size: Size) -> bool {
        let kept = self.reserve / 2;
        self.room() > kept
            && self.supplies.control.len() > kept
            && (size == Size::Control || !self.supplies.messages.is_empty())
    }

    /// Queues a message with up to `segment` bytes of data, which `fill` writes; `false` if that cannot be done now.
    #[inline]
    pub fn send(&mut self, segment: usize, op: Op, fill: impl FnOnce(&mut Buf)) -> bool {
        let Some(size) = Size::of(segment) else { return false };
        if self.room() == 0 || !self.make_way() {
            return false;
        }
        let stack = self.supplies.stack(size);
        // Written where it lies: it moves once, into its request.
        if let Some(buf) = stack.last_mut() {
            fill(buf);
        }
        let Some(buf) = stack.pop() else { return false };
        let kind = if size == Size::Control { kind::CONTROL } else { kind::MESSAGE };
        self.push(Tag::new(kind, 0, 0, 0), op, Sge::filled(buf), false);
        true
    }

    /// A Send is over: its buffer is free.
    #[inline]
    pub fn sent(&mut self, tag: Tag, buf: Buf) {
        let size = if tag.kind() == kind::MESSAGE { Size::Message } else { Size::Control };
        self.supplies.stack(size).push(buf);
    }

    /// There is a place for one more request. One of them at least is for this or a later turn: a batch that is full
    /// is posted.
    #[inline]
    pub fn make_way(&mut self) -> bool {
        if self.batch.is_full() {
            self.post();
        }
        !self.batch.is_full()
    }

    /// Queues a request, after [`Outbound::make_way`].
    #[inline]
    pub fn push(&mut self, tag: Tag, op: Op, sge: Sge, signalled: bool) {
        let pushed = self.batch.push(WorkRequest { tag, op, sgl: Sgl::one(sge), signalled });
        debug_assert!(pushed.is_ok(), "way was made");
        self.under_way += 1;
    }

    /// Queues a read, signalled, after [`Outbound::make_way`].
    pub fn read(&mut self, key: Key, from: Remote, sink: Sge) {
        let tag = Tag::new(kind::READ, 0, key.index as u16, key.generation);
        self.push(tag, Op::Read { from }, sink, true);
    }

    /// Posts what was gathered, the last of it signalled. What the queue pair does not take now stays.
    fn post(&mut self) {
        let Some(last) = self.batch.last_mut() else { return };
        // What comes last says when all before it is done.
        last.signalled = true;
        let before = self.batch.len();
        let result = self.queue.post_sends(&mut self.batch);
        self.unrung |= self.batch.len() < before;
        if let Err(why) = result
            && !why.is_transient()
        {
            self.broken = Some(why);
        }
    }

    /// The end of a turn: one doorbell.
    pub fn ring(&mut self) {
        self.post();
        if core::mem::take(&mut self.unrung) {
            self.queue.ring();
        }
    }

    /// A request has completed.
    #[inline]
    pub fn completed(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Takes back what is not posted, the oldest first.
    pub fn take_unposted(&mut self) -> Option<WorkRequest> {
        let request = self.batch.take_first()?;
        self.completed();
        Some(request)
    }

    pub fn take_supplies(&mut self) -> Supplies {
        core::mem::take(&mut self.supplies)
    }
}
