//! Which slot an Initiator Task Tag means (RFC 7143 §11.2.1.8). Fixed size, no allocation.

use alloc::boxed::Box;
use alloc::vec;

use crate::wire::RESERVED_TAG;

/// Ends a chain: no slot has this index.
const NONE: u16 = u16::MAX;

/// A map from live initiator task tags to slot indices: chains of slots, one for each hash value.
#[derive(Debug)]
pub struct TaskMap {
    /// The first slot of each chain. A power of two of them, at least two for each slot, so that chains stay short.
    heads: Box<[u16]>,
    /// What each slot is entered under, [`RESERVED_TAG`] if it is not: that never names a task.
    entries: Box<[Entry]>,
}

/// A tag that no live task has: what [`TaskMap::fill`] needs to know, looked up once.
#[derive(Debug)]
pub struct Vacancy {
    itt: u32,
    home: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    itt: u32,
    next: u16,
}

impl TaskMap {
    /// A map to slots below `slots`, which are fewer than 65,535.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let slots = slots.min(usize::from(NONE));
        let heads = slots.max(1).saturating_mul(2).next_power_of_two();
        Self {
            heads: vec![NONE; heads].into_boxed_slice(),
            entries: vec![Entry { itt: RESERVED_TAG, next: NONE }; slots].into_boxed_slice(),
        }
    }

    /// Enters a task. `false`, and nothing changes, when the tag is in use or reserved, or the slot is in use or does
    /// not exist.
    #[must_use]
    #[inline]
    pub fn insert(&mut self, itt: u32, slot: u16) -> bool {
        self.vacancy(itt).is_some_and(|vacancy| self.fill(vacancy, slot))
    }

    /// A tag that no live task has, for [`TaskMap::fill`]; `None` if one has it.
    #[must_use]
    #[inline]
    pub fn vacancy(&self, itt: u32) -> Option<Vacancy> {
        let home = self.home(itt);
        if self.find(home, itt).is_some() { None } else { Some(Vacancy { itt, home }) }
    }

    /// Enters a task under a tag that was vacant, and still is: nothing was entered meanwhile. `false`, and nothing
    /// changes, when the tag is the reserved one, or the slot is in use or does not exist.
    #[must_use]
    #[inline]
    pub fn fill(&mut self, vacancy: Vacancy, slot: u16) -> bool {
        let Vacancy { itt, home } = vacancy;
        debug_assert!(self.get(itt).is_none(), "the tag has been entered meanwhile");
        let (Some(head), Some(entry)) = (self.heads.get_mut(home), self.entries.get_mut(usize::from(slot))) else {
            return false;
        };
        if itt == RESERVED_TAG || entry.itt != RESERVED_TAG {
            return false;
        }
        *entry = Entry { itt, next: *head };
        *head = slot;
        true
    }

    /// The slot of a live task.
    #[must_use]
    #[inline]
    pub fn get(&self, itt: u32) -> Option<u16> {
        self.find(self.home(itt), itt)
    }

    #[inline]
    fn find(&self, home: usize, itt: u32) -> Option<u16> {
        let mut at = self.heads[home];
        // Ends: a slot stands in one chain once.
        while let Some(entry) = self.entries.get(usize::from(at)) {
            if entry.itt == itt {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    /// Forgets a task.
    #[inline]
    pub fn remove(&mut self, itt: u32) -> Option<u16> {
        let home = self.home(itt);
        let head = self.heads[home];
        let first = self.entries.get_mut(usize::from(head))?;
        if first.itt != itt {
            return self.remove_behind(head, itt);
        }
        self.heads[home] = first.next;
        first.itt = RESERVED_TAG;
        Some(head)
    }

    /// Forgets a task that is not the first of its chain.
    fn remove_behind(&mut self, first: u16, itt: u32) -> Option<u16> {
        let mut before = usize::from(first);
        loop {
            let at = self.entries[before].next;
            let entry = *self.entries.get(usize::from(at))?;
            if entry.itt == itt {
                self.entries[before].next = entry.next;
                self.entries[usize::from(at)].itt = RESERVED_TAG;
                return Some(at);
            }
            before = usize::from(at);
        }
    }

    /// Live tasks.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u16)> {
        self.entries.iter().zip(0..).filter(|(entry, _)| entry.itt != RESERVED_TAG).map(|(entry, at)| (entry.itt, at))
    }

    fn home(&self, itt: u32) -> usize {
        // Initiators count tags up or use the low bits as an index, in either byte order: fold all bytes in.
        let mixed = itt.wrapping_mul(0x9E37_79B1);
        (mixed ^ (mixed >> 16)) as usize & (self.heads.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::vec::Vec;

    #[test]
    fn agrees_with_a_reference_map_under_churn() {
        let mut map = TaskMap::new(64);
        let mut reference = HashMap::new();
        let mut seed = 1u32;
        for _ in 0..40_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (itt, slot) = ((seed >> 8) % 200, (seed >> 20) as u16 % 70);
            if seed & 1 == 0 {
                let fits = !reference.contains_key(&itt) && slot < 64 && !reference.values().any(|used| *used == slot);
                assert_eq!(map.insert(itt, slot), fits);
                if fits {
                    reference.insert(itt, slot);
                }
            } else {
                assert_eq!(map.remove(itt), reference.remove(&itt));
            }
            assert_eq!(map.get(itt), reference.get(&itt).copied());
        }
        let mut live: Vec<_> = map.iter().collect();
        let mut expected: Vec<_> = reference.into_iter().collect();
        live.sort_unstable();
        expected.sort_unstable();
        assert_eq!(live, expected);
        assert!(!live.is_empty());
    }

    #[test]
    fn the_reserved_tag_is_never_a_task() {
        let mut map = TaskMap::new(4);
        assert!(!map.insert(RESERVED_TAG, 1));
        assert!(map.get(RESERVED_TAG).is_none() && map.remove(RESERVED_TAG).is_none());
        assert!(map.insert(7, 1));
        assert!(map.get(RESERVED_TAG).is_none() && map.remove(RESERVED_TAG).is_none());
    }
}
