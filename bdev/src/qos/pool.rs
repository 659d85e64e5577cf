//! What all cores share of a device's limits: one word for each limit, and one to count the cores by.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{QOS_BURST_NS as BURST_NS, QOS_INTERVAL_NS as INTERVAL_NS};

const SECOND_NS: u64 = 1_000_000_000;

/// The tokens of one limit.
///
/// They are not counted but told by the clock: whatever the rate has yielded between `level` and now is there to be
/// taken, and taking moves `level` on. So nobody has to refill, and all that is ever handed out is what the rate
/// yielded and one burst.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Units a second; 0 without a limit.
    rate: AtomicU64,
    /// Nanoseconds of the reactors' clock up to which everything was taken.
    level: AtomicU64,
}

impl Pool {
    pub fn set_rate(&self, rate: u64) {
        self.rate.store(rate, Ordering::Relaxed);
    }

    pub fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Brings an account to `want` units, by giving back what it has beyond that or by taking what it lacks: of what
    /// accrued in the last interval no more than `share`, of what nobody took for longer than that, anything. Returns
    /// the new credit.
    ///
    /// What an account owes is older than the pool's last burst may be, so that a debt is paid by time in which the
    /// device was idle, too.
    pub fn settle(&self, now: u64, rate: Rate, credit: i64, want: i64, share: u64) -> i64 {
        let surplus = u64::try_from(credit.saturating_sub(want)).unwrap_or(0);
        let lack = u64::try_from(want.saturating_sub(credit)).unwrap_or(0);
        let debt = u64::try_from(credit.saturating_neg()).unwrap_or(0);
        let full = now.saturating_sub(rate.burst_ns);
        let floor = full.saturating_sub(rate.nanos(debt));
        let given_back = rate.nanos(surplus);
        let mut level = self.level.load(Ordering::Relaxed);
        loop {
            let start = level.saturating_sub(given_back).max(floor);
            let there = rate.units(now.saturating_sub(start));
            // A pool that runs over was drawn on by nobody: there is no share of others to be kept.
            let free = if start <= full { there } else { there.saturating_sub(rate.units(INTERVAL_NS)) };
            let taken = lack.min(there).min(free.max(share));
            let next = start + rate.nanos_up(taken);
            if taken == 0 && surplus == 0 {
                return credit;
            }
            match self.level.compare_exchange_weak(level, next, Ordering::Relaxed, Ordering::Relaxed) {
                // Differences of what is far below 2⁶³.
                Ok(_) => return credit - surplus as i64 + taken as i64,
                Err(seen) => level = seen,
            }
        }
    }

    /// Takes over what an account leaves behind, which may be a debt.
    pub fn inherit(&self, now: u64, rate: Rate, credit: i64) {
        let floor = now.saturating_sub(rate.burst_ns);
        let span = rate.nanos(credit.unsigned_abs());
        let moved = |level: u64| {
            let start = level.max(floor);
            Some(if credit > 0 { start.saturating_sub(span) } else { start.saturating_add(span) })
        };
        // The closure never declines.
        let _ = self.level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved);
    }
}

/// A limit's rate, and the burst that follows from it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Rate {
    /// Units a second; 0 without a limit.
    pub per_second: u64,
    /// Units that may be saved up.
    pub burst: u64,
    /// How long the rate takes for them, in nanoseconds.
    burst_ns: u64,
}

impl Rate {
    /// A rate whose burst is of at least so many units.
    pub fn new(per_second: u64, least_burst: u64) -> Self {
        if per_second == 0 {
            return Self::default();
        }
        let rate = Self { per_second, ..Self::default() };
        let burst_ns = BURST_NS.max(rate.nanos_up(least_burst));
        Self { burst: rate.units(burst_ns), burst_ns, ..rate }
    }

    pub fn is_limited(&self) -> bool {
        self.per_second != 0
    }

