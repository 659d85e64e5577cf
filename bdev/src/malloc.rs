//! `malloc`: a RAM disk in DMA-able memory.
//!
//! Every core has a channel of its own on the same memory. A datamover that takes the memory itself
//! ([`Channel::lend`]) moves data without a copy; everybody else pays one. Concurrent accesses to one block from two
//! cores may see a mix of both, as with any memory.

use std::sync::Arc;

use primitives::{Buf, Tag};
use reactors::{Arena, Core};

use crate::channel::{AbortOutcome, Channel, DoneBatch};
use crate::check::{Extent, check, extent};
use crate::device::{Bdev, Features, Geometry, OpenError};
use crate::fifo::Fifo;
use crate::io::{Done, Io, Op, Status};
use crate::limits;
use crate::shape::{self, CreateError, Identity};

pub(crate) mod store;

use store::{Lender, Store};

/// What a RAM disk is made of.
#[derive(Clone, Debug, Default)]
pub struct MallocParams {
    /// Unique name.
    pub name: String,
    /// 512 or 4096 bytes.
    pub block_size: u32,
    /// Capacity in blocks; the memory is taken in full at once.
    pub num_blocks: u64,
    /// Drawn at random if not given.
    pub uuid: Option<[u8; 16]>,
    /// Bytes; the block size if not given.
    pub physical_block_size: Option<u32>,
    /// Blocks that a transfer should be a multiple of and aligned to; 0 if it does not matter.
    pub optimal_io_boundary: u32,
}

/// The shared side of a RAM disk.
#[derive(Debug)]
pub struct Malloc {
    id: Identity,
    geometry: Geometry,
    store: Arc<Store>,
}

const FEATURES: Features =
    Features { write: true, flush: true, fua: true, unmap: true, write_zeroes: true, lend: true, per_core: true };

impl Malloc {
    /// Makes a RAM disk full of zeroes in memory of `arena`.
    ///
    /// # Errors
    /// When a parameter is not acceptable or there is not enough memory.
    pub fn create(params: &MallocParams, arena: &Arena) -> Result<Arc<Self>, CreateError> {
        let id = Identity::new(&params.name, params.uuid)?;
        shape::check_block_size(params.block_size)?;
        let bytes = shape::check_size(params.num_blocks, params.block_size)?;
        let geometry = Geometry {
            block_size: params.block_size,
            blocks: params.num_blocks,
            physical_block_size: shape::check_physical(params.physical_block_size, params.block_size)?,
            optimal_io_blocks: params.optimal_io_boundary,
            unmap_granularity: 1,
            unmap_reads_zeroes: true,
            write_cache: false,
            read_only: false,
            rotational: false,
        };
        let no_memory = |reason: String| CreateError::NoMemory { field: "num_blocks", bytes, reason };
        let size = usize::try_from(bytes).map_err(|e| no_memory(e.to_string()))?;
        let region = arena.region(size).map_err(|e| no_memory(e.to_string()))?;
        Ok(Arc::new(Self { id, geometry, store: Arc::new(Store::new(region, bytes)) }))
    }
}

impl Bdev for Malloc {
    fn name(&self) -> &str {
        &self.id.name
    }

    fn product(&self) -> &'static str {
        "Malloc disk"
    }

    fn uuid(&self) -> [u8; 16] {
        self.id.uuid
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn features(&self) -> Features {
        FEATURES
    }

    fn open(&self, _core: &mut Core) -> Result<Box<dyn Channel>, OpenError> {
        Ok(Box::new(MallocChannel::new(self.geometry, self.store.clone())))
    }
}

/// An operation that waits for its turn to touch memory.
#[derive(Debug)]
struct Job {
    io: Io,
    extent: Extent,
    /// Bytes done.
    moved: u64,
}

#[derive(Debug)]
struct MallocChannel {
    geometry: Geometry,
    memory: Lender,
    copies: Fifo<Job>,
    /// Unmaps and write-zeroes: apart from the copies, as one of them may take many turns.
    zeroings: Fifo<Job>,
    finished: Fifo<Done>,
}

impl MallocChannel {
    fn new(geometry: Geometry, store: Arc<Store>) -> Self {
        let fifo = limits::CHANNEL_DEPTH;
        let (copies, zeroings, finished) = (Fifo::new(fifo), Fifo::new(fifo), Fifo::new(fifo));
        Self { geometry, memory: Lender::new(store), copies, zeroings, finished }
    }

    /// What an operation has to move; `Err` with its status if that is nothing.
    fn judge(&self, io: &Io) -> Result<Extent, Status> {
        let extent = check(io, &self.geometry, FEATURES)?;
        let lent = io.data.as_ref().filter(|data| data.is_lent());
        match lent {
            // Already where it belongs; but only if it is what was lent for just these blocks.
            Some(data) if self.memory.store().is_lent(extent, data) => Err(Status::Ok),
            Some(_) => Err(Status::Failed(libc::EINVAL)),
            None if io.op == Op::Flush => Err(Status::Ok),
            None => Ok(extent),
        }
    }

