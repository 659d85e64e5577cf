//! Logins as real initiators do them.
use super::*;

const OPERATIONAL: Option<Stage> = Some(Stage::Operational);

/// What open-iscsi negotiates over TCP.
const OPEN_ISCSI: &str = "HeaderDigest=None DataDigest=None DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No \
     OFMarker=No ErrorRecoveryLevel=0 InitialR2T=No ImmediateData=Yes MaxBurstLength=16776192 \
     FirstBurstLength=262144 MaxOutstandingR2T=1 MaxConnections=1 DataPDUInOrder=Yes DataSequenceInOrder=Yes \
     MaxRecvDataSegmentLength=262144";

/// Keys open-iscsi ends a login on when it did not offer them.
const UNKNOWN_TO_OPEN_ISCSI: [&str; 6] = [
    "MaxOutstandingUnexpectedPDUs",
    "MaxAHSLength",
    "TaggedBufferForSolicitedDataOnly",
    "iSERHelloRequired",
    "TaskReporting",
    "iSCSIProtocolLevel",
];

#[test]
fn open_iscsi_without_authentication() {
    let mut peer = Peer::tcp(World { alias: Some("fast-disk".into()), ..World::open() });
    let first = format!("{} InitiatorAlias=host AuthMethod=None", names());
    let (text, header) = reply(peer.security(OPERATIONAL, &first));
    assert_eq!(text, "TargetPortalGroupTag=1 TargetAlias=fast-disk AuthMethod=None");
    assert_eq!((header.transit, header.csg, header.nsg, header.tsih), (true, 0, 1, 0));
    assert_eq!((header.stat_sn, header.exp_cmd_sn, header.max_cmd_sn), (Serial(5000), Serial(100), Serial(100)));

    let step = peer.operational(OPEN_ISCSI);
    let (text, header, established) = peer.register(step);
    assert!(UNKNOWN_TO_OPEN_ISCSI.iter().all(|key| !text.contains(key)), "{text}");
    assert!(text.contains("MaxRecvDataSegmentLength=65536") && !text.contains("TargetPortalGroupTag"));
    assert_eq!((header.csg, header.stat_sn), (1, Serial(5001)));
    assert_eq!(header.max_cmd_sn, Serial(163), "the whole window of 64 is open");
    assert_eq!(established.session, SessionKind::Normal { target: 42 });
    assert_eq!((established.stat_sn, established.exp_cmd_sn, established.cid), (Serial(5002), Serial(100), 7));
    assert_eq!(established.parameters.initiator_max_recv, 262_144);
    assert_eq!(established.initiator_name.as_str(), INITIATOR);
}

#[test]
fn open_iscsi_with_mutual_chap() {
    for algorithm in ["5", "6", "7", "8", "8,7,6,5"] {
        let mut peer = Peer::tcp(World::new(AuthPolicy::Required(CHAP)));
        let (text, header) = reply(peer.security(None, &format!("{} AuthMethod=CHAP,None", names())));
        assert_eq!((text.as_str(), header.transit), ("TargetPortalGroupTag=1 AuthMethod=CHAP", false));

        let (challenge, _) = reply(peer.security(None, &format!("CHAP_A={algorithm}")));
        assert!(challenge.starts_with(&format!("CHAP_A={}", &algorithm[..1])), "{challenge}");
        let answer = Peer::answer(&challenge, "host", SECRET);
        let (proof, header) = reply(peer.security(OPERATIONAL, &format!("{answer} CHAP_I=17 CHAP_C=0x0a0b0c0d")));
        assert!(header.transit && header.nsg == 1);
        let expected = chap::respond((&algorithm[..1], "17", "0x0a0b0c0d"), Algorithm::Md5, TARGET_SECRET).unwrap().1;
        assert_eq!(proof, format!("CHAP_N=disk1 CHAP_R={}", Base16(expected.as_bytes())));

        let step = peer.operational(OPEN_ISCSI);
        peer.register(step);
    }
}

#[test]
fn open_iscsi_over_iser_gets_t_and_ffp_at_once() {
    let mut peer = Peer::new(Transport::Iser, World::open());
    reply(peer.security(OPERATIONAL, &format!("{} AuthMethod=None", names())));
    let step = peer.operational(
        "DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No ErrorRecoveryLevel=0 InitialR2T=No \
         ImmediateData=Yes MaxBurstLength=16776192 FirstBurstLength=262144 MaxOutstandingR2T=1 MaxConnections=1 \
         DataPDUInOrder=Yes DataSequenceInOrder=Yes InitiatorRecvDataSegmentLength=262144 \
         TargetRecvDataSegmentLength=8192 RDMAExtensions=Yes",
    );
    let (text, _, established) = peer.register(step);
    assert!(text.ends_with("RDMAExtensions=Yes") && !text.contains("MaxRecvDataSegmentLength"), "{text}");
    assert!(UNKNOWN_TO_OPEN_ISCSI.iter().all(|key| !text.contains(key)), "{text}");
    assert!(established.parameters.rdma_extensions);
}

