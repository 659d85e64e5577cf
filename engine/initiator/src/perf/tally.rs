//! What one thread counts.

use hdrhistogram::Histogram;
use rdma::Counters;

use crate::limits::{MAX_ERRORS_KEPT, MAX_LATENCY_NS};

/// Significant figures of a latency.
const FIGURES: u8 = 3;

/// Reads, or writes.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// Ended inside the measured time.
    pub ios: u64,
    pub latencies: Histogram<u64>,
}

impl Counts {
    fn new() -> Self {
        // The bounds are constants that the constructor admits. It allocates all it ever needs.
        let latencies = Histogram::new_with_bounds(1, MAX_LATENCY_NS, FIGURES).expect("constant bounds");
        Self { ios: 0, latencies }
    }

    fn add(&mut self, other: &Self) {
        self.ios += other.ios;
        self.latencies.add(&other.latencies).expect("equal bounds");
    }
}

#[derive(Clone, Debug)]
pub(super) struct Tally {
    pub reads: Counts,
    pub writes: Counts,
    /// All I/Os that ended well, warm-up included: for progress.
    pub total: u64,
    pub errors: u64,
    pub error_samples: Vec<String>,
    pub verified_blocks: u64,
    pub backlog: u64,
    pub cpu_user_ns: u64,
    pub cpu_system_ns: u64,
    /// Time of turns that found something.
    pub busy_ns: u64,
    /// Of the RDMA providers, whole lives of the connections.
    pub rdma: Option<Counters>,
    /// The measured time, in nanoseconds of the run.
    window: (u64, u64),
}

impl Tally {
    pub fn new(measure_from_ns: u64, measure_to_ns: u64) -> Self {
        Self {
            reads: Counts::new(),
            writes: Counts::new(),
            total: 0,
            errors: 0,
            error_samples: Vec::with_capacity(MAX_ERRORS_KEPT),
            verified_blocks: 0,
            backlog: 0,
            cpu_user_ns: 0,
            cpu_system_ns: 0,
            busy_ns: 0,
            rdma: None,
            window: (measure_from_ns, measure_to_ns),
        }
    }

    /// An I/O ended well at `now_ns`. What was outstanding at the end of the measured time is left out of the rates,
    /// but not out of the latencies: the slowest would be missing.
    #[inline]
    pub fn record(&mut self, is_read: bool, latency_ns: u64, now_ns: u64) {
        self.total += 1;
        if now_ns >= self.window.0 {
            let counts = if is_read { &mut self.reads } else { &mut self.writes };
            counts.ios += u64::from(now_ns < self.window.1);
            counts.latencies.saturating_record(latency_ns);
        }
    }

    /// An I/O failed.
    pub fn error(&mut self, describe: impl FnOnce() -> String) {
        self.errors += 1;
        if self.error_samples.len() < MAX_ERRORS_KEPT {
            self.error_samples.push(describe());
        }
    }

    /// Adds what a provider counted.
    pub fn count_rdma(&mut self, counters: Counters) {
        *self.rdma.get_or_insert_default() += counters;
    }

    /// Joins what another thread counted.
    pub fn add(&mut self, other: &Self) {
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        self.total += other.total;
        self.errors += other.errors;
        let room = MAX_ERRORS_KEPT - self.error_samples.len();
        self.error_samples.extend(other.error_samples.iter().take(room).cloned());
        self.verified_blocks += other.verified_blocks;
        self.backlog += other.backlog;
        self.cpu_user_ns += other.cpu_user_ns;
        self.cpu_system_ns += other.cpu_system_ns;
        self.busy_ns += other.busy_ns;
        if let Some(counters) = other.rdma {
            self.count_rdma(counters);
        }
    }
}
