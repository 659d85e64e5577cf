//! Q: CmdSN, StatSN, DataSN and tags that are not what they should be (RFC 7143 §4.2.2, §7.9).

use crate::support::*;
use initiator::raw::Pdu;
use iscsi::wire::{
    Bhs, DataIn, DataOut, NopOut, Opcode, RESERVED_TAG, ScsiCommand, TmfRequest, function, reject_reason,
};
use primitives::Serial;

const TEST_UNIT_READY: [u8; 6] = [0; 6];

/// ITTs of the next `n` answers, in the order they come.
fn next_answers(peer: &mut Peer, n: usize) -> Vec<u32> {
    let ends = |pdu: &Pdu| pdu.bhs.opcode() != Opcode::DATA_IN || DataIn::decode(&pdu.bhs).has_status;
    let mut order = Vec::new();
    while order.len() < n {
        let pdu = peer.hear();
        if ends(&pdu) {
            order.push(pdu.bhs.itt());
        }
    }
    order
}

/// Holds back the next command and sends `places` behind it; returns the CmdSN that is missing and their ITTs.
fn leave_a_gap(peer: &mut Peer, places: u32) -> (Serial, Vec<u32>) {
    let missing = peer.cmd_sn;
    let behind = |place| {
        let command = ScsiCommand { cmd_sn: missing.plus(place), ..peer.command(&TEST_UNIT_READY) };
        peer.issue(&command, &[])
    };
    let itts = (1..=places).map(behind).collect();
    peer.cmd_sn = missing;
    peer.hears_only_a_ping();
    (missing, itts)
}

#[test]
fn commands_outside_the_window_are_as_if_never_sent() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let now = peer.cmd_sn;
    for wrong in [now.minus(1), now.minus(1000), now.plus(64), now.plus(1 << 31), now.plus(u32::MAX / 2)] {
        let mut command = peer.command(&TEST_UNIT_READY);
        command.cmd_sn = wrong;
        peer.issue(&command, &[]);
        peer.hears_only_a_ping();
    }
    peer.cmd_sn = now;
    peer.no_data(&TEST_UNIT_READY).good();
}

#[test]
fn a_dropped_write_takes_its_data_with_it() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let mut stray = peer.write_command(&write16(0, 128), 64 << 10);
    (stray.cmd_sn, stray.final_bit) = (peer.cmd_sn.plus(1000), false);
    let itt = peer.issue(&stray, &pattern(1, 8192));
    peer.volunteer(itt, 0, 8192, &pattern(2, 56 << 10), true);
    peer.cmd_sn = peer.cmd_sn.minus(1);
    peer.hears_only_a_ping();
    assert!(peer.read(&read16(0, 128), 64 << 10).good().data.iter().all(|byte| *byte == 0), "it was written");
}

#[test]
fn a_duplicate_is_executed_once() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let command = peer.command(&TEST_UNIT_READY);
    let itt = peer.issue(&command, &[]);
    peer.finish(itt, &[]).good();
    peer.issue(&command, &[]);
    peer.hears_only_a_ping();
}

#[test]
fn held_commands_run_in_order_once_the_gap_closes() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let (missing, mut itts) = leave_a_gap(&mut peer, 3);
    let duplicate = ScsiCommand { cmd_sn: missing.plus(2), ..peer.command(&TEST_UNIT_READY) };
    peer.issue(&duplicate, &[]);
    peer.cmd_sn = missing;
    let opener = peer.command(&TEST_UNIT_READY);
    itts.insert(0, peer.issue(&opener, &[]));
    assert_eq!(next_answers(&mut peer, 4), itts);
    peer.hears_only_a_ping();
}

#[test]
fn a_ping_may_close_the_gap() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let (first, held) = leave_a_gap(&mut peer, 2);
    let nop = NopOut { itt: 70, ttt: RESERVED_TAG, cmd_sn: first, ..NopOut::default() };
    peer.send(&nop.encode(), &[]).unwrap();
    assert_eq!(next_answers(&mut peer, 3), [70, held[0], held[1]]);
    peer.cmd_sn = first.plus(3);
    peer.no_data(&TEST_UNIT_READY).good();
}

#[test]
fn a_rejected_command_may_close_the_gap() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let (first, held) = leave_a_gap(&mut peer, 2);
    // F=0 without W: contradicts itself.
    let bad = ScsiCommand { final_bit: false, ..peer.command(&TEST_UNIT_READY) };
    peer.issue(&bad, &[]);
    assert_eq!(peer.hear_reject(), reject_reason::INVALID_PDU_FIELD);
    assert_eq!(next_answers(&mut peer, 2), held);
    peer.cmd_sn = first.plus(3);
    peer.no_data(&TEST_UNIT_READY).good();
}

