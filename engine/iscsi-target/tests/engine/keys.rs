//! K and X: login and text that is not what it should be (RFC 7143 §6, §11.10, §13).

use std::time::Duration;

use crate::support::*;
use initiator::raw::Received;
use iscsi::wire::{
    LoginRequest, LoginResponse, LoginStatus, Opcode, RESERVED_TAG, TextRequest, TextResponse, reject_reason,
};

/// Sends a Login Request with `text` on a fresh connection; the status, or `None` if the connection just ends.
fn attempt(world: &World, change: impl FnOnce(&mut LoginRequest), text: &[u8]) -> Option<LoginStatus> {
    let mut peer = world.connect();
    let mut request =
        LoginRequest { transit: true, csg: 1, nsg: 3, isid: [0x80; 6], itt: 1, ..LoginRequest::default() };
    change(&mut request);
    peer.send(&request.encode(), text).unwrap();
    match peer.hear_within(PATIENCE) {
        Received::Pdu(pdu) => {
            let status = LoginResponse::decode(&pdu.bhs).status();
            if status != LoginStatus::SUCCESS {
                peer.hears_the_end();
            }
            Some(status)
        }
        Received::Closed => None,
        Received::Silence => panic!("no answer to a login"),
    }
}

fn who_and_where() -> String {
    format!("InitiatorName={ADMIN}\0TargetName={}\0", ROOMS[0])
}

/// The login with these keys on top of the proper ones fails, with an initiator error.
fn refused(world: &World, keys: &str) {
    let status = attempt(world, |_| {}, (who_and_where() + keys).as_bytes());
    assert_eq!(status.map(LoginStatus::class), Some(2), "{keys:?}");
}

#[test]
fn malformed_text_fails_the_login() {
    let world = World::on_one_core();
    for text in ["NoEqualsSign\0", "=\0", "=value\0", "Unfinished=text", "MaxBurstLength=5\0\0X"] {
        refused(&world, text);
    }
    for key in [64, 4096] {
        refused(&world, &format!("{}=1\0", "X".repeat(key)));
    }
    refused(&world, "InitialR2T=Yes\0InitialR2T=Yes\0");
    assert_eq!(attempt(&world, |_| {}, &[0xFF; 512]).map(LoginStatus::class), Some(2));
}

#[test]
fn strange_values_are_answered_and_nothing_breaks() {
    let world = World::on_one_core();
    for value in
        ["", "0", "-1", "0x", "0x10000000000000000", "18446744073709551616", "Maybe", "1~2", "9~1", "%n%s", "1e3"]
    {
        for key in
            ["MaxRecvDataSegmentLength", "MaxBurstLength", "HeaderDigest", "InitialR2T", "IFMarkInt", "MaxConnections"]
        {
            // Refused, or answered Reject with the login going on; either way it is an answer.
            assert!(attempt(&world, |_| {}, format!("{}{key}={value}\0", who_and_where()).as_bytes()).is_some());
        }
    }
    let many: String = (0..1000).map(|n| format!("None{n},")).collect();
    assert!(attempt(&world, |_| {}, format!("{}HeaderDigest={many}None\0", who_and_where()).as_bytes()).is_some());
}

#[test]
fn unknown_keys_are_not_understood_however_many() {
    let world = World::on_one_core();
    for (count, allowed) in [(1, true), (200, true), (1000, false)] {
        let keys: String = (0..count).map(|n| format!("X-{n}=\0")).collect();
        let text = who_and_where() + &keys;
        let status = attempt(&world, |_| {}, &text.as_bytes()[..text.len().min(8192)]);
        assert_eq!(status == Some(LoginStatus::SUCCESS), allowed, "{count} keys");
    }
}

#[test]
fn names_are_checked_before_they_are_believed() {
    let world = World::on_one_core();
    let status = |name: &[u8]| {
        let text = [b"InitiatorName=", name, b"\0TargetName=", ROOMS[0].as_bytes(), b"\0"].concat();
        attempt(&world, |_| {}, &text)
    };
    let long = |len: usize| format!("iqn.2025-01.test:{}", "a".repeat(len - 17)).into_bytes();
    assert_eq!(status(&long(223)), Some(LoginStatus::SUCCESS));
    for bad in [&long(224)[..], &long(2000), b"", b"nonsense", b"iqn.2025-01.test:\xFF\xFE"] {
        assert_eq!(status(bad).map(LoginStatus::class), Some(2), "{:?}", String::from_utf8_lossy(bad));
    }
    // Strings that loggers and formatters have fallen for.
    for odd in ["iqn.2025-01.test:%n%n%s", "iqn.2025-01.test:{}{0}"] {
        assert_eq!(status(odd.as_bytes()).map(LoginStatus::class), Some(2));
    }
    let nobody = attempt(&world, |_| {}, format!("TargetName={}\0", ROOMS[0]).as_bytes());
    assert_eq!(nobody, Some(LoginStatus::MISSING_PARAMETER));
    let nowhere = attempt(&world, |_| {}, format!("InitiatorName={ADMIN}\0").as_bytes());
    assert_eq!(nowhere, Some(LoginStatus::MISSING_PARAMETER));
}

