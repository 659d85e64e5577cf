//! Which part of the logical unit the next I/O goes to.

use super::options::Pattern;

/// A fast generator of random numbers (xorshift64*).
#[derive(Clone, Copy, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// Different seeds give unrelated sequences, 0 included.
    pub fn new(seed: u64) -> Self {
        // One step of SplitMix64: neighbouring seeds must not begin alike, and the state must not be 0.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)).max(1))
    }

    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, uniform but for one part in 2⁶⁴/`bound`.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// A run of equal units (I/O-sized pieces), and the order they are visited in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    units: u64,
    pattern: Pattern,
    next: u64,
}

impl Region {
    /// `units` of them, at least one.
    pub fn new(units: u64, pattern: Pattern) -> Self {
        debug_assert!(units > 0);
        Self { units, pattern, next: 0 }
    }

    /// The next unit.
    #[inline]
    pub fn next(&mut self, random: &mut Random) -> u64 {
        match self.pattern {
            Pattern::Random => random.below(self.units),
            Pattern::Sequential => {
                let unit = self.next;
                self.next = if unit + 1 == self.units { 0 } else { unit + 1 };
                unit
            }
        }
    }
}

/// The `index`-th of `count` nearly equal parts of `units`: where it begins and how long it is.
pub(super) fn part(units: u64, index: u64, count: u64) -> (u64, u64) {
    let cut = |i: u64| (u128::from(units) * u128::from(i) / u128::from(count)) as u64;
    (cut(index), cut(index + 1) - cut(index))
}
