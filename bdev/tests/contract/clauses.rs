//! The clauses of the contract.

use std::collections::HashMap;
use std::os::fd::RawFd;

use bdev::{AbortOutcome, Done, DoneBatch, Op, Status, limits};
use primitives::{Home, Tag};
use reactors::guard;

use crate::devices::{BLOCKS, Bench};
use crate::rig::{Client, Dice, Rig, pattern};

const EINVAL: Status = Status::Failed(libc::EINVAL);

pub fn reads_what_was_written(b: &mut Bench) {
    let mut c = b.client();
    let most = (128 * 1024 / c.block_size) as u64;
    for (seed, (lba, blocks)) in [(0, 1), (1, 2), (77, 16), (500, most), (BLOCKS - most, most)].into_iter().enumerate()
    {
        assert!(c.read(&mut b.rig, lba, blocks).iter().all(|byte| *byte == 0), "a new device is zero");
        let bytes = pattern(seed as u64, lba, blocks, c.block_size);
        c.write(&mut b.rig, lba, &bytes);
        let expected = if b.stores { bytes } else { vec![0; bytes.len()] };
        assert!(c.read(&mut b.rig, lba, blocks) == expected, "{blocks} blocks at {lba}");
        // A part of it, into a buffer that is too large.
        assert!(c.read(&mut b.rig, lba + blocks - 1, 1) == expected[expected.len() - c.block_size..]);
        c.write(&mut b.rig, lba, &vec![0; expected.len()]);
    }
    assert_eq!(b.rig.cores[0].core().pools.outstanding(), 0);
}

/// Any sequence of operations leaves what a plain array would hold.
pub fn keeps_to_a_model(b: &mut Bench) {
    if !b.stores {
        return;
    }
    const SPACE: u64 = 64;
    let mut c = b.client();
    let features = b.bdev.features();
    let mut model = vec![0u8; SPACE as usize * c.block_size];
    let mut dice = Dice(42);
    for step in 0..200 {
        let lba = dice.roll(SPACE);
        let blocks = 1 + dice.roll((SPACE - lba).min(12));
        let range = lba as usize * c.block_size..(lba + blocks) as usize * c.block_size;
        match dice.roll(6) {
            0 | 1 => {
                let bytes = pattern(step, lba, blocks, c.block_size);
                let mut io = c.write_io(&mut b.rig, lba, &bytes);
                io.fua = dice.roll(4) == 0;
                assert_eq!(c.status(&mut b.rig, io), Status::Ok);
                model[range].copy_from_slice(&bytes);
            }
            2 if features.unmap && b.bdev.geometry().unmap_reads_zeroes => {
                assert_eq!(c.simple(&mut b.rig, Op::Unmap, lba, blocks), Status::Ok);
                model[range].fill(0);
            }
            3 if features.write_zeroes => {
                assert_eq!(c.simple(&mut b.rig, Op::WriteZeroes, lba, blocks), Status::Ok);
                model[range].fill(0);
            }
            4 => assert_eq!(c.simple(&mut b.rig, Op::Flush, 0, 0), Status::Ok),
            _ => assert!(c.read(&mut b.rig, lba, blocks) == model[range], "step {step}: {blocks} at {lba}"),
        }
    }
    assert!(c.read(&mut b.rig, 0, 16) == model[..16 * c.block_size]);
}

/// Many operations at once: each comes back once, with its own tag and memory.
pub fn returns_tags_and_buffers(b: &mut Bench) {
    let mut c = b.client();
    let mut sent: HashMap<Tag, (*mut u8, u64, Op)> = HashMap::new();
    for lba in 0..200 {
        let bytes = pattern(1, lba, 1, c.block_size);
        let io = if lba % 3 == 0 { c.read_io(&mut b.rig, lba, 1) } else { c.write_io(&mut b.rig, lba, &bytes) };
        sent.insert(io.tag, (io.data.as_ref().unwrap().as_ptr(), lba, io.op));
        c.channel.submit(io).unwrap();
    }
    assert_eq!(c.channel.outstanding(), 200);
    c.channel.kick();
    let (mut done, stores) = (Vec::new(), b.stores);
    c.drain(&mut b.rig, |d| done.push(d));
    for d in done {
        let (memory, _, op) = sent.remove(&d.tag).expect("a tag comes back once");
        assert_eq!(d.status, Status::Ok);
        let buf = d.data.unwrap();
        assert_eq!(buf.as_ptr(), memory, "the buffer of the operation");
        assert!(op == Op::Write || buf.filled().iter().all(|byte| *byte == 0));
        c.give(&mut b.rig, buf);
    }
    assert!(sent.is_empty());
    for lba in (0..200).filter(|lba| stores && lba % 3 != 0) {
        assert!(c.read(&mut b.rig, lba, 1) == pattern(1, lba, 1, c.block_size));
    }
    assert_eq!(b.rig.cores[0].core().pools.outstanding(), 0, "buffers are conserved");
}

