//! Commands on ranges of blocks: READ, WRITE, VERIFY, WRITE AND VERIFY, WRITE SAME, SYNCHRONIZE CACHE, PRE-FETCH.

use super::*;

const READS: [u8; 4] = [0x08, 0x28, 0xA8, 0x88];
const WRITES: [u8; 4] = [0x0A, 0x2A, 0xAA, 0x8A];
const WRITE_VERIFIES: [u8; 3] = [0x2E, 0xAE, 0x8E];
const VERIFIES: [u8; 3] = [0x2F, 0xAF, 0x8F];
const WRITE_SAMES: [u8; 2] = [0x41, 0x93];
const FLUSHES: [u8; 2] = [0x35, 0x91];
const PREFETCHES: [u8; 2] = [0x34, 0x90];

fn op(kind: BlockKind, lba: u64, blocks: u64) -> BlockOp {
    BlockOp { kind, lba, blocks, fua: false }
}

#[test]
fn reads_and_writes_name_their_blocks() {
    let mut host = Host::new();
    for (opcodes, kind) in [(READS, BlockKind::Read), (WRITES, BlockKind::Write)] {
        for opcode in opcodes {
            assert_eq!(host.block(&on_blocks(opcode, 0, 0x1234, 7)), op(kind, 0x1234, 7));
            assert_eq!(host.block(&on_blocks(opcode, 0, BLOCKS - 1, 1)), op(kind, BLOCKS - 1, 1));
        }
    }
    let read = host.block(&on_blocks(0x28, 0, 0, 9));
    let write = host.block(&on_blocks(0x2A, 0, 0, 9));
    assert_eq!((read.data_in(512), read.data_out(512)), (9 * 512, 0));
    assert_eq!((write.data_in(4096), write.data_out(4096)), (0, 9 * 4096));
    assert_eq!(write.success(), Outcome::GOOD);
}

#[test]
fn in_six_bytes_zero_means_256_and_the_old_lun_is_ignored() {
    let mut host = Host::new();
    assert_eq!(host.block(&[0x08, 0xE0, 0, 5, 0, 0]), op(BlockKind::Read, 5, 256));
    assert_eq!(host.block(&[0x0A, 0xE0, 0, 5, 0, 0]), op(BlockKind::Write, 5, 256));
    assert_eq!(host.sense(&[0x08, 0x1F, 0xFF, 0xFF, 1, 0]).asc, 0x21);
}

#[test]
fn elsewhere_zero_blocks_are_nothing_to_do() {
    let mut host = Host::new();
    for opcode in [&READS[1..], &WRITES[1..], &WRITE_VERIFIES, &VERIFIES].concat() {
        for lba in [0, BLOCKS] {
            assert_eq!(host.run(&on_blocks(opcode, 0, lba, 0)), Plan::Done(Outcome::GOOD), "{opcode:#x}");
        }
    }
}

/// The corners of the medium and of the integers, for every command that names blocks.
#[test]
fn ranges_beyond_the_medium_are_refused() {
    let mut host = Host::with(|medium| (medium.max_transfer, medium.max_write_same) = (0, 0));
    let all = [&READS[..], &WRITES, &WRITE_VERIFIES, &VERIFIES, &WRITE_SAMES, &FLUSHES, &PREFETCHES].concat();
    for opcode in all {
        let (bits, most) = match opcode >> 5 {
            0 => (21, 0xFF),
            4 => (64, u32::MAX),
            5 => (32, u32::MAX),
            _ => (32, 0xFFFF),
        };
        let lbas = [0, 1, BLOCKS - 1, BLOCKS, BLOCKS + 1, 1 << 20, 0x8000_0000, u32::MAX.into(), 1 << 63, u64::MAX];
        for lba in lbas.into_iter().filter(|lba| bits == 64 || lba >> bits == 0) {
            for blocks in [0, 1, 2, 256, BLOCKS as u32 - 1, BLOCKS as u32, BLOCKS as u32 + 1, 0xFFFF, most] {
                if blocks > most {
                    continue;
                }
                let count = if opcode >> 5 == 0 && blocks == 0 { 256 } else { u128::from(blocks) };
                let fits = u128::from(lba) + count <= u128::from(BLOCKS);
                match host.run(&on_blocks(opcode, 0, lba, blocks)) {
                    Plan::Block(op) => assert!(fits && op.lba == lba && op.lba + op.blocks <= BLOCKS),
                    Plan::Done(outcome) if outcome.is_good() => assert!(fits && blocks == 0),
                    plan => {
                        let sense = failure(plan);
                        assert_eq!((sense.key, sense.asc, sense.ascq), (SenseKey::IllegalRequest, 0x21, 0));
                        assert!(!fits, "{opcode:#x} lba {lba:#x} blocks {blocks:#x}");
                    }
                }
            }
        }
    }
}

