use super::*;
use crate::testing::Rig;

const BLOCKS: u64 = 4096;

fn open(rig: &mut Rig) -> (Arc<Malloc>, Box<dyn Channel>) {
    let params = MallocParams { name: "m".into(), block_size: 512, num_blocks: BLOCKS, ..MallocParams::default() };
    let bdev = Malloc::create(&params, &rig.arena).unwrap();
    let channel = bdev.open(&mut rig.cores[0].core()).unwrap();
    (bdev, channel)
}

#[test]
fn a_large_range_takes_several_turns_and_holds_up_nobody() {
    let mut rig = Rig::new();
    let (_bdev, mut channel) = open(&mut rig);
    let large = rig.io(1, Op::Unmap, 0, BLOCKS);
    channel.submit(large).unwrap();
    let small = rig.io(2, Op::Read, 0, 1);
    channel.submit(small).unwrap();
    channel.kick();
    let first = rig.reap(&mut *channel);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].tag.index(), 2, "the read does not wait for the unmap");
    let mut turns = 1;
    while channel.outstanding() > 0 {
        let _ = rig.reap(&mut *channel);
        turns += 1;
    }
    assert_eq!(turns, BLOCKS * 512 / limits::MALLOC_BYTES_PER_REAP);
}

#[test]
fn an_abort_stops_a_large_range() {
    let mut rig = Rig::new();
    let (_bdev, mut channel) = open(&mut rig);
    let large = rig.io(1, Op::WriteZeroes, 0, BLOCKS);
    channel.submit(large).unwrap();
    assert!(rig.reap(&mut *channel).is_empty());
    assert_eq!(channel.abort(Tag::new(1, 0, 1, 0)), AbortOutcome::WillComplete);
    let done = rig.reap(&mut *channel);
    assert_eq!((done[0].tag.index(), done[0].status), (1, Status::Aborted));
}

#[test]
fn memory_is_freed_with_the_device_but_never_while_it_is_lent() {
    let mut rig = Rig::new();
    let before = rig.arena.regions().len();
    let (bdev, mut channel) = open(&mut rig);
    let lent = channel.lend(Op::Write, 0, 1).unwrap();
    let back = Io { tag: Tag::default(), op: Op::Write, fua: false, lba: 0, blocks: 1, data: Some(lent) };
    let done = rig.run(&mut *channel, back);
    assert_eq!(done.status, Status::Ok);
    channel.give_back(done.data.unwrap());
    drop((bdev, channel));
    assert_eq!(rig.arena.regions().len(), before);
    let (bdev, mut channel) = open(&mut rig);
    let lent = channel.lend(Op::Write, 0, 1).unwrap();
    let back = Io { tag: Tag::default(), op: Op::Write, fua: false, lba: 0, blocks: 1, data: Some(lent) };
    let mut lent = rig.run(&mut *channel, back).data.unwrap();
    drop((bdev, channel));
    assert_eq!(rig.arena.regions().len(), before + 1);
    lent.copy_in(0, &[1; 512]);
}

#[test]
fn creation_errors_name_the_field() {
    let rig = Rig::new();
    let good = MallocParams { name: "m".into(), block_size: 512, num_blocks: 8, ..MallocParams::default() };
    let error = |params: MallocParams| Malloc::create(&params, &rig.arena).unwrap_err();
    assert!(error(MallocParams { block_size: 1024, ..good.clone() }).to_string().starts_with("block_size: got 1024"));
    assert!(error(MallocParams { num_blocks: 0, ..good.clone() }).to_string().starts_with("num_blocks: got 0"));
    assert!(error(MallocParams { name: String::new(), ..good.clone() }).to_string().starts_with("name: got 0 bytes"));
    let huge = error(MallocParams { num_blocks: limits::MEDIUM_BYTES / 512, ..good.clone() });
    assert!(matches!(huge, CreateError::NoMemory { .. }), "{huge}");
    assert_eq!(huge.errno(), libc::ENOMEM);
    let physical = MallocParams { physical_block_size: Some(1000), ..good };
    assert!(error(physical).to_string().starts_with("physical_block_size: got 1000"));
}
