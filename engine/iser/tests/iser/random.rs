//! Random conversations over seeds: everything ends well, byte for byte; or anything else happens in between, and
//! nothing is lost.
use crate::peer::Access2;
use crate::rig::{Options, Rig, parameters, tag};
use crate::server::{Server, command, data};
use iscsi::datamover::{Advertised, Datamover};
use iscsi::negotiate::Parameters;
use iscsi::wire::{DataOut, NopOut, Opcode, RESERVED_TAG, TmfRequest};
use iser::Limits;
use iser::wire::HEADER;
use primitives::Serial;
use rdma::Access;
use rdma::loopback::Latency;

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u32 {
        (self.next() % bound) as u32
    }
}

/// The initiator of a random conversation.
pub struct Driver {
    pub rng: Rng,
    next: u32,
    /// Tasks not answered: how much they read.
    live: Vec<(u32, u32)>,
    /// Of those, being aborted.
    aborting: Vec<u32>,
    pub issued: usize,
    pings: usize,
}

impl Driver {
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng(seed), next: 0, live: Vec::new(), aborting: Vec::new(), issued: 0, pings: 0 }
    }

    pub fn is_idle(&self) -> bool {
        self.live.is_empty() && self.pings == 0
    }

    /// Issues something, if no more is live than the target has receives for.
    pub fn issue(&mut self, rig: &mut Rig) {
        if self.live.len() + self.pings >= 6 || !rig.peer.queue_has_room() {
            return;
        }
        self.next += 1;
        let itt = self.next;
        match self.rng.below(10) {
            0 => {
                self.pings += 1;
                rig.peer.send(&NopOut { itt, ttt: RESERVED_TAG, ..NopOut::default() }.encode(), b"ping", none());
            }
            1 if !self.live.is_empty() => {
                let (task, _) = self.live[self.rng.below(self.live.len() as u64) as usize];
                if !self.aborting.contains(&task) {
                    self.aborting.push(task);
                    rig.peer.aborting.insert(itt, task);
                    let request = TmfRequest { itt, referenced_task_tag: task, ..TmfRequest::default() };
                    rig.peer.send(&request.encode(), &[], none());
                }
            }
            2..=4 => self.task(rig, itt, false, true),
            5..=7 => self.task(rig, itt, true, false),
            _ => self.task(rig, itt, true, true),
        }
    }

    /// A task, some of its data immediate and some unsolicited.
    fn task(&mut self, rig: &mut Rig, itt: u32, writes: bool, reads: bool) {
        let read = if reads { 1 + self.rng.below(9000) } else { 0 };
        let write = if writes { 1 + self.rng.below(12_000) } else { 0 };
        let immediate = self.rng.below(3) * self.rng.below(2000).min(write / 3);
        let immediate = immediate.min(write).min(2000);
        let unsolicited = if self.rng.below(3) == 0 { (write - immediate).min(self.rng.below(4000)) } else { 0 };
        let whole = data(itt, write as usize);
        let from = (immediate + unsolicited) as usize;
        let advertised = Advertised {
            write: (from < whole.len()).then(|| rig.peer.open(itt, &whole[from..], Access::RemoteRead)),
            read: (read > 0).then(|| rig.peer.open(itt, &vec![0; read as usize], Access::RemoteWrite)),
        };
        let (head, mut at) = (immediate as usize, immediate as usize);
        rig.peer.send(&command(itt, write, unsolicited, read).encode(), &whole[..head], advertised);
        let mut data_sn = Serial(0);
        while at < from {
            let len = (from - at).min(1500);
            let (data_sn, buffer_offset) = (data_sn.take(), at as u32);
            let final_bit = at + len == from;
            let pdu = DataOut { final_bit, itt, ttt: RESERVED_TAG, data_sn, buffer_offset, ..DataOut::default() };
            rig.peer.send(&pdu.encode(), &whole[at..at + len], none());
            at += len;
        }
        self.live.push((itt, read));
        self.issued += 1;
    }

    /// Looks at what came.
    pub fn look(&mut self, rig: &mut Rig) {
        for got in std::mem::take(&mut rig.peer.got) {
            let itt = got.bhs.itt();
            match got.bhs.opcode() {
                Opcode::NOP_IN => self.pings -= 1,
                Opcode::SCSI_RESPONSE => {
                    let at = self.live.iter().position(|(live, _)| *live == itt).expect("a live task");
                    let (_, read) = self.live.swap_remove(at);
                    assert_eq!(got.data, b"good");
                    if read > 0 {
                        assert_eq!(
                            rig.peer.peek(itt),
                            data(itt, read as usize),
                            "all data is there before the response"
                        );
                    }
                    self.aborting.retain(|task| *task != itt);
                }
                Opcode::TMF_RESPONSE => {
                    let gone = std::mem::take(&mut self.aborting);
                    // Which one it was the peer knows; its windows are closed.
                    let over = |task: &u32| !rig.peer.aborting.values().any(|live| live == task);
                    self.live.retain(|(task, _)| !(gone.contains(task) && over(task)));
                    self.aborting = gone.into_iter().filter(|task| !over(task)).collect();
                }
                other => panic!("{other:?}"),
            }
        }
        let closed: Vec<_> = rig.peer.windows.iter().filter(|(_, w)| w.closed).map(|(key, _)| *key).collect();
        for (itt, way) in closed {
            rig.peer.reclaim(itt, if way == Access2::Read { Access::RemoteRead } else { Access::RemoteWrite });
        }
    }
}

