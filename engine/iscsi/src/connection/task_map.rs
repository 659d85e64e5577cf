//! Which slot an Initiator Task Tag means (RFC 7143 §11.2.1.8). Fixed size, open addressing, no allocation.

use alloc::boxed::Box;
use alloc::vec;

use crate::wire::RESERVED_TAG;

/// A map from live initiator task tags to slot indices.
#[derive(Debug)]
pub struct TaskMap {
    // `RESERVED_TAG` marks a free place: it never names a task.
    places: Box<[(u32, u16)]>,
    mask: usize,
    room: usize,
}

impl TaskMap {
    /// Room for `capacity` tasks.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        // At most half full, so that probing stays short.
        let size = capacity.max(1).saturating_mul(2).next_power_of_two();
        Self { places: vec![(RESERVED_TAG, 0); size].into_boxed_slice(), mask: size - 1, room: capacity }
    }

    /// Enters a task. `false`, and nothing changes, when the tag is in use, reserved, or the map is full.
    #[must_use]
    pub fn insert(&mut self, itt: u32, slot: u16) -> bool {
        if itt == RESERVED_TAG || self.room == 0 {
            return false;
        }
        let at = self.find(itt);
        let free = self.places[at].0 == RESERVED_TAG;
        if free {
            self.places[at] = (itt, slot);
            self.room -= 1;
        }
        free
    }

    /// The slot of a live task.
    #[must_use]
    pub fn get(&self, itt: u32) -> Option<u16> {
        if itt == RESERVED_TAG {
            return None;
        }
        let (tag, slot) = self.places[self.find(itt)];
        (tag == itt).then_some(slot)
    }

    /// Forgets a task.
    pub fn remove(&mut self, itt: u32) -> Option<u16> {
        let slot = self.get(itt)?;
        let mut hole = self.find(itt);
        self.room += 1;
        // Backward-shift deletion: close the hole with whatever could not sit nearer to its home because of it.
        let mut next = hole;
        loop {
            next = (next + 1) & self.mask;
            let (tag, _) = self.places[next];
            if tag == RESERVED_TAG {
                break;
            }
            let displaced = next.wrapping_sub(self.home(tag)) & self.mask;
            if displaced >= next.wrapping_sub(hole) & self.mask {
                self.places[hole] = self.places[next];
                hole = next;
            }
        }
        self.places[hole] = (RESERVED_TAG, 0);
        Some(slot)
    }

    /// Live tasks.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u16)> {
        self.places.iter().copied().filter(|(tag, _)| *tag != RESERVED_TAG)
    }

    fn home(&self, itt: u32) -> usize {
        // Initiators count tags up or use the low bits as an index, in either byte order: fold all bytes in.
        let mixed = itt.wrapping_mul(0x9E37_79B1);
        (mixed ^ (mixed >> 16)) as usize & self.mask
    }

    /// The place of `itt`, or the free place where it would go. Ends because half of the places are free.
    fn find(&self, itt: u32) -> usize {
        let mut at = self.home(itt);
        while self.places[at].0 != RESERVED_TAG && self.places[at].0 != itt {
            at = (at + 1) & self.mask;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn agrees_with_a_reference_map_under_churn() {
        let mut map = TaskMap::new(64);
        let mut reference = HashMap::new();
        let mut seed = 1u32;
        for round in 0..20_000u32 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let itt = (seed >> 8) % 200;
            if seed & 1 == 0 {
                let fits = !reference.contains_key(&itt) && reference.len() < 64;
                assert_eq!(map.insert(itt, round as u16), fits);
                if fits {
                    reference.insert(itt, round as u16);
                }
            } else {
                assert_eq!(map.remove(itt), reference.remove(&itt));
            }
            assert_eq!(map.get(itt), reference.get(&itt).copied());
        }
        assert_eq!(map.iter().count(), reference.len());
    }

    #[test]
    fn the_reserved_tag_is_never_a_task() {
        let mut map = TaskMap::new(4);
        assert!(!map.insert(RESERVED_TAG, 1));
        assert!(map.get(RESERVED_TAG).is_none() && map.remove(RESERVED_TAG).is_none());
    }
}
