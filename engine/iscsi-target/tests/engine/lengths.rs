//! L and S: lengths that lie, and what a command's two lengths come to when they differ.

use crate::support::*;
use initiator::Digest;
use initiator::raw::{Digests, encode};
use iscsi::wire::{NopOut, Opcode, RESERVED_TAG, ScsiCommand, reject_reason};

fn nop(peer: &Peer, itt: u32) -> iscsi::wire::Bhs {
    NopOut { immediate: true, itt, ttt: RESERVED_TAG, cmd_sn: peer.cmd_sn, ..NopOut::default() }.encode()
}

#[test]
fn additional_header_segments_of_any_length_are_skipped() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    for words in [1u8, 2, 63, 64, 255] {
        let bhs = nop(&peer, u32::from(words)).with_total_ahs_length(words);
        peer.send_as_is(&bhs, &vec![0x5A; usize::from(words) * 4], &[]).unwrap();
        assert_eq!(peer.hear_a(Opcode::NOP_IN).bhs.itt(), u32::from(words));
        // A command with an AHS nobody knows is executed or refused, but never misread.
        let command = peer.command(&[0; 6]);
        let ahs: Vec<u8> = (0..usize::from(words) * 4).map(|n| [0, words, 77, 1][n % 4]).collect();
        peer.send_as_is(&command.encode().with_total_ahs_length(words), &ahs, &[]).unwrap();
        let pdu = peer.hear();
        assert!(matches!(pdu.bhs.opcode(), Opcode::SCSI_RESPONSE | Opcode::REJECT), "{pdu:?}");
    }
}

#[test]
fn a_segment_longer_than_declared_ends_the_connection() {
    let world = World::on_one_core();
    for len in [0xFF_FFFF, (256 << 10) + 1] {
        for opcode in [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x1F, 0x3F] {
            let mut peer = world.log_in(DISK);
            peer.send_as_is(&bare(opcode).with_data_segment_length(len), &[], &[]).unwrap();
            peer.hears_the_end();
        }
        let mut fresh = world.connect();
        fresh.send_as_is(&bare(0x43).with_data_segment_length(len), &[], &[]).unwrap();
        fresh.hears_the_end();
    }
}

#[test]
fn immediate_data_beyond_what_was_agreed_is_refused() {
    let world = World::on_one_core();
    // Beyond EDTL: the header contradicts itself.
    let mut peer = world.log_in(DISK);
    let command = peer.write_command(&write16(0, 8), 512);
    peer.issue(&command, &[7; 1024]);
    assert_eq!(peer.hear_reject(), reject_reason::INVALID_PDU_FIELD);
    // On a read.
    let command = peer.read_command(&read16(0, 1), 512);
    peer.issue(&command, &[7; 512]);
    assert_eq!(peer.hear_reject(), reject_reason::INVALID_PDU_FIELD);
    peer.hears_only_a_ping();
    // Beyond FirstBurstLength.
    let burst = peer.agreed().first_burst as usize;
    let command = peer.write_command(&write16(0, 1024), burst as u32 + 512);
    peer.issue(&command, &vec![7; burst + 512]);
    peer.hears_the_end();
    // Ruled out.
    let mut peer = world.log_in_with(DISK, |options| options.immediate_data = false);
    let command = peer.write_command(&write16(0, 1), 512);
    peer.issue(&command, &[7; 512]);
    assert_eq!(peer.hear_reject(), reject_reason::INVALID_PDU_FIELD);
    assert_eq!(peer.read(&read16(0, 8), 4096).good().data, [0; 4096]);
}

#[test]
fn padding_may_hold_anything() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    for len in 1..=8usize {
        let bhs = nop(&peer, 90).with_data_segment_length(len as u32);
        let mut bytes = encode(&bhs, &[], &pattern(len as u64, len), Digests::default());
        let start = bytes.len() - (4 - len % 4) % 4;
        bytes[start..].fill(0xEE);
        peer.send_bytes(&bytes).unwrap();
        let pong = peer.hear_a(Opcode::NOP_IN);
        assert_eq!(pong.data, pattern(len as u64, len));
    }
}