fn none() -> Advertised {
    Advertised::default()
}

/// A connection with random limits, some of them tight.
pub fn random_rig(rng: &mut Rng) -> Rig {
    let kinds = Options::kinds();
    let kind = kinds[rng.below(4) as usize];
    let limits = Limits {
        puts: 1 + rng.below(8) as usize,
        gets: 1 + rng.below(8) as usize,
        reserve: rng.below(6) as usize,
        receives: 64,
        ..kind.limits
    };
    let options = Options {
        seed: rng.next(),
        latency: Latency { min: 0, max: u64::from(rng.below(6)) },
        limits,
        invalidates: rng.below(2) == 0,
        send_depth: 8 + rng.below(24) as u16,
        receives: 64,
        peer_receives: 32,
        ird: 1 + rng.below(5) as u16,
        control: 1 + rng.below(12) as usize,
        memory: 2 << 20,
        ..kind
    };
    let mut rig = Rig::new(options);
    rig.mover.enable(&Parameters { initial_r2t: false, ..parameters() });
    rig
}

/// One turn of both sides.
pub fn turn(rig: &mut Rig, server: &mut Server, driver: &mut Driver) {
    rig.turn();
    driver.look(rig);
    let seen = rig.drain();
    server.act(rig, &seen);
    rig.mover.flush();
}

#[test]
fn random_conversations_end_well() {
    let (mut served, mut aborted) = (0, 0);
    for seed in 0..150 {
        let mut driver = Driver::new(seed);
        let mut rig = random_rig(&mut driver.rng);
        let mut server = Server::default();
        for _ in 0..150 {
            for _ in 0..driver.rng.below(3) {
                driver.issue(&mut rig);
            }
            turn(&mut rig, &mut server, &mut driver);
        }
        let mut left = 3000;
        while !(driver.is_idle() && server.is_idle()) {
            turn(&mut rig, &mut server, &mut driver);
            left -= 1;
            assert!(left > 0, "seed {seed} hangs: {server:?}");
        }
        assert_eq!(rig.ended, None, "seed {seed}");
        (served, aborted) = (served + server.served, aborted + server.aborted);
        rig.finish();
    }
    assert!(served > 1500 && aborted > 50, "the conversations were not empty: {served} and {aborted}");
}

/// A message that may be anything, most of it likely to get past the first checks.
fn rubbish(rng: &mut Rng) -> Vec<u8> {
    let len = [0, 27, 28, 75, 76, 77, 100, 1000][rng.below(8) as usize] + rng.below(40) as usize;
    let mut message: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
    let mut set = |at: usize, bytes: &[u8]| {
        if let Some(place) = message.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    if rng.below(8) > 0 {
        set(0, &[0x10 | rng.below(16) as u8]);
    }
    if rng.below(3) > 0 {
        // Data-Out and commands of few tasks, with lengths that may be right.
        let opcode = [Opcode::DATA_OUT, Opcode::SCSI_COMMAND, Opcode::NOP_OUT][rng.below(3) as usize];
        set(HEADER, &[opcode.0, rng.next() as u8]);
        set(HEADER + 4, &[0, 0, 0, rng.below(30) as u8]);
        set(HEADER + 16, &rng.below(3).to_be_bytes());
        set(HEADER + 20, &RESERVED_TAG.to_be_bytes());
        set(HEADER + 36, &[0, 0, 0, rng.below(2) as u8, 0, 0, 0, rng.below(40) as u8]);
    }
    message
}

#[test]
fn rubbish_is_never_a_panic_nor_a_lost_buffer() {
    let mut shown = 0;
    for seed in 0..300 {
        let mut rng = Rng(seed);
        let mut rig = random_rig(&mut rng);
        for i in 0..30 {
            let message = rubbish(&mut rng);
            rig.peer.say(&message);
            match rng.below(6) {
                0 => rig.expect(tag(i), rng.below(3), 0, 50),
                1 => rig.mover.release_task(tag(i / 2)),
                2 => rig.mover.refuse_unsolicited(rng.below(3)),
                _ => {}
            }
            rig.turns(3);
            shown += rig.drain().len();
            rig.mover.flush();
            if rig.ended.is_some() {
                break;
            }
        }
        rig.finish();
    }
    assert!(shown > 500, "some of it is taken for something");
}
