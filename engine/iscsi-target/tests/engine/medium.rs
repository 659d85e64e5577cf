//! Commands that change the medium, in random mixes, against a model of what it must hold.

use crate::support::*;

/// What a disk holds, and the block size it has.
struct Model {
    bytes: Vec<u8>,
    block: usize,
}

impl Model {
    fn range(&mut self, lba: u64, blocks: u32) -> &mut [u8] {
        let start = lba as usize * self.block;
        &mut self.bytes[start..start + blocks as usize * self.block]
    }
}

/// One random command; the model follows.
fn step(peer: &mut Peer, model: &mut Model, dice: &mut Dice, seed: u64) {
    let room = (model.bytes.len() / model.block) as u64;
    let blocks = dice.pick(&[1, 1, 2, 3, 8, 31, 64, 255, 257, 300]).min(room as u32);
    let lba = dice.below(room - u64::from(blocks) + 1);
    let data = pattern(seed, blocks as usize * model.block);
    match dice.below(10) {
        0..=2 => {
            peer.write(&write16(lba, blocks), &data).good();
            model.range(lba, blocks).copy_from_slice(&data);
        }
        3 => {
            let (cdb, list) = unmap(lba, blocks);
            peer.write(&cdb, &list).good();
            model.range(lba, blocks).fill(0);
        }
        4 => {
            // WRITE SAME(16): with data, with zeroes, unmapping, without a data buffer.
            let how = dice.pick(&[0x00, 0x00, 0x08, 0x01]);
            let zero = how != 0 || dice.below(3) == 0;
            let one = if zero { vec![0; model.block] } else { data[..model.block].to_vec() };
            let mut cdb = lba_cdb(0x93, lba, blocks);
            cdb[1] = how;
            if how == 0x01 {
                peer.no_data(&cdb).good()
            } else {
                peer.write(&cdb, &one).good()
            };
            model.range(lba, blocks).chunks_mut(one.len()).for_each(|block| block.copy_from_slice(&one));
        }
        5 => {
            // VERIFY(16), BYTCHK=01b: equal, and with one byte different.
            let mut same = model.range(lba, blocks).to_vec();
            let mut cdb = lba_cdb(0x8F, lba, blocks);
            cdb[1] = 0x02;
            peer.write(&cdb, &same).good();
            let at = dice.below(same.len() as u64) as usize;
            same[at] ^= 0x55;
            let answer = peer.write(&cdb, &same);
            answer.fails_with(0x0E, 0x1D, 0x00);
            assert_eq!(answer.raw_sense[3..7], (at as u32).to_be_bytes(), "where the first difference is");
        }
        6 => {
            // VERIFY(16), BYTCHK=00b and 11b.
            let cdb = lba_cdb(0x8F, lba, blocks);
            peer.no_data(&cdb).good();
            let first = model.range(lba, 1).to_vec();
            let equal = model.range(lba, blocks).chunks(first.len()).all(|block| block == first);
            let mut cdb = lba_cdb(0x8F, lba, blocks);
            cdb[1] = 0x06;
            assert_eq!(peer.write(&cdb, &first).status == 0, equal);
        }
        7 => {
            // WRITE AND VERIFY(16).
            let mut cdb = lba_cdb(0x8E, lba, blocks);
            cdb[1] = dice.pick(&[0x00, 0x02]);
            peer.write(&cdb, &data).good();
            model.range(lba, blocks).copy_from_slice(&data);
        }
        _ => {
            let len = blocks as usize * model.block;
            assert!(peer.read(&read16(lba, blocks), len).good().data == model.range(lba, blocks), "seed {seed}");
        }
    }
}

fn mix(lun: u16, block: usize, seed: u64, steps: u64) {
    let world = World::on_one_core();
    let mut dice = Dice::new(seed);
    let mut peer = world.log_in_with(lun, |options| {
        options.max_burst_length = dice.pick(&[4096, 65_536, 1 << 20]);
        options.first_burst_length = options.max_burst_length.min(65_536);
        options.max_outstanding_r2t = dice.pick(&[1, 4]);
    });
    let mut model = Model { bytes: vec![0; 1024 * block], block };
    for n in 0..steps {
        step(&mut peer, &mut model, &mut dice, seed * 1000 + n);
    }
    assert!(peer.read(&read16(0, 1024), 1024 * block).good().data == model.bytes, "seed {seed}");
}

#[test]
fn a_disk_of_small_blocks_holds_what_was_written_last() {
    (1..5).for_each(|seed| mix(DISK, 512, seed, 200));
}

#[test]
fn a_disk_of_large_blocks_holds_what_was_written_last() {
    (5..7).for_each(|seed| mix(DISK_4K, 4096, seed, 150));
}

#[test]
fn a_layered_disk_holds_what_was_written_last() {
    mix(GATED, 512, 7, 200);
}
