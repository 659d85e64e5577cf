//! [`Iser`]: the datamover over a queue pair (RFC 5047 §8, §9; RFC 7145).

mod arrive;
mod ending;
mod seam;

use crate::gets::Gets;
use crate::hello::HelloState;
use crate::inbound::Inbound;
use crate::limits::{LOGIN_SEGMENT, Limits};
use crate::outbound::Outbound;
use crate::stats::Stats;
use crate::supplies::{Size, Supplies};
use crate::unexpected::Unexpected;
use crate::unsolicited::Unsolicited;
use alloc::vec::Vec;
use ending::Phase;
use iscsi::datamover::{DataStatus, Violation};
use primitives::{Buf, Ring, Tag};
use rdma::{Completion, Event, Opcode, QueuePair, ReadDepth, ReceiveRequest};

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
    pub outcome: Outcome,
    /// Bytes of a get.
    pub bytes: u32,
}

/// How an operation has ended: what of [`DataStatus`] there is over RDMA, which is short.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Ok,
    Released,
    SequenceError,
    Short(u32),
}

impl From<Outcome> for DataStatus {
    #[inline]
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Released => Self::Released,
            Outcome::SequenceError => Self::SequenceError,
            Outcome::Short(bytes) => Self::Short(bytes),
        }
    }
}

/// What was negotiated, as far as this layer needs it.
#[derive(Clone, Copy, Debug)]
struct Session {
    /// The largest data segment to the initiator.
    send_segment: usize,
    /// The buffer that an answer of that length needs.
    answer: Size,
    /// The largest data segment from the initiator.
    receive_segment: u32,
    /// FirstBurstLength; `None` until `enable`.
    first_burst: Option<u32>,
}

/// A target's datamover over a queue pair.
///
/// With a receive queue of its own, the owner posts the first receives (through [`Iser::queue`]) before the queue pair
/// is started, and this posts them again. With a shared one, whatever arrives is the owner's to replace:
/// [`Iser::free_receives`] has to be emptied every turn.
///
/// After [`Terminated`](iscsi::datamover::Upcall::Terminated) nothing of the queue pair is under way any more. The
/// owner takes the buffers back ([`Iser::take_supplies`], [`Iser::free_receives`]) and forgets it. A receive of a
/// shared queue may complete even later; then it is found in `free_receives`.
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
    done: Ring<Done>,
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
            session: Session {
                send_segment: LOGIN_SEGMENT,
                answer: Size::Message,
                receive_segment: LOGIN_SEGMENT as u32,
                first_burst: None,
            },
            // As many as may be waiting when another is taken, and as many as may then be under way.
            done: Ring::new(2 * operations),
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

    /// Takes completions of this queue pair in, and their memory.
    pub fn complete(&mut self, completions: &mut [Completion]) {
        self.news = true;
        for completion in completions {
            debug_assert_eq!(completion.queue, self.name, "a completion of another queue pair");
            self.take_in(completion);
        }
        self.post_reads();
    }

    #[inline]
    fn take_in(&mut self, completion: &mut Completion) {
        let Completion { tag, opcode, status, invalidated, .. } = *completion;
        if opcode != Opcode::Receive {
            self.out.completed();
        }
        if !status.is_ok() {
            self.on_failure(status);
        }
        // A target opens no windows, and everything else has a buffer.
        let Some(buf) = completion.sgl.take_buf() else { return };
        match opcode {
            Opcode::Receive if status.is_ok() => self.received(ReceiveRequest { tag, buf }, invalidated.is_some()),
            Opcode::Receive => self.inbound.free(tag, buf),
            Opcode::Send => self.out.sent(tag, buf),
            Opcode::Write => self.written(tag, buf, status.is_ok()),
            Opcode::Read => self.read(tag, buf, status.is_ok()),
            Opcode::Bind | Opcode::Invalidate => debug_assert!(false, "a target opens no windows"),
        }
    }

    /// Takes a connection event of this queue pair in.
    pub fn event(&mut self, event: &Event) {
        self.news = true;
        match *event {
            Event::Established { depth, .. } => {
                self.gets.ord = depth.ord;
                self.out.established();
            }
            Event::Disconnected { how, .. } => self.on_disconnect(how),
            Event::Rejected { .. } => self.on_rejection(),
            // Not of a queue pair; each gets an event of its own.
            Event::Request(_) | Event::Removed => {}
        }
    }

    /// The receives that are not in use any more, for the owner to take. With a shared receive queue all of them come
    /// back this way, to be posted there again; with an own one, those of a connection that has ended: until then this
    /// posts them again.
    #[inline]
    pub fn free_receives(&mut self) -> &mut Vec<ReceiveRequest> {
        self.inbound.free_receives()
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
    fn received(&mut self, message: ReceiveRequest, invalidates: bool) {
        if self.is_open() && !invalidates {
            if let Err(ReceiveRequest { tag, buf }) = self.inbound.push(message) {
                self.inbound.free(tag, buf);
                self.on_flood();
            }
            return;
        }
        self.inbound.free(message.tag, message.buf);
        if self.is_open() {
            // There was nothing to invalidate: no window of ours is ever open.
            self.violate(Violation::Header);
        }
    }

    #[inline]
    fn written(&mut self, tag: Tag, buf: Buf, ok: bool) {
        self.puts -= 1;
        let outcome = if ok { Outcome::Ok } else { Outcome::Released };
        self.stats.puts += u64::from(ok);
        self.done(Done { tag, buf, outcome, bytes: 0 });
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
            && self.out.make_way()
            && let Some((key, from, sink)) = self.gets.next()
        {
            self.out.read(key, from, sink);
        }
    }

    #[inline]
    fn done(&mut self, done: Done) {
        let pushed = self.done.push(done);
        debug_assert!(pushed.is_ok(), "more operations ended than were taken");
    }
}
