//! Requests gathered before they are posted.

use crate::work::WorkRequest;
use alloc::vec::Vec;

/// A fixed number of requests for a send queue, in the order in which they are to be posted: see
/// [`QueuePair::post_sends`](crate::QueuePair::post_sends). It is filled and then posted, so it is a list with a place
/// in it, which begins again when it was posted to its end.
#[derive(Debug)]
pub struct SendBatch {
    requests: Vec<WorkRequest>,
    /// The one to be posted first. Those before it have lost their memory.
    first: usize,
}

impl SendBatch {
    /// An empty batch with room for `capacity` requests.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { requests: Vec::with_capacity(capacity), first: 0 }
    }

    /// Adds one.
    ///
    /// # Errors
    /// The request, when the batch is full.
    #[inline]
    pub fn push(&mut self, request: WorkRequest) -> Result<(), WorkRequest> {
        if self.is_full() {
            return Err(request);
        }
        self.requests.push(request);
        Ok(())
    }

    /// Uses the places of those that were posted again, if not all were: a batch that is posted to its end does so by
    /// itself.
    pub fn compact(&mut self) {
        self.requests.drain(..self.first);
        self.first = 0;
    }

    /// The one to be posted first, to take its memory where it lies: a request is long to move.
    #[inline]
    pub fn first_mut(&mut self) -> Option<&mut WorkRequest> {
        self.requests.get_mut(self.first)
    }

    /// Drops the first, whose memory was taken out.
    #[inline]
    pub fn discard_first(&mut self) {
        if !self.is_empty() {
            self.first += 1;
        }
        if self.is_empty() {
            self.requests.clear();
            self.first = 0;
        }
    }

    /// The one to be posted last.
    #[inline]
    pub fn last_mut(&mut self) -> Option<&mut WorkRequest> {
        if self.is_empty() { None } else { self.requests.last_mut() }
    }

    /// Takes the first out.
    #[inline]
    pub fn take_first(&mut self) -> Option<WorkRequest> {
        let request = self.first_mut()?.take();
        self.discard_first();
        Some(request)
    }

    /// Requests in it.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.requests.len() - self.first
    }

    /// There are none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No more fit.
    #[must_use]
    #[inline]
    pub fn is_full(&self) -> bool {
        self.requests.len() == self.requests.capacity()
    }

    /// How many more fit.
    #[must_use]
    #[inline]
    pub fn room(&self) -> usize {
        self.requests.capacity() - self.requests.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Sgl;
    use crate::work::Op;
    use primitives::Tag;

    fn request(index: u16) -> WorkRequest {
        WorkRequest { tag: Tag::new(0, 0, index, 0), op: Op::SEND, sgl: Sgl::NONE, signalled: false }
    }

    fn taken(batch: &mut SendBatch) -> Option<u16> {
        batch.take_first().map(|request| request.tag.index())
    }

    #[test]
    fn a_batch_is_bounded_ordered_and_reusable() {
        let mut batch = SendBatch::new(3);
        for _ in 0..3 {
            assert!(batch.is_empty() && batch.room() == 3 && batch.last_mut().is_none());
            assert!((1..4).all(|index| batch.push(request(index)).is_ok()) && batch.is_full());
            assert_eq!(batch.push(request(4)).unwrap_err().tag.index(), 4);
            assert_eq!((taken(&mut batch), batch.len()), (Some(1), 2));
            assert!(batch.is_full(), "the place of what was posted is not free yet");
            batch.compact();
            assert_eq!((batch.room(), batch.len()), (1, 2));
            assert!(batch.push(request(4)).is_ok());
            assert_eq!(batch.last_mut().map(|last| last.tag.index()), Some(4));
            assert_eq!([(); 4].map(|()| taken(&mut batch)), [Some(2), Some(3), Some(4), None]);
            batch.discard_first();
        }
    }
}
