//! `icount`: the whole target on one thread without a kernel in its way, so that valgrind can count what an I/O costs.
//!
//! It prints what the target counts itself; `benches/icount/run` runs it under callgrind and makes the tables.

mod rig;

use std::io;

use clap::{Parser, Subcommand, ValueEnum};

use icount::pdu::Direction;
use icount::{Ended, Load, Stage, counted, iser, pdu, tcp};
use rig::{Device, Rig, Tally};

#[global_allocator]
static ALLOCATOR: reactors::guard::Counting = reactors::guard::Counting;

/// Commands before anything is counted: every slot and buffer has been used by then.
const WARM_UP: u64 = 512;
/// Commands under way at the most: the command window of the target.
const MOST_DEPTH: u64 = 64;
/// Rounds without any command ending, after which something is wrong.
const STUCK: u32 = 1000;

/// Drives one target for valgrind to look at.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Reads or writes of 4 KiB.
    Io {
        /// What carries them.
        #[arg(long)]
        transport: Transport,
        /// Which way the data goes.
        #[arg(long)]
        direction: Direction,
        /// What is behind the logical unit.
        #[arg(long)]
        device: Device,
        /// Commands under way.
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=MOST_DEPTH as i64))]
        depth: u8,
        /// Commands of the first window; the second has twice as many.
        #[arg(long, default_value_t = 1024)]
        count: u64,
    },
    /// Turns that find nothing.
    Turn {
        /// Idle iSER connections.
        #[arg(long, default_value_t = 0)]
        iser: u16,
        /// Idle iSCSI/TCP connections.
        #[arg(long, default_value_t = 0)]
        tcp: u16,
        /// With an RDMA device in service.
        #[arg(long)]
        device: bool,
        /// With a portal open for iSCSI and soft-iWARP, as the daemon opens it.
        #[arg(long)]
        portal: bool,
        /// Turns of the first window; the second has twice as many. Whole rests, so that both have the same share.
        #[arg(long, default_value_t = 16_000)]
        count: u64,
    },
    /// Prints what it was compiled for.
    Features,
    /// Prints where the function is that counts.
    Address,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Transport {
    /// iSER on the loopback provider.
    Iser,
    /// iSCSI on a socket of this process.
    Tcp,
}

/// Turns that an idle core takes in a row, as the reactor's thread has it.
const TURNS_AT_ONCE: u32 = 50;

/// An idle target: every turn is one of what is counted.
struct Idle;

impl Load for Idle {
    fn round(&mut self, rig: &mut dyn Stage) -> Ended {
        rig.turns(TURNS_AT_ONCE);
        Ended { commands: TURNS_AT_ONCE.into(), failed: 0 }
    }
}

/// Rounds until so many commands have ended; how many have.
fn drive(rig: &mut Rig, load: &mut dyn Load, count: u64) -> Ended {
    let (mut sum, mut stuck) = (Ended::default(), 0);
    while sum.commands < count {
        let round = load.round(rig);
        stuck = if round.commands == 0 { stuck + 1 } else { 0 };
        assert!(stuck < STUCK, "no command ends any more");
        (sum.commands, sum.failed) = (sum.commands + round.commands, sum.failed + round.failed);
    }
    sum
}

/// Two windows, the second twice as long, so that it can be seen whether each costs the same. Every command has to move
/// so many bytes.
fn measure(rig: &mut Rig, load: &mut dyn Load, count: u64, bytes: u32) {
    drive(rig, load, WARM_UP);
    counted::window_ended(0);
    let mut lines = Vec::new();
    for length in [count, 2 * count] {
        let before = rig.tally();
        rig.count(true);
        let done = drive(rig, load, length);
        rig.count(false);
        counted::window_ended(done.commands);
        assert_eq!(done.failed, 0, "commands failed");
        let after = rig.tally();
        // Those under way at either end may have moved theirs outside of the window.
        let least = done.commands.saturating_sub(MOST_DEPTH) * u64::from(bytes);
        assert!(after.bytes() - before.bytes() >= least, "commands ended without their data");
        lines.push(describe(done.commands, &before, &after));
    }
    // Last, so that writing it is in no window.
    println!("{}", lines.join("\n"));
    rig.payload().iter().for_each(|range| println!("payload={:#x}-{:#x}", range.start, range.end));
}

fn describe(ended: u64, before: &Tally, after: &Tally) -> String {
    let (old, new) = (&before.stats, &after.stats);
    let requests = |tally: &Tally| tally.stats.rdma.posted() - tally.stats.rdma.receives;
    let values = [
        ("ended", ended),
        ("turns", after.turns - before.turns),
        ("allocations", after.allocations - before.allocations),
        ("messages", after.messages - before.messages),
        ("requests", requests(after) - requests(before)),
        ("receives", new.rdma.receives - old.rdma.receives),
        ("signalled", new.rdma.signalled - old.rdma.signalled),
        ("completions", new.rdma.completions - old.rdma.completions),
        ("doorbells", new.rdma.doorbells - old.rdma.doorbells),
        ("lent", new.lent - old.lent),
        ("bytes", after.bytes() - before.bytes()),
    ];
    let line: Vec<_> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("window {}", line.join(" "))
}

/// Processor and the features that the compiler may use and that change what it makes of code.
fn features() -> String {
    macro_rules! having {
        ($($feature:literal)*) => { [$(($feature, cfg!(target_feature = $feature))),*] };
    }
    let known = having!("sse4.2" "popcnt" "bmi1" "bmi2" "lzcnt" "movbe" "avx" "avx2" "avx512f" "lse" "sve");
    let used = known.iter().filter(|(_, used)| *used).map(|(name, _)| *name);
    std::iter::once(std::env::consts::ARCH).chain(used).collect::<Vec<_>>().join(" ")
}

fn main() -> io::Result<()> {
    match Arguments::parse().what {
        What::Io { transport, direction, device, depth, count } => {
            let (iser, depth) = (transport == Transport::Iser, usize::from(depth));
            let mut rig = Rig::new(device, !iser, usize::from(iser))?;
            let mut load: Box<dyn Load> = match transport {
                Transport::Iser => Box::new(iser::Initiator::log_in(&mut rig, 0, direction, depth)),
                Transport::Tcp => Box::new(tcp::Initiator::log_in(&mut rig, 0, direction, depth)?),
            };
            measure(&mut rig, &mut *load, count, pdu::IO_BYTES);
        }
        What::Turn { iser, tcp, device, portal, count } => {
            let mut rig = Rig::new(Device::Null, portal || tcp > 0, usize::from(iser.max(u16::from(device))))?;
            let _idle: Vec<_> = (0..iser).map(|n| iser::Initiator::log_in(&mut rig, n, Direction::Read, 1)).collect();
            let _idle_too = (0..tcp)
                .map(|n| tcp::Initiator::log_in(&mut rig, iser + n, Direction::Read, 1))
                .collect::<io::Result<Vec<_>>>()?;
            measure(&mut rig, &mut Idle, count, 0);
        }
        What::Features => println!("{}", features()),
        What::Address => println!("{:p}", counted::counted_turns as *const ()),
    }
    // Nothing is torn down: that is not what is measured.
    std::process::exit(0)
}
