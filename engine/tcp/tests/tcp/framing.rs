//! Lengths, splits and digests (hostile-input classes L2 to L6).
use crate::support::*;
use iscsi::datamover::{Arrival, DataStatus, Datamover, Violation};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, NopOut, Opcode, ScsiCommand};

fn nop() -> Bhs {
    NopOut { itt: 5, ..NopOut::default() }.encode()
}

fn with_digests() -> Parameters {
    Parameters { header_digest: true, data_digest: true, ..parameters() }
}

fn control(event: &Event) -> (&Bhs, &[u8], &[u8], Arrival) {
    match event {
        Event::Control { bhs, ahs, data, arrival } => (bhs, ahs, data, *arrival),
        other => panic!("not a control PDU: {other:?}"),
    }
}

#[test]
fn l2_every_total_ahs_length_is_consumed_and_shown() {
    for words in 0..=255usize {
        let mut rig = Rig::enabled(&with_digests());
        let ahs = bytes(words * 4);
        let wire = rig.peer.frame(&nop(), &ahs, b"ping");
        rig.arrive(&wire);
        rig.arrive_pdu(&nop(), b"next");
        let events = rig.settle();
        assert_eq!(control(&events[0]).1, ahs);
        assert_eq!(control(&events[0]).2, b"ping");
        assert_eq!((control(&events[1]).1, control(&events[1]).2), (&[][..], &b"next"[..]));
        rig.finish();
    }
}

#[test]
fn l2_ahs_that_is_not_there_yet_is_waited_for() {
    let mut rig = Rig::enabled(&parameters());
    let wire = rig.peer.frame(&nop(), &bytes(1020), &[]);
    rig.arrive(&wire[..wire.len() - 1]);
    assert_eq!(rig.settle(), []);
    rig.arrive(&wire[wire.len() - 1..]);
    assert_eq!(rig.settle().len(), 1);
    rig.finish();
}

#[test]
fn l3_a_length_beyond_the_declared_is_refused_at_the_header() {
    for digests in [false, true] {
        for (opcode, len) in [(Opcode::NOP_OUT, 8193), (Opcode::DATA_OUT, 8196), (Opcode::SCSI_COMMAND, 0xff_ffff)] {
            let mut rig = Rig::enabled(&Parameters { header_digest: digests, ..Parameters::default() });
            let bhs = Bhs::new(opcode).with_data_segment_length(len);
            let mut wire = bhs.0.to_vec();
            if digests {
                wire.extend(slow_crc(&bhs.0));
            }
            rig.arrive(&wire);
            assert_eq!(rig.settle(), [Event::Violation(Violation::Length(len))]);
            rig.arrive(&[0; 100]);
            assert_eq!(rig.settle(), [], "nothing is read after a violation");
            rig.finish();
        }
    }
}

#[test]
fn l3_a_length_is_judged_before_additional_segments_are_waited_for() {
    let mut rig = Rig::enabled(&Parameters::default());
    rig.arrive(&nop().with_data_segment_length(8193).with_total_ahs_length(255).0);
    assert_eq!(rig.settle(), [Event::Violation(Violation::Length(8193))]);
    rig.finish();
}

#[test]
fn l3_login_takes_long_segments_up_to_its_own_limit() {
    let mut rig = Rig::new();
    rig.arrive_pdu(&Bhs::new(Opcode::LOGIN_REQUEST), &bytes(65_536));
    assert_eq!(control(&rig.settle()[0]).2, bytes(65_536));
    rig.arrive(&Bhs::new(Opcode::LOGIN_REQUEST).with_data_segment_length(65_537).0);
    assert_eq!(rig.settle(), [Event::Violation(Violation::Length(65_537))]);
    rig.finish();
}

#[test]
fn l3_immediate_data_beyond_the_first_burst_is_refused() {
    let mut rig = Rig::enabled(&Parameters { first_burst: 4096, ..parameters() });
    rig.arrive_pdu(&write_command(1, true), &bytes(4096));
    assert_eq!(rig.settle().len(), 1);
    rig.arrive(&write_command(2, true).with_data_segment_length(4097).0);
    assert_eq!(rig.settle(), [Event::Violation(Violation::Length(4097))]);
    rig.finish();
}

#[test]
fn l4_padding_is_consumed_and_its_content_ignored() {
    // The test's peer pads with 0xA5.
    for len in 0..9 {
        let mut rig = Rig::enabled(&parameters());
        rig.arrive_pdu(&nop(), &bytes(len));
        rig.arrive_pdu(&nop(), b"next");
        let events = rig.settle();
        assert_eq!((control(&events[0]).2, control(&events[1]).2), (&bytes(len)[..], &b"next"[..]));
        rig.finish();
    }
}

