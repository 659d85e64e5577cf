//! The K list: keys, login and text that no honest initiator sends.
use super::*;

const OPERATIONAL: Option<Stage> = Some(Stage::Operational);

/// The status a fresh login is refused with that begins with `keys` in the security stage.
#[track_caller]
fn first(keys: &str) -> LoginStatus {
    refused(Peer::tcp(World::open()).security(OPERATIONAL, keys))
}

/// A login that has its CHAP challenge, and the challenge.
fn challenged(policy: ChapPolicy) -> (Peer, String) {
    let mut peer = Peer::tcp(World::new(AuthPolicy::Required(policy)));
    reply(peer.security(None, &format!("{} AuthMethod=CHAP", names())));
    let (challenge, _) = reply(peer.security(None, "CHAP_A=7,5"));
    (peer, challenge)
}

#[test]
fn k1_chap_keys_missing_repeated_or_reordered() {
    let failure = LoginStatus::AUTHENTICATION_FAILURE;
    for keys in ["", "CHAP_N=host", "CHAP_R=0x00", "CHAP_A=7", "AuthMethod=CHAP", "CHAP_I=1 CHAP_C=0x01"] {
        let (mut peer, _) = challenged(CHAP);
        let status = refused(peer.security(OPERATIONAL, keys));
        let expected = if keys.starts_with("Auth") { LoginStatus::INITIATOR_ERROR } else { failure };
        assert_eq!(status, expected, "{keys}");
    }
    for keys in ["CHAP_N=host CHAP_R=0x00", "", "CHAP_A=5 CHAP_N=host", "CHAP_A=0", "CHAP_A=99", "CHAP_A="] {
        let mut peer = Peer::tcp(World::new(AuthPolicy::Required(CHAP)));
        reply(peer.security(None, &format!("{} AuthMethod=CHAP", names())));
        assert_eq!(refused(peer.security(None, keys)), failure, "{keys}");
    }
    let (mut peer, challenge) = challenged(CHAP);
    let right = Peer::answer(&challenge, "host", SECRET);
    assert_eq!(refused(peer.security(None, &format!("{right} CHAP_N=host"))), LoginStatus::INITIATOR_ERROR);
    let (mut peer, _) = challenged(CHAP);
    assert_eq!(refused(peer.security(None, &format!("{right} CHAP_A=5"))), failure, "a new challenge is not to be had");
    let (mut peer, _) = challenged(CHAP);
    reply(peer.security(None, &right));
    assert_eq!(refused(peer.security(OPERATIONAL, &right)), failure, "the answer is good once");
}

#[test]
fn k1_chap_values() {
    let (_, challenge) = challenged(CHAP);
    let right = Peer::answer(&challenge, "host", SECRET);
    let wrong = [
        Peer::answer(&challenge, "host", b"another secret"),
        Peer::answer(&challenge, "root", SECRET),
        Peer::answer(&challenge, "", SECRET),
        "CHAP_N=host CHAP_R=0xzz".into(),
        "CHAP_N=host CHAP_R=0b====".into(),
        format!("CHAP_N=host CHAP_R=0x{}", "00".repeat(1025)),
        format!("{right}0"),
        format!("{right} CHAP_I=256 CHAP_C=0x01"),
        format!("{right} CHAP_I=1 CHAP_C=0x{}", "ab".repeat(1025)),
        format!("{right} CHAP_I=1"),
        format!("{right} CHAP_C=0x01"),
        format!("{right} CHAP_I=1 CHAP_C=0x"),
        format!("{right} CHAP_I=1 CHAP_C={}", Base16(&ENTROPY[1..])),
    ];
    for keys in wrong {
        let (mut peer, _) = challenged(CHAP);
        assert_eq!(refused(peer.security(OPERATIONAL, &keys)), LoginStatus::AUTHENTICATION_FAILURE, "{keys:.80}");
    }
    let (mut peer, _) = challenged(CHAP);
    assert!(reply(peer.security(OPERATIONAL, &right)).1.transit, "the right one is right");
    let (mut peer, _) = challenged(ChapPolicy { mutual_required: true, ..CHAP });
    assert_eq!(refused(peer.security(OPERATIONAL, &right)), LoginStatus::AUTHENTICATION_FAILURE);
}