/// An operation that was run has ended; one that could not be is as it was, and can be submitted.
pub fn does_at_once_what_it_can(b: &mut Bench) {
    let mut c = b.client();
    let bytes = pattern(9, 8, 4, c.block_size);
    let write = c.write_io(&mut b.rig, 8, &bytes);
    let read = c.read_io(&mut b.rig, 8, 4);
    let beyond = c.read_io(&mut b.rig, BLOCKS, 1);
    let flush = c.io(Op::Flush, 0, 0, None);
    for (mut io, expected) in
        [(write, Status::Ok), (read, Status::Ok), (beyond, Status::OutOfRange), (flush, Status::Ok)]
    {
        let (tag, op) = (io.tag, io.op);
        let memory = io.data.as_ref().map(|data| data.as_ptr());
        let ran = c.channel.run(&mut io);
        assert_eq!((io.tag, io.op), (tag, op));
        assert_eq!(io.data.as_ref().map(|data| data.as_ptr()), memory);
        assert_eq!(c.channel.outstanding(), 0, "it was not taken");
        let done = if let Some(status) = ran {
            assert!(c.channel.is_immediate() && op != Op::Flush);
            Done { tag, status, data: io.data }
        } else {
            c.run(&mut b.rig, io)
        };
        assert_eq!((done.tag, done.status), (tag, expected));
        assert_eq!(c.channel.outstanding(), 0);
        let Some(data) = done.data else { continue };
        assert_eq!(Some(data.as_ptr()), memory);
        if op == Op::Read {
            let shown = if b.stores { bytes.clone() } else { vec![0; bytes.len()] };
            assert_eq!(data.filled(), if expected == Status::Ok { &shown[..] } else { &[] }, "what was written");
        }
        c.give(&mut b.rig, data);
    }
    assert_eq!(b.rig.cores[0].core().pools.outstanding(), 0);
}

pub fn reads_in_place_what_it_can(b: &mut Bench) {
    let mut c = b.client();
    let bytes = pattern(10, 16, 4, c.block_size);
    c.write(&mut b.rig, 16, &bytes);
    let shown = if b.stores { bytes } else { vec![0; bytes.len()] };
    let able = if let Some(lent) = c.channel.read_in_place(16, 4) {
        assert!(b.bdev.features().lend);
        assert_eq!((lent.home(), lent.len(), lent.capacity()), (Home::Lent, shown.len(), shown.len()));
        let mut out = vec![1; shown.len()];
        assert!(lent.copy_out(0, &mut out) == shown.len() && out == shown, "what was written");
        c.channel.give_back(lent);
        true
    } else {
        false
    };
    assert_eq!(c.channel.outstanding(), 0, "it is no operation");
    assert_eq!(able, b.reads_in_place);
    for (lba, blocks) in [(BLOCKS, 1), (BLOCKS - 1, 2), (u64::MAX, 2), (0, 0)] {
        assert!(c.channel.read_in_place(lba, blocks).is_none(), "{blocks} at {lba}");
    }
}

pub fn refuses_what_is_out_of_range(b: &mut Bench) {
    let mut c = b.client();
    for (lba, blocks) in
        [(BLOCKS, 1), (BLOCKS - 1, 2), (u64::MAX, 1), (u64::MAX, u64::MAX), (1, u64::MAX), (0, BLOCKS + 1)]
    {
        for op in [Op::Read, Op::Write, Op::Unmap, Op::WriteZeroes] {
            let data = matches!(op, Op::Read | Op::Write).then(|| c.buf(&mut b.rig, 4096));
            let io = c.io(op, lba, blocks, data);
            assert_eq!(c.status(&mut b.rig, io), Status::OutOfRange, "{op:?} {blocks} at {lba}");
        }
    }
    assert!(c.read(&mut b.rig, BLOCKS - 1, 1).iter().all(|byte| *byte == 0), "nothing was touched");
}

