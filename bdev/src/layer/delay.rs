//! `delay`: a device that answers later than the one below, as SPDK's delay bdev does.
//!
//! Reads and writes each have an average latency and a 99th percentile: one operation in a hundred takes the latter.
//! Operations go down at once; it is their completion that waits. Time is the reactor's, read once a turn.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use primitives::{Buf, Tag};
use reactors::{Core, Nanos, Spawner};

use crate::channel::{AbortOutcome, Channel, DoneBatch};
use crate::device::{Bdev, Features, Geometry, OpenError};
use crate::fifo::Fifo;
use crate::io::{Done, Io, Op};
use crate::limits;
use crate::shape::{CreateError, Identity};
use crate::track::Tracker;

/// A latency that can be set, named as the RPC names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LatencyType {
    /// Most reads.
    AvgRead,
    /// One read in a hundred.
    P99Read,
    /// Most writes, and everything else but reads.
    AvgWrite,
    /// One write in a hundred.
    P99Write,
}

impl LatencyType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AvgRead, Self::P99Read, Self::AvgWrite, Self::P99Write];

    /// The parameter that sets it at creation.
    #[must_use]
    pub const fn field(self) -> &'static str {
        ["avg_read_latency", "p99_read_latency", "avg_write_latency", "p99_write_latency"][self as usize]
    }
}

/// What a delay device is made of.
#[derive(Clone, Debug, Default)]
pub struct DelayParams {
    /// Unique name.
    pub name: String,
    /// Drawn at random if not given.
    pub uuid: Option<[u8; 16]>,
    /// Microseconds, in the order of [`LatencyType::ALL`].
    pub latency_us: [u64; 4],
}

/// The shared side of a delay device.
#[derive(Debug)]
pub struct Delay {
    id: Identity,
    base: Arc<dyn Bdev>,
    latencies: Arc<Latencies>,
}

/// In nanoseconds, in the order of [`LatencyType::ALL`].
#[derive(Debug, Default)]
struct Latencies([AtomicU64; 4]);

impl Latencies {
    fn get(&self, latency: LatencyType) -> Duration {
        Duration::from_nanos(self.0[latency as usize].load(Ordering::Relaxed))
    }
}

impl Delay {
    /// Puts a delay on top of `base`.
    ///
    /// # Errors
    /// When a parameter is not acceptable.
    pub fn create(params: &DelayParams, base: Arc<dyn Bdev>) -> Result<Arc<Self>, CreateError> {
        let id = Identity::new(&params.name, params.uuid)?;
        let delay = Self { id, base, latencies: Arc::default() };
        for (latency, us) in LatencyType::ALL.into_iter().zip(params.latency_us) {
            delay.set_latency(latency, us)?;
        }
        Ok(Arc::new(delay))
    }

    /// Changes a latency, for operations that complete from now on.
    ///
    /// # Errors
    /// When it is too long.
    pub fn set_latency(&self, latency: LatencyType, us: u64) -> Result<(), CreateError> {
        if us > limits::DELAY_US {
            let expected = format!("at most {} microseconds", limits::DELAY_US);
            return Err(CreateError::invalid(latency.field(), us, expected));
        }
        self.latencies.0[latency as usize].store(us * 1000, Ordering::Relaxed);
        Ok(())
    }

    /// The latency, in microseconds.
    #[must_use]
    pub fn latency_us(&self, latency: LatencyType) -> u64 {
        self.latencies.0[latency as usize].load(Ordering::Relaxed) / 1000
    }

    /// The device below.
    #[must_use]
    pub fn base(&self) -> &Arc<dyn Bdev> {
        &self.base
    }
}

impl Bdev for Delay {
    fn name(&self) -> &str {
        &self.id.name
    }

    fn product(&self) -> &'static str {
        "delay"
    }

    fn uuid(&self) -> [u8; 16] {
        self.id.uuid
    }

    fn geometry(&self) -> Geometry {
        self.base.geometry()
    }

    fn features(&self) -> Features {
        self.base.features()
    }

    fn open(&self, core: &mut Core) -> Result<Box<dyn Channel>, OpenError> {
        let below = self.base.open(core)?;
        Ok(Box::new(DelayChannel::new(below, core.spawner().clone(), self.latencies.clone())))
    }
}

