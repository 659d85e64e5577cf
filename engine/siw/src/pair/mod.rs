//! One queue pair: its queues, and one end of a connection.

mod arrive;
mod end;
mod post;
mod reads;
mod send_queue;
mod setup;
mod transmit;

pub(crate) use end::End;
pub(crate) use post::{MAX_SGE, check_receive};
pub(crate) use setup::max_depth;

use crate::device::{Core, Received};
use crate::stream::{Interest, Outbox, Receiver, Socket};
use crate::timer::Timer;
use crate::window::WindowTable;
use crate::wire::{Fault, Terminate};
use arrive::Inbound;
use primitives::{Key, Ring, Tag};
use rdma::{
    Completion, CompletionBatch, Counters, Memory, Opcode, Parameters, ReadDepth, ReceiveRequest, RequestId, Room, Sge,
    Stag, Status,
};
use send_queue::{Entry, SendQueue};
use std::net::SocketAddr;
use transmit::Outbound;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Not started.
    Idle,
    /// TCP is being set up.
    Connecting,
    /// The MPA request is sent, or being sent.
    Requesting,
    /// The MPA reply is being sent.
    Replying,
    Established,
    /// Draining, or drained.
    Error,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    At(SocketAddr),
    Of(RequestId),
}

/// What a queue pair is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub name: Tag,
    pub completions: Key,
    pub shared: Option<Key>,
    pub target: Target,
    pub send_depth: u16,
    pub receive_depth: u16,
    pub windows: u16,
}

/// A connection's socket and what goes through it.
#[derive(Debug)]
struct Stream {
    socket: Socket,
    receiver: Receiver,
    outbox: Outbox,
    interest: Interest,
    /// Longest FPDU to send.
    fpdu: usize,
    /// Sending has failed; what there is to receive says why.
    broken: bool,
}

/// A queue pair's own receives.
#[derive(Debug)]
struct Receives {
    ring: Ring<ReceiveRequest>,
    depth: u16,
    rung: usize,
    /// Done and not polled, of this queue pair's own or of a shared queue.
    untold: u16,
}

#[derive(Debug)]
pub(crate) struct Pair {
    plan: Plan,
    key: Key,
    state: State,
    depth: ReadDepth,
    send: SendQueue,
    receive: Receives,
    windows: WindowTable,
    inbound: Inbound,
    outbound: Outbound,
    stream: Option<Box<Stream>>,
    /// What the owner said when it started, until the other side has answered.
    parameters: Option<Box<Parameters>>,
    /// When the set-up, or the wait for a shared receive, has taken too long.
    timer: Option<Timer>,
    /// Its completion queue knows that there is something to be told of the send queue.
    listed: bool,
    abandoned: bool,
    counters: Counters,
    /// Of the device's turns: the last in which something was received, and how many before it in a row.
    pub last_turn: u32,
    pub streak: u32,
    /// Turns since then in which it was read from in vain.
    pub misses: u32,
}

impl Pair {
    pub fn new(plan: Plan) -> Self {
        let receives = usize::from(plan.receive_depth);
        Self {
            plan,
            key: Key { index: 0, generation: 0 },
            state: State::Idle,
            depth: ReadDepth::default(),
            send: SendQueue::new(plan.send_depth),
            receive: Receives { ring: Ring::new(receives), depth: plan.receive_depth, rung: 0, untold: 0 },
            windows: WindowTable::new(plan.windows),
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            stream: None,
            parameters: None,
            timer: None,
            listed: false,
            abandoned: false,
            counters: Counters::default(),
            last_turn: 0,
            streak: 0,
            misses: 0,
        }
    }

    /// Tells it what it is called in its device.
    pub fn set_key(&mut self, key: Key) {
        self.key = key;
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub fn outstanding(&self) -> u32 {
        u32::from(self.send.out()) + u32::from(self.receives_out())
    }

    /// Own receives taken and not polled: such a receive holds its place.
    fn receives_out(&self) -> u16 {
        match (self.plan.shared, self.inbound.arriving()) {
            (Some(_), _) => 0,
            // All of them are bounded by the depth, together.
            (None, arriving) => self.receive.ring.len() as u16 + self.receive.untold + u16::from(arriving.is_some()),
        }
    }

    /// Nobody holds it and nothing of it is left.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.abandoned && self.state == State::Error && self.outstanding() == 0 && self.receive.untold == 0
    }

    /// Nobody holds it any more.
    pub fn abandon(&mut self, core: &mut Core) {
        self.abandoned = true;
        self.end(core, End::Local);
    }

