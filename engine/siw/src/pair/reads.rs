//! RDMA Reads under way, in both directions.

use std::collections::VecDeque;

/// A Read of the peer that is to be answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InboundRead {
    pub sink_stag: u32,
    pub sink_to: u64,
    /// What it reads from; nothing, if it reads nothing.
    pub source_stag: Option<u32>,
    pub from: *const u8,
    pub len: u32,
    /// Where in the outgoing stream its response ends, once that is framed.
    ends: u64,
}

impl InboundRead {
    pub const fn new(sink: (u32, u64), source_stag: Option<u32>, from: *const u8, len: u32) -> Self {
        Self { sink_stag: sink.0, sink_to: sink.1, source_stag, from, len, ends: 0 }
    }
}

/// The Reads of the peer, in the order they came: the queue whose depth is the IRD.
#[derive(Debug, Default)]
pub(crate) struct InboundReads {
    queue: VecDeque<InboundRead>,
    depth: usize,
    framed: usize,
    /// Bytes of the response being framed that are framed.
    pub offset: u32,
}

// SAFETY: `InboundRead::from` is the one thing bound to nothing but an address: memory of a window or an exposure that
// stays valid for reads while the Read is in this queue, on whichever thread.
unsafe impl Send for InboundReads {}

impl InboundReads {
    pub fn set_depth(&mut self, depth: u16) {
        self.depth = usize::from(depth);
        self.queue.reserve(self.depth);
    }

    /// Takes one more, if the depth allows.
    #[must_use]
    pub fn push(&mut self, read: InboundRead) -> bool {
        let fits = self.queue.len() < self.depth;
        if fits {
            self.queue.push_back(read);
        }
        fits
    }

    /// There is one whose response is to be framed, or to be framed further.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.framed < self.queue.len()
    }

    /// The one whose response is to be framed next.
    pub fn next(&self) -> Option<InboundRead> {
        self.queue.get(self.framed).copied()
    }

    /// The response is framed up to the position `ends` of the stream, where it ends.
    pub fn framed(&mut self, ends: u64) {
        if let Some(read) = self.queue.get_mut(self.framed) {
            read.ends = ends;
            self.framed += 1;
            self.offset = 0;
        }
    }

    /// Forgets those whose response is sent; whether there were any.
    #[inline]
    pub fn retire(&mut self, sent: u64) -> bool {
        let before = self.queue.len();
        while self.framed > 0 && self.queue.front().is_some_and(|r| r.ends <= sent) {
            self.queue.pop_front();
            self.framed -= 1;
        }
        self.queue.len() < before
    }

    /// Whether one reads from `stag`.
    pub fn uses(&self, stag: u32) -> bool {
        self.queue.iter().any(|r| r.source_stag == Some(stag))
    }

    pub fn clear(&mut self) {
        self.queue.clear();
        (self.framed, self.offset) = (0, 0);
    }
}

/// A Read of this side whose response has not come yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutboundRead {
    /// The sink's name for this one Read.
    pub stag: u32,
    /// The sink.
    pub to: *mut u8,
    /// It is in no cache.
    pub cold: bool,
    pub len: u32,
    /// Bytes that came.
    pub got: u32,
}

/// The Reads of this side, in the order they were sent: responses come in the same order (RFC 5040 §5.2). So a sink is
/// known by being the next one, has an STag of its own, and is no window to anybody.
#[derive(Debug, Default)]
pub(crate) struct OutboundReads(VecDeque<OutboundRead>);

// SAFETY: as for `InboundReads`: the sinks are memory of requests in the send queue.
unsafe impl Send for OutboundReads {}

impl OutboundReads {
    pub fn set_depth(&mut self, depth: u16) {
        self.0.reserve(usize::from(depth));
    }

    /// One more. Its owner keeps to the ORD, which is this queue's depth.
    pub fn push(&mut self, read: OutboundRead) {
        self.0.push_back(read);
    }

    /// The one whose response is to come next.
    pub fn next(&mut self) -> Option<&mut OutboundRead> {
        self.0.front_mut()
    }

    /// The response is complete.
    pub fn done(&mut self) {
        self.0.pop_front();
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_counts_until_the_response_is_sent() {
        let mut reads = InboundReads::default();
        let read = |stag| InboundRead::new((1, 2), Some(stag), std::ptr::null(), 10);
        assert!(!reads.push(read(7)), "a depth of none takes none");
        reads.set_depth(2);
        assert!(reads.push(read(7)) && reads.push(read(8)) && !reads.push(read(9)));
        assert_eq!(reads.next().and_then(|r| r.source_stag), Some(7));
        reads.framed(100);
        assert_eq!(reads.next().and_then(|r| r.source_stag), Some(8));
        assert!(!reads.retire(99));
        assert!(reads.uses(7) && !reads.push(read(9)), "the last byte is not out");
        assert!(reads.retire(100));
        assert!(!reads.uses(7) && reads.uses(8) && reads.push(read(9)));
        assert!(!reads.retire(1000) && reads.uses(8), "what is not framed is not sent");
        reads.clear();
        assert!(reads.next().is_none() && !reads.uses(8));
    }
}