#[test]
fn an_abort_of_what_never_came_closes_the_gap() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let (first, held) = leave_a_gap(&mut peer, 2);
    // RFC 7143 §11.5.1 case b: the missing command counts as received.
    let itt = peer.new_itt();
    let request = TmfRequest {
        immediate: true,
        function: function::ABORT_TASK,
        itt,
        referenced_task_tag: 0xABCD,
        cmd_sn: first.plus(3),
        ref_cmd_sn: first,
        ..TmfRequest::default()
    };
    peer.send(&request.encode(), &[]).unwrap();
    assert_eq!(peer.hear_managed(itt), 0);
    assert_eq!(next_answers(&mut peer, 2), held);
    peer.cmd_sn = first.plus(3);
    peer.no_data(&TEST_UNIT_READY).good();
}

#[test]
fn what_was_aborted_before_it_came_is_never_executed() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let first = peer.cmd_sn;
    let last = ScsiCommand { cmd_sn: first.plus(2), ..peer.command(&TEST_UNIT_READY) };
    peer.issue(&last, &[]);
    let itt = peer.new_itt();
    let request = TmfRequest {
        immediate: true,
        function: function::ABORT_TASK,
        itt,
        referenced_task_tag: 0xABCD,
        cmd_sn: first.plus(3),
        ref_cmd_sn: first.plus(1),
        ..TmfRequest::default()
    };
    peer.send(&request.encode(), &[]).unwrap();
    assert_eq!(peer.hear_managed(itt), 0);
    let late = ScsiCommand { itt: 0xABCD, cmd_sn: first.plus(1), ..peer.command(&TEST_UNIT_READY) };
    peer.issue(&late, &[]);
    let opener = ScsiCommand { cmd_sn: first, ..peer.command(&TEST_UNIT_READY) };
    peer.issue(&opener, &[]);
    assert_eq!(next_answers(&mut peer, 2), [opener.itt, last.itt]);
    peer.issue(&late, &[]);
    peer.cmd_sn = first.plus(3);
    peer.no_data(&TEST_UNIT_READY).good();
    peer.hears_only_a_ping();
}

#[test]
fn an_aborted_held_command_leaves_no_gap() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    for scope in [function::ABORT_TASK, function::ABORT_TASK_SET] {
        let (first, held) = leave_a_gap(&mut peer, 3);
        assert_eq!(peer.manage(scope, DISK, held[1]), 0);
        let opener = peer.no_data(&TEST_UNIT_READY);
        opener.good();
        if scope == function::ABORT_TASK {
            assert_eq!(next_answers(&mut peer, 2), [held[0], held[2]]);
        }
        peer.cmd_sn = first.plus(4);
        peer.no_data(&TEST_UNIT_READY).good();
        peer.hears_only_a_ping();
    }
}

#[test]
fn cmd_sn_wraps() {
    let world = World::on_one_core();
    let mut peer = world.connect();
    let text = format!("InitiatorName={ADMIN}\0TargetName={}\0", ROOMS[0]);
    let login = iscsi::wire::LoginRequest {
        transit: true,
        csg: 1,
        nsg: 3,
        isid: [0x80, 9, 9, 9, 9, 9],
        itt: 1,
        cmd_sn: Serial(u32::MAX - 2),
        exp_stat_sn: Serial(u32::MAX - 1),
        ..iscsi::wire::LoginRequest::default()
    };
    peer.send(&login.encode(), text.as_bytes()).unwrap();
    assert_eq!(peer.hear_a(Opcode::LOGIN_RESPONSE).bhs.0[36], 0);
    peer.cmd_sn = Serial(u32::MAX - 2);
    for _ in 0..8 {
        let itt = peer.begin_read(&read16(0, 1), 512);
        peer.finish(itt, &[]).good();
    }
    assert_eq!(peer.cmd_sn, Serial(5));
    peer.cmd_sn = Serial(4);
    let stale = peer.command(&TEST_UNIT_READY);
    peer.issue(&stale, &[]);
    peer.hears_only_a_ping();
}

