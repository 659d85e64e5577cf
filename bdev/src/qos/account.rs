//! A channel's account: what it has drawn of each limit and not spent.

use super::pool::Rate;
use super::{KINDS, LEAST_BURST, ONE, Qos};
use crate::io::{Io, Op};
use crate::limits::QOS_INTERVAL_NS as INTERVAL_NS;

/// What operations cost of each limit, in units.
pub(super) type Cost = [u64; KINDS];

/// Limits with a lower index are of reads and writes together.
pub(super) const OF_EITHER: usize = 2;

/// What an operation costs; `None` of those that no limit is about. As in SPDK, reads and writes are, and deallocating
/// or zeroing blocks is not.
pub(super) fn cost(io: &Io, block_size: u32) -> Option<Cost> {
    // The memory bounds what an invalid operation can ask for; the device will refuse it.
    let room = io.data.as_ref().map_or(0, |data| data.capacity() as u64);
    let bytes = io.blocks.saturating_mul(block_size.into()).min(room);
    match io.op {
        Op::Read => Some([ONE, bytes, bytes, 0]),
        Op::Write => Some([ONE, bytes, 0, bytes]),
        Op::Flush | Op::Unmap | Op::WriteZeroes => None,
    }
}

/// What is known of one limit.
#[derive(Clone, Copy, Default, Debug)]
struct Purse {
    rate: Rate,
    /// What is left of what was drawn; negative when an operation larger than a burst was let through.
    credit: i64,
}

impl Purse {
    /// Units missing for an operation of this cost. What it costs beyond a burst becomes a debt: nothing that is valid
    /// waits for ever.
    fn lack(&self, cost: u64) -> i64 {
        if !self.rate.is_limited() || cost == 0 { 0 } else { cost.min(self.rate.burst) as i64 - self.credit }
    }

    fn spend(&mut self, cost: u64) {
        if self.rate.is_limited() {
            self.credit -= cost as i64;
        }
    }

    /// Takes a new rate. Credit was drawn at the old one and is void; a debt is a debt.
    fn follow(&mut self, rate: Rate) {
        if rate != self.rate {
            let credit = if rate.is_limited() { self.credit.min(0) } else { 0 };
            *self = Self { rate, credit };
        }
    }
}

/// Plain integers of one core.
#[derive(Debug, Default)]
pub(super) struct Account {
    purses: [Purse; KINDS],
    /// The change of limits this account has seen.
    changes: Option<u32>,
    /// The interval of the last draw, and how many channels drew in it.
    interval: Option<u64>,
    channels: u64,
    /// Nothing more is to be had in this interval.
    dry: bool,
}

impl Account {
    /// Notices new limits.
    pub fn follow(&mut self, qos: &Qos) {
        let changes = qos.changes();
        if self.changes == Some(changes) {
            return;
        }
        (self.changes, self.dry) = (Some(changes), false);
        for ((purse, pool), least_burst) in self.purses.iter_mut().zip(&qos.pools).zip(LEAST_BURST) {
            purse.follow(Rate::new(pool.rate(), least_burst));
        }
    }

    /// Whether the limits have changed since [`Account::follow`].
    pub fn is_outdated(&self, qos: &Qos) -> bool {
        self.changes != Some(qos.changes())
    }

    /// Pays for an operation. `demand` is what it costs together with everything that waits.
    ///
    /// # Errors
    /// The first limit that does not allow it now.
    pub fn pay(&mut self, qos: &Qos, now: u64, cost: &Cost, demand: &Cost) -> Result<(), usize> {
        if let Err(kind) = self.covers(cost) {
            if !self.draw(qos, now, demand) {
                return Err(kind);
            }
            self.covers(cost)?;
        }
        self.purses.iter_mut().zip(cost).for_each(|(purse, cost)| purse.spend(*cost));
        Ok(())
    }

    /// Takes back what was paid for an operation that did not begin.
    pub fn refund(&mut self, cost: &Cost) {
        let limited = self.purses.iter_mut().zip(cost).filter(|(purse, _)| purse.rate.is_limited());
        limited.for_each(|(purse, cost)| purse.credit += *cost as i64);
    }

    fn covers(&self, cost: &Cost) -> Result<(), usize> {
        match self.purses.iter().zip(cost).position(|(purse, cost)| purse.lack(*cost) > 0) {
            Some(kind) => Err(kind),
            None => Ok(()),
        }
    }

    /// Asks for what is needed, or for this interval's share if that is more; `false` if that was done already and
    /// there was no more. This is all that touches what cores share.
    fn draw(&mut self, qos: &Qos, now: u64, demand: &Cost) -> bool {
        let interval = now / INTERVAL_NS;
        let fresh = self.interval != Some(interval);
        if !fresh && self.dry {
            return false;
        }
        if fresh {
            (self.interval, self.channels) = (Some(interval), qos.roll.answer(interval));
        }
        self.dry = false;
        for ((purse, pool), demand) in self.purses.iter_mut().zip(&qos.pools).zip(demand) {
            let rate = purse.rate;
            if !rate.is_limited() || *demand == 0 {
                continue;
            }
            let share = (rate.units(INTERVAL_NS) / self.channels).max(1);
            let want = (*demand).max(share) as i64;
            let entitled = if fresh { share } else { 0 };
            purse.credit = pool.settle(now, rate, purse.credit, want, entitled);
            self.dry |= purse.credit < *demand as i64;
        }
        true
    }

    /// The next instant at which an operation that waits may be paid for, in nanoseconds. A channel that shares the
    /// limit with others must not miss an interval's draw.
    pub fn next_chance(&self, cost: &Cost) -> u64 {
        let interval = self.interval.unwrap_or(0);
        let next = (interval + 1) * INTERVAL_NS;
        if self.channels > 1 {
            return next;
        }
        let wait = |(purse, cost): (&Purse, &u64)| purse.rate.nanos_up(u64::try_from(purse.lack(*cost)).unwrap_or(0));
        let longest = self.purses.iter().zip(cost).map(wait).max().unwrap_or(0);
        next.max((interval * INTERVAL_NS).saturating_add(longest))
    }

    /// Leaves what is left, or owed, to the others.
    pub fn close(&mut self, qos: &Qos, now: u64) {
        if self.is_outdated(qos) {
            return;
        }
        for (purse, pool) in self.purses.iter_mut().zip(&qos.pools) {
            match std::mem::take(&mut purse.credit) {
                0 => {}
                credit => pool.inherit(now, purse.rate, credit),
            }
        }
    }
}
