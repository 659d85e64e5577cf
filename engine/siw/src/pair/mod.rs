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

use crate::device::{Core, Reported, received};
use crate::stream::{Interest, Outbox, Receiver, Socket};
use crate::timer::Timer;
use crate::window::WindowTable;
use crate::wire::{Fault, Terminate};
use arrive::Inbound;
use primitives::{Key, Tag};
use rdma::{
    Completion, Counters, Memory, Opcode, Parameters, ReadDepth, ReceiveRequest, RequestId, Room, Sge, Stag, Status,
    WorkRequest,
};
use send_queue::{Entry, SendQueue, Task};
use std::collections::VecDeque;
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
    ring: VecDeque<ReceiveRequest>,
    depth: u16,
    rung: usize,
    /// Taken and not polled: such a receive still holds its place.
    out: u16,
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
    /// Completions of shared receives that are not polled.
    unpolled_shared: u32,
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
            receive: Receives { ring: VecDeque::with_capacity(receives), depth: plan.receive_depth, rung: 0, out: 0 },
            windows: WindowTable::new(plan.windows),
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            stream: None,
            parameters: None,
            timer: None,
            unpolled_shared: 0,
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
        u32::from(self.send.out()) + u32::from(self.receive.out)
    }

    /// Nobody holds it and nothing of it is left.
    pub fn is_over(&self) -> bool {
        self.abandoned && self.state == State::Error && self.outstanding() == 0 && self.unpolled_shared == 0
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
        let receive = self.receive.depth - self.receive.out;
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

    /// A completion has left its completion queue: its place is free.
    #[inline]
    pub fn polled(&mut self, shared: bool, opcode: Opcode) {
        if shared {
            self.unpolled_shared -= 1;
        } else if opcode == Opcode::Receive {
            self.receive.out -= 1;
        } else {
            self.send.polled();
            if opcode == Opcode::Invalidate {
                self.windows.told();
            }
        }
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

    /// Completes what is done of the send queue.
    #[inline]
    fn complete_ripe(&mut self, core: &mut Core) {
        let Some(queue) = core.completions.get_mut(self.plan.completions) else { return };
        for entry in self.send.take_ripe() {
            let completion = completed(self.plan.name, entry, Status::Success, &mut self.counters);
            queue.push(Reported { pair: self.key, shared: false, completion });
        }
    }

    /// Completes a request of the send queue.
    fn complete(&mut self, core: &mut Core, entry: Entry, status: Status) {
        let completion = completed(self.plan.name, entry, status, &mut self.counters);
        core.report(self.plan.completions, Reported { pair: self.key, shared: false, completion });
    }

    /// Completes a receive, of this queue pair's own or of a shared queue.
    fn complete_receive(
        &mut self,
        core: &mut Core,
        request: ReceiveRequest,
        status: Status,
        len: u32,
        invalidated: Option<Stag>,
    ) {
        let completion = received(self.plan.name, request, status, len, invalidated);
        self.counters.bytes_in += u64::from(completion.byte_len);
        count(status, &mut self.counters);
        let shared = self.plan.shared.is_some();
        self.unpolled_shared += u32::from(shared);
        core.report(self.plan.completions, Reported { pair: self.key, shared, completion });
    }
}

/// The completion of a request of the send queue.
#[inline]
fn completed(queue: Tag, entry: Entry, status: Status, counters: &mut Counters) -> Completion {
    let opcode = entry.opcode();
    let WorkRequest { tag, sgl, .. } = entry.request;
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
