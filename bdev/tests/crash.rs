//! A process is killed in mid-write. What it was told is durable must be there: in every block the last acknowledged
//! version or a later one, never a torn block and never another block's.
//!
//! The writer is this test executable, run again with an environment variable set.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bdev::uring::UringParams;
use bdev::{Bdev, Channel, DoneBatch, Io, Op, Status, Uring};
use primitives::Tag;
use reactors::limits::Limits;
use reactors::{Arena, CoreId, Hugepages, Mail, Pools, Reactor};

const BLOCKS: u64 = 64;
const BLOCK: usize = 4096;
const ROLE: &str = "BDEV_CRASH_WRITER";
const DEPTH: u64 = 16;

/// A block of version `version`: sixteen-byte stamps, the same all over.
fn stamp(lba: u64, version: u64) -> Vec<u8> {
    let mut stamp = [0u8; 16];
    stamp[..8].copy_from_slice(&version.to_le_bytes());
    stamp[8..].copy_from_slice(&lba.to_le_bytes());
    stamp.repeat(BLOCK / 16)
}

/// What acknowledges a version: its block and number, on standard output.
fn acknowledge(out: &mut impl Write, lba: u64, version: u64) {
    let mut word = [0u8; 16];
    word[..8].copy_from_slice(&lba.to_le_bytes());
    word[8..].copy_from_slice(&version.to_le_bytes());
    // One write: the parent sees all of it or nothing.
    out.write_all(&word).unwrap();
}

/// Writes versions 1, 2, … of every block until it is killed: with force unit access, or each round followed by a
/// flush; acknowledges what is durable.
fn writer(path: &Path, fua: bool) {
    let arena = Arena::new(Hugepages::Off);
    let mail = Mail::new(1, 1).unwrap();
    let part = arena.region(4 << 20).unwrap().split(1).remove(0);
    let mut reactor = Reactor::new(CoreId(0), &mail, Pools::new(0, part), Limits::default());
    let params = UringParams {
        name: "u".into(),
        filename: path.into(),
        block_size: Some(BLOCK as u32),
        ..UringParams::default()
    };
    let bdev = Uring::create(&params, &arena).unwrap();
    let mut core = reactor.core();
    let mut channel = bdev.open(&mut core).unwrap();
    // Past the buffer of `Stdout`, which a kill would lose.
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned().unwrap());
    for version in 1.. {
        for first in (0..BLOCKS).step_by(DEPTH as usize) {
            for lba in first..first + DEPTH {
                let mut buf = core.pools.take(BLOCK).unwrap();
                buf.copy_in(0, &stamp(lba, version));
                let tag = Tag::new(0, 0, lba as u16, 0);
                channel.submit(Io { tag, op: Op::Write, fua, lba, blocks: 1, data: Some(buf) }).unwrap();
            }
            finish(&mut *channel, &mut core.pools, |lba| {
                if fua {
                    acknowledge(&mut out, lba, version);
                }
            });
            if !fua {
                let flush = Io { tag: Tag::default(), op: Op::Flush, fua: false, lba: 0, blocks: 0, data: None };
                channel.submit(flush).unwrap();
                finish(&mut *channel, &mut core.pools, |_| ());
                (first..first + DEPTH).for_each(|lba| acknowledge(&mut out, lba, version));
            }
        }
    }
}

fn finish(channel: &mut dyn Channel, pools: &mut Pools, mut each: impl FnMut(u64)) {
    channel.kick();
    let mut batch = DoneBatch::default();
    while channel.outstanding() > 0 {
        channel.reap(&mut batch);
        for done in batch.drain() {
            assert_eq!(done.status, Status::Ok);
            each(done.tag.index().into());
            done.data.into_iter().for_each(|buf| pools.give(buf));
        }
    }
}

fn start(path: &Path, mode: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_writer", "--nocapture", "--ignored"])
        .env(ROLE, format!("{mode}:{}", path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The writer's side of this file; does nothing unless it is started by a test below.
#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn the_writer() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (mode, path) = role.split_once(':').unwrap();
    // Marks the end of what the test harness prints.
    std::io::stdout().write_all(MARK).unwrap();
    std::io::stdout().flush().unwrap();
    writer(Path::new(path), mode == "fua");
}

const MARK: &[u8] = b"\0\0acknowledgements follow\0\0";

/// The last acknowledged version of each block.
fn acknowledged(output: &[u8]) -> Vec<u64> {
    let start = output.windows(MARK.len()).position(|window| window == MARK).expect("the writer started") + MARK.len();
    let mut versions = vec![0; BLOCKS as usize];
    for word in output[start..].chunks_exact(16) {
        let lba = u64::from_le_bytes(word[..8].try_into().unwrap());
        versions[lba as usize] = u64::from_le_bytes(word[8..].try_into().unwrap());
    }
    versions
}

fn kill_in_mid_write(mode: &str) {
    for round in 0..6 {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let file = tempfile::NamedTempFile::new_in(dir).unwrap();
        file.as_file().set_len(BLOCKS * BLOCK as u64).unwrap();
        let mut child = start(file.path(), mode);
        let mut stdout = child.stdout.take().unwrap();
        let received = Arc::new(AtomicUsize::new(0));
        let count = received.clone();
        let reader = std::thread::spawn(move || {
            let (mut output, mut piece) = (Vec::new(), [0; 4096]);
            while let Ok(n @ 1..) = stdout.read(&mut piece) {
                output.extend_from_slice(&piece[..n]);
                count.store(output.len(), Ordering::Relaxed);
            }
            output
        });
        // In the midst of some round or other; the writer has no end of its own.
        while received.load(Ordering::Relaxed) < 3000 + 7000 * round {
            assert!(child.try_wait().unwrap().is_none(), "the writer failed");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let durable = acknowledged(&reader.join().unwrap());
        assert!(durable.iter().any(|version| *version > 0), "nothing was acknowledged before the kill");
        for (lba, acknowledged) in durable.into_iter().enumerate() {
            let mut block = vec![0; BLOCK];
            file.as_file().read_exact_at(&mut block, (lba * BLOCK) as u64).unwrap();
            let found = u64::from_le_bytes(block[..8].try_into().unwrap());
            assert!(found >= acknowledged, "block {lba}: version {found}, but {acknowledged} was acknowledged");
            let intact = if found == 0 { vec![0; BLOCK] } else { stamp(lba as u64, found) };
            assert!(block == intact, "block {lba} is torn or another one's");
        }
    }
}

#[test]
fn forced_writes_survive_a_kill() {
    kill_in_mid_write("fua");
}

#[test]
fn flushed_writes_survive_a_kill() {
    kill_in_mid_write("flush");
}
