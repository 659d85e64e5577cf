//! The send queue of one queue pair: requests from posting to completion.

use primitives::Tag;
use rdma::{Op, Opcode, Sgl, Stag, Status};
use std::collections::VecDeque;

/// What a place in the send queue is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    Bind(Stag),
    Op(Op),
}

impl Task {
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Bind(_) => Opcode::Bind,
            Self::Op(op) => op.opcode(),
        }
    }
}

/// A request.
#[derive(Debug)]
pub(crate) struct Entry {
    pub tag: Tag,
    pub task: Task,
    pub sgl: Sgl,
    pub signalled: bool,
    /// Where in the outgoing stream it ends, once it is framed.
    ends: u64,
    /// Of a Read: its response is complete.
    answered: bool,
    /// How it failed.
    status: Option<Status>,
}

impl Entry {
    pub fn new(tag: Tag, task: Task, sgl: Sgl, signalled: bool) -> Self {
        Self { tag, task, sgl, signalled, ends: 0, answered: false, status: None }
    }

    fn is_done(&self, sent: u64) -> bool {
        self.ends <= sent && (self.answered || self.task.opcode() != Opcode::Read)
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
    pub fn push(&mut self, entry: Entry) {
        self.out += 1;
        self.reads += u16::from(entry.task.opcode() == Opcode::Read);
        self.entries.push_back(entry);
    }

    /// The doorbell; whether there was anything to tell.
    pub fn ring(&mut self) -> bool {
        let news = self.rung < self.entries.len();
        self.rung = self.entries.len();
        news
    }

    /// The request to be framed next, or further.
    pub fn next(&self) -> Option<&Entry> {
        if self.begun < self.rung { self.entries.get(self.begun) } else { None }
    }

    /// The request is framed up to the position `ends` of the stream, where it ends.
    pub fn framed(&mut self, ends: u64) {
        if let Some(entry) = self.entries.get_mut(self.begun) {
            entry.ends = ends;
            self.begun += 1;
            self.offset = 0;
        }
    }

    /// The request that was to be framed fails.
    pub fn failed(&mut self, status: Status) {
        if let Some(entry) = self.entries.get_mut(self.begun) {
            entry.status = Some(status);
        }
    }

    /// The oldest Read that waits for its response has it.
    pub fn answered(&mut self) {
        let waits = |e: &&mut Entry| e.task.opcode() == Opcode::Read && !e.answered;
        if let Some(entry) = self.entries.range_mut(self.done..).find(waits) {
            entry.answered = true;
            self.reads -= 1;
        }
    }

    /// The kernel has everything up to the position `sent` of the stream.
    pub fn advance(&mut self, sent: u64) {
        while self.done < self.begun
            && let Some(entry) = self.entries.get(self.done).filter(|e| e.is_done(sent))
        {
            self.done += 1;
            if entry.signalled {
                self.ripe = self.done;
            }
        }
    }

    /// Takes the oldest request out that is done, and a signalled one is done with or behind it.
    pub fn take_ripe(&mut self) -> Option<Entry> {
        self.ripe = self.ripe.checked_sub(1)?;
        self.done -= 1;
        self.begun -= 1;
        self.rung -= 1;
        let oldest = self.entries.pop_front();
        if self.entries.is_empty() {
            // Begins again at its beginning, which is in a cache.
            self.entries.clear();
        }
        oldest
    }

    /// Takes the oldest request out, whatever became of it, and how it ended: nothing succeeds after a failure.
    pub fn take_any(&mut self) -> Option<(Entry, Status)> {
        let entry = self.entries.pop_front()?;
        let done = self.done > 0;
        self.done = self.done.saturating_sub(1);
        (self.rung, self.begun, self.ripe, self.reads) = (0, 0, 0, 0);
        let failure = entry.status.unwrap_or(Status::Flushed);
        Some((entry, if done { Status::Success } else { failure }))
    }

    /// A completion was polled: its place is free.
    pub fn polled(&mut self) {
        self.out -= 1;
    }

    pub fn memory(&self) -> impl Iterator<Item = &rdma::Sge> {
        self.entries.iter().flat_map(|e| e.sgl.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u16, op: Op, signalled: bool) -> Entry {
        Entry::new(Tag::new(0, 0, n, 0), Task::Op(op), Sgl::NONE, signalled)
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
        assert!(queue.take_ripe().is_none() && queue.reads() == 1);
        queue.answered();
        queue.advance(29);
        assert!(queue.take_ripe().is_none());
        queue.advance(30);
        let order: Vec<u16> = std::iter::from_fn(|| queue.take_ripe()).map(|e| e.tag.index()).collect();
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
