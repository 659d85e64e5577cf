use std::time::Duration;

use super::*;
use crate::channel::{AbortOutcome, Channel, DoneBatch};
use crate::io::{Io, Op, Status};
use crate::layer::delay::{Delay, DelayParams};
use crate::malloc::{Malloc, MallocParams};
use crate::null::{Null, NullParams};
use crate::registry::Registry;
use crate::testing::Rig;

/// A null device in a registry, and channels to it, on two cores.
struct World {
    rig: Rig,
    registry: Registry,
    channels: Vec<Box<dyn Channel>>,
    tag: u16,
}

const BLOCKS: u64 = 1 << 20;

fn ios(rw_ios_per_sec: u64) -> RateLimits {
    RateLimits { rw_ios_per_sec, ..RateLimits::default() }
}

impl World {
    /// One channel on each of so many cores.
    fn new(cores: usize, limits: RateLimits) -> Self {
        let null = NullParams { name: "d".into(), block_size: 512, num_blocks: BLOCKS, ..NullParams::default() };
        let registry = Registry::new();
        registry.register(Null::create(&null).unwrap()).unwrap();
        registry.set_limits("d", limits).unwrap();
        let mut rig = Rig::new();
        // Far from the start of time, as in life.
        rig.turn_after(Duration::from_secs(1000));
        let channels = (0..cores).map(|core| registry.open(&mut rig.cores[core].core(), "d").unwrap()).collect();
        Self { rig, registry, channels, tag: 0 }
    }

    fn io(&mut self, op: Op, blocks: u64) -> Io {
        self.tag = (self.tag + 1) % 4096;
        self.rig.io(self.tag, op, 0, blocks)
    }

    /// Submits to a channel; returns the tag's index.
    fn submit(&mut self, channel: usize, op: Op, blocks: u64) -> u16 {
        let io = self.io(op, blocks);
        let index = io.tag.index();
        self.channels[channel].submit(io).unwrap();
        self.channels[channel].kick();
        index
    }

    /// Completions that a channel has now, by the tag's index.
    fn reap(&mut self, channel: usize) -> Vec<(u16, Status)> {
        let mut batch = DoneBatch::default();
        self.channels[channel].reap(&mut batch);
        let mut seen = Vec::new();
        for done in batch.drain() {
            seen.push((done.tag.index(), done.status));
            self.rig.cores[0].core().pools.give_some(done.data);
        }
        seen
    }

    fn turn(&mut self, micros: u64) {
        self.rig.turn_after(Duration::from_micros(micros));
    }

    /// Keeps `loads` under way for so long and returns what each completed, in turns of 10 µs.
    fn run(&mut self, millis: u64, loads: &[Load]) -> Vec<u64> {
        let mut completed = vec![0; loads.len()];
        for turn in 0..millis * 100 {
            self.turn(10);
            for (at, load) in loads.iter().enumerate() {
                let idle = turn % load.every != 0;
                let missing = load.depth.saturating_sub(self.channels[load.channel].outstanding());
                for _ in 0..if idle { 0 } else { missing } {
                    self.submit(load.channel, load.op, load.blocks);
                }
                completed[at] += self.reap(load.channel).len() as u64;
            }
        }
        completed
    }
}

/// What a client of one channel does.
#[derive(Clone, Copy)]
struct Load {
    channel: usize,
    op: Op,
    blocks: u64,
    depth: usize,
    /// It looks after its depth only in every so many turns.
    every: u64,
}

const READS: Load = Load { channel: 0, op: Op::Read, blocks: 1, depth: 32, every: 1 };

trait GiveSome {
    fn give_some(&mut self, buf: Option<primitives::Buf>);
}

impl GiveSome for reactors::Pools {
    fn give_some(&mut self, buf: Option<primitives::Buf>) {
        if let Some(buf) = buf.filter(|buf| buf.home() != primitives::Home::Lent) {
            self.give(buf);
        }
    }
}

