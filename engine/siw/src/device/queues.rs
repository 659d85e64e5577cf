//! Completion queues, and receive queues that queue pairs share.

use crate::limits::QUEUES;
use primitives::{IndexQueue, Key, Ring, Tag};
use rdma::{Completion, Opcode, ReceiveRequest, Sge, Sgl, Stag, Status, Why};

/// A receive that is done.
#[derive(Debug)]
pub(crate) struct Received {
    pub pair: Key,
    pub request: ReceiveRequest,
    pub status: Status,
    /// Bytes of the message.
    pub len: u32,
    pub invalidated: Option<Stag>,
}

/// Where completions come from. They are made when they are polled: until then requests stay in their send queue, and
/// receives wait here.
#[derive(Debug)]
pub(crate) struct Completions {
    pub received: Ring<Received>,
    /// Queue pairs that have completed requests in their send queue, each once, by index.
    pub ripe: IndexQueue,
    pub depth: u32,
    /// Completions that what draws on it may bring at once; never above the depth, so it cannot overrun.
    pub promised: u32,
    pub users: u32,
    pub abandoned: bool,
}

impl Completions {
    pub fn new(depth: u32) -> Self {
        let (received, ripe) = (Ring::new(depth as usize), IndexQueue::new(QUEUES));
        Self { received, ripe, depth, promised: 0, users: 0, abandoned: false }
    }

    /// There is nothing to poll.
    pub fn is_empty(&self) -> bool {
        self.received.is_empty() && self.ripe.is_empty()
    }
}

/// Receives that several queue pairs draw from.
#[derive(Debug)]
pub(crate) struct SharedReceives {
    pub completions: Key,
    /// Those that are rung, and behind them those that are not.
    pub ring: Vec<ReceiveRequest>,
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
            ring: Vec::with_capacity(usize::from(depth)),
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

    /// Adds receives from the end of `requests`, as long as there is room and `check` allows it.
    pub fn post(
        &mut self,
        requests: &mut Vec<ReceiveRequest>,
        check: impl Fn(&ReceiveRequest) -> Result<(), Why>,
    ) -> Result<(), Why> {
        let fit = requests.len().min(usize::from(self.room()));
        let good = requests.iter().rev().take(fit).take_while(|request| check(request).is_ok()).count();
        self.ring.extend(requests.drain(requests.len() - good..));
        self.counters.receives += good as u64;
        let Some(refused) = requests.last() else { return Ok(()) };
        self.counters.refused += 1;
        if good == fit { Err(Why::Full) } else { check(refused) }
    }

    /// The receive rung last, for a message that has begun: the one whose memory is most probably in a cache.
    #[inline]
    pub fn take(&mut self) -> Option<ReceiveRequest> {
        self.rung = self.rung.checked_sub(1)?;
        self.taken += 1;
        Some(self.ring.swap_remove(self.rung))
    }
}

impl Received {
    /// The completion of a receive of the queue pair with this name.
    #[inline]
    pub fn told(self, queue: Tag) -> Completion {
        let Self { request: ReceiveRequest { tag, mut buf }, status, len: byte_len, invalidated, .. } = self;
        buf.set_len(byte_len as usize);
        let sgl = Sgl::one(Sge::filled(buf));
        Completion { queue, tag, opcode: Opcode::Receive, status, byte_len, invalidated, sgl }
    }
}