#[test]
fn immediate_commands_are_limited_and_the_rest_rejected() {
    let world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    world.hold(bdev::Op::Read, 16);
    let immediate = |peer: &mut Peer| {
        let command = ScsiCommand { immediate: true, ..peer.read_command(&read16(0, 1), 512) };
        peer.cmd_sn = peer.cmd_sn.minus(1);
        peer.issue(&command, &[])
    };
    let mut waiting: Vec<u32> = (0..16).map(|_| immediate(&mut peer)).collect();
    for _ in 0..20 {
        immediate(&mut peer);
        assert_eq!(peer.hear_reject(), reject_reason::TOO_MANY_IMMEDIATE_COMMANDS);
    }
    peer.no_data(&TEST_UNIT_READY).good();
    world.gate.resume_pending();
    let mut ended = next_answers(&mut peer, 16);
    waiting.sort_unstable();
    ended.sort_unstable();
    assert_eq!(waiting, ended);
    let again = immediate(&mut peer);
    peer.finish(again, &[]).good();
}

#[test]
fn any_exp_stat_sn_is_borne() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    for wrong in [0, 1, 0x7FFF_FFFF, 0x8000_0000, u32::MAX] {
        peer.exp_stat_sn = peer.exp_stat_sn.plus(wrong);
        peer.no_data(&TEST_UNIT_READY).good();
    }
}

#[test]
fn stat_sn_counts_answers_without_a_gap() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let mut expected = peer.exp_stat_sn;
    for round in 0..40 {
        match round % 4 {
            0 => drop(peer.begin_read(&read16(0, 1), 512)),
            1 => drop(peer.send_ping(&[])),
            2 => peer.send(&bare(0x3F), &[]).unwrap(),
            _ => drop(peer.request(function::QUERY_TASK, DISK, 1)),
        }
        let pdu = peer.hear();
        assert_eq!(pdu.bhs.stat_sn(), expected, "{pdu:?}");
        expected = expected.plus(1);
    }
}

/// A write of 64 KiB whose first R2T has arrived.
fn solicited(peer: &mut Peer) -> (u32, DataOut) {
    let itt = peer.begin_write(&write16(0, 128), 64 << 10);
    let r2t = peer.hear_r2t();
    assert_eq!((r2t.itt, r2t.buffer_offset, r2t.desired_length), (itt, 0, 64 << 10));
    (itt, DataOut { itt, ttt: r2t.ttt, lun: r2t.lun, exp_stat_sn: peer.exp_stat_sn, ..DataOut::default() })
}

fn breaks_the_sequence(wrong: impl FnOnce(&mut DataOut), len: usize) {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let (itt, mut out) = solicited(&mut peer);
    wrong(&mut out);
    peer.send(&out.encode(), &pattern(3, len)).unwrap();
    peer.finish(itt, &[]).fails_with(0x0B, 0x0C, 0x0D);
    // What still comes for the transfer is passed over, and the next one works.
    peer.send(&out.encode(), &pattern(3, len)).unwrap();
    peer.hears_only_a_ping();
    let data = pattern(4, 64 << 10);
    peer.write(&write16(0, 128), &data).good();
    assert!(peer.read(&read16(0, 128), 64 << 10).good().data == data);
}

#[test]
fn a_data_sn_that_skips_fails_the_task() {
    breaks_the_sequence(|out| out.data_sn = Serial(1), 4096);
}

#[test]
fn a_data_sn_that_repeats_fails_the_task() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let (itt, mut out) = solicited(&mut peer);
    peer.send(&out.encode(), &pattern(3, 4096)).unwrap();
    out.buffer_offset = 4096;
    peer.send(&out.encode(), &pattern(3, 4096)).unwrap();
    peer.finish(itt, &[]).fails_with(0x0B, 0x0C, 0x0D);
}

#[test]
fn data_out_of_order_fails_the_task() {
    breaks_the_sequence(|out| out.buffer_offset = 4096, 4096);
}

#[test]
fn an_offset_that_wraps_fails_the_task() {
    breaks_the_sequence(|out| out.buffer_offset = u32::MAX - 100, 4096);
}

#[test]
fn data_beyond_what_was_asked_for_fails_the_task() {
    breaks_the_sequence(|out| out.final_bit = true, 68 << 10);
}

#[test]
fn a_final_bit_too_early_fails_the_task() {
    breaks_the_sequence(|out| out.final_bit = true, 4096);
}

#[test]
fn data_for_another_task_under_this_tag_fails_the_task() {
    breaks_the_sequence(|out| out.itt = out.itt.wrapping_add(1), 4096);
}