    pub fn room(&self) -> Room {
        if self.state == State::Error {
            return Room { send: 0, reads: 0, receive: 0 };
        }
        let receive = self.receive.depth - self.receives_out();
        if self.state != State::Established {
            return Room { send: 0, reads: 0, receive };
        }
        let send = self.send.room();
        Room { send, reads: self.depth.ord.saturating_sub(self.send.reads()).min(send), receive }
    }

    pub fn reclaim(&mut self, stag: Stag) -> Option<Sge> {
        let unreachable = self.state == State::Error && self.outstanding() == 0;
        self.windows.reclaim(stag, unreachable)
    }

    /// Whether a request or a window uses a byte of `memory`.
    pub fn uses(&self, memory: &Memory) -> bool {
        let mut sges = self.send.memory().chain(self.windows.memory());
        let arriving = self.inbound.arriving().map(|r| &r.buf);
        sges.any(|sge| memory.overlaps(&Memory { addr: sge.addr(), len: sge.len as usize }))
            || self.receive.ring.iter().map(|r| &r.buf).chain(arriving).any(|buf| memory.overlaps(&extent(buf)))
    }

    /// Tells of receives of this queue pair at the front of `received`, as far as there is room; how many.
    pub fn tell_received(&mut self, received: &mut Ring<Received>, batch: &mut CompletionBatch) -> u16 {
        let mut told = 0;
        while batch.room() > 0
            && received.front().is_some_and(|r| r.pair == self.key)
            && let Some(received) = received.pop()
        {
            // There is room, which was asked first.
            let _ = batch.push(received.told(self.plan.name));
            told += 1;
        }
        self.receive.untold -= told;
        told
    }

    /// Tells of requests of the send queue, as far as there is room; `true` if there are no more.
    pub fn tell_sent(&mut self, batch: &mut CompletionBatch) -> bool {
        let Self { send, windows, counters, plan, .. } = self;
        send.tell(batch.room(), |entry, status| {
            let completion = completed(plan.name, entry, status, counters);
            if completion.opcode == Opcode::Invalidate {
                windows.told();
            }
            // There is room, which was asked first.
            let _ = batch.push(completion);
        });
        self.listed = self.send.is_ripe();
        !self.listed
    }

    /// An exposure has ended: if this connection is in the middle of using it, so does the connection.
    pub fn concealed(&mut self, core: &mut Core, stag: Stag) {
        if self.is_in_use(stag) {
            self.end(core, End::Fault(Terminate::new(Fault::STAG)));
        }
    }

    /// When its timer is due; zero if that is not known yet.
    pub fn due(&self) -> Option<u64> {
        self.timer.as_ref().map(Timer::due)
    }

    /// Ends what has taken too long.
    pub fn check_timer(&mut self, core: &mut Core) {
        if self.timer.as_mut().is_some_and(|t| t.is_due(core.now)) {
            self.timer = None;
            self.timed_out(core);
        }
    }

    fn set_timer(&mut self, core: &mut Core, nanos: u64) {
        self.timer = Some(Timer::after(nanos));
        core.wake = 0;
    }

    /// Has itself asked for what may be told of the send queue.
    #[inline]
    fn list(&mut self, core: &mut Core) {
        if self.send.is_ripe()
            && !self.listed
            && let Some(queue) = core.completions.get_mut(self.plan.completions)
        {
            // There is a place for every queue pair there may be.
            self.listed = queue.ripe.push(self.key.index).is_ok();
        }
    }

    /// Completes a receive, of this queue pair's own or of a shared queue.
    #[inline]
    fn complete_receive(
        &mut self,
        core: &mut Core,
        request: ReceiveRequest,
        status: Status,
        len: u32,
        invalidated: Option<Stag>,
    ) {
        self.counters.bytes_in += u64::from(len);
        count(status, &mut self.counters);
        self.receive.untold += 1;
        core.report(self.plan.completions, Received { pair: self.key, request, status, len, invalidated });
    }
}

/// The completion of a request of the send queue.
#[inline]
fn completed(queue: Tag, entry: &mut Entry, status: Status, counters: &mut Counters) -> Completion {
    let opcode = entry.opcode();
    let (tag, sgl) = (entry.request.tag, std::mem::take(&mut entry.request.sgl));
    let byte_len = if status.is_ok() { sgl.len() } else { 0 };
    let bytes = if opcode == Opcode::Read { &mut counters.bytes_in } else { &mut counters.bytes_out };
    *bytes += u64::from(byte_len);
    count(status, counters);
    Completion { queue, tag, opcode, status, byte_len, invalidated: None, sgl }
}

#[inline]
fn count(status: Status, counters: &mut Counters) {
    counters.completions += 1;
    counters.flushed += u64::from(status == Status::Flushed);
}

fn extent(buf: &primitives::Buf) -> Memory {
    Memory { addr: buf.as_ptr().addr(), len: buf.capacity() }
}
