//! Unsolicited data (RFC 7143 §4.2.5.2, RFC 7145 §7.3.4): Data-Out in Sends, announced by a command without F.
use crate::rig::{LUN, Options, Rig, Seen, bytes, parameters, statuses, tag};
use iscsi::datamover::{Advertised, DataStatus, Datamover, Violation};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, DataOut, NopOut, RESERVED_TAG, Reject, ScsiCommand, ScsiResponse, TmfResponse};

const NONE: Advertised = Advertised { write: None, read: None };

fn data_out(itt: u32, data_sn: u32, offset: u32, final_bit: bool) -> Bhs {
    let data_sn = primitives::Serial(data_sn);
    DataOut { final_bit, lun: LUN, itt, ttt: RESERVED_TAG, data_sn, buffer_offset: offset, ..DataOut::default() }
        .encode()
}

fn command(itt: u32, final_bit: bool) -> Bhs {
    ScsiCommand { itt, write: true, final_bit, edtl: 65_536, ..ScsiCommand::default() }.encode()
}

fn nop(rig: &mut Rig) {
    rig.peer.send(&NopOut { itt: 9, ..NopOut::default() }.encode(), b"next", NONE);
}

fn is_nop(seen: &Seen) -> bool {
    matches!(seen, Seen::Control { data, .. } if data == b"next")
}

fn unsolicited(options: Options) -> Rig {
    let mut rig = Rig::new(options);
    rig.mover.enable(&Parameters { initial_r2t: false, ..parameters() });
    rig
}

/// A rig whose initiator announced unsolicited data for task 1.
pub fn announced(options: Options) -> Rig {
    let mut rig = unsolicited(options);
    rig.peer.send(&command(1, false), &[], NONE);
    assert_eq!(rig.settle().len(), 1);
    rig
}

#[test]
fn announced_data_fills_the_get_behind_the_immediate_data() {
    for options in Options::kinds() {
        let mut rig = unsolicited(options);
        rig.peer.send(&command(1, false), &bytes(4096), NONE);
        rig.settle();
        rig.expect(tag(1), 1, 4096, 12_000);
        let data = bytes(12_000);
        rig.peer.send(&data_out(1, 0, 4096, false), &data[..8192], NONE);
        rig.peer.send(&data_out(1, 1, 12_288, true), &data[8192..], NONE);
        assert_eq!(rig.settle(), [Seen::Done { tag: tag(1), bytes: data, status: DataStatus::Ok }]);
        assert_eq!(rig.mover.stats().bytes_in, 12_000);
        rig.finish();
    }
}

#[test]
fn data_that_is_ahead_of_its_get_waits_with_what_is_behind_it() {
    for options in Options::kinds() {
        let mut rig = unsolicited(options);
        rig.peer.send(&command(1, false), &[], NONE);
        rig.peer.send(&data_out(1, 0, 0, true), &bytes(100), NONE);
        nop(&mut rig);
        assert_eq!(rig.settle().len(), 1, "only the command");
        rig.expect(tag(1), 1, 0, 100);
        assert!(rig.mover.has_more());
        let seen = rig.drain();
        assert_eq!(statuses(&seen), [(1, DataStatus::Ok)]);
        assert!(is_nop(&seen[1]));
        rig.finish();
    }
}

#[test]
fn what_waits_goes_on_when_the_data_is_not_wanted() {
    let ways: [fn(&mut Rig); 4] = [
        |rig| rig.mover.refuse_unsolicited(1),
        |rig| {
            let response = ScsiResponse { itt: 1, ..ScsiResponse::default() };
            rig.mover.send_response(&response.encode(), &[], &NONE).unwrap();
        },
        |rig| rig.mover.send_control(&Reject::default().encode(), command(1, false).as_bytes()).unwrap(),
        |rig| {
            rig.expect(tag(1), 1, 0, 100);
            rig.mover.release_task(tag(1));
        },
    ];
    for (i, way) in ways.into_iter().enumerate() {
        let mut rig = announced(Options::default());
        rig.peer.send(&data_out(1, 0, 0, true), &bytes(100), NONE);
        nop(&mut rig);
        assert_eq!(rig.settle(), []);
        // The end of other tasks changes nothing: the data could not be asked for in another way.
        rig.mover.send_control(&TmfResponse::default().encode(), &[]).unwrap();
        assert_eq!(rig.settle(), []);
        way(&mut rig);
        let seen = rig.settle();
        assert!(matches!(seen.last(), Some(nop) if is_nop(nop)), "{i}: {seen:?}");
        assert_eq!(rig.mover.stats().late, 1, "{i}");
        rig.finish();
    }
}

#[test]
fn an_early_end_is_short_and_several_gets_take_the_data_in_turn() {
    let mut rig = announced(Options::default());
    rig.expect(tag(1), 1, 0, 100);
    rig.peer.send(&data_out(1, 0, 0, false), &bytes(100), NONE);
    assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Ok)]);
    rig.expect(tag(2), 1, 100, 1000);
    rig.peer.send(&data_out(1, 1, 100, true), &bytes(50), NONE);
    assert_eq!(rig.settle(), [Seen::Done { tag: tag(2), bytes: bytes(50), status: DataStatus::Short(50) }]);
    rig.expect(tag(3), 1, 150, 10);
    assert_eq!(statuses(&rig.settle()), [(3, DataStatus::Short(0))], "nothing is owed any more");
    rig.finish();
}

