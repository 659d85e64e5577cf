//! `Ring`: a queue of values with a fixed number of places.

use alloc::vec::Vec;

/// A first-in-first-out queue of at most so many values as it was made for. Full is a value.
///
/// One that becomes empty begins again at its beginning: its room for the worst case may exceed a cache, what is used
/// of it seldom does. Room that was never used is not touched.
#[derive(Debug)]
pub struct Ring<T> {
    /// As many as were ever in use.
    slots: Vec<Option<T>>,
    /// All there may be, less one: a power of two less one.
    mask: usize,
    head: usize,
    len: usize,
    limit: usize,
}

impl<T> Ring<T> {
    /// A queue with `limit` places.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let room = limit.next_power_of_two();
        Self { slots: Vec::with_capacity(room), mask: room - 1, head: 0, len: 0, limit }
    }

    /// The slot of the `n`-th value from the front on.
    #[inline]
    fn slot(&self, n: usize) -> usize {
        self.head.wrapping_add(n) & self.mask
    }

    /// Fills a slot that is free.
    #[inline]
    fn fill(&mut self, slot: usize, value: T) {
        if slot >= self.slots.len() {
            self.extend(slot);
        }
        if let Some(free) = self.slots.get_mut(slot) {
            *free = Some(value);
        }
    }

    /// Makes a slot that was never used, within the memory that is there.
    #[cold]
    fn extend(&mut self, slot: usize) {
        self.slots.resize_with(slot + 1, || None);
    }

    /// Adds a value behind all others.
    ///
    /// # Errors
    /// The value, when every place is taken.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.is_full() {
            return Err(value);
        }
        self.fill(self.slot(self.len), value);
        self.len += 1;
        Ok(())
    }

    /// Puts a value before all others.
    ///
    /// # Errors
    /// The value, when every place is taken.
    pub fn push_front(&mut self, value: T) -> Result<(), T> {
        if self.is_full() {
            return Err(value);
        }
        self.head = self.slot(usize::MAX);
        self.fill(self.head, value);
        self.len += 1;
        Ok(())
    }

    /// Takes the oldest value out.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let value = self.slots.get_mut(self.head)?.take();
        self.len -= 1;
        self.head = if self.len == 0 { 0 } else { self.slot(1) };
        value
    }

    /// Drops the oldest value, in its place.
    #[inline]
    pub fn discard(&mut self) {
        if let Some(slot) = self.slots.get_mut(self.head).filter(|_| self.len > 0) {
            *slot = None;
            self.len -= 1;
            self.head = if self.len == 0 { 0 } else { self.slot(1) };
        }
    }

    /// Drops the `count` oldest values, or all, after `each` of them.
    #[inline]
    pub fn retire(&mut self, count: usize, mut each: impl FnMut(&mut T)) {
        let count = count.min(self.len);
        for n in 0..count {
            let slot = self.slot(n);
            if let Some(slot) = self.slots.get_mut(slot) {
                slot.as_mut().into_iter().for_each(&mut each);
                *slot = None;
            }
        }
        self.len -= count;
        self.head = if self.len == 0 { 0 } else { self.slot(count) };
    }

    /// The `n`-th value from the oldest on.
    #[must_use]
    #[inline]
    pub fn get(&self, n: usize) -> Option<&T> {
        if n < self.len { self.slots.get(self.slot(n))?.as_ref() } else { None }
    }

    /// The `n`-th value from the oldest on.
    #[inline]
    pub fn get_mut(&mut self, n: usize) -> Option<&mut T> {
        let slot = self.slot(n);
        if n < self.len { self.slots.get_mut(slot)?.as_mut() } else { None }
    }

    /// The oldest value.
    #[must_use]
    #[inline]
    pub fn front(&self) -> Option<&T> {
        self.get(0)
    }

    /// The oldest value.
    #[inline]
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.get_mut(0)
    }

    /// The newest value.
    #[inline]
    pub fn back_mut(&mut self) -> Option<&mut T> {
        self.get_mut(self.len.wrapping_sub(1))
    }

    /// The values, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).filter_map(|n| self.get(n))
    }

    /// Values in it.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// There are none.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every place is taken.
    #[must_use]
    #[inline]
    pub const fn is_full(&self) -> bool {
        self.len >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;

    #[test]
    fn it_is_a_bounded_queue_wherever_it_begins() {
        for limit in 0..6 {
            let (mut ring, mut model) = (Ring::new(limit), VecDeque::new());
            for step in 0..400usize {
                // Any mixture that fills and empties it many times will do.
                match step * 7 % 11 % 4 {
                    0 | 1 if model.len() < limit => {
                        assert_eq!(ring.push(step), Ok(()));
                        model.push_back(step);
                    }
                    2 if model.len() < limit => {
                        assert_eq!(ring.push_front(step), Ok(()));
                        model.push_front(step);
                    }
                    0..=2 => assert_eq!((ring.push(step), ring.push_front(step)), (Err(step), Err(step))),
                    _ if step % 2 == 0 => assert_eq!(ring.pop(), model.pop_front()),
                    _ => {
                        assert_eq!(ring.front_mut().map(|front| *front), model.pop_front());
                        ring.discard();
                    }
                }
                if step % 50 > 40 {
                    let count = step % 3;
                    let mut retired = VecDeque::new();
                    ring.retire(count, |value| retired.push_back(*value));
                    assert!(retired.into_iter().eq(model.drain(..count.min(model.len()))));
                }
                assert!(ring.iter().eq(&model) && ring.len() == model.len() && ring.is_empty() == model.is_empty());
                assert_eq!(
                    (ring.front(), ring.get(limit), ring.is_full()),
                    (model.front(), None, model.len() == limit)
                );
                assert_eq!(ring.back_mut().map(|back| *back), model.back().copied());
                assert_eq!(ring.get_mut(1).map(|second| *second), model.get(1).copied());
            }
        }
    }
}
