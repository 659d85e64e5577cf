//! A: who may come in, what they may see, and what they cannot reach.

use std::collections::HashSet;

use crate::support::*;
use initiator::raw::Received;
use initiator::{Chap, Error, Options};
use iscsi::chap::Algorithm;
use iscsi::login::{AuthPolicy, ChapPolicy};
use iscsi::wire::{LoginRequest, LoginResponse, LoginStatus, Opcode};

const SECRET: &str = "a secret of the initiator";
const PROOF: &str = "a secret of the target";

fn chap(user: &str, secret: &str) -> Option<Chap> {
    Some(Chap { user: user.into(), secret: secret.into() })
}

/// An engine that wants CHAP of "user".
fn guarded(mutual_required: bool) -> World {
    let required = AuthPolicy::Required(ChapPolicy { group: 1, mutual_required, weakest: Algorithm::Md5 });
    let house = |house: &mut House| {
        (house.auth, house.discovery_auth) = (required, required);
        house.lock("user", SECRET, Some(("target", PROOF)));
    };
    World::build().house(house).start()
}

/// Logs in and out; the status that refused it.
fn try_login(world: &World, target: Option<&str>, change: impl FnOnce(&mut Options)) -> Result<(), LoginStatus> {
    let mut options = world.options();
    change(&mut options);
    let mut peer = world.connect();
    match peer.complete_login(target, &options) {
        Ok(()) => Ok(()),
        Err(Error::LoginRefused { status, .. }) => Err(status),
        Err(other) => panic!("{other}"),
    }
}

/// As the house's own guest; ending it is what the end of the test does.
fn guest(mut world: World, f: impl FnOnce(&mut World)) {
    f(&mut world);
    world.await_connections(0);
    assert_eq!((world.service.session_count(), world.outstanding_buffers()), (0, 0));
    // The stranger of the usual check has no secret: one who has it stands in.
    let url = world.url(DISK);
    let mut client =
        initiator::Client::connect(&url, &Options { chap: chap("user", SECRET), ..world.options() }).unwrap();
    let data = pattern(1, 8192);
    client.write(0, &data).unwrap();
    assert!(client.read(0, 16).unwrap() == data);
    drop(client);
    world.await_connections(0);
    world.over = true;
}

#[test]
fn every_algorithm_lets_the_right_secret_in_and_the_wrong_one_not() {
    guest(guarded(false), |world| {
        for algorithm in Algorithm::ALL {
            let with = |secret: &'static str, user: &'static str| {
                try_login(world, Some(ROOMS[0]), |options| {
                    (options.chap, options.chap_algorithms) = (chap(user, secret), vec![algorithm]);
                })
            };
            assert_eq!(with(SECRET, "user"), Ok(()), "{algorithm:?}");
            assert_eq!(with("another secret entirely", "user"), Err(LoginStatus::AUTHENTICATION_FAILURE));
            assert_eq!(with(SECRET, "nobody"), Err(LoginStatus::AUTHENTICATION_FAILURE));
            assert_eq!(with("", "user"), Err(LoginStatus::AUTHENTICATION_FAILURE));
        }
    });
}

#[test]
fn authentication_cannot_be_avoided() {
    guest(guarded(false), |world| {
        for target in [Some(ROOMS[0]), None] {
            assert_eq!(try_login(world, target, |_| {}), Err(LoginStatus::AUTHENTICATION_FAILURE));
        }
        let who = format!("InitiatorName={ADMIN}\0TargetName={}\0", ROOMS[0]);
        // Straight to the operational stage, out of the security stage without it, and AuthMethod=None.
        for (csg, nsg, keys) in [
            (1, 3, ""),
            (1, 3, "AuthMethod=None\0"),
            (0, 1, ""),
            (0, 3, ""),
            (0, 3, "AuthMethod=None\0"),
            (0, 1, "AuthMethod=KRB5\0"),
        ] {
            let mut peer = world.connect();
            let request = LoginRequest { transit: true, csg, nsg, isid: [0x80; 6], itt: 1, ..LoginRequest::default() };
            peer.send(&request.encode(), (who.clone() + keys).as_bytes()).unwrap();
            let answer = LoginResponse::decode(&peer.hear_a(Opcode::LOGIN_RESPONSE).bhs);
            assert_eq!(answer.status().class(), 2, "from {csg} to {nsg} with {keys:?}");
            peer.hears_the_end();
        }
    });
}

