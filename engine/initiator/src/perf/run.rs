//! Sets a benchmark up, watches over its threads, and adds up what they found.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::options::{Options, Pattern, Rw};
use super::pacing::Pacing;
use super::region::part;
use super::report::{Direction, Latency, Progress, Rdma, Report};
use super::tally::{Counts, Tally};
use super::thread::{Gauge, Measuring, Schedule};
use super::worker::{Part, Worker};
use super::{PerfError, host};
use crate::client::{Capacity, Client};
use crate::limits::MAX_VERIFY_UNITS;
use crate::transport::Transport;

/// How often it looks whether the threads are done, and how often it reports progress.
const WATCH: Duration = Duration::from_millis(20);
const PROGRESS: Duration = Duration::from_secs(1);

/// What an I/O gets beyond its timeout before it is given up: its abort takes as long again.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a benchmark; blocks until it is over. `progress` is called about once a second.
///
/// # Errors
/// [`PerfError`]: of the options, of a session, or [`PerfError::Miscompare`]. Failed I/Os are no error: the report
/// counts them.
pub fn run(options: &Options, mut progress: impl FnMut(Progress)) -> Result<Report, PerfError> {
    options.check()?;
    let workers = connect(options)?;
    let transport = workers.first().map_or("", |worker| worker.session.transport().name());
    let schedule = schedule(options);
    let gauges: Vec<Gauge> = (0..options.threads).map(|_| Gauge::default()).collect();
    let stop = AtomicBool::new(false);
    let tally = thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, workers) in deal(workers, options.threads as usize).into_iter().enumerate() {
            let share = workers.len() as f64 / f64::from(options.connections);
            let pacing = options.rate.map(|rate| Pacing::new(rate * share));
            let measuring = Measuring { workers, pacing, schedule, gauge: &gauges[index], stop: &stop };
            let cpu = options.pin_cpus.get(index % options.pin_cpus.len().max(1)).copied();
            let spawned = thread::Builder::new().name(format!("perf-{index}")).spawn_scoped(scope, move || {
                pin(cpu)?;
                measuring.run()
            });
            match spawned {
                Ok(handle) => threads.push(handle),
                Err(source) => {
                    stop.store(true, Relaxed);
                    return Err(PerfError::Thread { what: "start a thread".to_owned(), source });
                }
            }
        }
        watch(options, &schedule, &gauges, &mut progress, || threads.iter().all(|t| t.is_finished()));
        let mut total = Tally::new(schedule.measure_from_ns, schedule.measure_to_ns);
        for handle in threads {
            total.add(&handle.join().map_err(|_| PerfError::Panicked)??);
        }
        Ok(total)
    })?;
    Ok(report(options, transport, &tally))
}

fn pin(cpu: Option<usize>) -> Result<(), PerfError> {
    let Some(cpu) = cpu else { return Ok(()) };
    host::pin(cpu).map_err(|source| PerfError::Thread { what: format!("pin a thread to CPU {cpu}"), source })
}

/// Logs all connections in and gives each its part of the logical unit.
fn connect(options: &Options) -> Result<Vec<Worker>, PerfError> {
    let mut workers = Vec::with_capacity(options.connections as usize);
    let mut units = None;
    for index in 0..options.connections {
        let mut client = Client::connect(&options.url, &options.session(index))?;
        client.await_ready()?;
        let (first, count, block_bytes) = match units {
            Some(known) => known,
            None => *units.insert(region(options, client.read_capacity()?)?),
        };
        let own = options.verify || options.pattern == Pattern::Sequential;
        let (from, len) = if own { part(count, index.into(), options.connections.into()) } else { (0, count) };
        let part = Part {
            first_unit: first + from,
            units: len,
            blocks_per_unit: options.block_bytes / block_bytes,
            block_bytes: block_bytes as usize,
        };
        check_part(options, &part)?;
        workers.push(Worker::new(client.into_session(), options, part, index)?);
    }
    Ok(workers)
}

/// The region in units of one I/O: the first, how many, and the logical block size.
fn region(options: &Options, capacity: Capacity) -> Result<(u64, u64, u32), PerfError> {
    let bad = |option, why: String| Err(PerfError::Option { option, why });
    let block = capacity.block_bytes;
    if block == 0 || !options.block_bytes.is_multiple_of(block) {
        return bad("block_bytes", format!("must be a multiple of {block} bytes, the logical block size"));
    }
    let bytes = capacity.blocks.saturating_mul(block.into());
    let rest = bytes.saturating_sub(options.offset);
    let size = options.size.unwrap_or(rest);
    if size > rest {
        return bad("size", format!("the region ends behind the {bytes} bytes of the logical unit"));
    }
    let unit = u64::from(options.block_bytes);
    if size < unit {
        return bad("size", format!("the region of {size} bytes has no room for one I/O of {unit}"));
    }
    Ok((options.offset / unit, size / unit, block))
}

