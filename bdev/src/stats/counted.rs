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
use crate::qos::Gate;
use crate::registry::Lifeline;
use crate::track::Tracker;

mod special;

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
    /// Where operations wait while the device is under a rate limit.
    gate: Option<Box<Gate>>,
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
        Self { below, clock, block_size, lifeline, counters, tracker: Tracker::new(), refused, gate: None, extremes }
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

    /// Counts an operation that ended after `latency` nanoseconds.
    #[inline]
    fn record(&self, op: Op, blocks: u64, status: Status, latency: u64) {
        let bytes = blocks.saturating_mul(self.block_size.into());
        self.counters.ops[op as usize].count(status, bytes, latency);
        if self.stats().histogram.load(Ordering::Relaxed) {
            let reads = op == Op::Read;
            let latencies = if reads { &self.counters.read_latencies } else { &self.counters.write_latencies };
            latencies.record(latency);
        }
    }

    fn set_in_flight(&self) {
        self.counters.in_flight.store(self.outstanding() as u64, Ordering::Relaxed);
    }
}

impl Channel for Counted {
    fn submit(&mut self, io: Io) -> Result<(), Io> {
        if !self.lifeline.is_plain() {
            return self.submit_specially(io);
        }
        let started = Started { op: io.op, at: self.clock.now(), blocks: io.blocks };
        self.tracker.submit(&mut *self.below, io, started)
    }

    fn is_immediate(&self) -> bool {
        self.below.is_immediate()
    }

    fn run(&mut self, io: &mut Io) -> Option<Status> {
        if !self.lifeline.is_plain() || self.gate.is_some() {
            return None;
        }
        let status = self.below.run(io)?;
        self.follow_reset();
        self.record(io.op, io.blocks, status, 0);
        Some(status)
    }

    fn kick(&mut self) {
        self.set_in_flight();
        self.below.kick();
    }

    fn reap(&mut self, done: &mut DoneBatch) {
        self.refused.reap(done);
        let start = done.len();
        if self.gate.is_some() {
            self.turn_gate(done);
        }
        self.below.reap(done);
        if done.len() == start {
            return;
        }
        self.follow_reset();
        let now = self.clock.now();
        for done in done.since(start) {
            let Some((tag, started)) = self.tracker.leave(done.tag) else { continue };
            done.tag = tag;
            let Started { op, at, blocks } = started;
            let latency = now.get().saturating_sub(at.get());
            self.record(op, blocks, done.status, latency);
        }
        self.set_in_flight();
    }

    fn abort(&mut self, tag: Tag) -> AbortOutcome {
        match self.tracker.find(tag).map(|(own, _)| own) {
            Some(own) if self.abort_in_gate(own) => AbortOutcome::WillComplete,
            Some(own) => self.below.abort(own),
            None => AbortOutcome::held(self.refused.iter().any(|done| done.tag == tag)),
        }
    }

    fn lend(&mut self, op: Op, lba: u64, blocks: u64) -> Option<Buf> {
        if self.lifeline.is_removed() { None } else { self.below.lend(op, lba, blocks) }
    }

    fn read_in_place(&mut self, lba: u64, blocks: u64) -> Option<Buf> {
        if !self.lifeline.is_plain() || self.gate.is_some() {
            return None;
        }
        let buf = self.below.read_in_place(lba, blocks)?;
        self.follow_reset();
        self.record(Op::Read, blocks, Status::Ok, 0);
        Some(buf)
    }

    fn give_back(&mut self, buf: Buf) {
        self.below.give_back(buf);
    }

    fn outstanding(&self) -> usize {
        self.tracker.len() + self.refused.len()
    }

    fn wake_fd(&self) -> Option<RawFd> {
        match &self.gate {
            Some(gate) => gate.wake_fd(&*self.below),
            None => self.below.wake_fd(),
        }
    }

    fn arm(&mut self) -> bool {
        self.refused.is_empty() && if self.gate.is_some() { self.arm_gate() } else { self.below.arm() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.stats().closed(&self.counters);
    }
}
