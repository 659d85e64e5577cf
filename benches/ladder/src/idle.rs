//! `ladder loop`: what a turn costs in which nothing happens: the reactor, and one poller that has nothing to do.

use std::thread::sleep;
use std::time::Duration;

use reactors::{CoreId, CpuList, Fleet, FleetConfig, Idle, Poller, Progress, Turn};

use crate::Result;
use crate::machine::{self, Machine};
use crate::report::{self, Row};

/// What to measure.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Pollers on the reactor.
    #[arg(long, default_value_t = 1)]
    pollers: usize,
    /// Seconds of the measurement.
    #[arg(long, value_parser = crate::seconds, default_value_t = 1.0)]
    time: f64,
    /// The reactor's CPU.
    #[arg(long, default_value_t = 0)]
    core: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

struct Nothing;

impl Poller for Nothing {
    fn poll(&mut self, _turn: &mut Turn<'_>) -> Progress {
        Progress::Idle
    }

    fn name(&self) -> &'static str {
        "nothing"
    }
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<()> {
    const CORE: CoreId = CoreId(0);
    let machine = Machine::observe();
    let cores = machine::check_cpus(&[args.core])?;
    let fleet = Fleet::start(FleetConfig { cores, idle: Idle::Spin, ..FleetConfig::on(CpuList::usable()) })?;
    for _ in 0..args.pollers {
        fleet.call(CORE, |core| core.add_poller(Box::new(Nothing)))??;
    }
    // Between two turns: both figures are of one moment.
    let tally =
        || fleet.call(CORE, |core| core.now()).map(|now| (now, fleet.stats(CORE).map_or(0, |stats| stats.turns)));
    let (began, before) = tally()?;
    sleep(Duration::from_secs_f64(args.time));
    let (ended, after) = tally()?;
    let seconds = ended.since(began).as_secs_f64();
    let what = Row { rung: "empty turn".to_owned(), rw: "-".to_owned(), ..Row::default() };
    let row = what.counted(after - before, seconds, seconds, after - before);
    if !fleet.shutdown(Duration::from_secs(5)).is_clean() {
        return Err("the reactor did not end cleanly".into());
    }
    report::print(machine, &[row], args.json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted() {
        let core = CpuList::usable().as_slice()[0].0;
        run(&Args { pollers: 2, time: 0.01, core, json: true }).unwrap();
    }
}