#[test]
fn l4_padding_that_is_missing_is_waited_for() {
    let mut rig = Rig::enabled(&parameters());
    let wire = rig.peer.frame(&nop(), &[], b"12345");
    for missing in (1..=3).rev() {
        rig.pipe.0.borrow_mut().inbound.clear();
        rig.arrive(if missing == 3 { &wire[..wire.len() - 3] } else { &[0][..] });
        assert_eq!(rig.settle(), [], "{missing} bytes short");
    }
    rig.arrive(&[0]);
    assert_eq!(rig.settle().len(), 1);
    rig.finish();
}

#[test]
fn l5_a_pdu_may_be_split_at_every_byte() {
    for parameters in [parameters(), with_digests()] {
        let peer = Peer { header_digest: parameters.header_digest, data_digest: parameters.data_digest };
        let command = ScsiCommand { itt: 8, write: true, final_bit: true, ..ScsiCommand::default() }.encode();
        let whole = peer.frame(&command, &bytes(8), &bytes(45));
        for at in 1..whole.len() {
            let mut rig = Rig::enabled(&parameters);
            rig.arrive(&whole[..at]);
            assert_eq!(rig.settle(), []);
            rig.arrive(&whole[at..]);
            let events = rig.settle();
            let (bhs, ahs, data, arrival) = control(&events[0]);
            assert_eq!((bhs.itt(), ahs, data, arrival), (8, &bytes(8)[..], &bytes(45)[..], Arrival::Here));
            rig.finish();
        }
    }
}

#[test]
fn l5_a_data_out_may_be_split_at_every_byte() {
    for parameters in [parameters(), with_digests()] {
        let len = 4 * 67 - 1;
        let mut at = 1;
        loop {
            let mut rig = Rig::enabled(&parameters);
            let ttt = rig.solicit(tag(1), 8, 0, len);
            let whole = rig.peer.frame(&data_out(8, ttt, 0, 0, true), &[], &bytes(len as usize));
            rig.arrive(&whole[..at]);
            assert_eq!(rig.settle(), []);
            rig.arrive(&whole[at..]);
            let done = Event::Done { tag: tag(1), bytes: bytes(len as usize), status: DataStatus::Ok };
            assert_eq!(rig.settle(), [done]);
            rig.finish();
            at += 1;
            if at == whole.len() {
                break;
            }
        }
    }
}

#[test]
fn l5_many_pdus_arrive_in_one_call() {
    let mut rig = Rig::enabled(&parameters());
    for i in 0..500u32 {
        rig.arrive_pdu(&NopOut { itt: i, ..NopOut::default() }.encode(), &bytes(i as usize % 40));
    }
    let events = rig.turn();
    assert_eq!((events.len(), rig.pipe.0.borrow().reads), (500, 1));
    assert!(events.iter().enumerate().all(|(i, e)| control(e).0.itt() == i as u32 && control(e).2 == bytes(i % 40)));
    rig.finish();
}

#[test]
fn l6_a_wrong_header_digest_ends_the_stream() {
    for byte in [0, 5, 16, 47, 48, 51] {
        let mut rig = Rig::enabled(&with_digests());
        let mut wire = rig.peer.frame(&nop(), &[], &[]);
        wire[byte] ^= 0x40;
        wire.extend([0; 64]);
        rig.arrive(&wire);
        // A length or AHS length that was hit may need more bytes before the digest is reached; these are there.
        assert_eq!(rig.settle(), [Event::Violation(Violation::HeaderDigest)], "byte {byte}");
        rig.finish();
    }
}

#[test]
fn l6_a_wrong_ahs_is_a_wrong_header() {
    let mut rig = Rig::enabled(&with_digests());
    let mut wire = rig.peer.frame(&nop(), &bytes(8), &[]);
    wire[50] ^= 1;
    rig.arrive(&wire);
    assert_eq!(rig.settle(), [Event::Violation(Violation::HeaderDigest)]);
    rig.finish();
}

#[test]
fn l6_a_wrong_data_digest_spoils_only_its_pdu() {
    let mut rig = Rig::enabled(&with_digests());
    let mut wire = rig.peer.frame(&nop(), &[], b"12345");
    *wire.last_mut().unwrap() ^= 1;
    rig.arrive(&wire);
    rig.arrive_pdu(&nop(), b"good");
    let events = rig.settle();
    assert_eq!((control(&events[0]).3, control(&events[0]).2), (Arrival::BadDigest, &[][..]));
    assert_eq!((control(&events[1]).3, control(&events[1]).2), (Arrival::Here, &b"good"[..]));
    rig.finish();
}