#[test]
fn the_target_proves_itself_too() {
    guest(guarded(false), |world| {
        let both = |proof: &'static str| {
            move |options: &mut Options| {
                (options.chap, options.mutual_chap) = (chap("user", SECRET), chap("target", proof));
            }
        };
        assert_eq!(try_login(world, Some(ROOMS[0]), both(PROOF)), Ok(()));
        let mut options = world.options();
        both("not what the target knows")(&mut options);
        assert!(world.connect().complete_login(Some(ROOMS[0]), &options).is_err());
    });
}

#[test]
fn a_proof_of_the_target_may_be_required() {
    let mut world = guarded(true);
    assert_eq!(
        try_login(&world, Some(ROOMS[0]), |options| options.chap = chap("user", SECRET)),
        Err(LoginStatus::AUTHENTICATION_FAILURE)
    );
    let both =
        |options: &mut Options| (options.chap, options.mutual_chap) = (chap("user", SECRET), chap("target", PROOF));
    assert_eq!(try_login(&world, Some(ROOMS[0]), both), Ok(()));
    world.await_connections(0);
    world.over = true;
}

/// Goes into a CHAP login as far as the challenge.
fn challenged(world: &World, peer: &mut Peer) -> (LoginRequest, String) {
    let request = LoginRequest { csg: 0, isid: [0x80, 7, 7, 7, 7, 7], itt: 1, ..LoginRequest::default() };
    let who = format!("InitiatorName={ADMIN}\0TargetName={}\0AuthMethod=CHAP\0", ROOMS[0]);
    peer.send(&request.encode(), who.as_bytes()).unwrap();
    peer.hear_a(Opcode::LOGIN_RESPONSE);
    peer.send(&request.encode(), b"CHAP_A=5\0").unwrap();
    let text = String::from_utf8(peer.hear_a(Opcode::LOGIN_RESPONSE).data).unwrap();
    let _ = world;
    (request, text)
}

fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.split('\0').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')).unwrap()
}

#[test]
fn no_challenge_comes_twice() {
    guest(guarded(false), |world| {
        let mut seen = HashSet::new();
        for _ in 0..32 {
            let mut peer = world.connect();
            let (_, text) = challenged(world, &mut peer);
            let challenge = value(&text, "CHAP_C").to_owned();
            assert!(challenge.len() >= 2 + 32 && seen.insert(challenge), "a challenge is short or came before");
        }
    });
}

#[test]
fn answers_to_a_challenge_that_are_no_answers_are_refused() {
    guest(guarded(false), |world| {
        let long = "0x".to_owned() + &"ab".repeat(3000);
        let answers = [
            "CHAP_N=user\0".to_owned(),
            "CHAP_R=0x00\0".to_owned(),
            "CHAP_N=user\0CHAP_R=\0".to_owned(),
            "CHAP_N=user\0CHAP_R=0x\0".to_owned(),
            "CHAP_N=user\0CHAP_R=0xabc\0".to_owned(),
            "CHAP_N=user\0CHAP_R=0xzz\0".to_owned(),
            "CHAP_N=user\0CHAP_R=0b====\0".to_owned(),
            format!("CHAP_N=user\0CHAP_R={long}\0"),
            format!("CHAP_N={}\0CHAP_R=0x00112233445566778899aabbccddeeff\0", "u".repeat(5000)),
            "CHAP_N=user\0CHAP_R=0x00112233445566778899aabbccddeeff\0".to_owned(),
            "CHAP_N=user\0CHAP_R=0x00112233445566778899aabbccddeeff\0CHAP_I=256\0CHAP_C=0x00\0".to_owned(),
            "CHAP_A=5\0".to_owned(),
            "AuthMethod=None\0".to_owned(),
            "AuthMethod=CHAP\0CHAP_A=5\0".to_owned(),
        ];
        for answer in answers {
            let mut peer = world.connect();
            let (request, _) = challenged(world, &mut peer);
            let request = LoginRequest { transit: true, nsg: 1, ..request };
            peer.send(&request.encode(), &answer.as_bytes()[..answer.len().min(8192)]).unwrap();
            match peer.hear_within(PATIENCE) {
                Received::Pdu(pdu) => {
                    assert_eq!(LoginResponse::decode(&pdu.bhs).status().class(), 2, "{:.60}", answer);
                }
                other => assert_eq!(other, Received::Closed),
            }
            peer.hears_the_end();
        }
    });
}

