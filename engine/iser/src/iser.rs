//! [`Iser`]: the datamover over a queue pair (RFC 5047 §8, §9; RFC 7145).

mod arrive;
mod ending;
mod seam;

use crate::gets::Gets;
use crate::hello::HelloState;
use crate::inbound::{Inbound, Message};
use crate::limits::{LOGIN_SEGMENT, Limits};
use crate::outbound::Outbound;
use crate::stats::Stats;
use crate::supplies::Supplies;
use crate::unexpected::Unexpected;
use crate::unsolicited::Unsolicited;
use alloc::collections::VecDeque;
use ending::Phase;
use iscsi::datamover::{DataStatus, Violation};
use primitives::{Buf, Tag};
use rdma::{Completion, Event, Opcode, QueuePair, ReadDepth};

/// What a connection is made with.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The queue pair's name.
    pub name: Tag,
    /// What it may hold.
    pub limits: Limits,
    /// The peer said that its STags may be invalidated by a Send, and we said that we would: see
    /// [`private`](crate::private).
    pub peer_invalidates: bool,
    /// RDMA Reads at once; what [`Event::Established`] says takes its place.
    pub depth: ReadDepth,
    /// The queue pair draws its receives from a shared queue.
    pub shared_receive: bool,
}

/// An operation that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub tag: Tag,
    pub buf: Buf,
    pub status: DataStatus,
    /// Bytes of a get.
    pub bytes: u32,
}

/// What was negotiated, as far as this layer needs it.
#[derive(Clone, Copy, Debug)]
struct Session {
    /// The largest data segment to the initiator.
    send_segment: usize,
    /// The largest data segment from the initiator.
    receive_segment: u32,
    /// FirstBurstLength; `None` until `enable`.
    first_burst: Option<u32>,
}

/// A target's datamover over a queue pair.
///
/// With a receive queue of its own, the owner posts the first receives (through [`Iser::queue`]) before the queue pair
/// is started, and this posts them again. With a shared one, whatever arrives is the owner's to replace:
/// [`Iser::take_free_receive`] has to be called every turn.
///
/// After [`Terminated`](iscsi::datamover::Upcall::Terminated) nothing of the queue pair is under way any more. The
/// owner takes the buffers back ([`Iser::take_supplies`], [`Iser::take_free_receive`]) and forgets it. A receive of a
/// shared queue may complete even later; then its buffer is the next thing `take_free_receive` returns.
#[derive(Debug)]
pub struct Iser<Q> {
    name: Tag,
    limits: Limits,
    peer_invalidates: bool,
    out: Outbound<Q>,
    inbound: Inbound,
    /// Puts outstanding.
    puts: usize,
    gets: Gets,
    unsolicited: Unsolicited,
    unexpected: Unexpected,
    hello: HelloState,
    session: Session,
    done: VecDeque<Done>,
    /// From this many ended operations on no new ones are taken, so that `done` never grows.
    done_limit: usize,
    phase: Phase,
    /// To be reported; with `true` only when all that was sent is completed.
    violation: Option<(Violation, bool)>,
    /// Parsing waits for the layer above to say what becomes of unsolicited data.
    held: bool,
    /// Something came since the last `receive`.
    news: bool,
    stats: Stats,
}

impl<Q: QueuePair> Iser<Q> {
    /// A connection over a queue pair that is prepared and not started. `supplies` are for what is sent.
    ///
    /// # Panics
    /// When a buffer of `supplies` is smaller than it has to be: a bug of the caller.
    #[must_use]
    pub fn new(queue: Q, setup: Setup, supplies: Supplies) -> Self {
        let Setup { name, limits, peer_invalidates, depth, shared_receive } = setup;
        let operations = limits.puts + limits.gets + limits.unsolicited;
        Self {
            name,
            limits,
            peer_invalidates,
            out: Outbound::new(queue, supplies, &limits),
            inbound: Inbound::new(limits.receives, shared_receive),
            puts: 0,
            gets: Gets::new(limits.gets, depth.ord),
            unsolicited: Unsolicited::new(limits.unsolicited),
            unexpected: Unexpected::new(),
            hello: HelloState::Login,
            session: Session { send_segment: LOGIN_SEGMENT, receive_segment: LOGIN_SEGMENT as u32, first_burst: None },
            // As many as may be waiting when another is taken, and as many as may then be under way.
            done: VecDeque::with_capacity(2 * operations),
            done_limit: operations,
            phase: Phase::Open,
            violation: None,
            held: false,
            news: false,
            stats: Stats::default(),
        }
    }

    /// The queue pair: to post the first receives and to start it.
    pub fn queue(&mut self) -> &mut Q {
        &mut self.out.queue
    }

