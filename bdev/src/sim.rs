//! `sim`: a disk that can crash, for tests and the simulator.
//!
//! Writes land in a volatile cache and reach the medium by a flush or with force unit access. A crash keeps, of every
//! block, the durable contents or any later version the cache held: a drive may have written back whatever it liked,
//! in any order, but never part of a block. Deterministic: the same operations and seed give the same medium.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use primitives::Tag;
use reactors::Core;

use crate::channel::{AbortOutcome, Channel, DoneBatch};
use crate::check::check;
use crate::device::{Bdev, Features, Geometry, OpenError};
use crate::fifo::Fifo;
use crate::io::{Done, Io, Op, Status};
use crate::limits;
use crate::shape::{self, CreateError, Identity};

/// What a simulated disk is made of.
#[derive(Clone, Debug, Default)]
pub struct SimParams {
    /// Unique name.
    pub name: String,
    /// 512 or 4096 bytes.
    pub block_size: u32,
    /// Capacity in blocks. Only written blocks take memory.
    pub num_blocks: u64,
    /// Drawn at random if not given; give one where runs must repeat exactly.
    pub uuid: Option<[u8; 16]>,
    /// Keep unflushed writes volatile. Without it every completed write is durable.
    pub write_cache: bool,
}

/// The shared side of a simulated disk.
#[derive(Debug)]
pub struct Sim {
    id: Identity,
    geometry: Geometry,
    disk: Arc<Mutex<Disk>>,
}

const FEATURES: Features =
    Features { write: true, flush: true, fua: true, unmap: true, write_zeroes: true, lend: false, per_core: true };

impl Sim {
    /// Makes a disk full of zeroes.
    ///
    /// # Errors
    /// When a parameter is not acceptable.
    pub fn create(params: &SimParams) -> Result<Arc<Self>, CreateError> {
        let id = Identity::new(&params.name, params.uuid)?;
        shape::check_block_size(params.block_size)?;
        shape::check_size(params.num_blocks, params.block_size)?;
        let geometry = Geometry {
            block_size: params.block_size,
            blocks: params.num_blocks,
            physical_block_size: params.block_size,
            optimal_io_blocks: 0,
            unmap_granularity: 1,
            unmap_reads_zeroes: true,
            write_cache: params.write_cache,
            read_only: false,
            rotational: false,
        };
        Ok(Arc::new(Self { id, geometry, disk: Arc::default() }))
    }

    /// Power fails and comes back. Of every block one of its versions since the last flush survives, chosen by
    /// `seed`. Channels open now are dead; their unreaped operations may or may not have taken effect.
    pub fn crash(&self, seed: u64) {
        lock(&self.disk).crash(seed);
    }

    /// Blocks that a crash could change.
    #[must_use]
    pub fn volatile_blocks(&self) -> usize {
        lock(&self.disk).volatile.len()
    }
}

impl Bdev for Sim {
    fn name(&self) -> &str {
        &self.id.name
    }

    fn product(&self) -> &'static str {
        "Simulated disk"
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
        let epoch = lock(&self.disk).crashes;
        let finished = Fifo::new(limits::CHANNEL_DEPTH);
        Ok(Box::new(SimChannel { geometry: self.geometry, disk: self.disk.clone(), epoch, finished }))
    }
}

/// A block's contents; `None` is all zeroes.
type Block = Option<Box<[u8]>>;

#[derive(Debug, Default)]
struct Disk {
    durable: BTreeMap<u64, Box<[u8]>>,
    /// Versions younger than the durable one, oldest first.
    volatile: BTreeMap<u64, Vec<Block>>,
    crashes: u64,
}

impl Disk {
    fn read(&self, lba: u64, into: &mut [u8]) {
        let volatile = self.volatile.get(&lba).and_then(|versions| versions.last());
        let block = match volatile {
            Some(block) => block.as_deref(),
            None => self.durable.get(&lba).map(AsRef::as_ref),
        };
        match block {
            Some(bytes) => into.copy_from_slice(bytes),
            None => into.fill(0),
        }
    }

    fn write(&mut self, lba: u64, block: Block, durable: bool) {
        if durable {
            self.volatile.remove(&lba);
            self.settle(lba, block);
        } else {
            self.volatile.entry(lba).or_default().push(block);
        }
    }

    fn settle(&mut self, lba: u64, block: Block) {
        match block {
            Some(bytes) => self.durable.insert(lba, bytes),
            None => self.durable.remove(&lba),
        };
    }

    fn flush(&mut self) {
        for (lba, mut versions) in std::mem::take(&mut self.volatile) {
            if let Some(last) = versions.pop() {
                self.settle(lba, last);
            }
        }
    }

    fn crash(&mut self, seed: u64) {
        self.crashes += 1;
        let mut state = seed;
        for (lba, versions) in std::mem::take(&mut self.volatile) {
            // 0 keeps the durable version.
            let survivor = split_mix(&mut state) % (versions.len() as u64 + 1);
            if let Some(block) = versions.into_iter().take(survivor as usize).next_back() {
                self.settle(lba, block);
            }
        }
    }
}

/// SplitMix64, public domain; any well-mixed sequence would do.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A panic elsewhere leaves no half-done change behind that a test could not live with.
fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct SimChannel {
    geometry: Geometry,
    disk: Arc<Mutex<Disk>>,
    /// Crashes before this channel was opened.
    epoch: u64,
    finished: Fifo<Done>,
}

impl SimChannel {
    /// Takes effect now although it completes at the next reap: a crash in between finds the operation half-way.
    fn execute(&self, io: &mut Io) -> Result<(), Status> {
        let extent = check(io, &self.geometry, FEATURES)?;
        let mut disk = lock(&self.disk);
        if disk.crashes != self.epoch {
            return Err(Status::Removed);
        }
        let size = self.geometry.block_size as usize;
        let durable = !self.geometry.write_cache;
        match (io.op, &mut io.data) {
            (Op::Read, Some(data)) => {
                let bytes = &mut data.storage()[..extent.bytes as usize];
                (io.lba..).zip(bytes.chunks_exact_mut(size)).for_each(|(lba, block)| disk.read(lba, block));
            }
            (Op::Write, Some(data)) => {
                let blocks = data.filled()[..extent.bytes as usize].chunks_exact(size);
                (io.lba..).zip(blocks).for_each(|(lba, block)| disk.write(lba, Some(block.into()), durable || io.fua));
            }
            (Op::Flush, _) => disk.flush(),
            _ => (io.lba..io.lba + io.blocks).for_each(|lba| disk.write(lba, None, durable)),
        }
        Ok(())
    }
}

impl Channel for SimChannel {
    fn submit(&mut self, mut io: Io) -> Result<(), Io> {
        if self.finished.len() == limits::CHANNEL_DEPTH {
            return Err(io);
        }
        let status = self.execute(&mut io).err().unwrap_or(Status::Ok);
        // Room was seen above.
        let _ = self.finished.push(io.done(status, self.geometry.block_size));
        Ok(())
    }

    fn kick(&mut self) {}

    fn reap(&mut self, done: &mut DoneBatch) {
        let before = done.len();
        self.finished.reap(done);
        // Nobody learnt of an end that came before the crash and was not reaped.
        if lock(&self.disk).crashes != self.epoch {
            done.since(before).for_each(|done| done.status = Status::Removed);
        }
    }

    fn abort(&mut self, tag: Tag) -> AbortOutcome {
        AbortOutcome::held(self.finished.iter().any(|done| done.tag == tag))
    }

    fn outstanding(&self) -> usize {
        self.finished.len()
    }
}

#[cfg(test)]
mod tests;