#[test]
fn header_fields_that_contradict_end_the_login() {
    let world = World::on_one_core();
    type Change = fn(&mut LoginRequest);
    let wrongs: [(Change, LoginStatus); 8] = [
        (|r| r.csg = 2, LoginStatus::INITIATOR_ERROR),
        (|r| r.csg = 3, LoginStatus::INITIATOR_ERROR),
        (|r| r.nsg = 1, LoginStatus::INITIATOR_ERROR),
        (|r| r.nsg = 0, LoginStatus::INITIATOR_ERROR),
        (|r| r.nsg = 2, LoginStatus::INITIATOR_ERROR),
        (|r| r.cont = true, LoginStatus::INITIATOR_ERROR),
        (|r| r.version_min = 1, LoginStatus::UNSUPPORTED_VERSION),
        (|r| r.tsih = 4711, LoginStatus::SESSION_DOES_NOT_EXIST),
    ];
    for (n, (change, status)) in wrongs.into_iter().enumerate() {
        assert_eq!(attempt(&world, change, who_and_where().as_bytes()), Some(status), "case {n}");
    }
    assert_eq!(attempt(&world, |r| (r.transit, r.cont) = (false, true), b""), Some(LoginStatus::INITIATOR_ERROR));
}

#[test]
fn identifiers_stay_the_same_through_a_login() {
    let world = World::on_one_core();
    type Change = fn(&mut LoginRequest);
    let changes: [Change; 5] =
        [|r| r.itt = 2, |r| r.cid = 2, |r| r.isid = [0x80, 1, 1, 1, 1, 1], |r| r.tsih = 2, |r| r.csg = 0];
    for change in changes {
        let mut peer = world.connect();
        let mut request = LoginRequest { csg: 1, isid: [0x80; 6], itt: 1, ..LoginRequest::default() };
        peer.send(&request.encode(), who_and_where().as_bytes()).unwrap();
        peer.hear_a(Opcode::LOGIN_RESPONSE);
        change(&mut request);
        peer.send(&request.encode(), &[]).unwrap();
        let answer = LoginResponse::decode(&peer.hear_a(Opcode::LOGIN_RESPONSE).bhs);
        assert_eq!(answer.status(), LoginStatus::INITIATOR_ERROR);
        peer.hears_the_end();
    }
}

#[test]
fn a_login_that_goes_on_for_ever_is_ended() {
    let world = World::on_one_core();
    for text in [&b"X=1"[..], b""] {
        let mut peer = world.connect();
        let request =
            LoginRequest { csg: 1, cont: !text.is_empty(), isid: [0x80; 6], itt: 1, ..LoginRequest::default() };
        peer.send(
            &request.encode(),
            if text.is_empty() { b"InitiatorName=iqn.2025-01.a:b\0SessionType=Discovery\0" } else { text },
        )
        .unwrap();
        let mut rounds = 0;
        while let Received::Pdu(pdu) = peer.hear_within(PATIENCE) {
            rounds += 1;
            if LoginResponse::decode(&pdu.bhs).status() != LoginStatus::SUCCESS {
                break;
            }
            peer.send(&request.encode(), text).unwrap();
        }
        assert!((2..10_000).contains(&rounds), "{rounds}");
        peer.hears_the_end();
    }
}

#[test]
fn a_login_that_dawdles_is_cut_off() {
    let world = World::build().house(|house| house.login_timeout = Duration::from_millis(200)).start();
    let mut silent = world.connect();
    let mut trickling = world.connect();
    let mut halfway = world.connect();
    let request = LoginRequest { csg: 1, isid: [0x80; 6], itt: 1, ..LoginRequest::default() };
    halfway.send(&request.encode(), who_and_where().as_bytes()).unwrap();
    halfway.hear_a(Opcode::LOGIN_RESPONSE);
    let mut cut = false;
    for byte in request.encode().as_bytes().iter().cycle().take(400) {
        std::thread::sleep(Duration::from_millis(2));
        cut |= trickling.send_bytes(&[*byte]).is_err();
    }
    assert!(cut || trickling.expect_closed(PATIENCE).unwrap());
    silent.hears_the_end();
    halfway.hears_the_end();
}

