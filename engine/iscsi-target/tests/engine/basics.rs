//! What a well-behaved initiator sees; if this fails nothing else means much.

use crate::support::*;

#[test]
fn an_idle_engine_leaves_nothing_behind() {
    drop(World::on_one_core());
    drop(World::on_two_cores());
}

#[test]
fn a_block_written_is_the_block_read() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let data = pattern(1, 4096);
    peer.write(&write16(8, 8), &data).good();
    assert!(peer.read(&read16(8, 8), 4096).good().data == data);
    peer.hears_only_a_ping();
}

#[test]
fn every_kind_of_disk_is_served_on_every_core() {
    let world = World::on_two_cores();
    for lun in [DISK, GATED, DISK_4K, DELAYED] {
        let data = pattern(u64::from(lun), 300 << 10);
        for _ in 0..2 {
            let mut client = world.client(lun);
            client.write(16, &data).unwrap();
            let blocks = data.len() / client.read_capacity().unwrap().block_bytes as usize;
            assert!(client.read(16, blocks as u32).unwrap() == data, "LUN {lun}");
        }
    }
}
