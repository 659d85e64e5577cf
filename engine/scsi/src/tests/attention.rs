//! Unit attention: who hears it, when, and once.

use super::*;
use crate::table::COMMANDS;

#[test]
fn the_next_command_reports_it_and_the_one_after_runs() {
    let mut host = Host::new();
    for command in COMMANDS.iter().filter(|command| !command.ignores_attention) {
        host.nexus.raise(UnitAttention::DeviceReset);
        let cdb = minimal(command);
        assert_eq!(host.sense(&cdb), UnitAttention::DeviceReset.sense(), "{}", command.name);
        assert_ne!(host.run(&cdb), Plan::Done(UnitAttention::DeviceReset.sense().into()), "{}", command.name);
    }
}

#[test]
fn it_comes_before_faults_of_the_command() {
    let mut host = Host::new();
    for cdb in [&[0xFF; 16][..], &[0x00, 0, 0, 0, 0, 0x04], &[0x28], &[]] {
        host.nexus.raise(UnitAttention::CapacityChanged);
        assert_eq!(host.sense(cdb), UnitAttention::CapacityChanged.sense());
        assert_eq!(host.nexus.pending(), None);
    }
}

#[test]
fn inquiry_and_report_luns_leave_it() {
    let mut host = Host::new();
    host.nexus.raise(UnitAttention::PowerOn);
    host.nexus.raise(UnitAttention::ReportedLunsChanged);
    host.data(&[0x12, 0, 0, 0, 96, 0]);
    host.data(&[0xA0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(host.sense(&[0; 6]), UnitAttention::PowerOn.sense());
    // The list has been read, so that it changed is no news.
    assert_eq!(host.run(&[0; 6]), Plan::Done(Outcome::GOOD));
}

#[test]
fn request_sense_returns_it_as_data() {
    let mut host = Host::new();
    host.nexus.raise(UnitAttention::ModeParametersChanged);
    host.nexus.raise(UnitAttention::DeviceReset);
    let fixed = host.data(&[0x03, 0, 0, 0, 252, 0]);
    assert_eq!((fixed.len(), fixed[0], fixed[2], fixed[12], fixed[13]), (18, 0x70, 6, 0x29, 0x03));
    let descriptor = host.data(&[0x03, 1, 0, 0, 252, 0]);
    assert_eq!(descriptor, [0x72, 6, 0x2A, 0x01, 0, 0, 0, 0]);
    assert_eq!(host.data(&[0x03, 1, 0, 0, 252, 0]), [0x72, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn request_sense_of_a_stopped_unit_says_so() {
    let mut host = Host::new();
    host.lu.stopped = true;
    assert_eq!(host.data(&[0x03, 1, 0, 0, 252, 0])[..4], [0x72, 2, 0x04, 0x02]);
}

#[test]
fn a_reservation_conflict_comes_first_and_clears_nothing() {
    let mut host = Host::new();
    host.lu.reservation = Some(OTHER);
    host.nexus.raise(UnitAttention::DeviceReset);
    assert_eq!(host.run(&[0; 6]), Plan::Done(Outcome::RESERVATION_CONFLICT));
    assert_eq!(host.nexus.pending(), Some(UnitAttention::DeviceReset));
}
