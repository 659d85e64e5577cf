//! Percentiles of latencies.

use bdev::stats::Histogram;
use serde::Serialize;

/// Latencies in microseconds, as fine as a bucket of the histogram (an eighth); 0 without any.
#[derive(Serialize, Clone, Copy, PartialEq, Default, Debug)]
pub struct Percentiles {
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub p99_99_us: f64,
}

/// Latencies of one thread, in nanoseconds.
#[derive(Default, Debug)]
pub struct Latencies(Histogram);

impl Latencies {
    /// Counts one.
    #[inline]
    pub fn record(&self, nanos: u64) {
        self.0.record(nanos);
    }

    /// The usual ones.
    pub fn percentiles(&self) -> Percentiles {
        let [p50_us, p90_us, p99_us, p99_9_us, p99_99_us] =
            [0.5, 0.9, 0.99, 0.999, 0.9999].map(|share| self.percentile(share));
        Percentiles { p50_us, p90_us, p99_us, p99_9_us, p99_99_us }
    }

    /// The least latency that `share` of all do not exceed.
    fn percentile(&self, share: f64) -> f64 {
        let buckets = Histogram::sum(std::iter::once(&self.0));
        let total: u64 = buckets.iter().map(|bucket| bucket.count).sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        let found = buckets.iter().find(|bucket| {
            seen += bucket.count;
            seen >= wanted
        });
        found.map_or(0.0, |bucket| (bucket.low + bucket.high) as f64 / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_values() {
        let latencies = Latencies::default();
        assert_eq!(latencies.percentile(0.5), 0.0);
        (1..=1000).for_each(|us| latencies.record(us * 1000));
        for (share, us) in [(0.5, 500.0), (0.99, 990.0)] {
            let found = latencies.percentile(share);
            assert!((found - us).abs() <= us / 8.0, "{share}: {found}");
        }
    }
}
