//! `Ring`: the bounded way for data between cores.

use crate::bell::Bell;
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;

/// A fixed-capacity queue from any number of producers to one core (or worker thread), which is woken if it sleeps.
/// Never allocates after creation; full is a value.
///
/// The consumer pops from within its poller: a reactor polls everything once more between announcing sleep and
/// sleeping, so a pushed item is never slept over.
#[derive(Debug)]
pub struct Ring<T> {
    queue: ArrayQueue<T>,
    consumer: Arc<Bell>,
}

impl<T> Ring<T> {
    /// A ring with room for `capacity` items (at least one) whose consumer wakes on `consumer`: [`crate::Mail::bell`]
    /// for a core.
    #[must_use]
    pub fn new(capacity: usize, consumer: Arc<Bell>) -> Self {
        Self { queue: ArrayQueue::new(capacity.max(1)), consumer }
    }

    /// Appends `item` and wakes the consumer.
    ///
    /// # Errors
    /// The item, when the ring is full.
    #[inline]
    pub fn push(&self, item: T) -> Result<(), T> {
        self.push_quiet(item)?;
        self.notify();
        Ok(())
    }

    /// Appends `item` without waking anybody; the caller owes a [`Ring::notify`] this turn. Spares a fence per item
    /// when several go at once.
    ///
    /// # Errors
    /// The item, when the ring is full.
    #[inline]
    pub fn push_quiet(&self, item: T) -> Result<(), T> {
        // The item may say that data is in its place.
        primitives::settle_copies();
        self.queue.push(item)
    }

    /// Wakes the consumer if it sleeps.
    #[inline]
    pub fn notify(&self) {
        self.consumer.ring();
    }

    /// Takes the oldest item. An empty ring costs two loads.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        if self.queue.is_empty() { None } else { self.queue.pop() }
    }

    /// Nothing is in it.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Items in it, by the time you read this a guess.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Room in all.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn keeps_order_and_gives_back_what_does_not_fit() {
        let ring = Ring::new(2, Arc::new(Bell::new().unwrap()));
        assert!(ring.push(1).is_ok() && ring.push_quiet(2).is_ok());
        ring.notify();
        assert_eq!(ring.push(3), Err(3));
        assert_eq!((ring.len(), ring.capacity()), (2, 2));
        assert_eq!((ring.pop(), ring.pop(), ring.pop()), (Some(1), Some(2), None));
        assert!(ring.is_empty());
        assert_eq!(Ring::<u8>::new(0, Arc::new(Bell::new().unwrap())).capacity(), 1);
    }

    /// Every item makes the consumer sleep first, so one lost wake-up hangs the ping-pong; the bounded wait turns
    /// that hang into a failure.
    #[test]
    fn no_wake_up_is_lost() {
        const ROUNDS: u32 = 2_000;
        const LOST: Duration = Duration::from_secs(20);
        let ping = Arc::new(Ring::new(1, Arc::new(Bell::new().unwrap())));
        let pong = Arc::new(Ring::new(1, Arc::new(Bell::new().unwrap())));
        let receive = |ring: &Ring<u32>| {
            loop {
                if let Some(item) = ring.pop() {
                    return item;
                }
                let start = Instant::now();
                ring.consumer.wait(|| !ring.is_empty(), Some(LOST));
                assert!(start.elapsed() < LOST, "slept although woken");
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let item = receive(&ping);
                    pong.push(item + 1).unwrap();
                }
            });
            for round in 0..ROUNDS {
                ping.push(round).unwrap();
                assert_eq!(receive(&pong), round + 1);
            }
        });
    }
}