#[test]
fn a1_no_downgrade() {
    let failure = LoginStatus::AUTHENTICATION_FAILURE;
    for keys in ["AuthMethod=None", "AuthMethod=KRB5,None", "AuthMethod=", "X-nothing=1", "AuthMethod=Reject"] {
        let mut peer = Peer::tcp(World::new(AuthPolicy::Required(CHAP)));
        assert_eq!(refused(peer.security(OPERATIONAL, &format!("{} {keys}", names()))), failure, "{keys}");
    }
    for kind in [names(), format!("InitiatorName={INITIATOR} SessionType=Discovery")] {
        let mut peer = Peer::tcp(World::new(AuthPolicy::Required(CHAP)));
        assert_eq!(refused(peer.operational(&kind)), failure, "the security stage was skipped");
        let mut peer = Peer::tcp(World::new(AuthPolicy::Required(CHAP)));
        reply(peer.security(None, &format!("{kind} AuthMethod=None,CHAP")));
        assert_eq!(refused(peer.security(Some(Stage::FullFeature), "")), failure, "CHAP was chosen and left out");
    }
    let weak = ChapPolicy { weakest: Algorithm::Sha256, ..CHAP };
    let mut peer = Peer::tcp(World::new(AuthPolicy::Required(weak)));
    reply(peer.security(None, &format!("{} AuthMethod=CHAP", names())));
    assert_eq!(refused(peer.security(None, "CHAP_A=5,6")), failure);
}

#[test]
fn chap_that_was_chosen_must_succeed_even_where_it_is_optional() {
    let mut peer = Peer::tcp(World::new(AuthPolicy::Optional(CHAP)));
    reply(peer.security(None, &format!("{} AuthMethod=CHAP", names())));
    assert_eq!(refused(peer.security(OPERATIONAL, "")), LoginStatus::AUTHENTICATION_FAILURE);
    let mut peer = Peer::tcp(World::open());
    let (text, header) = reply(peer.security(OPERATIONAL, &format!("{} AuthMethod=SRP,CHAP", names())));
    assert!(text.ends_with("AuthMethod=Reject") && header.transit);
}

#[test]
fn k2_malformed_text() {
    for text in [&b"InitiatorName\0"[..], b"InitiatorName=x", b"=x\0", b"A=\xff\0", b"\xff=1\0"] {
        let mut peer = Peer::tcp(World::open());
        let header = LoginRequest { csg: 0, ..peer.header };
        assert_eq!(refused(peer.raw(&header, text)), LoginStatus::INITIATOR_ERROR);
    }
    for keys in [format!("{}=1", "K".repeat(64)), format!("K={}", "v".repeat(5000)), "A=1 ".repeat(300)] {
        assert_eq!(first(&format!("{} {keys}", names())), LoginStatus::INITIATOR_ERROR);
    }
}

#[test]
fn k2_names() {
    let name = |name: &str| format!("InitiatorName={name} TargetName={TARGET}");
    assert_eq!(first(""), LoginStatus::MISSING_PARAMETER);
    assert_eq!(first(&format!("TargetName={TARGET}")), LoginStatus::MISSING_PARAMETER);
    assert_eq!(first(&format!("InitiatorName={INITIATOR}")), LoginStatus::MISSING_PARAMETER);
    let long = |n: usize| format!("iqn.1994-05.com.example:{}", "a".repeat(n - 24));
    assert_eq!(first(&name(&long(223))), LoginStatus::AUTHORIZATION_FAILURE, "valid, but a stranger");
    for bad in [&long(224)[..], &long(2000), "", "%n%n%s", "host", "iqn.1994-05.com.example:ho\u{a0}st"] {
        let mut peer = Peer::tcp(World::open());
        let header = LoginRequest { transit: true, nsg: 1, ..peer.header };
        let text = format!("InitiatorName={bad}\0TargetName={TARGET}\0");
        assert_eq!(refused(peer.raw(&header, text.as_bytes())), LoginStatus::INITIATOR_ERROR, "{bad}");
    }
    for unknown in ["iqn.2016-06.io.example:disk2", "disk1", "", "../../etc"] {
        let keys = format!("InitiatorName={INITIATOR} TargetName={unknown}");
        assert_eq!(first(&keys), LoginStatus::NOT_FOUND, "{unknown}");
    }
    assert_eq!(first(&format!("{} SessionType=Normal", names())), LoginStatus::INITIATOR_ERROR, "twice");
    let keys = format!("InitiatorName={INITIATOR} TargetName={TARGET} SessionType=Copy");
    assert_eq!(first(&keys), LoginStatus::SESSION_TYPE_NOT_SUPPORTED);
}

#[test]
fn names_are_the_same_in_any_case() {
    let mut peer = Peer::tcp(World::open());
    let keys = format!("InitiatorName={} TargetName={}", INITIATOR.to_uppercase(), TARGET.to_uppercase());
    let step = peer.operational(&keys);
    peer.register(step);
}

