//! Lengths that lie (hostile-input class L): every one is a violation or harmless.
use crate::peer::message;
use crate::rig::{Options, Rig, Seen, bytes, parameters};
use iscsi::datamover::{Advertised, Datamover, Violation};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, NopOut, Opcode, RESERVED_TAG, ScsiCommand};
use iser::wire::{HEADER, HEADERS, Header};

fn nop() -> Bhs {
    NopOut { itt: 5, ttt: RESERVED_TAG, ..NopOut::default() }.encode()
}

/// What a rig in full-feature phase sees of one message.
fn seen_of(options: Options, parameters: &Parameters, message: &[u8]) -> Vec<Seen> {
    let mut rig = Rig::new(Options { memory: 1 << 19, ..options });
    rig.mover.enable(parameters);
    rig.peer.say(message);
    let seen = rig.settle();
    // Whatever it was, the connection can be ended in order, and nothing follows a violation.
    rig.peer.say(message);
    let more = rig.settle();
    assert!(!matches!(seen[..], [Seen::Violation(_)]) || more.is_empty(), "{more:?}");
    rig.finish();
    seen
}

fn violation_of(message: &[u8]) -> Violation {
    match seen_of(Options::default(), &parameters(), message)[..] {
        [Seen::Violation(violation)] => violation,
        ref other => panic!("{} bytes: {other:?}", message.len()),
    }
}

#[test]
fn l1_messages_of_every_length() {
    let whole = [message(&nop(), &[], Advertised::default()), vec![0; 4]].concat();
    for options in Options::kinds() {
        for len in 0..=80 {
            let seen = seen_of(options, &parameters(), &whole[..len]);
            if len < HEADERS {
                assert_eq!(seen, [Seen::Violation(Violation::Header)], "{len} bytes");
            } else {
                assert!(matches!(&seen[..], [Seen::Control { bhs, data, .. }] if *bhs == nop() && data.is_empty()));
            }
        }
    }
}

#[test]
fn l1_messages_of_nothing_but_zeros_or_ones() {
    for len in [0, 1, 27, 28, 29, 75, 76, 77, 8320] {
        for byte in [0, 0xFF] {
            assert_eq!(violation_of(&vec![byte; len]), Violation::Header, "{len} bytes of {byte:#x}");
        }
    }
}

#[test]
fn l1_the_same_holds_before_full_feature_phase() {
    let whole = message(&nop(), &[], Advertised::default());
    for len in [0, 27, 28, 75, 76] {
        let mut rig = Rig::new(Options::default());
        rig.peer.say(&whole[..len]);
        let seen = rig.settle();
        assert_eq!(matches!(seen[..], [Seen::Violation(Violation::Header)]), len < HEADERS);
        rig.finish();
    }
}

#[test]
fn l2_additional_header_segments_are_there_or_the_length_is_wrong() {
    for words in 0..=255u8 {
        for present in [0usize, 4, 44, usize::from(words) * 4] {
            let bhs = nop().with_total_ahs_length(words);
            let ahs = bytes(present);
            let whole = [&Header::PLAIN.encode()[..], bhs.as_bytes(), &ahs].concat();
            if whole.len() > 8320 {
                continue;
            }
            let told = usize::from(words) * 4;
            let seen = seen_of(Options::default(), &parameters(), &whole);
            if told > present {
                assert_eq!(seen, [Seen::Violation(Violation::Length(0))], "{told} of {present}");
            } else {
                assert!(matches!(&seen[..], [Seen::Control { ahs: got, .. }] if *got == ahs[..told]), "{seen:?}");
            }
        }
    }
}

#[test]
fn l2_data_follows_the_additional_header_segments() {
    let bhs = nop().with_total_ahs_length(2).with_data_segment_length(5);
    let whole = [&Header::PLAIN.encode()[..], bhs.as_bytes(), b"AHS.ahs.", b"datum\0\0\0"].concat();
    let seen = seen_of(Options::default(), &parameters(), &whole);
    let [Seen::Control { ahs, data, .. }] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((&ahs[..], &data[..]), (&b"AHS.ahs."[..], &b"datum"[..]));
    // One byte less of data than both lengths together need.
    assert_eq!(violation_of(&whole[..HEADERS + 8 + 4]), Violation::Length(5));
}

