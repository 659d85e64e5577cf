//! P: PDUs where they do not belong (RFC 7143 §6.3, §7.4, §11.17).

use crate::support::*;
use initiator::raw::Received;
use iscsi::wire::{
    Bhs, LoginRequest, LoginResponse, LoginStatus, LogoutRequest, NopOut, Opcode, RESERVED_TAG, TextRequest,
    reject_reason,
};

/// Every opcode, with and without the immediate bit.
fn all_opcodes() -> impl Iterator<Item = (Opcode, Bhs)> {
    (0..=0x7F).map(|byte| {
        let mut bhs = bare(byte);
        bhs.0[1] = 0x80;
        (bhs.opcode(), bhs)
    })
}

/// A login request that begins the login in `stage`, with enough text to be let in.
fn open_login(peer: &mut Peer, stage: u8) {
    let text = format!("InitiatorName={ADMIN}\0TargetName={}\0SessionType=Normal\0", ROOMS[0]);
    let request = LoginRequest { csg: stage, itt: 7, cid: 1, isid: [0x40, 0, 0, 1, 2, 3], ..LoginRequest::default() };
    peer.send(&request.encode(), text.as_bytes()).unwrap();
    let answer = LoginResponse::decode(&peer.hear_a(Opcode::LOGIN_RESPONSE).bhs);
    assert_eq!((answer.status(), answer.transit), (LoginStatus::SUCCESS, false));
}

#[test]
fn before_login_only_a_login_request_is_answered() {
    let world = World::on_one_core();
    let mut bystander = world.log_in(DISK);
    for (opcode, bhs) in all_opcodes() {
        let mut peer = world.connect();
        peer.send(&bhs, &[]).unwrap();
        match peer.hear_within(PATIENCE) {
            Received::Closed => assert_ne!(opcode, Opcode::LOGIN_REQUEST),
            Received::Pdu(pdu) => {
                assert_eq!((opcode, pdu.bhs.opcode()), (Opcode::LOGIN_REQUEST, Opcode::LOGIN_RESPONSE));
                assert_ne!(LoginResponse::decode(&pdu.bhs).status(), LoginStatus::SUCCESS);
                peer.hears_the_end();
            }
            Received::Silence => panic!("{opcode:?} leaves the connection open"),
        }
        bystander.hears_only_a_ping();
    }
}

#[test]
fn during_login_other_pdus_end_it() {
    let world = World::on_one_core();
    let mut bystander = world.log_in(DISK);
    for stage in [0, 1] {
        for (opcode, bhs) in all_opcodes() {
            let mut peer = world.connect();
            open_login(&mut peer, stage);
            peer.send(&bhs, &[]).unwrap();
            match (opcode, peer.hear_within(PATIENCE)) {
                // The datamover sees that no transfer can be meant before anybody asks what phase it is.
                (Opcode::DATA_OUT, Received::Closed) => {}
                (Opcode::LOGIN_REQUEST, Received::Pdu(pdu)) => {
                    assert_eq!(LoginResponse::decode(&pdu.bhs).status(), LoginStatus::INITIATOR_ERROR);
                }
                (_, Received::Pdu(pdu)) => {
                    assert_eq!(pdu.bhs.opcode(), Opcode::LOGIN_RESPONSE);
                    let status = LoginResponse::decode(&pdu.bhs).status();
                    assert_eq!(status, LoginStatus::INVALID_DURING_LOGIN, "{opcode:?} in stage {stage}");
                }
                (_, other) => panic!("{opcode:?} in stage {stage}: {other:?}"),
            }
            peer.hears_the_end();
            bystander.hears_only_a_ping();
        }
    }
}

#[test]
fn in_full_feature_phase_every_opcode_has_its_answer() {
    let world = World::on_one_core();
    for (opcode, mut bhs) in all_opcodes() {
        let mut peer = world.log_in(DISK);
        bhs.0[24..28].copy_from_slice(&peer.cmd_sn.0.to_be_bytes());
        peer.send(&bhs, &[]).unwrap();
        match opcode {
            Opcode::NOP_OUT => drop(peer.hear_a(Opcode::NOP_IN)),
            Opcode::SCSI_COMMAND => drop(peer.hear_a(Opcode::SCSI_RESPONSE)),
            Opcode::TMF_REQUEST => drop(peer.hear_a(Opcode::TMF_RESPONSE)),
            // A Data-Out for a transfer that may have been aborted is passed over.
            Opcode::DATA_OUT => {}
            Opcode::LOGOUT_REQUEST => {
                peer.hear_a(Opcode::LOGOUT_RESPONSE);
                peer.hears_the_end();
                continue;
            }
            Opcode::LOGIN_REQUEST | Opcode::SNACK_REQUEST => {
                assert_eq!(peer.hear_reject(), reject_reason::PROTOCOL_ERROR);
            }
            Opcode::TEXT_REQUEST => drop(peer.hear_a(Opcode::REJECT)),
            _ => assert_eq!(peer.hear_reject(), reject_reason::COMMAND_NOT_SUPPORTED, "{opcode:?}"),
        }
        peer.hears_only_a_ping();
    }
}

