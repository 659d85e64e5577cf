use super::*;
use alloc::string::String;
use alloc::vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use proptest::prelude::*;

const ITT: u32 = 5;

fn request(final_bit: bool, cont: bool, ttt: u32, text: &[u8]) -> (Bhs, Vec<u8>) {
    let len = u32::try_from(text.len()).unwrap();
    let header = TextRequest { final_bit, cont, itt: ITT, ttt, ..TextRequest::default() };
    (header.encode().with_data_segment_length(len), text.to_vec())
}

/// One exchange with its parameters and segment limit.
struct Peer {
    exchange: TextExchange,
    parameters: Parameters,
    segment_max: usize,
}

impl Peer {
    fn new(discovery: bool) -> Self {
        Self { exchange: TextExchange::new(discovery), parameters: Parameters::default(), segment_max: 8192 }
    }

    fn send(&mut self, (bhs, text): (Bhs, Vec<u8>)) -> TextStep {
        self.exchange.receive(&bhs, &text, &mut self.parameters, self.segment_max)
    }

    fn ask(&mut self, text: &[u8]) -> TextStep {
        self.send(request(true, false, RESERVED_TAG, text))
    }

    fn list(&mut self, targets: &[TargetRecord<'_>]) -> TextStep {
        self.exchange.listed(targets.iter().copied(), &mut self.parameters, self.segment_max)
    }
}

fn reply(step: TextStep) -> (TextResponse, Vec<u8>) {
    match step {
        TextStep::Reply { bhs, text } => {
            assert_eq!(bhs.data_segment_length() as usize, text.len());
            let header = TextResponse::decode(&bhs);
            assert_eq!(header.final_bit, header.ttt == RESERVED_TAG);
            assert!(!(header.final_bit && header.cont));
            (header, text)
        }
        other => panic!("{other:?}"),
    }
}

fn reason(step: TextStep) -> u8 {
    match step {
        TextStep::Reject(reason) => reason,
        other => panic!("{other:?}"),
    }
}

fn portals() -> [Portal; 2] {
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    [
        Portal { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 3260), group_tag: 1 },
        Portal { address: SocketAddr::new(v6, 3261), group_tag: 2 },
    ]
}

#[test]
fn send_targets_all() {
    let mut peer = Peer::new(true);
    assert!(matches!(peer.ask(b"SendTargets=All\0"), TextStep::List(Which::All)));
    let portals = portals();
    let (header, text) = reply(peer.list(&[
        TargetRecord { name: "iqn.2001-04.com.example:a", portals: &portals },
        TargetRecord { name: "iqn.2001-04.com.example:b", portals: &[] },
    ]));
    assert!(header.final_bit && header.itt == ITT);
    assert_eq!(
        String::from_utf8(text).unwrap().replace('\0', " "),
        "TargetName=iqn.2001-04.com.example:a TargetAddress=192.0.2.1:3260,1 TargetAddress=[::1]:3261,2 \
         TargetName=iqn.2001-04.com.example:b "
    );
}

#[test]
fn which_targets() {
    let own = "iqn.2001-04.com.example:a";
    let named = || Which::Named(IscsiName::parse(own).unwrap());
    for (discovery, text, expected) in [
        (true, "SendTargets=IQN.2001-04.com.example:A\0", named()),
        (false, "SendTargets=iqn.2001-04.com.example:a\0", named()),
        (false, "SendTargets=\0", Which::Own),
    ] {
        match Peer::new(discovery).ask(text.as_bytes()) {
            TextStep::List(which) => assert_eq!(which, expected),
            other => panic!("{other:?}"),
        }
    }
    let all_in_normal = Peer::new(false).ask(b"SendTargets=All\0");
    assert_eq!(reason(all_in_normal), reject_reason::PROTOCOL_ERROR);
    for nothing in ["SendTargets=\0", "SendTargets=foreign\0"] {
        let (header, text) = reply(Peer::new(true).ask(nothing.as_bytes()));
        assert!(header.final_bit && text.is_empty());
    }
}

#[test]
fn x1_a_huge_list_for_a_small_buffer() {
    let mut peer = Peer::new(true);
    peer.parameters.initiator_max_recv = 512;
    let portals = portals();
    let names: Vec<String> = (0..200).map(|i| alloc::format!("iqn.2001-04.com.example:disk{i}")).collect();
    let records: Vec<_> = names.iter().map(|name| TargetRecord { name, portals: &portals }).collect();
    assert!(matches!(peer.ask(b"SendTargets=All\0"), TextStep::List(Which::All)));
    let (mut header, mut all) = reply(peer.list(&records));
    let mut rounds = 0;
    while !header.final_bit {
        assert!(header.cont && all.len() == 512 * (rounds + 1));
        let (next, text) = reply(peer.send(request(true, false, header.ttt, b"")));
        assert!(text.len() <= 512 && next.ttt != header.ttt);
        (header, all) = (next, [all, text].concat());
        rounds += 1;
    }
    let mut expected = TextWriter::new(1 << 20);
    records.iter().for_each(|record| record.write(&mut expected).unwrap());
    assert_eq!(all, expected.into_bytes());
}

#[test]
fn a_list_above_the_limit_is_refused() {
    let mut peer = Peer::new(true);
    assert!(matches!(peer.ask(b"SendTargets=All\0"), TextStep::List(_)));
    let many = vec![TargetRecord { name: "iqn.2001-04.com.example:a", portals: &[] }; limits::SEND_TARGETS_MAX / 30];
    assert_eq!(reason(peer.list(&many)), reject_reason::OUT_OF_RESOURCES);
    assert_eq!(reason(peer.list(&[])), reject_reason::PROTOCOL_ERROR, "nothing was asked for");
}

