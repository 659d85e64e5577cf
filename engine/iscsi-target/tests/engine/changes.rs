//! T3: logical units and targets that change, shrink, fail or go away while they are in use.

use std::sync::Arc;

use crate::support::*;
use bdev::layer::error::{ErrorType, Injection};
use bdev::{Bdev, Op};

#[test]
fn a_unit_is_removed_under_its_commands() {
    let mut world = World::on_two_cores();
    let mut peers = [world.log_in(GATED), world.log_in(GATED)];
    world.hold(Op::Read, 2);
    let mut waiting = Vec::new();
    for peer in &mut peers {
        waiting.push([peer.begin_read(&read16(0, 8), 4096), peer.begin_write(&write16(0, 128), 64 << 10)]);
        peer.hear_r2t();
        peer.hears_only_a_ping();
    }
    let unit = world.targets[0].luns[usize::from(GATED)].clone();
    world.republish(|luns| drop(luns.remove(usize::from(GATED))));
    for (peer, mut waiting) in peers.iter_mut().zip(waiting) {
        // Nobody asked for it, so each is told what became of its commands.
        let mut ended: [u32; 2] = std::array::from_fn(|_| {
            let pdu = peer.hear_a(iscsi::wire::Opcode::SCSI_RESPONSE);
            assert_ne!(pdu.bhs.0[3], 0);
            pdu.bhs.itt()
        });
        waiting.sort_unstable();
        ended.sort_unstable();
        assert_eq!(waiting, ended);
        peer.no_data(&[0; 6]).fails_with(5, 0x25, 0);
        // The others say that the list has changed.
        let mut command = peer.command(&[0; 6]);
        command.lun = [0; 8];
        let itt = peer.issue(&command, &[]);
        peer.finish(itt, &[]).fails_with(6, 0x3F, 0x0E);
    }
    assert!(world.service.channels(reactors::CoreId(0)).iter().all(|name| name != "gate"));
    world.republish(|luns| luns.insert(usize::from(GATED), unit));
    for peer in &mut peers {
        peer.unit_attentions();
        peer.read(&read16(0, 1), 512).good();
    }
}

#[test]
fn a_held_command_finds_its_unit_gone() {
    let mut world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    let missing = peer.cmd_sn.take();
    let held = peer.write_command(&write16(0, 8), 4096);
    peer.issue(&held, &pattern(1, 4096));
    peer.hears_only_a_ping();
    world.republish(|luns| drop(luns.remove(usize::from(GATED))));
    let next = std::mem::replace(&mut peer.cmd_sn, missing);
    let mut opener = peer.command(&[0x12, 0, 0, 0, 0, 0]);
    opener.lun = [0; 8];
    peer.issue(&opener, &[]);
    peer.cmd_sn = next;
    peer.finish(opener.itt, &[]).good();
    peer.finish(held.itt, &[]).fails_with(5, 0x25, 0);
}

#[test]
fn a_number_may_mean_another_unit_from_now_on() {
    let mut world = World::on_two_cores();
    let mut peer = world.log_in(DISK);
    peer.write(&write16(0, 1), &[1; 512]).good();
    let (old, new) = (world.targets[0].luns[0].1.clone(), world.another_unit("new"));
    world.republish(|luns| luns[0].1 = new);
    assert_eq!(peer.unit_attentions(), [Sense(6, 0x3F, 0x0E)]);
    assert_eq!(peer.read(&read16(0, 1), 512).good().data, [0; 512]);
    world.republish(|luns| luns[0].1 = old);
    peer.unit_attentions();
    assert_eq!(peer.read(&read16(0, 1), 512).good().data, [1; 512]);
}

#[test]
fn a_target_is_removed_under_its_sessions() {
    let mut world = World::on_two_cores();
    let mut peers = [world.log_in(GATED), world.log_in(DISK)];
    world.hold(Op::Read, 1);
    peers[0].begin_read(&read16(0, 8), 4096);
    peers[0].hears_only_a_ping();
    let targets = std::mem::take(&mut world.targets);
    // Each closes its side when it sees the end, as any initiator does.
    std::thread::scope(|scope| {
        for mut peer in peers {
            scope.spawn(move || peer.hears_the_end());
        }
        world.service.publish(Arc::new(world.house.clone()), vec![targets[1].clone()]).unwrap();
    });
    assert_eq!(world.service.session_count(), 0);
    world.targets = targets;
    world.service.publish(Arc::new(world.house.clone()), world.targets.clone()).unwrap();
}

