use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::ptr::NonNull;

use primitives::{Buf, Home, Tag};

use super::*;
use crate::io::{Io, Op, Status};
use crate::testing::Rig;

const BLOCKS: u64 = 256;

fn file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(BLOCKS * 512 + 100).unwrap();
    file
}

fn params(path: &Path) -> UringParams {
    UringParams { name: "u".into(), filename: path.into(), block_size: Some(512), ..UringParams::default() }
}

fn open(rig: &mut Rig, bdev: &Uring) -> Box<dyn Channel> {
    let mut core = rig.cores[0].core();
    bdev.open(&mut core).unwrap()
}

#[test]
fn a_rest_smaller_than_a_block_is_not_used() {
    let (rig, file) = (Rig::new(), file());
    let bdev = Uring::create(&params(file.path()), &rig.arena).unwrap();
    assert_eq!(bdev.geometry().blocks, BLOCKS);
    assert!(bdev.geometry().write_cache && !bdev.geometry().read_only);
    let buffered = UringParams { buffered: true, ..params(file.path()) };
    assert_eq!(Uring::create(&buffered, &rig.arena).unwrap_err().errno(), libc::EBUSY, "one writer");
    drop(bdev);
    assert!(!Uring::create(&buffered, &rig.arena).unwrap().is_direct());
}

#[test]
fn a_batch_is_one_system_call() {
    let (mut rig, file) = (Rig::new(), file());
    file.as_file().write_all_at(&vec![1; BLOCKS as usize * 512], 0).unwrap();
    let bdev = Uring::create(&UringParams { buffered: true, ..params(file.path()) }, &rig.arena).unwrap();
    let mut channel = open(&mut rig, &bdev);
    for i in 0..32 {
        let io = rig.io(i, Op::Read, i.into(), 1);
        channel.submit(io).unwrap();
    }
    assert_eq!(bdev.enters(), 0, "submitting alone enters nothing");
    channel.kick();
    assert_eq!(bdev.enters(), 1);
    channel.kick();
    assert_eq!(bdev.enters(), 1, "nothing new, nothing entered");
    assert_eq!(rig.reap_all(&mut *channel, 32).len(), 32);
    assert!(bdev.enters() <= 4, "{} calls for 32 cached reads", bdev.enters());
    let before = bdev.enters();
    (0..10).for_each(|_| assert!(rig.reap(&mut *channel).is_empty()));
    channel.kick();
    assert_eq!(bdev.enters(), before, "an idle channel enters nothing");
}

#[test]
fn a_spinning_reaper_does_not_starve_itself() {
    let (mut rig, file) = (Rig::new(), file());
    let bdev = Uring::create(&params(file.path()), &rig.arena).unwrap();
    let mut channel = open(&mut rig, &bdev);
    for i in 0..64 {
        let io = rig.io(i, if i % 2 == 0 { Op::Write } else { Op::Read }, i.into(), 1);
        channel.submit(io).unwrap();
    }
    channel.kick();
    // Nothing but reaping from here on, which must let the kernel run its completions.
    let done = rig.reap_all(&mut *channel, 64);
    assert!(done.iter().all(|d| d.status == Status::Ok));
    assert!(bdev.enters() <= 1 + 64, "{} calls", bdev.enters());
}

#[test]
fn a_thread_of_the_kernels_spares_the_calls() {
    let (mut rig, file) = (Rig::new(), file());
    let cpu = reactors::CpuList::usable().as_slice().last().copied().unwrap();
    let bdev = Uring::create_threaded(&params(file.path()), &rig.arena, cpu).unwrap();
    let mut channel = open(&mut rig, &bdev);
    let mut rounds = 0;
    // At most one call a kick, to wake the thread; none while it is awake.
    while rounds < 20 {
        for i in 0..16 {
            let io = rig.io(i, if rounds % 2 == 0 { Op::Write } else { Op::Read }, i.into(), 1);
            channel.submit(io).unwrap();
        }
        channel.kick();
        for done in rig.reap_all(&mut *channel, 16) {
            let (index, buf) = (done.tag.index(), done.data.unwrap());
            assert_eq!(done.status, Status::Ok);
            assert!(rounds % 2 == 0 || buf.filled().iter().all(|byte| *byte == index as u8));
            rig.cores[0].core().pools.give(buf);
        }
        rounds += 1;
    }
    assert!(bdev.enters() <= rounds, "{} calls in {rounds} rounds", bdev.enters());
}

