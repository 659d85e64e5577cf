//! START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, and commands that reach home against newer truth.

use super::*;

fn start_stop(byte_4: u8) -> [u8; 6] {
    [0x1B, 0, 0, 0, byte_4, 0]
}

#[test]
fn stopping_flushes_and_starting_brings_it_back() {
    let mut host = Host::new();
    assert_eq!(host.run(&start_stop(0)), Plan::Home);
    let home = host.home(ME, &start_stop(0), &[]);
    assert!(home.outcome.is_good() && home.changed && home.flush && home.attention.is_none());
    assert_eq!(host.sense(&[0; 6]), Sense::INITIALIZING_COMMAND_REQUIRED);
    let again = host.home(ME, &start_stop(0), &[]);
    assert!(!again.changed && !again.flush);
    let home = host.home(OTHER, &start_stop(1), &[]);
    assert!(home.changed && !home.flush);
    assert_eq!(host.run(&[0; 6]), Plan::Done(Outcome::GOOD));
}

#[test]
fn a_stop_may_need_no_flush() {
    let mut host = Host::new();
    assert!(!host.home(ME, &start_stop(0x04), &[]).flush);
    let mut host = Host::with(|medium| medium.write_cache = false);
    assert!(!host.home(ME, &start_stop(0x00), &[]).flush);
}

#[test]
fn nothing_is_loaded_and_no_power_condition_entered() {
    let mut host = Host::new();
    for byte_4 in 0..=255u8 {
        let expected = match byte_4 {
            _ if byte_4 >> 4 != 0 => Some(Sense::cdb_bit(4, 7)),
            _ if byte_4 & 2 != 0 => Some(Sense::cdb_bit(4, 1)),
            _ => None,
        };
        match host.run(&start_stop(byte_4)) {
            Plan::Home => assert_eq!(expected, None),
            plan => {
                assert_eq!(Some(failure(plan)), expected);
                let home = host.home(ME, &start_stop(byte_4), &[]);
                assert_eq!((home.outcome.sense, home.changed), (expected, false));
            }
        }
    }
}

#[test]
fn preventing_removal_is_the_nexus_own() {
    let mut host = Host::new();
    for (prevent, expected) in [(1, true), (0, false), (1, true)] {
        assert_eq!(host.run(&[0x1E, 0, 0, 0, prevent, 0]), Plan::Done(Outcome::GOOD));
        assert_eq!(host.nexus.prevents_removal(), expected);
    }
    for prevent in [2, 3] {
        assert_eq!(host.sense(&[0x1E, 0, 0, 0, prevent, 0]), Sense::cdb_bit(4, 1));
    }
    assert!(host.nexus.prevents_removal());
}

#[test]
fn home_decides_by_its_own_truth() {
    let mut host = Host::new();
    host.lu.reservation = Some(OTHER);
    let list = [0, 0, 0, 0, 0x0A, 10, 0x24, 0x10, 0, 0x40, 0, 0, 0, 0, 0, 0];
    let cdb = [0x15, 0x10, 0, 0, list.len() as u8, 0];
    let home = host.home(ME, &cdb, &list);
    assert_eq!((home.outcome, home.changed), (Outcome::RESERVATION_CONFLICT, false));
    assert!(host.home(OTHER, &cdb, &list).changed);
}

#[test]
fn what_does_not_belong_home_changes_nothing() {
    let mut host = Host::new();
    let before = host.lu.clone();
    for opcode in 0..=255u8 {
        if matches!(opcode, 0x15..=0x17 | 0x1B | 0x55..=0x57) {
            continue;
        }
        let home = host.home(ME, &[opcode; 16], &[0; 64]);
        assert!(!home.changed && home.outcome.status == Status::CheckCondition);
        assert_eq!(failure(parameters(&host.lu, &[opcode, 0, 0, 0], &[])).key, SenseKey::IllegalRequest);
    }
    assert_eq!(host.lu, before);
}
