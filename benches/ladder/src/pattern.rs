//! Which blocks are visited, and in which direction.

use clap::ValueEnum;
use serde::Serialize;

/// As fio names them.
#[derive(ValueEnum, Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Rw {
    /// Reads, one behind the other.
    Read,
    /// Writes, one behind the other.
    Write,
    /// Reads, uniformly random.
    Randread,
    /// Writes, uniformly random.
    Randwrite,
}

impl Rw {
    /// Data goes from the medium.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::Randread)
    }

    /// Places are drawn at random.
    pub fn is_random(self) -> bool {
        matches!(self, Self::Randread | Self::Randwrite)
    }

    /// As the command line writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Randread => "randread",
            Self::Randwrite => "randwrite",
        }
    }
}

/// Draws the places of I/Os of one size: numbers below a limit, in order or at random.
#[derive(Debug)]
pub struct Places {
    random: bool,
    places: u64,
    state: u64,
}

impl Places {
    /// `places` numbers from 0 on; at least one.
    pub fn new(rw: Rw, places: u64) -> Self {
        // Any seed but 0; runs are to be alike.
        Self {
            random: rw.is_random(),
            places: places.max(1),
            state: if rw.is_random() { 0x9E37_79B9_7F4A_7C15 } else { 0 },
        }
    }

    /// The next place.
    #[inline]
    pub fn next(&mut self) -> u64 {
        if !self.random {
            let place = self.state;
            self.state = if place + 1 == self.places { 0 } else { place + 1 };
            return place;
        }
        // xorshift64: a nanosecond, and random enough to defeat caches and prefetchers.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        // The high half of the product maps the whole range evenly, without a division.
        ((u128::from(self.state) * u128::from(self.places)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_below_the_limit_and_all_are_visited() {
        for rw in [Rw::Read, Rw::Randwrite] {
            let mut places = Places::new(rw, 10);
            let mut seen = [0; 10];
            (0..1000).for_each(|_| seen[places.next() as usize] += 1);
            assert!(seen.iter().all(|n| *n > 0), "{rw:?}: {seen:?}");
        }
        let mut places = Places::new(Rw::Write, 3);
        assert_eq!([0; 4].map(|_| places.next()), [0, 1, 2, 0]);
    }
}
