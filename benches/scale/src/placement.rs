//! Connections of unlike loads that come, leave and come back, over sockets of this process: accepted by the first
//! core, placed, mailed to their core, logged in and served there.

use std::fmt;
use std::io;

use icount::Stage;
use icount::pdu::Direction;
use icount::tcp::Initiator;

use crate::refill;
use crate::rig::{self, Device, Rig, STEP};

/// Simulated time between two changes: longer than a sample of busy shares holds.
const BETWEEN: u64 = 11_000_000;
/// Memory of each core's pools.
const POOL: usize = 8 << 20;

/// What is to happen.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Cores.
    pub cores: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Departures, each followed by an arrival.
    pub changes: usize,
    /// Of loads and departures.
    pub seed: u64,
    /// Placement by the number of connections alone.
    pub blind: bool,
}

/// What was seen in one phase.
#[derive(Clone, Debug)]
pub struct Phase {
    /// What happened.
    pub name: &'static str,
    /// Connections at its end.
    pub connections: usize,
    /// Most connections of a core above the fewest of one: at the end, and ever.
    pub spread: (u32, u32),
    /// Busy time of each interval's busiest core over that of the average one.
    pub busiest: f64,
    /// The average core's share of busy time.
    pub load: f64,
    /// Commands that ended.
    pub ios: u64,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, connections, spread, busiest, load, ios } = self;
        write!(f, "phase={name} connections={connections} spread={} worst_spread={} ", spread.0, spread.1)?;
        write!(f, "busiest={busiest:.3} load={load:.4} ios={ios}")
    }
}

/// A connection that does its commands every so often.
struct Client {
    initiator: Initiator,
    every: u64,
    next: u64,
}

/// How much a connection does: commands at a time, and nanoseconds between.
fn heavy_or_light(random: &mut Random) -> (usize, u64) {
    match random.below(20) {
        0 => (3, 100_000),
        1..4 => (1, 500_000),
        _ => (1, 5_000_000),
    }
}

/// A generator of numbers that look random (splitmix64).
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// One below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

struct Simulation {
    rig: Rig,
    clients: Vec<Client>,
    random: Random,
    arrivals: u16,
    watch: Watch,
}

/// What was seen since a phase began.
#[derive(Default)]
struct Watch {
    worst_spread: u32,
    busiest: f64,
    loads: f64,
    intervals: f64,
    ios: u64,
}

/// Runs the phases: all come; they change; all leave; all come back.
///
/// # Errors
/// What the system lacks.
pub fn run(plan: &Plan) -> io::Result<Vec<Phase>> {
    let like = rig::Plan { cores: plan.cores, device: Device::Local, rdma: 0, pool: POOL, watched: !plan.blind };
    let mut this = Simulation {
        rig: Rig::new(&like)?,
        clients: Vec::new(),
        random: Random(plan.seed),
        arrivals: 0,
        watch: Watch::default(),
    };
    let mut phases = Vec::new();
    for _ in 0..plan.connections {
        this.arrive()?;
        this.interval();
    }
    phases.push(this.ended("come"));
    for _ in 0..plan.changes {
        this.leave();
        this.arrive()?;
        this.interval();
    }
    phases.push(this.ended("change"));
    while !this.clients.is_empty() {
        this.leave();
    }
    this.interval();
    assert_eq!(this.rig.connections(), vec![0; plan.cores], "who left counts no more");
    for _ in 0..plan.connections {
        this.arrive()?;
    }
    this.interval();
    phases.push(this.ended("return at once"));
    Ok(phases)
}

impl Simulation {
    fn arrive(&mut self) -> io::Result<()> {
        let (depth, every) = heavy_or_light(&mut self.random);
        let initiator = Initiator::log_in(&mut self.rig, self.arrivals, Direction::Read, depth)?;
        self.arrivals += 1;
        // Not all of a kind at the same time.
        let next = self.rig.now() + self.random.below(every as usize) as u64;
        self.clients.push(Client { initiator, every, next });
        self.watch.worst_spread = self.watch.worst_spread.max(self.spread());
        Ok(())
    }

    fn leave(&mut self) {
        let before: u32 = self.rig.connections().iter().sum();
        let number = self.random.below(self.clients.len());
        drop(self.clients.swap_remove(number));
        while self.rig.connections().iter().sum::<u32>() == before {
            self.rig.turn();
        }
        self.watch.worst_spread = self.watch.worst_spread.max(self.spread());
    }

    /// Lets simulated time pass and looks who was busy.
    fn interval(&mut self) {
        let (before, begun) = (self.rig.busy(), self.rig.now());
        while self.rig.now() < begun + BETWEEN {
            self.step();
        }
        let spent: Vec<_> = self.rig.busy().iter().zip(before).map(|(now, then)| now - then).collect();
        let (sum, most) = (spent.iter().sum::<u64>() as f64, spent.iter().max().copied().unwrap_or(0) as f64);
        let average = sum / spent.len() as f64;
        self.watch.loads += average / (self.rig.now() - begun) as f64;
        self.watch.busiest += most / (self.rig.now() - begun) as f64;
        self.watch.intervals += 1.0;
    }

    fn step(&mut self) {
        let now = self.rig.now();
        for client in self.clients.iter_mut().filter(|client| client.next <= now) {
            self.watch.ios += refill(&mut client.initiator, &mut self.rig).commands;
            client.next = now + client.every.max(STEP);
        }
        self.rig.turn();
    }

    fn spread(&self) -> u32 {
        let counts = self.rig.connections();
        counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0)
    }

    fn ended(&mut self, name: &'static str) -> Phase {
        let watch = core::mem::take(&mut self.watch);
        Phase {
            name,
            connections: self.clients.len(),
            spread: (self.spread(), watch.worst_spread),
            busiest: if watch.loads > 0.0 { watch.busiest / watch.loads } else { 1.0 },
            load: watch.loads / watch.intervals.max(1.0),
            ios: watch.ios,
        }
    }
}
