use super::*;
use crate::text::{Pairs, TextWriter};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

fn offers(text: &[u8]) -> Vec<Offer<'_>> {
    Pairs::new(text).map(|pair| pair.unwrap().into()).collect()
}

/// Answers one text given as lines; the answer as lines.
fn say(responder: &mut Responder, lines: &str) -> Result<String, NegotiationError> {
    let text: Vec<u8> = lines.split_whitespace().flat_map(|line| [line.as_bytes(), b"\0"].concat()).collect();
    let mut out = TextWriter::new(crate::limits::ANSWER_MAX);
    responder.answer(&offers(&text), &mut out)?;
    Ok(String::from_utf8(out.into_bytes()).unwrap().replace('\0', " ").trim_end().into())
}

fn tcp() -> Responder {
    Responder::new(Transport::Tcp, false, Policy::default())
}

fn iser() -> Responder {
    Responder::new(Transport::Iser, false, Policy::default())
}

/// The answer to one offer on a responder that has made its declarations.
fn one(mut responder: Responder, offer: &str) -> Result<String, NegotiationError> {
    say(&mut responder, "")?;
    say(&mut responder, offer)
}

#[test]
fn open_iscsi_over_tcp() {
    let mut responder = tcp();
    let said = say(
        &mut responder,
        "HeaderDigest=None DataDigest=None DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No \
         ErrorRecoveryLevel=0 InitialR2T=No ImmediateData=Yes MaxBurstLength=16776192 FirstBurstLength=262144 \
         MaxOutstandingR2T=1 MaxConnections=1 DataPDUInOrder=Yes DataSequenceInOrder=Yes \
         MaxRecvDataSegmentLength=262144",
    );
    assert_eq!(
        said.unwrap(),
        "HeaderDigest=None DataDigest=None DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No \
         ErrorRecoveryLevel=0 InitialR2T=Yes ImmediateData=Yes MaxBurstLength=1048576 FirstBurstLength=65536 \
         MaxOutstandingR2T=1 MaxConnections=1 DataPDUInOrder=Yes DataSequenceInOrder=Yes \
         MaxRecvDataSegmentLength=65536"
    );
    let expected = Parameters {
        initiator_max_recv: 262_144,
        target_max_recv: 65_536,
        max_burst: 1 << 20,
        time2retain: 0,
        ..Parameters::default()
    };
    assert_eq!(responder.finish(), Ok(expected));
}

#[test]
fn open_iscsi_over_iser() {
    let mut responder = iser();
    let said = say(
        &mut responder,
        "DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No ErrorRecoveryLevel=0 InitialR2T=No \
         ImmediateData=Yes MaxBurstLength=16776192 FirstBurstLength=262144 MaxOutstandingR2T=1 MaxConnections=1 \
         DataPDUInOrder=Yes DataSequenceInOrder=Yes InitiatorRecvDataSegmentLength=262144 \
         TargetRecvDataSegmentLength=8192 RDMAExtensions=Yes",
    );
    assert_eq!(
        said.unwrap(),
        "DefaultTime2Wait=2 DefaultTime2Retain=0 IFMarker=No OFMarker=No ErrorRecoveryLevel=0 InitialR2T=Yes \
         ImmediateData=Yes MaxBurstLength=1048576 FirstBurstLength=65536 MaxOutstandingR2T=1 MaxConnections=1 \
         DataPDUInOrder=Yes DataSequenceInOrder=Yes InitiatorRecvDataSegmentLength=262144 \
         TargetRecvDataSegmentLength=8192 RDMAExtensions=Yes",
        "only offered keys are answered: Linux ends a login on others"
    );
    let parameters = responder.finish().unwrap();
    assert!(parameters.rdma_extensions);
    assert_eq!((parameters.initiator_max_recv, parameters.target_max_recv), (262_144, 8192));
}