/// A completion that waits until `due`.
#[derive(Debug)]
struct Waiting {
    due: Nanos,
    done: Done,
}

struct DelayChannel {
    below: Box<dyn Channel>,
    clock: Spawner,
    latencies: Arc<Latencies>,
    tracker: Tracker<Op>,
    /// One queue for each latency: within it, the first in is the first due.
    waiting: [Fifo<Waiting>; 4],
    reads: u64,
    writes: u64,
}

impl DelayChannel {
    fn new(below: Box<dyn Channel>, clock: Spawner, latencies: Arc<Latencies>) -> Self {
        let waiting = std::array::from_fn(|_| Fifo::new(limits::CHANNEL_DEPTH));
        Self { below, clock, latencies, tracker: Tracker::new(), waiting, reads: 0, writes: 0 }
    }

    /// Which latency the next completion of this kind has: every hundredth the long one.
    fn next_latency(&mut self, op: Op) -> LatencyType {
        let (count, usual, rare) = match op {
            Op::Read => (&mut self.reads, LatencyType::AvgRead, LatencyType::P99Read),
            _ => (&mut self.writes, LatencyType::AvgWrite, LatencyType::P99Write),
        };
        *count += 1;
        if count.is_multiple_of(100) { rare } else { usual }
    }

    fn hold(&mut self, mut done: Done, now: Nanos) {
        let Some((tag, op)) = self.tracker.leave(done.tag) else { return };
        done.tag = tag;
        let latency = self.next_latency(op);
        let due = now.plus(self.latencies.get(latency));
        // Each queue has room for all operations there may be, see `submit`.
        let _ = self.waiting[latency as usize].push(Waiting { due, done });
    }

    fn held(&self) -> usize {
        self.waiting.iter().map(Fifo::len).sum()
    }
}

impl Channel for DelayChannel {
    fn submit(&mut self, io: Io) -> Result<(), Io> {
        if self.outstanding() >= limits::CHANNEL_DEPTH {
            return Err(io);
        }
        let op = io.op;
        self.tracker.submit(&mut *self.below, io, op)
    }

    fn kick(&mut self) {
        self.below.kick();
    }

    fn reap(&mut self, done: &mut DoneBatch) {
        let now = self.clock.now();
        let mut batch = DoneBatch::default();
        self.below.reap(&mut batch);
        batch.drain().for_each(|done| self.hold(done, now));
        for queue in &mut self.waiting {
            while done.room() > 0
                && queue.front_mut().is_some_and(|waiting| waiting.due <= now)
                && let Some(waiting) = queue.pop()
            {
                // Room was just seen.
                let _ = done.push(waiting.done);
            }
        }
    }

    fn abort(&mut self, tag: Tag) -> AbortOutcome {
        for queue in &mut self.waiting {
            if let Some(waiting) = queue.take(|waiting| waiting.done.tag == tag) {
                // It took effect below; only the wait is cut short.
                queue.put_back(Waiting { due: Nanos::ZERO, ..waiting });
                return AbortOutcome::WillComplete;
            }
        }
        self.tracker.find(tag).map_or(AbortOutcome::Unknown, |(own, _)| self.below.abort(own))
    }

    fn lend(&mut self, op: Op, lba: u64, blocks: u64) -> Option<Buf> {
        self.below.lend(op, lba, blocks)
    }

    fn give_back(&mut self, buf: Buf) {
        self.below.give_back(buf);
    }

    fn outstanding(&self) -> usize {
        self.tracker.len() + self.held()
    }

    fn wake_fd(&self) -> Option<RawFd> {
        self.below.wake_fd()
    }

    fn arm(&mut self) -> bool {
        // No descriptor tells that time has passed.
        self.held() == 0 && self.below.arm()
    }
}

#[cfg(test)]
mod tests;
