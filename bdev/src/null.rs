//! `null`: a device that discards what is written and reads zeroes; for measuring everything above it.

use std::sync::Arc;

use primitives::Tag;
use reactors::Core;

use crate::channel::{AbortOutcome, Channel, DoneBatch};
use crate::check::check;
use crate::device::{Bdev, Features, Geometry, OpenError};
use crate::fifo::Fifo;
use crate::io::{Done, Io, Op, Status};
use crate::limits;
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
}

const FEATURES: Features =
    Features { write: true, flush: true, fua: true, unmap: true, write_zeroes: true, lend: false, per_core: true };

impl Null {
    /// Makes a null device.
    ///
    /// # Errors
    /// When a parameter is not acceptable.
    pub fn create(params: &NullParams) -> Result<Arc<Self>, CreateError> {
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
        Ok(Arc::new(Self { id, shape: Arc::new(Shape::new(geometry)) }))
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
        FEATURES
    }

    fn open(&self, _core: &mut Core) -> Result<Box<dyn Channel>, OpenError> {
        Ok(Box::new(NullChannel { shape: self.shape.clone(), finished: Fifo::new(limits::CHANNEL_DEPTH) }))
    }
}

#[derive(Debug)]
struct NullChannel {
    shape: Arc<Shape>,
    finished: Fifo<Done>,
}

impl Channel for NullChannel {
    fn submit(&mut self, mut io: Io) -> Result<(), Io> {
        if self.finished.len() == limits::CHANNEL_DEPTH {
            return Err(io);
        }
        let geometry = self.shape.get();
        let status = match check(&io, &geometry, FEATURES) {
            Ok(extent) => {
                if io.op == Op::Read
                    && let Some(data) = &mut io.data
                {
                    data.storage()[..extent.bytes as usize].fill(0);
                }
                Status::Ok
            }
            Err(status) => status,
        };
        // Room was seen above.
        let _ = self.finished.push(io.done(status, geometry.block_size));
        Ok(())
    }

    fn kick(&mut self) {}

    fn reap(&mut self, done: &mut DoneBatch) {
        self.finished.reap(done);
    }

    fn abort(&mut self, tag: Tag) -> AbortOutcome {
        AbortOutcome::held(self.finished.iter().any(|done| done.tag == tag))
    }

    fn outstanding(&self) -> usize {
        self.finished.len()
    }
}
