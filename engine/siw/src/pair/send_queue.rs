//! The send queue of one queue pair: requests from posting to completion.

use primitives::{Ring, Tag};
use rdma::{Op, Opcode, Sgl, Stag, Status, WorkRequest};

/// A request.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As it was posted: taking it apart and putting it together again would cost more than all that is done to it.
    pub request: WorkRequest,
    /// It opens the window that its operation names.
    pub binds: bool,
    /// Where in the outgoing stream it ends, once it is framed.
    ends: u64,
    /// Of a Read: its response is complete.
    answered: bool,
}

impl Entry {
    #[inline]
    pub fn new(request: WorkRequest) -> Self {
        Self { request, binds: false, ends: 0, answered: false }
    }

    pub fn bind(tag: Tag, stag: Stag) -> Self {
        let request = WorkRequest { tag, op: Op::Invalidate(stag), sgl: Sgl::NONE, signalled: false };
        Self { binds: true, ..Self::new(request) }
    }

    #[inline]
    pub fn opcode(&self) -> Opcode {
        if self.binds { Opcode::Bind } else { self.request.op.opcode() }
    }

    #[inline]
    fn is_done(&self, sent: u64) -> bool {
        self.ends <= sent && (self.answered || self.opcode() != Opcode::Read)
    }
}

/// Requests in the order of posting: done, begun (framed), rung, posted. They hold their places until they are polled.
#[derive(Debug)]
pub(crate) struct SendQueue {
    entries: Ring<Entry>,
    depth: u16,
    rung: usize,
    begun: usize,
    /// Bytes of the request being framed that are framed.
    pub offset: u32,
    /// Reads taken whose response has not come.
    reads: u16,
    /// How many at the front are done, and how many may be told of: of those that are done, or all after a flush.
    done: usize,
    ripe: usize,
    /// Before this one no Read waits for its response.
    answered: usize,
    /// How the request failed that was to be framed next. Nothing is framed after that.
    failure: Option<Status>,
}

impl SendQueue {
    pub fn new(depth: u16) -> Self {
        Self {
            entries: Ring::new(usize::from(depth)),
            depth,
            rung: 0,
            begun: 0,
            offset: 0,
            reads: 0,
            done: 0,
            ripe: 0,
            answered: 0,
            failure: None,
        }
    }

    /// Requests taken and not polled.
    #[inline]
    pub fn out(&self) -> u16 {
        // No more than the depth.
        self.entries.len() as u16
    }

    #[inline]
    pub fn reads(&self) -> u16 {
        self.reads
    }

    #[inline]
    pub fn room(&self) -> u16 {
        self.depth - self.out()
    }

    /// Adds a request. There must be [room](Self::room).
    #[inline]
    pub fn push(&mut self, entry: Entry) {
        self.reads += u16::from(entry.opcode() == Opcode::Read);
        let pushed = self.entries.push(entry);
        debug_assert!(pushed.is_ok(), "there was no room");
    }

    /// The doorbell; whether there was anything to tell.
    pub fn ring(&mut self) -> bool {
        let news = self.rung < self.entries.len();
        self.rung = self.entries.len();
        news
    }

    /// The request to be framed next, or further.
    #[inline]
    pub fn next(&self) -> Option<&Entry> {
        if self.begun < self.rung { self.entries.get(self.begun) } else { None }
    }

    /// The request is framed up to the position `ends` of the stream, where it ends.
    #[inline]
    pub fn framed(&mut self, ends: u64) {
        if let Some(entry) = self.entries.get_mut(self.begun) {
            entry.ends = ends;
            self.begun += 1;
            self.offset = 0;
        }
    }

    /// The request being framed is framed up to its byte `end` of `total`, at the position `queued` of the stream.
    #[inline]
    pub fn framed_to(&mut self, end: u32, total: u32, queued: u64) {
        if end == total { self.framed(queued) } else { self.offset = end }
    }

    /// The request that was to be framed fails.
    pub fn failed(&mut self, status: Status) {
        self.failure = Some(status);
    }

    /// The oldest Read that waits for its response has it.
    pub fn answered(&mut self) {
        self.answered = self.answered.max(self.done);
        while let Some(entry) = self.entries.get_mut(self.answered) {
            self.answered += 1;
            if entry.opcode() == Opcode::Read {
                entry.answered = true;
                self.reads -= 1;
                return;
            }
        }
    }

