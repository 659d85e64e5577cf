//! `Timers`: a bounded set of deadlines that never allocates after creation.

use crate::clock::Nanos;
use primitives::{Key, Slab};

/// A binary heap of deadlines over a slab of keys: arming and cancelling cost O(log n), the next deadline is exact and
/// free, and timers of one instant fire in the order they were armed. Usable inside a poller, which then answers
/// [`crate::Poller::deadline`] with [`Timers::next`].
#[derive(Debug)]
pub struct Timers<K> {
    entries: Slab<Entry<K>>,
    heap: Vec<Node>,
    armed: u64,
}

/// Names one armed timer; harmless once it fired or was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerId(Key);

#[derive(Debug)]
struct Entry<K> {
    position: usize,
    key: K,
}

/// Ordered by instant, then by the order of arming.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Node {
    at: Nanos,
    armed: u64,
    slot: u32,
}

impl<K> Timers<K> {
    /// Room for `capacity` armed timers.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { entries: Slab::new(capacity), heap: Vec::with_capacity(capacity), armed: 0 }
    }

    /// Arms a timer that fires at `at` and then yields `key`.
    ///
    /// # Errors
    /// The key, when all timers are in use.
    pub fn arm(&mut self, at: Nanos, key: K) -> Result<TimerId, K> {
        let position = self.heap.len();
        let id = self.entries.insert(Entry { position, key }).map_err(|e| e.key)?;
        self.armed += 1;
        self.heap.push(Node { at, armed: self.armed, slot: id.index });
        self.rise(position);
        Ok(TimerId(id))
    }

    /// Disarms; `None` if it fired already.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        let Entry { position, key } = self.entries.remove(id.0)?;
        self.unlink(position);
        Some(key)
    }

    /// Moves an armed timer to `at`; `false` if it fired already.
    pub fn rearm(&mut self, id: TimerId, at: Nanos) -> bool {
        let Some(entry) = self.entries.get(id.0) else { return false };
        let position = entry.position;
        self.armed += 1;
        self.heap[position].at = at;
        self.heap[position].armed = self.armed;
        self.settle(position);
        true
    }

    /// The key of an armed timer.
    pub fn get_mut(&mut self, id: TimerId) -> Option<&mut K> {
        self.entries.get_mut(id.0).map(|e| &mut e.key)
    }

    /// Takes one timer whose instant is not after `now`, earliest first. Call it until `None`, within a budget.
    #[inline]
    pub fn expire(&mut self, now: Nanos) -> Option<K> {
        if self.heap.first()?.at > now {
            return None;
        }
        self.pop()
    }

    /// The next instant at which one fires.
    #[inline]
    #[must_use]
    pub fn next(&self) -> Option<Nanos> {
        self.heap.first().map(|n| n.at)
    }

    /// Timers armed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// No timer is armed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Timers there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    fn pop(&mut self) -> Option<K> {
        let slot = self.heap.first()?.slot;
        let (id, _) = self.entries.at(slot)?;
        self.cancel(TimerId(id))
    }

    /// Takes the node at `position` out of the heap; its entry is gone already.
    fn unlink(&mut self, position: usize) {
        self.heap.swap_remove(position);
        if position < self.heap.len() {
            self.settle(position);
        }
    }

    fn settle(&mut self, position: usize) {
        let position = self.rise(position);
        self.sink(position);
    }

    /// Moves a node up to its place, returning that.
    fn rise(&mut self, mut position: usize) -> usize {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.heap[parent] <= self.heap[position] {
                break;
            }
            self.heap.swap(parent, position);
            self.note(position);
            position = parent;
        }
        self.note(position);
        position
    }

    fn sink(&mut self, mut position: usize) {
        loop {
            let left = 2 * position + 1;
            let right = left + 1;
            if left >= self.heap.len() {
                break;
            }
            let least = if right < self.heap.len() && self.heap[right] < self.heap[left] { right } else { left };
            if self.heap[position] <= self.heap[least] {
                break;
            }
            self.heap.swap(least, position);
            self.note(position);
            position = least;
        }
        self.note(position);
    }

    /// Tells the entry of the node at `position` where that is.
    fn note(&mut self, position: usize) {
        if let Some((_, entry)) = self.entries.at(self.heap[position].slot) {
            entry.position = position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> Nanos {
        Nanos::new(n)
    }

    fn fired(timers: &mut Timers<u64>, now: u64) -> Vec<u64> {
        std::iter::from_fn(|| timers.expire(at(now))).collect()
    }

    #[test]
    fn fires_in_order_and_never_early() {
        let mut timers = Timers::new(8);
        for t in [30, 10, 20, 10] {
            timers.arm(at(t), t).unwrap();
        }
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(fired(&mut timers, 9), []);
        assert_eq!(fired(&mut timers, 20), [10, 10, 20]);
        assert_eq!(timers.next(), Some(at(30)));
        assert_eq!(fired(&mut timers, u64::MAX), [30]);
        assert!(timers.is_empty() && timers.next().is_none());
    }

    #[test]
    fn equal_instants_fire_as_armed() {
        let mut timers = Timers::new(16);
        for key in 0..16 {
            timers.arm(at(5), key).unwrap();
        }
        assert_eq!(fired(&mut timers, 5), (0..16).collect::<Vec<_>>());
    }

    #[test]
    fn full_is_a_value_and_stale_ids_do_nothing() {
        let mut timers = Timers::new(1);
        let first = timers.arm(at(1), 7).unwrap();
        assert_eq!(timers.arm(at(2), 8), Err(8));
        assert_eq!(timers.cancel(first), Some(7));
        let second = timers.arm(at(2), 8).unwrap();
        assert_eq!(timers.cancel(first), None);
        assert!(!timers.rearm(first, at(9)));
        assert!(timers.rearm(second, at(9)));
        assert_eq!(timers.get_mut(second), Some(&mut 8));
        assert_eq!(timers.expire(at(8)), None);
        assert_eq!(timers.expire(at(9)), Some(8));
    }

    /// Against a sorted list, over an arbitrary but fixed mix of arming, cancelling, moving and firing.
    #[test]
    fn agrees_with_a_sorted_list() {
        let mut timers = Timers::new(64);
        let mut model: Vec<(u64, u64, TimerId)> = Vec::new();
        let (mut state, mut next_key, mut now) = (0x9E37_79B9u64, 0, 0);
        let mut random = move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for _ in 0..20_000 {
            match random(4) {
                0 | 1 => {
                    let t = now + random(100);
                    match timers.arm(at(t), next_key) {
                        Ok(id) => model.push((t, next_key, id)),
                        Err(_) => assert_eq!(model.len(), 64),
                    }
                    next_key += 1;
                }
                2 if !model.is_empty() => {
                    let victim = random(model.len() as u64) as usize;
                    let (_, key, id) = model.remove(victim);
                    if random(2) == 0 {
                        assert_eq!(timers.cancel(id), Some(key));
                    } else {
                        let t = now + random(100);
                        assert!(timers.rearm(id, at(t)));
                        model.push((t, key, id));
                    }
                }
                _ => {
                    now += random(40);
                    // The model is kept in the order of arming and the sort is stable.
                    model.sort_by_key(|m| m.0);
                    let due = model.iter().take_while(|m| m.0 <= now).count();
                    let expected: Vec<_> = model.drain(..due).map(|m| m.1).collect();
                    assert_eq!(fired(&mut timers, now), expected);
                }
            }
            assert_eq!(timers.len(), model.len());
            assert_eq!(timers.next(), model.iter().map(|m| at(m.0)).min());
        }
    }
}
