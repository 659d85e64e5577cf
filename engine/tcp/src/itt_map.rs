//! A fixed hash map from Initiator Task Tags, with linear probing.

/// A map of at most a fixed number of entries; never allocates after creation. Initiators choose their tags, so the
/// worst case, all in one run, is what the capacity bounds.
#[derive(Debug)]
pub(crate) struct IttMap<T> {
    slots: Box<[Option<(u32, T)>]>,
    len: usize,
    capacity: usize,
}

impl<T> IttMap<T> {
    pub fn new(capacity: usize) -> Self {
        // Never more than half full, so every probe ends soon at a free slot.
        let size = (capacity * 2).next_power_of_two().max(2);
        Self { slots: (0..size).map(|_| None).collect(), len: 0, capacity }
    }

    pub fn get_mut(&mut self, itt: u32) -> Option<&mut T> {
        let at = self.find(itt).ok()?;
        self.slots[at].as_mut().map(|(_, value)| value)
    }

    /// Stores `value`, in place of what `itt` had; `false` when there is no room.
    pub fn insert(&mut self, itt: u32, value: T) -> bool {
        match self.find(itt) {
            Ok(at) => self.slots[at] = Some((itt, value)),
            Err(_) if self.len == self.capacity => return false,
            Err(at) => {
                self.slots[at] = Some((itt, value));
                self.len += 1;
            }
        }
        true
    }

    pub fn remove(&mut self, itt: u32) {
        let Ok(mut hole) = self.find(itt) else { return };
        self.slots[hole] = None;
        self.len -= 1;
        // Entries behind the hole that were probed past it move up, so that no probe ends too early.
        let mut at = self.next(hole);
        while let Some((other, _)) = &self.slots[at] {
            let home = self.home(*other);
            let mask = self.slots.len() - 1;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots.swap(hole, at);
                hole = at;
            }
            at = self.next(at);
        }
    }

    /// Any tag whose value is wanted. Linear; not for the data path.
    pub fn find_key(&self, wanted: impl Fn(&T) -> bool) -> Option<u32> {
        self.slots.iter().flatten().find(|(_, value)| wanted(value)).map(|(itt, _)| *itt)
    }

    /// The slot of `itt`, or the free one where it would go.
    fn find(&self, itt: u32) -> Result<usize, usize> {
        let mut at = self.home(itt);
        loop {
            match &self.slots[at] {
                Some((other, _)) if *other == itt => return Ok(at),
                Some(_) => at = self.next(at),
                None => return Err(at),
            }
        }
    }

    fn home(&self, itt: u32) -> usize {
        (itt.wrapping_mul(0x9e37_79b1) >> 16) as usize & (self.slots.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_as_a_map(ops in prop::collection::vec((0u32..24, any::<bool>()), 0..200)) {
            let mut ours = IttMap::new(8);
            let mut model = HashMap::new();
            for (i, (itt, put)) in ops.into_iter().enumerate() {
                if put {
                    let room = model.len() < 8 || model.contains_key(&itt);
                    prop_assert_eq!(ours.insert(itt, i), room);
                    if room {
                        model.insert(itt, i);
                    }
                } else {
                    ours.remove(itt);
                    model.remove(&itt);
                }
                for itt in 0..24 {
                    prop_assert_eq!(ours.get_mut(itt).copied(), model.get(&itt).copied());
                }
                prop_assert_eq!(ours.len, model.len());
                let even = ours.find_key(|value| value % 2 == 0);
                prop_assert_eq!(even.is_some(), model.values().any(|value| value % 2 == 0));
                prop_assert!(even.is_none_or(|itt| model[&itt] % 2 == 0));
            }
        }
    }
}