#[track_caller]
fn assert_near(got: u64, expected: u64, percent: f64) {
    let off = got.abs_diff(expected) as f64 * 100.0 / expected as f64;
    assert!(off <= percent, "{got} is {off:.2} % off {expected}");
}

#[test]
fn rates_are_kept_to_a_percent_over_a_second() {
    for rate in [200, 1_000, 33_333, 1_000_000] {
        let mut world = World::new(1, ios(rate));
        world.run(20, &[READS]);
        let [done] = world.run(1_000, &[READS])[..] else { unreachable!() };
        assert_near(done, rate, 1.0);
    }
    for (op, limits) in [
        (Op::Read, RateLimits { rw_mbytes_per_sec: 64, ..RateLimits::default() }),
        (Op::Write, RateLimits { rw_mbytes_per_sec: 64, ..RateLimits::default() }),
        (Op::Read, RateLimits { r_mbytes_per_sec: 64, w_mbytes_per_sec: 1, ..RateLimits::default() }),
        (Op::Write, RateLimits { r_mbytes_per_sec: 1, w_mbytes_per_sec: 64, ..RateLimits::default() }),
    ] {
        let mut world = World::new(1, limits);
        let load = Load { op, blocks: 8, ..READS };
        world.run(20, &[load]);
        let [done] = world.run(1_000, &[load])[..] else { unreachable!() };
        assert_near(done * 4096, 64 << 20, 1.0);
    }
}

#[test]
fn a_limit_of_one_and_a_huge_one() {
    let mut world = World::new(1, ios(1));
    let [first] = world.run(10, &[READS])[..] else { unreachable!() };
    assert_eq!(first, 1, "the first goes at once, the second does not");
    let [later] = world.run(5_000, &[READS])[..] else { unreachable!() };
    assert_eq!(later, 5);
    let most = RateLimits {
        rw_ios_per_sec: limits::QOS_RATE,
        rw_mbytes_per_sec: limits::QOS_RATE,
        r_mbytes_per_sec: limits::QOS_RATE,
        w_mbytes_per_sec: limits::QOS_RATE,
    };
    let mut world = World::new(1, most);
    let [done] = world.run(10, &[READS])[..] else { unreachable!() };
    assert_eq!(done, 32 * 1_000, "all of every turn");
    assert_eq!(world.registry.throttling("d").unwrap().ops, 0);
    let error = world.registry.set_limits("d", ios(limits::QOS_RATE + 1)).unwrap_err();
    assert!(error.errno() == libc::EINVAL && error.to_string().starts_with("rw_ios_per_sec: got 1099511627777"));
    assert_eq!(world.registry.limits("d").unwrap(), most, "what is refused changes nothing");
}

#[test]
fn a_burst_is_bounded() {
    let mut world = World::new(1, ios(100_000));
    // However long the pause was: 5 ms of the rate, and what accrues meanwhile.
    for pause in [0, 60_000_000] {
        world.turn(pause);
        let [done] = world.run(2, &[READS])[..] else { unreachable!() };
        assert!((600..=702).contains(&done), "{done}");
        world.run(20, &[Load { depth: 0, ..READS }]);
    }
    let mut world = World::new(2, ios(1_000));
    let both = [READS, Load { channel: 1, ..READS }];
    let done: u64 = world.run(100, &both).iter().sum();
    assert!((100..=107).contains(&done), "{done}: the burst is the device's, not each core's");
}

#[test]
fn two_cores_share_evenly() {
    for rate in [10, 1_000, 200_000] {
        let mut world = World::new(2, ios(rate));
        let both = [READS, Load { channel: 1, depth: 8, ..READS }];
        let (settle, measure) = if rate == 10 { (1_000, 4_000) } else { (20, 1_000) };
        world.run(settle, &both);
        let done = world.run(measure, &both);
        assert_near(done[0] + done[1], rate * measure / 1_000, 1.0 + 100.0 / rate as f64);
        assert!(done[0].abs_diff(done[1]) <= 2 + (done[0] + done[1]) / 50, "{done:?} at {rate}");
    }
}

