//! Operations that have ended, until they are reported.

use crate::list;
use alloc::vec::Vec;
use iscsi::datamover::{DataStatus, Upcall};
use primitives::{Buf, Tag};

/// An operation that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub tag: Tag,
    pub buf: Buf,
    pub outcome: Outcome,
}

/// How an operation has ended: what of [`DataStatus`] there is over RDMA, which is short.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Ok,
    Released,
    SequenceError,
    Short(u32),
}

impl From<Outcome> for DataStatus {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Released => Self::Released,
            Outcome::SequenceError => Self::SequenceError,
            Outcome::Short(bytes) => Self::Short(bytes),
        }
    }
}

impl Done {
    /// The report of an end that is not [`Outcome::Ok`]. Apart, since a status is long and that one is not.
    #[cold]
    #[inline(never)]
    pub fn report(self) -> Upcall {
        Upcall::DataDone { tag: self.tag, buf: self.buf, status: self.outcome.into() }
    }
}

/// Ended operations in the order of their ends. It is filled and emptied by turns, so it is a list with a place in it,
/// which begins again when it was read to its end.
#[derive(Debug)]
pub(crate) struct DoneQueue {
    list: Vec<Option<Done>>,
    /// The first that was not taken.
    next: usize,
}

impl DoneQueue {
    /// A queue that never grows beyond `capacity`, as long as there are not more in it.
    pub fn new(capacity: usize) -> Self {
        Self { list: Vec::with_capacity(capacity), next: 0 }
    }

    /// Makes room for so many more in place of those that were taken.
    #[inline]
    pub fn make_room(&mut self, more: usize) {
        if self.list.capacity() - self.list.len() < more {
            self.compact();
        }
    }

    #[cold]
    fn compact(&mut self) {
        self.list.drain(..self.next);
        self.next = 0;
    }

    /// Adds one, for which room was made.
    #[inline]
    pub fn push(&mut self, done: Done) {
        let pushed = list::push(&mut self.list, Some(done));
        debug_assert!(pushed, "more operations ended than were taken");
    }

    /// Makes room for one, and adds it.
    pub fn add(&mut self, done: Done) {
        self.make_room(1);
        self.push(done);
    }

    /// Takes the oldest out.
    #[inline]
    pub fn pop(&mut self) -> Option<Done> {
        let Some(oldest) = self.list.get_mut(self.next) else {
            self.list.clear();
            self.next = 0;
            return None;
        };
        self.next += 1;
        oldest.take()
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.list.len() - self.next
    }
}
