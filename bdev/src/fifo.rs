//! `Fifo`: a bounded queue that never allocates after creation.

use std::collections::VecDeque;

use crate::channel::DoneBatch;
use crate::io::Done;

/// A first-in first-out queue with a fixed capacity.
#[derive(Debug)]
pub(crate) struct Fifo<T> {
    items: VecDeque<T>,
    capacity: usize,
}

impl<T> Fifo<T> {
    pub fn new(capacity: usize) -> Self {
        Self { items: VecDeque::with_capacity(capacity), capacity }
    }

    /// Appends `item`; gives it back when the queue is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.items.len() >= self.capacity {
            return Err(item);
        }
        self.items.push_back(item);
        Ok(())
    }

    /// Puts back what was just popped, so that it is popped next.
    pub fn put_back(&mut self, item: T) {
        debug_assert!(self.items.len() < self.capacity, "there is no place that was just popped");
        self.items.push_front(item);
    }

    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.items.front_mut()
    }

    /// Takes the oldest item that matches. Linear; for aborts, not for the data path.
    pub fn take(&mut self, matches: impl FnMut(&T) -> bool) -> Option<T> {
        let at = self.items.iter().position(matches)?;
        self.items.remove(at)
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl Fifo<Done> {
    /// Moves completions into `batch` until it is full or none is left.
    pub fn reap(&mut self, batch: &mut DoneBatch) {
        while batch.room() > 0
            && let Some(done) = self.pop()
        {
            // Room was just seen.
            let _ = batch.push(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_gives_the_item_back_and_take_keeps_the_order() {
        let mut fifo = Fifo::new(3);
        assert!((1..=3).all(|i| fifo.push(i).is_ok()));
        assert_eq!(fifo.push(4), Err(4));
        assert_eq!(fifo.take(|i| *i == 2), Some(2));
        assert_eq!(fifo.take(|i| *i == 2), None);
        assert_eq!((fifo.pop(), fifo.pop(), fifo.pop()), (Some(1), Some(3), None));
    }
}
