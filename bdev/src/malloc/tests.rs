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

/// Through every way there is, what is written past the cache is what is read.
#[test]
fn a_large_disk_is_written_past_the_cache() {
    let mut rig = Rig::new();
    let num_blocks = limits::MALLOC_COLD_BYTES / 512;
    let params = MallocParams { name: "m".into(), block_size: 512, num_blocks, ..MallocParams::default() };
    let bdev = Malloc::create(&params, &rig.arena).unwrap();
    let mut channel = bdev.open(&mut rig.cores[0].core()).unwrap();
    let bytes: Vec<u8> = (0..3 * 512).map(|i| (i * 7 % 251) as u8).collect();
    let mut lent = channel.lend(Op::Write, 5, 3).unwrap();
    assert!(lent.is_cold() && lent.is_lent());
    // Line borders are none of the caller's business.
    lent.copy_in(0, &bytes[..100]);
    lent.copy_in(100, &bytes[100..]);
    channel.give_back(lent);
    let mut queued = rig.io(1, Op::Write, num_blocks - 3, 3);
    queued.data.as_mut().unwrap().copy_in(0, &bytes);
    channel.submit(queued).unwrap();
    channel.kick();
    assert_eq!(rig.reap(&mut *channel).len(), 1);
    let mut at_once = rig.io(2, Op::Write, 900, 3);
    at_once.data.as_mut().unwrap().copy_in(0, &bytes);
    assert_eq!(channel.run(&mut at_once), Some(Status::Ok));
    for lba in [5, num_blocks - 3, 900] {
        let shown = channel.read_in_place(lba, 3).unwrap();
        let mut read = vec![0; bytes.len()];
        assert_eq!((shown.copy_out(0, &mut read), read == bytes), (bytes.len(), true));
        channel.give_back(shown);
    }
    let (_small, mut small) = open(&mut rig);
    let lent = small.lend(Op::Write, 0, 1).unwrap();
    assert!(!lent.is_cold(), "a small disk stays in the cache");
    small.give_back(lent);
}