#[test]
fn a_pdu_may_come_byte_by_byte_and_many_may_come_at_once() {
    let world = World::on_one_core();
    let mut peer = world.log_in_with(DISK, |options| {
        (options.header_digest, options.data_digest) = (Digest::Require, Digest::Require);
    });
    let data = pattern(3, 1024);
    let command = peer.write_command(&write16(4, 2), 1024);
    let bytes = encode(&command.encode().with_data_segment_length(1024), &[], &data, peer.digests());
    for byte in &bytes {
        peer.send_bytes(&[*byte]).unwrap();
    }
    peer.finish(command.itt, &[]).good();
    // Split in two at every place.
    for at in 1..60 {
        let command = peer.read_command(&read16(4, 2), 1024);
        let bytes = encode(&command.encode(), &[], &[], peer.digests());
        let (head, tail) = bytes.split_at(at.min(bytes.len() - 1));
        peer.send_bytes(head).unwrap();
        peer.send_bytes(tail).unwrap();
        assert!(peer.finish(command.itt, &[]).good().data == data);
    }
    let burst: Vec<_> = (0..50).map(|_| peer.read_command(&read16(4, 2), 1024)).collect();
    let bytes: Vec<u8> = burst.iter().flat_map(|c| encode(&c.encode(), &[], &[], peer.digests())).collect();
    peer.send_bytes(&bytes).unwrap();
    burst.iter().for_each(|command| assert!(peer.finish(command.itt, &[]).good().data == data));
}

fn with_digests(world: &World) -> Peer {
    world.log_in_with(DISK, |options| (options.header_digest, options.data_digest) = (Digest::Require, Digest::Require))
}

#[test]
fn a_wrong_header_digest_ends_the_connection() {
    let world = World::on_one_core();
    let mut peer = with_digests(&world);
    let mut bytes = encode(&nop(&peer, 1), &[], &[], peer.digests());
    bytes[49] ^= 1;
    peer.send_bytes(&bytes).unwrap();
    peer.hears_the_end();
    // Digests where none are agreed are taken for the next header, which they are not.
    let mut peer = world.log_in(DISK);
    let bytes = encode(&nop(&peer, 1), &[], b"1234", Digests { header: true, data: true });
    peer.send_bytes(&bytes).unwrap();
    peer.crash();
    // And none where they are agreed.
    let mut peer = with_digests(&world);
    let bytes = encode(&nop(&peer, 1), &[], &[], Digests::default());
    peer.send_bytes(&[&bytes[..], &bytes[..]].concat()).unwrap();
    peer.hears_the_end();
}

#[test]
fn a_wrong_data_digest_costs_only_its_pdu() {
    let world = World::on_one_core();
    let mut peer = with_digests(&world);
    let spoil = |mut bytes: Vec<u8>| {
        *bytes.last_mut().unwrap() ^= 1;
        bytes
    };
    let bytes = encode(&nop(&peer, 1).with_data_segment_length(5), &[], b"hello", peer.digests());
    peer.send_bytes(&spoil(bytes)).unwrap();
    assert_eq!(peer.hear_reject(), reject_reason::DATA_DIGEST_ERROR);
    // The digest covers the padding: one of the bare data is as wrong.
    let mut bytes = encode(&nop(&peer, 1).with_data_segment_length(5), &[], b"hello", peer.digests());
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&iscsi_tcp::digest::crc32c(b"hello"));
    peer.send_bytes(&bytes).unwrap();
    assert_eq!(peer.hear_reject(), reject_reason::DATA_DIGEST_ERROR);
    // Immediate data, small and large.
    for len in [512, 64 << 10] {
        let command = peer.write_command(&write16(0, len as u32 / 512), len as u32);
        let bhs = command.encode().with_data_segment_length(len as u32);
        let bytes = encode(&bhs, &[], &pattern(1, len), peer.digests());
        peer.send_bytes(&spoil(bytes)).unwrap();
        assert_eq!(peer.hear_reject(), reject_reason::DATA_DIGEST_ERROR);
        peer.finish(command.itt, &[]).fails_with(0x0B, 0x47, 0x05);
    }
    // Solicited data.
    let itt = peer.begin_write(&write16(0, 8), 4096);
    let r2t = peer.hear_r2t();
    let out = iscsi::wire::DataOut { final_bit: true, itt, ttt: r2t.ttt, lun: r2t.lun, ..Default::default() };
    let bytes = encode(&out.encode().with_data_segment_length(4096), &[], &pattern(2, 4096), peer.digests());
    peer.send_bytes(&spoil(bytes)).unwrap();
    assert_eq!(peer.hear_reject(), reject_reason::DATA_DIGEST_ERROR);
    peer.finish(itt, &[]).fails_with(0x0B, 0x47, 0x05);
    assert!(peer.read(&read16(0, 128), 64 << 10).good().data.iter().all(|byte| *byte == 0), "spoilt data was written");
}

