//! Statistics of devices: counted per channel in plain single-writer counters, summed by the control plane without
//! stopping a core.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::io::{Op, Status};

mod counted;
mod histogram;

pub(crate) use counted::Counted;
pub use histogram::{Bucket, Histogram};

/// Counts of one kind of operation. Latencies run from submission to reaping and are as fine as the reactor's turns.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OpStat {
    /// Operations completed, in whatever way.
    pub ops: u64,
    /// Bytes of those that succeeded.
    pub bytes: u64,
    /// Operations that did not succeed.
    pub errors: u64,
    /// Sum of latencies in nanoseconds.
    pub latency_ns: u64,
    /// Longest latency in nanoseconds.
    pub max_latency_ns: u64,
    /// Shortest latency in nanoseconds; 0 before the first operation.
    pub min_latency_ns: u64,
}

impl OpStat {
    fn add(&mut self, other: &Self) {
        self.min_latency_ns = match (self.min_latency_ns, other.min_latency_ns) {
            (0, min) | (min, 0) => min,
            (a, b) => a.min(b),
        };
        self.max_latency_ns = self.max_latency_ns.max(other.max_latency_ns);
        self.ops += other.ops;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.latency_ns += other.latency_ns;
    }

    /// What has been counted since `base`. The extremes have no differences and stay.
    fn since(&self, base: &Self) -> Self {
        Self {
            ops: self.ops.saturating_sub(base.ops),
            bytes: self.bytes.saturating_sub(base.bytes),
            errors: self.errors.saturating_sub(base.errors),
            latency_ns: self.latency_ns.saturating_sub(base.latency_ns),
            ..*self
        }
    }
}

/// Counts of a device or of one of its channels.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct IoStat {
    ops: [OpStat; KINDS],
    /// Operations submitted and not reaped.
    pub in_flight: u64,
}

const KINDS: usize = 5;

impl IoStat {
    /// The counts of one kind of operation.
    #[must_use]
    pub fn of(&self, op: Op) -> &OpStat {
        &self.ops[op as usize]
    }

    fn add(&mut self, other: &Self) {
        self.ops.iter_mut().zip(&other.ops).for_each(|(a, b)| a.add(b));
        self.in_flight += other.in_flight;
    }
}

/// The counters of one channel. Written by its core only, so an increment is a load and a store.
#[derive(Debug, Default)]
struct Counters {
    ops: [OpCounters; KINDS],
    in_flight: AtomicU64,
    /// Latencies of reads and of everything else.
    read_latencies: Histogram,
    write_latencies: Histogram,
}

#[derive(Debug, Default)]
struct OpCounters {
    ops: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    latency_ns: AtomicU64,
    max_latency_ns: AtomicU64,
    min_latency_ns: AtomicU64,
}

fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

impl OpCounters {
    fn count(&self, status: Status, bytes: u64, latency_ns: u64) {
        bump(&self.ops, 1);
        if status == Status::Ok {
            bump(&self.bytes, bytes);
        } else {
            bump(&self.errors, 1);
        }
        bump(&self.latency_ns, latency_ns);
        if latency_ns > self.max_latency_ns.load(Ordering::Relaxed) {
            self.max_latency_ns.store(latency_ns, Ordering::Relaxed);
        }
        let min = self.min_latency_ns.load(Ordering::Relaxed);
        if min == 0 || latency_ns < min {
            // 0 stands for "none yet".
            self.min_latency_ns.store(latency_ns.max(1), Ordering::Relaxed);
        }
    }

    fn forget_extremes(&self) {
        self.max_latency_ns.store(0, Ordering::Relaxed);
        self.min_latency_ns.store(0, Ordering::Relaxed);
    }

    fn get(&self) -> OpStat {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OpStat {
            ops: load(&self.ops),
            bytes: load(&self.bytes),
            errors: load(&self.errors),
            latency_ns: load(&self.latency_ns),
            max_latency_ns: load(&self.max_latency_ns),
            min_latency_ns: load(&self.min_latency_ns),
        }
    }
}

impl Counters {
    fn get(&self) -> IoStat {
        let ops = std::array::from_fn(|i| self.ops[i].get());
        IoStat { ops, in_flight: self.in_flight.load(Ordering::Relaxed) }
    }
}

/// What is reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetMode {
    /// Everything.
    All,
    /// The longest and shortest latencies.
    MaxMin,
}

/// The statistics of one device, over all its channels past and present.
#[derive(Debug, Default)]
pub struct DeviceStats {
    books: Mutex<Books>,
    /// Rises when channels are to forget their extremes.
    extremes: AtomicU32,
    histogram: AtomicBool,
}

#[derive(Debug, Default)]
struct Books {
    channels: Vec<Arc<Counters>>,
    /// Sum of channels that are closed.
    closed: IoStat,
    /// What was there at the last reset.
    base: IoStat,
}

impl Books {
    fn total(&self) -> IoStat {
        let mut total = self.closed;
        self.channels.iter().for_each(|channel| total.add(&channel.get()));
        total
    }
}

impl DeviceStats {
    /// The sum over all channels since the last reset.
    #[must_use]
    pub fn get(&self) -> IoStat {
        let books = self.lock();
        let total = books.total();
        let ops = std::array::from_fn(|i| total.ops[i].since(&books.base.ops[i]));
        IoStat { ops, in_flight: total.in_flight }
    }

    /// Each open channel's counts since it was opened.
    #[must_use]
    pub fn per_channel(&self) -> Vec<IoStat> {
        self.lock().channels.iter().map(|channel| channel.get()).collect()
    }

    /// Starts over.
    pub fn reset(&self, mode: ResetMode) {
        let mut books = self.lock();
        if mode == ResetMode::All {
            books.base = books.total();
        }
        for op in &mut books.closed.ops {
            (op.max_latency_ns, op.min_latency_ns) = (0, 0);
        }
        self.extremes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts latencies into histograms from now on, or no longer.
    pub fn enable_histogram(&self, on: bool) {
        self.histogram.store(on, Ordering::Relaxed);
    }

    /// The latency histograms of the open channels: of reads, and of everything else.
    #[must_use]
    pub fn histograms(&self) -> (Vec<Bucket>, Vec<Bucket>) {
        let books = self.lock();
        let reads = Histogram::sum(books.channels.iter().map(|channel| &channel.read_latencies));
        let others = Histogram::sum(books.channels.iter().map(|channel| &channel.write_latencies));
        (reads, others)
    }

    fn opened(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.lock().channels.push(counters.clone());
        counters
    }

    fn closed(&self, counters: &Arc<Counters>) {
        let mut books = self.lock();
        books.channels.retain(|channel| !Arc::ptr_eq(channel, counters));
        let last = IoStat { in_flight: 0, ..counters.get() };
        books.closed.add(&last);
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