#[test]
fn follows_the_file_when_told() {
    let (mut rig, file) = (Rig::new(), file());
    let bdev = Uring::create(&params(file.path()), &rig.arena).unwrap();
    let mut channel = open(&mut rig, &bdev);
    file.as_file().set_len(2 * BLOCKS * 512).unwrap();
    let beyond = rig.io(0, Op::Read, BLOCKS, 1);
    assert_eq!(rig.run(&mut *channel, beyond).status, Status::OutOfRange, "not told yet");
    assert_eq!(bdev.rescan().unwrap(), 2 * BLOCKS);
    let beyond = rig.io(0, Op::Read, BLOCKS, 1);
    assert_eq!(rig.run(&mut *channel, beyond).status, Status::Ok);
    file.as_file().set_len(BLOCKS * 256).unwrap();
    let cut_off = rig.io(0, Op::Read, BLOCKS / 2 - 1, 2);
    assert_eq!(rig.run(&mut *channel, cut_off).status, Status::MediumError { lba: BLOCKS / 2 }, "cut short under us");
    assert_eq!(bdev.rescan().unwrap(), BLOCKS / 2);
    let cut_off = rig.io(0, Op::Read, BLOCKS / 2, 1);
    assert_eq!(rig.run(&mut *channel, cut_off).status, Status::OutOfRange);
    file.as_file().set_len(511).unwrap();
    assert!(bdev.rescan().is_err());
    assert_eq!(bdev.geometry().blocks, BLOCKS / 2, "a failed rescan changes nothing");
}

#[test]
fn reads_only_when_read_only() {
    let (mut rig, file) = (Rig::new(), file());
    let read_only = UringParams { read_only: true, ..params(file.path()) };
    let bdev = Uring::create(&read_only, &rig.arena).unwrap();
    let mut channel = open(&mut rig, &bdev);
    assert!(bdev.geometry().read_only);
    for (op, status) in [
        (Op::Read, Status::Ok),
        (Op::Flush, Status::Ok),
        (Op::Write, Status::ReadOnly),
        (Op::WriteZeroes, Status::ReadOnly),
        (Op::Unmap, Status::Unsupported),
    ] {
        let io = rig.io(0, op, 0, 1);
        assert_eq!(rig.run(&mut *channel, io).status, status, "{op:?}");
    }
    assert!(Uring::create(&read_only, &rig.arena).is_ok(), "readers share");
}

#[test]
fn memory_that_direct_io_refuses_takes_the_page_cache() {
    let (mut rig, file) = (Rig::new(), file());
    let bdev = Uring::create(&params(file.path()), &rig.arena).unwrap();
    let mut channel = open(&mut rig, &bdev);
    let mut memory = vec![0x5Au8; 1024];
    let odd = memory.as_ptr().align_offset(2) + 1;
    let ptr = NonNull::new(memory[odd..].as_mut_ptr()).unwrap();
    for op in [Op::Write, Op::Read] {
        // SAFETY: 512 bytes of the vector, which outlives the operations and is not touched meanwhile.
        let mut buf = unsafe { Buf::from_raw(ptr, 512, Home::Pool { pool: 99, index: 0 }) };
        buf.set_len(512);
        let io = Io { tag: Tag::default(), op, fua: op == Op::Write, lba: 3, blocks: 1, data: Some(buf) };
        let done = rig.run(&mut *channel, io);
        assert_eq!(done.status, Status::Ok, "{op:?}");
        assert!(done.data.unwrap().filled().iter().all(|byte| *byte == 0x5A));
    }
    let aligned = rig.io(0, Op::Read, 3, 1);
    assert!(rig.run(&mut *channel, aligned).data.unwrap().filled().iter().all(|byte| *byte == 0x5A));
}

#[test]
fn pool_memory_is_registered() {
    let mut rig = Rig::new();
    let memory = fixed::pool_memory(&mut rig.cores[0].core(), &rig.arena);
    let fixed = FixedBuffers::new(memory);
    let buf = rig.buf(8192);
    assert_eq!(fixed.index_of(buf.as_ptr(), 8192), Some(0));
    let elsewhere = [0u8; 16];
    assert_eq!(fixed.index_of(elsewhere.as_ptr(), 16), None);
    let file = file();
    let bdev = Uring::create(&params(file.path()), &rig.arena).unwrap();
    match bdev.set_up(&Ring::new().unwrap(), &fixed) {
        Ok(registered) => assert!(registered || !is_root(), "the kernel takes the memory"),
        Err(error) => panic!("{error}"),
    }
}

