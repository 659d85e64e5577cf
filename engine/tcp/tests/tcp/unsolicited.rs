//! Unsolicited data (RFC 7143 §4.2.5.2): announced by a command without F, bounded by FirstBurstLength.
use crate::support::*;
use iscsi::datamover::{DataStatus, Datamover, Violation};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, Opcode, Reject, ScsiResponse, TmfResponse};
use iscsi_tcp::Limits;

const NONE: u32 = u32::MAX;

fn statuses(events: &[Event]) -> Vec<(u16, DataStatus, usize)> {
    let of = |e: &Event| match e {
        Event::Done { tag, bytes, status } => Some((tag.index(), *status, bytes.len())),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

/// A rig whose initiator announced unsolicited data for task 1.
fn announced() -> Rig {
    let mut rig = Rig::enabled(&parameters());
    rig.arrive_pdu(&write_command(1, false), &[]);
    assert_eq!(rig.settle().len(), 1);
    rig
}

#[test]
fn announced_data_fills_the_get_behind_the_immediate_data() {
    let mut rig = Rig::enabled(&parameters());
    rig.arrive_pdu(&write_command(1, false), &bytes(4096));
    rig.settle();
    rig.expect(tag(1), 1, 4096, 12_000);
    rig.arrive_pdu(&data_out(1, NONE, 0, 4096, false), &bytes(8192));
    rig.arrive_pdu(&data_out(1, NONE, 1, 12_288, true), &bytes(3808));
    assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Ok, 12_000)]);
    rig.finish();
}

#[test]
fn data_that_is_ahead_of_its_get_waits() {
    let mut rig = announced();
    rig.arrive_pdu(&data_out(1, NONE, 0, 0, true), &bytes(100));
    rig.arrive_pdu(&Bhs::new(Opcode::NOP_OUT), b"behind");
    assert_eq!(rig.settle(), [], "held, with what is behind it");
    rig.expect(tag(1), 1, 0, 100);
    assert!(rig.tcp.has_more());
    let events = rig.drain();
    assert_eq!(statuses(&events), [(1, DataStatus::Ok, 100)]);
    assert!(matches!(&events[1], Event::Control { data, .. } if data == b"behind"));
    rig.finish();
}

#[test]
fn r2_staging_fills_up_behind_held_data_and_no_further() {
    let mut rig = announced();
    rig.arrive_pdu(&data_out(1, NONE, 0, 0, true), &bytes(100));
    for _ in 0..3000 {
        rig.arrive_pdu(&Bhs::new(Opcode::NOP_OUT), &[]);
    }
    assert_eq!(rig.settle(), []);
    let left = rig.pipe.0.borrow().inbound.len();
    assert!(left > 0, "the rest stays with the transport");
    rig.expect(tag(1), 1, 0, 100);
    assert_eq!(rig.settle().len(), 3001);
    rig.finish();
}

#[test]
fn an_early_end_is_short() {
    let mut rig = announced();
    rig.expect(tag(1), 1, 0, 1000);
    rig.arrive_pdu(&data_out(1, NONE, 0, 0, true), &bytes(300));
    assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Short(300), 300)]);
    rig.finish();
}

#[test]
fn several_gets_take_the_data_in_turn() {
    let mut rig = announced();
    rig.expect(tag(1), 1, 0, 100);
    rig.arrive_pdu(&data_out(1, NONE, 0, 0, false), &bytes(100));
    rig.arrive_pdu(&data_out(1, NONE, 1, 100, true), &bytes(50));
    assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Ok, 100)]);
    rig.expect(tag(2), 1, 100, 50);
    assert_eq!(statuses(&rig.settle()), [(2, DataStatus::Ok, 50)]);
    rig.finish();
}

#[test]
fn an_empty_pdu_that_only_ends_the_data_is_not_held() {
    for before in [false, true] {
        let mut rig = announced();
        if !before {
            rig.expect(tag(1), 1, 0, 100);
            rig.arrive_pdu(&data_out(1, NONE, 0, 0, false), &bytes(100));
        }
        rig.arrive_pdu(&data_out(1, NONE, u32::from(!before), if before { 0 } else { 100 }, true), &[]);
        rig.arrive_pdu(&Bhs::new(Opcode::NOP_OUT), b"next");
        let events = rig.settle();
        assert!(matches!(events.last(), Some(Event::Control { data, .. }) if data == b"next"), "{events:?}");
        rig.expect(tag(2), 1, 100, 100);
        assert_eq!(statuses(&rig.settle()), [(2, DataStatus::Short(0), 0)], "it has ended");
        rig.finish();
    }
}

#[test]
fn a_get_for_data_nobody_announced_is_short_at_once() {
    let mut rig = Rig::enabled(&parameters());
    rig.arrive_pdu(&write_command(1, true), &[]);
    rig.settle();
    rig.expect(tag(1), 1, 0, 1000);
    assert!(rig.tcp.has_more());
    assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Short(0), 0)]);
    rig.finish();
}

