//! Any segmentation of the stream, in both directions, gives the same conversation; rubbish gives an end.
use crate::support::*;
use iscsi::datamover::{DataStatus, Datamover};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, NopIn, NopOut};
use proptest::prelude::*;

/// One thing the peer or the layer above does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Ping(usize),
    Immediate(usize),
    Solicited(u32),
    Put(usize),
    Reply(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (0usize..9000).prop_map(Act::Ping),
        (0usize..40_000).prop_map(Act::Immediate),
        (1u32..100_000).prop_map(Act::Solicited),
        (1usize..60_000).prop_map(Act::Put),
        (0usize..2000).prop_map(Act::Reply),
    ];
    prop::collection::vec(act, 1..12)
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![1usize..8, 40usize..60, 100usize..3000, Just(100_000)];
    // The last is used for ever, so it is large enough for the test to end soon.
    prop::collection::vec(size, 0..300).prop_map(|mut sizes| {
        sizes.push(7001);
        sizes
    })
}

/// Plays the acts in order, and returns what both sides saw.
fn play(parameters: &Parameters, acts: &[Act], reads: &[usize], writes: &[usize]) -> (Vec<Event>, Vec<Pdu>) {
    let mut rig = Rig::enabled(parameters);
    rig.claim = Some(tag(999));
    let mut tags = Vec::new();
    for (i, act) in acts.iter().enumerate() {
        let (i, itt) = (i as u16, i as u32);
        match *act {
            Act::Ping(len) => rig.arrive_pdu(&NopOut { itt, ..NopOut::default() }.encode(), &bytes(len)),
            Act::Immediate(len) => rig.arrive_pdu(&write_command(itt, true), &bytes(len)),
            Act::Solicited(len) => {
                let ttt = rig.solicit(tag(i), itt, 0, len);
                tags.push((itt, ttt, len));
                let all = bytes(len as usize);
                let cut = all.len() / 3;
                if cut > 0 {
                    rig.arrive_pdu(&data_out(itt, ttt, 0, 0, false), &all[..cut]);
                }
                rig.arrive_pdu(&data_out(itt, ttt, u32::from(cut > 0), cut as u32, true), &all[cut..]);
            }
            Act::Put(len) => {
                let put = rig.put(tag(i), itt, &bytes(len));
                rig.tcp.put_data(put).unwrap();
            }
            Act::Reply(len) => rig.tcp.send_control(&NopIn { itt, ..NopIn::default() }.encode(), &bytes(len)).unwrap(),
        }
    }
    {
        let mut wire = rig.pipe.0.borrow_mut();
        wire.read_sizes = reads.to_vec().into();
        wire.write_sizes = writes.to_vec().into();
    }
    let events = rig.settle();
    let sent = rig.sent();
    assert_eq!(rig.pool.outstanding(), 0);
    rig.finish();
    (events, sent)
}

/// Puts end when the transport pleases, everything else in the order of the stream.
fn split(events: Vec<Event>, acts: &[Act]) -> (Vec<Event>, Vec<Event>) {
    events.into_iter().partition(|event| match event {
        Event::Done { tag, .. } => matches!(acts.get(usize::from(tag.index())), Some(Act::Put(_))),
        _ => false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn segmentation_changes_nothing(acts in acts(), reads in sizes(), writes in sizes(), digest: bool) {
        let parameters = Parameters { header_digest: digest, data_digest: digest, ..parameters() };
        let (events, sent) = play(&parameters, &acts, &reads, &writes);
        let (plain_events, plain_sent) = play(&parameters, &acts, &[usize::MAX], &[usize::MAX]);
        prop_assert_eq!(sent, plain_sent);
        let (puts, others) = split(events, &acts);
        let (plain_puts, plain_others) = split(plain_events, &acts);
        prop_assert_eq!(puts, plain_puts);
        prop_assert_eq!(&others, &plain_others);
        let intact = |e: &Event| !matches!(e, Event::Done { status, .. } if *status != DataStatus::Ok);
        prop_assert!(others.iter().all(intact) && !others.iter().any(|e| matches!(e, Event::Violation(_))));
    }

    #[test]
    fn rubbish_is_never_a_panic_nor_a_lost_buffer(
        rubbish in prop::collection::vec(any::<u8>(), 0..4000), reads in sizes(), digest: bool,
    ) {
        let mut rig = Rig::enabled(&Parameters { header_digest: digest, data_digest: digest, ..parameters() });
        rig.claim = Some(tag(9));
        rig.solicit(tag(1), 1, 0, 1000);
        rig.pipe.0.borrow_mut().read_sizes = reads.into();
        rig.arrive(&rubbish);
        rig.settle();
        rig.finish();
    }

    #[test]
    fn headers_of_rubbish_are_never_a_panic_nor_a_lost_buffer(
        headers in prop::collection::vec((any::<[u8; 48]>(), 0usize..300, 0u8..6), 1..40), reads in sizes(),
    ) {
        let mut rig = Rig::enabled(&parameters());
        rig.claim = Some(tag(9));
        let ttt = rig.solicit(tag(1), 1, 0, 1000);
        rig.pipe.0.borrow_mut().read_sizes = reads.into();
        for (mut header, len, kind) in headers {
            // Half of them are Data-Out, half of those for the one transfer there is.
            if kind < 3 {
                header[0] = 0x05;
            }
            if kind < 2 {
                header[20..24].copy_from_slice(&ttt.to_be_bytes());
                header[16..20].copy_from_slice(&1u32.to_be_bytes());
                header[8..16].copy_from_slice(&LUN);
                header[36..44].fill(0);
            }
            rig.arrive_pdu(&Bhs(header), &bytes(len));
        }
        rig.settle();
        rig.tcp.release_task(tag(1));
        rig.settle();
        rig.finish();
    }
}