#[test]
fn k2_keys_where_they_do_not_belong() {
    for key in [
        "MaxBurstLength=512",
        "HeaderDigest=None",
        "SendTargets=All",
        "TargetAddress=192.0.2.1",
        "TargetPortalGroupTag=1",
        "TargetAlias=x",
    ] {
        assert_eq!(first(&format!("{} {key}", names())), LoginStatus::INITIATOR_ERROR, "{key}");
    }
    for key in ["AuthMethod=None", "CHAP_A=5", "CHAP_N=host", "SendTargets=", "TargetAlias=x"] {
        let mut peer = Peer::tcp(World::open());
        let status = refused(peer.operational(&format!("{} {key}", names())));
        assert_eq!(status, LoginStatus::INITIATOR_ERROR, "{key}");
    }
    let mut peer = Peer::tcp(World::open());
    let (text, _) = reply(peer.security(OPERATIONAL, &format!("{} TargetAlias=NotUnderstood X-a=1", names())));
    assert!(text.ends_with("X-a=NotUnderstood"));
}

#[test]
fn k2_second_offers_and_changed_names() {
    for (once, again) in [
        ("MaxBurstLength=8192", "MaxBurstLength=8192"),
        ("", "InitiatorName=iqn.1994-05.com.example:other"),
        ("", "TargetName=iqn.2016-06.io.example:disk2"),
        ("", "SessionType=Discovery"),
        ("", "InitialR2T=Reject"),
    ] {
        let mut peer = Peer::tcp(World::open());
        reply(peer.send(Stage::Operational, None, &format!("{} {once}", names())));
        assert_eq!(refused(peer.operational(again)), LoginStatus::INITIATOR_ERROR, "{again}");
    }
}

#[test]
fn k4_stages_and_bits() {
    let bad = |change: fn(&mut LoginRequest)| {
        let mut peer = Peer::tcp(World::open());
        let mut header = LoginRequest { transit: true, csg: 1, nsg: 3, ..peer.header };
        change(&mut header);
        refused(peer.raw(&header, &words(&names())))
    };
    let error = LoginStatus::INITIATOR_ERROR;
    assert_eq!(bad(|h| h.csg = 2), error);
    assert_eq!(bad(|h| h.csg = 3), error);
    assert_eq!(bad(|h| h.nsg = 2), error);
    assert_eq!(bad(|h| h.nsg = 1), error, "NSG = CSG");
    assert_eq!(bad(|h| h.nsg = 0), error, "NSG < CSG");
    assert_eq!(bad(|h| h.cont = true), error, "T and C");
    assert_eq!(bad(|h| h.version_min = 1), LoginStatus::UNSUPPORTED_VERSION);

    let mut peer = Peer::tcp(World::open());
    reply(peer.security(None, &names()));
    assert_eq!(refused(peer.operational("")), error, "a stage was skipped");
    let mut peer = Peer::tcp(World::open());
    reply(peer.security(OPERATIONAL, &names()));
    assert_eq!(refused(peer.security(OPERATIONAL, "")), error, "back to a stage that was left");
}

#[test]
fn k4_continuation_without_end() {
    let mut peer = Peer::tcp(World::open());
    let cont = LoginRequest { cont: true, csg: 1, ..peer.header };
    assert_eq!(refused(peer.raw(&cont, &[])), LoginStatus::INITIATOR_ERROR, "C without data");

    let run = |csg, segment: &[u8]| {
        let mut peer = Peer::tcp(World::open());
        let cont = LoginRequest { cont: true, csg, ..peer.header };
        let replies = (0..200).take_while(|_| matches!(peer.raw(&cont, segment), Step::Reply(_))).count();
        assert!(matches!(peer.raw(&cont, segment), Step::Close(_)), "nothing after a refusal");
        replies
    };
    assert_eq!(run(1, &[b'a'; 1000]), 8, "8 KiB of text");
    assert_eq!(run(0, &[b'a'; 8192]), 8, "64 KiB in the security stage");
    assert_eq!(run(0, b"a"), crate::limits::LOGIN_EXCHANGES_MAX as usize);

    let mut peer = Peer::tcp(World::open());
    let header = LoginRequest { cont: true, csg: 1, ..peer.header };
    reply(peer.raw(&header, b"Initiator"));
    let other = LoginRequest { cont: true, csg: 0, ..peer.header };
    assert_eq!(refused(peer.raw(&other, b"Name")), LoginStatus::INITIATOR_ERROR, "CSG changed inside a text");
}