#[test]
fn long_transfers_are_refused() {
    let mut host = Host::new();
    for opcode in [&READS[1..], &WRITES[1..], &WRITE_VERIFIES].concat() {
        let byte = match opcode >> 5 {
            4 => 10,
            5 => 6,
            _ => 7,
        };
        host.block(&on_blocks(opcode, 0, 0, 2048));
        assert_eq!(host.sense(&on_blocks(opcode, 0, 0, 2049)), Sense::cdb_byte(byte));
    }
    for opcode in VERIFIES {
        assert_eq!(host.sense(&on_blocks(opcode, 0x02, 0, 2049)).asc, 0x24);
        // Only what transfers that much is bound.
        assert_eq!(host.block(&on_blocks(opcode, 0x00, 0, 9_000)).blocks, 9_000);
        assert_eq!(host.block(&on_blocks(opcode, 0x06, 0, 9_000)).blocks, 9_000);
    }
}

#[test]
fn protection_information_is_refused() {
    let mut host = Host::new();
    let all = [&READS[1..], &WRITES[1..], &WRITE_VERIFIES, &VERIFIES, &WRITE_SAMES].concat();
    for opcode in all {
        for protect in 1..8 {
            assert_eq!(host.sense(&on_blocks(opcode, protect << 5, 0, 1)), Sense::cdb_bit(1, 7), "{opcode:#x}");
        }
    }
}

#[test]
fn fua_is_asked_for_or_forced_without_write_back() {
    let mut host = Host::new();
    for opcode in [&READS[1..], &WRITES[1..]].concat() {
        assert!(!host.block(&on_blocks(opcode, 0x10, 0, 1)).fua);
        assert!(host.block(&on_blocks(opcode, 0x08, 0, 1)).fua);
        assert!(host.block(&on_blocks(opcode, 0x18, 0, 1)).fua);
    }
    assert!(host.block(&on_blocks(0x2E, 0, 0, 1)).fua);
    host.lu.modes.wce = false;
    for opcode in [&WRITES[..], &WRITE_VERIFIES, &WRITE_SAMES].concat() {
        assert!(host.block(&on_blocks(opcode, 0, 0, 1)).fua, "{opcode:#x}");
    }
    assert!(!host.block(&on_blocks(0x28, 0, 0, 1)).fua);
    // A device without a volatile cache needs no forcing.
    host.lu.medium.write_cache = false;
    assert!(!host.block(&on_blocks(0x2A, 0, 0, 1)).fua);
}

#[test]
fn verify_compares_as_bytchk_says() {
    let mut host = Host::new();
    for opcode in VERIFIES {
        let verify = host.block(&on_blocks(opcode, 0x10, 3, 4));
        assert_eq!((verify, verify.data_out(512)), (op(BlockKind::Verify, 3, 4), 0));
        let compare = host.block(&on_blocks(opcode, 0x02, 3, 4));
        assert_eq!((compare, compare.data_out(512)), (op(BlockKind::Compare, 3, 4), 2048));
        let repeated = host.block(&on_blocks(opcode, 0x06, 3, 4));
        assert_eq!((repeated, repeated.data_out(512)), (op(BlockKind::CompareRepeated, 3, 4), 512));
        assert_eq!(host.sense(&on_blocks(opcode, 0x04, 3, 4)), Sense::cdb_bit(1, 2));
        assert_eq!((compare.wrong_length(512, 2048), verify.wrong_length(512, 2048)), (None, None));
        assert!(compare.wrong_length(512, 2047).is_some() && repeated.wrong_length(512, 0).is_some());
    }
}