    /// Units that accrue in so many nanoseconds.
    pub fn units(&self, nanos: u64) -> u64 {
        let units = u128::from(self.per_second) * u128::from(nanos) / u128::from(SECOND_NS);
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// Nanoseconds in which so many units accrue, rounded down.
    pub fn nanos(&self, units: u64) -> u64 {
        let nanos = (u128::from(units) * u128::from(SECOND_NS)).checked_div(self.per_second.into()).unwrap_or(0);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// The same, rounded up.
    pub fn nanos_up(&self, units: u64) -> u64 {
        let nanos = self.nanos(units);
        if self.units(nanos) < units { nanos + 1 } else { nanos }
    }
}

/// Counts the channels that draw, without a register of them: each answers once in an interval in which it draws.
/// Holds the number of an interval, the answers in the one before, and those in it so far.
#[derive(Debug, Default)]
pub(super) struct RollCall(AtomicU64);

/// Bits of a number of answers.
const ANSWERS: u32 = 12;
const MOST: u64 = (1 << ANSWERS) - 1;

impl RollCall {
    /// Answers in interval `number` and returns how many draw: as many as did in the interval before, or more.
    pub fn answer(&self, number: u64) -> u64 {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let (then, before, so_far) = (word >> (2 * ANSWERS), (word >> ANSWERS) & MOST, word & MOST);
            let (before, so_far) = match number.checked_sub(then) {
                // A core whose turn began a moment ago may still be in the interval before.
                None | Some(0) => (before, (so_far + 1).min(MOST)),
                Some(1) => (so_far, 1),
                Some(_) => (0, 1),
            };
            let next = (number.max(then) << (2 * ANSWERS)) | (before << ANSWERS) | so_far;
            match self.0.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return before.max(so_far),
                Err(seen) => word = seen,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_time_agree() {
        for per_second in [1 << 20, 3 << 20, 1_000_003 << 20, 1 << 60] {
            let rate = Rate::new(per_second, 1 << 20);
            assert_eq!(rate.units(SECOND_NS), per_second);
            assert_eq!(rate.nanos(per_second), SECOND_NS);
            for units in [1, 511, 1 << 20, 12_345_678_901] {
                assert!(rate.units(rate.nanos_up(units)) >= units, "{units} at {per_second}");
                assert!(rate.nanos_up(units) - rate.nanos(units) <= 1);
            }
            assert!(rate.burst >= 1 << 20);
        }
        assert_eq!(Rate::new(0, 1 << 20).nanos(5), 0);
    }

    #[test]
    fn a_pool_hands_out_what_accrued_and_one_burst() {
        let (pool, rate) = (Pool::default(), Rate::new(1000 << 20, 1 << 20));
        let mut now = 10 * SECOND_NS;
        let all = i64::MAX;
        let first = pool.settle(now, rate, 0, all, 0);
        assert_eq!(first as u64, rate.burst, "idle for long, it is full");
        assert_eq!(pool.settle(now, rate, 0, all, u64::MAX), 0, "and then empty");
        let mut taken = 0;
        for _ in 0..1000 {
            now += 777_777;
            taken += pool.settle(now, rate, 0, all, u64::MAX);
        }
        let expected = rate.units(777_777_000);
        assert!(expected.abs_diff(taken as u64) <= expected / 100_000, "{taken} of {expected}");
    }

    #[test]
    fn shares_limit_what_is_fresh_and_not_what_is_left_over() {
        // A unit a nanosecond.
        let (pool, rate) = (Pool::default(), Rate::new(SECOND_NS, 1));
        let (now, interval) = (SECOND_NS, INTERVAL_NS as i64);
        pool.settle(now, rate, 0, i64::MAX, 0);
        let later = now + 2 * INTERVAL_NS;
        assert_eq!(pool.settle(later, rate, 0, 10, 10), 10);
        assert_eq!(pool.settle(later, rate, 0, i64::MAX, 0), interval - 10, "all but the last interval's");
        assert_eq!(pool.settle(later, rate, 50, 20, 0), 20, "what is not wanted is given back");
        assert_eq!(pool.settle(later, rate, 0, 100, 0), 30, "and there for others");
        assert_eq!(pool.settle(later, rate, 0, 100, 70), 70, "the last interval's is there for those it belongs to");
    }

    #[test]
    fn idle_time_pays_debts_beyond_the_burst() {
        let (pool, rate) = (Pool::default(), Rate::new(1 << 20, 1));
        pool.settle(SECOND_NS, rate, 0, i64::MAX, 0);
        let debt = -10 * (1 << 20);
        let after = pool.settle(6 * SECOND_NS, rate, debt, 0, 0);
        assert_eq!(after, -5 * (1 << 20), "five seconds of idleness are worth five");
        let after = pool.settle(60 * SECOND_NS, rate, after, i64::MAX, 0);
        assert_eq!(after as u64, rate.burst, "and no more than a burst is left of a minute's");
        pool.inherit(60 * SECOND_NS, rate, -(1 << 20));
        assert_eq!(pool.settle(61 * SECOND_NS, rate, 0, 100, 100), 0, "a debt outlives its channel");
    }

    #[test]
    fn a_roll_call_counts_who_answered_last_time_or_this_time() {
        let roll = RollCall::default();
        assert_eq!([roll.answer(7), roll.answer(7), roll.answer(7)], [1, 2, 3]);
        assert_eq!([roll.answer(8), roll.answer(8)], [3, 3]);
        assert_eq!(roll.answer(9), 2);
        assert_eq!(roll.answer(8), 2, "a core that is late counts with the others");
        assert_eq!(roll.answer(20), 1);
        (0..5000).for_each(|_| _ = roll.answer(20));
        assert_eq!(roll.answer(20), MOST);
    }
}
