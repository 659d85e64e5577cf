//! When I/Os are due. Times are nanoseconds since the run began, so that tests need no clock.

/// The clock of an open loop.
///
/// The n-th I/O is due at n intervals, whatever became of those before: one that is issued late is late, and its
/// latency counts from when it was due (no coordinated omission).
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacing {
    interval_ns: f64,
    issued: u64,
}

impl Pacing {
    /// So many I/Os a second.
    pub fn new(rate: f64) -> Self {
        Self { interval_ns: 1e9 / rate, issued: 0 }
    }

    /// When the next I/O is due, if that is not after `now`.
    pub fn due(&self, now: u64) -> Option<u64> {
        let at = (self.issued as f64 * self.interval_ns) as u64;
        (at <= now).then_some(at)
    }

    /// It was issued.
    pub fn issued(&mut self) {
        self.issued += 1;
    }

    /// How many are due before `end` and have not been issued.
    pub fn backlog(&self, end: u64) -> u64 {
        ((end as f64 / self.interval_ns).ceil() as u64).saturating_sub(self.issued)
    }
}