#[test]
fn a_reflected_challenge_is_refused() {
    guest(guarded(false), |world| {
        // The answer another connection gives to the very same challenge is what an attacker would pass on.
        let mut peer = world.connect();
        let (request, text) = challenged(world, &mut peer);
        let (id, challenge) = (value(&text, "CHAP_I"), value(&text, "CHAP_C"));
        let bytes: Vec<u8> = challenge.as_bytes()[2..]
            .chunks(2)
            .map(|hex| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap())
            .collect();
        let response = Algorithm::Md5.response(id.parse().unwrap(), SECRET.as_bytes(), &bytes);
        let response: String = response.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let request = LoginRequest { transit: true, nsg: 1, ..request };
        let answer = format!("CHAP_N=user\0CHAP_R=0x{response}\0CHAP_I={id}\0CHAP_C={challenge}\0");
        peer.send(&request.encode(), answer.as_bytes()).unwrap();
        let answer = LoginResponse::decode(&peer.hear_a(Opcode::LOGIN_RESPONSE).bhs);
        assert_eq!(answer.status(), LoginStatus::AUTHENTICATION_FAILURE);
        peer.hears_the_end();
    });
}

#[test]
fn targets_are_for_those_they_are_meant_for() {
    let world = World::on_one_core();
    assert_eq!(try_login(&world, Some(ROOMS[1]), |_| {}), Err(LoginStatus::AUTHORIZATION_FAILURE));
    assert_eq!(try_login(&world, Some("iqn.2025-01.test:attic"), |_| {}), Err(LoginStatus::NOT_FOUND));
    let portal = initiator::url::Portal { host: world.address.ip().to_string(), port: world.address.port() };
    let names = |initiator_name: &str| -> Vec<String> {
        let options = Options { initiator_name: initiator_name.into(), ..world.options() };
        initiator::discover(&portal, &options).unwrap().into_iter().map(|found| found.name).collect()
    };
    assert_eq!(names("iqn.2025-01.test:anybody"), [ROOMS[0]]);
    assert_eq!(names(ADMIN), ROOMS);
}

#[test]
fn a_session_reaches_its_own_logical_units_only() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let list = peer.read(&[0xA0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], 4096).good().data;
    assert_eq!(list[..4], 40u32.to_be_bytes(), "five logical units");
    for lun in [5u16, 6, 99, 255, 256, 0x3FFF, 0x4005, 0x7FFF, 0xFFFF] {
        let mut command = peer.read_command(&read16(0, 1), 512);
        command.lun[..2].copy_from_slice(&lun.to_be_bytes());
        let itt = peer.issue(&command, &[]);
        peer.finish(itt, &[]).fails_with(5, 0x25, 0);
    }
    // Second-level addresses and rubbish below a good first level.
    for at in 2..8 {
        let mut command = peer.read_command(&read16(0, 1), 512);
        command.lun[at] = 1;
        let itt = peer.issue(&command, &[]);
        peer.finish(itt, &[]).fails_with(5, 0x25, 0);
    }
}
