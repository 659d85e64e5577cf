//! What a benchmark found out.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use rdma::Counters;
use serde_json::{Value, json};

use crate::limits;

/// What is known while a benchmark runs, about once a second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Progress {
    /// Since the first I/O.
    pub elapsed: Duration,
    /// Still warming up: these numbers are not in the report.
    pub warming_up: bool,
    /// I/Os a second since the last progress.
    pub iops: f64,
    /// Bytes a second since the last progress.
    pub bytes_per_second: f64,
    /// I/Os that failed so far.
    pub errors: u64,
}

/// Latencies of one kind of I/O, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Latency {
    /// Mean.
    pub mean: f64,
    /// Least.
    pub min: u64,
    /// Greatest.
    pub max: u64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p99_9: u64,
    /// 99.99th percentile.
    pub p99_99: u64,
}

impl Latency {
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |q| histogram.value_at_quantile(q);
        Self {
            mean: histogram.mean(),
            min: histogram.min(),
            max: histogram.max(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
        }
    }

    fn to_json(self) -> Value {
        json!({
            "mean": self.mean, "min": self.min, "max": self.max, "p50": self.p50, "p90": self.p90, "p99": self.p99,
            "p99.9": self.p99_9, "p99.99": self.p99_99,
        })
    }
}

/// Reads, or writes, of one benchmark.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Direction {
    /// I/Os that ended well inside the measured time.
    pub ios: u64,
    /// Their rate a second.
    pub iops: f64,
    /// Their bytes a second.
    pub bytes_per_second: f64,
    /// Their latencies, and those of I/Os that were outstanding when the time was up.
    pub latency: Latency,
}

/// What the RDMA providers of the connections counted, from the connection request to the end, and the commands that
/// it was for (the few of the set-up are not among them).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rdma {
    /// Sums over all connections.
    pub counters: Counters,
    /// Commands.
    pub commands: u64,
}

impl Rdma {
    /// `count` for each command.
    fn each(&self, count: u64) -> f64 {
        count as f64 / self.commands.max(1) as f64
    }

    fn to_json(self) -> Value {
        let c = &self.counters;
        json!({
            "commands": self.commands, "doorbells": c.doorbells, "sends": c.sends, "binds": c.binds,
            "invalidates": c.invalidates, "receives": c.receives, "refused": c.refused, "signalled": c.signalled,
            "completions": c.completions, "flushed": c.flushed, "rnr_waits": c.rnr_waits, "bytes_out": c.bytes_out,
            "bytes_in": c.bytes_in,
        })
    }
}

/// The outcome of a benchmark.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// What was measured, in words: `random read 4096 B, queue depth 32 × 1 connection, 1 thread`.
    pub workload: String,
    /// What carried the sessions: `tcp`, or `iser/` and the provider.
    pub transport: &'static str,
    /// The rate asked for, if it was an open loop.
    pub rate: Option<f64>,
    /// Measured time.
    pub elapsed: Duration,
    /// Reads.
    pub reads: Direction,
    /// Writes.
    pub writes: Direction,
    /// I/Os that failed, warm-up included.
    pub errors: u64,
    /// The first few, in words.
    pub error_samples: Vec<String>,
    /// Open loop: I/Os that were due and not issued when the time was up. Many mean that the target, or this machine,
    /// does not keep up.
    pub backlog: u64,
    /// Logical blocks that were read and found as they were written; 0 without verification.
    pub verified_blocks: u64,
    /// RDMA, if there was any.
    pub rdma: Option<Rdma>,
    /// Processor time of the measuring threads in the measured time, user mode.
    pub cpu_user: Duration,
    /// And system mode.
    pub cpu_system: Duration,
    /// Of the measured time, what the measuring threads spent in turns that found something. They poll, so processor
    /// time says little; when this comes near `elapsed` for each thread, the initiator is the limit and not the target.
    pub busy: Duration,
}