#[test]
fn k5_iser_keys_over_iser() {
    let mut responder = iser();
    let said = say(
        &mut responder,
        "RDMAExtensions=Yes MaxRecvDataSegmentLength=65536 MaxOutstandingUnexpectedPDUs=4 MaxAHSLength=0 \
         TaggedBufferForSolicitedDataOnly=Yes iSERHelloRequired=Yes HeaderDigest=CRC32C,None DataDigest=CRC32C",
    );
    assert_eq!(
        said.unwrap(),
        "RDMAExtensions=Yes HeaderDigest=None DataDigest=Irrelevant MaxOutstandingUnexpectedPDUs=16 MaxAHSLength=256"
    );
    let parameters = responder.finish().unwrap();
    assert_eq!((parameters.initiator_max_outstanding_unexpected_pdus, parameters.initiator_max_ahs_length), (4, 0));
    assert!(parameters.tagged_buffer_for_solicited_data_only && parameters.iser_hello_required);
    assert!(!parameters.header_digest && !parameters.data_digest);
    assert_eq!(parameters.initiator_max_recv, 8192, "MaxRecvDataSegmentLength is ignored");
    for bad in ["MaxOutstandingUnexpectedPDUs=1", "MaxAHSLength=1", "TargetRecvDataSegmentLength=511"] {
        let said = one(iser(), &format!("RDMAExtensions=Yes {bad}")).unwrap();
        assert!(said.contains("=Reject"), "{bad}: {said}");
    }
}

#[test]
fn k5_iser_keys_over_tcp() {
    let mut responder = tcp();
    let said = say(
        &mut responder,
        "RDMAExtensions=Yes TargetRecvDataSegmentLength=8192 InitiatorRecvDataSegmentLength=8192 \
         MaxOutstandingUnexpectedPDUs=4 MaxAHSLength=256 TaggedBufferForSolicitedDataOnly=Yes iSERHelloRequired=Yes",
    );
    assert_eq!(
        said.unwrap(),
        "RDMAExtensions=No TargetRecvDataSegmentLength=Irrelevant InitiatorRecvDataSegmentLength=Irrelevant \
         MaxRecvDataSegmentLength=65536"
    );
    let parameters = responder.finish().unwrap();
    assert!(!parameters.rdma_extensions && !parameters.iser_hello_required);
    assert_eq!(parameters.target_max_recv, 65_536);
}

#[test]
fn k5_a_normal_session_over_iser_needs_rdma_extensions() {
    assert_eq!(iser().finish(), Err(NegotiationError::RdmaExtensionsRequired));
    let mut refused = iser();
    assert_eq!(say(&mut refused, "RDMAExtensions=No"), Ok("RDMAExtensions=No".into()));
    assert_eq!(refused.finish(), Err(NegotiationError::RdmaExtensionsRequired));
}

#[test]
fn discovery_over_iser_keeps_to_the_login_buffer() {
    let mut responder = Responder::new(Transport::Iser, true, Policy::default());
    let said = say(&mut responder, "RDMAExtensions=Yes MaxRecvDataSegmentLength=32768");
    assert_eq!(said.unwrap(), "RDMAExtensions=Irrelevant");
    assert_eq!(responder.finish().unwrap().initiator_max_recv, 8192);
}

#[test]
fn keys_without_meaning_in_discovery_are_irrelevant() {
    for key in [
        "MaxConnections=1",
        "InitialR2T=No",
        "ImmediateData=No",
        "MaxBurstLength=512",
        "FirstBurstLength=512",
        "MaxOutstandingR2T=4",
        "DataPDUInOrder=No",
        "DataSequenceInOrder=No",
        "TaskReporting=FastAbort",
        "iSCSIProtocolLevel=2",
        "RDMAExtensions=Yes",
    ] {
        let (name, _) = key.split_once('=').unwrap();
        let said = one(Responder::new(Transport::Tcp, true, Policy::default()), key);
        assert_eq!(said, Ok(format!("{name}=Irrelevant")));
    }
    for key in ["ErrorRecoveryLevel=2", "DefaultTime2Wait=0", "HeaderDigest=None"] {
        let said = one(Responder::new(Transport::Tcp, true, Policy::default()), key).unwrap();
        assert!(!said.contains("Irrelevant"), "{said}");
    }
}

