//! The send queue of one queue pair: requests from posting to completion.

use primitives::Tag;
use rdma::{Op, Opcode, Sgl, Stag, Status, WorkRequest};
use std::collections::VecDeque;

/// What a place in the send queue is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    Bind(Stag),
    Op(Op),
}

/// A request.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As it was posted: taking it apart and putting it together again would cost more than all that is done to it.
    pub request: WorkRequest,
    /// It opens the window that its operation names.
    binds: bool,
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
    pub fn task(&self) -> Task {
        match self.request.op {
            Op::Invalidate(stag) if self.binds => Task::Bind(stag),
            op => Task::Op(op),
        }
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

/// Requests in the order of posting: done, begun (framed), rung, posted.
#[derive(Debug)]
pub(crate) struct SendQueue {
    entries: VecDeque<Entry>,
    depth: u16,
    /// Taken and not polled: such a request still holds its place.
    out: u16,
    rung: usize,
    begun: usize,
    /// Bytes of the request being framed that are framed.
    pub offset: u32,
    /// Reads taken whose response has not come.
    reads: u16,
    /// How many at the front are done, and how many of those may be told of.
    done: usize,
    ripe: usize,
    /// How the request failed that was to be framed next. Nothing is framed after that.
    failure: Option<Status>,
}

impl SendQueue {
    pub fn new(depth: u16) -> Self {
        Self {
            entries: VecDeque::with_capacity(usize::from(depth)),
            depth,
            out: 0,
            rung: 0,
            begun: 0,
            offset: 0,
            reads: 0,
            done: 0,
            ripe: 0,
            failure: None,
        }
    }

    pub fn out(&self) -> u16 {
        self.out
    }

    pub fn reads(&self) -> u16 {
        self.reads
    }

    pub fn room(&self) -> u16 {
        self.depth - self.out
    }

    /// Adds a request. There must be [room](Self::room).
    #[inline]
    pub fn push(&mut self, entry: Entry) {
        self.out += 1;
        self.reads += u16::from(entry.opcode() == Opcode::Read);
        self.entries.push_back(entry);
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
        let waits = |e: &&mut Entry| e.opcode() == Opcode::Read && !e.answered;
        if let Some(entry) = self.entries.range_mut(self.done..).find(waits) {
            entry.answered = true;
            self.reads -= 1;
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

    /// Takes out what is done, up to the last signalled request that is, the oldest first. To be run to its end.
    #[inline]
    pub fn take_ripe(&mut self) -> impl Iterator<Item = Entry> {
        let ripe = std::mem::take(&mut self.ripe);
        self.done -= ripe;
        self.begun -= ripe;
        self.rung -= ripe;
        // A queue that becomes empty by this begins again at its beginning, which is in a cache.
        self.entries.drain(..ripe)
    }

    /// Takes the oldest request out, whatever became of it, and how it ended: nothing succeeds after a failure.
    pub fn take_any(&mut self) -> Option<(Entry, Status)> {
        let entry = self.entries.pop_front()?;
        let done = self.done > 0;
        self.done = self.done.saturating_sub(1);
        let failure = if self.begun == 0 { self.failure.take() } else { None };
        self.begun = self.begun.saturating_sub(1);
        (self.rung, self.ripe, self.reads) = (0, 0, 0);
        Some((entry, if done { Status::Success } else { failure.unwrap_or(Status::Flushed) }))
    }

    /// A completion was polled: its place is free.
    #[inline]
    pub fn polled(&mut self) {
        self.out -= 1;
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
        assert!(queue.take_ripe().next().is_none() && queue.reads() == 1);
        queue.answered();
        queue.advance(29);
        assert!(queue.take_ripe().next().is_none());
        queue.advance(30);
        let order: Vec<u16> = queue.take_ripe().map(|e| e.request.tag.index()).collect();
        assert_eq!((order, queue.reads(), queue.room()), (vec![0, 1, 2], 0, 1), "a place is free when it is polled");
        queue.polled();
        assert_eq!(queue.room(), 2);
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
        let ends: Vec<Status> = std::iter::from_fn(|| queue.take_any()).map(|(_, status)| status).collect();
        assert_eq!(ends, [Status::Success, Status::Flushed, Status::Flushed, Status::Window]);
        assert_eq!((queue.out(), queue.reads()), (4, 0));
    }
}
