//! Whatever arrives: no panic, an end, and nobody in who should not be.
use super::*;
use proptest::prelude::*;

/// Checks a step, and answers a registration. `true` while the login goes on.
fn goes_on(peer: &mut Peer, step: Step, may_enter: bool) -> bool {
    match step {
        Step::Reply(response) => {
            open(&response);
            true
        }
        Step::Register(_) => {
            assert!(may_enter, "registered without authentication");
            let step = peer.login.registered(Ok(Registered { tsih: 1 }));
            assert!(matches!(step, Step::Established(..)));
            false
        }
        Step::Established(..) => panic!("established without registration"),
        Step::Refuse(..) | Step::Close(_) => false,
    }
}

/// One key as an attacker who has read the RFC might write it.
fn key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        format!("InitiatorName={INITIATOR}"),
        format!("TargetName={TARGET}"),
        "SessionType=Discovery".into(),
        "SessionType=Normal".into(),
        "AuthMethod=None".into(),
        "AuthMethod=CHAP".into(),
        "AuthMethod=CHAP,None".into(),
        "CHAP_A=5".into(),
        "CHAP_N=host".into(),
        "CHAP_R=0x00112233445566778899aabbccddeeff".into(),
        "CHAP_I=1".into(),
        "CHAP_C=0x01".into(),
        "RDMAExtensions=Yes".into(),
        "HeaderDigest=CRC32C".into(),
        "MaxBurstLength=512".into(),
        "MaxRecvDataSegmentLength=512".into(),
    ]);
    prop_oneof![6 => known, 1 => "[A-Za-z]{1,9}=[ -~]{0,20}", 1 => "\\PC{0,12}"]
}

/// A request: flags of byte 1, and text.
fn request() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let flags = prop_oneof![4 => prop::sample::select(vec![0x00u8, 0x81, 0x83, 0x04, 0x87]), 1 => any::<u8>()];
    let text = prop::collection::vec(key(), 0..6)
        .prop_map(|keys| keys.iter().flat_map(|key| [key.as_bytes(), b"\0"].concat()).collect::<Vec<u8>>());
    (flags, text)
}

/// The right login of an initiator with CHAP, request by request.
fn right_login(peer: &mut Peer, mut tamper: impl FnMut(usize, &mut Bhs, &mut Vec<u8>)) -> Option<Established> {
    let flags = [0x00, 0x00, 0x81, 0x87];
    let mut challenge = String::new();
    for (turn, flags) in flags.into_iter().enumerate() {
        let keys = match turn {
            0 => format!("{} AuthMethod=CHAP", names()),
            1 => "CHAP_A=5".into(),
            2 if challenge.contains("CHAP_C=") => Peer::answer(&challenge, "host", SECRET),
            2 => String::new(),
            _ => "MaxBurstLength=262144 InitialR2T=No".into(),
        };
        let mut text = words(&keys);
        let mut bhs = peer.header.encode();
        bhs.0[1] = flags;
        tamper(turn, &mut bhs, &mut text);
        bhs.set_data_segment_length(u32::try_from(text.len()).unwrap());
        match peer.login.receive(&bhs, &text, &peer.world) {
            Step::Reply(response) => challenge = open(&response).0,
            Step::Register(_) => match peer.login.registered(Ok(Registered { tsih: 1 })) {
                Step::Established(_, established) => return Some(established),
                other => panic!("{other:?}"),
            },
            Step::Established(..) => panic!("established without registration"),
            Step::Refuse(..) | Step::Close(_) => return None,
        }
    }
    None
}

#[test]
fn the_right_login_is_right() {
    let mut peer = Peer::tcp(World::new(AuthPolicy::Required(CHAP)));
    assert!(right_login(&mut peer, |_, _, _| ()).is_some());
}

proptest! {
    #[test]
    fn random_pdus(
        pdus in prop::collection::vec(
            (prop::array::uniform32(any::<u8>()), prop::collection::vec(any::<u8>(), 0..64)),
            1..12,
        ),
    ) {
        let mut peer = Peer::tcp(World::new(AuthPolicy::Required(CHAP)));
        for (head, data) in pdus {
            let mut bhs = Bhs([0; BHS_LEN]);
            bhs.0[..32].copy_from_slice(&head);
            bhs.0[0] = 0x43;
            let step = peer.login.receive(&bhs, &data, &peer.world);
            goes_on(&mut peer, step, false);
        }
    }

    #[test]
    fn who_does_not_know_the_secret_does_not_enter(
        requests in prop::collection::vec(request(), 1..130),
        iser in any::<bool>(),
    ) {
        let transport = if iser { Transport::Iser } else { Transport::Tcp };
        let mut peer = Peer::new(transport, World::new(AuthPolicy::Required(CHAP)));
        for (flags, text) in requests {
            let mut bhs = peer.header.encode().with_data_segment_length(u32::try_from(text.len()).unwrap());
            bhs.0[1] = flags;
            let step = peer.login.receive(&bhs, &text, &peer.world);
            if !goes_on(&mut peer, step, false) {
                break;
            }
        }
    }

    #[test]
    fn an_open_target_survives_anything(requests in prop::collection::vec(request(), 1..40)) {
        let mut peer = Peer::tcp(World::open());
        for (flags, text) in requests {
            let mut bhs = peer.header.encode().with_data_segment_length(u32::try_from(text.len()).unwrap());
            bhs.0[1] = flags;
            let step = peer.login.receive(&bhs, &text, &peer.world);
            if !goes_on(&mut peer, step, true) {
                break;
            }
        }
    }

    #[test]
    fn a_changed_byte_of_a_right_login(
        turn in 0usize..4,
        in_header in any::<bool>(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut peer = Peer::tcp(World::new(AuthPolicy::Required(CHAP)));
        let entered = right_login(&mut peer, |now, bhs, text| {
            if now == turn && in_header {
                bhs.0[at.index(BHS_LEN)] ^= 1 << bit;
            } else if now == turn && !text.is_empty() {
                let at = at.index(text.len());
                text[at] ^= 1 << bit;
            }
        });
        if let Some(established) = entered {
            prop_assert_eq!(established.initiator_name.as_str(), INITIATOR);
            prop_assert_eq!(established.session, SessionKind::Normal { target: 42 });
        }
    }

    #[test]
    fn a_cut_login(turn in 0usize..4, keep in any::<prop::sample::Index>()) {
        let mut peer = Peer::tcp(World::new(AuthPolicy::Required(CHAP)));
        let entered = right_login(&mut peer, |now, _, text| {
            if now == turn {
                text.truncate(keep.index(text.len()));
            }
        });
        prop_assert!(entered.is_none() || turn == 3, "only the last request may do without its keys");
    }
}
