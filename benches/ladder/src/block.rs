//! `ladder bdev`: one reactor on one CPU, one channel, a fixed number of I/Os in flight.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use bdev::malloc::MallocParams;
use bdev::null::NullParams;
use bdev::uring::UringParams;
use bdev::{Bdev, Malloc, Null, Registry, Uring};
use reactors::memory::parse_size;
use reactors::{Core, CoreId, CpuId, CpuList, Fleet, FleetConfig, Idle};

use crate::Result;
use crate::machine::{self, Machine};
use crate::pattern::Rw;
use crate::report::{self, Row};

mod decide;
mod load;

use load::{Load, Plan, Tally};

/// What to measure.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The device: null, malloc:SIZE (for example malloc:1G) or uring:PATH. Writes overwrite the file.
    #[arg(long)]
    device: Device,
    #[arg(long, value_enum, default_value = "randread")]
    rw: Rw,
    /// Bytes of an I/O.
    #[arg(long, default_value_t = 4096)]
    bs: usize,
    /// I/Os in flight; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "32")]
    qd: Vec<usize>,
    /// Seconds of each measurement.
    #[arg(long, value_parser = crate::seconds, default_value_t = 2.0)]
    time: f64,
    /// Seconds before it.
    #[arg(long, value_parser = crate::seconds, default_value_t = 0.5)]
    warmup: f64,
    /// The reactor's CPU.
    #[arg(long, default_value_t = 0)]
    core: u16,
    /// Bytes of a logical block.
    #[arg(long, default_value_t = 4096)]
    block_size: u32,
    /// Use memory that the device lends instead of pool buffers, as the target does where it can: no copy. The null
    /// device lends for reads in any case.
    #[arg(long)]
    lend: bool,
    /// Use pool buffers for reads of the null device, too, which fills them with zeroes.
    #[arg(long, conflicts_with = "lend")]
    pool: bool,
    /// Begin with a CDB: decide READ(10) or WRITE(10) and submit the block operation that comes of it.
    #[arg(long)]
    scsi: bool,
    /// Have a thread of the kernel's on this CPU submit (SQPOLL), for a uring device.
    #[arg(long, value_name = "CPU")]
    sqpoll: Option<u16>,
    /// Open the device's own channel, below statistics and whatever else the registry puts on it.
    #[arg(long)]
    bare: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// What is measured.
    fn title(&self) -> String {
        let device = self.device.kind();
        let options = [(self.lends(), ", lent"), (self.sqpoll.is_some(), ", sqpoll"), (self.bare, ", bare")];
        let options: String = options.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        format!("{} {device}{options}", if self.scsi { "scsi + bdev" } else { "bdev" })
    }

    fn lends(&self) -> bool {
        self.lend || (self.device == Device::Null && self.rw.is_read() && !self.pool)
    }
}

/// A device as the command line names it.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Device {
    Null,
    Malloc(usize),
    Uring(PathBuf),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once(':') {
            None if text == "null" => Ok(Self::Null),
            Some(("malloc", size)) => parse_size(size).map(Self::Malloc).map_err(|error| error.to_string()),
            Some(("uring", path)) if !path.is_empty() => Ok(Self::Uring(path.into())),
            _ => Err("write null, malloc:SIZE or uring:PATH".to_owned()),
        }
    }
}

impl Device {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Malloc(_) => "malloc",
            Self::Uring(_) => "uring",
        }
    }

    fn create(&self, block_size: u32, sqpoll: Option<CpuId>, fleet: &Fleet) -> Result<Arc<dyn Bdev>> {
        /// Blocks of the null device: as many as nobody's table of them fits a cache.
        const NULL_BLOCKS: u64 = 1 << 28;
        let name = self.kind().to_owned();
        Ok(match self {
            Self::Null => {
                let params = NullParams { name, block_size, num_blocks: NULL_BLOCKS, ..NullParams::default() };
                Null::create_lending(&params, fleet.arena())?
            }
            Self::Malloc(bytes) => {
                let num_blocks = *bytes as u64 / u64::from(block_size);
                let params = MallocParams { name, block_size, num_blocks, ..MallocParams::default() };
                Malloc::create(&params, fleet.arena())?
            }
            Self::Uring(filename) => {
                let (filename, block_size) = (filename.clone(), Some(block_size));
                let params = UringParams { name, filename, block_size, ..UringParams::default() };
                match sqpoll {
                    Some(cpu) => Uring::create_threaded(&params, fleet.arena(), cpu)?,
                    None => Uring::create(&params, fleet.arena())?,
                }
            }
        })
    }
}

