//! Proper PDUs with a few wrong bits, by the thousand. Nothing is said about the answers; the engine has to live on,
//! keep nothing, and serve its other peers.

use std::time::Duration;

use crate::support::*;
use initiator::Digest;
use initiator::raw::{Received, encode};
use iscsi::wire::{Bhs, DataOut, LogoutRequest, NopOut, RESERVED_TAG, ScsiCommand, TextRequest, TmfRequest, attribute};
use primitives::Serial;

/// A proper PDU of any kind, and its data.
fn any_pdu(peer: &mut Peer, dice: &mut Dice) -> (Bhs, Vec<u8>) {
    let blocks = dice.pick(&[0, 1, 8, 64, 300]);
    let (lba, bytes) = (dice.below(2000), blocks as usize * 512);
    let cmd_sn = peer.cmd_sn;
    let itt = dice.below(40) as u32;
    match dice.below(12) {
        0..=2 => (peer.read_command(&read16(lba, blocks), bytes as u32).encode(), Vec::new()),
        3..=6 => {
            let opcode = dice.pick(&[0x8A, 0x8A, 0x93, 0x8F, 0x8E, 0x42, 0x15]);
            let mut cdb = lba_cdb(opcode, lba, blocks);
            cdb[1] = dice.pick(&[0, 0, 2, 6, 8, 16]);
            let command = ScsiCommand {
                attribute: dice.pick(&[
                    attribute::SIMPLE,
                    attribute::SIMPLE,
                    attribute::ORDERED,
                    attribute::HEAD_OF_QUEUE,
                ]),
                final_bit: dice.below(2) == 0,
                immediate: dice.below(8) == 0,
                ..peer.write_command(&cdb, bytes as u32)
            };
            (command.encode(), pattern(lba, bytes.min(dice.pick(&[0, 512, 4096, 65_536]))))
        }
        7 | 8 => {
            let out = DataOut {
                final_bit: dice.below(2) == 0,
                itt,
                ttt: dice.pick(&[RESERVED_TAG, 0, 1, 2, 0x400]),
                data_sn: Serial(dice.below(2) as u32),
                buffer_offset: dice.pick(&[0, 512, 4096]),
                ..DataOut::default()
            };
            (out.encode(), pattern(itt.into(), bytes.min(8192)))
        }
        9 => {
            let request = TmfRequest {
                immediate: dice.below(2) == 0,
                function: dice.below(10) as u8,
                lun: [0, dice.below(5) as u8, 0, 0, 0, 0, 0, 0],
                itt: 100 + itt,
                referenced_task_tag: itt,
                cmd_sn,
                ref_cmd_sn: cmd_sn.minus(1),
                ..TmfRequest::default()
            };
            // A cold reset ends everybody's session, which the bystander would take amiss.
            let function = if request.function == 7 { 5 } else { request.function };
            (TmfRequest { function, ..request }.encode(), Vec::new())
        }
        10 => {
            let nop = NopOut { immediate: true, itt: 200 + itt, ttt: RESERVED_TAG, cmd_sn, ..NopOut::default() };
            (nop.encode(), pattern(1, dice.below(600) as usize))
        }
        _ if dice.below(4) == 0 => {
            (LogoutRequest { immediate: true, itt: 300, cmd_sn, ..LogoutRequest::default() }.encode(), Vec::new())
        }
        _ => {
            let text = TextRequest {
                immediate: true,
                final_bit: true,
                itt,
                ttt: RESERVED_TAG,
                cmd_sn,
                ..TextRequest::default()
            };
            (text.encode(), b"SendTargets=All\0".to_vec())
        }
    }
}

/// One connection that says `count` things, most of them slightly wrong.
fn torment(world: &World, seed: u64, count: usize) {
    let mut dice = Dice::new(seed);
    let digest = dice.pick(&[Digest::Off, Digest::Require]);
    let mut peer = world.log_in_with(dice.pick(&[DISK, GATED, DISK_4K, BIG]), |options| {
        (options.data_digest, options.initial_r2t) = (digest, digest == Digest::Require && seed.is_multiple_of(3));
        options.max_outstanding_r2t = dice.pick(&[1, 4]);
    });
    for _ in 0..count {
        let (bhs, data) = any_pdu(&mut peer, &mut dice);
        let mut bhs = bhs.with_data_segment_length(data.len() as u32);
        if dice.below(3) == 0 {
            // Rarely a length: that usually ends the conversation.
            let at = if dice.below(12) == 0 {
                dice.below(48)
            } else {
                dice.pick(&[0, 1, 2, 9, 16, 17, 19, 20, 23, 27, 32, 33, 35, 39, 41, 43, 45])
            };
            bhs.0[at as usize] ^= 1 << dice.below(8);
            if bhs.opcode() == iscsi::wire::Opcode::TMF_REQUEST && bhs.0[1] & 0x7F == 7 {
                bhs.0[1] = 0x85;
            }
        }
        let bytes = encode(&bhs, &[], &data, peer.digests());
        if peer.send_bytes(&bytes).is_err() {
            return;
        }
        // Sometimes it listens, sometimes it answers what it is asked for.
        match peer.hear_within(Duration::from_micros(dice.below(300))) {
            Received::Pdu(pdu) if pdu.bhs.opcode() == iscsi::wire::Opcode::R2T && dice.below(3) > 0 => {
                let r2t = iscsi::wire::R2t::decode(&pdu.bhs);
                let data = vec![1; (r2t.buffer_offset + r2t.desired_length) as usize];
                peer.answer_r2t(&r2t, &data);
            }
            Received::Closed => return,
            _ => {}
        }
    }
    if dice.below(2) == 0 { peer.crash() } else { drop(peer) }
}

#[test]
fn slightly_wrong_pdus_harm_nobody_else() {
    let world = World::on_two_cores();
    let mut bystander = world.log_in(DELAYED);
    let data = pattern(77, 64 << 10);
    for round in 0..24 {
        std::thread::scope(|scope| {
            for n in 0..4 {
                let world = &world;
                scope.spawn(move || torment(world, 1 + round * 4 + n, 60));
            }
        });
        world.await_connections(1);
        bystander.unit_attentions();
        bystander.write(&write16(0, 128), &data).good();
        assert!(bystander.read(&read16(0, 128), 64 << 10).good().data == data);
    }
    drop(bystander);
    assert!(world.service.stats().iter().all(|stats| stats.panics == 0));
}