#[test]
fn what_one_core_does_not_need_the_other_gets() {
    let mut world = World::new(2, ios(10_000));
    // One at a time, every two milliseconds: 500 a second.
    let modest = Load { channel: 1, depth: 1, every: 200, ..READS };
    world.run(20, &[READS, modest]);
    let done = world.run(1_000, &[READS, modest]);
    assert_near(done[1], 500, 1.0);
    assert_near(done[0], 9_500, 1.0);
    // It goes silent: nothing of the rate is lost but once an interval's share.
    let [alone] = world.run(1_000, &[READS])[..] else { unreachable!() };
    assert_near(alone, 10_000, 1.0);
    // It wakes up, hungry, and has its half from the next interval on.
    let both = [READS, Load { channel: 1, ..READS }];
    world.run(1, &both);
    let done = world.run(100, &both);
    assert!((480..=520).contains(&done[1]), "{done:?}");
}

#[test]
fn limits_change_under_load() {
    let mut world = World::new(1, ios(1_000));
    world.run(100, &[READS]);
    for rate in [5_000, 20, 100_000, 2] {
        world.registry.set_limits("d", ios(rate)).unwrap();
        world.run(1_000, &[READS]);
        let [done] = world.run(1_000, &[READS])[..] else { unreachable!() };
        assert_near(done, rate, 1.0);
    }
    assert_eq!(world.registry.throttling("d").unwrap().waiting, 32);
    world.registry.set_limits("d", RateLimits::default()).unwrap();
    world.turn(1);
    assert_eq!(world.reap(0).len(), 32, "what waited goes on at once");
    let [done] = world.run(10, &[READS])[..] else { unreachable!() };
    assert_eq!(done, 32 * 1_000);
    world.registry.set_limits("d", ios(1_000)).unwrap();
    let [done] = world.run(1_000, &[READS])[..] else { unreachable!() };
    assert_near(done, 1_000, 1.5);
}

#[test]
fn each_lane_waits_for_its_own_limit_and_keeps_its_order() {
    let mut world = World::new(1, RateLimits { w_mbytes_per_sec: 1, ..RateLimits::default() });
    let writes: Vec<_> = (0..4).map(|_| world.submit(0, Op::Write, 256)).collect();
    let read = world.submit(0, Op::Read, 256);
    let other = [Op::Flush, Op::Unmap, Op::WriteZeroes].map(|op| world.submit(0, op, 1));
    world.turn(1);
    let at_once: Vec<_> = world.reap(0).into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(at_once, [writes[0], other[0], other[1], other[2], read], "the first write is the burst");
    let mut later = Vec::new();
    for _ in 0..1_000 {
        world.turn(1_000);
        later.extend(world.reap(0).into_iter().map(|(tag, _)| tag));
    }
    assert_eq!(later, writes[1..]);
    // Under a limit of both, nobody overtakes.
    world.registry.set_limits("d", ios(10)).unwrap();
    let tags: Vec<_> = (0..6).map(|i| world.submit(0, [Op::Read, Op::Write][i % 2], 1)).collect();
    let mut seen = Vec::new();
    for _ in 0..700 {
        world.turn(1_000);
        seen.extend(world.reap(0).into_iter().map(|(tag, _)| tag));
    }
    assert_eq!(seen, tags);
}

