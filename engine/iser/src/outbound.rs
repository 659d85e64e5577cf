//! Posting: what goes into the send queue, and which of it is signalled.

use crate::limits::{BATCH, Limits};
use crate::list;
use crate::supplies::{Size, Supplies};
use primitives::{Buf, Tag};
use rdma::{Op, QueuePair, SendBatch, Sge, Sgl, Why, WorkRequest};

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
    /// Requests of the data path that may be queued without another look at anything: see [`Outbound::grant`].
    credit: usize,
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
        Self { queue, supplies, batch, unrung: false, credit: 0, depth: 0, under_way: 0, broken: None, reserve }
    }

    /// The connection is established: something can be sent.
    pub fn established(&mut self) {
        self.depth = usize::from(self.queue.room().send);
    }

    /// The connection is over: nothing is sent any more.
    pub fn closed(&mut self) {
        self.depth = 0;
        self.credit = 0;
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

    /// One more request of the data path may be queued.
    #[inline]
    pub fn has_credit(&self) -> bool {
        self.credit > 0
    }

    /// Looks how many requests of the data path may be queued: `most`, as far as the batch has room, and the send queue
    /// beside what is reserved for answers. All that is queued from now on is taken off; what completes counts when it
    /// is looked at again.
    pub fn grant(&mut self, most: usize) -> bool {
        let room = if self.has_room_for_data() { self.room() - self.reserve } else { 0 };
        self.credit = most.min(room).min(self.batch.room());
        self.has_credit()
    }

    /// There is room for one more request that is not of the reserve.
    pub fn has_room_for_data(&mut self) -> bool {
        self.room() > self.reserve && self.make_way()
    }

    /// What may be queued has to be looked at again.
    pub fn revoke(&mut self) {
        self.credit = 0;
    }

    /// There is a buffer for a response that is not owed at once.
    #[inline]
    pub fn has_buffer_for_response(&self) -> bool {
        self.supplies.control.len() > self.reserve
    }

    /// A buffer for a response that is not owed at once.
    #[inline]
    pub fn take_buffer_for_response(&mut self) -> Option<Buf> {
        if self.has_buffer_for_response() { self.supplies.control.pop() } else { None }
    }

    /// The answer to one more PDU can be sent, in a buffer of this size, and some that are owed for earlier ones.
    #[inline]
    pub fn has_room_for_answer(&self, size: Size) -> bool {
        let kept = self.reserve / 2;
        // Credit is for what is beyond the whole reserve.
        (self.has_credit() || self.room() > kept)
            && self.supplies.control.len() > kept
            && (size == Size::Control || !self.supplies.messages.is_empty())
    }

    /// Queues a message that `fill` writes, out of the reserve if need be; `false` if that cannot be done now.
    pub fn send(&mut self, size: Size, op: Op, fill: impl FnOnce(&mut Buf)) -> bool {
        if self.room() == 0 || !self.make_way() {
            return false;
        }
        let Some(mut buf) = self.supplies.stack(size).pop() else { return false };
        fill(&mut buf);
        self.push(WorkRequest { tag: size.tag(), op, sgl: Sgl::one(Sge::filled(buf)), signalled: false });
        true
    }

    /// A Send is over: its buffer is free.
    #[inline]
    pub fn sent(&mut self, tag: Tag, buf: Buf) {
        let given_back = list::push(self.supplies.stack(Size::of_tag(tag)), buf);
        debug_assert!(given_back, "more buffers than there were");
    }

    /// There is a place for one more request. One of them at least is for this or a later turn: a batch that is full
    /// is posted.
    fn make_way(&mut self) -> bool {
        if self.batch.is_full() {
            self.post();
        }
        !self.batch.is_full()
    }

    /// Queues a request, when there is room.
    #[inline]
    pub fn push(&mut self, request: WorkRequest) {
        let pushed = self.batch.push(request);
        debug_assert!(pushed.is_ok(), "way was made");
        self.under_way += 1;
        self.credit = self.credit.saturating_sub(1);
    }

    /// Posts what was gathered, the last of it signalled. What the queue pair does not take now stays.
    fn post(&mut self) {
        let Some(last) = self.batch.last_mut() else { return };
        // What comes last says when all before it is done.
        last.signalled = true;
        let before = self.batch.len();
        let result = self.queue.post_sends(&mut self.batch);
        self.unrung |= self.batch.len() < before;
        if !self.batch.is_empty() {
            self.batch.compact();
        }
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

    /// So many requests have completed.
    #[inline]
    pub fn completed(&mut self, requests: usize) {
        self.under_way = self.under_way.saturating_sub(requests);
    }

    /// Takes back what is not posted, the oldest first.
    pub fn take_unposted(&mut self) -> Option<WorkRequest> {
        let request = self.batch.take_first()?;
        self.completed(1);
        Some(request)
    }

    pub fn take_supplies(&mut self) -> Supplies {
        core::mem::take(&mut self.supplies)
    }
}