#[test]
fn write_and_verify_compares_as_bytchk_says() {
    let mut host = Host::new();
    for opcode in WRITE_VERIFIES {
        for (flags, compare) in [(0x00, false), (0x02, true)] {
            let op = host.block(&on_blocks(opcode, flags, 3, 4));
            assert_eq!((op.kind, op.data_out(512)), (BlockKind::WriteVerify { compare }, 2048));
        }
        for flags in [0x04, 0x06] {
            assert_eq!(host.sense(&on_blocks(opcode, flags, 3, 4)), Sense::cdb_bit(1, 2));
        }
    }
}

#[test]
fn write_same_of_zero_blocks_goes_to_the_end() {
    let mut host = Host::new();
    for opcode in WRITE_SAMES {
        let plain = BlockKind::WriteSame { unmap: false, ndob: false };
        assert_eq!(host.block(&on_blocks(opcode, 0, BLOCKS - 9, 0)), op(plain, BLOCKS - 9, 9));
        assert_eq!(host.run(&on_blocks(opcode, 0, BLOCKS, 0)), Plan::Done(Outcome::GOOD));
        assert_eq!(host.block(&on_blocks(opcode, 0, BLOCKS - 4096, 0)).blocks, 4096);
        assert_eq!(host.sense(&on_blocks(opcode, 0, BLOCKS - 4097, 0)).asc, 0x24);
        assert_eq!(host.sense(&on_blocks(opcode, 0, 0, 4097)).asc, 0x24);
    }
    host.lu.medium.max_write_same = 0;
    assert_eq!(host.block(&on_blocks(0x93, 0, 0, 0)).blocks, BLOCKS);
}

#[test]
fn write_same_flags() {
    let mut host = Host::new();
    for opcode in WRITE_SAMES {
        let unmap = host.block(&on_blocks(opcode, 0x08, 0, 8));
        assert_eq!((unmap.kind, unmap.data_out(512)), (BlockKind::WriteSame { unmap: true, ndob: false }, 512));
        assert_eq!(unmap.wrong_length(512, 512), None);
        assert!(unmap.wrong_length(512, 256).is_some() && unmap.wrong_length(512, 1024).is_some());
        for flags in [0x10, 0x18] {
            assert_eq!(host.sense(&on_blocks(opcode, flags, 0, 8)), Sense::cdb_bit(1, 4));
        }
    }
    let ndob = host.block(&on_blocks(0x93, 0x09, 0, 8));
    assert_eq!((ndob.kind, ndob.data_out(512)), (BlockKind::WriteSame { unmap: true, ndob: true }, 0));
    assert_eq!(ndob.wrong_length(512, 0), None);
    for bit in [1, 2] {
        assert_eq!(host.sense(&on_blocks(0x41, 1 << bit, 0, 8)), Sense::cdb_bit(1, bit));
    }
    host.lu.medium.thin = false;
    for opcode in WRITE_SAMES {
        assert_eq!(host.sense(&on_blocks(opcode, 0x08, 0, 8)), Sense::cdb_bit(1, 3));
        host.block(&on_blocks(opcode, 0, 0, 8));
    }
}

#[test]
fn flushing_needs_a_volatile_cache() {
    let mut host = Host::new();
    for opcode in FLUSHES {
        assert_eq!(host.block(&on_blocks(opcode, 0, 5, 0)), op(BlockKind::Flush { immed: false }, 5, BLOCKS - 5));
        assert_eq!(host.block(&on_blocks(opcode, 2, 5, 6)), op(BlockKind::Flush { immed: true }, 5, 6));
    }
    host.lu.medium.write_cache = false;
    for opcode in FLUSHES {
        assert_eq!(host.run(&on_blocks(opcode, 0, 0, 0)), Plan::Done(Outcome::GOOD));
        assert_eq!(host.sense(&on_blocks(opcode, 0, BLOCKS, 1)).asc, 0x21);
    }
}

