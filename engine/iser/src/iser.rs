//! [`Iser`]: the datamover over a queue pair (RFC 5047 §8, §9; RFC 7145).

mod arrive;
mod ending;
mod seam;
mod unusual;

use crate::done::{Done, DoneQueue, Outcome};
use crate::gets::Gets;
use crate::hello::HelloState;
use crate::inbound::Inbound;
use crate::limits::{BATCH, LOGIN_SEGMENT, Limits};
use crate::outbound::Outbound;
use crate::stats::Stats;
use crate::supplies::{Size, Supplies};
use crate::unexpected::Unexpected;
use crate::unsolicited::Unsolicited;
use alloc::vec::Vec;
use ending::Phase;
use iscsi::datamover::Violation;
use primitives::Tag;
use rdma::{Completion, Event, Op, Opcode, QueuePair, ReadDepth, ReceiveRequest, Remote, Sge, Sgl, WorkRequest};

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
    done: DoneQueue,
    /// From this many ended operations on no new ones are taken, so that `done` never grows.
    done_limit: usize,
    phase: Phase,
    /// A SCSI Command without data is reported as it comes: the connection is open, and nothing that was agreed on or
    /// sent asks for more than a look at its header. Whoever may change that takes it away; [`Iser::on_pdu`] finds out.
    steady: bool,
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
            // As many as may be waiting when others are taken, as many as may then be under way, and those taken.
            done: DoneQueue::new(2 * operations + BATCH),
            done_limit: operations,
            phase: Phase::Open,
            steady: false,
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
        let (all, mut receives) = (completions.len(), 0);
        self.done.make_room(all);
        self.inbound.make_room(all);
        for completion in completions {
            debug_assert_eq!(completion.queue, self.name, "a completion of another queue pair");
            let ok = completion.status.is_ok();
            // In the order of their frequency; a `match` would become a jump through a table.
            if completion.opcode == Opcode::Receive {
                receives += 1;
                if ok { self.received(completion) } else { self.failed(completion) }
            } else if !ok {
                self.failed(completion);
            } else if completion.opcode == Opcode::Send {
                self.sent(completion);
            } else if completion.opcode == Opcode::Write {
                self.written(completion);
            } else if completion.opcode == Opcode::Read {
                self.read(completion);
            }
        }
        self.out.completed(all - receives);
        self.post_reads();
    }

    /// A request failed, and the connection with it.
    #[cold]
    fn failed(&mut self, completion: &mut Completion) {
        self.on_failure(completion.status);
        let Some(buf) = completion.sgl.take_buf() else { return };
        match completion.opcode {
            Opcode::Receive => self.inbound.free(completion.tag, buf),
            opcode => self.not_done(opcode, completion.tag, buf),
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
    fn received(&mut self, completion: &mut Completion) {
        if !self.is_open() || completion.invalidated.is_some() || !self.inbound.has_room() {
            return self.discard(completion);
        }
        let Some(Sge { buf, .. }) = completion.sgl.take_first() else { return };
        self.inbound.push(ReceiveRequest { tag: completion.tag, buf });
    }

    /// A message came that is not looked at.
    #[cold]
    fn discard(&mut self, completion: &mut Completion) {
        let Some(buf) = completion.sgl.take_buf() else { return };
        self.inbound.free(completion.tag, buf);
        if !self.is_open() {
            return;
        }
        if completion.invalidated.is_some() {
            // There was nothing to invalidate: no window of ours is ever open.
            self.violate(Violation::Header);
        } else {
            self.on_flood();
        }
    }

    #[inline]
    fn sent(&mut self, completion: &mut Completion) {
        let Some(Sge { buf, .. }) = completion.sgl.take_first() else { return };
        self.out.sent(completion.tag, buf);
    }

    #[inline]
    fn written(&mut self, completion: &mut Completion) {
        let Some(Sge { buf, .. }) = completion.sgl.take_first() else { return };
        self.done.push(Done { tag: completion.tag, buf, outcome: Outcome::Ok });
        self.puts -= 1;
        self.stats.puts += 1;
    }

    #[inline]
    fn read(&mut self, completion: &mut Completion) {
        let Some(Sge { mut buf, start, len }) = completion.sgl.take_first() else { return };
        let outcome = self.gets.end(completion.tag);
        let end = start as usize + len as usize;
        buf.set_len(end.max(buf.len()));
        self.done.push(Done { tag: completion.tag, buf, outcome });
        self.stats.gets += 1;
        self.stats.bytes_in += u64::from(len);
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
            && let Some((tag, from, sink)) = self.gets.next()
        {
            self.begin_read(tag, from, sink);
        }
    }

    /// Queues an RDMA Read, when there is room. Each is signalled: its data is waited for.
    #[inline]
    fn begin_read(&mut self, tag: Tag, from: Remote, sink: Sge) {
        self.gets.begin(tag);
        self.out.push(WorkRequest { tag, op: Op::Read { from }, sgl: Sgl::one(sink), signalled: true });
    }

    /// Looks how many operations may be queued without another look.
    fn grant(&mut self) -> bool {
        let most = if self.done.len() < self.done_limit { self.limits.puts.saturating_sub(self.puts) } else { 0 };
        self.out.grant(most)
    }
}
