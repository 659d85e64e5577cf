//! R: more of everything than there is room for.

use std::io::Read;
use std::time::Duration;

use crate::support::*;
use bdev::Op;
use initiator::raw::{Digests, Received, encode};
use iscsi::wire::{LoginStatus, NopOut, Opcode, RESERVED_TAG, ScsiCommand, TextRequest};

#[test]
fn sessions_beyond_the_limit_are_refused_and_the_limit_stays() {
    let world = World::build().cores(2).house(|house| house.settings.max_sessions = 3).start();
    let refused = |target: Option<&str>| {
        let mut peer = world.connect();
        match peer.complete_login(target, &world.options()) {
            Err(initiator::Error::LoginRefused { status, .. }) => assert_eq!(status, LoginStatus::OUT_OF_RESOURCES),
            other => panic!("{other:?}"),
        }
        peer.hears_the_end();
    };
    let mut held = vec![world.log_in(DISK), world.discover(), world.discover()];
    // A refusal costs nothing and frees nothing.
    for _ in 0..5 {
        refused(Some(ROOMS[0]));
        refused(None);
    }
    held.pop();
    world.await_connections(2);
    held.push(world.log_in(GATED));
    refused(None);
    held.iter_mut().for_each(Peer::hears_only_a_ping);
}

#[test]
fn a_thousand_half_open_connections_leave_room_for_others() {
    let world = World::on_two_cores();
    let crowd: Vec<_> = (0..300).map(|_| world.connect()).collect();
    world.await_connections(300);
    world.log_in(DISK).read(&read16(0, 8), 4096).good();
    drop(crowd);
}

#[test]
fn reads_wait_for_buffers() {
    let world = World::on_one_core();
    world.starve(2, 1);
    let mut peers: Vec<_> = [GATED, GATED, DISK_4K].map(|lun| world.log_in(lun)).into();
    // The gate reads into buffers of the pool, 128 KiB at a time, and there is one of them.
    world.hold(Op::Read, 1);
    let itts: Vec<Vec<u32>> = peers
        .iter_mut()
        .map(|peer| {
            (0..8).map(|n| peer.begin_read(&read16(n * 8, 8), if n % 2 == 0 { 4096 } else { 32 << 10 })).collect()
        })
        .collect();
    for peer in &mut peers {
        peer.send_ping(&[]);
    }
    std::thread::sleep(Duration::from_millis(5));
    world.gate.resume_pending();
    for (peer, itts) in peers.iter_mut().zip(itts) {
        let mut ended = 0;
        while ended < itts.len() {
            let pdu = peer.hear();
            ended += usize::from(match pdu.bhs.opcode() {
                Opcode::DATA_IN => pdu.bhs.0[1] & 1 != 0,
                Opcode::SCSI_RESPONSE => true,
                _ => false,
            });
        }
    }
}

#[test]
fn writes_without_a_buffer_are_refused_or_wait_but_never_stop() {
    let world = World::on_one_core();
    let mut peer = world.log_in_with(GATED, |options| {
        // With digests the device does not lend its memory.
        (options.max_outstanding_r2t, options.data_digest) = (4, initiator::Digest::Require);
    });
    world.starve(0, 1);
    let data = pattern(8, 128 << 10);
    for round in 0..4 {
        // One takes the only buffer and waits for its data; the others come with theirs.
        let solicited = peer.begin_write(&write16(0, 256), data.len());
        let r2t = peer.hear_r2t();
        let mut refused = Vec::new();
        for n in 0..6 {
            let command = ScsiCommand { final_bit: false, ..peer.write_command(&write16(0, 256), data.len() as u32) };
            let immediate = [0, 4096, 32 << 10][n % 3];
            let itt = peer.issue(&command, &data[..immediate]);
            peer.volunteer(itt, 0, immediate, &data[immediate..], true);
            refused.push(itt);
        }
        // A parameter list that is announced, too.
        let (cdb, list) = unmap(0, 8);
        let command = ScsiCommand { final_bit: false, ..peer.write_command(&cdb, 24) };
        let itt = peer.issue(&command, &[]);
        peer.volunteer(itt, 0, 0, &list, true);
        refused.push(itt);
        for itt in refused {
            assert_eq!(peer.finish(itt, &[]).status, 0x28, "TASK SET FULL, round {round}");
        }
        peer.answer_r2t(&r2t, &data);
        peer.finish(solicited, &data).good();
    }
    world.feed();
    peer.write(&write16(0, 256), &data).good();
    assert!(peer.read(&read16(0, 256), data.len()).good().data == data);
}

#[test]
fn a_peer_that_never_reads_harms_only_itself() {
    let world = World::on_one_core();
    let mut deaf = world.log_in(BIG);
    for n in 0..60 {
        deaf.begin_read(&read16(n, 4096), 2 << 20);
    }
    let mut other = world.log_in(DISK);
    let data = pattern(1, 128 << 10);
    for _ in 0..8 {
        other.write(&write16(0, 256), &data).good();
        assert!(other.read(&read16(0, 256), 128 << 10).good().data == data);
    }
    deaf.crash();
    world.await_connections(1);
}

