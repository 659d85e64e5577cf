//! The poller that keeps I/Os in flight.

use bdev::{Bdev, Channel, DoneBatch, Io, Op, Status};
use primitives::{Buf, Tag};
use reactors::{Drained, Nanos, Poller, Pools, Progress, Turn};

use super::decide::Unit;
use crate::latency::{Latencies, Percentiles};
use crate::pattern::{Places, Rw};

/// What to keep in flight.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub rw: Rw,
    /// Of an I/O.
    pub bytes: usize,
    /// I/Os in flight.
    pub qd: usize,
    /// Borrow the device's memory.
    pub lend: bool,
    /// Decide a CDB for each I/O.
    pub scsi: bool,
}

/// Counts at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub at: Nanos,
    pub ios: u64,
    pub errors: u64,
    pub error: Option<Status>,
    /// Of turns that found work, in nanoseconds.
    pub busy_ns: u64,
    pub busy_turns: u64,
    pub percentiles: Percentiles,
}

/// A closed loop on one channel.
pub struct Load {
    channel: Box<dyn Channel>,
    batch: DoneBatch,
    source: Source,
    /// When the I/O of each slot was submitted.
    started: Box<[Nanos]>,
    /// Slots without an I/O.
    idle: Vec<u16>,
    latencies: Latencies,
    now: Nanos,
    /// The last turn found work.
    busy: bool,
    busy_ns: u64,
    busy_turns: u64,
    ios: u64,
    errors: u64,
    error: Option<Status>,
    ending: bool,
}

/// Makes I/Os.
struct Source {
    op: Op,
    places: Places,
    /// Of an I/O.
    blocks: u64,
    bytes: usize,
    lend: bool,
    /// Decides a CDB for each.
    unit: Option<Unit>,
}

impl Load {
    /// A load that begins at `now`: what is measured may begin before its first turn.
    pub fn new(plan: Plan, channel: Box<dyn Channel>, bdev: &dyn Bdev, now: Nanos) -> Result<Self, String> {
        let geometry = bdev.geometry();
        let most = bdev::limits::CHANNEL_DEPTH;
        let qd = u16::try_from(plan.qd).ok().filter(|qd| (1..=most).contains(&(*qd).into()));
        let qd = qd.ok_or(format!("--qd {} is not between 1 and {most}", plan.qd))?;
        let blocks = plan.bytes as u64 / u64::from(geometry.block_size);
        if geometry.blocks < blocks {
            return Err("the device is smaller than one I/O".to_owned());
        }
        let op = if plan.rw.is_read() { Op::Read } else { Op::Write };
        let unit = plan.scsi.then(|| Unit::new(bdev)).transpose()?;
        // CDBs of ten bytes reach so far.
        let reach = if plan.scsi { geometry.blocks.min(1 << 32) } else { geometry.blocks };
        let places = Places::new(plan.rw, reach / blocks);
        Ok(Self {
            channel,
            batch: DoneBatch::default(),
            source: Source { op, places, blocks, bytes: plan.bytes, lend: plan.lend, unit },
            started: vec![Nanos::ZERO; qd.into()].into(),
            idle: (0..qd).collect(),
            latencies: Latencies::default(),
            now,
            busy: false,
            busy_ns: 0,
            busy_turns: 0,
            ios: 0,
            errors: 0,
            error: None,
            ending: false,
        })
    }

    /// The measurement begins.
    pub fn begin(&mut self) -> Tally {
        self.latencies = Latencies::default();
        self.tally()
    }

    /// It is over; nothing is submitted any more.
    pub fn end(&mut self) -> Tally {
        self.ending = true;
        self.tally()
    }

    pub fn in_flight(&self) -> usize {
        self.channel.outstanding()
    }

    fn tally(&self) -> Tally {
        Tally {
            at: self.now,
            ios: self.ios,
            errors: self.errors,
            error: self.error,
            busy_ns: self.busy_ns,
            busy_turns: self.busy_turns,
            percentiles: self.latencies.percentiles(),
        }
    }

    fn reap(&mut self, pools: &mut Pools) {
        self.channel.reap(&mut self.batch);
        if self.source.op == Op::Write {
            // As whoever tells another of a write has to.
            primitives::settle_copies();
        }
        self.ios += self.batch.len() as u64;
        for done in self.batch.drain() {
            if done.status != Status::Ok {
                self.errors += 1;
                self.error = Some(done.status);
            }
            let slot = done.tag.index();
            self.latencies.record(self.now.get().saturating_sub(self.started[usize::from(slot)].get()));
            self.idle.push(slot);
            match done.data {
                Some(buf) if buf.is_lent() => self.channel.give_back(buf),
                Some(buf) => pools.give(buf),
                None => {}
            }
        }
    }

    fn submit(&mut self, pools: &mut Pools) {
        while let Some(&slot) = self.idle.last() {
            let Some(io) = self.source.next(slot, &mut *self.channel, pools) else { break };
            if let Err(io) = self.channel.submit(io) {
                give(io.data, &mut *self.channel, pools);
                break;
            }
            self.idle.pop();
            self.started[usize::from(slot)] = self.now;
        }
        self.channel.kick();
    }
}

fn give(data: Option<Buf>, channel: &mut dyn Channel, pools: &mut Pools) {
    match data {
        Some(buf) if buf.is_lent() => channel.give_back(buf),
        Some(buf) => pools.give(buf),
        None => {}
    }
}

impl Source {
    #[inline]
    fn next(&mut self, slot: u16, channel: &mut dyn Channel, pools: &mut Pools) -> Option<Io> {
        let (mut lba, mut blocks) = (self.places.next() * self.blocks, self.blocks);
        if let Some(unit) = &mut self.unit {
            (lba, blocks) = unit.decide(self.op, lba, blocks)?;
        }
        let buf = if self.lend {
            channel.lend(self.op, lba, blocks)?
        } else {
            let mut buf = pools.take(self.bytes)?;
            buf.set_len(if self.op == Op::Write { self.bytes } else { 0 });
            buf
        };
        Some(Io { tag: Tag::new(0, 0, slot, 0), op: self.op, fua: false, lba, blocks, data: Some(buf) })
    }
}

impl Poller for Load {
    fn poll(&mut self, turn: &mut Turn<'_>) -> Progress {
        if self.busy {
            self.busy_ns += turn.now.get() - self.now.get();
            self.busy_turns += 1;
        }
        self.now = turn.now;
        let before = self.ios;
        self.reap(turn.pools);
        self.busy = self.ios > before;
        // Only what came back leaves room, except at the beginning.
        if !self.idle.is_empty() && !self.ending {
            self.submit(turn.pools);
        }
        Progress::from_bool(self.busy)
    }

    fn name(&self) -> &'static str {
        "load"
    }

    fn drain(&mut self) -> Drained {
        self.ending = true;
        if self.in_flight() == 0 { Drained::Done } else { Drained::Busy }
    }
}