/// Others may lock too little memory.
fn is_root() -> bool {
    // SAFETY: takes and touches nothing.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn polling_works_or_falls_back() {
    let (mut rig, file) = (Rig::new(), file());
    let bdev = Uring::create(&UringParams { poll: true, ..params(file.path()) }, &rig.arena).unwrap();
    let mut channel = open(&mut rig, &bdev);
    for (i, op) in [Op::Write, Op::Flush, Op::Read, Op::WriteZeroes, Op::Unmap, Op::Read].into_iter().enumerate() {
        let io = rig.io(i as u16, op, 5, 2);
        assert_eq!(rig.run(&mut *channel, io).status, Status::Ok, "{op:?}, polled: {}", bdev.is_polled());
    }
}

#[test]
fn a_full_ring_of_cancellations_loses_nothing() {
    let (mut rig, file) = (Rig::new(), file());
    let bdev = Uring::create(&params(file.path()), &rig.arena).unwrap();
    let mut channel = open(&mut rig, &bdev);
    let depth = crate::limits::CHANNEL_DEPTH as u16;
    for i in 0..depth {
        let io = rig.io(i, Op::Flush, 0, 0);
        channel.submit(io).unwrap();
    }
    for i in 0..depth {
        assert_eq!(channel.abort(Tag::new(1, 0, i, 0)), crate::AbortOutcome::WillComplete);
    }
    channel.kick();
    let done = rig.reap_all(&mut *channel, depth.into());
    assert!(done.iter().all(|d| matches!(d.status, Status::Ok | Status::Aborted)));
    assert_eq!(channel.outstanding(), 0);
}

/// A loop device on `file`, where the machine has any to give.
struct Loop(String);

impl Loop {
    fn on(file: &Path) -> Option<Self> {
        let out = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        out.status.success().then(|| Self(String::from_utf8_lossy(&out.stdout).trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_block_device_is_a_device_too() {
    let (mut rig, file) = (Rig::new(), file());
    file.as_file().set_len(1 << 20).unwrap();
    let Some(device) = Loop::on(file.path()) else {
        return eprintln!("no loop device to be had: not tested");
    };
    let block_params = UringParams { block_size: None, ..params(Path::new(&device.0)) };
    let bdev = Uring::create(&block_params, &rig.arena).unwrap();
    assert_eq!((bdev.geometry().block_size, bdev.geometry().blocks), (512, 2048));
    let mut channel = open(&mut rig, &bdev);
    for (i, op) in [Op::Write, Op::Flush, Op::Unmap].into_iter().enumerate() {
        let io = rig.io(7 + i as u16, op, 8, 8);
        assert_eq!(rig.run(&mut *channel, io).status, Status::Ok, "{op:?}");
    }
    let io = rig.io(9, Op::Write, 16, 8);
    assert_eq!(rig.run(&mut *channel, io).status, Status::Ok);
    let io = rig.io(0, Op::WriteZeroes, 20, 4);
    assert_eq!(rig.run(&mut *channel, io).status, Status::Ok);
    let io = rig.io(1, Op::Read, 16, 8);
    let read = rig.run(&mut *channel, io).data.unwrap();
    assert!(read.filled()[..2048].iter().all(|byte| *byte == 9) && read.filled()[2048..].iter().all(|byte| *byte == 0));
    drop((channel, bdev));
    let discarding = discard_channel(&block_params, &rig);
    let mut channel = discarding;
    for i in 0..8 {
        let io = rig.io(i, Op::Unmap, u64::from(i) * 8, 8);
        channel.submit(io).unwrap();
    }
    channel.kick();
    assert!(rig.reap_all(&mut *channel, 8).iter().all(|d| d.status == Status::Ok), "discarded on the thread");
}

/// A channel that unmaps by ioctl, whatever the device would prefer.
fn discard_channel(params: &UringParams, rig: &Rig) -> Box<dyn Channel> {
    let (mut backing, geometry) = Backing::open(params).unwrap();
    backing.unmap = Unmap::Discard;
    let worker = discard::start("u", &backing, geometry.block_size).unwrap();
    let discards = Some(worker.open().unwrap());
    // The thread outlives its channels.
    std::mem::forget(worker);
    let features =
        Uring::create(&UringParams { name: "f".into(), filename: file().path().into(), ..params.clone() }, &rig.arena);
    let features = features.unwrap().features();
    let medium =
        Medium { backing, shape: Shape::new(geometry), features, zeroes: Zeroes::new(), enters: AtomicU64::new(0) };
    let ring = Ring::new().unwrap();
    ring.register_files(&medium.backing.descriptors()).unwrap();
    let parts = Parts {
        medium: Arc::new(medium),
        ring,
        polled: None,
        discards,
        fixed: FixedBuffers::default(),
        event: Event::new().unwrap(),
    };
    Box::new(UringChannel::new(parts))
}
