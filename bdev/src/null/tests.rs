use super::*;
use crate::testing::Rig;

const BLOCKS: u64 = 4096;

fn open(rig: &mut Rig) -> (Arc<Null>, Box<dyn Channel>) {
    let params = NullParams { name: "n".into(), block_size: 512, num_blocks: BLOCKS, ..NullParams::default() };
    let bdev = Null::create_lending(&params, &rig.arena).unwrap();
    let channel = bdev.open(&mut rig.cores[0].core()).unwrap();
    (bdev, channel)
}

fn io(op: Op, lba: u64, blocks: u64, data: Buf) -> Io {
    Io { tag: Tag::default(), op, fua: false, lba, blocks, data: Some(data) }
}

#[test]
fn reads_are_lent_zeroes_and_writes_nothing() {
    let mut rig = Rig::new();
    let (bdev, mut channel) = open(&mut rig);
    assert!(bdev.features().lend);
    assert!(channel.lend(Op::Write, 0, 1).is_none() && channel.lend(Op::Read, BLOCKS, 1).is_none());
    let most = limits::NULL_LEND_BYTES as u64 / 512;
    assert!(channel.lend(Op::Read, 0, most + 1).is_none(), "more than there is");
    for blocks in [1, 8, most] {
        let lent = channel.lend(Op::Read, 5, blocks).unwrap();
        let done = rig.run(&mut *channel, io(Op::Read, 5, blocks, lent));
        let back = done.data.unwrap();
        let mut bytes = vec![1; back.len()];
        assert_eq!((done.status, back.copy_out(0, &mut bytes)), (Status::Ok, blocks as usize * 512));
        assert!(bytes.iter().all(|byte| *byte == 0));
        channel.give_back(back);
    }
}

#[test]
fn lent_memory_that_is_not_its_own_or_too_small_is_refused() {
    let mut rig = Rig::new();
    let (_bdev, mut channel) = open(&mut rig);
    let (_other_bdev, mut other) = open(&mut rig);
    let foreign = other.lend(Op::Read, 0, 1).unwrap();
    let done = rig.run(&mut *channel, io(Op::Read, 0, 1, foreign));
    assert_eq!(done.status, Status::Failed(libc::EINVAL));
    other.give_back(done.data.unwrap());
    for (op, blocks) in [(Op::Read, 2), (Op::Write, 1)] {
        let lent = channel.lend(Op::Read, 0, 1).unwrap();
        let done = rig.run(&mut *channel, io(op, 0, blocks, lent));
        assert_eq!(done.status, Status::Failed(libc::EINVAL), "{op:?} of {blocks}");
        channel.give_back(done.data.unwrap());
    }
}

#[test]
fn the_zeroes_go_with_the_device_but_never_while_they_are_lent() {
    let mut rig = Rig::new();
    let before = rig.arena.regions().len();
    drop(open(&mut rig));
    assert_eq!(rig.arena.regions().len(), before);
    let (bdev, mut channel) = open(&mut rig);
    let lent = channel.lend(Op::Read, 0, 1).unwrap();
    drop((bdev, channel));
    assert_eq!(rig.arena.regions().len(), before + 1);
    let mut bytes = [1; 512];
    assert_eq!(lent.copy_out(0, &mut bytes), 512);
}
