//! Time: monotonic nanoseconds, read once a turn.

use std::ops::Add;
use std::sync::OnceLock;
use std::time::Duration;

/// An instant of the monotonic clock, in nanoseconds since an arbitrary start. Comparable between all cores of one
/// process, meaningless outside of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Nanos(u64);

impl Nanos {
    /// The start of time.
    pub const ZERO: Self = Self(0);
    /// The end of time.
    pub const MAX: Self = Self(u64::MAX);

    /// The instant `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn new(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This instant plus `span`, at most [`Nanos::MAX`].
    #[must_use]
    pub const fn plus(self, span: Duration) -> Self {
        let nanos = span.as_nanos();
        let nanos = if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 };
        Self(self.0.saturating_add(nanos))
    }
}

impl Add<Duration> for Nanos {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        self.plus(span)
    }
}

/// Reads the time. All clocks that [`Clock::new`] makes in one process agree with each other.
///
/// Uses the processor's time-stamp counter where the kernel itself trusts it as its clock source (half the price of
/// a vDSO call, and paid every turn), else `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Monotonic,
    #[cfg(target_arch = "x86_64")]
    Tsc(tsc::Scale),
}

impl Clock {
    /// The best clock of this machine. The first call in a process measures the counter's rate for a few
    /// milliseconds.
    #[must_use]
    pub fn new() -> Self {
        static BEST: OnceLock<Clock> = OnceLock::new();
        *BEST.get_or_init(Self::best)
    }

    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(scale) = tsc::Scale::measure() {
            return Self { source: Source::Tsc(scale) };
        }
        Self::monotonic()
    }

    /// `CLOCK_MONOTONIC`, whatever else there is.
    #[must_use]
    pub const fn monotonic() -> Self {
        Self { source: Source::Monotonic }
    }

    /// The time now.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Nanos {
        match &self.source {
            Source::Monotonic => kernel_time(),
            #[cfg(target_arch = "x86_64")]
            Source::Tsc(scale) => scale.now(),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

fn kernel_time() -> Nanos {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec to write to; CLOCK_MONOTONIC exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut t) };
    Nanos((t.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(t.tv_nsec as u64))
}

#[cfg(target_arch = "x86_64")]
mod tsc {
    use super::{Nanos, kernel_time};
    use std::time::Duration;

    const CALIBRATION: Duration = Duration::from_millis(5);
    const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

    /// Linear map from counter ticks to nanoseconds; `per_tick` is a fraction of 2³².
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Scale {
        ticks: u64,
        nanos: u64,
        per_tick: u64,
    }

    impl Scale {
        pub(super) fn measure() -> Option<Self> {
            // The kernel checks the counter for us: constant rate, running in sleep states, equal on all CPUs.
            if std::fs::read_to_string(CLOCK_SOURCE).ok()?.trim() != "tsc" {
                return None;
            }
            let (ticks, nanos) = pair();
            std::thread::sleep(CALIBRATION);
            let (end_ticks, end_nanos) = pair();
            let (dt, dn) = (end_ticks.checked_sub(ticks)?, end_nanos.checked_sub(nanos)?);
            let per_tick = u64::try_from((u128::from(dn) << 32).checked_div(u128::from(dt))?).ok()?;
            (per_tick != 0).then_some(Self { ticks, nanos, per_tick })
        }

        #[inline]
        pub(super) fn now(&self) -> Nanos {
            let passed = u128::from(read().saturating_sub(self.ticks));
            Nanos::new(self.nanos + ((passed * u128::from(self.per_tick)) >> 32) as u64)
        }
    }

    #[inline]
    fn read() -> u64 {
        // SAFETY: RDTSC is available on every x86-64 processor and only reads a register.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    /// Both clocks at one moment: the tightest of a few attempts, so that a preemption does not skew the rate.
    fn pair() -> (u64, u64) {
        let attempt = |_| {
            let before = read();
            let nanos = kernel_time().get();
            let after = read();
            (after.wrapping_sub(before), before / 2 + after / 2, nanos)
        };
        let (_, ticks, nanos) = (0..16).map(attempt).min().unwrap_or_default();
        (ticks, nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let t = Nanos::new(10);
        assert_eq!(t.since(Nanos::new(4)), Duration::from_nanos(6));
        assert_eq!(t.since(Nanos::new(11)), Duration::ZERO);
        assert_eq!(t + Duration::from_micros(1), Nanos::new(1010));
        assert_eq!(t.plus(Duration::MAX), Nanos::MAX);
    }

    #[test]
    fn never_runs_backwards_and_agrees_with_the_kernel() {
        let clock = Clock::new();
        let start = kernel_time();
        let first = clock.now();
        let mut last = first;
        while kernel_time().since(start) < Duration::from_millis(3) {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        let spun = last.since(first);
        assert!(spun > Duration::from_millis(2), "measured {spun:?} for at least 3 ms");
        assert!(spun <= kernel_time().since(start) + Duration::from_millis(1), "measured {spun:?}");
    }
}
