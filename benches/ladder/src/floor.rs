//! `ladder floor`: what bare sockets give, with the bytes and calls of iSCSI and none of its work.
//!
//! A server that spins on one CPU and a client that spins on another, over loopback. A read is a request of 48 bytes
//! (a header) answered with 48 bytes and a block from a random place of a large store, gathered; a write is 48 bytes
//! and a block, scattered to a random place of the store, answered with 48 bytes. The server makes one receive call
//! and, if that brought something, one send call a turn. No target on sockets of this kernel can be faster, unless it
//! makes fewer calls or its memory is warmer.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use reactors::memory::parse_size;
use reactors::{Arena, Clock, Hugepages, Nanos};

use crate::Result;
use crate::latency::Latencies;
use crate::machine::{self, Machine};
use crate::pattern::Rw;
use crate::report::{self, Row};

mod client;
mod gather;
mod server;

/// Bytes of a request's or a response's header: those of an iSCSI PDU.
const HEADER: usize = 48;

/// Requests in flight: both parts of each must fit one call (`IOV_MAX` is 1024).
const MAX_DEPTH: usize = 256;

/// What to measure.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// read or write; places in the store are random in either case.
    #[arg(long, value_enum, default_value = "read")]
    rw: Rw,
    /// Bytes of a block.
    #[arg(long, default_value_t = 4096)]
    bs: usize,
    /// Requests in flight; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,32,128")]
    qd: Vec<usize>,
    /// Seconds of each measurement.
    #[arg(long, value_parser = crate::seconds, default_value_t = 2.0)]
    time: f64,
    /// Seconds before it.
    #[arg(long, value_parser = crate::seconds, default_value_t = 0.5)]
    warmup: f64,
    /// The CPUs of server and client.
    #[arg(long, value_delimiter = ',', default_value = "0,1")]
    cores: Vec<u16>,
    /// The store's size.
    #[arg(long, default_value = "1G")]
    store: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Tells both threads what to do; written by the main thread.
#[derive(Default)]
struct Stage(AtomicU8);

impl Stage {
    const WARM_UP: u8 = 0;
    const MEASURE: u8 = 1;
    const STOP: u8 = 2;

    fn set(&self, stage: u8) {
        self.0.store(stage, Ordering::Relaxed);
    }

    #[inline]
    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a thread counts. Started anew when the measurement begins.
#[derive(Default)]
struct Counts {
    began: Nanos,
    seconds: f64,
    ios: u64,
    /// Calls that moved bytes.
    calls: u64,
    busy_turns: u64,
    busy_ns: u64,
    latencies: Latencies,
}

/// One end: `turn` is called until the stage says stop.
fn spin(stage: &Stage, mut turn: impl FnMut(Nanos, &mut Counts) -> Result<bool>) -> Result<Counts> {
    let clock = Clock::new();
    let (mut at, mut before) = (Stage::WARM_UP, clock.now());
    let mut counts = Counts::default();
    loop {
        let busy = match turn(before, &mut counts) {
            Ok(busy) => busy,
            // The other end was told first, and has closed the connection.
            Err(_) if stage.get() == Stage::STOP => false,
            Err(error) => return Err(error),
        };
        let now = clock.now();
        if busy {
            counts.busy_turns += 1;
            counts.busy_ns += now.get() - before.get();
        }
        before = now;
        if stage.get() != at {
            at = stage.get();
            counts.seconds = now.since(counts.began).as_secs_f64();
            match at {
                Stage::STOP => return Ok(counts),
                _ => counts = Counts { began: now, ..Counts::default() },
            }
        }
    }
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<()> {
    let machine = Machine::observe();
    let cpus = machine::check_cpus(&args.cores)?;
    let [server, client] = cpus[..] else { return Err("--cores takes two CPUs: the server's and the client's".into()) };
    let bytes = parse_size(&args.store)?;
    if args.bs == 0 || bytes < args.bs {
        return Err(format!("a store of {bytes} bytes holds no block of {}", args.bs).into());
    }
    if let Some(qd) = args.qd.iter().find(|qd| !(1..=MAX_DEPTH).contains(*qd)) {
        return Err(format!("--qd {qd} is not between 1 and {MAX_DEPTH}").into());
    }
    // The same kind of memory as a RAM disk of the target's.
    let store = Arena::new(Hugepages::Auto).region(bytes)?;
    let mut rows = Vec::new();
    for &qd in &args.qd {
        let (near, far) = connect()?;
        let stage = Stage::default();
        let (served, sent) = thread::scope(|scope| {
            let served = scope.spawn(|| {
                machine::pin(server)?;
                server::serve(near, args, &store, &stage)
            });
            let sent = scope.spawn(|| {
                machine::pin(client)?;
                client::load(far, args, qd, &stage)
            });
            thread::sleep(Duration::from_secs_f64(args.warmup));
            stage.set(Stage::MEASURE);
            thread::sleep(Duration::from_secs_f64(args.time));
            stage.set(Stage::STOP);
            (served.join(), sent.join())
        });
        let panicked = |_| "a measuring thread panicked";
        rows.push(row(args, qd, &served.map_err(panicked)??, &sent.map_err(panicked)??));
    }
    report::print(machine, &rows, args.json)
}

fn connect() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let far = TcpStream::connect(listener.local_addr()?)?;
    let (near, _) = listener.accept()?;
    for stream in [&near, &far] {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
    }
    Ok((near, far))
}

fn row(args: &Args, qd: usize, served: &Counts, sent: &Counts) -> Row {
    let what = Row {
        rung: "floor: sockets".to_owned(),
        rw: if args.rw.is_read() { "randread" } else { "randwrite" }.to_owned(),
        bs: args.bs,
        qd,
        percentiles: sent.latencies.percentiles(),
        calls_per_io: Some(served.calls as f64 / served.ios.max(1) as f64),
        client_ns_per_io: Some(sent.busy_ns as f64 / sent.ios.max(1) as f64),
        ..Row::default()
    };
    what.counted(served.ios, served.seconds, served.busy_ns as f64 / 1e9, served.busy_turns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reactors::CpuList;

    #[test]
    fn both_directions_move_bytes_and_refusals_name_the_option() {
        let cpus = CpuList::usable();
        let args = |rw, cores: &[u16]| Args {
            rw,
            bs: 4096,
            qd: vec![1, 9],
            time: 0.02,
            warmup: 0.01,
            cores: cores.to_vec(),
            store: "1M".to_owned(),
            json: true,
        };
        if let [a, b, ..] = cpus.as_slice() {
            run(&args(Rw::Read, &[a.0, b.0])).unwrap();
            run(&args(Rw::Write, &[a.0, b.0])).unwrap();
            assert!(run(&Args { qd: vec![0], ..args(Rw::Read, &[a.0, b.0]) }).is_err());
        }
        let first = cpus.as_slice()[0].0;
        assert!(run(&args(Rw::Read, &[first, first])).is_err() && run(&args(Rw::Read, &[first])).is_err());
    }
}
