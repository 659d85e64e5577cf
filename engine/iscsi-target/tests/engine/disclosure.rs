//! D1: pools are poisoned, and every byte a peer hears is searched for the poison (`support::peer`). Here is what makes
//! the engine send things of every length.

use crate::support::*;
use iscsi::wire::{NopOut, Opcode, RESERVED_TAG, TextRequest};

/// Leaves poison in as many buffers as can be had, by using them.
fn stir(peer: &mut Peer) {
    for n in 0..8 {
        peer.read(&read16(n * 256, 256), 128 << 10).good();
    }
}

#[test]
fn parameter_data_of_every_length_is_written_by_somebody() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    stir(&mut peer);
    let mut cdbs: Vec<Vec<u8>> = Vec::new();
    for allocation in (0..=64u16).chain([96, 127, 255, 256, 512, 4096, 8191, 65535]) {
        let [high, low] = allocation.to_be_bytes();
        cdbs.push(vec![0x12, 0, 0, high, low, 0]);
        for page in [0x00, 0x80, 0x83, 0x86, 0xB0, 0xB1, 0xB2, 0xB9] {
            cdbs.push(vec![0x12, 1, page, high, low, 0]);
        }
        cdbs.push(vec![0x1A, 0, 0x3F, 0, low, 0]);
        cdbs.push(vec![0x1A, 0, 0x3F, 0xFF, low, 0]);
        cdbs.push(vec![0x5A, 0, 0x3F, 0xFF, 0, 0, 0, high, low, 0]);
        cdbs.push(vec![0x03, 0, 0, 0, low, 0]);
        cdbs.push(vec![0x03, 1, 0, 0, low, 0]);
        cdbs.push(vec![0xA0, 0, 0, 0, 0, 0, 0, 0, high, low, 0, 0]);
        cdbs.push(vec![0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low, 0, 0]);
        cdbs.push(vec![0x9E, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low, 0, 0]);
        cdbs.push(vec![0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        cdbs.push(vec![0xA3, 0x0C, 0, 0, 0, 0, 0, 0, high, low, 0, 0]);
        cdbs.push(vec![0xA3, 0x0D, 0, 0, 0, 0, 0, 0, high, low, 0, 0]);
    }
    for cdb in cdbs {
        for edtl in [0, 1, 5, 36, 300, 70_000] {
            let answer = peer.read(&cdb, edtl);
            assert!(answer.data.len() <= edtl, "{cdb:02x?}");
        }
    }
}

#[test]
fn every_opcode_is_answered_without_poison() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    stir(&mut peer);
    for opcode in 0..=255u8 {
        for second in [0x00, 0x01, 0x05, 0x10, 0x1F, 0xFF] {
            let mut cdb = [0x11; 16];
            (cdb[0], cdb[1]) = (opcode, second);
            let answer = peer.read(&cdb, 4096);
            assert!(answer.data.len() <= 4096, "{opcode:02x} {second:02x}");
            peer.write(&cdb, &[0; 64]);
            peer.no_data(&cdb);
        }
    }
    peer.unit_attentions();
}

#[test]
fn short_reads_end_where_the_data_ends() {
    let world = World::on_one_core();
    for lun in [DISK, DISK_4K, GATED] {
        for digest in [initiator::Digest::Off, initiator::Digest::Require] {
            let mut peer = world.log_in_with(lun, |options| options.data_digest = digest);
            for edtl in [1, 3, 500, 511, 513, 4095, 4097, 8193, 131_071, 131_073] {
                assert!(peer.read(&read16(0, 512), edtl).good().data.iter().all(|byte| *byte == 0));
            }
        }
    }
}

#[test]
fn echoes_and_text_hold_nothing_else() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    stir(&mut peer);
    for len in [0, 1, 2, 3, 4, 5, 511, 4096, 8191, 8192, 9000, 70_000] {
        let data = pattern(len as u64, len);
        let nop = NopOut { immediate: true, itt: 5, ttt: RESERVED_TAG, cmd_sn: peer.cmd_sn, ..NopOut::default() };
        peer.send(&nop.encode(), &data).unwrap();
        let pong = peer.hear_a(Opcode::NOP_IN);
        assert!(data.starts_with(&pong.data), "{len} bytes");
    }
    for text in ["", "SendTargets=\0", "X=1\0", "MaxRecvDataSegmentLength=8192\0"] {
        let request = TextRequest {
            immediate: true,
            final_bit: true,
            itt: 6,
            ttt: RESERVED_TAG,
            cmd_sn: peer.cmd_sn,
            ..TextRequest::default()
        };
        peer.send(&request.encode(), text.as_bytes()).unwrap();
        peer.hear();
    }
}
