//! `scale`: many cores of the target on one thread, on a time of their own, to see what one core says nothing about:
//! who gets which connection, whether all are served alike, and what cores take from each other's caches.
//!
//! `benches/scale/run` makes the tables. The initiators, and what valgrind is told, are `icount`'s.

mod fairness;
mod lines;
mod placement;
mod rig;
mod ring;
#[cfg(test)]
mod tests;

use std::io;

use clap::{Parser, Subcommand};

use icount::pdu::Direction;
use icount::{Ended, Load, counted};
use rig::{Device, Rig};

/// Hears what ended and begins as many anew, without a turn of the target.
fn refill(load: &mut dyn Load, rig: &mut Rig) -> Ended {
    rig.held = true;
    // A round begins before it hears.
    let (heard, begun) = (load.round(rig), load.round(rig));
    rig.held = false;
    assert_eq!(heard.failed + begun.failed, 0, "commands failed");
    Ended { commands: heard.commands + begun.commands, failed: 0 }
}

/// Prints lines of `name=value`.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Connections of unlike loads come, leave and come back.
    Placement {
        /// Cores.
        #[arg(long, default_value_t = 64)]
        cores: usize,
        /// Connections at a time.
        #[arg(long, default_value_t = 320)]
        connections: usize,
        /// Departures, each followed by an arrival.
        #[arg(long, default_value_t = 200)]
        changes: usize,
        /// Seed of loads and departures.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Place by the number of connections alone.
        #[arg(long)]
        blind: bool,
    },
    /// What each of several connections gets.
    Fairness,
    /// Reads or writes for valgrind to look at: `icount io`, with two cores.
    Io {
        /// Which way the data goes.
        #[arg(long)]
        direction: Direction,
        /// What is behind the logical unit.
        #[arg(long)]
        device: Device,
        /// Cores that have a connection, from the first.
        #[arg(long)]
        serving: usize,
        /// Commands under way on each connection.
        #[arg(long, default_value_t = 32)]
        depth: usize,
        /// Commands of the first window; the second has twice as many.
        #[arg(long, default_value_t = 1024)]
        count: u64,
    },
    /// What a cache line, and a message, cost between two CPUs.
    Ring,
    /// Prints where the function is that counts.
    Address,
}

fn main() -> io::Result<()> {
    match Arguments::parse().what {
        What::Placement { cores, connections, changes, seed, blind } => {
            let plan = placement::Plan { cores, connections, changes, seed, blind };
            placement::run(&plan)?.iter().for_each(|phase| println!("{phase}"));
        }
        What::Fairness => fairness::all()?.iter().for_each(|row| println!("{row}")),
        What::Io { direction, device, serving, depth, count } => {
            lines::run(direction, device, serving, depth, count)?;
        }
        What::Ring => println!("{}", ring::measure()?),
        What::Address => println!("{:p}", counted::counted_turns as *const ()),
    }
    // Nothing is torn down: that is not what is looked at.
    std::process::exit(0)
}