#[test]
fn every_nexus_hears_of_a_new_size() {
    let world = World::on_two_cores();
    let mut peers = [world.log_in(BIG), world.log_in(BIG)];
    let unit = world.targets[0].luns[usize::from(BIG)].1.clone();
    world.big.resize(1000).unwrap();
    world.service.resized(&unit);
    for peer in &mut peers {
        peer.read(&read16(0, 1), 512).fails_with(6, 0x2A, 0x09);
        let capacity = peer.read(&[0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0], 32).good().data;
        assert_eq!(capacity[..8], 999u64.to_be_bytes());
        peer.read(&read16(999, 1), 512).good();
        peer.read(&read16(1000, 1), 512).fails_with(5, 0x21, 0);
    }
    // The device may shrink before anybody is told.
    world.big.resize(10).unwrap();
    peers[0].read(&read16(500, 1), 512).fails_with(5, 0x21, 0);
    world.big.resize(1000).unwrap();
    world.service.resized(&unit);
    assert_eq!(peers[1].unit_attentions(), []);
}

#[test]
fn what_the_device_says_is_what_the_initiator_hears() {
    let world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    let fail =
        |op, range| world.gate.inject(Injection { op: Some(op), error: ErrorType::Failure, count: 1, range }).unwrap();
    fail(Op::Read, Some((103, 103)));
    let answer = peer.read(&read16(100, 8), 4096);
    answer.fails_with(3, 0x11, 0);
    assert_eq!((answer.raw_sense[0], &answer.raw_sense[3..7]), (0xF0, &103u32.to_be_bytes()[..]), "INFORMATION");
    assert_eq!((answer.data.len(), answer.residual), (0, -4096));
    fail(Op::Write, Some((7, 9)));
    let answer = peer.write(&write16(0, 128), &pattern(1, 64 << 10));
    answer.fails_with(3, 0x0C, 0);
    assert_eq!(answer.raw_sense[3..7], 7u32.to_be_bytes());
    fail(Op::Unmap, None);
    let (cdb, list) = unmap(0, 8);
    assert_eq!(peer.write(&cdb, &list).sense.map(|sense| sense.0), Some(3));
    // In the middle of a long transfer: exactly one answer, and the session goes on.
    fail(Op::Read, Some((3000, 3000)));
    let itt = peer.begin_read(&read16(0, 8192), 4 << 20);
    peer.finish(itt, &[]).fails_with(3, 0x11, 0);
    fail(Op::Write, Some((3000, 3000)));
    let data = pattern(2, 4 << 20);
    peer.write(&write16(0, 8192), &data).fails_with(3, 0x0C, 0);
    peer.hears_only_a_ping();
    peer.write(&write16(0, 8192), &data).good();
    assert!(peer.read(&read16(0, 8192), 4 << 20).good().data == data);
}

#[test]
fn a_full_device_is_waited_for() {
    let world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    let full = Injection { op: None, error: ErrorType::NoMemory, count: 500, range: None };
    world.gate.inject(full).unwrap();
    let data = pattern(3, 256 << 10);
    peer.write(&write16(0, 512), &data).good();
    world.gate.clear();
    world.gate.inject(full).unwrap();
    assert!(peer.read(&read16(0, 512), 256 << 10).good().data == data);
    world.gate.clear();
    assert!(world.service.stats()[0].device_waits > 0);
}

#[test]
fn a_device_that_lies_is_believed_but_harmless() {
    let world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    let corrupt = ErrorType::CorruptData { offset: 5, value: 0xEE };
    world.gate.inject(Injection { op: Some(Op::Read), error: corrupt, count: 1, range: None }).unwrap();
    assert_eq!(peer.read(&read16(0, 1), 512).good().data[5], 0xEE);
    assert_eq!(world.gate.geometry().block_size, 512);
}

#[test]
fn reservations_end_with_their_nexus() {
    let world = World::on_two_cores();
    let (mut holder, mut other) = (world.log_in(DISK), world.log_in(DISK));
    // RESERVE(6); RELEASE(6) of somebody else changes nothing.
    holder.no_data(&[0x16, 0, 0, 0, 0, 0]).good();
    assert_eq!(other.read(&read16(0, 1), 512).status, 0x18, "RESERVATION CONFLICT");
    other.no_data(&[0x17, 0, 0, 0, 0, 0]).good();
    assert_eq!(other.write(&write16(0, 1), &[1; 512]).status, 0x18);
    holder.crash();
    world.await_connections(1);
    eventually("the reservation is gone", || other.read(&read16(0, 1), 512).status == 0);
}
