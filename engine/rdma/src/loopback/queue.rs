//! The state of one queue pair, and of the queues it draws on.

use super::window::WindowTable;
use crate::completion::{Completion, Opcode, Status};
use crate::connection::{PrivateData, ReadDepth};
use crate::counters::Counters;
use crate::memory::{Sgl, Stag};
use crate::work::{Op, ReceiveRequest};
use alloc::collections::VecDeque;
use core::net::SocketAddr;
use primitives::{Key, Tag};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Not started.
    Idle,
    /// The request is under way.
    Connecting,
    /// Accepted; the requester's confirmation is under way.
    Accepting,
    Established,
    /// Draining, or drained.
    Error,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    Bind(Stag),
    Op(Op),
}

impl Task {
    pub(super) const fn opcode(self) -> Opcode {
        match self {
            Self::Bind(_) => Opcode::Bind,
            Self::Op(op) => op.opcode(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) tag: Tag,
    pub(super) task: Task,
    pub(super) sgl: Sgl,
    pub(super) signalled: bool,
    /// When it reaches the peer, once rung.
    pub(super) arrives: u64,
    /// When its acknowledgement is back, once executed.
    pub(super) done: u64,
    /// How it ended, once executed.
    pub(super) status: Option<Status>,
    pub(super) bytes: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    At(SocketAddr),
    Of(Key),
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: Tag,
    pub(super) node: usize,
    pub(super) completions: Key,
    pub(super) shared: Option<Key>,
    pub(super) target: Target,
    /// The request a requester waits for the answer of.
    pub(super) request: Option<Key>,
    pub(super) peer: Option<Key>,
    pub(super) state: State,
    /// Fails soon, or another's word of its failure is under way: executes nothing more.
    pub(super) halted: bool,
    pub(super) depth: ReadDepth,
    pub(super) send_depth: u16,
    pub(super) receive_depth: u16,
    pub(super) send: VecDeque<Entry>,
    /// Of `send`: how many the device knows, and how many of those it has executed.
    pub(super) rung: usize,
    pub(super) executed: usize,
    pub(super) receive: VecDeque<ReceiveRequest>,
    pub(super) receive_rung: usize,
    /// Reads posted and not completed.
    pub(super) reads: u16,
    pub(super) windows: WindowTable,
    /// Messages and acknowledgements do not overtake each other.
    pub(super) last_arrival: u64,
    pub(super) last_done: u64,
    pub(super) last_control: u64,
    /// Sends tried in vain for want of a receive, in a row.
    pub(super) rnr: u32,
    /// In the error state: when what is left of each queue is flushed.
    pub(super) flush_send: u64,
    pub(super) flush_receive: u64,
    /// Taken and not polled, of each queue; such a request still holds its place there and in the completion queue.
    pub(super) sends_out: u16,
    pub(super) receives_out: u16,
    /// Completions of shared receives not polled yet.
    pub(super) unpolled_shared: u32,
    pub(super) abandoned: bool,
    pub(super) counters: Counters,
}

impl Queue {
    /// Reads being served by the peer.
    pub(super) fn reads_served(&self, now: u64) -> usize {
        let served = |e: &&Entry| e.task.opcode() == Opcode::Read && e.done > now;
        self.send.iter().take(self.executed).filter(served).count()
    }

    pub(super) fn outstanding(&self) -> u32 {
        u32::from(self.sends_out) + u32::from(self.receives_out)
    }

    /// Nothing of its own can be touched any more.
    pub(super) fn is_drained(&self) -> bool {
        self.state == State::Error && self.outstanding() == 0
    }
}

/// A completion, and whether it was counted in its queue pair's `outstanding`.
#[derive(Debug)]
pub(super) struct Reported {
    pub(super) queue: Key,
    pub(super) shared: bool,
    pub(super) completion: Completion,
}

#[derive(Debug)]
pub(super) struct Completions {
    pub(super) node: usize,
    pub(super) ring: VecDeque<Reported>,
    pub(super) depth: u32,
    /// Completions that what draws on it may bring at once; never above the depth, so it cannot overrun.
    pub(super) promised: u32,
    pub(super) users: u32,
    pub(super) abandoned: bool,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) completions: Key,
    pub(super) ring: VecDeque<ReceiveRequest>,
    pub(super) rung: usize,
    pub(super) depth: u16,
    /// Completed and not polled: still holds its place in the completion queue.
    pub(super) unpolled: u16,
    pub(super) users: u32,
    pub(super) abandoned: bool,
}

/// A connection request between its making and its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) client: Key,
    pub(super) to: SocketAddr,
    pub(super) from: SocketAddr,
    pub(super) depth: ReadDepth,
    pub(super) private: PrivateData,
    /// Whose event it became.
    pub(super) node: Option<usize>,
    /// A queue pair was made for it.
    pub(super) claimed: bool,
}
