//! Devices under real reactors: two threads that sleep whenever they may, so that a lost wake-up hangs the test.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bdev::malloc::MallocParams;
use bdev::uring::UringParams;
use bdev::worker::{Blocking, WorkerBdev, WorkerParams};
use bdev::{Bdev, Channel, DoneBatch, Features, Io, Malloc, Op, Remote, Status, Uring};
use primitives::Tag;
use reactors::{CoreId, Fleet, FleetConfig, Poller, Progress, Turn};

const ROUNDS: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes and reads one block after the other, sleeping in between.
struct Driver {
    channel: Box<dyn Channel>,
    step: u64,
    report: Sender<Result<(), String>>,
}

impl Driver {
    fn next(&mut self, turn: &mut Turn<'_>) {
        let lba = self.step / 2 % 64;
        let op = if self.step.is_multiple_of(2) { Op::Write } else { Op::Read };
        let mut buf = turn.pools.take(4096).unwrap();
        if op == Op::Write {
            buf.copy_in(0, &[self.step as u8; 4096]);
        }
        let io = Io { tag: Tag::new(0, 0, 0, self.step as u32), op, fua: false, lba, blocks: 1, data: Some(buf) };
        self.channel.submit(io).unwrap();
        self.channel.kick();
    }

    fn finished(&self) -> bool {
        self.step >= 2 * ROUNDS
    }
}

impl Poller for Driver {
    fn poll(&mut self, turn: &mut Turn<'_>) -> Progress {
        if self.channel.outstanding() == 0 {
            if self.finished() {
                return Progress::Idle;
            }
            self.next(turn);
            return Progress::Busy;
        }
        let mut batch = DoneBatch::default();
        self.channel.reap(&mut batch);
        let busy = !batch.is_empty();
        for done in batch.drain() {
            let buf = done.data.unwrap();
            let written = (self.step & !1) as u8;
            if done.status != Status::Ok || (self.step % 2 == 1 && buf.filled() != [written; 4096]) {
                let _ = self.report.send(Err(format!("step {}: {:?}", self.step, done.status)));
            }
            turn.pools.give(buf);
            self.step += 1;
            if self.finished() {
                let _ = self.report.send(Ok(()));
            }
        }
        Progress::from_bool(busy)
    }

    fn name(&self) -> &'static str {
        "driver"
    }

    fn wake_fds(&self, out: &mut Vec<RawFd>) {
        out.extend(self.channel.wake_fd());
    }

    fn may_sleep(&mut self) -> bool {
        self.channel.arm()
    }
}

fn drive(fleet: &Fleet, core: u16, bdev: Arc<dyn Bdev>) -> Receiver<Result<(), String>> {
    let (report, result) = channel();
    fleet
        .call(CoreId(core), move |core| {
            let channel = bdev.open(core).unwrap();
            core.add_poller(Box::new(Driver { channel, step: 0, report })).unwrap();
        })
        .unwrap();
    result
}

fn finish(fleet: &Fleet, results: Vec<Receiver<Result<(), String>>>) {
    for result in results {
        result.recv_timeout(PATIENCE).expect("slept over a completion").unwrap();
    }
    let report = fleet.shutdown(PATIENCE);
    assert!(report.is_clean(), "{report:?}");
}

fn malloc(fleet: &Fleet) -> Arc<Malloc> {
    let params = MallocParams { name: "m".into(), block_size: 4096, num_blocks: 64, ..MallocParams::default() };
    Malloc::create(&params, fleet.arena()).unwrap()
}

#[test]
fn a_remote_device_wakes_both_cores() {
    let fleet = Fleet::start(FleetConfig::for_tests(2)).unwrap();
    let remote = Remote::new(malloc(&fleet), CoreId(1));
    let result = drive(&fleet, 0, remote);
    finish(&fleet, vec![result]);
}

#[test]
fn a_file_wakes_its_core() {
    file_driven_from(|bdev| bdev);
}

#[test]
fn a_remote_file_wakes_both_cores() {
    file_driven_from(|bdev| Remote::new(bdev, CoreId(1)));
}

