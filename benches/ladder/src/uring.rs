//! `ladder uring`: the floor of the uring device. One thread, one ring, registered file and buffers, direct I/O, a
//! fixed number of I/Os in flight, one system call for each batch: what fio's io_uring engine does with
//! `--fixedbufs --registerfiles`.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::ValueEnum;
use io_uring::{IoUring, opcode, types};
use reactors::{Arena, Clock, Hugepages, Nanos, Region};

use crate::Result;
use crate::latency::Latencies;
use crate::machine::{self, Machine};
use crate::pattern::{Places, Rw};
use crate::report::{self, Row};

/// I/Os in flight: one buffer and one entry each.
const MAX_DEPTH: usize = 1024;

/// What to measure.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A file or block device. Writes overwrite it.
    #[arg(long)]
    path: PathBuf,
    #[arg(long, value_enum, default_value = "randread")]
    rw: Rw,
    /// Bytes of an I/O.
    #[arg(long, default_value_t = 4096)]
    bs: usize,
    /// I/Os in flight; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,32")]
    qd: Vec<usize>,
    /// Seconds of each measurement.
    #[arg(long, value_parser = crate::seconds, default_value_t = 2.0)]
    time: f64,
    /// Seconds before it.
    #[arg(long, value_parser = crate::seconds, default_value_t = 0.5)]
    warmup: f64,
    /// The thread's CPU.
    #[arg(long, default_value_t = 0)]
    core: u16,
    /// Look for completions all the time, as a reactor does, instead of waiting for them in the kernel.
    #[arg(long)]
    spin: bool,
    /// How completions get into the ring.
    #[arg(long, value_enum, default_value = "deferred")]
    setup: Setup,
    /// The CPU of the kernel's thread, for --setup sqpoll.
    #[arg(long, value_name = "CPU", required_if_eq("setup", "sqpoll"))]
    sqpoll: Option<u16>,
    /// Go through the page cache.
    #[arg(long)]
    buffered: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Ways to set up a ring.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Setup {
    /// When the thread enters the kernel for them.
    Deferred,
    /// When the thread is in the kernel for whatever reason.
    Cooperative,
    /// By an interrupt of the thread.
    Plain,
    /// A thread of the kernel's, on the CPU of --sqpoll, submits and completes; no calls at all.
    Sqpoll,
}

/// How long the kernel's thread looks for entries before it sleeps, in milliseconds.
const SQPOLL_IDLE_MS: u32 = 1000;

impl Setup {
    fn build(self, entries: u32, sqpoll: u32) -> std::io::Result<IoUring> {
        let mut builder = IoUring::builder();
        match self {
            Self::Deferred => builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag(),
            Self::Cooperative => builder.setup_coop_taskrun().setup_taskrun_flag(),
            Self::Plain => &mut builder,
            Self::Sqpoll => builder.setup_sqpoll(SQPOLL_IDLE_MS).setup_sqpoll_cpu(sqpoll),
        };
        builder.build(entries)
    }
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<()> {
    let machine = Machine::observe();
    let cpus = machine::check_cpus(&[&[args.core], args.sqpoll.as_slice()].concat())?;
    if let Some(qd) = args.qd.iter().find(|qd| !(1..=MAX_DEPTH).contains(*qd)) {
        return Err(format!("--qd {qd} is not between 1 and {MAX_DEPTH}").into());
    }
    if args.bs == 0 {
        return Err("--bs is 0".into());
    }
    machine::pin(cpus[0])?;
    let rows: Result<Vec<_>> = args.qd.iter().map(|&qd| Loop::new(args, qd)?.measure(args)).collect();
    report::print(machine, &rows?, args.json)
}

/// A closed loop on a ring.
struct Loop {
    ring: IoUring,
    /// Outlives the ring's operations: `drop` waits for them.
    memory: Region,
    places: Places,
    started: Box<[Nanos]>,
    in_flight: usize,
    setup: Setup,
    clock: Clock,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    ios: u64,
    calls: u64,
    busy_turns: u64,
    latencies: Latencies,
}

impl Loop {
    fn new(args: &Args, qd: usize) -> Result<Self> {
        let flags = if args.buffered { 0 } else { libc::O_DIRECT };
        let file = OpenOptions::new().read(true).write(!args.rw.is_read()).custom_flags(flags).open(&args.path)?;
        let places = file_bytes(&file)? / args.bs as u64;
        if places == 0 {
            return Err(format!("{} holds no block of {} bytes", args.path.display(), args.bs).into());
        }
        let memory = Arena::new(Hugepages::Auto).region(qd * args.bs)?;
        let ring = args.setup.build(qd as u32, args.sqpoll.unwrap_or(0).into())?;
        ring.submitter().register_files(&[file.as_raw_fd()])?;
        let buffer = libc::iovec { iov_base: memory.as_ptr().as_ptr().cast(), iov_len: memory.len() };
        // SAFETY: the region outlives the ring's operations.
        unsafe { ring.submitter().register_buffers(&[buffer])? };
        let (places, started) = (Places::new(args.rw, places), vec![Nanos::ZERO; qd].into());
        Ok(Self {
            ring,
            memory,
            places,
            started,
            in_flight: 0,
            setup: args.setup,
            clock: Clock::new(),
            counts: Counts::default(),
        })
    }

