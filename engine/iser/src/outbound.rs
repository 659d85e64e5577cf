//! Posting: what goes into the send queue, and which of it is signalled.

use crate::limits::Limits;
use crate::supplies::{Size, Supplies};
use iscsi::datamover::Later;
use primitives::{Buf, Key, Tag};
use rdma::{Op, QueuePair, Remote, Sge, Sgl, Why, WorkRequest};

/// Kinds of tags in the send queue.
mod kind {
    pub const CONTROL: u8 = 1;
    pub const MESSAGE: u8 = 2;
    pub const READ: u8 = 3;
}

/// The sending half of a connection.
///
/// The latest Send or Write is held back until the next one or the end of the turn: only then is known whether it is
/// the last of the turn, the one to signal.
#[derive(Debug)]
pub(crate) struct Outbound<Q> {
    pub queue: Q,
    supplies: Supplies,
    held: Option<WorkRequest>,
    /// Something was posted since the last ring.
    pub unrung: bool,
    /// Places in the send queue, once something was posted.
    depth: usize,
    /// Requests the queue pair has taken and not completed.
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
        Self { queue, supplies, held: None, unrung: false, depth: 0, under_way: 0, broken: None, reserve }
    }

    /// Everything that was given to it is completed.
    pub fn is_idle(&self) -> bool {
        self.under_way == 0 && self.held.is_none()
    }

    /// Everything that was given to it is with the device.
    pub fn is_flushed(&self) -> bool {
        !self.unrung && self.held.is_none()
    }

    /// Why nothing can be posted any more, once.
    #[inline]
    pub fn take_broken(&mut self) -> Option<Why> {
        self.broken.take()
    }

    /// Places left in the send queue. Counted here: asking the queue pair each time would cost as much as posting.
    #[inline]
    fn room(&self) -> usize {
        let left = match self.depth {
            0 => usize::from(self.queue.room().send),
            depth => depth.saturating_sub(self.under_way),
        };
        left.saturating_sub(usize::from(self.held.is_some()))
    }

    /// There is a place in the send queue that is not reserved for answers.
    pub fn has_room_for_data(&self) -> bool {
        self.room() > self.reserve
    }

    /// A response can be sent that is not owed at once.
    pub fn has_room_for_response(&self) -> bool {
        self.has_room_for_data() && self.supplies.control.len() > self.reserve
    }

    /// The answer to one more PDU can be sent, with up to `segment` bytes of data, and some that are owed for earlier
    /// ones.
    pub fn has_room_for_answer(&self, segment: usize) -> bool {
        let kept = self.reserve / 2;
        let long = Size::of(segment) != Some(Size::Control);
        self.room() > kept && self.supplies.control.len() > kept && (!long || !self.supplies.messages.is_empty())
    }

    /// A buffer for a message with `segment` bytes of data. Give it to [`Outbound::send`].
    pub fn take_buffer(&mut self, segment: usize) -> Option<(Size, Buf)> {
        if self.room() == 0 {
            return None;
        }
        let size = Size::of(segment)?;
        let mut buf = self.supplies.stack(size).pop()?;
        buf.set_len(0);
        Some((size, buf))
    }

    /// Queues the message in `buf`.
    pub fn send(&mut self, size: Size, buf: Buf, op: Op) -> Result<(), Later> {
        let kind = if size == Size::Control { kind::CONTROL } else { kind::MESSAGE };
        let tag = Tag::new(kind, 0, 0, 0);
        if !self.make_way() {
            self.sent(tag, buf);
            return Err(Later);
        }
        self.hold(tag, op, Sge::filled(buf));
        Ok(())
    }

    /// A Send is over, or was not taken: its buffer is free.
    #[inline]
    pub fn sent(&mut self, tag: Tag, buf: Buf) {
        let size = if tag.kind() == kind::MESSAGE { Size::Message } else { Size::Control };
        self.supplies.stack(size).push(buf);
    }

    /// Posts what is held back, so that something else can be. `false` if it could not be.
    #[inline]
    pub fn make_way(&mut self) -> bool {
        self.post_held(false)
    }

    /// Queues a Send or a Write, after [`Outbound::make_way`]. It is made in its place: a request is long to copy.
    #[inline]
    pub fn hold(&mut self, tag: Tag, op: Op, sge: Sge) {
        debug_assert!(self.held.is_none());
        self.held = Some(WorkRequest { tag, op, sgl: Sgl::one(sge), signalled: false });
    }

    /// Posts a read, signalled; the sink comes back if it cannot be posted now, or at all.
    pub fn read(&mut self, key: Key, from: Remote, sink: Sge) -> Result<(), Sge> {
        if !self.make_way() {
            return Err(sink);
        }
        let tag = Tag::new(kind::READ, 0, key.index as u16, key.generation);
        let request = WorkRequest { tag, op: Op::Read { from }, sgl: Sgl::one(sink), signalled: true };
        match self.queue.post_send(request) {
            Ok(()) => {
                self.posted();
                Ok(())
            }
            Err(mut refusal) => {
                self.note(refusal.why);
                refusal.request.sgl.take().map_or(Ok(()), Err)
            }
        }
    }

    /// Posts what is held back. `false` if it could not be: it is held still.
    #[inline]
    fn post_held(&mut self, signalled: bool) -> bool {
        let Some(mut request) = self.held.take() else { return true };
        request.signalled |= signalled;
        match self.queue.post_send(request) {
            Ok(()) => {
                self.posted();
                true
            }
            Err(refusal) => {
                self.note(refusal.why);
                self.held = Some(WorkRequest { signalled: false, ..refusal.request });
                false
            }
        }
    }

    #[inline]
    fn posted(&mut self) {
        self.under_way += 1;
        if self.depth == 0 {
            self.depth = usize::from(self.queue.room().send) + self.under_way;
        }
        self.unrung = true;
    }

    fn note(&mut self, why: Why) {
        if !why.is_transient() {
            self.broken = Some(why);
        }
    }

    /// The end of a turn: one doorbell.
    pub fn ring(&mut self) {
        // What comes last says when all before it is done.
        self.post_held(true);
        if core::mem::take(&mut self.unrung) {
            self.queue.ring();
        }
    }

    /// A request has completed.
    #[inline]
    pub fn completed(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Takes back what is not posted.
    pub fn take_held(&mut self) -> Option<WorkRequest> {
        self.held.take()
    }

    pub fn take_supplies(&mut self) -> Supplies {
        core::mem::take(&mut self.supplies)
    }
}