#[test]
fn a_discovery_session_serves_text_logout_and_pings_only() {
    let world = World::on_one_core();
    for (opcode, mut bhs) in all_opcodes() {
        let mut peer = world.discover();
        bhs.0[24..28].copy_from_slice(&peer.cmd_sn.0.to_be_bytes());
        peer.send(&bhs, &[]).unwrap();
        match opcode {
            Opcode::NOP_OUT => drop(peer.hear_a(Opcode::NOP_IN)),
            Opcode::TEXT_REQUEST => drop(peer.hear_a(Opcode::REJECT)),
            Opcode::DATA_OUT => {}
            Opcode::LOGOUT_REQUEST => {
                peer.hear_a(Opcode::LOGOUT_RESPONSE);
                peer.hears_the_end();
                continue;
            }
            _ => assert_eq!(peer.hear_reject(), reject_reason::PROTOCOL_ERROR, "{opcode:?}"),
        }
        peer.hears_only_a_ping();
    }
}

#[test]
fn after_a_logout_nothing_is_answered() {
    let world = World::on_one_core();
    let mut bystander = world.log_in(DISK);
    for (opcode, bhs) in all_opcodes() {
        let mut peer = world.log_in(DISK);
        let logout = LogoutRequest { immediate: true, itt: 99, cmd_sn: peer.cmd_sn, ..LogoutRequest::default() };
        peer.send(&logout.encode(), &[]).unwrap();
        // In the same breath: the target may have closed its side by now.
        let _ = peer.send(&bhs, &[]);
        peer.hear_a(Opcode::LOGOUT_RESPONSE);
        assert_eq!(peer.hear_within(PATIENCE), Received::Closed, "after a logout, {opcode:?}");
    }
    bystander.hears_only_a_ping();
}

#[test]
fn a_pong_nobody_asked_for_is_no_matter() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    for ttt in [0, 1, 0x5049_4E47, RESERVED_TAG] {
        let pong = NopOut { immediate: true, itt: RESERVED_TAG, ttt, cmd_sn: peer.cmd_sn, ..NopOut::default() };
        peer.send(&pong.encode(), b"unasked").unwrap();
    }
    peer.hears_only_a_ping();
    peer.no_data(&[0; 6]).good();
}

#[test]
fn text_in_the_middle_of_a_login_ends_it() {
    let world = World::on_one_core();
    let mut peer = world.connect();
    open_login(&mut peer, 1);
    let text = TextRequest { final_bit: true, itt: 7, ttt: RESERVED_TAG, ..TextRequest::default() };
    peer.send(&text.encode(), b"SendTargets=All\0").unwrap();
    let answer = LoginResponse::decode(&peer.hear_a(Opcode::LOGIN_RESPONSE).bhs);
    assert_eq!(answer.status(), LoginStatus::INVALID_DURING_LOGIN);
    peer.hears_the_end();
}

#[test]
fn a_logout_must_name_what_it_ends() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    // Another connection, and recovery, which there is none of at ErrorRecoveryLevel 0.
    for (reason, response) in [(1, 1), (2, 2)] {
        let logout = LogoutRequest {
            immediate: true,
            reason,
            itt: 5,
            cid: 999,
            cmd_sn: peer.cmd_sn,
            ..LogoutRequest::default()
        };
        peer.send(&logout.encode(), &[]).unwrap();
        assert_eq!(peer.hear_a(Opcode::LOGOUT_RESPONSE).bhs.0[2], response);
    }
    let nonsense =
        LogoutRequest { immediate: true, reason: 77, itt: 5, cmd_sn: peer.cmd_sn, ..LogoutRequest::default() };
    peer.send(&nonsense.encode(), &[]).unwrap();
    assert_eq!(peer.hear_reject(), reject_reason::INVALID_PDU_FIELD);
    peer.hears_only_a_ping();
}
