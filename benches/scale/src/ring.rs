//! What a cache line costs between two CPUs, and what a message does: ping and pong between two threads that spin.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bdev::{Done, Io};
use reactors::{Bell, Ring};

/// Round trips timed together, and how many times: short enough for some to be undisturbed.
const TRIPS: u64 = 200;
const SAMPLES: usize = 4000;

/// A line of its own, and its neighbour that processors fetch along.
#[repr(align(128))]
#[derive(Default)]
struct Flag(AtomicU64);

/// A message of a ring: as large as what goes to a device of another core and what comes back.
#[derive(Clone, Copy)]
struct Message([u64; size_of::<Io>() / 8]);

/// Nanoseconds of a round trip, as least, tenth percentile and median: of a bare line, and of messages.
///
/// # Errors
/// There is but one CPU, or the process is out of descriptors.
pub fn measure() -> io::Result<String> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    let [here, there, ..] = cpus[..] else { return Err(io::Error::other("two CPUs are needed")) };
    core_affinity::set_for_current(here);
    let flags = [Flag::default(), Flag::default()];
    let line = ping_pong(there, |n| bounce(&flags[0], &flags[1], n), |n| bounce_back(&flags[0], &flags[1], n));
    let bell = Arc::new(Bell::new()?);
    let rings = [Ring::new(256, Arc::clone(&bell)), Ring::new(256, bell)];
    let message = ping_pong(
        there,
        |n| {
            send(&rings[0], n);
            receive(&rings[1]);
        },
        |n| {
            receive(&rings[0]);
            send(&rings[1], n);
        },
    );
    let sizes = format!("request={} reply={}", size_of::<Io>(), size_of::<Done>());
    Ok(format!("{} {} {sizes}", describe("line", &line), describe("message", &message)))
}

fn describe(name: &str, sorted: &[f64]) -> String {
    let at = |percent: usize| sorted[sorted.len() * percent / 100];
    format!("{name}_min={:.1} {name}_p10={:.1} {name}_median={:.1}", at(0), at(10), at(50))
}

/// Nanoseconds of a round trip, sorted.
fn ping_pong(cpu: core_affinity::CoreId, ping: impl Fn(u64), pong: impl Fn(u64) + Sync) -> Vec<f64> {
    let all = TRIPS * SAMPLES as u64;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            core_affinity::set_for_current(cpu);
            (1..=all).for_each(&pong);
        });
        let mut samples: Vec<_> = (0..SAMPLES as u64)
            .map(|sample| {
                let begun = Instant::now();
                (1..=TRIPS).for_each(|n| ping(sample * TRIPS + n));
                begun.elapsed().as_nanos() as f64 / TRIPS as f64
            })
            .collect();
        samples.sort_by(f64::total_cmp);
        samples
    })
}

fn bounce(there: &Flag, back: &Flag, n: u64) {
    there.0.store(n, Ordering::Release);
    await_number(back, n);
}

fn bounce_back(there: &Flag, back: &Flag, n: u64) {
    await_number(there, n);
    back.0.store(n, Ordering::Release);
}

fn await_number(flag: &Flag, n: u64) {
    while flag.0.load(Ordering::Acquire) != n {
        std::hint::spin_loop();
    }
}

fn send(ring: &Ring<Message>, n: u64) {
    assert!(ring.push_quiet(Message([n; size_of::<Io>() / 8])).is_ok(), "one message at a time");
    ring.notify();
}

fn receive(ring: &Ring<Message>) {
    while ring.pop().is_none_or(|message| message.0[0] == 0) {
        std::hint::spin_loop();
    }
}