#[test]
fn an_empty_pdu_that_only_ends_the_data_is_not_held() {
    let mut rig = announced(Options::default());
    rig.peer.send(&data_out(1, 0, 0, true), &[], NONE);
    nop(&mut rig);
    assert!(matches!(&rig.settle()[..], [nop] if is_nop(nop)));
    rig.expect(tag(2), 1, 0, 100);
    assert_eq!(statuses(&rig.settle()), [(2, DataStatus::Short(0))]);
    rig.finish();
}

#[test]
fn a_get_for_data_nobody_announced_is_short_at_once() {
    let mut rig = unsolicited(Options::default());
    rig.peer.send(&command(1, true), &[], NONE);
    rig.settle();
    rig.expect(tag(1), 1, 0, 1000);
    assert_eq!(statuses(&rig.drain()), [(1, DataStatus::Short(0))]);
    rig.finish();
}

#[test]
fn q_order_and_bounds_hold_for_unsolicited_data() {
    let wrong = [("DataSN", 1, 0, 1000), ("a gap", 0, 4, 996), ("beyond the get", 0, 0, 1001), ("again", 0, 100, 900)];
    for (what, data_sn, offset, len) in wrong {
        let mut rig = announced(Options::default());
        rig.expect(tag(1), 1, 0, 1000);
        if what == "again" {
            rig.peer.send(&data_out(1, 0, 0, false), &bytes(100), NONE);
        }
        rig.peer.send(&data_out(1, data_sn, offset, false), &bytes(len), NONE);
        rig.peer.send(&data_out(1, data_sn + 1, offset, true), &bytes(100), NONE);
        nop(&mut rig);
        let seen = rig.settle();
        assert_eq!(statuses(&seen), [(1, DataStatus::SequenceError)], "{what}");
        assert!(is_nop(&seen[1]), "what still comes for it is discarded");
        rig.finish();
    }
}

#[test]
fn data_that_can_belong_to_nothing_is_a_violation() {
    let burst = parameters().first_burst;
    let with_ttt = |ttt: u32| {
        let mut bhs = data_out(1, 0, 0, true);
        bhs.0[20..24].copy_from_slice(&ttt.to_be_bytes());
        bhs
    };
    let wrong = [data_out(1, 0, burst, true), data_out(1, 0, u32::MAX - 50, true), with_ttt(0), with_ttt(0xFFFF_FFFE)];
    for bhs in wrong {
        let mut rig = announced(Options::default());
        rig.expect(tag(1), 1, 0, 1000);
        rig.peer.send(&bhs, &bytes(100), NONE);
        assert_eq!(rig.settle(), [Seen::Violation(Violation::UnexpectedData)], "{bhs:?}");
        rig.mover.terminate(false);
        assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Released)]);
        rig.finish();
    }
}

#[test]
fn without_leave_to_send_it_unsolicited_data_is_a_violation() {
    for enabled in [false, true] {
        let mut rig = if enabled { Rig::enabled(Options::default()) } else { Rig::new(Options::default()) };
        rig.peer.send(&command(1, false), &[], NONE);
        rig.peer.send(&data_out(1, 0, 0, true), &bytes(100), NONE);
        assert_eq!(rig.settle()[1..], [Seen::Violation(Violation::UnexpectedData)]);
        rig.finish();
    }
}

#[test]
fn data_of_no_task_is_late() {
    let mut rig = unsolicited(Options::default());
    rig.peer.send(&data_out(77, 0, 0, true), &bytes(100), NONE);
    nop(&mut rig);
    assert!(matches!(&rig.settle()[..], [nop] if is_nop(nop)));
    assert_eq!(rig.mover.stats().late, 1);
    rig.finish();
}

#[test]
fn r1_more_tasks_than_the_table_holds() {
    let options = Options::default();
    let limits = iser::Limits { unsolicited: 2, ..options.limits };
    let mut rig = unsolicited(Options { limits, ..options });
    for itt in 0..4 {
        rig.peer.send(&command(itt, false), &[], NONE);
    }
    // The reserved tag names no task, and a tag in use keeps its owner.
    rig.peer.send(&command(RESERVED_TAG, false), &[], NONE);
    rig.peer.send(&command(1, false), &[], NONE);
    assert_eq!(rig.settle().len(), 6);
    for itt in 0..4 {
        rig.expect(tag(itt as u16), itt, 0, 100);
    }
    assert_eq!(statuses(&rig.drain()), [(2, DataStatus::Short(0)), (3, DataStatus::Short(0))]);
    for itt in 0..4 {
        rig.peer.send(&data_out(itt, 0, 0, true), &bytes(100), NONE);
    }
    assert_eq!(statuses(&rig.settle()), [(0, DataStatus::Ok), (1, DataStatus::Ok)]);
    rig.finish();
}