#[test]
fn a_read_s_residual_tells_both_ways() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let medium = pattern(9, 8192);
    peer.write(&write16(0, 16), &medium).good();
    for (blocks, edtl) in
        [(0, 0), (0, 512), (1, 0), (1, 1), (1, 511), (1, 513), (2, 512), (16, 4097), (16, 8191), (8, 100_000)]
    {
        let answer = peer.read(&read16(0, blocks), edtl).good();
        let expected = blocks as usize * 512;
        assert!(answer.data == medium[..expected.min(edtl)], "{blocks} blocks into {edtl} bytes");
        assert_eq!(answer.residual, expected as i64 - edtl as i64, "{blocks} blocks into {edtl} bytes");
    }
}

#[test]
fn a_write_s_residual_tells_both_ways() {
    let world = World::on_one_core();
    for immediate in [false, true] {
        let mut peer = world.log_in(DISK);
        for (blocks, edtl) in
            [(0u32, 0usize), (0, 512), (1, 0), (1, 1), (1, 513), (2, 512), (2, 1023), (8, 5000), (1, 20_000)]
        {
            let data = pattern(u64::from(blocks) + edtl as u64, edtl);
            peer.write(&write16(64, 16), &[0; 8192]).good();
            let answer = if immediate {
                let command = peer.write_command(&write16(64, blocks), edtl as u32);
                let itt = peer.issue(&command, &data[..edtl.min(4096)]);
                peer.finish(itt, &data)
            } else {
                peer.write(&write16(64, blocks), &data)
            };
            assert_eq!(answer.status, 0, "{answer:?}");
            let expected = blocks as usize * 512;
            assert_eq!(answer.residual, expected as i64 - edtl as i64, "{blocks} blocks from {edtl} bytes");
            // Whole blocks only, and nothing beyond what both lengths cover.
            let whole = expected.min(edtl) / 512 * 512;
            let now = peer.read(&read16(64, 16), 8192).good().data;
            assert!(now[..whole] == data[..whole] && now[whole..].iter().all(|byte| *byte == 0), "{blocks}, {edtl}");
        }
    }
}

#[test]
fn the_largest_lengths_there_are_do_no_harm() {
    let world = World::on_one_core();
    let mut peer = world.log_in(BIG);
    // 4 GiB and more announced, a block asked for, and the other way round.
    let answer = peer.read(&read16(0, 1), u32::MAX as usize).good();
    assert_eq!((answer.data.len(), answer.residual), (512, 512 - i64::from(u32::MAX)));
    let command = peer.write_command(&write16(0, 1), u32::MAX);
    let itt = peer.issue(&command, &[1; 512]);
    assert_eq!(peer.finish(itt, &[]).good().residual, 512 - i64::from(u32::MAX));
    for blocks in [u32::MAX, 1 << 23, (1 << 23) - 1] {
        let answer = peer.read(&read16(0, blocks), 1000).good();
        let bytes = i64::from(blocks) * 512;
        assert_eq!(answer.residual, (bytes - 1000).min(i64::from(u32::MAX)), "{blocks} blocks");
    }
    for (lba, blocks) in [(u64::MAX, 1), (u64::MAX, u32::MAX), ((1 << 37) - 1, 2), (1 << 37, 1)] {
        peer.read(&read16(lba, blocks), 512).fails_with(5, 0x21, 0);
        peer.write(&write16(lba, blocks), &[0; 512]).fails_with(5, 0x21, 0);
    }
}

#[test]
fn a_read_of_four_gibibytes_begins_and_can_be_aborted() {
    let world = World::on_one_core();
    let mut peer = world.log_in(BIG);
    for edtl in [u32::MAX, u32::MAX - 511] {
        let read = peer.begin_read(&read16(0, 1 << 23), edtl as usize);
        assert_eq!(peer.hear_a(Opcode::DATA_IN).bhs.itt(), read);
        let abort = peer.request(iscsi::wire::function::ABORT_TASK, BIG, read);
        while peer.hear().bhs.itt() != abort {}
        peer.hears_only_a_ping();
    }
}

#[test]
fn commands_in_the_wrong_direction_move_nothing() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let command = peer.write_command(&read16(0, 1), 512);
    let itt = peer.issue(&command, &[9; 512]);
    let answer = peer.finish(itt, &[9; 512]);
    assert!(answer.data.is_empty(), "{answer:?}");
    let command = peer.read_command(&write16(0, 1), 512);
    let itt = peer.issue(&command, &[]);
    assert!(peer.finish(itt, &[9; 512]).data.is_empty());
    let both = ScsiCommand { read: true, ..peer.write_command(&read16(0, 1), 512) };
    let itt = peer.issue(&both, &[9; 512]);
    peer.finish(itt, &[9; 512]);
    assert_eq!(peer.read(&read16(0, 1), 512).good().data, [0; 512]);
}