#[test]
fn result_functions() {
    let policy = Policy { initial_r2t: false, immediate_data: false, max_connections: 2, ..Policy::default() };
    let with = |offer| one(Responder::new(Transport::Tcp, false, policy), offer).unwrap();
    for (offer, said) in [
        ("InitialR2T=No", "InitialR2T=No"),
        ("InitialR2T=Yes", "InitialR2T=Yes"),
        ("ImmediateData=Yes", "ImmediateData=No"),
        ("ImmediateData=No", "ImmediateData=No"),
        ("DataPDUInOrder=No", "DataPDUInOrder=Yes"),
        ("DataSequenceInOrder=No", "DataSequenceInOrder=Yes"),
        ("MaxConnections=65535", "MaxConnections=2"),
        ("MaxConnections=1", "MaxConnections=1"),
        ("DefaultTime2Wait=0", "DefaultTime2Wait=2"),
        ("DefaultTime2Wait=3600", "DefaultTime2Wait=3600"),
        ("DefaultTime2Retain=3600", "DefaultTime2Retain=20"),
        ("ErrorRecoveryLevel=2", "ErrorRecoveryLevel=0"),
        ("MaxOutstandingR2T=0x10", "MaxOutstandingR2T=8"),
        ("MaxBurstLength=512", "MaxBurstLength=512"),
        ("iSCSIProtocolLevel=2", "iSCSIProtocolLevel=1"),
        ("iSCSIProtocolLevel=0", "iSCSIProtocolLevel=0"),
        ("IFMarker=Yes", "IFMarker=No"),
        ("OFMarker=No", "OFMarker=No"),
        ("IFMarkInt=1~65535", "IFMarkInt=Reject"),
        ("OFMarkInt=2048", "OFMarkInt=Reject"),
    ] {
        assert_eq!(with(offer), said);
    }
}

#[test]
fn k2_inadmissible_values_are_rejected_and_change_nothing() {
    for offer in [
        "MaxBurstLength=511",
        "MaxBurstLength=16777216",
        "MaxBurstLength=-1",
        "MaxBurstLength=18446744073709551616",
        "MaxBurstLength=0x",
        "MaxBurstLength=",
        "MaxBurstLength=2~1",
        "MaxBurstLength=512~1024",
        "FirstBurstLength=0",
        "MaxConnections=0",
        "MaxConnections=65536",
        "MaxOutstandingR2T=0",
        "DefaultTime2Wait=3601",
        "ErrorRecoveryLevel=3",
        "iSCSIProtocolLevel=32",
        "MaxRecvDataSegmentLength=511",
        "MaxRecvDataSegmentLength=0x1000000",
        "MaxRecvDataSegmentLength=lots",
        "InitialR2T=yes",
        "ImmediateData=",
        "ImmediateData=1",
        "HeaderDigest=SHA",
        "HeaderDigest=",
        "DataDigest=crc32c",
        "TaskReporting=Never",
    ] {
        let (name, _) = offer.split_once('=').unwrap();
        let mut responder = tcp();
        say(&mut responder, "").unwrap();
        let before = responder.finish().unwrap();
        assert_eq!(say(&mut responder, offer), Ok(format!("{name}=Reject")), "{offer}");
        assert_eq!(responder.finish(), Ok(before), "{offer}");
    }
}

#[test]
fn k2_unknown_keys_are_not_understood_and_known_ones_never() {
    assert_eq!(
        one(tcp(), "X-com.example.a=1 X#Foo=2 Unknown=3 X#NodeArchitecture=a,b"),
        Ok("X-com.example.a=NotUnderstood X#Foo=NotUnderstood Unknown=NotUnderstood".into())
    );
}

