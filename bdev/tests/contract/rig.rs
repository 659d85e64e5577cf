//! Two cores on one thread, stepped by hand, and a client of one channel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bdev::{Bdev, Channel, Done, DoneBatch, Io, Op, Registry, Status};
use primitives::{Buf, Tag};
use reactors::limits::Limits;
use reactors::{Arena, CoreId, Hugepages, Mail, Nanos, Pools, Reactor};

/// Small buffers of each core: more than a channel takes operations.
const SMALL: usize = bdev::limits::CHANNEL_DEPTH + 64;
const LARGE: usize = 16;

pub struct Rig {
    pub arena: Arena,
    pub cores: Vec<Reactor>,
    pub now: Nanos,
}

impl Rig {
    pub fn new() -> Self {
        let arena = Arena::new(Hugepages::Off);
        let mail = Mail::new(2, 16).unwrap();
        let bytes = 2 * (SMALL * 8192 + LARGE * 128 * 1024 + (2 << 20));
        let parts = arena.region(bytes).unwrap().split(2);
        let core = |(i, part)| {
            let id = CoreId(i);
            let mut pools = Pools::with_counts(i, part, SMALL, LARGE);
            pools.poison();
            Reactor::new(id, &mail, pools, Limits::default())
        };
        let cores = (0..).zip(parts).map(core).collect();
        Self { arena, cores, now: Nanos::new(1) }
    }

    /// A turn of every core, a microsecond after the last.
    pub fn turn(&mut self) {
        self.now = self.now + Duration::from_micros(1);
        for core in &mut self.cores {
            let _ = core.turn(self.now);
        }
    }
}

/// The client of a channel on one core.
pub struct Client {
    pub channel: Box<dyn Channel>,
    pub core: usize,
    pub block_size: usize,
    next: u32,
}

/// Patience with real devices; nothing waits this long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

impl Client {
    pub fn open(rig: &mut Rig, bdev: &Arc<dyn Bdev>, core: usize) -> Self {
        let channel = bdev.open(&mut rig.cores[core].core()).unwrap();
        Self::on(rig, channel, bdev, core)
    }

    pub fn open_counted(rig: &mut Rig, registry: &Registry, bdev: &Arc<dyn Bdev>, core: usize) -> Self {
        let channel = registry.open(&mut rig.cores[core].core(), bdev.name()).unwrap();
        Self::on(rig, channel, bdev, core)
    }

    fn on(rig: &mut Rig, channel: Box<dyn Channel>, bdev: &Arc<dyn Bdev>, core: usize) -> Self {
        rig.turn();
        Self { channel, core, block_size: bdev.geometry().block_size as usize, next: 0 }
    }

    pub fn tag(&mut self) -> Tag {
        self.next += 1;
        Tag::new(7, 3, self.next as u16, self.next)
    }

    pub fn buf(&self, rig: &mut Rig, bytes: usize) -> Buf {
        rig.cores[self.core].core().pools.take(bytes).expect("the rig has enough buffers")
    }

    pub fn give(&self, rig: &mut Rig, buf: Buf) {
        rig.cores[self.core].core().pools.give(buf);
    }

    pub fn io(&mut self, op: Op, lba: u64, blocks: u64, data: Option<Buf>) -> Io {
        Io { tag: self.tag(), op, fua: false, lba, blocks, data }
    }

    pub fn read_io(&mut self, rig: &mut Rig, lba: u64, blocks: u64) -> Io {
        let buf = self.buf(rig, blocks as usize * self.block_size);
        self.io(Op::Read, lba, blocks, Some(buf))
    }

    pub fn write_io(&mut self, rig: &mut Rig, lba: u64, bytes: &[u8]) -> Io {
        let mut buf = self.buf(rig, bytes.len());
        buf.copy_in(0, bytes);
        let blocks = (bytes.len() / self.block_size) as u64;
        self.io(Op::Write, lba, blocks, Some(buf))
    }

    /// Reaps until everything submitted is done, turning the cores meanwhile.
    pub fn drain(&mut self, rig: &mut Rig, mut each: impl FnMut(Done)) {
        let start = Instant::now();
        let mut batch = DoneBatch::default();
        while self.channel.outstanding() > 0 {
            rig.turn();
            self.channel.reap(&mut batch);
            batch.drain().for_each(&mut each);
            assert!(start.elapsed() < PATIENCE, "{} operations never complete", self.channel.outstanding());
        }
    }

    /// Does one operation.
    pub fn run(&mut self, rig: &mut Rig, io: Io) -> Done {
        let tag = io.tag;
        self.channel.submit(io).expect("an idle channel takes an operation");
        self.channel.kick();
        let mut result = None;
        self.drain(rig, |done| assert!(result.replace(done).is_none(), "one operation, two completions"));
        let done = result.expect("a completion");
        assert_eq!(done.tag, tag, "the tag comes back");
        done
    }

    /// Does one operation and gives its buffer back.
    pub fn status(&mut self, rig: &mut Rig, io: Io) -> Status {
        let done = self.run(rig, io);
        if let Some(buf) = done.data {
            self.give(rig, buf);
        }
        done.status
    }

    pub fn write(&mut self, rig: &mut Rig, lba: u64, bytes: &[u8]) {
        let io = self.write_io(rig, lba, bytes);
        assert_eq!(self.status(rig, io), Status::Ok);
    }

    pub fn read(&mut self, rig: &mut Rig, lba: u64, blocks: u64) -> Vec<u8> {
        let io = self.read_io(rig, lba, blocks);
        let done = self.run(rig, io);
        assert_eq!(done.status, Status::Ok);
        let buf = done.data.expect("the buffer comes back");
        let bytes = buf.filled().to_vec();
        assert_eq!(bytes.len(), blocks as usize * self.block_size);
        self.give(rig, buf);
        bytes
    }

    pub fn simple(&mut self, rig: &mut Rig, op: Op, lba: u64, blocks: u64) -> Status {
        let io = self.io(op, lba, blocks, None);
        self.status(rig, io)
    }
}

/// Bytes that differ from block to block and from seed to seed, and are never all zero.
pub fn pattern(seed: u64, lba: u64, blocks: u64, block_size: usize) -> Vec<u8> {
    let word = |i: u64| (seed ^ (lba * 512 + i).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1).to_le_bytes();
    (0..blocks * block_size as u64 / 8).flat_map(word).collect()
}

/// A small generator for choices in tests.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}