#[test]
fn q_order_and_bounds_hold_for_unsolicited_data() {
    for (what, data_sn, offset, len) in
        [("DataSN", 1, 0, 100), ("gap", 0, 4, 100), ("beyond the get", 0, 0, 1001), ("wrap", 0, u32::MAX - 4000, 100)]
    {
        let mut rig = announced();
        rig.expect(tag(1), 1, 0, 1000);
        rig.arrive_pdu(&data_out(1, NONE, data_sn, offset, false), &bytes(len));
        let events = rig.settle();
        if what == "wrap" {
            assert_eq!(events, [Event::Violation(Violation::UnexpectedData)]);
        } else {
            assert_eq!(statuses(&events), [(1, DataStatus::SequenceError, 0)], "{what}");
            rig.arrive_pdu(&data_out(1, NONE, 1, 100, true), &bytes(10));
            assert_eq!(rig.settle(), []);
            assert_eq!(rig.tcp.stats().late, 1, "the rest of the task's data is discarded");
        }
        rig.finish();
    }
}

#[test]
fn q_unsolicited_data_is_a_violation_when_initial_r2t_is_yes() {
    let mut rig = Rig::enabled(&Parameters { initial_r2t: true, ..parameters() });
    rig.arrive_pdu(&write_command(1, false), &[]);
    assert_eq!(rig.settle().len(), 1);
    rig.arrive_pdu(&data_out(1, NONE, 0, 0, true), &bytes(10));
    assert_eq!(rig.settle(), [Event::Violation(Violation::UnexpectedData)]);
    rig.finish();
}

#[test]
fn q_unsolicited_data_beyond_the_first_burst_is_a_violation() {
    for (offset, len) in [(65_536, 1), (65_000, 537), (u32::MAX, 10)] {
        let mut rig = announced();
        rig.expect(tag(1), 1, 0, 65_536);
        rig.arrive_pdu(&data_out(1, NONE, 0, offset, true), &bytes(len));
        assert_eq!(rig.settle(), [Event::Violation(Violation::UnexpectedData)]);
        rig.finish();
    }
}

#[test]
fn held_data_is_discarded_once_its_task_is_answered() {
    let response = ScsiResponse { itt: 1, status: 2, ..ScsiResponse::default() }.encode();
    let management = TmfResponse { itt: 77, ..TmfResponse::default() }.encode();
    let reject = Reject::default().encode();
    let rejected = write_command(1, false).0;
    for (bhs, data) in [(response, &[][..]), (management, &[]), (reject, &rejected)] {
        let mut rig = announced();
        rig.arrive_pdu(&data_out(1, NONE, 0, 0, false), &bytes(20_000));
        rig.arrive_pdu(&data_out(1, NONE, 1, 20_000, true), &bytes(100));
        rig.arrive_pdu(&Bhs::new(Opcode::NOP_OUT), b"behind");
        assert_eq!(rig.settle(), []);
        rig.tcp.send_control(&bhs, data).unwrap();
        let events = rig.settle();
        assert!(matches!(&events[..], [Event::Control { data, .. }] if data == b"behind"), "{events:?}");
        assert_eq!(rig.tcp.stats().late, 2);
        rig.finish();
    }
}

#[test]
fn a_released_task_owes_nothing_and_its_tag_can_be_used_again() {
    let mut rig = announced();
    rig.expect(tag(1), 1, 0, 1000);
    rig.tcp.release_task(tag(1));
    rig.arrive_pdu(&data_out(1, NONE, 0, 0, false), &bytes(500));
    assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Released, 0)]);
    rig.arrive_pdu(&write_command(1, false), &[]);
    rig.settle();
    rig.expect(tag(2), 1, 0, 10);
    rig.arrive_pdu(&data_out(1, NONE, 0, 0, true), &bytes(10));
    assert_eq!(statuses(&rig.settle()), [(2, DataStatus::Ok, 10)]);
    rig.finish();
}

#[test]
fn q_a_guessed_transfer_tag_does_not_reach_an_unsolicited_transfer() {
    let mut rig = announced();
    rig.expect(tag(1), 1, 0, 10);
    // The tag its slot would have, had it been solicited.
    rig.arrive_pdu(&data_out(1, 0, 0, 0, true), &[0xEE; 10]);
    assert_eq!((rig.settle(), rig.tcp.stats().late), (vec![], 1));
    rig.arrive_pdu(&data_out(1, NONE, 0, 0, true), &bytes(10));
    assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Ok, 10)]);
    rig.finish();
}

#[test]
fn q_an_initiator_task_tag_in_use_keeps_its_owner() {
    let mut rig = announced();
    rig.expect(tag(1), 1, 0, 100);
    rig.arrive_pdu(&write_command(1, false), &[]);
    rig.arrive_pdu(&write_command(1, true), &[]);
    rig.arrive_pdu(&data_out(1, NONE, 0, 0, true), &bytes(100));
    assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Ok, 100)]);
    rig.finish();
}

#[test]
fn r1_more_announcements_than_are_remembered_end_as_late_data() {
    let mut rig = Rig::with(Limits { unsolicited: 2, ..Limits::default() });
    rig.enable(&parameters());
    for itt in 0..4 {
        rig.arrive_pdu(&write_command(itt, false), &[]);
    }
    assert_eq!(rig.settle().len(), 4);
    rig.expect(tag(3), 3, 0, 10);
    assert_eq!(statuses(&rig.settle()), [(3, DataStatus::Short(0), 0)]);
    rig.arrive_pdu(&data_out(3, NONE, 0, 0, true), &bytes(10));
    assert_eq!((rig.settle(), rig.tcp.stats().late), (vec![], 1));
    rig.finish();
}