    fn measure(mut self, args: &Args) -> Result<Row> {
        let now = self.clock.now();
        (0..self.started.len()).try_for_each(|slot| self.start(args, slot, now))?;
        self.turns(args, args.warmup)?;
        self.counts = Counts::default();
        let (begun, idle) = (self.clock.now(), self.turns(args, args.time)?);
        let seconds = self.clock.now().since(begun).as_secs_f64();
        let what = Row {
            rung: format!("floor: io_uring {:?}{}", args.setup, if args.spin { ", spinning" } else { "" })
                .to_lowercase(),
            rw: args.rw.name().to_owned(),
            bs: args.bs,
            qd: self.started.len(),
            percentiles: self.counts.latencies.percentiles(),
            calls_per_io: Some(self.counts.calls as f64 / self.counts.ios.max(1) as f64),
            ..Row::default()
        };
        Ok(what.counted(self.counts.ios, seconds, seconds - idle, self.counts.busy_turns))
    }

    /// Goes on for a while; returns the seconds spent without a completion to handle.
    fn turns(&mut self, args: &Args, seconds: f64) -> Result<f64> {
        let (begun, mut before, mut idle) = (self.clock.now(), self.clock.now(), 0);
        while before.since(begun).as_secs_f64() < seconds {
            let reaped = self.turn(args, before)?;
            let now = self.clock.now();
            if reaped == 0 {
                idle += now.get() - before.get();
            } else {
                self.counts.busy_turns += 1;
            }
            before = now;
        }
        Ok(idle as f64 / 1e9)
    }

    /// Replaces what is complete, and enters the kernel if there is reason to.
    fn turn(&mut self, args: &Args, now: Nanos) -> Result<usize> {
        if args.spin && self.ring.completion().is_empty() && self.ring.submission().taskrun() {
            self.enter(0)?;
        }
        let mut reaped = 0;
        loop {
            let entry = self.ring.completion().next();
            let Some(entry) = entry else { break };
            let slot = entry.user_data() as usize;
            self.in_flight -= 1;
            if usize::try_from(entry.result()) != Ok(args.bs) {
                return Err(format!("an I/O ended with {}", entry.result()).into());
            }
            self.counts.latencies.record(now.get().saturating_sub(self.started[slot].get()));
            self.start(args, slot, now)?;
            reaped += 1;
        }
        self.counts.ios += reaped as u64;
        if !args.spin {
            self.enter(1)?;
        } else if !self.ring.submission().is_empty() {
            self.enter(0)?;
        }
        Ok(reaped)
    }

    fn enter(&mut self, wait: usize) -> Result<()> {
        // With a thread of the kernel's that submits, this enters only to wake it.
        self.ring.submit_and_wait(wait)?;
        self.counts.calls += u64::from(self.setup != Setup::Sqpoll);
        Ok(())
    }

    fn start(&mut self, args: &Args, slot: usize, now: Nanos) -> Result<()> {
        self.started[slot] = now;
        let memory = self.memory.as_ptr().as_ptr().wrapping_add(slot * args.bs);
        let (file, offset, bytes) = (types::Fixed(0), self.places.next() * args.bs as u64, args.bs as u32);
        let entry = match args.rw.is_read() {
            true => opcode::ReadFixed::new(file, memory, bytes, 0).offset(offset).build(),
            false => opcode::WriteFixed::new(file, memory, bytes, 0).offset(offset).build(),
        };
        // SAFETY: the slot's memory is its own and stays until the operation is complete.
        unsafe { self.ring.submission().push(&entry.user_data(slot as u64))? };
        self.in_flight += 1;
        Ok(())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        while self.in_flight > 0 && self.ring.submit_and_wait(1).is_ok() {
            self.in_flight -= self.ring.completion().count();
        }
    }
}

fn file_bytes(mut file: &std::fs::File) -> Result<u64> {
    // The end of a block device is found the same way.
    Ok(std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_can_be_driven_waiting_and_spinning() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        for spin in [false, true] {
            let args = Args {
                path: file.path().to_owned(),
                rw: Rw::Randwrite,
                bs: 4096,
                qd: vec![1, 8],
                time: 0.01,
                warmup: 0.0,
                core: reactors::CpuList::usable().as_slice()[0].0,
                spin,
                setup: Setup::Deferred,
                sqpoll: None,
                buffered: true,
                json: true,
            };
            run(&args).unwrap();
            assert!(run(&Args { bs: 1 << 21, ..args }).is_err(), "larger than the file");
        }
    }
}