#[test]
fn transfer_tags_that_name_nothing_are_passed_over() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let (itt, good) = solicited(&mut peer);
    // Another generation of the same slot, slots never used.
    for ttt in [good.ttt ^ 0x400, good.ttt.wrapping_add(1 << 20), good.ttt ^ 1] {
        peer.send(&DataOut { ttt, ..good }.encode(), &pattern(9, 512)).unwrap();
    }
    let data = pattern(5, 64 << 10);
    peer.send(&DataOut { final_bit: true, ..good }.encode(), &data).unwrap();
    peer.finish(itt, &[]).good();
    // The tag is spent now.
    peer.send(&DataOut { final_bit: true, ..good }.encode(), &pattern(6, 64 << 10)).unwrap();
    assert!(peer.read(&read16(0, 128), 64 << 10).good().data == data);
}

#[test]
fn a_transfer_tag_that_cannot_exist_ends_the_connection() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    peer.send(&DataOut { ttt: 0x3FF, ..DataOut::default() }.encode(), &[1; 512]).unwrap();
    peer.hears_the_end();
}

#[test]
fn another_connection_s_transfer_tag_is_worth_nothing() {
    let world = World::on_one_core();
    let (mut victim, mut thief) = (world.log_in(DISK), world.log_in(DISK));
    let (itt, good) = solicited(&mut victim);
    thief.send(&DataOut { final_bit: true, ..good }.encode(), &pattern(66, 64 << 10)).unwrap();
    thief.hears_only_a_ping();
    let data = pattern(5, 64 << 10);
    victim.send(&DataOut { final_bit: true, ..good }.encode(), &data).unwrap();
    victim.finish(itt, &[]).good();
    assert!(victim.read(&read16(0, 128), 64 << 10).good().data == data);
}

#[test]
fn data_for_reads_and_finished_tasks_is_passed_over() {
    let world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    world.hold(bdev::Op::Read, 1);
    let read = peer.begin_read(&read16(0, 1), 512);
    peer.volunteer(read, 0, 0, &[1; 512], true);
    let write = peer.write(&write16(0, 1), &[2; 512]).good();
    assert_eq!(write.residual, 0);
    peer.volunteer(read.wrapping_add(1), 0, 0, &[3; 512], true);
    peer.hears_only_a_ping();
    world.gate.resume_pending();
    peer.finish(read, &[]).good();
}

#[test]
fn unsolicited_data_that_was_ruled_out_ends_the_connection() {
    let world = World::on_one_core();
    let mut peer = world.log_in_with(DISK, |options| options.initial_r2t = true);
    let itt = peer.begin_write(&write16(0, 128), 64 << 10);
    peer.volunteer(itt, 0, 0, &[1; 512], true);
    peer.hears_the_end();
}

#[test]
fn unsolicited_data_beyond_the_first_burst_ends_the_connection() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let burst = peer.agreed().first_burst;
    let mut command = peer.write_command(&write16(0, 1024), 512 << 10);
    command.final_bit = false;
    let itt = peer.issue(&command, &[]);
    peer.volunteer(itt, 0, burst as usize, &[1; 512], true);
    peer.hears_the_end();
}

#[test]
fn an_itt_in_use_is_rejected_and_the_task_goes_on() {
    let world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    world.hold(bdev::Op::Read, 1);
    let itt = peer.begin_read(&read16(0, 1), 512);
    let again = ScsiCommand { itt, ..peer.read_command(&read16(8, 1), 512) };
    peer.issue(&again, &[]);
    assert_eq!(peer.hear_reject(), reject_reason::TASK_IN_PROGRESS);
    world.gate.resume_pending();
    peer.finish(itt, &[]).good();
    peer.no_data(&TEST_UNIT_READY).good();
}

#[test]
fn the_reserved_tag_names_no_task() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let command = ScsiCommand { itt: RESERVED_TAG, ..peer.command(&TEST_UNIT_READY) };
    peer.issue(&command, &[]);
    assert_eq!(peer.hear_reject(), reject_reason::INVALID_PDU_FIELD);
    peer.no_data(&TEST_UNIT_READY).good();
}

#[test]
fn a_rejected_pdu_comes_back_in_the_reject() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let mut odd = bare(0x1F);
    odd.0[40..48].copy_from_slice(b"fingerp!");
    peer.send(&odd, &[]).unwrap();
    let reject = peer.hear_a(Opcode::REJECT);
    assert_eq!(Bhs::from_slice(&reject.data).unwrap(), odd);
}