#[test]
fn aborts_find_what_waits() {
    let mut world = World::new(1, ios(1));
    let tags: Vec<_> = (0..5).map(|_| world.submit(0, Op::Write, 1)).collect();
    world.turn(1);
    assert_eq!(world.reap(0), [(tags[0], Status::Ok)]);
    let tag = |i: usize| primitives::Tag::new(1, 0, tags[i], 0);
    assert_eq!(world.channels[0].abort(tag(3)), AbortOutcome::WillComplete);
    assert_eq!(world.channels[0].abort(tag(3)), AbortOutcome::WillComplete, "until it is reaped");
    assert_eq!(world.channels[0].abort(tag(0)), AbortOutcome::Unknown);
    assert!(!world.channels[0].arm(), "there is something to reap");
    assert_eq!((world.reap(0), world.channels[0].outstanding()), (vec![(tags[3], Status::Aborted)], 3));
    // A reset aborts everything; what it cost was not paid.
    for i in [1, 2, 4] {
        assert_eq!(world.channels[0].abort(tag(i)), AbortOutcome::WillComplete);
    }
    assert_eq!((world.reap(0).len(), world.channels[0].outstanding()), (3, 0));
    assert_eq!(world.registry.throttling("d").unwrap().waiting, 0);
    world.turn(1_000_000);
    let next = world.submit(0, Op::Read, 1);
    world.turn(1);
    assert_eq!(world.reap(0), [(next, Status::Ok)], "a second has passed since the first");
}

#[test]
fn removal_ends_what_waits() {
    let mut world = World::new(1, ios(1));
    let claim = world.registry.claim("d", crate::registry::User::Lun("x".into())).unwrap();
    (0..5).for_each(|_| _ = world.submit(0, Op::Read, 1));
    world.turn(1);
    assert_eq!(world.reap(0).len(), 1);
    world.registry.unregister("d").unwrap();
    world.turn(1);
    let ended = world.reap(0);
    assert!(ended.len() == 4 && ended.iter().all(|(_, status)| *status == Status::Removed), "{ended:?}");
    assert_eq!(world.channels[0].outstanding(), 0);
    assert_eq!(world.registry.set_limits("d", ios(5)).unwrap_err().errno(), libc::ENODEV);
    drop(claim);
    assert!(world.registry.limits("d").is_err());
}

/// A RAM disk lends whole megabytes, which is more than a burst of this limit.
#[test]
fn larger_operations_than_a_burst_go_into_debt() {
    let mut world = World::new(0, RateLimits::default());
    let params = MallocParams { name: "m".into(), block_size: 512, num_blocks: 8192, ..MallocParams::default() };
    world.registry.register(Malloc::create(&params, &world.rig.arena).unwrap()).unwrap();
    world.registry.set_limits("m", RateLimits { r_mbytes_per_sec: 1, ..RateLimits::default() }).unwrap();
    let mut channel = world.registry.open(&mut world.rig.cores[0].core(), "m").unwrap();
    let lent = |channel: &mut dyn Channel, i: u16| {
        let data = channel.lend(Op::Read, 0, 2048);
        let io = Io { tag: primitives::Tag::new(1, 0, i, 0), op: Op::Read, fua: false, lba: 0, blocks: 2048, data };
        channel.submit(io).unwrap();
        channel.kick();
    };
    (0..12).for_each(|i| lent(&mut *channel, i));
    let (mut batch, mut times) = (DoneBatch::default(), Vec::new());
    for milli in 0..10_500 {
        world.turn(1_000);
        channel.reap(&mut batch);
        for done in batch.drain() {
            times.push(milli);
            channel.give_back(done.data.unwrap());
        }
    }
    // The first at once, the second when its debt is paid and a burst (an eighth of a second) has been saved up.
    assert!(times.len() == 11 && times[0] == 0 && (995..1_005).contains(&times[1]), "{times:?}");
    assert!((9_990..10_010).contains(&times[10]), "{times:?}");
    // Lent memory goes home in any case.
    assert_eq!(channel.abort(primitives::Tag::new(1, 0, 11, 0)), AbortOutcome::WillComplete);
    channel.reap(&mut batch);
    let done = batch.drain().next().unwrap();
    assert_eq!((done.tag.index(), done.status, channel.outstanding()), (11, Status::Ok, 0));
    channel.give_back(done.data.unwrap());
    // After a long pause the debt is forgotten, not the burst's bound.
    world.turn(60_000_000);
    (20..22).for_each(|i| lent(&mut *channel, i));
    world.turn(1_000);
    channel.reap(&mut batch);
    let done: Vec<_> = batch.drain().collect();
    assert_eq!((done.len(), channel.outstanding()), (1, 1));
}

