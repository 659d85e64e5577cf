//! `WaitQueue`: who waits for a buffer, in order.

use super::{Class, Pools};
use primitives::Buf;
use std::collections::VecDeque;

/// A bounded first-come first-served queue for pool buffers. `K` names a waiter, e.g. a request slot.
///
/// Nobody overtakes: whoever asks while others of its class wait is queued behind them, and a small request takes a
/// large buffer only if nobody waits for large ones. So neither size can starve the other.
#[derive(Debug)]
pub struct WaitQueue<K> {
    small: VecDeque<K>,
    large: VecDeque<K>,
    capacity: usize,
}

/// A request that can neither be served nor queued: refuse it upwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoRoom {
    /// As many wait as may.
    #[error("{limit} requests wait for a buffer already")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// No buffer is ever this large.
    #[error("{len} bytes are more than the largest buffer holds ({})", crate::limits::LARGE_BUFFER)]
    TooLong {
        /// Bytes asked for.
        len: usize,
    },
}

impl<K: Copy + PartialEq> WaitQueue<K> {
    /// Room for `capacity` waiters.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { small: VecDeque::with_capacity(capacity), large: VecDeque::with_capacity(capacity), capacity }
    }

    /// A buffer for `len` bytes now, or `None` and `key` waits.
    ///
    /// # Errors
    /// [`NoRoom`], when the queue is full or no buffer is that large.
    pub fn take_or_wait(&mut self, pools: &mut Pools, len: usize, key: K) -> Result<Option<Buf>, NoRoom> {
        let class = Class::for_len(len).ok_or(NoRoom::TooLong { len })?;
        let taken = match class {
            _ if !self.queue(class).is_empty() => None,
            Class::Small => self.take_small(pools),
            Class::Large => pools.take_class(Class::Large),
        };
        if taken.is_some() {
            return Ok(taken);
        }
        if self.len() >= self.capacity {
            return Err(NoRoom::Full { limit: self.capacity });
        }
        self.queue(class).push_back(key);
        Ok(None)
    }

    /// The next waiter that can go on, and its buffer. Call it until `None` after buffers came back.
    pub fn serve(&mut self, pools: &mut Pools) -> Option<(K, Buf)> {
        if !self.large.is_empty()
            && let Some(buf) = pools.take_class(Class::Large)
        {
            return Some((self.large.pop_front()?, buf));
        }
        if self.small.is_empty() {
            return None;
        }
        let buf = self.take_small(pools)?;
        Some((self.small.pop_front()?, buf))
    }

    /// Removes a waiter that gave up; `false` if it does not wait. Linear; for aborts.
    pub fn forget(&mut self, key: K) -> bool {
        let before = self.len();
        self.small.retain(|k| *k != key);
        self.large.retain(|k| *k != key);
        self.len() < before
    }

    /// Waiters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.small.len() + self.large.len()
    }

    /// Nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    fn take_small(&self, pools: &mut Pools) -> Option<Buf> {
        if self.large.is_empty() { pools.take(1) } else { pools.take_class(Class::Small) }
    }

    fn queue(&mut self, class: Class) -> &mut VecDeque<K> {
        match class {
            Class::Small => &mut self.small,
            Class::Large => &mut self.large,
        }
    }
}