fn text(peer: &mut Peer, change: impl FnOnce(&mut TextRequest), data: &[u8]) {
    let mut request = TextRequest {
        final_bit: true,
        itt: peer.new_itt(),
        ttt: RESERVED_TAG,
        cmd_sn: peer.cmd_sn.take(),
        exp_stat_sn: peer.exp_stat_sn,
        ..TextRequest::default()
    };
    change(&mut request);
    peer.send(&request.encode(), data).unwrap();
}

#[test]
fn text_that_makes_no_sense_is_rejected_or_answered() {
    let world = World::on_one_core();
    let mut peer = world.discover();
    // CVE-2021-28361: no data, and more is to come.
    text(&mut peer, |r| (r.final_bit, r.cont) = (false, true), b"");
    let first = peer.hear();
    assert!(matches!(first.bhs.opcode(), Opcode::TEXT_RESPONSE | Opcode::REJECT), "{first:?}");
    text(&mut peer, |r| r.cont = true, b"SendTargets=All\0");
    peer.hear_a(Opcode::REJECT);
    text(&mut peer, |r| r.ttt = 0x1234, b"SendTargets=All\0");
    peer.hear_a(Opcode::REJECT);
    for garbage in [&b"no equals sign\0"[..], b"=\0", b"SendTargets=All", &[0xFF; 100]] {
        text(&mut peer, |_| {}, garbage);
        let pdu = peer.hear();
        assert!(matches!(pdu.bhs.opcode(), Opcode::TEXT_RESPONSE | Opcode::REJECT), "{pdu:?}");
    }
    text(&mut peer, |_| {}, b"SendTargets=All\0");
    assert!(peer.hear_a(Opcode::TEXT_RESPONSE).data.starts_with(b"TargetName="));
    text(&mut peer, |_| {}, b"X-what=1\0");
    assert_eq!(peer.hear_a(Opcode::TEXT_RESPONSE).data, b"X-what=NotUnderstood\0");
}

#[test]
fn a_long_list_of_targets_comes_in_pieces() {
    let world = World::build().house(|house| house.copies = 400).start();
    for longest in [512, 8192] {
        let mut peer = world.connect();
        let options = initiator::Options { max_recv_data_segment_length: longest, ..world.options() };
        peer.complete_login(None, &options).unwrap();
        text(&mut peer, |_| {}, b"SendTargets=All\0");
        let mut list = Vec::new();
        loop {
            let pdu = peer.hear_a(Opcode::TEXT_RESPONSE);
            assert!(pdu.data.len() <= longest as usize);
            list.extend_from_slice(&pdu.data);
            let response = TextResponse::decode(&pdu.bhs);
            if response.final_bit {
                break;
            }
            // A command, a ping and nonsense in between do not disturb it.
            peer.hears_only_a_ping();
            text(&mut peer, |r| (r.ttt, r.itt) = (response.ttt, response.itt), b"");
        }
        let names = list.split(|b| *b == 0).filter(|pair| pair.starts_with(b"TargetName=")).count();
        assert_eq!(names, 400);
    }
}

#[test]
fn another_connection_s_text_is_not_to_be_had() {
    let world = World::build().house(|house| house.copies = 400).start();
    let (mut owner, mut thief) = (world.discover(), world.discover());
    text(&mut owner, |_| {}, b"SendTargets=All\0");
    let response = TextResponse::decode(&owner.hear_a(Opcode::TEXT_RESPONSE).bhs);
    text(&mut thief, |r| (r.ttt, r.itt) = (response.ttt, response.itt), b"");
    assert_ne!(thief.hear_reject(), reject_reason::DATA_DIGEST_ERROR);
}

#[test]
fn a_normal_session_learns_of_its_own_target_only() {
    let world = World::on_one_core();
    let mut peer = world.log_in_with(DISK, |options| options.initiator_name = ADMIN.into());
    for (ask, found) in [("", true), (ROOMS[0], true), (ROOMS[1], false)] {
        text(&mut peer, |_| {}, format!("SendTargets={ask}\0").as_bytes());
        let data = peer.hear_a(Opcode::TEXT_RESPONSE).data;
        assert_eq!(data.starts_with(format!("TargetName={}", ROOMS[0]).as_bytes()), found, "{ask}");
        assert!(!String::from_utf8_lossy(&data).contains("vault"));
    }
}
