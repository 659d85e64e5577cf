use primitives::Tag;

use super::*;
use crate::uring::UringParams;

const BLOCK: u32 = 512;

fn backing(file: &tempfile::NamedTempFile) -> Backing {
    file.as_file().set_len(1 << 20).unwrap();
    let params = UringParams { filename: file.path().into(), buffered: true, ..UringParams::default() };
    Backing::open(&params).unwrap().0
}

fn transfer(op: Op, lba: u64, blocks: u64) -> Transfer {
    let extent = Extent { offset: lba * u64::from(BLOCK), bytes: blocks * u64::from(BLOCK) };
    Transfer::new(Io { tag: Tag::default(), op, fua: false, lba, blocks, data: None }, extent)
}

#[test]
fn short_transfers_go_on_with_the_rest() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let backing = backing(&file);
    for op in [Op::Read, Op::Write] {
        let mut t = transfer(op, 10, 4);
        assert_eq!(t.advance(1, &backing, BLOCK), Next::Again);
        assert_eq!(t.advance(1023, &backing, BLOCK), Next::Again);
        assert_eq!(t.lba(BLOCK), 12);
        assert_eq!(t.advance(1024, &backing, BLOCK), Next::Finish(Status::Ok));
        let mut cut_off = transfer(op, 10, 4);
        assert_eq!(cut_off.advance(700, &backing, BLOCK), Next::Again);
        assert_eq!(cut_off.advance(0, &backing, BLOCK), Next::Finish(Status::MediumError { lba: 11 }));
    }
}

#[test]
fn interruptions_are_retried_but_not_forever() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let backing = backing(&file);
    for errno in [libc::EINTR, libc::EAGAIN, libc::ENOMEM] {
        let mut t = transfer(Op::Read, 0, 1);
        for _ in 0..limits::URING_RETRIES {
            assert_eq!(t.advance(-errno, &backing, BLOCK), Next::Again);
        }
        assert_eq!(t.advance(-errno, &backing, BLOCK), Next::Finish(Status::Failed(errno)));
    }
}

#[test]
fn a_cancelled_operation_is_aborted_only_if_somebody_asked() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let backing = backing(&file);
    let mut t = transfer(Op::Write, 0, 1);
    assert_eq!(t.advance(-libc::ECANCELED, &backing, BLOCK), Next::Again);
    t.aborting = true;
    assert_eq!(t.advance(-libc::ECANCELED, &backing, BLOCK), Next::Finish(Status::Aborted));
}

#[test]
fn errors_say_what_scsi_wants_to_know() {
    for (errno, status) in [
        (libc::EIO, Status::MediumError { lba: 7 }),
        (libc::ENODATA, Status::MediumError { lba: 7 }),
        (libc::ENOSPC, Status::NoSpace),
        (libc::EDQUOT, Status::NoSpace),
        (libc::EROFS, Status::ReadOnly),
        (libc::ENODEV, Status::Removed),
        (libc::EOPNOTSUPP, Status::Unsupported),
        (libc::EPERM, Status::Failed(libc::EPERM)),
    ] {
        assert_eq!(status_of(errno, 7), status);
    }
}

#[test]
fn zeroing_falls_back_until_it_writes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let backing = backing(&file);
    let (fixed, zeroes) = (FixedBuffers::default(), Zeroes::new());
    let blocks = limits::URING_ZERO_BYTES as u64 / u64::from(BLOCK) + 1;
    let mut t = transfer(Op::WriteZeroes, 0, blocks);
    for expected in [Zero::Range, Zero::Punch] {
        let _ = t.entry(&backing, &fixed, &zeroes);
        assert_eq!(t.zero, expected);
        assert_eq!(t.advance(-libc::EOPNOTSUPP, &backing, BLOCK), Next::Again);
    }
    let entry = t.entry(&backing, &fixed, &zeroes);
    assert_eq!((t.zero, entry.get_opcode()), (Zero::Write, u32::from(opcode::Write::CODE)));
    assert_eq!(t.advance(limits::URING_ZERO_BYTES as i32, &backing, BLOCK), Next::Again);
    assert_eq!(t.advance(BLOCK as i32, &backing, BLOCK), Next::Finish(Status::Ok));
    assert_eq!(backing.zero(), Zero::Write, "the next one starts where this one ended");
}