#[test]
fn k2_a_second_offer_and_reserved_words_are_errors() {
    assert_eq!(one(tcp(), "ImmediateData=No ImmediateData=No"), Err(NegotiationError::Duplicate(Key::ImmediateData)));
    let mut responder = tcp();
    assert!(say(&mut responder, "MaxBurstLength=8192").is_ok());
    assert_eq!(say(&mut responder, "MaxBurstLength=4096"), Err(NegotiationError::Duplicate(Key::MaxBurstLength)));
    for word in ["Reject", "Irrelevant", "NotUnderstood"] {
        let said = one(tcp(), &format!("MaxConnections={word}"));
        assert_eq!(said, Err(NegotiationError::ReservedWord(Key::MaxConnections)));
    }
    assert_eq!(one(tcp(), "SendTargets=All"), Err(NegotiationError::NotAllowed(Key::SendTargets)));
    assert_eq!(one(tcp(), "CHAP_A=5"), Err(NegotiationError::NotAllowed(Key::ChapA)));
}

#[test]
fn k2_long_lists() {
    let list = format!("HeaderDigest={}None", "Y-foo,".repeat(600));
    assert_eq!(one(tcp(), &list), Ok("HeaderDigest=None".into()));
}

#[test]
fn first_burst_never_exceeds_max_burst() {
    for offer in ["FirstBurstLength=65536 MaxBurstLength=8192", "MaxBurstLength=8192 FirstBurstLength=65536"] {
        let mut responder = tcp();
        assert!(say(&mut responder, offer).unwrap().contains("FirstBurstLength=8192"));
        let parameters = responder.finish().unwrap();
        assert_eq!((parameters.first_burst, parameters.max_burst), (8192, 8192));
    }
    let mut default = tcp();
    say(&mut default, "MaxBurstLength=8192").unwrap();
    assert_eq!(default.finish().unwrap().first_burst, 8192);
    let mut later = tcp();
    say(&mut later, "FirstBurstLength=65536").unwrap();
    assert_eq!(say(&mut later, "MaxBurstLength=8192"), Ok("MaxBurstLength=Reject".into()));
    assert_eq!(later.finish().unwrap().max_burst, 262_144);
}

#[test]
fn digests_follow_the_initiators_order_within_policy() {
    let with = |digest, offer: &str| {
        let policy = Policy { header_digest: digest, data_digest: digest, ..Policy::default() };
        let mut responder = Responder::new(Transport::Tcp, false, policy);
        say(&mut responder, "").unwrap();
        let said = say(&mut responder, &format!("HeaderDigest={offer} DataDigest={offer}")).unwrap();
        (said.split('=').next_back().unwrap().into(), responder.finish().map(|p| p.header_digest && p.data_digest))
    };
    let yes = |word: &str, on| (String::from(word), Ok(on));
    assert_eq!(with(DigestPolicy::Allowed, "CRC32C,None"), yes("CRC32C", true));
    assert_eq!(with(DigestPolicy::Allowed, "None,CRC32C"), yes("None", false));
    assert_eq!(with(DigestPolicy::Never, "CRC32C,None"), yes("None", false));
    assert_eq!(with(DigestPolicy::Never, "CRC32C"), yes("Reject", false));
    assert_eq!(with(DigestPolicy::Required, "None,CRC32C"), yes("CRC32C", true));
    let refused = Err(NegotiationError::DigestRequired(Key::HeaderDigest));
    assert_eq!(with(DigestPolicy::Required, "None"), ("Reject".into(), refused));
}

#[test]
fn task_reporting_takes_the_first_supported() {
    let with = |supported| {
        let policy = Policy { task_reporting: supported, ..Policy::default() };
        one(Responder::new(Transport::Tcp, false, policy), "TaskReporting=FastAbort,ResponseFence,RFC3720").unwrap()
    };
    assert_eq!(with(TaskReporting::Rfc3720), "TaskReporting=RFC3720");
    assert_eq!(with(TaskReporting::ResponseFence), "TaskReporting=ResponseFence");
    assert_eq!(with(TaskReporting::FastAbort), "TaskReporting=FastAbort");
}

#[test]
fn declarations_are_made_once() {
    let mut responder = tcp();
    assert_eq!(say(&mut responder, ""), Ok("MaxRecvDataSegmentLength=65536".into()));
    assert_eq!(say(&mut responder, "MaxRecvDataSegmentLength=4096"), Ok(String::new()));
    assert_eq!(responder.finish().unwrap().initiator_max_recv, 4096);
}

