//! `Counted`: what every channel opened through the registry is wrapped in.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use primitives::{Buf, Tag};
use reactors::{Nanos, Spawner};

use super::{Counters, DeviceStats};
use crate::channel::{AbortOutcome, Channel, DoneBatch};
use crate::fifo::Fifo;
use crate::io::{Done, Io, Op, Status};
use crate::limits;
use crate::registry::Lifeline;
use crate::track::Tracker;

/// Counts operations, and refuses new ones once the device is being removed.
pub(crate) struct Counted {
    below: Box<dyn Channel>,
    /// Tells the time of the turn, for nothing.
    clock: Spawner,
    block_size: u32,
    lifeline: Arc<Lifeline>,
    counters: Arc<Counters>,
    tracker: Tracker<Started>,
    refused: Fifo<Done>,
    /// The reset of extremes this channel has seen.
    extremes: u32,
}

/// What is known of an operation under way.
#[derive(Debug)]
struct Started {
    op: Op,
    at: Nanos,
    blocks: u64,
}

impl Counted {
    pub fn new(below: Box<dyn Channel>, clock: Spawner, block_size: u32, lifeline: Arc<Lifeline>) -> Self {
        let counters = lifeline.stats.opened();
        let extremes = lifeline.stats.extremes.load(Ordering::Relaxed);
        let refused = Fifo::new(limits::CHANNEL_DEPTH);
        Self { below, clock, block_size, lifeline, counters, tracker: Tracker::new(), refused, extremes }
    }

    fn stats(&self) -> &DeviceStats {
        &self.lifeline.stats
    }

    fn follow_reset(&mut self) {
        let extremes = self.stats().extremes.load(Ordering::Relaxed);
        if extremes != self.extremes {
            self.extremes = extremes;
            self.counters.ops.iter().for_each(super::OpCounters::forget_extremes);
        }
    }

    fn set_in_flight(&self) {
        self.counters.in_flight.store(self.outstanding() as u64, Ordering::Relaxed);
    }
}

impl Channel for Counted {
    fn submit(&mut self, io: Io) -> Result<(), Io> {
        // Lent memory goes home in any case; what it was lent for has happened.
        if self.lifeline.is_removed() && !io.is_lent() {
            if self.outstanding() >= limits::CHANNEL_DEPTH {
                return Err(io);
            }
            // Room was just seen.
            let _ = self.refused.push(io.done(Status::Removed, self.block_size));
            return Ok(());
        }
        let started = Started { op: io.op, at: self.clock.now(), blocks: io.blocks };
        self.tracker.submit(&mut *self.below, io, started)
    }

    fn kick(&mut self) {
        self.set_in_flight();
        self.below.kick();
    }

    fn reap(&mut self, done: &mut DoneBatch) {
        self.refused.reap(done);
        let start = done.len();
        self.below.reap(done);
        if done.len() == start {
            return;
        }
        self.follow_reset();
        let (now, histogram) = (self.clock.now(), self.stats().histogram.load(Ordering::Relaxed));
        for done in done.since(start) {
            let Some((tag, started)) = self.tracker.leave(done.tag) else { continue };
            done.tag = tag;
            let Started { op, at, blocks } = started;
            let latency = now.get().saturating_sub(at.get());
            let bytes = blocks.saturating_mul(self.block_size.into());
            self.counters.ops[op as usize].count(done.status, bytes, latency);
            if histogram {
                let reads = op == Op::Read;
                let latencies = if reads { &self.counters.read_latencies } else { &self.counters.write_latencies };
                latencies.record(latency);
            }
        }
        self.set_in_flight();
    }

    fn abort(&mut self, tag: Tag) -> AbortOutcome {
        match self.tracker.find(tag) {
            Some((own, _)) => self.below.abort(own),
            None => AbortOutcome::held(self.refused.iter().any(|done| done.tag == tag)),
        }
    }

    fn lend(&mut self, op: Op, lba: u64, blocks: u64) -> Option<Buf> {
        if self.lifeline.is_removed() { None } else { self.below.lend(op, lba, blocks) }
    }

    fn give_back(&mut self, buf: Buf) {
        self.below.give_back(buf);
    }

    fn outstanding(&self) -> usize {
        self.tracker.len() + self.refused.len()
    }

    fn wake_fd(&self) -> Option<RawFd> {
        self.below.wake_fd()
    }

    fn arm(&mut self) -> bool {
        self.refused.is_empty() && self.below.arm()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.stats().closed(&self.counters);
    }
}