    /// Takes a completion of this queue pair in.
    pub fn complete(&mut self, completion: Completion) {
        debug_assert_eq!(completion.queue, self.name, "a completion of another queue pair");
        self.news = true;
        let Completion { tag, opcode, status, invalidated, mut sgl, .. } = completion;
        if opcode != Opcode::Receive {
            self.out.completed();
        }
        if !status.is_ok() {
            self.on_failure(status);
        }
        let (buf, ok) = (sgl.take_buf(), status.is_ok());
        match (opcode, buf) {
            (Opcode::Receive, Some(buf)) if ok => self.received(Message { tag, buf }, invalidated.is_some()),
            (Opcode::Receive, Some(buf)) => self.inbound.free(buf),
            (Opcode::Send, Some(buf)) => self.out.sent(tag, buf),
            (Opcode::Write, Some(buf)) => self.written(tag, buf, ok),
            (Opcode::Read, Some(buf)) => self.read(tag, buf, ok),
            // A target opens no windows, and everything else has a buffer.
            _ => {}
        }
        self.post_reads();
    }

    /// Takes a connection event of this queue pair in.
    pub fn event(&mut self, event: &Event) {
        self.news = true;
        match *event {
            Event::Established { depth, .. } => self.gets.ord = depth.ord,
            Event::Disconnected { how, .. } => self.on_disconnect(how),
            Event::Rejected { .. } => self.on_rejection(),
            // Not of a queue pair; each gets an event of its own.
            Event::Request(_) | Event::Removed => {}
        }
    }

    /// A receive buffer that is not in use any more. With a shared receive queue all of them come back this way, to be
    /// posted there again; with an own one, only those of a connection that has ended.
    pub fn take_free_receive(&mut self) -> Option<Buf> {
        self.inbound.take_free()
    }

    /// The buffers given to [`Iser::new`], all of them, after [`Terminated`](iscsi::datamover::Upcall::Terminated);
    /// `None` before that.
    pub fn take_supplies(&mut self) -> Option<Supplies> {
        (self.phase == Phase::Gone).then(|| self.out.take_supplies())
    }

    /// Lets PDUs the initiator does not expect be sent although nothing has come since the final login response. The
    /// owner, who has a clock, calls it about a second after that (RFC 7145 §5.1.3).
    pub fn end_quiet(&mut self) {
        self.unexpected.end_quiet();
    }

    /// Counts since the start.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    #[inline]
    fn received(&mut self, message: Message, invalidates: bool) {
        match self.phase {
            Phase::Open if invalidates => {
                // There was nothing to invalidate: no window of ours is ever open.
                self.inbound.free(message.buf);
                self.violate(Violation::Header);
            }
            Phase::Open => {
                if let Err(message) = self.inbound.push(message) {
                    self.inbound.free(message.buf);
                    self.on_flood();
                }
            }
            _ => self.recycle(message),
        }
    }

    #[inline]
    fn written(&mut self, tag: Tag, buf: Buf, ok: bool) {
        self.puts -= 1;
        let status = if ok { DataStatus::Ok } else { DataStatus::Released };
        self.stats.puts += u64::from(ok);
        self.done(Done { tag, buf, status, bytes: 0 });
    }

    fn read(&mut self, tag: Tag, buf: Buf, ok: bool) {
        let done = self.gets.completed(tag, buf, ok);
        debug_assert!(done.is_some(), "a read completes that was not under way");
        if let Some(done) = done {
            self.stats.gets += u64::from(ok);
            self.stats.bytes_in += if ok { u64::from(done.bytes) } else { 0 };
            self.done(done);
        }
    }

    /// Posts reads that wait, as far as the depth and the send queue have room.
    #[inline]
    fn post_reads(&mut self) {
        if self.gets.is_waiting() {
            self.post_waiting_reads();
        }
        self.check_broken();
    }

    fn post_waiting_reads(&mut self) {
        while self.gets.is_waiting()
            && self.out.has_room_for_data()
            && let Some((key, from, sink)) = self.gets.next()
        {
            match self.out.read(key, from, sink) {
                Ok(()) => self.gets.posted(),
                Err(sink) => {
                    self.gets.refused(key, sink.buf);
                    break;
                }
            }
        }
    }

    fn recycle(&mut self, message: Message) {
        self.out.unrung |= self.inbound.recycle(&mut self.out.queue, message);
    }

    #[inline]
    fn done(&mut self, done: Done) {
        debug_assert!(self.done.len() < self.done.capacity(), "more operations ended than were taken");
        self.done.push_back(done);
    }
}
