use super::*;

fn block(byte: u8) -> Block {
    Some(vec![byte; 4].into())
}

fn seen(disk: &Disk, lba: u64) -> u8 {
    let mut bytes = [0xEE; 4];
    disk.read(lba, &mut bytes);
    assert!(bytes.iter().all(|b| *b == bytes[0]), "torn: {bytes:?}");
    bytes[0]
}

#[test]
fn what_was_flushed_or_forced_survives_every_crash() {
    for seed in 0..64 {
        let mut disk = Disk::default();
        disk.write(1, block(1), false);
        disk.flush();
        disk.write(2, block(2), true);
        disk.crash(seed);
        assert_eq!((seen(&disk, 1), seen(&disk, 2), seen(&disk, 3)), (1, 2, 0));
    }
}

#[test]
fn an_unflushed_block_ends_as_any_of_its_versions_and_nothing_else() {
    let mut outcomes = [0; 4];
    for seed in 0..256 {
        let mut disk = Disk::default();
        disk.write(7, block(1), true);
        disk.write(7, block(2), false);
        disk.write(7, block(3), false);
        assert_eq!(seen(&disk, 7), 3);
        disk.crash(seed);
        assert!(disk.volatile.is_empty());
        outcomes[usize::from(seen(&disk, 7))] += 1;
    }
    assert_eq!(outcomes[0], 0);
    assert!(outcomes[1..].iter().all(|n| *n > 32), "{outcomes:?}");
}

#[test]
fn a_forced_write_overtakes_older_versions_of_its_block() {
    for seed in 0..16 {
        let mut disk = Disk::default();
        disk.write(7, block(1), false);
        disk.write(7, block(2), true);
        disk.crash(seed);
        assert_eq!(seen(&disk, 7), 2);
    }
}

#[test]
fn zeroed_blocks_are_versions_too() {
    let mut disk = Disk::default();
    disk.write(7, block(1), true);
    disk.write(7, None, false);
    assert_eq!(seen(&disk, 7), 0);
    disk.flush();
    disk.crash(1);
    assert_eq!(seen(&disk, 7), 0);
}