fn file_driven_from(reach: impl FnOnce(Arc<dyn Bdev>) -> Arc<dyn Bdev>) {
    let fleet = Fleet::start(FleetConfig::for_tests(2)).unwrap();
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.as_file().set_len(64 * 4096).unwrap();
    let params = UringParams {
        name: "u".into(),
        filename: file.path().into(),
        block_size: Some(4096),
        ..UringParams::default()
    };
    let bdev = Uring::create(&params, fleet.arena()).unwrap();
    let result = drive(&fleet, 0, reach(bdev));
    finish(&fleet, vec![result]);
}

/// Keeps nothing; a library that panics on the second block and takes its time on the others.
struct Fragile;

impl Blocking for Fragile {
    fn execute(&mut self, io: &mut Io) -> Status {
        assert!(io.lba != 1, "the library breaks");
        std::thread::yield_now();
        Status::Ok
    }
}

fn fragile() -> Arc<WorkerBdev> {
    let geometry = bdev::Geometry {
        block_size: 4096,
        blocks: 64,
        physical_block_size: 4096,
        optimal_io_blocks: 0,
        unmap_granularity: 0,
        unmap_reads_zeroes: false,
        write_cache: false,
        read_only: false,
        rotational: false,
    };
    let features = Features { write_zeroes: true, ..Features::default() };
    WorkerBdev::create(
        WorkerParams { name: "w".into(), product: "Fragile", uuid: None, geometry, features },
        Box::new(Fragile),
    )
    .unwrap()
}

fn zero(lba: u64) -> Io {
    Io { tag: Tag::new(0, 0, lba as u16, 0), op: Op::WriteZeroes, fua: false, lba, blocks: 1, data: None }
}

/// Everything a channel has under way, with its end.
fn drain(channel: &mut dyn Channel) -> Vec<(u64, Status)> {
    let (mut batch, mut ends) = (DoneBatch::default(), Vec::new());
    let start = std::time::Instant::now();
    while channel.outstanding() > 0 {
        channel.reap(&mut batch);
        ends.extend(batch.drain().map(|done| (done.tag.index().into(), done.status)));
        assert!(start.elapsed() < PATIENCE, "{} operations never complete", channel.outstanding());
    }
    ends
}

#[test]
fn a_library_that_panics_fails_one_operation() {
    let fleet = Fleet::start(FleetConfig::for_tests(1)).unwrap();
    let ends = fleet.call(CoreId(0), |core| {
        let mut channel = fragile().open(core).unwrap();
        (0..3).for_each(|lba| channel.submit(zero(lba)).unwrap());
        channel.kick();
        drain(&mut *channel)
    });
    // The device was dropped at once: what its thread had not begun by then was refused.
    let ends = ends.unwrap();
    assert_eq!(ends.len(), 3);
    let fleet_device = fragile();
    let ends = fleet
        .call(CoreId(0), move |core| {
            let mut channel = fleet_device.open(core).unwrap();
            (0..3).for_each(|lba| channel.submit(zero(lba)).unwrap());
            channel.kick();
            drain(&mut *channel)
        })
        .unwrap();
    assert_eq!(ends, [(0, Status::Ok), (1, Status::Failed(libc::EIO)), (2, Status::Ok)]);
}

#[test]
fn cores_may_end_in_any_order() {
    for first in [0u16, 1] {
        let fleet = Fleet::start(FleetConfig::for_tests(2)).unwrap();
        let remote = Remote::new(malloc(&fleet), CoreId(1));
        let (go, gone) = (CoreId(first), CoreId(1 - first));
        let mut channel = fleet.call(CoreId(0), move |core| Unsendable(remote.open(core).unwrap())).unwrap();
        for lba in 0..20 {
            channel.0.submit(zero(lba)).unwrap();
        }
        channel.0.kick();
        // The owner ends under way, or the guest leaves without a word.
        let _ = fleet.call(go, |core| core.stop());
        if first == 0 {
            drop(channel);
        } else {
            let ends = drain(&mut *channel.0);
            assert_eq!(ends.len(), 20);
            assert!(ends.iter().all(|(_, status)| matches!(status, Status::Ok | Status::Removed)), "{ends:?}");
        }
        let _ = fleet.call(gone, |core| core.stop());
        let _ = fleet.shutdown(PATIENCE);
    }
}

/// A channel on its way out of its core, where this test goes on using it alone.
struct Unsendable(Box<dyn Channel>);

// SAFETY: the channel of a remote device is two rings and plain data, and only one thread at a time has it.
unsafe impl Send for Unsendable {}
