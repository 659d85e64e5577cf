//! A log-linear histogram: eight buckets to each doubling, so a bucket is at most an eighth of its value wide.

use std::sync::atomic::{AtomicU64, Ordering};

const BITS: u32 = 3;
const SUB_BUCKETS: usize = 1 << BITS;
/// Values below `SUB_BUCKETS` have a bucket each, every doubling above it has eight.
const BUCKETS: usize = SUB_BUCKETS * (64 - BITS as usize + 1);

/// Counts of values, in nanoseconds here. Written by one thread, read by any.
pub struct Histogram {
    buckets: Box<[AtomicU64; BUCKETS]>,
}

/// A bucket that is not empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bucket {
    /// The smallest value counted in it.
    pub low: u64,
    /// The largest value counted in it.
    pub high: u64,
    /// Values counted.
    pub count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([const { AtomicU64::new(0) }; BUCKETS]) }
    }
}

impl Histogram {
    /// Counts a value.
    pub fn record(&self, value: u64) {
        super::bump(&self.buckets[index(value)], 1);
    }

    /// The non-empty buckets of several histograms taken together, by rising value.
    pub fn sum<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Vec<Bucket> {
        let count = |i: usize| all.clone().map(|histogram| histogram.buckets[i].load(Ordering::Relaxed)).sum();
        (0..BUCKETS)
            .map(|i| Bucket { low: low(i), high: low(i + 1).wrapping_sub(1), count: count(i) })
            .filter(|bucket| bucket.count > 0)
            .collect()
    }
}

fn index(value: u64) -> usize {
    let Some(shift) = (u64::BITS - value.leading_zeros()).checked_sub(BITS + 1) else { return value as usize };
    // The value has BITS + 1 significant bits after the shift: 8 to 15.
    SUB_BUCKETS * shift as usize + (value >> shift) as usize
}

/// The smallest value of bucket `i`; wraps to 0 behind the last one.
fn low(i: usize) -> u64 {
    if i < 2 * SUB_BUCKETS {
        return i as u64;
    }
    let shift = (i / SUB_BUCKETS - 1) as u32;
    let mantissa = (SUB_BUCKETS + i % SUB_BUCKETS) as u64;
    if shift + BITS >= u64::BITS { 0 } else { mantissa << shift }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(Self::sum(std::iter::once(self))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_bucket_and_buckets_are_narrow() {
        let around = (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, (1 << bit) + 1]);
        for value in around.chain([0, 100, 12_345, u64::MAX]) {
            let i = index(value);
            let (low, high) = (low(i), low(i + 1).wrapping_sub(1));
            assert!(low <= value && value <= high, "{value} in {low}..={high}");
            assert!(high - low <= low / 8, "{low}..={high}");
        }
        assert_eq!(index(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn histograms_add_up() {
        let (a, b) = (Histogram::default(), Histogram::default());
        [3, 3, 1000].into_iter().for_each(|v| a.record(v));
        b.record(3);
        let sum = Histogram::sum([&a, &b].into_iter());
        assert_eq!(sum[0], Bucket { low: 3, high: 3, count: 3 });
        assert!(sum.len() == 2 && sum[1].low <= 1000 && sum[1].high >= 1000);
    }
}