#[test]
fn a_core_sleeps_until_the_next_grant_or_a_change() {
    let mut world = World::new(1, ios(10));
    assert!(world.channels[0].arm());
    (0..3).for_each(|_| _ = world.submit(0, Op::Read, 1));
    world.turn(1);
    assert_eq!(world.reap(0).len(), 1);
    world.turn(1);
    assert!(world.reap(0).is_empty() && world.channels[0].arm());
    let fd = world.channels[0].wake_fd().expect("a bell");
    world.turn(90_000);
    assert!(!readable(fd), "it is not time");
    world.turn(10_001);
    assert!(readable(fd), "a tenth of a second has passed");
    assert_eq!(world.reap(0).len(), 1);
    assert!(!readable(fd), "what made it readable was consumed");
    assert!(world.channels[0].arm() && !readable(fd));
    world.registry.set_limits("d", RateLimits::default()).unwrap();
    assert!(readable(fd), "a change is news");
    assert!(!world.channels[0].arm(), "and keeps awake until it was noticed");
    world.turn(1);
    assert_eq!(world.reap(0).len(), 1);
    assert!(world.channels[0].arm() && world.channels[0].wake_fd().is_none(), "the gate is gone");
    // Alarms end with their channel: nothing but time would have ended this one.
    world.registry.set_limits("d", ios(1)).unwrap();
    world.turn(1_000_000);
    (0..3).for_each(|_| _ = world.submit(0, Op::Read, 1));
    world.turn(1);
    assert!(world.reap(0).len() == 1 && world.channels[0].arm());
    world.turn(1);
    world.channels.clear();
    world.turn(1);
    world.turn(1);
    assert_eq!(world.rig.cores[0].core().spawner().live(), 0);
}

fn readable(fd: std::os::fd::RawFd) -> bool {
    std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("eventfd-count:"))
        .is_some_and(|count| count.trim() != "0")
}

#[test]
fn waits_are_counted() {
    let mut world = World::new(1, ios(10));
    (0..3).for_each(|_| _ = world.submit(0, Op::Read, 1));
    for _ in 0..300 {
        world.turn(1_000);
        world.reap(0);
    }
    let Throttling { ops, wait_ns, waiting } = world.registry.throttling("d").unwrap();
    assert_eq!((ops, waiting), (2, 0));
    assert_near(wait_ns, 300_000_000, 1.0);
    world.channels.clear();
    assert_eq!(world.registry.throttling("d").unwrap().ops, 2, "closed channels still count");
    world.registry.reset_throttling("d").unwrap();
    assert_eq!(world.registry.throttling("d").unwrap(), Throttling::default());
}

#[test]
fn a_layers_operations_keep_to_its_bases_limits() {
    let mut world = World::new(0, ios(1_000));
    let params = DelayParams { name: "layer".into(), uuid: None, latency_us: [0; 4] };
    world.registry.register(Delay::create(&params, world.registry.underlay("d").unwrap()).unwrap()).unwrap();
    world.channels.push(world.registry.open(&mut world.rig.cores[0].core(), "layer").unwrap());
    world.run(20, &[READS]);
    let [done] = world.run(1_000, &[READS])[..] else { unreachable!() };
    assert_near(done, 1_000, 1.0);
    let below = world.registry.with_stats("d", crate::stats::DeviceStats::get).unwrap();
    assert!(below.of(Op::Read).ops > 1_000, "and count");
}
