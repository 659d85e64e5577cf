//! Results, as a table for people or as JSON.

use serde::Serialize;

use crate::Result;
use crate::latency::Percentiles;
use crate::machine::Machine;

/// One measurement.
#[derive(Serialize, Debug, Default)]
pub struct Row {
    /// What was measured.
    pub rung: String,
    /// Direction and order.
    pub rw: String,
    /// Bytes of an I/O.
    pub bs: usize,
    /// I/Os in flight.
    pub qd: usize,
    /// I/Os counted.
    pub ios: u64,
    /// Length of the measurement.
    pub seconds: f64,
    /// I/Os in a second.
    pub iops: f64,
    /// Latencies that so many in a hundred I/Os did not exceed.
    #[serde(flatten)]
    pub percentiles: Percentiles,
    /// Time of turns that found work, for each I/O.
    pub busy_ns_per_io: f64,
    /// The same as a share of the measurement.
    pub busy: f64,
    /// I/Os a turn that found work.
    pub batch: f64,
    /// System calls for each I/O, where they are counted.
    pub calls_per_io: Option<f64>,
    /// Time of the client's turns that found work, for each I/O, where there is a client of its own.
    pub client_ns_per_io: Option<f64>,
}

impl Row {
    /// Fills in what follows from counts and times.
    pub fn counted(mut self, ios: u64, seconds: f64, busy_seconds: f64, busy_turns: u64) -> Self {
        let per_io = |value: f64| if ios == 0 { 0.0 } else { value / ios as f64 };
        (self.ios, self.seconds, self.iops) = (ios, seconds, ios as f64 / seconds);
        (self.busy_ns_per_io, self.busy) = (per_io(busy_seconds * 1e9), busy_seconds / seconds);
        self.batch = ios as f64 / busy_turns.max(1) as f64;
        self
    }
}

#[derive(Serialize)]
struct Document<'a> {
    machine: Machine,
    rows: &'a [Row],
}

/// Prints `rows`.
pub fn print(machine: Machine, rows: &[Row], json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(&Document { machine, rows })?);
        return Ok(());
    }
    println!("{}", machine.describe());
    println!(
        "{:<38}{:<10}{:>8}{:>5}{:>13}{:>10}{:>10}{:>12}{:>7}{:>8}{:>10}{:>14}",
        "rung", "rw", "bs", "qd", "IOPS", "p50 µs", "p99 µs", "busy ns/IO", "busy", "batch", "calls/IO", "client ns/IO"
    );
    for row in rows {
        let client = row.client_ns_per_io.map_or("-".to_owned(), |ns| format!("{ns:.1}"));
        let calls = row.calls_per_io.map_or("-".to_owned(), |calls| format!("{calls:.3}"));
        println!(
            "{:<38}{:<10}{:>8}{:>5}{:>13.0}{:>10.2}{:>10.2}{:>12.1}{:>6.0}%{:>8.1}{calls:>10}{client:>14}",
            row.rung,
            row.rw,
            row.bs,
            row.qd,
            row.iops,
            row.percentiles.p50_us,
            row.percentiles.p99_us,
            row.busy_ns_per_io,
            row.busy * 100.0,
            row.batch
        );
    }
    Ok(())
}
