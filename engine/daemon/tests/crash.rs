//! `kill -9` in the middle of writing: what was acknowledged as durable is there afterwards, whole and in its place.
//!
//! Every block written carries its address and a number that rises with each write to it. After the crash a block holds
//! the last write that was acknowledged as durable or a later one, never an older one, a mixture, or another's.

mod support;

use initiator::session::Outcome;
use initiator::{Client, Options, Transfer, Url};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use support::Serving;

const BLOCK: usize = 4096;
const BLOCKS: u64 = 256;
const CONNECTIONS: u16 = 2;
/// Writes acknowledged before the engine is killed, so that every round has something to lose.
const ENOUGH: usize = 300;
const WRITE_10: u8 = 0x2A;
const FUA: u8 = 0x08;

#[derive(Clone, Copy, PartialEq)]
enum Durability {
    /// Every write has FUA set.
    ForceUnitAccess,
    /// Plain writes, made durable by SYNCHRONIZE CACHE.
    Flush,
}

/// What a writer knows of one of its blocks.
#[derive(Clone, Copy, Default)]
struct Known {
    issued: u64,
    answered: u64,
    durable: u64,
}

fn stamp(lba: u64, number: u64) -> Vec<u8> {
    let one: Vec<u8> = [lba.to_be_bytes(), number.to_be_bytes()].concat();
    one.repeat(BLOCK / one.len())
}

/// Writes to every `CONNECTIONS`-th block, from `first` on, until the engine is gone.
fn write_until_it_dies(port: u16, first: u16, how: Durability, told: &std::sync::mpsc::Sender<()>) -> Vec<Known> {
    let url: Url = format!("iscsi://127.0.0.1:{port}/{}/0", support::TARGET).parse().unwrap();
    let options = Options { isid_qualifier: first + 1, ..Options::default() };
    let mut client = Client::connect(&url, &options).expect("the engine serves");
    let mut known = vec![Known::default(); BLOCKS as usize];
    let mut random = u64::from(first) + 1;
    loop {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let slot = (random >> 33) % (BLOCKS / u64::from(CONNECTIONS));
        let lba = slot * u64::from(CONNECTIONS) + u64::from(first);
        let block = &mut known[lba as usize];
        block.issued += 1;
        let flags = if how == Durability::ForceUnitAccess { FUA } else { 0 };
        let cdb = [WRITE_10, flags, 0, 0, 0, lba as u8, 0, 0, 1, 0];
        let data = stamp(lba, block.issued);
        match client.command(&cdb, Transfer::Write(&data)) {
            Ok(reply) if reply.outcome == Outcome::Lost => return known,
            Ok(reply) => assert!(reply.outcome.is_good(), "{reply:?}"),
            Err(_) => return known,
        }
        block.answered = block.issued;
        if how == Durability::ForceUnitAccess {
            block.durable = block.issued;
        } else if random >> 60 == 0 {
            if client.flush().is_err() {
                return known;
            }
            known.iter_mut().for_each(|block| block.durable = block.answered);
        }
        let _ = told.send(());
    }
}

fn kill_after(serving: &mut Serving, answers: &Receiver<()>) {
    for _ in 0..ENOUGH {
        answers.recv_timeout(Duration::from_secs(30)).expect("writes are answered");
    }
    serving.child.kill().unwrap();
    serving.child.wait().unwrap();
}

fn check(file: &std::path::Path, known: &[Known]) {
    let file = std::fs::File::open(file).unwrap();
    for (lba, block) in known.iter().enumerate() {
        let mut found = vec![0; BLOCK];
        file.read_exact_at(&mut found, (lba * BLOCK) as u64).unwrap();
        let number = u64::from_be_bytes(found[8..16].try_into().unwrap());
        let whole = number == 0 && found.iter().all(|b| *b == 0) || found == stamp(lba as u64, number);
        assert!(whole, "block {lba} is torn or holds another's data: {:02x?}", &found[..32]);
        let Known { durable, issued, .. } = *block;
        assert!((durable..=issued).contains(&number), "block {lba} holds write {number}, not {durable}..={issued}");
    }
}

fn crash(how: Durability) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("disk.img");
    std::fs::File::create(&file).unwrap().set_len(BLOCKS * BLOCK as u64).unwrap();
    let mut serving = Serving::start(&[]);
    let port = support::free_port();
    serving.ok(&["bdev_uring_create", &format!(r#"{{"name":"F","filename":{file:?},"block_size":{BLOCK}}}"#)]);
    support::export(&serving, "F", port);
    let (told, answers) = channel();
    let writers: Vec<_> = (0..CONNECTIONS)
        .map(|first| {
            let told = told.clone();
            std::thread::spawn(move || write_until_it_dies(port, first, how, &told))
        })
        .collect();
    kill_after(&mut serving, &answers);
    let mut known = vec![Known::default(); BLOCKS as usize];
    for (first, writer) in writers.into_iter().enumerate() {
        let theirs = writer.join().unwrap();
        theirs.iter().enumerate().skip(first).step_by(usize::from(CONNECTIONS)).for_each(|(i, k)| known[i] = *k);
    }
    assert!(known.iter().any(|block| block.durable > 0), "something was durable");
    check(&file, &known);
}

#[test]
fn forced_writes_survive() {
    crash(Durability::ForceUnitAccess);
}

#[test]
fn flushed_writes_survive() {
    crash(Durability::Flush);
}
