//! What each of several connections gets: of one core and across cores, and how long a turn can be.

use std::fmt;
use std::io;

use icount::pdu::Direction;
use icount::{Load, iser, tcp};

use crate::refill;
use crate::rig::{Device, Plan, Rig};

/// Rounds before anything counts, and rounds that count.
const WARM_UP: usize = 16;
const ROUNDS: usize = 400;

/// What carries commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// iSER on the loopback provider.
    Iser,
    /// iSCSI on sockets of this process.
    Tcp,
}

/// Connections of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is about.
    pub name: &'static str,
    /// Cores.
    pub cores: usize,
    /// What carries the commands.
    pub transport: Transport,
    /// Which way the data goes.
    pub direction: Direction,
    /// Commands under way on each connection, from the first.
    pub depths: &'static [usize],
    /// How many times those.
    pub times: usize,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is about.
    pub case: Case,
    /// I/Os of each connection.
    pub ios: Vec<u64>,
    /// Most I/Os of one turn.
    pub longest_turn: u64,
    /// Most connections of a core.
    pub most_connections: u64,
}

impl Row {
    /// Most over fewest I/Os, among connections of the same depth as the first.
    pub fn unfairness(&self) -> f64 {
        let depths = self.case.depths;
        let alike = self.ios.iter().enumerate().filter(|(n, _)| depths[n % depths.len()] == depths[0]);
        let (most, fewest) = alike.fold((0, u64::MAX), |(most, least), (_, ios)| (most.max(*ios), least.min(*ios)));
        most as f64 / fewest as f64
    }

    /// I/Os that a turn may serve by what the target declares: so many events for each connection.
    pub fn budget(&self) -> u64 {
        let events = match self.case.transport {
            Transport::Iser => target::limits::UPCALLS_PER_TURN,
            Transport::Tcp => target::limits::UPCALLS_PER_TCP_TURN,
        };
        self.most_connections * events as u64
    }

    /// Rounds in which the last connection waited for its command, for each that ended.
    pub fn rounds_of_last(&self) -> f64 {
        ROUNDS as f64 / self.ios.last().copied().unwrap_or(0) as f64
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { name, cores, .. } = self.case;
        let (unfairness, last) = (self.unfairness(), self.rounds_of_last());
        write!(f, "fairness={name} cores={cores} connections={} max_min={unfairness:.4} ", self.ios.len())?;
        write!(f, "longest_turn={} budget={} rounds_of_last={last:.3}", self.longest_turn, self.budget())
    }
}

/// The cases of the table.
pub const CASES: &[Case] = &[
    Case { depths: &[32; 8], ..case("8 alike, iSER reads", Transport::Iser, Direction::Read) },
    Case { depths: &[32; 8], ..case("8 alike, iSER writes", Transport::Iser, Direction::Write) },
    Case { depths: &[32; 8], ..case("8 alike, TCP reads", Transport::Tcp, Direction::Read) },
    Case { depths: &[32; 8], ..case("8 alike, TCP writes", Transport::Tcp, Direction::Write) },
    Case {
        depths: &[64, 64, 64, 64, 64, 64, 64, 1],
        ..case("7 deep and 1 alone, iSER", Transport::Iser, Direction::Read)
    },
    Case {
        depths: &[64, 64, 64, 64, 64, 64, 64, 1],
        ..case("7 deep and 1 alone, TCP", Transport::Tcp, Direction::Write)
    },
    Case { depths: &[64; 8], ..case("8 deep, iSER", Transport::Iser, Direction::Read) },
    Case { depths: &[64; 64], ..case("64 deep, TCP", Transport::Tcp, Direction::Write) },
    Case {
        cores: 64,
        depths: &[32],
        times: 256,
        ..case("256 alike on 64 cores, TCP", Transport::Tcp, Direction::Read)
    },
];

const fn case(name: &'static str, transport: Transport, direction: Direction) -> Case {
    Case { name, cores: 1, transport, direction, depths: &[], times: 1 }
}

/// All cases.
///
/// # Errors
/// What the system lacks.
pub fn all() -> io::Result<Vec<Row>> {
    CASES.iter().map(run).collect()
}

/// One case.
///
/// # Errors
/// What the system lacks.
pub fn run(case: &Case) -> io::Result<Row> {
    let count = case.depths.len() * case.times;
    let rdma = if case.transport == Transport::Iser { count } else { 0 };
    let pool = (16 << 20) + (2 << 20) * count / case.cores;
    let mut rig = Rig::new(&Plan { cores: case.cores, device: Device::Local, rdma, pool, watched: true })?;
    let mut loads: Vec<Box<dyn Load>> = Vec::new();
    for (number, depth) in (0..count as u16).zip(case.depths.iter().cycle()) {
        loads.push(match case.transport {
            Transport::Iser => Box::new(iser::Initiator::log_in(&mut rig, number, case.direction, *depth)),
            Transport::Tcp => Box::new(tcp::Initiator::log_in(&mut rig, number, case.direction, *depth)?),
        });
    }
    let most_connections = rig.connections().into_iter().max().map_or(0, u64::from);
    let (mut ios, mut longest_turn) = (vec![0; count], 0);
    for round in 0..WARM_UP + ROUNDS {
        for (load, ios) in loads.iter_mut().zip(&mut ios) {
            let ended = refill(&mut **load, &mut rig).commands;
            *ios += if round < WARM_UP { 0 } else { ended };
        }
        rig.turn_once();
        longest_turn = rig.longest_turn().max(longest_turn);
    }
    Ok(Row { case: *case, ios, longest_turn, most_connections })
}