#[test]
fn a_request_over_several_pdus() {
    let mut peer = Peer::new(true);
    let (header, text) = reply(peer.send(request(false, true, RESERVED_TAG, b"SendTar")));
    assert!(!header.final_bit && !header.cont && text.is_empty());
    let step = peer.send(request(true, false, header.ttt, b"gets=All\0"));
    assert!(matches!(step, TextStep::List(Which::All)));
}

#[test]
fn no_final_response_to_a_request_that_is_not() {
    let mut peer = Peer::new(false);
    let (header, text) = reply(peer.send(request(false, false, RESERVED_TAG, b"X-a=1\0")));
    assert!(!header.final_bit && text == b"X-a=NotUnderstood\0");
    let (header, text) = reply(peer.send(request(true, false, header.ttt, b"")));
    assert!(header.final_bit && text.is_empty());
}

#[test]
fn x1_hostile_requests_are_rejected() {
    let protocol = reject_reason::PROTOCOL_ERROR;
    let first = |final_bit, cont, text: &[u8]| Peer::new(true).send(request(final_bit, cont, RESERVED_TAG, text));
    assert_eq!(reason(first(false, true, b"")), protocol, "C without data");
    assert_eq!(reason(first(true, true, b"A=1\0")), protocol, "F and C");
    for text in [
        &b"SendTargets\0"[..],
        b"SendTargets=All",
        b"SendTargets=All\0SendTargets=All\0",
        b"SendTargets=All\0X-a=1\0",
        b"InitiatorName=iqn.2001-04.com.example:x\0",
        b"MaxBurstLength=512\0",
        b"AuthMethod=None\0",
        b"TargetAddress=1.2.3.4\0",
        b"InitiatorAlias=a\0InitiatorAlias=b\0",
    ] {
        assert_eq!(reason(first(true, false, text)), protocol, "{}", String::from_utf8_lossy(text));
    }
    let unknown_tag = Peer::new(true).send(request(true, false, 77, b"SendTargets=All\0"));
    assert_eq!(reason(unknown_tag), reject_reason::INVALID_PDU_FIELD);
}

#[test]
fn x1_tags_are_good_for_one_request_of_their_task() {
    let begin = |peer: &mut Peer| reply(peer.send(request(false, true, RESERVED_TAG, b"Send"))).0.ttt;
    let mut peer = Peer::new(true);
    let ttt = begin(&mut peer);
    let next = reply(peer.send(request(false, true, ttt, b"Tar"))).0.ttt;
    assert_ne!(next, ttt);
    assert_eq!(reason(peer.send(request(false, true, ttt, b"gets"))), reject_reason::INVALID_PDU_FIELD);

    let ttt = begin(&mut peer);
    let other_task = TextRequest { final_bit: true, itt: ITT + 1, ttt, ..TextRequest::default() };
    assert_eq!(reason(peer.send((other_task.encode(), vec![]))), reject_reason::INVALID_PDU_FIELD);

    begin(&mut peer);
    assert!(matches!(peer.ask(b"SendTargets=All\0"), TextStep::List(_)), "the reserved tag begins again");
}

#[test]
fn text_without_end_is_refused() {
    let mut peer = Peer::new(true);
    let mut ttt = RESERVED_TAG;
    let rounds = (0..100).take_while(|_| match peer.send(request(false, true, ttt, &[b'a'; 1024])) {
        TextStep::Reply { bhs, .. } => {
            ttt = bhs.ttt();
            true
        }
        _ => false,
    });
    assert_eq!(rounds.count(), limits::TEXT_MAX / 1024);
}

#[test]
fn a_redeclared_length_holds_when_the_exchange_is_complete() {
    let mut peer = Peer::new(false);
    let (header, text) = reply(peer.send(request(false, false, RESERVED_TAG, b"MaxRecvDataSegmentLength=1024\0")));
    assert!(text.is_empty() && peer.parameters.initiator_max_recv == 8192);
    reply(peer.send(request(true, false, header.ttt, b"")));
    assert_eq!(peer.parameters.initiator_max_recv, 1024);

    let (_, text) = reply(peer.ask(b"MaxRecvDataSegmentLength=511\0"));
    assert_eq!((&text[..], peer.parameters.initiator_max_recv), (&b"MaxRecvDataSegmentLength=Reject\0"[..], 1024));

    peer.parameters.rdma_extensions = true;
    reply(peer.ask(b"MaxRecvDataSegmentLength=2048\0"));
    assert_eq!(peer.parameters.initiator_max_recv, 1024, "without meaning over iSER");
}

#[test]
fn wildcard_portals_are_told_as_the_peer_sees_them() {
    let any = Portal { address: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 3260), group_tag: 1 };
    let local = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped());
    assert_eq!(alloc::format!("{}", any.seen_from(local)), "192.0.2.7:3260,1");
    assert_eq!(portals()[0].seen_from(local), portals()[0]);
}

proptest! {
    #[test]
    fn any_conversation_ends_in_bounded_replies(
        requests in proptest::collection::vec(
            (any::<bool>(), any::<bool>(), 0u32..6, "(SendTargets=All\0|A=1\0|\0|[A-Z=]{0,9})"),
            1..40,
        ),
        discovery in any::<bool>(),
    ) {
        let mut peer = Peer::new(discovery);
        peer.parameters.initiator_max_recv = 64;
        for (f, c, tag, text) in requests {
            let ttt = if tag == 0 { RESERVED_TAG } else { tag };
            let mut step = peer.send(request(f, c, ttt, text.as_bytes()));
            if let TextStep::List(_) = step {
                step = peer.list(&[TargetRecord { name: "iqn.2001-04.com.example:a", portals: &portals() }]);
            }
            if let TextStep::Reply { text, .. } = step {
                prop_assert!(text.len() <= 64);
            }
        }
    }
}
