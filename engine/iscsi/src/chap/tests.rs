use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use text::Base16;

const ENTROPY: [u8; limits::LOGIN_ENTROPY] = [7; limits::LOGIN_ENTROPY];

fn secret() -> Secret {
    let mutual = Mutual { user: "target".into(), secret: b"fedcba9876543210".to_vec() };
    Secret { secret: b"0123456789abcdef".to_vec(), mutual: Some(mutual) }
}

fn hex(bytes: &[u8]) -> String {
    Base16(bytes).to_string()
}

fn right_answer(challenge: &Challenge) -> String {
    hex(challenge.algorithm.response(challenge.identifier, &secret().secret, &challenge.bytes).as_bytes())
}

#[test]
fn known_responses() {
    // Computed with an independent implementation: hash(0x01 || "secret" || "challenge").
    for (algorithm, expected) in KNOWN {
        let response = algorithm.response(1, b"secret", b"challenge");
        assert_eq!(hex(response.as_bytes()), format!("0x{expected}"), "{algorithm:?}");
        assert!(response.matches(response.as_bytes()));
        assert!(!response.matches(&response.as_bytes()[1..]) && !response.matches(&[]));
    }
}

const KNOWN: [(Algorithm, &str); 4] = [
    (Algorithm::Md5, "46e47770030e2b4e26a0db72a7efec00"),
    (Algorithm::Sha1, "011f25d29fe1baaced569c0d7e4878e40ddb7d7e"),
    (Algorithm::Sha256, "2dfa0526f4764864b7c3c5bc6596bcead3d8dbd984f4fc1d9f330299f0beced4"),
    (Algorithm::Sha3_256, "9444877c4dff778ed2add0f102dcd561e11944e7e948ee1b89508451a9e680ad"),
];

#[test]
fn the_first_acceptable_algorithm_is_taken() {
    let choose = |list, weakest| Challenge::choose(list, weakest, &ENTROPY).map(|c| c.algorithm);
    assert_eq!(choose("8,7,6,5", Algorithm::Md5), Ok(Algorithm::Sha3_256));
    assert_eq!(choose("5,7", Algorithm::Md5), Ok(Algorithm::Md5));
    assert_eq!(choose("5,7", Algorithm::Sha256), Ok(Algorithm::Sha256));
    assert_eq!(choose("0,99,0x6", Algorithm::Md5), Ok(Algorithm::Sha1));
    for none in ["", "0", "99", "-5", "5x", "261", ","] {
        assert_eq!(choose(none, Algorithm::Md5), Err(Refused), "{none}");
    }
    assert_eq!(choose("5", Algorithm::Sha1), Err(Refused));
    let long = "1,".repeat(1000) + "5";
    assert_eq!(choose(&long, Algorithm::Md5), Err(Refused), "only the head of a list is looked at");
}

#[test]
fn one_way_and_mutual() {
    for algorithm in Algorithm::ALL {
        let challenge = Challenge::choose(&algorithm.number().to_string(), Algorithm::Md5, &ENTROPY).unwrap();
        let response = right_answer(&challenge);
        let one_way = Answer { name: Some("user"), response: Some(&response), ..Answer::default() };
        let lookup = |user: &str| (user == "user").then(secret);
        assert!(challenge.verify(&one_way, false, lookup).unwrap().is_none());
        assert!(challenge.verify(&one_way, true, lookup).is_err(), "mutual was required");

        let mutual = Answer { identifier: Some("9"), challenge: Some("0x0102"), ..one_way };
        let proof = challenge.verify(&mutual, true, lookup).unwrap().unwrap();
        assert_eq!(proof.user, "target");
        let expected = respond((&algorithm.number().to_string(), "9", "0x0102"), Algorithm::Md5, b"fedcba9876543210");
        assert_eq!(proof.response.as_bytes(), expected.unwrap().1.as_bytes());
    }
}

#[test]
fn k1_wrong_answers() {
    let challenge = Challenge::choose("7", Algorithm::Md5, &ENTROPY).unwrap();
    let right = right_answer(&challenge);
    let good = Answer { name: Some("user"), response: Some(&right), identifier: Some("1"), challenge: Some("0x01") };
    let refused = |answer: Answer<'_>| challenge.verify(&answer, false, |u| (u == "user").then(secret)).is_err();
    assert!(!refused(good));
    let long = format!("0x{}", "00".repeat(1025));
    for response in [None, Some(""), Some("0x"), Some("0xzz"), Some("0b!"), Some("12"), Some(&right[..60]), Some(&long)]
    {
        assert!(refused(Answer { response, ..good }), "{response:?}");
    }
    let long_name = "u".repeat(256);
    for name in [None, Some(""), Some("other"), Some("USER"), Some(&long_name[..])] {
        assert!(refused(Answer { name, ..good }), "{name:?}");
    }
    for identifier in [None, Some("256"), Some("-1"), Some("x"), Some("")] {
        assert!(refused(Answer { identifier, ..good }), "{identifier:?}");
    }
    for theirs in [None, Some("0x"), Some(""), Some("0x0g"), Some("1"), Some(&long[..])] {
        assert!(refused(Answer { challenge: theirs, ..good }), "{theirs:?}");
    }
}

#[test]
fn a1_reflection_and_shared_secrets() {
    let challenge = Challenge::choose("5", Algorithm::Md5, &ENTROPY).unwrap();
    let right = right_answer(&challenge);
    let reflected = hex(&challenge.bytes);
    let answer =
        |theirs| Answer { name: Some("user"), response: Some(&right), identifier: Some("1"), challenge: Some(theirs) };
    assert!(challenge.verify(&answer(&reflected), false, |_| Some(secret())).is_err());
    assert!(challenge.verify(&answer("0x01"), false, |_| Some(secret())).is_ok());

    let shared = || {
        let known = secret();
        let mutual = Mutual { user: "target".into(), secret: known.secret.clone() };
        Secret { mutual: Some(mutual), ..known }
    };
    assert!(challenge.verify(&answer("0x01"), false, |_| Some(shared())).is_err());
    let no_mutual = || Secret { mutual: None, ..secret() };
    assert!(challenge.verify(&answer("0x01"), false, |_| Some(no_mutual())).is_err());
}

#[test]
fn an_empty_secret_opens_nothing() {
    let challenge = Challenge::choose("5", Algorithm::Md5, &ENTROPY).unwrap();
    let response = hex(challenge.algorithm.response(challenge.identifier, b"", &challenge.bytes).as_bytes());
    let answer = Answer { name: Some("user"), response: Some(&response), ..Answer::default() };
    let empty = || Secret { secret: vec![], mutual: None };
    assert!(challenge.verify(&answer, false, |_| Some(empty())).is_err());
    let dummy = hex(challenge.algorithm.response(challenge.identifier, &[0; 16], &challenge.bytes).as_bytes());
    let answer = Answer { response: Some(&dummy), ..answer };
    assert!(challenge.verify(&answer, false, |_| None).is_err(), "the stand-in for an unknown user is no secret");
}

#[test]
fn the_initiator_refuses_bad_challenges() {
    let respond = |a, i, c| respond((a, i, c), Algorithm::Sha1, b"s").is_ok();
    assert!(respond("7", "0", "0x00"));
    assert!(!respond("5", "0", "0x00") && !respond("7", "256", "0x00") && !respond("7", "0", "0x"));
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?}", secret());
    assert!(shown.contains("target") && !shown.contains("48") && !shown.contains("0123"), "{shown}");
}
