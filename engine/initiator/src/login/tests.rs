//! The login against targets that do not play along.
use iscsi::wire::{LoginRequest, LoginResponse};

use super::*;
use crate::options::Chap;

const TARGET: &str = "iqn.2025-01.io.isere:t";

fn login(options: &Options) -> Login {
    let mut login = Login::new("127.0.0.1:3260".parse().unwrap(), Protocol::Tcp, Some(TARGET), options).unwrap();
    let (bhs, text) = login.request();
    assert_eq!(LoginRequest::decode(&bhs).csg, 0);
    assert!(text.starts_with(b"InitiatorName="));
    login
}

fn with_chap() -> Options {
    let chap = |user: &str, secret: &str| Some(Chap { user: user.into(), secret: secret.into() });
    Options { chap: chap("jack", "twelve-bytes"), mutual_chap: chap("jill", "bytes-twelve"), ..Options::default() }
}

fn answer(login: &mut Login, response: LoginResponse, text: &str) -> Result<Step, Error> {
    login.response(&response.encode(), text.as_bytes())
}

#[test]
fn redirections_need_an_address() {
    let moved = LoginResponse { status_class: 1, status_detail: 1, ..LoginResponse::default() };
    let got = answer(&mut login(&Options::default()), moved, "TargetAddress=10.0.0.1:3260,1\0");
    assert!(matches!(got, Err(Error::Redirected { address, .. }) if address == "10.0.0.1:3260,1"));
    assert!(matches!(answer(&mut login(&Options::default()), moved, ""), Err(Error::Login { .. })));
}

#[test]
fn endless_logins_end() {
    let more = LoginResponse { cont: true, ..LoginResponse::default() };
    let mut slow = login(&Options::default());
    assert!((0..=MAX_LOGIN_ROUNDS).any(|_| answer(&mut slow, more, "").is_err()));
    let mut fat = login(&Options::default());
    let text = "x".repeat(8192);
    let rounds = (0..20).take_while(|_| answer(&mut fat, more, &text).is_ok()).count();
    assert_eq!(rounds, MAX_LOGIN_TEXT / text.len());
}

#[test]
fn stages_tags_and_opcodes_must_fit() {
    let fresh = || login(&Options::default());
    let base = LoginResponse { transit: true, nsg: 1, ..LoginResponse::default() };
    assert!(matches!(answer(&mut fresh(), base, "AuthMethod=None\0"), Ok(Step::Send)));
    for wrong in [
        LoginResponse { csg: 1, ..base },
        LoginResponse { nsg: 3, ..base },
        LoginResponse { nsg: 2, ..base },
        LoginResponse { itt: 9, ..base },
        LoginResponse { version_active: 1, ..base },
        LoginResponse { cont: true, ..base },
    ] {
        assert!(answer(&mut fresh(), wrong, "AuthMethod=None\0").is_err(), "{wrong:?}");
    }
    let opcode = fresh().response(&Bhs::new(Opcode::SCSI_RESPONSE), &[]);
    assert!(matches!(opcode, Err(Error::Protocol { violation: Violation::Opcode(0x21), .. })));
    assert!(answer(&mut fresh(), base, "AuthMethod\0").is_err());
}

#[test]
fn authentication_can_not_be_skipped_or_parroted() {
    let skip = LoginResponse { transit: true, nsg: 1, ..LoginResponse::default() };
    assert!(answer(&mut login(&with_chap()), skip, "AuthMethod=CHAP\0").is_err());
    assert!(answer(&mut login(&with_chap()), skip, "AuthMethod=None\0").is_err());

    let stay = LoginResponse::default();
    let listed = |login: &mut Login| {
        assert!(matches!(answer(login, stay, "AuthMethod=CHAP\0"), Ok(Step::Send)));
        assert_eq!(login.request().1, b"CHAP_A=8,7,6,5\0");
    };
    let mut honest = login(&with_chap());
    listed(&mut honest);
    assert!(matches!(answer(&mut honest, stay, "CHAP_A=5\0CHAP_I=1\0CHAP_C=0x0102\0"), Ok(Step::Send)));
    let said = String::from_utf8(honest.request().1).unwrap();
    assert!(said.contains("CHAP_N=jack") && said.contains("CHAP_R=0x") && said.contains("CHAP_C=0x"), "{said}");
    // A target that does not prove itself, and one that only sends back what we said.
    let response = said.split('\0').find(|p| p.starts_with("CHAP_R=")).unwrap();
    assert!(answer(&mut honest, skip, &format!("CHAP_N=jill\0{response}\0")).is_err());

    let mut unproven = login(&with_chap());
    listed(&mut unproven);
    answer(&mut unproven, stay, "CHAP_A=5\0CHAP_I=1\0CHAP_C=0x0102\0").unwrap();
    assert!(answer(&mut unproven, skip, "").is_err());

    let mut weak = login(&Options { chap_algorithms: vec![iscsi::chap::Algorithm::Sha256], ..with_chap() });
    answer(&mut weak, stay, "AuthMethod=CHAP\0").unwrap();
    assert!(answer(&mut weak, stay, "CHAP_A=5\0CHAP_I=1\0CHAP_C=0x0102\0").is_err(), "MD5 was not offered");
}

/// Over iSER the target must take part in it, and nothing else is negotiated that would not hold.
#[test]
fn iser_is_agreed_on_or_there_is_no_session() {
    let answers = "HeaderDigest=None\0DataDigest=None\0DefaultTime2Wait=2\0DefaultTime2Retain=0\0ErrorRecoveryLevel=0\0\
        InitialR2T=Yes\0ImmediateData=No\0MaxBurstLength=65536\0FirstBurstLength=8192\0MaxOutstandingR2T=1\0\
        MaxConnections=1\0DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0";
    let iser = "TargetRecvDataSegmentLength=4096\0InitiatorRecvDataSegmentLength=512\0";
    for (more, good) in [
        (format!("RDMAExtensions=Yes\0{iser}"), true),
        (format!("RDMAExtensions=No\0{iser}"), false),
        (
            "RDMAExtensions=Yes\0TargetRecvDataSegmentLength=16384\0InitiatorRecvDataSegmentLength=512\0".to_owned(),
            false,
        ),
        (
            "RDMAExtensions=Yes\0TargetRecvDataSegmentLength=8192\0InitiatorRecvDataSegmentLength=1024\0".to_owned(),
            false,
        ),
        (iser.to_owned(), false),
    ] {
        let peer = "127.0.0.1:3260".parse().unwrap();
        let mut login = Login::new(peer, Protocol::Iser, Some(TARGET), &Options::default()).unwrap();
        let _ = login.request();
        let to = |csg, nsg| LoginResponse { transit: true, csg, nsg, ..LoginResponse::default() };
        answer(&mut login, to(0, 1), "AuthMethod=None\0TargetPortalGroupTag=1\0").unwrap();
        let offers = String::from_utf8(login.request().1).unwrap();
        assert!(offers.starts_with("RDMAExtensions=Yes\0") && !offers.contains("MaxRecvDataSegmentLength"), "{offers}");
        let got = answer(&mut login, to(1, 3), &format!("{answers}{more}"));
        match got {
            Ok(Step::Done(done)) if good => {
                assert_eq!((done.agreed.max_send_segment, done.agreed.max_recv_segment), (4096, 512));
            }
            Err(Error::Login { .. }) if !good => {}
            other => panic!("{more}: {other:?}"),
        }
    }
}
