//! What comes back.

use crate::memory::{Sgl, Stag};
use alloc::vec::Vec;
use core::fmt;
use primitives::Tag;

/// What a completed request was.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Opcode {
    /// A Send, with or without invalidation.
    Send,
    /// An RDMA Write.
    Write,
    /// An RDMA Read.
    Read,
    /// A window was bound.
    Bind,
    /// A window was invalidated by its owner.
    Invalidate,
    /// A receive.
    Receive,
}

/// How a request ended. After anything but [`Status::Success`] the queue pair is in the error state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// Done.
    Success,
    /// The message did not fit the receive, or the response the sink.
    LocalLength,
    /// The request itself was malformed.
    LocalOperation,
    /// Local memory is not registered or not meant for this.
    LocalProtection,
    /// The peer reached for local memory it may not, which ended this receive.
    LocalAccess,
    /// A window could not be bound or invalidated.
    Window,
    /// The peer answered nonsense.
    BadResponse,
    /// The peer cannot take such a request: too long for its receive, or more reads than its IRD.
    RemoteInvalidRequest,
    /// The peer's STag, bounds or rights forbid it.
    RemoteAccess,
    /// The peer failed while doing it.
    RemoteOperation,
    /// The peer no longer answers.
    RetryExceeded,
    /// The peer posted no receive for too long.
    RnrRetryExceeded,
    /// Not done, or nobody knows: the queue pair was in the error state. A flushed Write may have reached the peer.
    Flushed,
    /// The device failed, with its own code.
    Fatal(u32),
}

impl Status {
    /// Whether it is [`Status::Success`].
    #[must_use]
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Success)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::LocalLength => "the message does not fit the buffer",
            Self::LocalOperation => "the request is malformed",
            Self::LocalProtection => "local memory is not registered for this",
            Self::LocalAccess => "the peer reached for memory it may not",
            Self::Window => "the memory window cannot be bound or invalidated",
            Self::BadResponse => "the peer's response makes no sense",
            Self::RemoteInvalidRequest => "the peer cannot take such a request",
            Self::RemoteAccess => "the peer's memory may not be accessed so",
            Self::RemoteOperation => "the peer failed to carry out the request",
            Self::RetryExceeded => "the peer does not answer",
            Self::RnrRetryExceeded => "the peer has no receive posted",
            Self::Flushed => "the queue pair failed before",
            Self::Fatal(code) => return write!(f, "the device failed with code {code}"),
        })
    }
}

/// The end of one request. Every request that was taken has exactly one.
#[derive(Debug)]
#[must_use = "a completion carries its buffers"]
pub struct Completion {
    /// The queue pair's [name](crate::QueueSetup::name): with a shared receive queue the tag alone does not tell.
    pub queue: Tag,
    /// The request's tag.
    pub tag: Tag,
    /// What it was.
    pub opcode: Opcode,
    /// How it ended.
    pub status: Status,
    /// Bytes moved; for a receive, the length of the message. Zero unless [`Status::Success`].
    pub byte_len: u32,
    /// The window the peer's Send with Invalidate closed, of a receive. Whether it was the right one is for the
    /// receiver to judge (RFC 7145 §7.3.2).
    pub invalidated: Option<Stag>,
    /// The request's memory, in its owner's hands again. Of a receive: the buffer, with its length set to `byte_len`.
    pub sgl: Sgl,
}

/// A fixed number of completions: reaped first, looked at afterwards.
#[derive(Debug)]
pub struct CompletionBatch {
    completions: Vec<Completion>,
    capacity: usize,
}

impl CompletionBatch {
    /// An empty batch with room for `capacity` completions.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { completions: Vec::with_capacity(capacity), capacity }
    }

    /// Adds one.
    ///
    /// # Errors
    /// The completion, when the batch is full.
    #[inline]
    pub fn push(&mut self, completion: Completion) -> Result<(), Completion> {
        if self.room() == 0 {
            return Err(completion);
        }
        self.completions.push(completion);
        Ok(())
    }

    /// What is in it, oldest first, to be handled in its place: a completion is long to move. Take the memory out of
    /// each; [`CompletionBatch::clear`] follows.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Completion] {
        &mut self.completions
    }

    /// Forgets what is in it, and the memory that nobody took.
    #[inline]
    pub fn clear(&mut self) {
        self.completions.clear();
    }

    /// Takes all out, oldest first. Those not taken from the iterator are lost with their buffers: run it to its end.
    #[inline]
    pub fn drain(&mut self) -> impl Iterator<Item = Completion> + '_ {
        self.completions.drain(..)
    }

    /// Completions in it.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.completions.len()
    }

    /// There are none.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.completions.is_empty()
    }

    /// How many more fit.
    #[must_use]
    #[inline]
    pub const fn room(&self) -> usize {
        self.capacity - self.completions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(index: u16) -> Completion {
        let tag = Tag::new(0, 0, index, 0);
        let (opcode, status, sgl) = (Opcode::Send, Status::Success, Sgl::NONE);
        Completion { queue: Tag::default(), tag, opcode, status, byte_len: 0, invalidated: None, sgl }
    }

    #[test]
    fn a_batch_is_bounded_ordered_and_reusable() {
        let mut batch = CompletionBatch::new(2);
        for _ in 0..3 {
            assert!(batch.is_empty() && batch.room() == 2);
            assert!(batch.push(completion(1)).is_ok() && batch.push(completion(2)).is_ok());
            assert_eq!((batch.push(completion(3)).unwrap_err().tag.index(), batch.len()), (3, 2));
            let order: [u16; 2] = core::array::from_fn({
                let mut drained = batch.drain();
                move |_| drained.next().map_or(0, |c| c.tag.index())
            });
            assert_eq!(order, [1, 2]);
        }
        assert_eq!(CompletionBatch::new(0).push(completion(0)).unwrap_err().tag.index(), 0);
    }
}