#[test]
fn libiscsi_declares_its_names_again() {
    let mut peer = Peer::tcp(World::new(AuthPolicy::Optional(CHAP)));
    let names = format!("InitiatorName={INITIATOR} InitiatorAlias=libiscsi TargetName={TARGET} SessionType=Normal");
    let (text, _) = reply(peer.security(None, &format!("{names} AuthMethod=CHAP,None")));
    assert!(text.ends_with("AuthMethod=CHAP"));
    let (challenge, _) = reply(peer.security(None, "CHAP_A=5"));
    let (_, header) = reply(peer.security(OPERATIONAL, &Peer::answer(&challenge, "host", SECRET)));
    assert!(header.transit);
    let step = peer.operational(&format!(
        "{names} HeaderDigest=None,CRC32C DataDigest=None InitialR2T=No ImmediateData=Yes MaxBurstLength=262144 \
         FirstBurstLength=262144 DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No MaxConnections=1 \
         MaxOutstandingR2T=1 ErrorRecoveryLevel=0 DataPDUInOrder=Yes DataSequenceInOrder=Yes \
         MaxRecvDataSegmentLength=262144",
    ));
    peer.register(step);
}

#[test]
fn windows_negotiates_in_two_exchanges() {
    let mut peer = Peer::tcp(World::open());
    let (_, header) = reply(peer.security(OPERATIONAL, &format!("{} AuthMethod=None", names())));
    assert!(header.transit);
    let (text, header) = reply(peer.send(
        Stage::Operational,
        None,
        "HeaderDigest=None,CRC32C DataDigest=None,CRC32C ErrorRecoveryLevel=2 InitialR2T=No ImmediateData=Yes \
         MaxRecvDataSegmentLength=65536 MaxBurstLength=262144 FirstBurstLength=65536 MaxConnections=1 \
         DataPDUInOrder=Yes DataSequenceInOrder=Yes DefaultTime2Wait=0 DefaultTime2Retain=60 MaxOutstandingR2T=16",
    ));
    assert!(!header.transit, "T=1 answers only T=1");
    assert!(text.contains("MaxOutstandingR2T=8"), "{text}");
    assert!(text.contains("DefaultTime2Wait=2") && text.contains("ErrorRecoveryLevel=0"));
    let step = peer.operational("");
    let (text, _, established) = peer.register(step);
    assert_eq!((text.as_str(), established.parameters.max_outstanding_r2t), ("", 8));
}

#[test]
fn discovery_sessions() {
    let mut peer = Peer::tcp(World::open());
    let first = format!("InitiatorName={INITIATOR} SessionType=Discovery AuthMethod=None");
    let (text, _) = reply(peer.security(OPERATIONAL, &first));
    assert_eq!(text, "AuthMethod=None");
    let step = peer.operational(
        "HeaderDigest=None DataDigest=None DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No \
         ErrorRecoveryLevel=0 MaxRecvDataSegmentLength=32768",
    );
    let (_, _, established) = peer.register(step);
    assert_eq!(established.session, SessionKind::Discovery);
}

#[test]
fn an_initiator_that_wants_nothing() {
    let mut peer = Peer::tcp(World::open());
    let step = peer.operational(&names());
    let (text, header, _) = peer.register(step);
    assert_eq!(text, "TargetPortalGroupTag=1 MaxRecvDataSegmentLength=65536");
    assert_eq!(header.csg, 1);

    let mut peer = Peer::tcp(World::open());
    let step = peer.security(Some(Stage::FullFeature), &names());
    let (text, header, established) = peer.register(step);
    assert_eq!((text.as_str(), header.csg), ("TargetPortalGroupTag=1", 0));
    assert_eq!(established.parameters, Parameters::default());
}

#[test]
fn the_operational_stage_is_not_skipped_where_it_is_needed() {
    let required = Policy { header_digest: DigestPolicy::Required, ..Policy::default() };
    for (transport, world) in
        [(Transport::Iser, World::open()), (Transport::Tcp, World { policy: required, ..World::open() })]
    {
        let mut peer = Peer::new(transport, world);
        let (_, header) = reply(peer.security(Some(Stage::FullFeature), &names()));
        assert_eq!((header.transit, header.nsg), (true, 1));
        let step = peer.operational("RDMAExtensions=Yes HeaderDigest=CRC32C,None");
        peer.register(step);
    }
}

#[test]
fn a_key_over_two_requests() {
    let text = words(&names());
    let mut peer = Peer::tcp(World::open());
    let (head, tail) = text.split_at(30);
    let header = LoginRequest { cont: true, csg: 1, ..peer.header };
    let (said, answer) = reply(peer.raw(&header, head));
    assert!(said.is_empty() && !answer.cont && !answer.transit);
    let header = LoginRequest { transit: true, csg: 1, nsg: 3, ..peer.header };
    let step = peer.raw(&header, tail);
    peer.register(step);
}