fn check_part(options: &Options, part: &Part) -> Result<(), PerfError> {
    let least = if options.verify { u64::from(options.queue_depth) } else { 1 };
    let bad = |option, why: String| Err(PerfError::Option { option, why });
    if part.units < least {
        return bad(
            "size",
            format!("each connection needs a part of at least {least} × {} bytes", options.block_bytes),
        );
    }
    if options.verify && part.units > MAX_VERIFY_UNITS {
        return bad(
            "size",
            format!("verification remembers {MAX_VERIFY_UNITS} I/Os a connection at most; limit the size"),
        );
    }
    Ok(())
}

fn schedule(options: &Options) -> Schedule {
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4);
    let measure_from_ns = nanos(options.warmup);
    let measure_to_ns = measure_from_ns.saturating_add(nanos(options.duration));
    let give_up_ns = measure_to_ns.saturating_add(nanos(options.timeout * 2 + GRACE));
    Schedule { epoch: Instant::now(), measure_from_ns, measure_to_ns, give_up_ns }
}

/// Deals the connections out to the threads, in turn.
fn deal(workers: Vec<Worker>, threads: usize) -> Vec<Vec<Worker>> {
    let mut hands: Vec<Vec<Worker>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, worker) in workers.into_iter().enumerate() {
        hands[index % threads].push(worker);
    }
    hands
}

/// Reports progress until the threads are done.
fn watch(
    options: &Options,
    schedule: &Schedule,
    gauges: &[Gauge],
    progress: &mut impl FnMut(Progress),
    done: impl Fn() -> bool,
) {
    let (mut last, mut last_ios) = (Instant::now(), 0);
    while !done() {
        thread::sleep(WATCH);
        let since = last.elapsed();
        if since < PROGRESS {
            continue;
        }
        last = Instant::now();
        let ios: u64 = gauges.iter().map(|g| g.ios.load(Relaxed)).sum();
        let errors = gauges.iter().map(|g| g.errors.load(Relaxed)).sum();
        let iops = (ios - last_ios) as f64 / since.as_secs_f64();
        last_ios = ios;
        let elapsed = schedule.epoch.elapsed();
        let bytes_per_second = iops * f64::from(options.block_bytes);
        progress(Progress { elapsed, warming_up: elapsed <= options.warmup, iops, bytes_per_second, errors });
    }
}

fn report(options: &Options, transport: &'static str, tally: &Tally) -> Report {
    let seconds = options.duration.as_secs_f64();
    let direction = |counts: &Counts| {
        let iops = counts.ios as f64 / seconds;
        let bytes_per_second = iops * f64::from(options.block_bytes);
        Direction { ios: counts.ios, iops, bytes_per_second, latency: Latency::of(&counts.latencies) }
    };
    Report {
        workload: workload(options),
        transport,
        rate: options.rate,
        elapsed: options.duration,
        reads: direction(&tally.reads),
        writes: direction(&tally.writes),
        errors: tally.errors,
        error_samples: tally.error_samples.clone(),
        backlog: tally.backlog,
        verified_blocks: tally.verified_blocks,
        rdma: tally.rdma.map(|counters| Rdma { counters, commands: tally.total + tally.errors }),
        cpu_user: Duration::from_nanos(tally.cpu_user_ns),
        cpu_system: Duration::from_nanos(tally.cpu_system_ns),
        busy: Duration::from_nanos(tally.busy_ns),
    }
}

fn workload(options: &Options) -> String {
    let pattern = match options.pattern {
        Pattern::Random => "random",
        Pattern::Sequential => "sequential",
    };
    let rw = match options.rw {
        Rw::Read => "read".to_owned(),
        Rw::Write => "write".to_owned(),
        Rw::Mixed { read_percent } => format!("mixed ({read_percent} % read)"),
    };
    let plural = |n: u32| if n == 1 { "" } else { "s" };
    let (depth, connections, threads) = (options.queue_depth, options.connections, options.threads);
    let verified = if options.verify { ", verified" } else { "" };
    format!(
        "{pattern} {rw} {} B, queue depth {depth} × {connections} connection{}, {threads} thread{}{verified}",
        options.block_bytes,
        plural(connections),
        plural(threads),
    )
}
