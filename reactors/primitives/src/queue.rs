//! `IndexQueue`: a bounded FIFO of slot indices, for wait queues and free lists. Never allocates after creation.

use alloc::boxed::Box;
use alloc::vec;

/// A fixed-capacity first-in first-out queue of 32-bit indices.
#[derive(Debug)]
pub struct IndexQueue {
    ring: Box<[u32]>,
    head: usize,
    len: usize,
}

impl IndexQueue {
    /// An empty queue with room for `capacity` indices.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { ring: vec![0; capacity].into_boxed_slice(), head: 0, len: 0 }
    }

    /// Appends `index`; gives it back when the queue is full.
    ///
    /// # Errors
    /// The index, when there is no room.
    #[inline]
    pub fn push(&mut self, index: u32) -> Result<(), u32> {
        if self.len == self.ring.len() {
            return Err(index);
        }
        let at = self.wrap(self.head + self.len);
        self.ring[at] = index;
        self.len += 1;
        Ok(())
    }

    /// Takes the oldest index.
    #[inline]
    pub fn pop(&mut self) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        let index = self.ring[self.head];
        self.head = self.wrap(self.head + 1);
        self.len -= 1;
        Some(index)
    }

    /// The oldest index, left in place.
    #[must_use]
    #[inline]
    pub fn peek(&self) -> Option<u32> {
        (self.len > 0).then(|| self.ring[self.head])
    }

    /// Removes every occurrence of `index`, keeping the order of the rest. Linear; for aborts, not for the data path.
    pub fn remove(&mut self, index: u32) {
        for _ in 0..self.len {
            if let Some(other) = self.pop()
                && other != index
            {
                // Room is certain: one was just taken.
                let _ = self.push(other);
            }
        }
    }

    /// `index` is queued. Linear, like [`IndexQueue::remove`].
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        (0..self.len).any(|i| self.ring[self.wrap(self.head + i)] == index)
    }

    /// Indices queued.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing is queued.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Room in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.len()
    }

    fn wrap(&self, at: usize) -> usize {
        if at >= self.ring.len() { at - self.ring.len() } else { at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_around_the_ring_and_refuses_when_full() {
        let mut q = IndexQueue::new(3);
        for round in 0..5 {
            assert!(q.push(round).is_ok() && q.push(round + 10).is_ok() && q.push(round + 20).is_ok());
            assert_eq!(q.push(99), Err(99));
            assert_eq!(
                (q.pop(), q.peek(), q.pop(), q.pop()),
                (Some(round), Some(round + 10), Some(round + 10), Some(round + 20))
            );
            assert!(q.pop().is_none() && q.is_empty());
            let _ = q.push(7);
            let _ = q.pop();
        }
    }

    #[test]
    fn remove_keeps_the_order_of_the_rest() {
        let mut q = IndexQueue::new(4);
        for i in [1, 2, 1, 3] {
            q.push(i).unwrap();
        }
        assert!(q.contains(1) && !q.contains(9));
        q.remove(1);
        assert!(!q.contains(1));
        assert_eq!((q.pop(), q.pop(), q.pop()), (Some(2), Some(3), None));
    }

    #[test]
    fn a_queue_without_room_refuses_everything() {
        let mut q = IndexQueue::new(0);
        assert_eq!(q.push(1), Err(1));
        assert!(q.pop().is_none());
        q.remove(1);
    }
}