pub fn refuses_bad_lengths_and_memory(b: &mut Bench) {
    let mut c = b.client();
    for op in [Op::Read, Op::Write, Op::Unmap, Op::WriteZeroes] {
        let data = matches!(op, Op::Read | Op::Write).then(|| c.buf(&mut b.rig, 4096));
        let io = c.io(op, 0, 0, data);
        assert_eq!(c.status(&mut b.rig, io), EINVAL, "{op:?} of nothing");
    }
    for op in [Op::Read, Op::Write] {
        let io = c.io(op, 0, 1, None);
        assert_eq!(c.status(&mut b.rig, io), EINVAL, "no memory");
        let mut small = c.buf(&mut b.rig, 1);
        small.set_len(small.capacity());
        let blocks = (small.capacity() / c.block_size + 1) as u64;
        let io = c.io(op, 0, blocks, Some(small));
        let done = c.run(&mut b.rig, io);
        assert_eq!(done.status, EINVAL, "too little memory");
        let buf = done.data.unwrap();
        assert!(op == Op::Write || buf.is_empty(), "a failed read shows nothing");
        c.give(&mut b.rig, buf);
    }
    let unfilled = c.buf(&mut b.rig, c.block_size);
    let io = c.io(Op::Write, 0, 1, Some(unfilled));
    assert_eq!(c.status(&mut b.rig, io), EINVAL, "unwritten bytes never reach the medium");
    let mut foreign = vec![0u8; 4096];
    let ptr = std::ptr::NonNull::new(foreign.as_mut_ptr()).unwrap();
    // SAFETY: the vector outlives the operation, which is refused anyway.
    let foreign_lent = unsafe { primitives::Buf::from_raw(ptr, 4096, Home::Lent) };
    let io = c.io(Op::Read, 0, 1, Some(foreign_lent));
    let done = c.run(&mut b.rig, io);
    assert_eq!(done.status, EINVAL, "memory lent by somebody else");
    assert_eq!(done.data.unwrap().as_ptr(), foreign.as_mut_ptr());
}

pub fn serves_the_last_block(b: &mut Bench) {
    let mut c = b.client();
    let bytes = pattern(9, BLOCKS - 1, 1, c.block_size);
    c.write(&mut b.rig, BLOCKS - 1, &bytes);
    assert!(!b.stores || c.read(&mut b.rig, BLOCKS - 1, 1) == bytes);
    for op in [Op::WriteZeroes, Op::Unmap] {
        assert_eq!(c.simple(&mut b.rig, op, BLOCKS - 1, 1), Status::Ok);
    }
    assert_eq!(c.simple(&mut b.rig, Op::WriteZeroes, 0, BLOCKS), Status::Ok);
}

pub fn recovers_from_being_full(b: &mut Bench) {
    let mut c = b.client();
    for _ in 0..2 {
        let mut accepted = 0;
        let refused = loop {
            let io = c.read_io(&mut b.rig, accepted % BLOCKS, 1);
            let (tag, memory) = (io.tag, io.data.as_ref().unwrap().as_ptr());
            match c.channel.submit(io) {
                Ok(()) => accepted += 1,
                Err(io) => {
                    assert_eq!((io.tag, io.op, io.lba), (tag, Op::Read, accepted % BLOCKS), "it comes back unchanged");
                    assert_eq!(io.data.as_ref().unwrap().as_ptr(), memory);
                    break io;
                }
            }
        };
        assert!(accepted > 0 && accepted <= limits::CHANNEL_DEPTH as u64, "{accepted} accepted");
        assert_eq!(c.channel.outstanding() as u64, accepted);
        c.channel.kick();
        let mut done = Vec::new();
        c.drain(&mut b.rig, |d| done.push(d));
        assert_eq!(done.len() as u64, accepted);
        for d in done {
            assert_eq!(d.status, Status::Ok);
            c.give(&mut b.rig, d.data.unwrap());
        }
        assert_eq!(c.status(&mut b.rig, refused), Status::Ok, "there is room again");
    }
    assert_eq!(b.rig.cores[0].core().pools.outstanding(), 0);
}

