use super::*;
use crate::malloc::{Malloc, MallocParams};
use crate::testing::Rig;

struct Bench {
    rig: Rig,
    errors: Arc<ErrorInjector>,
    channel: Box<dyn Channel>,
}

fn bench() -> Bench {
    let mut rig = Rig::new();
    let params = MallocParams { name: "m".into(), block_size: 512, num_blocks: 1024, ..MallocParams::default() };
    let errors = ErrorInjector::create("EE_m", None, Malloc::create(&params, &rig.arena).unwrap()).unwrap();
    let channel = errors.open(&mut rig.cores[0].core()).unwrap();
    Bench { rig, errors, channel }
}

impl Bench {
    fn inject(&self, op: Option<Op>, error: ErrorType, count: u32, range: Option<(u64, u64)>) {
        self.errors.inject(Injection { op, error, count, range }).unwrap();
    }

    fn status(&mut self, op: Op, lba: u64, blocks: u64) -> Status {
        let io = self.rig.io(1, op, lba, blocks);
        self.rig.run(&mut *self.channel, io).status
    }
}

const EIO: Status = Status::Failed(libc::EIO);

#[test]
fn fails_as_often_as_told() {
    let mut b = bench();
    b.inject(Some(Op::Read), ErrorType::Failure, 2, None);
    assert_eq!(b.status(Op::Write, 0, 1), Status::Ok);
    assert_eq!([b.status(Op::Read, 0, 1), b.status(Op::Read, 0, 1), b.status(Op::Read, 0, 1)], [EIO, EIO, Status::Ok]);
    assert!(b.errors.injections().is_empty());
    b.inject(None, ErrorType::Failure, 100, None);
    assert_eq!((b.status(Op::Flush, 0, 0), b.status(Op::Unmap, 0, 1)), (EIO, EIO));
    b.errors.clear();
    assert_eq!(b.status(Op::Unmap, 0, 1), Status::Ok);
}

#[test]
fn fails_in_a_range_of_blocks() {
    let mut b = bench();
    b.inject(None, ErrorType::Failure, 100, Some((10, 12)));
    for (lba, blocks, status) in [
        (9, 1, Status::Ok),
        (13, 4, Status::Ok),
        (8, 4, Status::MediumError { lba: 10 }),
        (12, 1, Status::MediumError { lba: 12 }),
        (0, 64, Status::MediumError { lba: 10 }),
    ] {
        assert_eq!(b.status(Op::Read, lba, blocks), status, "{blocks} at {lba}");
    }
    assert_eq!(b.status(Op::Flush, 0, 0), Status::Ok, "a flush has no range");
}

#[test]
fn pending_operations_wait_to_be_resumed_or_aborted() {
    let mut b = bench();
    b.inject(None, ErrorType::Pending, 3, None);
    for i in 0..3 {
        let io = b.rig.io(i, Op::Write, i.into(), 1);
        b.channel.submit(io).unwrap();
    }
    b.channel.kick();
    assert!((0..5).all(|_| b.rig.reap(&mut *b.channel).is_empty()));
    assert_eq!(b.channel.outstanding(), 3);
    assert!(!b.channel.arm());
    assert_eq!(b.channel.abort(Tag::new(1, 0, 1, 0)), AbortOutcome::WillComplete);
    let done = b.rig.reap(&mut *b.channel);
    assert_eq!((done[0].tag.index(), done[0].status), (1, Status::Aborted));
    b.errors.resume_pending();
    let done = b.rig.reap_all(&mut *b.channel, 2);
    assert!(done.iter().all(|d| d.status == Status::Ok));
}

#[test]
fn corrupts_what_is_read_and_what_is_written() {
    let mut b = bench();
    assert_eq!(b.status(Op::Write, 0, 1), Status::Ok);
    b.inject(Some(Op::Read), ErrorType::CorruptData { offset: 7, value: 0xEE }, 1, None);
    for expected in [0xEE, 1] {
        let io = b.rig.io(2, Op::Read, 0, 1);
        let data = b.rig.run(&mut *b.channel, io).data.unwrap();
        assert_eq!((data.filled()[7], data.filled()[8]), (expected, 1));
    }
    b.inject(Some(Op::Write), ErrorType::CorruptData { offset: 511, value: 0xEE }, 1, None);
    assert!(b.channel.lend(Op::Write, 0, 1).is_none(), "no memory of the medium while errors are armed");
    assert_eq!(b.status(Op::Write, 0, 1), Status::Ok);
    let io = b.rig.io(2, Op::Read, 0, 1);
    let data = b.rig.run(&mut *b.channel, io).data.unwrap();
    assert_eq!((data.filled()[511], data.filled()[510]), (0xEE, 1));
    b.inject(None, ErrorType::CorruptData { offset: u64::MAX, value: 1 }, 1, None);
    assert_eq!(b.status(Op::Read, 0, 1), Status::Ok, "beyond the data: nothing to corrupt");
}

#[test]
fn no_memory_gives_the_operation_back() {
    let mut b = bench();
    b.inject(None, ErrorType::NoMemory, 1, None);
    let io = b.rig.io(5, Op::Read, 0, 1);
    let io = b.channel.submit(io).unwrap_err();
    assert_eq!(io.tag.index(), 5);
    assert!(b.channel.submit(io).is_ok());
}

#[test]
fn injections_are_checked_and_bounded() {
    let b = bench();
    let good = Injection { op: None, error: ErrorType::Failure, count: 1, range: None };
    assert!(b.errors.inject(Injection { count: 0, ..good }).is_err());
    assert!(b.errors.inject(Injection { range: Some((5, 4)), ..good }).is_err());
    assert!((0..limits::INJECTIONS).all(|_| b.errors.inject(good).is_ok()));
    assert!(b.errors.inject(good).unwrap_err().to_string().contains("clear some"));
}