    /// Queues an operation for its share of the next reaps, or finishes it if there is nothing to move.
    fn accept(&mut self, io: Io) {
        // Each queue has room for all operations there may be, see `submit`.
        match self.judge(&io) {
            Err(status) => drop(self.finished.push(io.done(status, self.geometry.block_size))),
            Ok(extent) => {
                let zeroing = matches!(io.op, Op::Unmap | Op::WriteZeroes);
                let queue = if zeroing { &mut self.zeroings } else { &mut self.copies };
                drop(queue.push(Job { io, extent, moved: 0 }));
            }
        }
    }

    /// Works on one queue, within the bounds of one reap.
    fn work(queue: &mut Fifo<Job>, store: &Store, block_size: u32, done: &mut DoneBatch) {
        let mut budget = limits::MALLOC_BYTES_PER_REAP;
        while done.room() > 0
            && budget > 0
            && let Some(job) = queue.front_mut()
        {
            budget -= job.step(store, budget);
            if job.moved == job.extent.bytes
                && let Some(job) = queue.pop()
            {
                // Room was just seen.
                let _ = done.push(job.io.done(Status::Ok, block_size));
            }
        }
    }
}

impl Job {
    /// Moves at most `budget` bytes; returns how many.
    fn step(&mut self, store: &Store, budget: u64) -> u64 {
        let bytes = (self.extent.bytes - self.moved).min(budget);
        let part = Extent { offset: self.extent.offset + self.moved, bytes };
        step(&mut self.io, store, part, self.moved);
        self.moved += bytes;
        bytes
    }
}

/// Moves one part of an operation's data, which begins at byte `at` of its buffer.
fn step(io: &mut Io, store: &Store, part: Extent, at: u64) {
    match (io.op, &mut io.data) {
        (Op::Read, Some(data)) => store.read(part, data, at),
        (Op::Write, Some(data)) => store.write(part, data, at),
        _ => store.zero(part),
    }
}

const _: () = assert!(limits::MALLOC_BYTES_PER_REAP.is_multiple_of(4096), "a block is never torn between two reaps");

impl Channel for MallocChannel {
    fn submit(&mut self, io: Io) -> Result<(), Io> {
        if self.outstanding() >= limits::CHANNEL_DEPTH {
            return Err(io);
        }
        self.accept(io);
        Ok(())
    }

    fn is_immediate(&self) -> bool {
        true
    }

    fn run(&mut self, io: &mut Io) -> Option<Status> {
        if !matches!(io.op, Op::Read | Op::Write) {
            return None;
        }
        let status = match self.judge(io) {
            Err(status) => status,
            // What takes long takes turns with the others.
            Ok(extent) if extent.bytes > limits::MALLOC_BYTES_AT_ONCE || !self.copies.is_empty() => return None,
            Ok(extent) => {
                step(io, self.memory.store(), extent, 0);
                Status::Ok
            }
        };
        io.finish(status, self.geometry.block_size);
        Some(status)
    }

    fn kick(&mut self) {}

    fn reap(&mut self, done: &mut DoneBatch) {
        self.finished.reap(done);
        Self::work(&mut self.copies, self.memory.store(), self.geometry.block_size, done);
        Self::work(&mut self.zeroings, self.memory.store(), self.geometry.block_size, done);
    }

    fn abort(&mut self, tag: Tag) -> AbortOutcome {
        let matches = |job: &Job| job.io.tag == tag;
        if let Some(job) = self.copies.take(matches).or_else(|| self.zeroings.take(matches)) {
            drop(self.finished.push(job.io.done(Status::Aborted, self.geometry.block_size)));
            return AbortOutcome::WillComplete;
        }
        AbortOutcome::held(self.finished.iter().any(|done| done.tag == tag))
    }

    fn lend(&mut self, op: Op, lba: u64, blocks: u64) -> Option<Buf> {
        let extent = extent(&self.geometry, lba, blocks).ok()?;
        if !matches!(op, Op::Read | Op::Write) {
            return None;
        }
        let filled = if op == Op::Read { extent.bytes } else { 0 };
        self.memory.lend(extent, filled)
    }

    fn read_in_place(&mut self, lba: u64, blocks: u64) -> Option<Buf> {
        let extent = extent(&self.geometry, lba, blocks).ok()?;
        self.memory.lend(extent, extent.bytes)
    }

    fn give_back(&mut self, buf: Buf) {
        self.memory.give_back(buf);
    }

    fn outstanding(&self) -> usize {
        self.copies.len() + self.zeroings.len() + self.finished.len()
    }
}

#[cfg(test)]
mod tests;