pub fn aborts_complete_once(b: &mut Bench) {
    let mut c = b.client();
    assert_eq!(c.channel.abort(Tag::new(1, 1, 1, 1)), AbortOutcome::Unknown);
    let mut tags = Vec::new();
    for i in 0..60 {
        let io = if i % 2 == 0 { c.read_io(&mut b.rig, i, 1) } else { c.io(Op::WriteZeroes, i, 1, None) };
        tags.push(io.tag);
        c.channel.submit(io).unwrap();
        if i == 30 {
            c.channel.kick();
        }
    }
    for tag in &tags {
        assert_eq!(c.channel.abort(*tag), AbortOutcome::WillComplete);
        assert_eq!(c.channel.abort(*tag), AbortOutcome::WillComplete, "asking twice does no harm");
    }
    c.channel.kick();
    let mut done = Vec::new();
    c.drain(&mut b.rig, |d| done.push(d));
    let mut seen: Vec<_> = done.iter().map(|d| d.tag.index()).collect();
    seen.sort_unstable();
    assert_eq!(seen, tags.iter().map(|tag| tag.index()).collect::<Vec<_>>(), "each once");
    for d in done {
        assert!(matches!(d.status, Status::Ok | Status::Aborted), "{:?}", d.status);
        if let Some(buf) = d.data {
            assert!(d.status == Status::Ok || buf.is_empty());
            c.give(&mut b.rig, buf);
        }
    }
    assert!(tags.iter().all(|tag| c.channel.abort(*tag) == AbortOutcome::Unknown), "nothing left to abort");
    assert_eq!(b.rig.cores[0].core().pools.outstanding(), 0);
}

pub fn flushes_and_forces(b: &mut Bench) {
    let mut c = b.client();
    assert_eq!(c.simple(&mut b.rig, Op::Flush, 0, 0), Status::Ok, "nothing to flush is fine");
    let bytes = pattern(3, 5, 4, c.block_size);
    c.write(&mut b.rig, 5, &bytes);
    assert_eq!(c.simple(&mut b.rig, Op::Flush, 0, 0), Status::Ok);
    let mut io = c.write_io(&mut b.rig, 9, &bytes);
    io.fua = true;
    assert_eq!(c.status(&mut b.rig, io), Status::Ok);
    let any: std::sync::Arc<dyn std::any::Any + Send + Sync> = b.bdev.clone();
    if let Ok(sim) = any.downcast::<bdev::Sim>() {
        assert_eq!(sim.volatile_blocks(), 0);
        (1..50).for_each(|seed| sim.crash(seed));
        assert_eq!(c.simple(&mut b.rig, Op::Flush, 0, 0), Status::Removed, "channels die in a crash");
        c = b.client();
    }
    if b.stores {
        assert!(c.read(&mut b.rig, 5, 4) == bytes && c.read(&mut b.rig, 9, 4) == bytes);
    }
}

pub fn unmaps(b: &mut Bench) {
    if b.bdev.features().unmap {
        zeroes_a_range(b, Op::Unmap);
    }
}

pub fn writes_zeroes(b: &mut Bench) {
    zeroes_a_range(b, Op::WriteZeroes);
}

fn zeroes_a_range(b: &mut Bench, op: Op) {
    let mut c = b.client();
    let bytes = pattern(4, 100, 32, c.block_size);
    c.write(&mut b.rig, 100, &bytes);
    assert_eq!(c.simple(&mut b.rig, op, 103, 20), Status::Ok);
    if !b.stores || (op == Op::Unmap && !b.bdev.geometry().unmap_reads_zeroes) {
        return;
    }
    let after = c.read(&mut b.rig, 100, 32);
    let (from, to) = (3 * c.block_size, 23 * c.block_size);
    assert!(after[..from] == bytes[..from] && after[to..] == bytes[to..], "the neighbours stay");
    assert!(after[from..to].iter().all(|byte| *byte == 0));
    // All of it at once, which takes some devices several turns.
    assert_eq!(c.simple(&mut b.rig, op, 0, BLOCKS), Status::Ok);
    assert!(c.read(&mut b.rig, 100, 3).iter().all(|byte| *byte == 0));
    assert_eq!(b.bdev.geometry().blocks, BLOCKS, "the size stays");
}

