//! One connection of a benchmark: its session, its buffers, and what it does next.

use std::time::Instant;

use primitives::IndexQueue;

use super::options::Options;
use super::region::{Random, Region};
use super::tally::Tally;
use super::verify::{Ledger, check, stamp};
use super::{Miscompare, PerfError};
use crate::arena::Arena;
use crate::cdb;
use crate::error::Error;
use crate::session::{Command, Completion, Event, Session};
use crate::transport::Data;

/// The part of the logical unit one connection works on, in units of one I/O.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub first_unit: u64,
    pub units: u64,
    pub blocks_per_unit: u32,
    pub block_bytes: usize,
}

/// An I/O under way.
#[derive(Clone, Copy, Default, Debug)]
struct Pending {
    started_ns: u64,
    unit: u64,
    /// Of a verified write.
    sequence: u32,
    is_read: bool,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub session: Session,
    lun: [u8; 8],
    arena: Arena,
    part: Part,
    region: Region,
    random: Random,
    ledger: Option<Ledger>,
    stamp_seed: u32,
    read_percent: u64,
    io_bytes: usize,
    pending: Box<[Pending]>,
    free: IndexQueue,
}

impl Worker {
    /// A connection that works on `part` with buffers of its own.
    ///
    /// # Errors
    /// The session does not take the buffers.
    pub fn new(mut session: Session, options: &Options, part: Part, index: u32) -> Result<Self, Error> {
        let depth = options.queue_depth as usize;
        let mut random = Random::new(options.seed ^ (u64::from(index) << 32));
        let mut free = IndexQueue::new(depth);
        for slot in 0..options.queue_depth {
            // There is a place for each.
            let _ = free.push(slot);
        }
        let arena = filled_arena(depth, options.block_bytes as usize, &mut random);
        session.register(&arena)?;
        Ok(Self {
            session,
            lun: options.url.lun_field(),
            arena,
            region: Region::new(part.units, options.pattern),
            ledger: options.verify.then(|| Ledger::new(part.units as usize)),
            stamp_seed: options.seed as u32 ^ index.rotate_left(16),
            read_percent: options.rw.read_percent().into(),
            io_bytes: options.block_bytes as usize,
            pending: vec![Pending::default(); depth].into_boxed_slice(),
            part,
            random,
            free,
        })
    }

    /// An I/O can be issued now.
    pub fn can_issue(&self) -> bool {
        !self.free.is_empty() && self.session.can_submit()
    }

    /// No I/O is under way.
    pub fn is_idle(&self) -> bool {
        self.free.len() == self.pending.len()
    }

    /// Issues an I/O that was due at `started_ns`. Only after [`Self::can_issue`].
    pub fn issue(&mut self, started_ns: u64, now: Instant) {
        let is_read = self.read_percent == 100 || (self.read_percent > 0 && self.random.below(100) < self.read_percent);
        let mut unit = self.region.next(&mut self.random);
        if let Some(ledger) = &mut self.ledger {
            let Some(taken) = ledger.take(unit) else { return };
            unit = taken;
        }
        let (Some(slot), Some(mut buf)) = (self.free.pop(), self.arena.take()) else { return };
        let lba = self.lba(unit);
        let mut sequence = 0;
        let data = if is_read {
            Data::Read { buf, len: self.io_bytes as u32 }
        } else {
            buf.set_len(self.io_bytes);
            if let Some(ledger) = &mut self.ledger {
                sequence = ledger.sequence();
                let bytes = &mut buf.storage()[..self.io_bytes];
                stamp(bytes, self.part.block_bytes, self.stamp_seed, sequence, lba);
            }
            Data::Write { buf }
        };
        let blocks = self.part.blocks_per_unit;
        let cdb = if is_read { cdb::read(lba, blocks) } else { cdb::write(lba, blocks) };
        self.pending[slot as usize] = Pending { started_ns, unit, sequence, is_read };
        let command = Command { lun: self.lun, cdb, data, user: slot.into() };
        if let Err(refused) = self.session.submit(command, now) {
            debug_assert!(false, "refused after can_submit: {:?}", refused.why);
            if let Some(buf) = refused.command.data.into_buf() {
                self.arena.give(buf);
            }
            self.give_back(slot, None);
        }
    }

    /// Takes what the session reports.
    pub fn take(&mut self, event: Event, now_ns: u64, tally: &mut Tally) -> Result<(), PerfError> {
        match event {
            Event::Completed(completion) => self.complete(completion, now_ns, tally),
            Event::Failed(error) => Err(error.into()),
            Event::Rejected { reason, .. } => {
                tally.error(|| format!("the target rejected a PDU (reason {reason:#04x})"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn complete(&mut self, done: Completion, now_ns: u64, tally: &mut Tally) -> Result<(), PerfError> {
        let slot = done.user as u32;
        let io = self.pending[slot as usize];
        let moved = done.buf.as_ref().map_or(0, |buf| buf.len());
        let good = done.outcome.is_good() && moved == self.io_bytes;
        let mut verdict = Ok(());
        if good {
            tally.record(io.is_read, now_ns.saturating_sub(io.started_ns), now_ns);
            if io.is_read
                && let Some(buf) = &done.buf
            {
                verdict = self.verify(io, buf.filled(), tally);
            }
        } else {
            let lba = self.lba(io.unit);
            let verb = if io.is_read { "read" } else { "write" };
            let outcome = done.outcome;
            tally.error(|| format!("{verb} of LBA {lba}: {outcome}, {moved} of {} bytes", self.io_bytes));
        }
        if let Some(buf) = done.buf {
            self.arena.give(buf);
        }
        self.give_back(slot, good.then_some(io.sequence));
        verdict.map_err(PerfError::Miscompare)
    }

    fn verify(&self, io: Pending, data: &[u8], tally: &mut Tally) -> Result<(), Miscompare> {
        let Some(sequence) = self.ledger.as_ref().and_then(|ledger| ledger.last(io.unit)) else { return Ok(()) };
        tally.verified_blocks += u64::from(self.part.blocks_per_unit);
        check(data, self.part.block_bytes, self.stamp_seed, sequence, self.lba(io.unit))
    }

    /// Frees a slot and its unit; `written` is what a successful write has left there.
    fn give_back(&mut self, slot: u32, written: Option<u32>) {
        let io = self.pending[slot as usize];
        if let Some(ledger) = &mut self.ledger {
            if io.is_read { ledger.release(io.unit) } else { ledger.written(io.unit, written) }
        }
        let pushed = self.free.push(slot);
        debug_assert!(pushed.is_ok(), "slot {slot} was free already");
    }

    fn lba(&self, unit: u64) -> u64 {
        (self.part.first_unit + unit) * u64::from(self.part.blocks_per_unit)
    }
}

/// Buffers full of random bytes: what is written must neither compress nor be found again.
fn filled_arena(count: usize, bytes: usize, random: &mut Random) -> Arena {
    let mut arena = Arena::new(count, bytes);
    let mut all = Vec::with_capacity(count);
    while let Some(mut buf) = arena.take() {
        for word in buf.storage().chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_ne_bytes());
        }
        all.push(buf);
    }
    while let Some(buf) = all.pop() {
        arena.give(buf);
    }
    arena
}
