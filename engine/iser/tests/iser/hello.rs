//! The iSER Hello exchange (RFC 7145 §5.1.3, hostile-input class K5).
use crate::rig::{Options, Rig, Seen, parameters, tag};
use iscsi::datamover::{Advertised, Datamover, Violation};
use iscsi::negotiate::Parameters;
use iscsi::wire::{NopIn, NopOut, RESERVED_TAG};
use iser::wire::{HEADER, Header};
use rdma::Access;

fn hello(max_version: u8, min_version: u8, ird: u16) -> [u8; HEADER] {
    Header::Hello { max_version, min_version, ird }.encode()
}

fn enabled(required: bool, options: Options) -> Rig {
    let mut rig = Rig::new(options);
    rig.mover.enable(&Parameters { iser_hello_required: required, ..parameters() });
    rig
}

fn ping(rig: &mut Rig) {
    let nop = NopOut { itt: 7, ttt: RESERVED_TAG, ..NopOut::default() };
    rig.peer.send(&nop.encode(), &[], Advertised::default());
}

fn is_violation(seen: &[Seen]) -> bool {
    matches!(seen, [Seen::Violation(Violation::Header)])
}

#[test]
fn k5_a_hello_is_answered_first_whether_required_or_not() {
    for options in Options::kinds() {
        for required in [false, true] {
            let mut rig = enabled(required, options);
            rig.peer.say(&hello(10, 10, 3));
            ping(&mut rig);
            assert!(matches!(rig.settle()[..], [Seen::Control { .. }]), "the Hello itself is not shown");
            rig.mover.send_control(&NopIn { itt: 7, ..NopIn::default() }.encode(), &[]).unwrap();
            rig.settle();
            assert_eq!(rig.peer.got.len(), 2);
            let reply = Header::HelloReply { reject: false, max_version: 10, version: 10, ord: 3 };
            assert_eq!(rig.peer.got[0].header, reply);
            rig.finish();
        }
    }
}

#[test]
fn k5_a_pdu_in_place_of_a_required_hello() {
    let mut rig = enabled(true, Options::default());
    ping(&mut rig);
    assert!(is_violation(&rig.settle()));
    rig.finish();
}

#[test]
fn k5_a_hello_that_comes_twice_too_late_or_too_early() {
    for required in [false, true] {
        let mut twice = enabled(required, Options::default());
        twice.peer.say(&hello(10, 10, 1));
        assert_eq!(twice.settle(), []);
        twice.peer.say(&hello(10, 10, 1));
        assert!(is_violation(&twice.settle()));
        twice.finish();
    }
    let mut late = enabled(false, Options::default());
    ping(&mut late);
    late.settle();
    late.peer.say(&hello(10, 10, 1));
    assert!(is_violation(&late.settle()));
    late.finish();

    let mut early = Rig::new(Options::default());
    early.peer.say(&hello(10, 10, 1));
    assert!(is_violation(&early.settle()));
    early.finish();
}

#[test]
fn k5_versions_that_do_not_fit_are_refused_and_the_peer_is_told() {
    for (max, min, fits) in
        [(10, 10, true), (15, 0, true), (9, 0, false), (15, 11, false), (9, 11, false), (0, 0, false)]
    {
        for options in Options::kinds() {
            let mut rig = enabled(true, options);
            rig.peer.say(&hello(max, min, 1));
            let mut seen = Vec::new();
            for _ in 0..60 {
                rig.turn();
                seen.extend(rig.drain());
                if !seen.is_empty() {
                    // The answer is out before the violation is reported, so closing at once does not lose it.
                    rig.mover.terminate(false);
                    break;
                }
                rig.mover.flush();
            }
            assert_eq!(is_violation(&seen), !fits, "{max}..{min}: {seen:?}");
            rig.settle();
            let Header::HelloReply { reject, .. } = rig.peer.got[0].header else { panic!("{:?}", rig.peer.got) };
            assert_eq!(reject, !fits);
            if fits { rig.finish() } else { rig.finished() }
        }
    }
}

#[test]
fn k5_a_hello_with_anything_behind_it_or_missing() {
    for len in [1, 20, 27, 29, 76, 100] {
        let mut rig = enabled(true, Options::default());
        let mut message = hello(10, 10, 1).to_vec();
        message.resize(len, 0);
        rig.peer.say(&message);
        assert!(is_violation(&rig.settle()), "{len} bytes");
        rig.finish();
    }
}

#[test]
fn k5_read_depths_that_cannot_work_are_refused() {
    // We may read nothing (the connection was made so), and the initiator counts on it.
    for (ird, rejected) in [(1, true), (0, false)] {
        let mut rig = enabled(true, Options { ird: 0, ..Options::default() });
        rig.peer.say(&hello(10, 10, ird));
        assert_eq!(is_violation(&rig.settle()), rejected);
        rig.finish();
    }
}

#[test]
fn k5_the_hello_lowers_the_read_depth() {
    let mut rig = enabled(true, Options { ird: 4, ..Options::default() });
    let buffer = rig.peer.open(1, &[7; 100], Access::RemoteRead);
    rig.peer.say(&hello(10, 10, 2));
    rig.settle();
    let Header::HelloReply { ord, .. } = rig.peer.got[0].header else { panic!("{:?}", rig.peer.got) };
    assert_eq!(ord, 2);
    let remote = Advertised { write: Some(buffer), read: None };
    for i in 0..4 {
        let get = rig.get(tag(i), remote, 0, 100);
        rig.mover.get_data(get).unwrap();
    }
    rig.mover.flush();
    assert_eq!(rig.counters().reads, 2, "no more at once than the initiator serves");
    assert_eq!(rig.settle().len(), 4);
    rig.finish();
}