pub fn serves_two_cores(b: &mut Bench) {
    assert!(b.bdev.features().per_core);
    let (mut one, mut two) = (b.client_on(0), b.client_on(1));
    for round in 0..4 {
        // Both have operations under way at once, on neighbouring blocks.
        for (c, lba) in [(&mut one, 10), (&mut two, 11)] {
            let bytes = pattern(round, lba, 1, c.block_size);
            let io = c.write_io(&mut b.rig, lba, &bytes);
            c.channel.submit(io).unwrap();
            c.channel.kick();
        }
        for c in [&mut one, &mut two] {
            let mut done = None;
            c.drain(&mut b.rig, |d| done = Some(d));
            let done = done.unwrap();
            assert_eq!(done.status, Status::Ok);
            c.give(&mut b.rig, done.data.unwrap());
        }
        // A flush on one core covers the other's writes; each sees the other's data.
        assert_eq!(two.simple(&mut b.rig, Op::Flush, 0, 0), Status::Ok);
        if b.stores {
            assert!(one.read(&mut b.rig, 11, 1) == pattern(round, 11, 1, one.block_size));
            assert!(two.read(&mut b.rig, 10, 1) == pattern(round, 10, 1, two.block_size));
        }
    }
    drop(one);
    let bytes = pattern(99, 12, 1, two.block_size);
    two.write(&mut b.rig, 12, &bytes);
    assert!(!b.stores || two.read(&mut b.rig, 12, 1) == bytes, "one channel's end is not the other's");
}

pub fn survives_a_dropped_channel(b: &mut Bench) {
    for kick in [false, true] {
        let mut c = b.client();
        for lba in 0..40 {
            let bytes = pattern(5, lba, 1, c.block_size);
            let io = if lba % 2 == 0 { c.read_io(&mut b.rig, lba, 1) } else { c.write_io(&mut b.rig, lba, &bytes) };
            c.channel.submit(io).unwrap();
        }
        if kick {
            c.channel.kick();
            b.rig.turn();
        }
        drop(c);
        (0..4).for_each(|_| b.rig.turn());
    }
    let mut c = b.client();
    let bytes = pattern(6, 0, 8, c.block_size);
    c.write(&mut b.rig, 0, &bytes);
    assert!(!b.stores || c.read(&mut b.rig, 0, 8) == bytes);
    // The buffers went down with their channels: lost, but never handed out again while a device may use them.
    assert_eq!(b.rig.cores[0].core().pools.outstanding(), 80);
}

pub fn lends(b: &mut Bench) {
    let mut c = b.client();
    if !b.bdev.features().lend {
        assert!(c.channel.lend(Op::Read, 0, 1).is_none() && c.channel.lend(Op::Write, 0, 1).is_none());
        assert!(c.channel.read_in_place(0, 1).is_none());
        return;
    }
    if !b.stores {
        return lends_for_reads(b, &mut c);
    }
    let bytes = pattern(8, 40, 4, c.block_size);
    let mut target = c.channel.lend(Op::Write, 40, 4).expect("memory");
    assert_eq!((target.capacity(), target.home()), (4 * c.block_size, Home::Lent));
    target.copy_in(0, &bytes);
    let memory = target.as_ptr();
    let io = c.io(Op::Write, 40, 4, Some(target));
    let done = c.run(&mut b.rig, io);
    let back = done.data.unwrap();
    assert_eq!((done.status, back.as_ptr()), (Status::Ok, memory));
    c.channel.give_back(back);
    assert!(c.read(&mut b.rig, 40, 4) == bytes, "unlent reads see it");
    let source = c.channel.lend(Op::Read, 41, 1).expect("memory");
    let mut out = vec![0; c.block_size];
    assert_eq!(source.copy_out(0, &mut out), c.block_size);
    assert!(out == bytes[c.block_size..2 * c.block_size]);
    let io = c.io(Op::Read, 41, 1, Some(source));
    let done = c.run(&mut b.rig, io);
    assert_eq!(done.status, Status::Ok);
    c.channel.give_back(done.data.unwrap());
    for (op, lba, blocks) in [
        (Op::Read, BLOCKS, 1),
        (Op::Write, 0, BLOCKS + 1),
        (Op::Read, u64::MAX, 2),
        (Op::Read, 0, 0),
        (Op::Flush, 0, 1),
    ] {
        assert!(c.channel.lend(op, lba, blocks).is_none(), "{op:?} {blocks} at {lba}");
    }
    let elsewhere = c.channel.lend(Op::Write, 60, 1).expect("memory");
    let io = c.io(Op::Write, 61, 1, Some(elsewhere));
    let done = c.run(&mut b.rig, io);
    assert_eq!(done.status, EINVAL, "lent for other blocks");
    c.channel.give_back(done.data.unwrap());
}