#[test]
fn prefetch_ends_with_condition_met() {
    let mut host = Host::new();
    for opcode in PREFETCHES {
        let op = host.block(&on_blocks(opcode, 0x02, 5, 6));
        assert_eq!((op.kind, op.success()), (BlockKind::Prefetch { immed: true }, Outcome::CONDITION_MET));
        assert_eq!(host.block(&on_blocks(opcode, 0, 5, 0)).blocks, BLOCKS - 5);
        assert_eq!(host.run(&on_blocks(opcode, 0, BLOCKS, 0)), Plan::Done(Outcome::CONDITION_MET));
    }
}

#[test]
fn writes_need_a_medium_that_may_be_written() {
    let mut host = Host::new();
    let writes = [&WRITES[..], &WRITE_VERIFIES, &WRITE_SAMES].concat();
    let others = [&READS[..], &VERIFIES, &FLUSHES, &PREFETCHES].concat();
    let unmap = [0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    for (read_only, swp, sense) in [
        (true, false, Sense::WRITE_PROTECTED),
        (false, true, Sense::SOFTWARE_WRITE_PROTECTED),
        (true, true, Sense::WRITE_PROTECTED),
    ] {
        (host.lu.medium.read_only, host.lu.modes.swp) = (read_only, swp);
        for &opcode in &writes {
            assert_eq!(host.sense(&on_blocks(opcode, 0, 0, 1)), sense, "{opcode:#x}");
        }
        assert_eq!(host.sense(&unmap), sense);
        // Protected while its list was on the way.
        assert_eq!(failure(parameters(&host.lu, &unmap, &[0; 24])), sense);
        for &opcode in &others {
            host.block(&on_blocks(opcode, 0, 0, 1));
        }
    }
}

#[test]
fn a_stopped_unit_does_not_touch_the_medium() {
    let mut host = Host::new();
    host.lu.stopped = true;
    let all = [&READS[..], &WRITES, &WRITE_VERIFIES, &VERIFIES, &WRITE_SAMES, &FLUSHES, &PREFETCHES, &[0x00]].concat();
    for opcode in all {
        assert_eq!(host.sense(&on_blocks(opcode, 0, 0, 1)), Sense::INITIALIZING_COMMAND_REQUIRED, "{opcode:#x}");
    }
    host.data(&[0x12, 0, 0, 0, 96, 0]);
    host.data(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn failures_have_their_sense() {
    let code = |failure| {
        let outcome = block_failure(failure);
        outcome.sense.map(|sense| (sense.key, sense.asc, sense.ascq, sense.information))
    };
    use SenseKey::*;
    assert_eq!(code(BlockFailure::MediumError { lba: 7 }), Some((MediumError, 0x11, 0, Some(7))));
    assert_eq!(code(BlockFailure::WriteFault { lba: 8 }), Some((MediumError, 0x0C, 0, Some(8))));
    assert_eq!(code(BlockFailure::NoSpace), Some((DataProtect, 0x27, 7, None)));
    assert_eq!(code(BlockFailure::NotReady), Some((NotReady, 0x04, 1, None)));
    assert_eq!(code(BlockFailure::Removed), Some((IllegalRequest, 0x25, 0, None)));
    assert_eq!(code(BlockFailure::ReadOnly), Some((DataProtect, 0x27, 0, None)));
    assert_eq!(code(BlockFailure::OutOfRange), Some((IllegalRequest, 0x21, 0, None)));
    assert_eq!(code(BlockFailure::Unsupported), Some((IllegalRequest, 0x20, 0, None)));
    assert_eq!(code(BlockFailure::Internal), Some((HardwareError, 0x44, 0, None)));
    assert_eq!(code(BlockFailure::Aborted), Some((AbortedCommand, 0x00, 0, None)));
    assert_eq!(code(BlockFailure::Miscompare { offset: 9 }), Some((Miscompare, 0x1D, 0, Some(9))));
    assert_eq!(block_failure(BlockFailure::Busy), Outcome::BUSY);
}
