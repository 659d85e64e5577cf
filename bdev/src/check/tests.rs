use core::ptr::NonNull;

use primitives::{Buf, Home, Tag};

use super::*;

const BLOCKS: u64 = 100;

fn geometry(block_size: u32) -> Geometry {
    Geometry {
        block_size,
        blocks: BLOCKS,
        physical_block_size: block_size,
        optimal_io_blocks: 0,
        unmap_granularity: 1,
        unmap_reads_zeroes: true,
        write_cache: false,
        read_only: false,
        rotational: false,
    }
}

const ALL: Features =
    Features { write: true, flush: true, fua: true, unmap: true, write_zeroes: true, lend: false, per_core: true };

fn buf(home: Home, capacity: usize, len: usize) -> Buf {
    let memory = Vec::leak(vec![0u8; capacity.max(1)]);
    // SAFETY: leaked memory of at least `capacity` bytes, used by this handle only.
    let mut buf = unsafe { Buf::from_raw(NonNull::from(&mut memory[0]), capacity as u32, home) };
    buf.set_len(len);
    buf
}

const POOL: Home = Home::Pool { pool: 0, index: 0 };

fn io(op: Op, lba: u64, blocks: u64, data: Option<Buf>) -> Io {
    Io { tag: Tag::default(), op, fua: false, lba, blocks, data }
}

#[test]
fn the_last_block_is_in_and_the_next_is_out() {
    for size in [512u32, 4096] {
        let g = geometry(size);
        for op in [Op::Unmap, Op::WriteZeroes] {
            let last = check(&io(op, BLOCKS - 1, 1, None), &g, ALL).unwrap();
            assert_eq!(last, Extent { offset: (BLOCKS - 1) * u64::from(size), bytes: size.into() });
            for (lba, blocks) in [(BLOCKS, 1), (BLOCKS - 1, 2), (0, BLOCKS + 1), (u64::MAX, 1), (1, u64::MAX)] {
                assert_eq!(check(&io(op, lba, blocks, None), &g, ALL), Err(Status::OutOfRange), "{lba}+{blocks}");
            }
            assert_eq!(check(&io(op, 0, 0, None), &g, ALL), Err(INVALID));
            assert_eq!(check(&io(op, BLOCKS + 1, 0, None), &g, ALL), Err(Status::OutOfRange));
        }
    }
}

#[test]
fn memory_must_be_there_and_large_enough() {
    let g = geometry(512);
    for op in [Op::Read, Op::Write] {
        assert_eq!(check(&io(op, 0, 2, None), &g, ALL), Err(INVALID));
        assert_eq!(check(&io(op, 0, 2, Some(buf(POOL, 1023, 1023))), &g, ALL), Err(INVALID));
        assert!(check(&io(op, 0, 2, Some(buf(POOL, 1024, 1024))), &g, ALL).is_ok());
    }
    assert_eq!(check(&io(Op::Write, 0, 2, Some(buf(POOL, 4096, 1023))), &g, ALL), Err(INVALID), "not filled");
    assert!(check(&io(Op::Read, 0, 2, Some(buf(POOL, 4096, 0))), &g, ALL).is_ok());
}

#[test]
fn lent_memory_is_for_devices_that_lend() {
    let g = geometry(512);
    let lent = || Some(buf(Home::Lent, 512, 0));
    assert_eq!(check(&io(Op::Read, 0, 1, lent()), &g, ALL), Err(INVALID));
    let lends = Features { lend: true, ..ALL };
    assert!(check(&io(Op::Read, 0, 1, lent()), &g, lends).is_ok());
    assert!(check(&io(Op::Write, 0, 1, lent()), &g, lends).is_ok());
}

#[test]
fn a_flush_needs_nothing_and_a_read_only_medium_only_reads() {
    let read_only = Geometry { read_only: true, ..geometry(512) };
    assert_eq!(check(&io(Op::Flush, u64::MAX, 0, None), &read_only, ALL), Ok(Extent::default()));
    for op in [Op::Write, Op::Unmap, Op::WriteZeroes] {
        assert_eq!(check(&io(op, 0, 1, None), &read_only, ALL), Err(Status::ReadOnly));
    }
    assert!(check(&io(Op::Read, 0, 1, Some(buf(POOL, 512, 0))), &read_only, ALL).is_ok());
}

#[test]
fn what_the_device_lacks_is_unsupported() {
    for op in [Op::Write, Op::Flush, Op::Unmap, Op::WriteZeroes] {
        assert_eq!(check(&io(op, 0, 1, None), &geometry(512), Features::default()), Err(Status::Unsupported));
    }
}
