//! SPC-2 reservations: what conflicts, and what RESERVE and RELEASE do.

use super::*;
use crate::table::COMMANDS;

const RESERVE: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
const RELEASE: [u8; 6] = [0x17, 0, 0, 0, 0, 0];

#[test]
fn only_harmless_commands_pass_anothers_reservation() {
    const PASS: [&str; 7] = [
        "REQUEST SENSE",
        "INQUIRY",
        "RELEASE (6)",
        "READ CAPACITY (10)",
        "RELEASE (10)",
        "READ CAPACITY (16)",
        "REPORT LUNS",
    ];
    let mut host = Host::new();
    host.lu.reservation = Some(OTHER);
    for command in COMMANDS {
        let conflict = host.run(&minimal(command)) == Plan::Done(Outcome::RESERVATION_CONFLICT);
        // Allowing removal is the minimal PREVENT ALLOW MEDIUM REMOVAL.
        let passes = PASS.contains(&command.name) || command.name == "PREVENT ALLOW MEDIUM REMOVAL";
        assert_eq!(conflict, !passes, "{}", command.name);
    }
    host.lu.reservation = Some(ME);
    for command in COMMANDS {
        assert_ne!(host.run(&minimal(command)), Plan::Done(Outcome::RESERVATION_CONFLICT), "{}", command.name);
    }
}

#[test]
fn some_pass_by_what_they_ask() {
    let mut host = Host::new();
    host.lu.reservation = Some(OTHER);
    let conflict = Plan::Done(Outcome::RESERVATION_CONFLICT);
    assert_eq!(host.run(&[0x1E, 0, 0, 0, 1, 0]), conflict);
    assert_eq!(host.run(&[0x1E, 0, 0, 0, 0, 0]), Plan::Done(Outcome::GOOD));
    assert_eq!(host.run(&[0x1B, 0, 0, 0, 0x00, 0]), conflict);
    assert_eq!(host.run(&[0x1B, 0, 0, 0, 0x11, 0]), conflict);
    assert_eq!(host.run(&[0x1B, 0, 0, 0, 0x01, 0]), Plan::Home);
}

#[test]
fn reserve_and_release_have_one_owner() {
    let mut host = Host::new();
    assert_eq!(host.run(&RESERVE), Plan::Home);
    let home = host.home(ME, &RESERVE, &[]);
    assert!(home.outcome.is_good() && home.changed && home.attention.is_none());
    assert_eq!((host.lu.reservation, host.lu.generation), (Some(ME), 2));
    // Again by the owner: nothing new.
    assert!(!host.home(ME, &RESERVE, &[]).changed);
    // By another that saw an older copy: refused at home.
    assert_eq!(host.home(OTHER, &RESERVE, &[]).outcome, Outcome::RESERVATION_CONFLICT);
    // Releasing what one does not hold is not an error and does nothing.
    let home = host.home(OTHER, &RELEASE, &[]);
    assert_eq!((home.outcome, home.changed, host.lu.reservation), (Outcome::GOOD, false, Some(ME)));
    assert!(host.home(ME, &RELEASE, &[]).changed);
    assert_eq!(host.lu.reservation, None);
    assert!(host.home(OTHER, &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]).changed);
    assert_eq!(host.lu.reservation, Some(OTHER));
    assert!(host.home(OTHER, &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]).changed);
}

#[test]
fn third_parties_and_extents_are_refused() {
    let mut host = Host::new();
    for (opcode, length, obsolete) in [(0x16, 6, 0x1F), (0x17, 6, 0x1F), (0x56, 10, 0x13), (0x57, 10, 0x13)] {
        for byte_1 in 0..=255u8 {
            let mut cdb = vec![0; length];
            (cdb[0], cdb[1]) = (opcode, byte_1);
            match host.run(&cdb) {
                Plan::Home => assert_eq!(byte_1 & obsolete, 0),
                plan => assert_eq!((failure(plan), byte_1 & obsolete != 0), (Sense::cdb_byte(1), true)),
            }
        }
    }
}

#[test]
fn a_lost_nexus_and_a_reset_release() {
    let mut host = Host::new();
    let _ = host.home(ME, &RESERVE, &[]);
    assert!(!host.lu.nexus_lost(OTHER));
    assert_eq!((host.lu.reservation, host.lu.generation), (Some(ME), 2));
    assert!(host.lu.nexus_lost(ME));
    assert_eq!((host.lu.reservation, host.lu.generation), (None, 3));
    let _ = host.home(ME, &RESERVE, &[]);
    (host.lu.stopped, host.lu.modes.swp) = (true, true);
    host.lu.reset();
    assert_eq!((host.lu.reservation, host.lu.stopped, host.lu.modes.swp), (None, false, false));
}