#[test]
fn a_peer_that_reads_slowly_gets_everything() {
    let world = World::on_one_core();
    let mut slow = world.log_in(DISK);
    let data = pattern(4, 2 << 20);
    slow.write(&write16(0, 4096), &data).good();
    let itts: Vec<_> = (0..4).map(|_| slow.begin_read(&read16(0, 4096), 2 << 20)).collect();
    std::thread::sleep(Duration::from_millis(50));
    let mut got = vec![Vec::new(); 4];
    let mut ended = 0;
    while ended < 4 {
        let pdu = slow.hear();
        let which = itts.iter().position(|itt| *itt == pdu.bhs.itt()).unwrap();
        let at = iscsi::wire::DataIn::decode(&pdu.bhs);
        assert_eq!(at.buffer_offset as usize, got[which].len());
        got[which].extend_from_slice(&pdu.data);
        ended += usize::from(at.has_status);
        std::thread::sleep(Duration::from_micros(200));
    }
    assert!(got.iter().all(|read| *read == data));
}

/// `count` pings of `len` bytes in one breath.
fn pings(peer: &mut Peer, count: u32, len: usize) -> Vec<u8> {
    let data = pattern(1, len);
    let ping = |n| {
        let nop = NopOut { immediate: true, itt: n, ttt: RESERVED_TAG, cmd_sn: peer.cmd_sn, ..NopOut::default() };
        encode(&nop.encode().with_data_segment_length(len as u32), &[], &data, Digests::default())
    };
    (0..count).flat_map(ping).collect()
}

#[test]
fn a_burst_of_long_pings_is_answered_in_full() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let bytes = pings(&mut peer, 64, 8192);
    peer.send_bytes(&bytes).unwrap();
    for n in 0..64 {
        let pong = peer.hear_a(Opcode::NOP_IN);
        assert_eq!((pong.bhs.itt(), pong.data.len()), (n, 8192));
    }
}

#[test]
fn a_flood_of_pings_without_reading_stops_by_itself() {
    let world = World::on_one_core();
    let mut flooder = world.log_in(DISK);
    let bytes = pings(&mut flooder, 64, 8192);
    flooder.stream().set_nonblocking(true).unwrap();
    let mut sent = 0;
    // Until neither side takes any more; what goes in is bounded by the buffers of the two sockets and the engine's.
    let mut quiet = 0;
    while quiet < 50 && sent < 256 << 20 {
        match std::io::Write::write(&mut flooder.stream(), &bytes[sent % bytes.len()..]) {
            Ok(n) => (sent, quiet) = (sent + n, 0),
            Err(_) => {
                quiet += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    assert!(sent < 256 << 20, "the engine reads without being read from");
    world.log_in(DISK).read(&read16(0, 8), 4096).good();
    // Once it reads again everything is there.
    flooder.stream().set_nonblocking(false).unwrap();
    let mut first = [0; 8240];
    (&mut flooder.stream()).read_exact(&mut first).unwrap();
    assert_eq!(first[0], 0x20);
}

#[test]
fn a_flood_of_text_is_answered_in_full() {
    let world = World::build().house(|house| house.copies = 60).start();
    let mut peer = world.discover();
    let mut bytes = Vec::new();
    let count = 100;
    for n in 0..count {
        let request =
            TextRequest { immediate: true, final_bit: true, itt: n, ttt: RESERVED_TAG, ..TextRequest::default() };
        bytes.extend(encode(
            &request.encode().with_data_segment_length(16),
            &[],
            b"SendTargets=All\0",
            Digests::default(),
        ));
    }
    peer.send_bytes(&bytes).unwrap();
    for n in 0..count {
        assert_eq!(peer.hear_a(Opcode::TEXT_RESPONSE).bhs.itt(), n);
    }
}

#[test]
fn a_storm_of_logins_is_weathered() {
    let world = World::on_two_cores();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..30 {
                    let mut peer = world.log_in(DISK);
                    match n % 3 {
                        0 => peer.crash(),
                        1 => drop(peer.read(&read16(0, 1), 512).good()),
                        _ => drop(peer.begin_read(&read16(0, 1024), 512 << 10)),
                    }
                }
            });
        }
    });
}

#[test]
fn a_silent_peer_is_pinged_and_given_up() {
    let settings = |house: &mut House| (house.settings.nop_in_interval, house.settings.nop_timeout) = (1, 1);
    let world = World::build().house(settings).start();
    let mut silent = world.log_in(DISK);
    let ping = silent.hear_a(Opcode::NOP_IN);
    assert_eq!(ping.bhs.itt(), RESERVED_TAG);
    assert_ne!(ping.bhs.ttt(), RESERVED_TAG);
    assert_eq!(silent.hear_within(PATIENCE), Received::Closed);
}

#[test]
fn as_many_commands_as_the_window_takes_run_at_once() {
    let world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    world.hold(Op::Read, 64);
    let mut itts: Vec<_> = (0..64).map(|n| peer.begin_read(&read16(n, 1), 512)).collect();
    // One more is outside the window, and as if never sent.
    peer.begin_read(&read16(64, 1), 512);
    peer.hears_only_a_ping();
    assert_eq!(world.tasks(), 64);
    world.gate.resume_pending();
    let mut ended: Vec<_> = (0..64).map(|_| peer.hear_a(Opcode::DATA_IN).bhs.itt()).collect();
    itts.sort_unstable();
    ended.sort_unstable();
    assert_eq!(itts, ended);
    peer.hears_only_a_ping();
}