#[test]
fn policies_are_brought_into_range() {
    let policy = Policy {
        max_burst: 100,
        first_burst: u32::MAX,
        max_outstanding_r2t: 0,
        max_connections: 0,
        max_recv_data_segment_length: u32::MAX,
        ..Policy::default()
    };
    let said = say(
        &mut Responder::new(Transport::Tcp, false, policy),
        "MaxBurstLength=65536 FirstBurstLength=65536 MaxOutstandingR2T=9 MaxConnections=9",
    );
    assert_eq!(
        said.unwrap(),
        "MaxBurstLength=512 FirstBurstLength=512 MaxOutstandingR2T=1 MaxConnections=1 \
         MaxRecvDataSegmentLength=16777215"
    );
}

/// Lets our two sides negotiate with each other.
fn both_sides(transport: Transport, discovery: bool, initiator: Policy, target: Policy) -> (Parameters, Parameters) {
    let mut proposer = Proposer::new(transport, discovery, initiator);
    let mut responder = Responder::new(transport, discovery, target);
    let mut offered = TextWriter::new(8192);
    proposer.offer(&mut offered).unwrap();
    let mut answered = TextWriter::new(8192);
    responder.answer(&offers(&offered.into_bytes()), &mut answered).unwrap();
    proposer.accept(&offers(&answered.into_bytes())).unwrap();
    (proposer.finish().unwrap(), responder.finish().unwrap())
}

#[test]
fn both_sides_come_to_the_same_parameters() {
    let greedy = Policy {
        header_digest: DigestPolicy::Required,
        initial_r2t: false,
        max_recv_data_segment_length: 262_144,
        max_burst: 1 << 20,
        first_burst: 262_144,
        max_outstanding_r2t: 16,
        task_reporting: TaskReporting::FastAbort,
        protocol_level: 2,
        ..Policy::default()
    };
    for transport in [Transport::Tcp, Transport::Iser] {
        for discovery in [false, true] {
            for (ours, theirs) in
                [(Policy::default(), Policy::default()), (greedy, Policy::default()), (greedy, greedy)]
            {
                let (initiator, target) = both_sides(transport, discovery, ours, theirs);
                assert_eq!(initiator, target, "{transport:?} discovery {discovery}");
            }
        }
    }
    let (agreed, _) = both_sides(Transport::Tcp, false, greedy, greedy);
    assert!(agreed.header_digest && !agreed.data_digest && !agreed.initial_r2t);
    assert_eq!((agreed.protocol_level, agreed.task_reporting), (2, TaskReporting::FastAbort));
}

#[test]
fn the_initiator_refuses_inadmissible_answers() {
    let accept = |answer: &str| {
        let mut proposer = Proposer::new(Transport::Tcp, false, Policy::default());
        proposer.offer(&mut TextWriter::new(8192)).unwrap();
        proposer.accept(&offers(format!("{answer}\0").as_bytes()))
    };
    for bad in [
        "MaxBurstLength=1048577",
        "MaxBurstLength=511",
        "MaxBurstLength=NotUnderstood",
        "DefaultTime2Wait=1",
        "ErrorRecoveryLevel=1",
        "InitialR2T=No",
        "InitialR2T=Maybe",
        "HeaderDigest=SHA",
        "MaxRecvDataSegmentLength=1",
        "TaskReporting=FastAbort",
        "RDMAExtensions=Yes",
        "MaxBurstLength=512\0MaxBurstLength=512",
    ] {
        assert!(accept(bad).is_err(), "{bad}");
    }
    for good in ["MaxBurstLength=512", "MaxBurstLength=Reject", "HeaderDigest=None", "TargetAlias=x", "X-new=1"] {
        assert_eq!(accept(good), Ok(()), "{good}");
    }
}

#[test]
fn the_initiator_misses_answers_it_is_owed() {
    let mut proposer = Proposer::new(Transport::Iser, false, Policy::default());
    proposer.offer(&mut TextWriter::new(8192)).unwrap();
    assert!(proposer.finish().is_err());
}
