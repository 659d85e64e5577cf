//! T1, T4, T5: connections that end at any moment, sessions that take another's place, and the end of everything.

use std::time::Duration;

use crate::support::*;
use bdev::Op;
use initiator::raw::Received;
use iscsi::wire::{LoginRequest, LoginResponse, LoginStatus, Opcode};
use target::portal::PortalSpec;

/// Ends a connection, by a reset or by closing it.
fn end(peer: Peer, by_reset: bool) {
    if by_reset { peer.crash() } else { drop(peer) }
}

#[test]
fn a_connection_may_end_anywhere_in_login() {
    let world = World::on_two_cores();
    let text = format!("InitiatorName={ADMIN}\0TargetName={}\0", ROOMS[0]);
    let request = LoginRequest { transit: true, csg: 1, nsg: 3, isid: [0x80; 6], itt: 1, ..LoginRequest::default() };
    let bhs = request.encode().with_data_segment_length(text.len() as u32);
    let whole = initiator::raw::encode(&bhs, &[], text.as_bytes(), Default::default());
    for by_reset in [false, true] {
        for cut in [0, 1, 47, 48, 60, whole.len() - 1, whole.len()] {
            let mut peer = world.connect();
            peer.send_bytes(&whole[..cut]).unwrap();
            end(peer, by_reset);
        }
    }
    world.await_connections(0);
}

/// What a connection has going on when it ends.
fn interrupted(begin: impl Fn(&World, &mut Peer)) {
    for by_reset in [false, true] {
        let world = World::on_one_core();
        let mut bystander = world.log_in(DISK);
        for _ in 0..4 {
            let mut peer = world.log_in(GATED);
            begin(&world, &mut peer);
            end(peer, by_reset);
            bystander.hears_only_a_ping();
        }
        world.await_connections(1);
        bystander.no_data(&[0; 6]).good();
    }
}

#[test]
fn a_connection_may_end_with_partial_immediate_data() {
    for len in [512u32, 64 << 10] {
        interrupted(|_, peer| {
            let command = peer.write_command(&write16(0, len / 512), len).encode().with_data_segment_length(len);
            let bytes = initiator::raw::encode(&command, &[], &pattern(1, len as usize), peer.digests());
            peer.send_bytes(&bytes[..bytes.len() / 2]).unwrap();
        });
    }
}

#[test]
fn a_connection_may_end_while_data_is_asked_for() {
    interrupted(|_, peer| {
        for _ in 0..4 {
            peer.begin_write(&write16(0, 512), 256 << 10);
        }
        let r2t = peer.hear_r2t();
        let half = initiator::raw::encode(
            &iscsi::wire::DataOut { itt: r2t.itt, ttt: r2t.ttt, lun: r2t.lun, ..Default::default() }
                .encode()
                .with_data_segment_length(64 << 10),
            &[],
            &pattern(2, 64 << 10),
            peer.digests(),
        );
        peer.send_bytes(&half[..half.len() / 3]).unwrap();
    });
}

#[test]
fn a_connection_may_end_while_the_device_works() {
    interrupted(|world, peer| {
        world.hold(Op::Read, 4);
        world.hold(Op::Write, 4);
        for n in 0..4 {
            peer.begin_read(&read16(n, 8), 4096);
            let command = peer.write_command(&write16(n, 8), 4096);
            peer.issue(&command, &pattern(n, 4096));
        }
        peer.hears_only_a_ping();
        assert_eq!(world.tasks(), 8);
    });
}

#[test]
fn a_connection_may_end_before_an_unhurried_device_does() {
    let world = World::on_one_core();
    world.slow_down(Duration::from_millis(150));
    let mut peer = world.log_in(DELAYED);
    for n in 0..8 {
        peer.begin_read(&read16(n, 256), 128 << 10);
    }
    peer.hears_only_a_ping();
    peer.crash();
    world.slow_down(Duration::ZERO);
    world.await_connections(0);
}

#[test]
fn a_connection_may_end_without_having_read_its_data() {
    interrupted(|_, peer| {
        for n in 0..8 {
            peer.begin_read(&read16(n, 4096), 2 << 20);
        }
        assert!(matches!(peer.hear_within(PATIENCE), Received::Pdu(_)));
    });
}

#[test]
fn a_connection_may_end_with_commands_held_and_ordered() {
    interrupted(|world, peer| {
        world.hold(Op::Read, 1);
        peer.begin_read(&read16(0, 1), 512);
        let ordered = iscsi::wire::ScsiCommand {
            attribute: iscsi::wire::attribute::ORDERED,
            ..peer.write_command(&write16(0, 8), 4096)
        };
        peer.issue(&ordered, &pattern(1, 4096));
        peer.cmd_sn = peer.cmd_sn.plus(5);
        let held = peer.write_command(&write16(0, 8), 4096);
        peer.issue(&held, &pattern(1, 4096));
        peer.hears_only_a_ping();
    });
}

#[test]
fn half_a_close_is_a_close() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    peer.begin_read(&read16(0, 8), 4096);
    peer.finish_sending().unwrap();
    peer.hears_the_end();
}

