//! Every device there is, of `BLOCKS` blocks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bdev::layer::delay::DelayParams;
use bdev::malloc::MallocParams;
use bdev::null::NullParams;
use bdev::registry::Registry;
use bdev::sim::SimParams;
use bdev::uring::UringParams;
use bdev::worker::{Blocking, WorkerBdev, WorkerParams};
use bdev::{
    Bdev, Delay, ErrorInjector, Features, Geometry, Io, Malloc, Null, Op, RateLimits, Remote, Sim, Status, Uring,
};
use reactors::{CoreId, CpuList};

use crate::rig::{Client, Rig};

pub const BLOCKS: u64 = 2048;

/// A device and what a test may expect of it.
pub struct Bench {
    pub rig: Rig,
    pub bdev: Arc<dyn Bdev>,
    /// What is written can be read.
    pub stores: bool,
    /// The data path allocates nothing.
    pub frugal: bool,
    /// It shows what it holds in memory of its own.
    pub reads_in_place: bool,
    registry: Option<Registry>,
    _file: Option<tempfile::TempPath>,
}

impl Bench {
    fn new(make: impl FnOnce(&mut Rig) -> Arc<dyn Bdev>) -> Self {
        let mut rig = Rig::new();
        let bdev = make(&mut rig);
        Self { rig, bdev, stores: true, frugal: true, reads_in_place: false, registry: None, _file: None }
    }

    pub fn client(&mut self) -> Client {
        self.client_on(0)
    }

    pub fn client_on(&mut self, core: usize) -> Client {
        match &self.registry {
            Some(registry) => Client::open_counted(&mut self.rig, registry, &self.bdev, core),
            None => Client::open(&mut self.rig, &self.bdev, core),
        }
    }
}

fn malloc_on(rig: &mut Rig, block_size: u32) -> Arc<dyn Bdev> {
    let params = MallocParams { name: "m".into(), block_size, num_blocks: BLOCKS, ..MallocParams::default() };
    Malloc::create(&params, &rig.arena).unwrap()
}

pub fn null(block_size: u32) -> Bench {
    let params = NullParams { name: "n".into(), block_size, num_blocks: BLOCKS, ..NullParams::default() };
    Bench { stores: false, ..Bench::new(|_| Null::create(&params).unwrap()) }
}

pub fn null_lending(block_size: u32) -> Bench {
    let params = NullParams { name: "n".into(), block_size, num_blocks: BLOCKS, ..NullParams::default() };
    let bench = Bench::new(|rig| Null::create_lending(&params, &rig.arena).unwrap());
    Bench { stores: false, reads_in_place: true, ..bench }
}

pub fn malloc(block_size: u32) -> Bench {
    Bench { reads_in_place: true, ..Bench::new(|rig| malloc_on(rig, block_size)) }
}

pub fn counted_malloc(block_size: u32) -> Bench {
    let mut bench = malloc(block_size);
    let registry = Registry::new();
    registry.register(bench.bdev.clone()).unwrap();
    bench.registry = Some(registry);
    bench
}

/// Slow enough that every clause with more than a few operations meets the limit.
pub fn limited(bench: Bench) -> Bench {
    let limits = RateLimits { rw_ios_per_sec: 100_000, rw_mbytes_per_sec: 400, ..RateLimits::default() };
    let registry = Registry::new();
    registry.register(bench.bdev.clone()).unwrap();
    registry.set_limits(bench.bdev.name(), limits).unwrap();
    Bench { registry: Some(registry), reads_in_place: false, ..bench }
}

/// An empty file of the usual size, on the disk or, where that exists, in memory.
pub fn temp_file(block_size: u32, dir: &Path) -> tempfile::TempPath {
    let file = tempfile::NamedTempFile::new_in(dir).unwrap();
    file.as_file().set_len(BLOCKS * u64::from(block_size)).unwrap();
    file.into_temp_path()
}

pub fn on_disk() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

fn in_memory() -> PathBuf {
    let shm = PathBuf::from("/dev/shm");
    if shm.is_dir() { shm } else { on_disk() }
}

