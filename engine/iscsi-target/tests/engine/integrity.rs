//! Data integrity under load: many sessions, many commands at once, every way of negotiating.

use std::time::Instant;

use crate::support::*;
use initiator::session::{Command, Completion, Event, Outcome};
use initiator::transport::Data;
use initiator::{Arena, Client, Digest, Options, Session};

/// The longest command, in bytes.
const LONGEST: usize = 4 << 20;

/// A command in flight: first block, blocks, and the data if it writes.
type Flight = (usize, usize, Option<Vec<u8>>);

/// A part of a disk that one session has for itself, and what must be in it.
struct Load {
    session: Session,
    arena: Arena,
    lun: [u8; 8],
    block: usize,
    first: u64,
    model: Vec<u8>,
    /// Blocks that a command in flight uses, so that its outcome is certain.
    busy: Vec<bool>,
    /// What is in flight, by `user`.
    flying: Vec<Option<Flight>>,
    dice: Dice,
    seed: u64,
}

impl Load {
    fn new(client: Client, lun: u16, block: usize, first: u64, bytes: usize, depth: usize, seed: u64) -> Self {
        let (mut session, arena) = (client.into_session(), Arena::new(depth, LONGEST));
        session.register(&arena).unwrap();
        Self {
            session,
            arena,
            lun: [0, lun as u8, 0, 0, 0, 0, 0, 0],
            block,
            first,
            model: vec![0; bytes],
            busy: vec![false; bytes / block],
            flying: vec![None; depth],
            dice: Dice::new(seed),
            seed,
        }
    }

    /// Performs `count` commands, as many at a time as may be.
    fn run(mut self, count: usize) {
        let (mut begun, mut ended) = (0, 0);
        let deadline = Instant::now() + PATIENCE * 3;
        while ended < count {
            assert!(Instant::now() < deadline, "seed {}: {ended} of {count} commands ended", self.seed);
            while begun < count && self.session.can_submit() && self.submit() {
                begun += 1;
            }
            if !self.session.poll(Instant::now()) {
                std::thread::yield_now();
            }
            while let Some(event) = self.session.next_event() {
                match event {
                    Event::Completed(completion) => {
                        self.complete(completion);
                        ended += 1;
                    }
                    Event::Failed(error) => panic!("seed {}: {error}", self.seed),
                    _ => {}
                }
            }
        }
    }

    /// Begins a random command on blocks nobody uses; `false` if it finds none.
    fn submit(&mut self) -> bool {
        let Some(user) = self.flying.iter().position(Option::is_none) else { return false };
        // Not more than so many PDUs: they take their time.
        let agreed = self.session.agreed();
        let longest = (agreed.max_burst.min(agreed.max_recv_segment) as usize * 512).min(LONGEST);
        let most = (longest / self.block).min(self.busy.len());
        let blocks = match self.dice.below(20) {
            0 => most,
            1..=4 => 1 + self.dice.below(most.min(600) as u64) as usize,
            _ => 1 + self.dice.below(most.min(40) as u64) as usize,
        };
        let at = self.dice.below((self.busy.len() - blocks + 1) as u64) as usize;
        if self.busy[at..at + blocks].contains(&true) {
            return false;
        }
        let Some(mut buf) = self.arena.take() else { return false };
        let len = blocks * self.block;
        let lba = self.first + at as u64;
        let writes = self.dice.below(2) == 0;
        let data = writes.then(|| pattern(self.dice.below(u64::MAX), len));
        let (cdb, transfer) = match &data {
            Some(bytes) => {
                buf.copy_in(0, bytes);
                (write16(lba, blocks as u32), Data::Write { buf })
            }
            None => (read16(lba, blocks as u32), Data::Read { buf, len: len as u32 }),
        };
        let command = Command { lun: self.lun, cdb, data: transfer, user: user as u64 };
        assert!(self.session.submit(command, Instant::now()).is_ok());
        self.busy[at..at + blocks].fill(true);
        self.flying[user] = Some((at, blocks, data));
        true
    }

    fn complete(&mut self, completion: Completion) {
        let Completion { user, buf, outcome, .. } = completion;
        assert!(matches!(outcome, Outcome::Status { status: 0, .. }), "seed {}: {outcome:?}", self.seed);
        let (at, blocks, written) = self.flying[user as usize].take().unwrap();
        let range = at * self.block..(at + blocks) * self.block;
        let buf = buf.unwrap();
        match written {
            Some(bytes) => self.model[range].copy_from_slice(&bytes),
            None => {
                assert!(buf.filled() == &self.model[range], "seed {}: block {at} is not what was written", self.seed)
            }
        }
        self.arena.give(buf);
        self.busy[at..at + blocks].fill(false);
    }
}

/// Options drawn at random.
fn any_options(world: &World, dice: &mut Dice) -> Options {
    let digest = |dice: &mut Dice| dice.pick(&[Digest::Off, Digest::Require]);
    let max_burst_length = dice.pick(&[512, 8192, 65_536, 262_144, 1 << 20, 16_776_192]);
    Options {
        header_digest: digest(dice),
        data_digest: digest(dice),
        initial_r2t: dice.below(2) == 0,
        immediate_data: dice.below(2) == 0,
        max_recv_data_segment_length: dice.pick(&[512, 4096, 8192, 65_532, 262_144]),
        max_burst_length,
        first_burst_length: dice.pick(&[512, 4096, 65_536, 262_144]).min(max_burst_length),
        max_outstanding_r2t: dice.pick(&[1, 2, 8]),
        queue_depth: 16,
        ..world.options()
    }
}

/// One to four sessions on their own parts of a disk, at once.
fn load(seed: u64, count: usize) {
    let mut dice = Dice::new(seed);
    let world = World::build().cores(1 + dice.below(2) as u16).start();
    let sessions = 1 + dice.below(4);
    let (lun, block) = dice.pick(&[(DISK, 512), (DISK_4K, 4096), (GATED, 512), (DELAYED, 512)]);
    let bytes = (8 << 20) / sessions as usize / 4096 * 4096;
    std::thread::scope(|scope| {
        for n in 0..sessions {
            let mut options = any_options(&world, &mut dice);
            let mut url = world.url(lun);
            if dice.below(2) == 0 {
                (options.header_digest, options.data_digest) = (Digest::Off, Digest::Off);
                url = world.rdma_url(lun);
            }
            let client = Client::connect(&url, &options).unwrap_or_else(|e| panic!("{e}: {options:?}"));
            let first = n * (bytes / block) as u64;
            let load = Load::new(client, lun, block, first, bytes, 4, seed * 10 + n);
            scope.spawn(move || load.run(count));
        }
    });
}

#[test]
fn random_loads_find_what_they_wrote() {
    (1..=12).for_each(|seed| load(seed, 60));
}

#[test]
fn more_random_loads_find_what_they_wrote() {
    (13..=24).for_each(|seed| load(seed, 60));
}

#[test]
fn a_load_survives_a_shortage_of_buffers() {
    let world = World::on_two_cores();
    world.starve(4, 2);
    std::thread::scope(|scope| {
        for n in 0..4u64 {
            // Digests keep the device from lending its memory; nothing comes unasked, so nothing is refused.
            let options = Options {
                data_digest: Digest::Require,
                initial_r2t: true,
                immediate_data: false,
                queue_depth: 8,
                ..world.options()
            };
            let client = Client::connect(&world.url(DISK), &options).unwrap();
            let load = Load::new(client, DISK, 512, n * 4096, 2 << 20, 4, 99 + n);
            scope.spawn(move || load.run(40));
        }
    });
}
