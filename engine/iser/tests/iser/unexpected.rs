//! PDUs the initiator does not expect (RFC 7145 §5.1.3, §8.1.2).
use crate::rig::{Options, Rig, parameters};
use iscsi::datamover::{Advertised, Datamover, Later};
use iscsi::negotiate::Parameters;
use iscsi::wire::{AsyncMessage, Bhs, NopIn, NopOut, Opcode, RESERVED_TAG, Reject, ScsiCommand};
use primitives::Serial;

fn event(stat_sn: u32) -> Bhs {
    AsyncMessage { stat_sn: Serial(stat_sn), ..AsyncMessage::default() }.encode()
}

fn ping(stat_sn: u32, ttt: u32) -> Bhs {
    NopIn { itt: RESERVED_TAG, ttt, stat_sn: Serial(stat_sn), ..NopIn::default() }.encode()
}

/// The initiator says something, ExpStatSN included.
fn says(rig: &mut Rig, exp_stat_sn: u32, ttt: u32) {
    let nop = NopOut { itt: RESERVED_TAG, ttt, exp_stat_sn: Serial(exp_stat_sn), ..NopOut::default() };
    rig.peer.send(&nop.encode(), &[], Advertised::default());
    rig.settle();
}

fn limited(declared: u32) -> Rig {
    let mut rig = Rig::new(Options::default());
    let parameters = Parameters { initiator_max_outstanding_unexpected_pdus: declared, ..parameters() };
    rig.mover.enable(&parameters);
    rig
}

#[test]
fn nothing_unexpected_is_sent_before_the_initiator_spoke_in_full_feature_phase() {
    let mut rig = limited(0);
    assert_eq!(rig.mover.send_control(&ping(1, 1), &[]), Err(Later));
    assert_eq!(rig.mover.send_control(&event(1), &[]), Err(Later));
    let answer = NopIn { itt: 3, ttt: RESERVED_TAG, ..NopIn::default() };
    assert_eq!(rig.mover.send_control(&answer.encode(), &[]), Ok(()), "an answer is expected");
    says(&mut rig, 1, RESERVED_TAG);
    assert_eq!(rig.mover.send_control(&ping(1, 1), &[]), Ok(()));
    rig.finish();

    let mut rig = limited(0);
    rig.mover.end_quiet();
    assert_eq!(rig.mover.send_control(&event(1), &[]), Ok(()), "it is quiet for too long");
    rig.finish();
}

#[test]
fn what_came_before_full_feature_phase_does_not_count() {
    let mut rig = Rig::new(Options::default());
    says(&mut rig, 1, RESERVED_TAG);
    rig.mover.enable(&parameters());
    assert_eq!(rig.mover.send_control(&event(1), &[]), Err(Later));
    rig.finish();
}

#[test]
fn no_more_are_outstanding_than_the_initiator_declared() {
    for (declared, most) in [(0, 4), (2, 2), (3, 3), (4, 4), (100, 4)] {
        let mut rig = limited(declared);
        says(&mut rig, 1, RESERVED_TAG);
        // The last place is kept for a ping.
        let events = (0..10).filter(|i| rig.mover.send_control(&event(1 + i), &[]).is_ok()).count();
        assert_eq!(events, most - 1, "{declared}");
        assert_eq!(rig.mover.send_control(&ping(most as u32, 7), &[]), Ok(()));
        assert_eq!(rig.mover.send_control(&ping(most as u32, 8), &[]), Err(Later));
        // The answer to the ping retires the ping, and ExpStatSN what came before.
        says(&mut rig, most as u32, 7);
        let events = (0..10).filter(|i| rig.mover.send_control(&event(10 + i), &[]).is_ok()).count();
        assert_eq!(events, most - 1);
        rig.finish();
    }
}

#[test]
fn a_command_acknowledges_like_any_other_request() {
    let mut rig = limited(2);
    for round in 1..4 {
        // From the second of them on a command is looked at no more than it has to be.
        for _ in 0..3 {
            let command = ScsiCommand { exp_stat_sn: Serial(round), ..ScsiCommand::default() };
            rig.peer.send(&command.encode(), &[], Advertised::default());
            assert_eq!(rig.settle().len(), 1);
        }
        assert_eq!(rig.mover.send_control(&event(round), &[]), Ok(()), "the one before is acknowledged");
        assert_eq!(rig.mover.send_control(&event(round), &[]), Err(Later));
    }
    rig.finish();
}

#[test]
fn a_ping_is_retired_by_its_answer_alone() {
    let mut rig = limited(2);
    says(&mut rig, 1, RESERVED_TAG);
    for ttt in [5, 6] {
        rig.mover.send_control(&ping(1, ttt), &[]).unwrap();
    }
    assert_eq!(rig.mover.send_control(&ping(1, 7), &[]), Err(Later));
    says(&mut rig, 1, 99);
    assert_eq!(rig.mover.send_control(&ping(1, 7), &[]), Err(Later), "an answer to no ping");
    says(&mut rig, 1, 6);
    assert_eq!(rig.mover.send_control(&ping(1, 7), &[]), Ok(()));
    rig.finish();
}

#[test]
fn the_reject_of_a_request_takes_the_place_of_its_response() {
    let mut rig = limited(2);
    says(&mut rig, 1, RESERVED_TAG);
    let reject = Reject { stat_sn: Serial(1), ..Reject::default() }.encode();
    for _ in 0..5 {
        rig.mover.send_control(&reject, Bhs::new(Opcode::TEXT_REQUEST).as_bytes()).unwrap();
        rig.settle();
    }
    for opcode in [Opcode::DATA_OUT, Opcode::SNACK_REQUEST] {
        assert_eq!(rig.mover.send_control(&reject, Bhs::new(opcode).as_bytes()).is_ok(), opcode == Opcode::DATA_OUT);
    }
    rig.finish();
}
