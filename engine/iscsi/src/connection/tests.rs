use super::*;
use crate::login::Authenticated;
use crate::wire::{ScsiResponse, TmfRequest, function, tmf_response};

fn full(exp_cmd_sn: u32, stat_sn: u32) -> FullFeature {
    let keepalive = Keepalive::new(0, 0, 0);
    let parameters = Parameters::default();
    FullFeature::new(Authenticated::for_tests(), parameters, Serial(exp_cmd_sn), Serial(stat_sn), 4, 8, keepalive)
}

#[test]
fn a_status_takes_a_number_and_a_ping_only_shows_it() {
    let mut full = full(7, u32::MAX);
    let ping = full.nop_ping(1);
    assert_eq!(ping.stat_sn(), Serial(u32::MAX));
    let first = full.scsi_response(1, 0, Residual::default(), 0, 0);
    let second = full.nop_answer(2, [0; 8], 5);
    assert_eq!((first.stat_sn(), second.stat_sn()), (Serial(u32::MAX), Serial(0)));
    assert_eq!((first.exp_cmd_sn(), first.max_cmd_sn()), (Serial(7), Serial(10)));
    assert_eq!(second.data_segment_length(), 5);
    full.return_numbers();
    assert_eq!(full.numbers().stat_sn, Serial(0));
}

#[test]
fn residuals_say_which_way_and_how_much() {
    let cases = [(512, 512, 0, 0), (512, 0, 512, 0x02), (0, 512, 512, 0x04), (100, 1 << 40, u32::MAX, 0x04)];
    for (expected, actual, count, flags) in cases {
        let residual = Residual::new(expected, actual);
        assert_eq!((residual.count, residual.flags()), (count, flags), "{expected} {actual}");
        let bhs = full(1, 1).scsi_response(1, 0, residual, 0, 0);
        let response = ScsiResponse::decode(&bhs);
        assert_eq!((response.overflow, response.underflow), (flags == 0x04, flags == 0x02));
        assert_eq!(response.residual, count);
    }
}

#[test]
fn abort_task_has_three_answers() {
    let mut full = full(10, 1);
    assert!(full.tasks.insert(5, 3));
    let abort = |itt, reference, cmd_sn| TmfRequest {
        function: function::ABORT_TASK,
        referenced_task_tag: itt,
        ref_cmd_sn: Serial(reference),
        cmd_sn: Serial(cmd_sn),
        ..TmfRequest::default()
    };
    assert_eq!(full.task_management(&abort(5, 9, 10)), TaskManagement::Abort(Affected::Task(3)));
    let gone = TaskManagement::Answer(tmf_response::TASK_DOES_NOT_EXIST);
    assert_eq!(full.task_management(&abort(6, 9, 10)), gone, "below the window");
    assert_eq!(full.task_management(&abort(6, 12, 12)), gone, "not before the request itself");
    assert_eq!(full.task_management(&abort(6, 10, 11)), TaskManagement::Forestall(Serial(10)), "it never came");
}

#[test]
fn functions_reach_what_they_say() {
    let full = full(1, 1);
    let ask = |function| full.task_management(&TmfRequest { function, ..TmfRequest::default() });
    assert_eq!(ask(function::ABORT_TASK_SET), TaskManagement::Abort(Affected::NexusTaskSet));
    assert_eq!(ask(function::CLEAR_TASK_SET), TaskManagement::Abort(Affected::NexusTaskSet));
    assert_eq!(ask(function::LOGICAL_UNIT_RESET), TaskManagement::Abort(Affected::LogicalUnit));
    assert_eq!(ask(function::TARGET_WARM_RESET), TaskManagement::Abort(Affected::Target { cold: false }));
    assert_eq!(ask(function::TARGET_COLD_RESET), TaskManagement::Abort(Affected::Target { cold: true }));
    assert_eq!(ask(function::TASK_REASSIGN), TaskManagement::Answer(tmf_response::REASSIGNMENT_NOT_SUPPORTED));
    for function in [0, function::CLEAR_ACA, function::QUERY_TASK, 13, 127] {
        assert_eq!(ask(function), TaskManagement::Answer(tmf_response::FUNCTION_NOT_SUPPORTED), "{function}");
    }
}