#[test]
fn l6_the_data_digest_covers_the_padding() {
    for (touch, expected) in [(0, Arrival::Here), (1, Arrival::BadDigest)] {
        let mut rig = Rig::enabled(&with_digests());
        let mut wire = rig.peer.frame(&nop(), &[], b"12345");
        let padding = wire.len() - 5;
        wire[padding] ^= touch;
        rig.arrive(&wire);
        assert_eq!(control(&rig.settle()[0]).3, expected);
        rig.finish();
    }
}

#[test]
fn l6_a_digest_nobody_negotiated_is_taken_for_the_next_header() {
    let mut rig = Rig::enabled(&parameters());
    let wire = Peer { header_digest: true, data_digest: false }.frame(&nop(), &[], &[]);
    rig.arrive(&wire);
    // What follows is out of step, but bounded: a header of rubbish, judged as such by whoever is above.
    assert_eq!(rig.settle().len(), 1);
    rig.finish();
}

#[test]
fn digests_hold_from_the_next_pdu_on_both_ways() {
    let mut rig = Rig::new();
    rig.arrive_pdu(&Bhs::new(Opcode::LOGIN_REQUEST), b"HeaderDigest=CRC32C\0");
    assert_eq!(control(&rig.settle()[0]).3, Arrival::Here);
    rig.tcp.send_control(&Bhs::new(Opcode::LOGIN_RESPONSE), b"HeaderDigest=CRC32C\0").unwrap();
    rig.tcp.enable(&with_digests());
    rig.tcp.send_control(&Bhs::new(Opcode::NOP_IN), b"pong!").unwrap();
    rig.tcp.flush();
    let out = std::mem::take(&mut rig.pipe.0.borrow_mut().outbound);
    assert_eq!(Peer::default().parse(&out[..68])[0].data, b"HeaderDigest=CRC32C\0");
    rig.peer = Peer { header_digest: true, data_digest: true };
    assert_eq!(rig.peer.parse(&out[68..])[0].data, b"pong!");
    rig.arrive_pdu(&nop(), b"ping");
    assert_eq!(control(&rig.settle()[0]).2, b"ping");
    rig.finish();
}

#[test]
fn large_immediate_data_goes_where_it_is_claimed() {
    for parameters in [parameters(), with_digests()] {
        for len in [32_768, 32_769, 65_535] {
            let mut rig = Rig::enabled(&parameters);
            rig.claim = Some(tag(3));
            rig.arrive_pdu(&write_command(1, true), &bytes(len));
            rig.arrive_pdu(&nop(), b"next");
            let events = rig.settle();
            assert_eq!(control(&events[0]).3, Arrival::Coming);
            assert_eq!(events[1], Event::Done { tag: tag(3), bytes: bytes(len), status: DataStatus::Ok });
            assert_eq!(control(&events[2]).2, b"next");
            rig.finish();
        }
    }
}

#[test]
fn large_immediate_data_nobody_claims_is_discarded() {
    let mut rig = Rig::enabled(&parameters());
    rig.arrive_pdu(&write_command(1, true), &bytes(60_001));
    rig.arrive_pdu(&nop(), b"next");
    let events = rig.settle();
    assert_eq!((events.len(), control(&events[0]).3, control(&events[1]).2), (2, Arrival::Coming, &b"next"[..]));
    rig.finish();
}

#[test]
fn a_wrong_digest_of_claimed_immediate_data_is_its_status() {
    let mut rig = Rig::enabled(&with_digests());
    rig.claim = Some(tag(3));
    let mut wire = rig.peer.frame(&write_command(1, true), &[], &bytes(40_000));
    wire[7000] ^= 1;
    rig.arrive(&wire);
    let events = rig.settle();
    assert!(matches!(events[1], Event::Done { status: DataStatus::DigestError(_), .. }), "{events:?}");
    rig.finish();
}

#[test]
fn a_segment_larger_than_staging_is_coming_whatever_the_pdu() {
    let mut rig = Rig::enabled(&Parameters { target_max_recv: 1 << 20, ..parameters() });
    rig.arrive_pdu(&nop(), &bytes(300_000));
    rig.arrive_pdu(&nop(), b"next");
    let events = rig.settle();
    assert_eq!((events.len(), control(&events[0]).3, control(&events[1]).2), (2, Arrival::Coming, &b"next"[..]));
    rig.finish();
}

#[test]
fn a_shown_segment_survives_receiving() {
    let mut rig = Rig::enabled(&parameters());
    rig.arrive_pdu(&nop(), &bytes(100));
    rig.tcp.receive();
    assert!(rig.tcp.poll().is_some());
    rig.arrive_pdu(&nop(), &bytes(60_000));
    rig.tcp.receive();
    assert_eq!(rig.tcp.segment(), bytes(100));
    assert_eq!(rig.settle().len(), 1);
    assert_eq!(rig.tcp.segment(), [] as [u8; 0]);
    rig.finish();
}
