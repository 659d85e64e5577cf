//! M3: FPDUs, segments and messages that are not as they should be.

use super::support::{Rig, Twist, send_header};
use rdma::{Ended, QueuePair, Status};
use siw::Config;
use siw::wire::{Fault, Header, Opcode, Place};

fn wrong(header: &Header, payload: &[u8], twist: Twist, fault: Fault) {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted_with(|f| f.crc = twist.bad_crc, None);
    let receive = rig.receive(&mut queue);
    let bytes = raw.bytes_of(header, payload, twist);
    raw.write(&bytes);
    assert_eq!(raw.terminated(&mut rig), fault, "{header:?}");
    assert_eq!(rig.ended(), Ended::Terminated);
    let got = rig.completion(receive);
    assert!(!got.status.is_ok());
    rig.give(got);
    rig.drained(&queue);
    assert_eq!((rig.pools.outstanding(), rig.device.stats().terminates_out), (0, 1));
}

fn untagged(opcode: Opcode, queue: u32, msn: u32, mo: u32, last: bool) -> Header {
    Header { last, opcode, place: Place::Untagged { ulp: 0, queue, msn, mo } }
}

#[test]
fn every_opcode_there_is_not_and_every_version() {
    let send = send_header(1, 0, true);
    for opcode in (0x40..=0x4F).filter(|o| !matches!(o & 0xF, 1 | 3..=7)) {
        wrong(&send, b"abc", Twist { rdmap: Some(opcode), ..Twist::default() }, Fault::OPCODE);
    }
    for (control, fault) in [(0x40, Fault::UNTAGGED_VERSION), (0x43, Fault::UNTAGGED_VERSION)] {
        wrong(&send, b"abc", Twist { control: Some(control), ..Twist::default() }, fault);
    }
    for rdmap in [0x03, 0x83, 0xC3] {
        wrong(&send, b"abc", Twist { rdmap: Some(rdmap), ..Twist::default() }, Fault::RDMAP_VERSION);
    }
}

#[test]
fn queues_numbers_and_offsets() {
    for queue in [1, 2, 3, u32::MAX] {
        wrong(&untagged(Opcode::Send, queue, 1, 0, true), b"abc", Twist::default(), Fault::QUEUE);
    }
    wrong(&untagged(Opcode::Terminate, 0, 1, 0, true), b"abcd", Twist::default(), Fault::QUEUE);
    for msn in [0, 2, u32::MAX] {
        wrong(&send_header(msn, 0, true), b"abc", Twist::default(), Fault::MSN);
    }
    for mo in [1, 3, u32::MAX] {
        wrong(&send_header(1, mo, true), b"abc", Twist::default(), Fault::OFFSET);
    }
}

#[test]
fn a_wrong_crc_is_told_and_nothing_of_it_believed() {
    wrong(&send_header(1, 0, true), b"abc", Twist { bad_crc: true, ..Twist::default() }, Fault::CRC);
}

#[test]
fn a_length_that_holds_no_header() {
    for length in [1, 2, 17] {
        wrong(&send_header(1, 0, true), b"abc", Twist { length: Some(length), ..Twist::default() }, Fault::FPDU);
    }
}

#[test]
fn messages_of_many_segments() {
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    let receives = [rig.receive(&mut queue), rig.receive(&mut queue)];
    for (msn, receive) in (1..).zip(receives) {
        for (mo, part) in [(0, &b"one "[..]), (4, b""), (4, b"two "), (8, b"three")] {
            raw.segment(&send_header(msn, mo, part == b"three"), part);
        }
        assert_eq!(rig.bytes(receive), b"one two three");
    }
}

#[test]
fn segments_that_do_not_go_on_where_the_last_ended() {
    for (second, fault) in [
        (send_header(1, 3, true), Fault::OFFSET),
        (send_header(1, 5, true), Fault::OFFSET),
        (send_header(2, 0, true), Fault::MSN),
        (untagged(Opcode::SendSolicited, 0, 1, 4, true), Fault::OPCODE),
        (send_header(1, u32::MAX, true), Fault::OFFSET),
    ] {
        let mut rig = Rig::new(Config::default());
        let (mut queue, mut raw) = rig.accepted();
        let receive = rig.receive(&mut queue);
        raw.segment(&send_header(1, 0, false), b"abcd");
        raw.segment(&second, b"efgh");
        assert_eq!(raw.terminated(&mut rig), fault);
        let got = rig.completion(receive);
        assert_eq!((got.status, got.byte_len), (Status::Flushed, 0));
        rig.give(got);
    }
}

#[test]
fn numbers_go_round() {
    // No test sends four thousand million messages: the arithmetic is seen from a few.
    let mut rig = Rig::new(Config::default());
    let (mut queue, mut raw) = rig.accepted();
    for msn in 1..=40 {
        let receive = rig.receive(&mut queue);
        raw.send(msn, &msn.to_be_bytes());
        assert_eq!(rig.bytes(receive), msn.to_be_bytes());
    }
    raw.send(40, b"again");
    assert_eq!(raw.terminated(&mut rig), Fault::MSN);
}

#[test]
fn any_terminate_ends_the_connection() {
    for payload in [&b""[..], b"\x01", b"\x10\x05\x00\x00", &[0xFF; 64], &[0; 1000]] {
        for msn in [1, 99] {
            let mut rig = Rig::new(Config::default());
            let (mut queue, mut raw) = rig.accepted();
            let receive = rig.receive(&mut queue);
            raw.segment(&untagged(Opcode::Terminate, 2, msn, 0, true), payload);
            assert_eq!(rig.ended(), Ended::Terminated);
            let got = rig.completion(receive);
            assert_eq!(got.status, Status::Flushed);
            rig.give(got);
            raw.gone(&mut rig);
            let stats = rig.device.stats();
            assert!(stats.terminates_in == 1 && stats.terminates_out == 0 && stats.last_terminate.is_some());
        }
    }
}

#[test]
fn a_terminate_shows_what_was_wrong() {
    let mut rig = Rig::new(Config::default());
    let (_queue, mut raw) = rig.accepted();
    raw.send(9, b"abc");
    let (_, payload) = raw.fpdu(&mut rig);
    assert_eq!(payload[..6], [0x12, 0x03, 0xC0, 0, 0, 18 + 3], "DDP, untagged, MSN; length and header follow");
    assert_eq!(payload[6..], [0x41, 0x43, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0]);
}

#[test]
fn random_bytes_end_a_connection_or_are_waited_for() {
    let mut seed = 1u64;
    for _ in 0..60 {
        let mut rig = Rig::new(Config::default());
        let (mut queue, mut raw) = rig.accepted();
        rig.receive(&mut queue);
        let mut bytes: Vec<u8> = (0..3000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) as u8
            })
            .collect();
        // Short lengths, so that headers are looked at.
        bytes[0] = 0;
        raw.write(&bytes);
        rig.turns(10);
        queue.to_error();
        rig.drained(&queue);
        assert_eq!(rig.pools.outstanding(), 0);
    }
}