fn uring_in(dir: &Path, block_size: u32, buffered: bool) -> Bench {
    let file = temp_file(block_size, dir);
    let params = UringParams {
        name: "u".into(),
        filename: file.to_path_buf(),
        block_size: Some(block_size),
        buffered,
        ..UringParams::default()
    };
    let bench = Bench::new(|rig| Uring::create(&params, &rig.arena).unwrap());
    Bench { _file: Some(file), ..bench }
}

pub fn uring_buffered(block_size: u32) -> Bench {
    uring_in(&on_disk(), block_size, true)
}

pub fn uring_direct(block_size: u32) -> Bench {
    uring_in(&on_disk(), block_size, false)
}

pub fn uring_in_memory(block_size: u32) -> Bench {
    uring_in(&in_memory(), block_size, false)
}

/// Where a thread of the kernel's submits.
pub fn uring_threaded(block_size: u32) -> Bench {
    let file = temp_file(block_size, &on_disk());
    let params = UringParams {
        name: "u".into(),
        filename: file.to_path_buf(),
        block_size: Some(block_size),
        ..UringParams::default()
    };
    let cpu = *CpuList::usable().as_slice().last().unwrap();
    let bench = Bench::new(|rig| Uring::create_threaded(&params, &rig.arena, cpu).unwrap());
    Bench { _file: Some(file), ..bench }
}

/// The device lives on core 1, the client on core 0.
fn remote(mut bench: Bench) -> Bench {
    bench.bdev = Remote::new(bench.bdev, CoreId(1));
    Bench { reads_in_place: false, ..bench }
}

pub fn remote_malloc(block_size: u32) -> Bench {
    remote(malloc(block_size))
}

pub fn remote_uring(block_size: u32) -> Bench {
    remote(uring_direct(block_size))
}

pub fn sim(block_size: u32, write_cache: bool) -> Bench {
    let params = SimParams { name: "s".into(), block_size, num_blocks: BLOCKS, uuid: None, write_cache };
    Bench { frugal: false, ..Bench::new(|_| Sim::create(&params).unwrap()) }
}

pub fn delay_malloc(block_size: u32) -> Bench {
    let params = DelayParams { name: "d".into(), uuid: None, latency_us: [3, 20, 5, 30] };
    Bench::new(|rig| Delay::create(&params, malloc_on(rig, block_size)).unwrap())
}

pub fn error_malloc(block_size: u32) -> Bench {
    let bench = Bench::new(|rig| ErrorInjector::create("e", None, malloc_on(rig, block_size)).unwrap());
    Bench { reads_in_place: true, ..bench }
}

/// A library that keeps blocks in plain memory.
struct Library {
    bytes: Vec<u8>,
    block_size: usize,
}

impl Blocking for Library {
    fn execute(&mut self, io: &mut Io) -> Status {
        let start = io.lba as usize * self.block_size;
        let range = start..start + io.blocks as usize * self.block_size;
        let length = range.len();
        match (io.op, &mut io.data) {
            (Op::Read, Some(data)) => data.storage()[..length].copy_from_slice(&self.bytes[range]),
            (Op::Write, Some(data)) => self.bytes[range].copy_from_slice(&data.filled()[..length]),
            (Op::Flush, _) => (),
            _ => self.bytes[range].fill(0),
        }
        Status::Ok
    }
}

pub fn worker(block_size: u32) -> Bench {
    let library = Library { bytes: vec![0; BLOCKS as usize * block_size as usize], block_size: block_size as usize };
    let geometry = Geometry {
        block_size,
        blocks: BLOCKS,
        physical_block_size: block_size,
        optimal_io_blocks: 0,
        unmap_granularity: 1,
        unmap_reads_zeroes: true,
        write_cache: false,
        read_only: false,
        rotational: false,
    };
    let features =
        Features { write: true, flush: true, fua: true, unmap: true, write_zeroes: true, lend: false, per_core: true };
    let params = WorkerParams { name: "w".into(), product: "Library", uuid: None, geometry, features };
    Bench::new(|_| WorkerBdev::create(params, Box::new(library)).unwrap())
}