#[test]
fn k4_endless_negotiation() {
    let mut peer = Peer::tcp(World::open());
    reply(peer.security(None, &names()));
    let replies = (0..500).take_while(|_| matches!(peer.security(None, ""), Step::Reply(_))).count();
    assert_eq!(replies, crate::limits::LOGIN_EXCHANGES_MAX as usize - 1);
}

#[test]
fn k4_identity_must_not_change() {
    for change in [(|h| h.itt += 1) as fn(&mut LoginRequest), |h| h.cid += 1, |h| h.tsih = 1, |h| h.isid[5] += 1] {
        let mut peer = Peer::tcp(World::open());
        reply(peer.security(OPERATIONAL, &names()));
        change(&mut peer.header);
        assert_eq!(refused(peer.operational("")), LoginStatus::INITIATOR_ERROR);
    }
}

#[test]
fn l3_lengths_in_the_header() {
    for (dsl, len, ahs) in [(100, 0, 0), (0, 100, 0), (8193, 8193, 0), (0xFF_FFFF, 10, 0), (0, 0, 1)] {
        let mut peer = Peer::tcp(World::open());
        let bhs = peer.header.encode().with_data_segment_length(dsl).with_total_ahs_length(ahs);
        assert_eq!(refused(peer.login.receive(&bhs, &vec![b'a'; len], &peer.world)), LoginStatus::INITIATOR_ERROR);
    }
}

#[test]
fn p1_every_opcode_in_every_state_of_login() {
    for opcode in (0..0x40).map(Opcode).filter(|&opcode| opcode != Opcode::LOGIN_REQUEST) {
        let pdu = Bhs::new(opcode);
        let mut peer = Peer::tcp(World::open());
        assert!(matches!(peer.login.receive(&pdu, &[], &peer.world), Step::Close(_)), "{opcode:?} first");
        assert!(matches!(peer.operational(&names()), Step::Close(_)), "nothing follows a close");

        let mut peer = Peer::tcp(World::open());
        reply(peer.security(OPERATIONAL, &names()));
        let step = peer.login.receive(&pdu, &[], &peer.world);
        assert_eq!(refused(step), LoginStatus::INVALID_DURING_LOGIN, "{opcode:?} later");
        assert!(matches!(peer.operational(""), Step::Close(_)));
    }
}

#[test]
fn k4_requests_while_the_session_is_registered() {
    let mut peer = Peer::tcp(World::open());
    assert!(matches!(peer.operational(&names()), Step::Register(_)));
    assert!(matches!(peer.operational(""), Step::Close(_)));
    assert!(matches!(peer.login.registered(Ok(Registered { tsih: 9 })), Step::Close(_)));
    let mut peer = Peer::tcp(World::open());
    assert!(matches!(peer.login.registered(Ok(Registered { tsih: 9 })), Step::Close(_)));
    assert!(matches!(peer.operational(&names()), Step::Close(_)));
}

#[test]
fn a_session_without_handle_is_a_target_error() {
    let mut peer = Peer::tcp(World::open());
    assert!(matches!(peer.operational(&names()), Step::Register(_)));
    assert_eq!(refused(peer.login.registered(Ok(Registered { tsih: 0 }))), LoginStatus::TARGET_ERROR);
}

#[test]
fn k5_iser_without_rdma_extensions() {
    for keys in ["", "RDMAExtensions=No", "MaxRecvDataSegmentLength=8192"] {
        let mut peer = Peer::new(Transport::Iser, World::open());
        let status = refused(peer.operational(&format!("{} {keys}", names())));
        assert_eq!(status, LoginStatus::INITIATOR_ERROR, "{keys}");
    }
}

#[test]
fn text_before_our_text_was_complete() {
    let mut peer = Peer::tcp(World::open());
    let unknown: Vec<String> = (0..250).map(|i| format!("X-com.example.a.key.{i}.that.is.long=1")).collect();
    let keys = words(&format!("{} {}", names(), unknown.join(" ")));
    let (head, tail) = keys.split_at(8000);
    let cont = LoginRequest { cont: true, ..peer.header };
    reply(peer.raw(&cont, head));
    let header = peer.header;
    assert!(reply(peer.raw(&header, tail)).1.cont);
    assert_eq!(refused(peer.raw(&header, b"X-a=1\0")), LoginStatus::INITIATOR_ERROR);
}

#[test]
fn a_redirection_to_an_impossible_address() {
    let refusal = Some(Refusal::moved(false, "a".repeat(9000)));
    let mut peer = Peer::tcp(World { refusal, ..World::open() });
    assert_eq!(refused(peer.operational(&names())), LoginStatus::TARGET_ERROR);
}
