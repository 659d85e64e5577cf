//! `null`: a device that discards what is written and reads zeroes; for measuring everything above it.
//!
//! A buffer that is read into has to be filled, which costs more than everything else. A device that was given an
//! arena lends zeroes for reads instead, and then moves no byte.

use std::sync::Arc;

use primitives::{Buf, Tag};
use reactors::{Arena, Core};

use crate::channel::{AbortOutcome, Channel, DoneBatch};
use crate::check::{Extent, check, extent};
use crate::device::{Bdev, Features, Geometry, OpenError};
use crate::fifo::Fifo;
use crate::io::{Done, Io, Op, Status};
use crate::limits;
use crate::malloc::store::{Lender, Store};
use crate::shape::{self, CreateError, Identity, Shape};

/// What a null device is made of.
#[derive(Clone, Debug, Default)]
pub struct NullParams {
    /// Unique name.
    pub name: String,
    /// 512 or 4096 bytes.
    pub block_size: u32,
    /// Capacity in blocks.
    pub num_blocks: u64,
    /// Drawn at random if not given.
    pub uuid: Option<[u8; 16]>,
    /// Bytes; the block size if not given.
    pub physical_block_size: Option<u32>,
    /// Refuse writes.
    pub read_only: bool,
}

/// The shared side of a null device.
#[derive(Debug)]
pub struct Null {
    id: Identity,
    shape: Arc<Shape>,
    /// What reads are lent.
    zeroes: Option<Arc<Store>>,
}

const FEATURES: Features =
    Features { write: true, flush: true, fua: true, unmap: true, write_zeroes: true, lend: false, per_core: true };

impl Null {
    /// Makes a null device that lends nothing.
    ///
    /// # Errors
    /// When a parameter is not acceptable.
    pub fn create(params: &NullParams) -> Result<Arc<Self>, CreateError> {
        Self::new(params, None)
    }

    /// Makes a null device that lends [`limits::NULL_LEND_BYTES`] of zeroes in memory of `arena` for reads.
    ///
    /// # Errors
    /// When a parameter is not acceptable or there is not enough memory.
    pub fn create_lending(params: &NullParams, arena: &Arena) -> Result<Arc<Self>, CreateError> {
        let bytes = limits::NULL_LEND_BYTES;
        let region = arena.region(bytes).map_err(|error| CreateError::NoMemory {
            field: "num_blocks",
            bytes: bytes as u64,
            reason: error.to_string(),
        })?;
        Self::new(params, Some(Arc::new(Store::new(region, bytes as u64))))
    }

    fn new(params: &NullParams, zeroes: Option<Arc<Store>>) -> Result<Arc<Self>, CreateError> {
        let id = Identity::new(&params.name, params.uuid)?;
        shape::check_block_size(params.block_size)?;
        shape::check_size(params.num_blocks, params.block_size)?;
        let geometry = Geometry {
            block_size: params.block_size,
            blocks: params.num_blocks,
            physical_block_size: shape::check_physical(params.physical_block_size, params.block_size)?,
            optimal_io_blocks: 0,
            unmap_granularity: 1,
            unmap_reads_zeroes: true,
            write_cache: false,
            read_only: params.read_only,
            rotational: false,
        };
        Ok(Arc::new(Self { id, shape: Arc::new(Shape::new(geometry)), zeroes }))
    }

    /// Changes the capacity; open channels follow at once. Tell the registry afterwards.
    ///
    /// # Errors
    /// When the capacity is not acceptable.
    pub fn resize(&self, blocks: u64) -> Result<(), CreateError> {
        shape::check_size(blocks, self.shape.get().block_size)?;
        self.shape.resize(blocks);
        Ok(())
    }
}

impl Bdev for Null {
    fn name(&self) -> &str {
        &self.id.name
    }

    fn product(&self) -> &'static str {
        "Null disk"
    }

    fn uuid(&self) -> [u8; 16] {
        self.id.uuid
    }

    fn geometry(&self) -> Geometry {
        self.shape.get()
    }

    fn features(&self) -> Features {
        Features { lend: self.zeroes.is_some(), ..FEATURES }
    }

    fn open(&self, _core: &mut Core) -> Result<Box<dyn Channel>, OpenError> {
        let zeroes = self.zeroes.clone().map(Lender::new);
        let finished = Fifo::new(limits::CHANNEL_DEPTH);
        Ok(Box::new(NullChannel { shape: self.shape.clone(), features: self.features(), zeroes, finished }))
    }
}

#[derive(Debug)]
struct NullChannel {
    shape: Arc<Shape>,
    features: Features,
    zeroes: Option<Lender>,
    finished: Fifo<Done>,
}

impl NullChannel {
    /// Does it: there is nothing to it but the zeroes that a buffer is to hold.
    fn execute(&self, io: &mut Io, extent: Extent) -> Status {
        let Some(data) = io.data.as_mut().filter(|_| matches!(io.op, Op::Read | Op::Write)) else { return Status::Ok };
        if data.is_lent() {
            let place = Extent { offset: 0, bytes: extent.bytes };
            let ours = self.zeroes.as_ref().is_some_and(|zeroes| zeroes.store().is_lent(place, data));
            return if ours && io.op == Op::Read { Status::Ok } else { Status::Failed(libc::EINVAL) };
        }
        if io.op == Op::Read {
            data.storage()[..extent.bytes as usize].fill(0);
        }
        Status::Ok
    }

    fn finish(&self, io: &mut Io) -> Status {
        let geometry = self.shape.get();
        let status = match check(io, &geometry, self.features) {
            Ok(extent) => self.execute(io, extent),
            Err(status) => status,
        };
        io.finish(status, geometry.block_size);
        status
    }
}

impl Channel for NullChannel {
    fn submit(&mut self, mut io: Io) -> Result<(), Io> {
        if self.finished.len() == limits::CHANNEL_DEPTH {
            return Err(io);
        }
        let status = self.finish(&mut io);
        // Room was just seen.
        let _ = self.finished.push(Done { tag: io.tag, status, data: io.data });
        Ok(())
    }

    fn is_immediate(&self) -> bool {
        true
    }

    fn run(&mut self, io: &mut Io) -> Option<Status> {
        matches!(io.op, Op::Read | Op::Write).then(|| self.finish(io))
    }

    fn kick(&mut self) {}

    fn reap(&mut self, done: &mut DoneBatch) {
        self.finished.reap(done);
    }

    fn abort(&mut self, tag: Tag) -> AbortOutcome {
        AbortOutcome::held(self.finished.iter().any(|done| done.tag == tag))
    }

    /// The same zeroes for every read; nothing for writes, whose bytes nobody wants.
    fn lend(&mut self, op: Op, lba: u64, blocks: u64) -> Option<Buf> {
        if op == Op::Read { self.read_in_place(lba, blocks) } else { None }
    }

    fn read_in_place(&mut self, lba: u64, blocks: u64) -> Option<Buf> {
        let zeroes = self.zeroes.as_mut()?;
        let bytes = extent(&self.shape.get(), lba, blocks).ok()?.bytes;
        if bytes > zeroes.store().bytes() {
            return None;
        }
        zeroes.lend(Extent { offset: 0, bytes }, bytes)
    }

    fn give_back(&mut self, buf: Buf) {
        if let Some(zeroes) = &mut self.zeroes {
            zeroes.give_back(buf);
        }
    }

    fn outstanding(&self) -> usize {
        self.finished.len()
    }
}

#[cfg(test)]
mod tests;