#[test]
fn l3_data_segments_longer_than_the_message_or_the_limit() {
    for told in [1u32, 4, 100, 101, 8192, 8193, 0xFF_FFFF] {
        let bhs = nop().with_data_segment_length(told);
        let whole = [&Header::PLAIN.encode()[..], bhs.as_bytes(), &bytes(100)].concat();
        if told <= 100 {
            let seen = seen_of(Options::default(), &parameters(), &whole);
            assert!(matches!(&seen[..], [Seen::Control { data, .. }] if *data == bytes(told as usize)), "{seen:?}");
        } else {
            assert_eq!(violation_of(&whole), Violation::Length(told));
        }
    }
}

#[test]
fn l3_what_was_negotiated_holds_from_full_feature_phase_on() {
    let small = Parameters { target_max_recv: 512, ..parameters() };
    let of = |len| message(&nop(), &bytes(len), Advertised::default());
    assert_eq!(seen_of(Options::default(), &small, &of(513)), [Seen::Violation(Violation::Length(513))]);
    assert_eq!(seen_of(Options::default(), &small, &of(512)).len(), 1);
    let mut rig = Rig::new(Options::default());
    rig.peer.say(&of(8192));
    assert!(matches!(&rig.settle()[..], [Seen::Control { data, .. }] if *data == bytes(8192)));
    rig.finish();
}

#[test]
fn l3_immediate_data_beyond_the_first_burst() {
    let parameters = Parameters { first_burst: 512, ..parameters() };
    let command = ScsiCommand { itt: 1, write: true, final_bit: true, edtl: 1024, ..ScsiCommand::default() };
    for (len, fits) in [(512, true), (513, false)] {
        let whole = message(&command.encode(), &bytes(len), Advertised::default());
        let seen = seen_of(Options::default(), &parameters, &whole);
        assert_eq!(matches!(seen[..], [Seen::Control { .. }]), fits, "{seen:?}");
    }
}

#[test]
fn l3_a_message_longer_than_a_receive_ends_the_connection() {
    for options in Options::kinds() {
        let mut rig = Rig::enabled(options);
        rig.peer.say(&[0x10; 8400]);
        assert!(matches!(rig.settle()[..], [Seen::Terminated(_)]));
        rig.finished();
    }
}

#[test]
fn l4_whatever_follows_the_data_segment_is_ignored() {
    for extra in [1, 2, 3, 4, 5, 1000] {
        let bhs = nop().with_data_segment_length(5);
        let whole = [&Header::PLAIN.encode()[..], bhs.as_bytes(), b"datum", &vec![0xEE; extra]].concat();
        let seen = seen_of(Options::default(), &parameters(), &whole);
        assert!(matches!(&seen[..], [Seen::Control { data, .. }] if data == b"datum"), "{seen:?}");
    }
}

#[test]
fn p1_opcodes_pass_to_the_layer_that_knows_the_phase() {
    for opcode in 0..=0x3F {
        let whole = message(&Bhs::new(Opcode(opcode)), &[], Advertised::default());
        let seen = seen_of(Options::default(), &parameters(), &whole);
        if Opcode(opcode) == Opcode::DATA_OUT {
            assert_eq!(seen, [Seen::Violation(Violation::UnexpectedData)]);
        } else {
            assert!(matches!(&seen[..], [Seen::Control { bhs, .. }] if bhs.opcode() == Opcode(opcode)), "{seen:?}");
        }
    }
}

#[test]
fn unknown_iser_opcodes_and_messages_of_targets_are_violations() {
    for opcode in 0..=0xFu8 {
        let mut whole = message(&nop(), &[], Advertised::default());
        whole[0] = opcode << 4;
        // Hello is 28 bytes long, and a target gets no HelloReply.
        let expected = (opcode != 1).then_some(Violation::Header);
        match seen_of(Options::default(), &parameters(), &whole)[..] {
            [Seen::Violation(violation)] => assert_eq!(Some(violation), expected),
            [Seen::Control { .. }] => assert_eq!(expected, None),
            ref other => panic!("{other:?}"),
        }
    }
    let reply = Header::HelloReply { reject: false, max_version: 10, version: 10, ord: 1 }.encode();
    assert_eq!(violation_of(&reply[..HEADER]), Violation::Header);
}

#[test]
fn m5_advertisements_are_shown_as_they_are() {
    let buffer = |n: u32| iscsi::datamover::Advertisement { stag: n, va: u64::from(n) << 32 };
    for (write, read) in
        [(None, None), (Some(buffer(1)), None), (None, Some(buffer(2))), (Some(buffer(1)), Some(buffer(1)))]
    {
        let remote = Advertised { write, read };
        let seen = seen_of(Options::default(), &parameters(), &message(&nop(), &[], remote));
        assert!(matches!(&seen[..], [Seen::Control { remote: got, .. }] if *got == remote), "{seen:?}");
    }
}