/// A device that keeps nothing has no use for what is written.
fn lends_for_reads(b: &mut Bench, c: &mut Client) {
    let source = c.channel.lend(Op::Read, 41, 1).expect("memory");
    let io = c.io(Op::Read, 41, 1, Some(source));
    let done = c.run(&mut b.rig, io);
    let back = done.data.unwrap();
    assert_eq!((done.status, back.home(), back.len()), (Status::Ok, Home::Lent, c.block_size));
    c.channel.give_back(back);
    for (op, lba, blocks) in [(Op::Read, BLOCKS, 1), (Op::Read, u64::MAX, 2), (Op::Read, 0, 0), (Op::Write, 0, 1)] {
        assert!(c.channel.lend(op, lba, blocks).is_none(), "{op:?} {blocks} at {lba}");
    }
}

pub fn allocates_nothing(b: &mut Bench) {
    if !b.frugal {
        return;
    }
    let mut c = b.client();
    let bytes = pattern(2, 0, 1, c.block_size);
    let round = |rig: &mut Rig, c: &mut Client| {
        for lba in 0..32 {
            let io = if lba % 2 == 0 { c.read_io(rig, lba, 1) } else { c.write_io(rig, lba, &bytes) };
            c.channel.submit(io).unwrap();
        }
        let flush = c.io(Op::Flush, 0, 0, None);
        c.channel.submit(flush).unwrap();
        c.channel.kick();
        let mut batch = DoneBatch::default();
        while c.channel.outstanding() > 0 {
            rig.turn();
            c.channel.reap(&mut batch);
            for done in batch.drain() {
                assert_eq!(done.status, Status::Ok);
                if let Some(buf) = done.data {
                    c.give(rig, buf);
                }
            }
        }
    };
    round(&mut b.rig, &mut c);
    let ((), counts) = guard::count(|| (0..8).for_each(|_| round(&mut b.rig, &mut c)));
    assert_eq!(counts.allocations, 0, "{counts:?}");
}

/// A core that armed the channel and waits for its descriptor misses nothing.
pub fn wakes_a_sleeper(b: &mut Bench) {
    let mut c = b.client();
    assert!(c.channel.arm() || c.channel.wake_fd().is_none(), "an idle channel lets its core sleep");
    let bytes = pattern(1, 0, 1, c.block_size);
    for lba in 0..50 {
        // What has to reach the medium takes long enough to fall asleep over.
        let mut io = c.write_io(&mut b.rig, lba, &bytes);
        io.fua = true;
        c.channel.submit(io).unwrap();
        c.channel.kick();
        let mut batch = DoneBatch::default();
        while c.channel.outstanding() > 0 {
            let armed = c.channel.arm();
            // Once more between arming and sleeping, as a reactor does.
            b.rig.turn();
            c.channel.reap(&mut batch);
            if armed && batch.is_empty() {
                // A channel without a descriptor never lets its core sleep on outstanding operations.
                sleep(&mut b.rig, c.channel.wake_fd().expect("a descriptor"));
            }
            for done in batch.drain() {
                assert_eq!(done.status, Status::Ok);
                c.give(&mut b.rig, done.data.unwrap());
            }
        }
        if let Some(fd) = c.channel.wake_fd() {
            assert!(!readable(fd, 0), "what made it readable was consumed");
        }
    }
}

/// Sleeps until `fd` is readable, while the cores go on: the client's has nothing but its channel to sleep for.
fn sleep(rig: &mut Rig, fd: RawFd) {
    let woken = (0..10_000).any(|_| {
        rig.turn();
        readable(fd, 1)
    });
    assert!(woken, "slept over a completion");
}

fn readable(fd: RawFd, timeout_ms: i32) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&raw mut poll, 1, timeout_ms) == 1 }
}

/// One kick is enough: reaping alone drives every operation to its end, including those the kernel completes only
/// when asked.
pub fn completes_without_further_kicks(b: &mut Bench) {
    let mut c = b.client();
    for lba in 0..8 {
        let io = c.read_io(&mut b.rig, lba * 64, 16);
        c.channel.submit(io).unwrap();
    }
    let zero = c.io(Op::WriteZeroes, 1000, 500, None);
    c.channel.submit(zero).unwrap();
    c.channel.kick();
    let mut done = 0;
    let mut bufs = Vec::new();
    c.drain(&mut b.rig, |d| {
        assert_eq!(d.status, Status::Ok);
        done += 1;
        bufs.extend(d.data);
    });
    assert_eq!(done, 9);
    bufs.into_iter().for_each(|buf| c.give(&mut b.rig, buf));
}
