//! `Slab`: a fixed number of slots with generations. Never grows; full is a value.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// Names one occupancy of one slot. A key outlives its entry harmlessly: look-ups by a stale key find nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// The slot.
    pub index: u32,
    /// How often the slot had been used before.
    pub generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    next_free: u32,
    value: Option<T>,
}

const NONE: u32 = u32::MAX;

/// A fixed-capacity store of `T` addressed by generation-checked keys.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Box<[Slot<T>]>,
    free: u32,
    len: usize,
}

impl<T> Slab<T> {
    /// A slab with `capacity` slots, all free; the lowest index is handed out first.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = u32::try_from(capacity).unwrap_or(NONE - 1);
        let slots: Vec<_> = (0..capacity)
            .map(|i| Slot { generation: 0, next_free: if i + 1 == capacity { NONE } else { i + 1 }, value: None })
            .collect();
        Self { slots: slots.into_boxed_slice(), free: if capacity == 0 { NONE } else { 0 }, len: 0 }
    }

    /// Stores `value`.
    ///
    /// # Errors
    /// The value, when every slot is taken.
    #[inline]
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        let index = self.free;
        let Some(slot) = self.slots.get_mut(index as usize) else { return Err(value) };
        self.free = slot.next_free;
        slot.value = Some(value);
        self.len += 1;
        Ok(Key { index, generation: slot.generation })
    }

    /// The key that the next [`Slab::insert`] returns; `None` when every slot is taken.
    #[must_use]
    pub fn next_key(&self) -> Option<Key> {
        let slot = self.slots.get(self.free as usize)?;
        Some(Key { index: self.free, generation: slot.generation })
    }

    /// Takes the entry out; a stale key takes nothing.
    #[inline]
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize).filter(|s| s.generation == key.generation)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.next_free = self.free;
        self.free = key.index;
        self.len -= 1;
        Some(value)
    }

    /// The entry of `key`, unless it is gone.
    #[must_use]
    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.index as usize) {
            Some(slot) if slot.generation == key.generation => slot.value.as_ref(),
            _ => None,
        }
    }

    /// The entry of `key`, unless it is gone.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some(slot) if slot.generation == key.generation => slot.value.as_mut(),
            _ => None,
        }
    }

    /// The current entry at `index` and its key.
    #[inline]
    pub fn at(&mut self, index: u32) -> Option<(Key, &mut T)> {
        let slot = self.slots.get_mut(index as usize)?;
        let key = Key { index, generation: slot.generation };
        slot.value.as_mut().map(|v| (key, v))
    }

    /// Every entry with its key, by rising index. Looks no further than the last one.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        let found = self.slots.iter().enumerate().filter_map(|(i, s)| {
            // The capacity fits u32, see `new`.
            s.value.as_ref().map(|v| (Key { index: i as u32, generation: s.generation }, v))
        });
        found.take(self.len)
    }

    /// Every entry with its key, by rising index. Looks no further than the last one.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        let len = self.len;
        let found = self.slots.iter_mut().enumerate().filter_map(|(i, s)| {
            let generation = s.generation;
            s.value.as_mut().map(|v| (Key { index: i as u32, generation }, v))
        });
        found.take(len)
    }

    /// Entries stored.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// No entry is stored.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Slots in all.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::new(2);
        let a = slab.insert('a').unwrap();
        assert_eq!(slab.remove(a), Some('a'));
        let b = slab.insert('b').unwrap();
        assert_eq!(a.index, b.index);
        assert!(slab.get(a).is_none() && slab.get_mut(a).is_none() && slab.remove(a).is_none());
        assert_eq!(slab.get(b), Some(&'b'));
        assert_eq!(slab.at(b.index).map(|(k, v)| (k, *v)), Some((b, 'b')));
    }

    #[test]
    fn full_gives_the_value_back_and_every_slot_returns() {
        let mut slab = Slab::new(3);
        let keys: [Key; 3] = core::array::from_fn(|i| slab.insert(i).unwrap());
        assert_eq!(slab.insert(9), Err(9));
        for k in keys {
            slab.remove(k).unwrap();
        }
        assert!(slab.is_empty());
        assert!((0..3).all(|i| slab.insert(i).is_ok()));
        assert_eq!(slab.iter().count(), 3);
        assert_eq!(Slab::<u8>::new(0).insert(1), Err(1));
    }
}
