//! Plain per-core counters, read by the control plane through a job on the core.

use crate::wire::Wire;

/// What one core's connections did.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoreStats {
    /// SCSI commands received.
    pub commands: u64,
    /// Reads answered with good status.
    pub reads: u64,
    /// Writes answered with good status.
    pub writes: u64,
    /// Other commands answered with good status.
    pub others: u64,
    /// Commands answered with anything but good status.
    pub failed: u64,
    /// Commands refused with TASK SET FULL.
    pub task_set_full: u64,
    /// Tasks aborted.
    pub aborted: u64,
    /// Task management requests.
    pub task_management: u64,
    /// PDUs rejected.
    pub rejects: u64,
    /// Data bytes from initiators.
    pub bytes_in: u64,
    /// Data bytes to initiators.
    pub bytes_out: u64,
    /// Operations for which the device lent its memory.
    pub lent: u64,
    /// Times a task waited for a buffer.
    pub buffer_waits: u64,
    /// Times a task waited for room in a device.
    pub device_waits: u64,
    /// Times a task waited for room in a transmit queue.
    pub transmit_waits: u64,
    /// Calls to receive, and to send.
    pub receive_calls: u64,
    /// See `receive_calls`.
    pub send_calls: u64,
    /// Payload bytes the kernel wrote straight to where they belong, or took from where they lay.
    pub bytes_direct: u64,
    /// Payload bytes copied once by the datamover.
    pub bytes_copied: u64,
    /// Work requests, doorbells and bytes of the core's RDMA devices.
    pub rdma: rdma::Counters,
    /// Connections accepted on this core.
    pub accepted: u64,
    /// Logins that reached full-feature phase.
    pub logins: u64,
    /// Logins refused or cut off.
    pub login_failures: u64,
    /// Connections that ended with a panic caught at their boundary.
    pub panics: u64,
    /// Latency from command to response of reads, by power of two nanoseconds.
    pub read_latency: Latency,
    /// The same of writes.
    pub write_latency: Latency,
    ended: Ended,
}

/// Tasks answered in this turn whose latency is still to be recorded: most begin and end within one turn, so the
/// turn's own time would show nothing. They are recorded with a second reading of the clock when the turn is over.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    tasks: [(bool, u64); ENDED],
    len: usize,
}

/// Room in [`Ended`]; what does not fit goes unrecorded into the latency histograms, not into the counts.
const ENDED: usize = 256;

impl Default for Ended {
    fn default() -> Self {
        Self { tasks: [(false, 0); ENDED], len: 0 }
    }
}

/// A histogram with one bucket per power of two.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Bucket `n` counts values below 2ⁿ that no smaller bucket does.
    pub buckets: [u64; 64],
    /// Sum of all values in nanoseconds.
    pub sum: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: [0; 64], sum: 0 }
    }
}

impl Latency {
    /// Counts a value in nanoseconds.
    pub fn record(&mut self, nanos: u64) {
        let bucket = (64 - nanos.leading_zeros()).min(63);
        self.buckets[bucket as usize] += 1;
        self.sum = self.sum.saturating_add(nanos);
    }

    /// Values counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds another histogram's counts.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(a, b)| *a += b);
        self.sum = self.sum.saturating_add(other.sum);
    }
}

impl CoreStats {
    /// Adds what a connection's datamover counted. What RDMA moves is counted by its device.
    pub(crate) fn add_transport(&mut self, wire: &Wire) {
        let Wire::Tcp(tcp) = wire else { return };
        let transport = tcp.stats();
        self.receive_calls += transport.received.calls;
        self.send_calls += transport.sent.calls;
        self.bytes_direct += transport.received.direct + transport.sent.direct;
        self.bytes_copied += transport.received.copied + transport.sent.copied;
    }

    /// A task that began at `began` was answered.
    pub fn task_ended(&mut self, reads: Option<bool>, good: bool, began: u64) {
        let counter = match (good, reads) {
            (false, _) => &mut self.failed,
            (true, Some(true)) => &mut self.reads,
            (true, Some(false)) => &mut self.writes,
            (true, None) => &mut self.others,
        };
        *counter += 1;
        if let (Some(reads), Some(place)) = (reads, self.ended.tasks.get_mut(self.ended.len)) {
            *place = (reads, began);
            self.ended.len += 1;
        }
    }

    /// Tasks were answered since the last [`CoreStats::settle`].
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.ended.len > 0
    }

    /// Records the latencies of this turn's tasks, whose answers were sent at `now`.
    pub fn settle(&mut self, now: u64) {
        for (reads, began) in &self.ended.tasks[..self.ended.len] {
            let latency = if *reads { &mut self.read_latency } else { &mut self.write_latency };
            latency.record(now.saturating_sub(*began));
        }
        self.ended.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_of_one_turn_are_recorded_when_it_is_over() {
        let mut stats = CoreStats::default();
        stats.task_ended(Some(true), true, 100);
        stats.task_ended(Some(false), false, 90);
        stats.task_ended(None, true, 90);
        assert!(stats.is_unsettled());
        stats.settle(110);
        assert!(!stats.is_unsettled());
        assert_eq!((stats.read_latency.sum, stats.write_latency.sum), (10, 20));
        assert_eq!((stats.reads, stats.writes, stats.others, stats.failed), (1, 0, 1, 1));
        for _ in 0..=ENDED {
            stats.task_ended(Some(true), true, 0);
        }
        stats.settle(1);
        assert_eq!((stats.reads, stats.read_latency.count()), (2 + ENDED as u64, 1 + ENDED as u64));
    }

    #[test]
    fn latencies_fall_into_powers_of_two() {
        let mut latency = Latency::default();
        for nanos in [0, 1, 2, 3, 1023, 1024, u64::MAX] {
            latency.record(nanos);
        }
        assert_eq!((latency.buckets[0], latency.buckets[1], latency.buckets[2]), (1, 1, 2));
        assert_eq!((latency.buckets[10], latency.buckets[11], latency.buckets[63]), (1, 1, 1));
        assert_eq!(latency.count(), 7);
    }
}
