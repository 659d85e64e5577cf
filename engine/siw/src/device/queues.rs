//! Completion queues, and receive queues that queue pairs share.

use primitives::{Key, Tag};
use rdma::{Completion, Opcode, ReceiveRequest, Sge, Sgl, Status};
use std::collections::VecDeque;

/// A completion, and whether it was counted in its queue pair's `outstanding`.
#[derive(Debug)]
pub(crate) struct Reported {
    pub pair: Key,
    pub shared: bool,
    pub completion: Completion,
}

#[derive(Debug)]
pub(crate) struct Completions {
    pub ring: VecDeque<Reported>,
    pub depth: u32,
    /// Completions that what draws on it may bring at once; never above the depth, so it cannot overrun.
    pub promised: u32,
    pub users: u32,
    pub abandoned: bool,
}

impl Completions {
    pub fn new(depth: u32) -> Self {
        let ring = VecDeque::with_capacity(depth as usize);
        Self { ring, depth, promised: 0, users: 0, abandoned: false }
    }

    #[inline]
    pub fn push(&mut self, reported: Reported) {
        assert!(self.ring.len() < self.depth as usize, "a completion queue overran: its promises were not kept");
        self.ring.push_back(reported);
    }
}

/// Receives that several queue pairs draw from.
#[derive(Debug)]
pub(crate) struct SharedReceives {
    pub completions: Key,
    pub ring: VecDeque<ReceiveRequest>,
    pub rung: usize,
    pub depth: u16,
    /// Taken by a message, and its completion not polled: still holds its place in the completion queue.
    pub taken: u16,
    pub users: u32,
    pub abandoned: bool,
    /// Connections wait for receives.
    pub awaited: bool,
    pub counters: rdma::Counters,
}

impl SharedReceives {
    pub fn new(completions: Key, depth: u16) -> Self {
        Self {
            completions,
            ring: VecDeque::with_capacity(usize::from(depth)),
            rung: 0,
            depth,
            taken: 0,
            users: 0,
            abandoned: false,
            awaited: false,
            counters: rdma::Counters::default(),
        }
    }

    pub fn room(&self) -> u16 {
        // Both are bounded by the depth, together.
        self.depth - self.taken - self.ring.len() as u16
    }

    /// The receive rung last, for a message that has begun: the one whose memory is most probably in a cache.
    pub fn take(&mut self) -> Option<ReceiveRequest> {
        self.rung = self.rung.checked_sub(1)?;
        self.taken += 1;
        // What is posted and not rung is behind those that are.
        self.ring.swap_remove_back(self.rung)
    }
}

/// The completion of a receive.
#[inline]
pub(crate) fn received(
    queue: Tag,
    request: ReceiveRequest,
    status: Status,
    byte_len: u32,
    invalidated: Option<rdma::Stag>,
) -> Completion {
    let ReceiveRequest { tag, mut buf } = request;
    let byte_len = if status.is_ok() { byte_len } else { 0 };
    buf.set_len(byte_len as usize);
    let sgl = Sgl::one(Sge::filled(buf));
    Completion { queue, tag, opcode: Opcode::Receive, status, byte_len, invalidated, sgl }
}