impl Report {
    /// I/Os a second, both kinds.
    #[must_use]
    pub fn iops(&self) -> f64 {
        self.reads.iops + self.writes.iops
    }

    /// Bytes a second, both kinds.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        self.reads.bytes_per_second + self.writes.bytes_per_second
    }

    /// `closed` or `open`.
    #[must_use]
    pub const fn loop_kind(&self) -> &'static str {
        if self.rate.is_some() { "open" } else { "closed" }
    }

    /// All of it; times in nanoseconds, rates a second.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let direction = |d: &Direction| {
            json!({
                "ios": d.ios, "iops": d.iops, "bytes_per_second": d.bytes_per_second,
                "latency_ns": d.latency.to_json(),
            })
        };
        json!({
            "workload": self.workload,
            "transport": self.transport,
            "loop": self.loop_kind(),
            "rate": self.rate,
            "elapsed_ns": nanos(self.elapsed),
            "iops": self.iops(),
            "bytes_per_second": self.bytes_per_second(),
            "read": direction(&self.reads),
            "write": direction(&self.writes),
            "errors": self.errors,
            "error_samples": self.error_samples,
            "backlog": self.backlog,
            "verified_blocks": self.verified_blocks,
            "rdma": self.rdma.map(Rdma::to_json),
            "cpu_user_ns": nanos(self.cpu_user),
            "cpu_system_ns": nanos(self.cpu_system),
            "busy_ns": nanos(self.busy),
        })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, over {}", self.workload, self.transport)?;
        match self.rate {
            None => writeln!(f, "closed loop, {:.1} s", self.elapsed.as_secs_f64())?,
            Some(rate) => writeln!(
                f,
                "open loop at {rate} IOPS, {:.1} s; latency counts from when an I/O was due; {} still due at the end",
                self.elapsed.as_secs_f64(),
                self.backlog
            )?,
        }
        writeln!(
            f,
            "{:<6}{:>11}{:>10}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}",
            "", "IOPS", "MB/s", "mean µs", "min", "p50", "p90", "p99", "p99.9", "p99.99", "max"
        )?;
        for (name, d) in [("read", &self.reads), ("write", &self.writes)] {
            if d.ios > 0 {
                row(f, name, d)?;
            }
        }
        let (user, system) = (self.cpu_user.as_secs_f64(), self.cpu_system.as_secs_f64());
        let cores = |seconds: f64| seconds / self.elapsed.as_secs_f64().max(1e-9);
        let (used, busy) = (cores(user + system), cores(self.busy.as_secs_f64()));
        writeln!(f, "initiator CPU {user:.2} s user + {system:.2} s system, {used:.2} cores, {busy:.2} busy")?;
        if let Some(rdma) = &self.rdma {
            let c = &rdma.counters;
            let (bells, posted) = (rdma.each(c.doorbells), rdma.each(c.posted()));
            writeln!(f, "RDMA for each command: {bells:.2} doorbells, {posted:.2} requests posted")?;
        }
        if self.verified_blocks > 0 {
            writeln!(f, "verified {} blocks", self.verified_blocks)?;
        }
        write!(f, "errors {}", self.errors)?;
        for sample in &self.error_samples {
            write!(f, "\n  {sample}")?;
        }
        if self.errors > limits::MAX_ERRORS_KEPT as u64 { write!(f, "\n  …") } else { Ok(()) }
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, d: &Direction) -> fmt::Result {
    let us = |ns: u64| ns as f64 / 1e3;
    let l = &d.latency;
    writeln!(
        f,
        "{name:<6}{:>11.0}{:>10.1}{:>10.1}{:>9.1}{:>9.1}{:>9.1}{:>9.1}{:>9.1}{:>9.1}{:>10.1}",
        d.iops,
        d.bytes_per_second / 1e6,
        l.mean / 1e3,
        us(l.min),
        us(l.p50),
        us(l.p90),
        us(l.p99),
        us(l.p99_9),
        us(l.p99_99),
        us(l.max)
    )
}