#[test]
fn a_session_is_reinstated_while_the_old_one_has_commands() {
    let world = World::on_two_cores();
    let options = world.options();
    let mut old = world.log_in_as(GATED, &options);
    world.hold(Op::Write, 2);
    for n in 0..2 {
        let command = old.write_command(&write16(n, 1), 512);
        old.issue(&command, &[1; 512]);
    }
    old.hears_only_a_ping();
    let mut new = world.log_in_as(GATED, &options);
    old.hears_the_end();
    // The initiator hears that its nexus was lost, once.
    assert_eq!(new.unit_attentions(), [Sense(6, 0x29, 0x07)]);
    assert_eq!(world.service.session_count(), 1);
    world.await_connections(1);
    new.read(&read16(0, 1), 512).good();
}

#[test]
fn reinstatement_may_come_many_times_over_at_once() {
    let world = World::on_two_cores();
    let options = world.options();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut peer = world.connect();
                // Each may be thrown out by the next, at any moment.
                let _ = peer.complete_login(Some(ROOMS[0]), &options);
            });
        }
    });
    let mut last = world.log_in_as(DISK, &options);
    last.unit_attentions();
    world.await_connections(1);
    last.read(&read16(0, 1), 512).good();
}

/// A login to the first room with these identifiers; its status.
fn log_in_with_ids(world: &World, isid: [u8; 6], tsih: u16, cid: u16) -> (Peer, LoginResponse) {
    let mut peer = world.connect();
    let text = format!("InitiatorName={ADMIN}\0TargetName={}\0", ROOMS[0]);
    let request = LoginRequest { transit: true, csg: 1, nsg: 3, isid, tsih, cid, itt: 1, ..LoginRequest::default() };
    peer.send(&request.encode(), text.as_bytes()).unwrap();
    let answer = LoginResponse::decode(&peer.hear_a(Opcode::LOGIN_RESPONSE).bhs);
    peer.cmd_sn = answer.exp_cmd_sn;
    (peer, answer)
}

#[test]
fn a_connection_is_reinstated_and_a_second_one_refused() {
    let world = World::on_two_cores();
    let isid = [0x80, 1, 2, 3, 4, 5];
    let (mut first, answer) = log_in_with_ids(&world, isid, 0, 3);
    assert_eq!(answer.status(), LoginStatus::SUCCESS);
    let tsih = answer.tsih;
    // A second connection to the session: MaxConnections is 1.
    let (mut second, answer) = log_in_with_ids(&world, isid, tsih, 4);
    assert_eq!(answer.status(), LoginStatus::TOO_MANY_CONNECTIONS);
    second.hears_the_end();
    first.hears_only_a_ping();
    // A handle nobody has, and one of another port.
    for (isid, tsih) in [(isid, tsih.wrapping_add(7)), ([0x80, 9, 9, 9, 9, 9], tsih)] {
        let (mut stranger, answer) = log_in_with_ids(&world, isid, tsih, 3);
        assert_eq!(answer.status(), LoginStatus::SESSION_DOES_NOT_EXIST);
        stranger.hears_the_end();
    }
    first.hears_only_a_ping();
    let (mut again, answer) = log_in_with_ids(&world, isid, tsih, 3);
    assert_eq!((answer.status(), answer.tsih), (LoginStatus::SUCCESS, tsih));
    first.hears_the_end();
    again.unit_attentions();
    again.hears_only_a_ping();
}

#[test]
fn a_shutdown_under_load_is_clean() {
    let mut world = World::on_two_cores();
    world.slow_down(Duration::from_millis(20));
    let mut peers: Vec<_> = [DISK, GATED, DELAYED, BIG].map(|lun| world.log_in(lun)).into();
    world.hold(Op::Read, 8);
    for peer in &mut peers {
        for n in 0..8 {
            peer.begin_read(&read16(n, 256), 128 << 10);
            peer.begin_write(&write16(n, 256), 128 << 10);
        }
    }
    peers.extend([world.connect(), world.connect(), world.discover()]);
    let report = std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| world.fleet.shutdown(PATIENCE));
        // Each sees an end of the stream, and closes its side.
        for mut peer in peers {
            scope.spawn(move || assert!(peer.expect_closed(PATIENCE).unwrap_or(true)));
        }
        shutdown.join().unwrap()
    });
    assert!(report.is_clean(), "{report}");
    world.over = true;
}

#[test]
fn closing_a_portal_ends_what_came_through_it() {
    let world = World::on_two_cores();
    let mut peers = [world.log_in(DISK), world.log_in(GATED), world.discover(), world.connect()];
    world.hold(Op::Read, 1);
    peers[1].begin_read(&read16(0, 1), 512);
    peers[1].hears_only_a_ping();
    world.service.close_portals(1);
    peers.iter_mut().for_each(Peer::hears_the_end);
    assert!(std::net::TcpStream::connect(world.address).is_err());
    world.service.open_portals(1, &[PortalSpec::auto(world.address)], false).unwrap();
}
