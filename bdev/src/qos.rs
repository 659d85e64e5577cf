//! Quality of service: rate limits of a device, across all cores.
//!
//! A limit is a rate in *units* a second: a byte, or one part in 2²⁰ of an operation. It is one word of memory that
//! every core may draw on (`pool`). A core draws its share once in an interval and spends it without looking at
//! what others do (`account`); operations it cannot pay for wait in its channel's `gate`. Decision 0010 says why,
//! and how far off the rate can be.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits;
use crate::shape::CreateError;

mod account;
mod alarm;
mod gate;
mod lanes;
mod pool;

use alarm::Seat;
pub(crate) use gate::Gate;
use pool::{Pool, RollCall};

/// The rate limits of a device, named as the RPC names them; 0 is no limit. Reads and writes count, other operations
/// do not. A megabyte has 2²⁰ bytes, as in SPDK.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RateLimits {
    /// Reads and writes a second.
    pub rw_ios_per_sec: u64,
    /// Megabytes read and written a second.
    pub rw_mbytes_per_sec: u64,
    /// Megabytes read a second.
    pub r_mbytes_per_sec: u64,
    /// Megabytes written a second.
    pub w_mbytes_per_sec: u64,
}

/// Kinds of limits there are, in the order of [`RateLimits`]: of both, of both, of reads, of writes.
const KINDS: usize = 4;

/// Units of a limit of operations that one operation costs; as many as a megabyte has bytes.
const ONE: u64 = 1 << 20;

/// What a burst allows at least, in units: one operation, or the bytes of the largest buffer. Smaller ones would have
/// every operation wait, even those of a device that is hardly used.
const LEAST_BURST: [u64; KINDS] = [ONE, LEAST_BYTES, LEAST_BYTES, LEAST_BYTES];
const LEAST_BYTES: u64 = reactors::limits::LARGE_BUFFER as u64;

impl RateLimits {
    /// No limit at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn all(&self) -> [(&'static str, u64); KINDS] {
        [
            ("rw_ios_per_sec", self.rw_ios_per_sec),
            ("rw_mbytes_per_sec", self.rw_mbytes_per_sec),
            ("r_mbytes_per_sec", self.r_mbytes_per_sec),
            ("w_mbytes_per_sec", self.w_mbytes_per_sec),
        ]
    }

    fn check(&self) -> Result<(), CreateError> {
        match self.all().into_iter().find(|(_, rate)| *rate > limits::QOS_RATE) {
            Some((field, rate)) => Err(CreateError::invalid(field, rate, format!("at most {}", limits::QOS_RATE))),
            None => Ok(()),
        }
    }
}

/// What a device's limits held up, over all its channels past and present.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Throttling {
    /// Operations that had to wait.
    pub ops: u64,
    /// Sum of their waits, in nanoseconds.
    pub wait_ns: u64,
    /// Operations that wait now.
    pub waiting: u64,
}

impl Throttling {
    fn add(&mut self, other: &Self) {
        self.ops += other.ops;
        self.wait_ns += other.wait_ns;
        self.waiting += other.waiting;
    }
}

/// The device's side of its limits. In an allocation of its own, on cache lines of its own: what cores write here
/// must not disturb those that serve devices without a limit.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Qos {
    pools: [Pool; KINDS],
    roll: RollCall,
    /// Rises with every change of the limits.
    changes: AtomicU32,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    limits: RateLimits,
    seats: Vec<Arc<Seat>>,
    /// Sum of channels that are closed.
    closed: Throttling,
    /// What was there at the last reset.
    base: Throttling,
}

impl Qos {
    /// Replaces all limits; channels follow within a turn.
    pub fn set(&self, limits: RateLimits) -> Result<(), CreateError> {
        limits.check()?;
        let mut books = self.lock();
        books.limits = limits;
        for (pool, (_, rate)) in self.pools.iter().zip(limits.all()) {
            // A megabyte has as many bytes as an operation has units.
            pool.set_rate(rate * ONE);
        }
        self.changes.fetch_add(1, Ordering::Release);
        drop(books);
        self.wake();
        Ok(())
    }

    pub fn limits(&self) -> RateLimits {
        self.lock().limits
    }

    /// Wakes every core that sleeps while operations wait: something has changed.
    pub fn wake(&self) {
        self.lock().seats.iter().for_each(|seat| seat.ring());
    }

    /// What was held up since the last reset.
    pub fn throttling(&self) -> Throttling {
        let books = self.lock();
        let total = books.total();
        let since = |now: u64, base: u64| now.saturating_sub(base);
        Throttling {
            ops: since(total.ops, books.base.ops),
            wait_ns: since(total.wait_ns, books.base.wait_ns),
            waiting: total.waiting,
        }
    }

    /// Counts what is held up from zero.
    pub fn reset(&self) {
        let mut books = self.lock();
        books.base = books.total();
    }

    fn changes(&self) -> u32 {
        self.changes.load(Ordering::Acquire)
    }

    fn opened(&self) -> Arc<Seat> {
        let seat = Arc::new(Seat::new());
        self.lock().seats.push(seat.clone());
        seat
    }

    fn closed(&self, seat: &Arc<Seat>) {
        let mut books = self.lock();
        books.seats.retain(|other| !Arc::ptr_eq(other, seat));
        books.closed.add(&Throttling { waiting: 0, ..seat.throttling() });
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn total(&self) -> Throttling {
        let mut total = self.closed;
        self.seats.iter().for_each(|seat| total.add(&seat.throttling()));
        total
    }
}

/// Adds to a counter that only its owner writes.
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

const _: () = assert!(limits::QOS_RATE <= u64::MAX >> 23, "rates in units, and sums of a few of them, fit 64 bits");

#[cfg(test)]
mod tests;
