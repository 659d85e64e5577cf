//! Two cores on one thread, stepped by hand, for unit tests.

use std::time::{Duration, Instant};

use primitives::{Buf, Tag};
use reactors::limits::Limits;
use reactors::{Arena, CoreId, Hugepages, Mail, Nanos, Pools, Reactor};

use crate::{Channel, Done, DoneBatch, Io, Op};

pub(crate) struct Rig {
    pub arena: Arena,
    pub cores: Vec<Reactor>,
    pub now: Nanos,
}

impl Rig {
    pub fn new() -> Self {
        let arena = Arena::new(Hugepages::Off);
        let mail = Mail::new(2, 16).unwrap();
        let parts = arena.region(8 << 20).unwrap().split(2);
        let core = |(i, part)| Reactor::new(CoreId(i), &mail, Pools::new(i, part), Limits::default());
        let mut rig = Self { cores: (0..).zip(parts).map(core).collect(), arena, now: Nanos::ZERO };
        rig.turn();
        rig
    }

    /// A turn of every core, `passed` after the last.
    pub fn turn_after(&mut self, passed: Duration) {
        self.now = self.now + passed;
        for core in &mut self.cores {
            let _ = core.turn(self.now);
        }
    }

    pub fn turn(&mut self) {
        self.turn_after(Duration::from_micros(1));
    }

    pub fn buf(&mut self, bytes: usize) -> Buf {
        self.cores[0].core().pools.take(bytes).unwrap()
    }

    /// An operation of core 0 whose tag has index `i`; writes carry `i` as every byte.
    pub fn io(&mut self, i: u16, op: Op, lba: u64, blocks: u64) -> Io {
        let data = matches!(op, Op::Read | Op::Write).then(|| {
            let mut buf = self.buf(blocks as usize * 512);
            buf.storage().fill(i as u8);
            buf.set_len(if op == Op::Write { blocks as usize * 512 } else { 0 });
            buf
        });
        Io { tag: Tag::new(1, 0, i, 0), op, fua: false, lba, blocks, data }
    }

    /// One reap of one turn.
    pub fn reap(&mut self, channel: &mut dyn Channel) -> Vec<Done> {
        self.turn();
        let mut batch = DoneBatch::default();
        channel.reap(&mut batch);
        batch.drain().collect()
    }

    /// Reaps until `n` operations are done.
    pub fn reap_all(&mut self, channel: &mut dyn Channel, n: usize) -> Vec<Done> {
        let start = Instant::now();
        let mut done = Vec::new();
        while done.len() < n {
            done.extend(self.reap(channel));
            assert!(start.elapsed() < Duration::from_secs(20), "{} of {n} operations completed", done.len());
        }
        done
    }

    pub fn run(&mut self, channel: &mut dyn Channel, io: Io) -> Done {
        channel.submit(io).unwrap();
        channel.kick();
        self.reap_all(channel, 1).pop().unwrap()
    }
}