/// The one core there is.
const CORE: CoreId = CoreId(0);

/// Measures and prints.
pub fn run(args: &Args) -> Result<()> {
    let machine = Machine::observe();
    let mut cpus = machine::check_cpus(&[&[args.core], args.sqpoll.as_slice()].concat())?;
    let sqpoll = cpus.split_off(1).pop();
    if args.bs == 0 || !args.bs.is_multiple_of(args.block_size as usize) {
        return Err(format!("--bs {} is no multiple of the block size of {}", args.bs, args.block_size).into());
    }
    let config = FleetConfig { cores: cpus, idle: Idle::Spin, ..FleetConfig::on(CpuList::usable()) };
    let fleet = Fleet::start(config)?;
    let bdev = args.device.create(args.block_size, sqpoll, &fleet)?;
    if args.lends() && !bdev.features().lend {
        return Err(format!("a {} device lends no memory", args.device.kind()).into());
    }
    let registry = Registry::new();
    registry.register(bdev)?;
    let rows: Result<Vec<_>> = args.qd.iter().map(|&qd| measure(args, &fleet, &registry, qd)).collect();
    let left = fleet.shutdown(Duration::from_secs(5));
    if !left.is_clean() {
        return Err(format!("the reactor did not end cleanly: {left:?}").into());
    }
    report::print(machine, &rows?, args.json)
}

fn measure(args: &Args, fleet: &Fleet, registry: &Registry, qd: usize) -> Result<Row> {
    let uring = registry.get_as::<Uring>(args.device.kind());
    let plan = Plan { rw: args.rw, bytes: args.bs, qd, lend: args.lends(), scsi: args.scsi };
    let (registry, name, bare) = (registry.clone(), args.device.kind(), args.bare);
    let poller = fleet.call(CORE, move |core| -> std::result::Result<_, String> {
        let bdev = registry.get(name).ok_or("the device is gone")?;
        let channel = if bare { bdev.open(core) } else { registry.open(core, name) };
        let load = Load::new(plan, channel.map_err(|e| e.to_string())?, &*bdev, core.now())?;
        Ok(core.add_shared(load).map_err(|e| e.to_string())?.0)
    })??;
    sleep(Duration::from_secs_f64(args.warmup));
    let enters = || uring.as_ref().map(|uring| uring.enters());
    let (enters_before, before) = (enters(), on_load(fleet, |load| load.begin())?);
    sleep(Duration::from_secs_f64(args.time));
    let (enters_after, after) = (enters(), on_load(fleet, |load| load.end())?);
    wait_until_drained(fleet)?;
    fleet.call(CORE, move |core| {
        drop(core.remove_poller(poller));
        core.locals.remove::<Rc<RefCell<Load>>>();
    })?;
    let mut row = row(args, qd, before, after)?;
    let calls = enters_after.zip(enters_before).map(|(after, before)| after - before);
    row.calls_per_io = calls.map(|calls| calls as f64 / row.ios.max(1) as f64);
    Ok(row)
}

/// Asks the load on its core.
fn on_load<R: Send + 'static>(fleet: &Fleet, ask: fn(&mut Load) -> R) -> Result<R> {
    let answer = fleet
        .call(CORE, move |core: &mut Core| core.local::<Rc<RefCell<Load>>>().map(|load| ask(&mut load.borrow_mut())))?;
    Ok(answer.ok_or("the load is gone")?)
}

fn wait_until_drained(fleet: &Fleet) -> Result<()> {
    let begun = Instant::now();
    while on_load(fleet, |load| load.in_flight())? > 0 {
        if begun.elapsed() > Duration::from_secs(10) {
            return Err("I/Os do not complete".into());
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn row(args: &Args, qd: usize, first: Tally, last: Tally) -> Result<Row> {
    if last.errors > 0 {
        return Err(format!("{} I/Os failed, the last with {:?}", last.errors, last.error).into());
    }
    let seconds = last.at.since(first.at).as_secs_f64();
    let busy = (last.busy_ns - first.busy_ns) as f64 / 1e9;
    let what = Row {
        rung: args.title(),
        rw: args.rw.name().to_owned(),
        bs: args.bs,
        qd,
        percentiles: last.percentiles,
        ..Row::default()
    };
    Ok(what.counted(last.ios - first.ios, seconds, busy, last.busy_turns - first.busy_turns))
}

#[cfg(test)]
mod tests;
