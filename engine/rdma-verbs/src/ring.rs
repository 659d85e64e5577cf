//! `Ring`: what was posted to one queue, in order, until the device is done with it.

/// A bounded queue in three parts, oldest first: handed to the device, and not yet handed to it.
#[derive(Debug)]
pub struct Ring<T> {
    slots: Box<[Option<T>]>,
    /// Numbers of the oldest, of the first not handed over, and of the next; they never wrap.
    head: u64,
    rung: u64,
    tail: u64,
}

const LOW: u64 = 0xFF_FFFF;

impl<T> Ring<T> {
    /// Room for `capacity`.
    pub fn new(capacity: u16) -> Self {
        Self { slots: (0..capacity).map(|_| None).collect(), head: 0, rung: 0, tail: 0 }
    }

    fn at(&self, number: u64) -> usize {
        (number % self.slots.len().max(1) as u64) as usize
    }

    /// Appends; gives it back when there is no room.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.tail - self.head >= self.slots.len() as u64 {
            return Err(value);
        }
        let at = self.at(self.tail);
        self.slots[at] = Some(value);
        self.tail += 1;
        Ok(())
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail {
            return None;
        }
        let at = self.at(self.head);
        self.head += 1;
        self.rung = self.rung.max(self.head);
        self.slots[at].take()
    }

    /// The one with this number.
    pub fn get(&self, number: u64) -> Option<&T> {
        if number < self.head || number >= self.tail { None } else { self.slots[self.at(number)].as_ref() }
    }

    /// As [`Ring::get`], to change it.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let at = self.at(number);
        if number < self.head || number >= self.tail { None } else { self.slots[at].as_mut() }
    }

    /// Numbers not handed over yet.
    pub fn unrung(&self) -> core::ops::Range<u64> {
        self.rung..self.tail
    }

    /// All before `number` have been handed over.
    pub fn rung_to(&mut self, number: u64) {
        self.rung = number.clamp(self.rung, self.tail);
    }

    /// Number of the oldest.
    pub const fn head(&self) -> u64 {
        self.head
    }

    /// The number behind the one of which `low` are the low 24 bits, if the device has it.
    pub fn behind(&self, low: u32) -> Option<u64> {
        let ahead = (u64::from(low).wrapping_sub(self.head)) & LOW;
        (ahead < self.rung - self.head).then_some(self.head + ahead + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_low_bits_while_the_device_has_them() {
        let mut ring = Ring::new(4);
        (ring.head, ring.rung, ring.tail) = (LOW - 1, LOW - 1, LOW - 1);
        for i in 0..4 {
            ring.push(i).unwrap();
        }
        assert_eq!(ring.push(9), Err(9));
        assert_eq!(ring.unrung(), LOW - 1..LOW + 3);
        assert_eq!(ring.behind((LOW - 1) as u32), None, "the device does not have it yet");
        ring.rung_to(LOW + 2);
        assert_eq!(ring.behind((LOW - 1) as u32), Some(LOW));
        assert_eq!(ring.behind(0), Some(LOW + 2), "across the wrap of the low bits");
        assert_eq!(ring.behind(1), None);
        assert_eq!(ring.behind(77), None);
        assert_eq!((ring.pop(), ring.get(LOW), ring.get(LOW - 1)), (Some(0), Some(&1), None));
        assert_eq!(ring.behind((LOW - 1) as u32), None, "it is over");
        ring.rung_to(u64::MAX);
        assert!(ring.unrung().is_empty());
        assert_eq!([ring.pop(), ring.pop(), ring.pop(), ring.pop()], [Some(1), Some(2), Some(3), None]);
    }

    #[test]
    fn popping_what_was_never_handed_over_keeps_the_parts_in_order() {
        let mut ring = Ring::new(2);
        ring.push(1).unwrap();
        assert_eq!(ring.pop(), Some(1));
        assert!(ring.unrung().is_empty());
        ring.push(2).unwrap();
        assert_eq!(ring.unrung(), 1..2);
        assert_eq!(Ring::<u8>::new(0).push(1), Err(1));
    }
}