#[test]
fn a_long_answer_is_sent_in_segments() {
    let mut peer = Peer::tcp(World::open());
    let unknown: Vec<String> = (0..250).map(|i| format!("X-com.example.a.key.that.is.rather.long.{i}=1")).collect();
    let keys = words(&format!("{} {}", names(), unknown.join(" ")));
    let (first, second) = keys.split_at(8192);
    let header = LoginRequest { cont: true, csg: 0, ..peer.header };
    reply(peer.raw(&header, first));
    let header = LoginRequest { transit: true, nsg: 1, ..peer.header };
    let mut request = second;
    let mut answers = Vec::new();
    let last = loop {
        let Step::Reply(response) = peer.raw(&header, request) else { panic!() };
        let answer = open(&response).1;
        answers.extend(response.text);
        if !answer.cont {
            break answer;
        }
        assert!(!answer.transit);
        request = &[];
    };
    assert!(last.transit && last.nsg == 1 && answers.len() > 8192);
    let pairs = crate::text::Pairs::collect_all(&answers).unwrap();
    assert_eq!(pairs.iter().filter(|pair| pair.value == "NotUnderstood").count(), 250);
}

#[test]
fn redirection() {
    for (permanently, status) in [(false, LoginStatus::MOVED_TEMPORARILY), (true, LoginStatus::MOVED_PERMANENTLY)] {
        let refusal = Some(Refusal::moved(permanently, "192.0.2.9:3260,2".into()));
        let mut peer = Peer::tcp(World { refusal, ..World::open() });
        let Step::Refuse(response, _) = peer.security(OPERATIONAL, &names()) else { panic!() };
        assert_eq!(response.status(), status);
        assert_eq!(response.text, b"TargetAddress=192.0.2.9:3260,2\0");
    }
}

#[test]
fn a_session_may_be_refused_at_registration() {
    let mut peer = Peer::tcp(World::open());
    peer.header.tsih = 5;
    let step = peer.operational(&names());
    let Step::Register(registration) = step else { panic!("{step:?}") };
    assert_eq!((registration.tsih, registration.cid, registration.exp_cmd_sn), (5, 7, Serial(100)));
    let step = peer.login.registered(Err(LoginStatus::SESSION_DOES_NOT_EXIST));
    assert_eq!(refused(step), LoginStatus::SESSION_DOES_NOT_EXIST);
    assert!(matches!(peer.login.registered(Ok(Registered { tsih: 1 })), Step::Close(_)));
}

#[test]
fn the_portal_group_is_told_on_the_leading_connection_only() {
    let mut peer = Peer::tcp(World::open());
    peer.header.tsih = 5;
    let (text, header) = reply(peer.security(OPERATIONAL, &format!("{} AuthMethod=None", names())));
    assert_eq!((text.as_str(), header.tsih), ("AuthMethod=None", 5));
}

/// The only request of a Linux iSER initiator that has no CHAP configured, byte for byte but for the names.
#[test]
fn linux_iser_logs_in_with_one_request() {
    let mut peer = Peer::new(Transport::Iser, World::open());
    let text = words(&format!(
        "InitiatorName={INITIATOR} InitiatorAlias=rig TargetName={TARGET} SessionType=Normal DefaultTime2Wait=2 \
         DefaultTime2Retain=0 IFMarker=No OFMarker=No ErrorRecoveryLevel=0 InitialR2T=No ImmediateData=Yes \
         MaxBurstLength=16776192 FirstBurstLength=262144 MaxOutstandingR2T=1 MaxConnections=1 DataPDUInOrder=Yes \
         DataSequenceInOrder=Yes InitiatorRecvDataSegmentLength=262144 TargetRecvDataSegmentLength=8192 \
         RDMAExtensions=Yes",
    ));
    let mut bhs = Bhs([0; BHS_LEN]);
    bhs.0[..2].copy_from_slice(&[0x43, 0x87]);
    bhs.0[8..14].copy_from_slice(&[0x00, 0x02, 0x3D, 0x00, 0x00, 0x01]);
    let bhs = bhs.with_data_segment_length(u32::try_from(text.len()).unwrap());
    let step = peer.login.receive(&bhs, &text, &peer.world);
    let (text, header, established) = peer.register(step);
    assert_eq!(
        text,
        "TargetPortalGroupTag=1 DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No ErrorRecoveryLevel=0 \
         InitialR2T=Yes ImmediateData=Yes MaxBurstLength=1048576 FirstBurstLength=65536 MaxOutstandingR2T=1 \
         MaxConnections=1 DataPDUInOrder=Yes DataSequenceInOrder=Yes InitiatorRecvDataSegmentLength=262144 \
         TargetRecvDataSegmentLength=8192 RDMAExtensions=Yes"
    );
    assert_eq!((header.csg, header.nsg, header.itt), (1, 3, 0));
    assert_eq!((established.exp_cmd_sn, established.cid), (Serial(0), 0));
}