    /// The kernel has everything up to the position `sent` of the stream.
    #[inline]
    pub fn advance(&mut self, sent: u64) {
        while self.done < self.begun
            && let Some(entry) = self.entries.get(self.done).filter(|e| e.is_done(sent))
        {
            self.done += 1;
            if entry.request.signalled {
                self.ripe = self.done;
            }
        }
    }

    /// Some may be told of.
    #[inline]
    pub fn is_ripe(&self) -> bool {
        self.ripe > 0
    }

    /// All may be told of, whatever became of them.
    pub fn flush(&mut self) {
        (self.ripe, self.rung, self.reads) = (self.entries.len(), self.begun, 0);
    }

    /// Tells of the oldest requests that may be told of, `most` of them at the most, and how they ended.
    #[inline]
    pub fn tell(&mut self, most: usize, mut tell: impl FnMut(&mut Entry, Status)) {
        let count = self.ripe.min(most);
        let done = self.done.min(count);
        self.entries.retire(done, |entry| tell(entry, Status::Success));
        if count > done {
            // Nothing succeeds after a failure, and it is the first that was not framed that failed.
            let mut at = done;
            self.entries.retire(count - done, |entry| {
                let failure = if at >= self.begun { self.failure.take() } else { None };
                tell(entry, failure.unwrap_or(Status::Flushed));
                at += 1;
            });
        }
        for left in [&mut self.ripe, &mut self.done, &mut self.begun, &mut self.rung, &mut self.answered] {
            *left = left.saturating_sub(count);
        }
    }

    pub fn memory(&self) -> impl Iterator<Item = &rdma::Sge> {
        self.entries.iter().flat_map(|e| e.request.sgl.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u16, op: Op, signalled: bool) -> Entry {
        Entry::new(WorkRequest { tag: Tag::new(0, 0, n, 0), op, sgl: Sgl::NONE, signalled })
    }

    fn told(queue: &mut SendQueue, most: usize) -> Vec<(u16, Status)> {
        let mut told = Vec::new();
        queue.tell(most, |entry, status| told.push((entry.request.tag.index(), status)));
        told
    }

    const READ: Op = Op::Read { from: rdma::Remote { stag: Stag(1), va: 0 } };

    #[test]
    fn a_read_holds_up_what_is_behind_it_and_a_signal_takes_what_is_before_it() {
        let mut queue = SendQueue::new(4);
        queue.push(entry(0, Op::SEND, false));
        queue.push(entry(1, READ, false));
        queue.push(entry(2, Op::SEND, true));
        assert!(queue.next().is_none(), "nothing is rung");
        assert!(queue.ring() && !queue.ring());
        for ends in [10, 20, 30] {
            assert!(queue.next().is_some());
            queue.framed(ends);
        }
        queue.advance(30);
        assert!(!queue.is_ripe() && told(&mut queue, 4).is_empty() && queue.reads() == 1);
        queue.answered();
        queue.advance(29);
        assert!(!queue.is_ripe());
        queue.advance(30);
        assert_eq!((queue.is_ripe(), queue.reads(), queue.room()), (true, 0, 1), "a place is free when it is polled");
        assert_eq!(told(&mut queue, 2), [(0, Status::Success), (1, Status::Success)]);
        assert_eq!((queue.is_ripe(), queue.room()), (true, 3));
        assert_eq!(told(&mut queue, 2), [(2, Status::Success)]);
        assert_eq!((queue.is_ripe(), queue.room()), (false, 4));
    }

    #[test]
    fn a_flush_keeps_what_is_done_and_nothing_behind_a_failure() {
        let mut queue = SendQueue::new(8);
        for (n, op) in [(0, Op::SEND), (1, READ), (2, Op::SEND), (3, Op::SEND)] {
            queue.push(entry(n, op, false));
        }
        queue.ring();
        for _ in 0..3 {
            queue.framed(1);
        }
        queue.failed(Status::Window);
        queue.advance(1);
        queue.flush();
        assert_eq!((queue.out(), queue.reads()), (4, 0));
        assert_eq!(told(&mut queue, 2), [(0, Status::Success), (1, Status::Flushed)]);
        assert_eq!(told(&mut queue, 8), [(2, Status::Flushed), (3, Status::Window)]);
        assert_eq!(queue.out(), 0);
    }
}
