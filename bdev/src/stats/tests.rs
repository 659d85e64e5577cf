use std::time::Duration;

use super::*;
use crate::channel::Channel;
use crate::layer::delay::{Delay, DelayParams};
use crate::null::{Null, NullParams};
use crate::registry::Registry;
use crate::testing::Rig;

/// A device whose reads take 10 and whose writes take 20 microseconds, in a registry.
fn registered() -> Registry {
    let null = NullParams { name: "n".into(), block_size: 512, num_blocks: 1024, ..NullParams::default() };
    let params = DelayParams { name: "d".into(), uuid: None, latency_us: [10, 10, 20, 20] };
    let registry = Registry::new();
    registry.register(Delay::create(&params, Null::create(&null).unwrap()).unwrap()).unwrap();
    registry
}

fn run(rig: &mut Rig, channel: &mut dyn Channel, op: Op, lba: u64) {
    let io = rig.io(3, op, lba, 2);
    channel.submit(io).unwrap();
    channel.kick();
    let done = rig.reap_all(channel, 1).pop().unwrap();
    assert_eq!(done.tag.index(), 3, "the caller's tag");
    if let Some(buf) = done.data {
        rig.cores[0].core().pools.give(buf);
    }
}

#[test]
fn counts_operations_bytes_errors_and_latencies() {
    let (mut rig, registry) = (Rig::new(), registered());
    let mut channel = registry.open(&mut rig.cores[0].core(), "d").unwrap();
    registry.with_stats("d", |s| s.enable_histogram(true)).unwrap();
    (0..3).for_each(|_| run(&mut rig, &mut *channel, Op::Read, 0));
    run(&mut rig, &mut *channel, Op::Write, 0);
    run(&mut rig, &mut *channel, Op::Read, 5000);
    run(&mut rig, &mut *channel, Op::Unmap, 0);
    let stat = registry.with_stats("d", DeviceStats::get).unwrap();
    let read = *stat.of(Op::Read);
    assert_eq!((read.ops, read.bytes, read.errors), (4, 3 * 1024, 1));
    // Submitted in one turn, passed down in the next, done ten microseconds later.
    assert_eq!((read.latency_ns, read.min_latency_ns, read.max_latency_ns), (4 * 11_000, 11_000, 11_000));
    assert_eq!((stat.of(Op::Write).max_latency_ns, stat.of(Op::Unmap).bytes), (21_000, 1024));
    assert_eq!((stat.of(Op::Flush).ops, stat.in_flight), (0, 0));
    let (reads, others) = registry.with_stats("d", DeviceStats::histograms).unwrap();
    assert_eq!((reads.len(), reads[0].count, others[0].count), (1, 4, 2));
    assert!(reads[0].low <= 11_000 && 11_000 <= reads[0].high);
}

#[test]
fn closed_channels_still_count_and_a_reset_starts_over() {
    let (mut rig, registry) = (Rig::new(), registered());
    for core in 0..2 {
        let mut channel = registry.open(&mut rig.cores[core].core(), "d").unwrap();
        run(&mut rig, &mut *channel, Op::Read, 0);
        assert_eq!(registry.with_stats("d", DeviceStats::per_channel).unwrap().len(), 1);
    }
    assert_eq!(registry.with_stats("d", DeviceStats::get).unwrap().of(Op::Read).ops, 2);
    let mut channel = registry.open(&mut rig.cores[0].core(), "d").unwrap();
    run(&mut rig, &mut *channel, Op::Write, 0);
    registry.with_stats("d", |s| s.reset(ResetMode::MaxMin)).unwrap();
    run(&mut rig, &mut *channel, Op::Read, 0);
    let stat = registry.with_stats("d", DeviceStats::get).unwrap();
    assert_eq!((stat.of(Op::Read).ops, stat.of(Op::Write).ops, stat.of(Op::Write).max_latency_ns), (3, 1, 0));
    registry.with_stats("d", |s| s.reset(ResetMode::All)).unwrap();
    run(&mut rig, &mut *channel, Op::Read, 0);
    let stat = registry.with_stats("d", DeviceStats::get).unwrap();
    assert_eq!((stat.of(Op::Read).ops, stat.of(Op::Read).bytes, stat.of(Op::Write).ops), (1, 1024, 0));
}

#[test]
fn what_is_in_flight_is_seen_from_outside() {
    let (mut rig, registry) = (Rig::new(), registered());
    let mut channel = registry.open(&mut rig.cores[0].core(), "d").unwrap();
    for i in 0..5 {
        let io = rig.io(i, Op::Flush, 0, 0);
        channel.submit(io).unwrap();
    }
    channel.kick();
    assert_eq!(registry.with_stats("d", DeviceStats::get).unwrap().in_flight, 5);
    rig.reap(&mut *channel);
    rig.turn_after(Duration::from_micros(100));
    assert_eq!(rig.reap(&mut *channel).len(), 5);
    assert_eq!(registry.with_stats("d", DeviceStats::get).unwrap().in_flight, 0);
}
