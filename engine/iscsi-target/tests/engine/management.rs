//! T2: task management in every phase of the tasks it is about (RFC 7143 §11.5, SAM-5 §7).

use crate::support::*;
use bdev::Op;
use iscsi::wire::{ScsiCommand, attribute, function, tmf_response};

const COMPLETE: u8 = tmf_response::FUNCTION_COMPLETE;
const NO_TASK: u8 = tmf_response::TASK_DOES_NOT_EXIST;

/// Aborts what `begin` began, by each function that reaches it, and sees that it is gone without an answer.
fn aborted(begin: impl Fn(&World, &mut Peer) -> u32) {
    let world = World::on_one_core();
    for how in [function::ABORT_TASK, function::ABORT_TASK_SET, function::CLEAR_TASK_SET, function::LOGICAL_UNIT_RESET]
    {
        let mut peer = world.log_in(GATED);
        let itt = begin(&world, &mut peer);
        assert_eq!(peer.manage(how, GATED, itt), COMPLETE, "function {how}");
        assert_eq!(peer.manage(function::ABORT_TASK, GATED, itt), NO_TASK);
        world.gate.clear();
        world.gate.resume_pending();
        peer.unit_attentions();
        peer.hears_only_a_ping();
        world.await_idle();
        assert_eq!(world.outstanding_buffers(), 0, "function {how}");
    }
}

#[test]
fn a_command_in_the_device_is_aborted() {
    aborted(|world, peer| {
        world.hold(Op::Read, 4);
        peer.begin_read(&read16(0, 1024), 512 << 10)
    });
    aborted(|world, peer| {
        world.hold(Op::Write, 1);
        let command = peer.write_command(&write16(0, 8), 4096);
        peer.issue(&command, &pattern(1, 4096))
    });
}

#[test]
fn a_write_whose_data_is_awaited_is_aborted() {
    aborted(|_, peer| {
        let itt = peer.begin_write(&write16(0, 1024), 512 << 10);
        peer.hear_r2t();
        itt
    });
    // Unsolicited data, announced and never sent.
    aborted(|_, peer| {
        let command = ScsiCommand { final_bit: false, ..peer.write_command(&write16(0, 128), 64 << 10) };
        peer.issue(&command, &pattern(1, 4096))
    });
}

#[test]
fn a_command_whose_parameters_are_awaited_is_aborted() {
    aborted(|_, peer| {
        let itt = peer.begin_write(&unmap(0, 8).0, 24);
        peer.hear_r2t();
        itt
    });
}

#[test]
fn a_command_blocked_by_order_is_aborted() {
    aborted(|world, peer| {
        world.hold(Op::Read, 1);
        let first = peer.begin_read(&read16(0, 1), 512);
        let ordered = ScsiCommand { attribute: attribute::ORDERED, ..peer.write_command(&write16(0, 8), 4096) };
        let blocked = peer.issue(&ordered, &pattern(1, 4096));
        assert_eq!(peer.manage(function::ABORT_TASK, GATED, blocked), COMPLETE);
        first
    });
    aborted(|world, peer| {
        // The one in front is aborted by itself; what it blocks goes on or goes too.
        world.hold(Op::Write, 1);
        let first = ScsiCommand { attribute: attribute::ORDERED, ..peer.write_command(&write16(0, 8), 4096) };
        peer.issue(&first, &pattern(1, 4096))
    });
}

#[test]
fn what_an_ordered_command_blocked_runs_when_that_is_aborted() {
    let world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    world.hold(Op::Read, 1);
    let ordered = ScsiCommand { attribute: attribute::ORDERED, ..peer.read_command(&read16(0, 1), 512) };
    let ordered = peer.issue(&ordered, &[]);
    let blocked = peer.begin_read(&read16(8, 1), 512);
    peer.hears_only_a_ping();
    assert_eq!(peer.manage(function::ABORT_TASK, GATED, ordered), COMPLETE);
    peer.finish(blocked, &[]).good();
}

#[test]
fn order_is_kept() {
    let world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    world.hold(Op::Read, 1);
    let first = peer.begin_read(&read16(0, 1), 512);
    let ordered = ScsiCommand { attribute: attribute::ORDERED, ..peer.command(&[0; 6]) };
    let ordered = peer.issue(&ordered, &[]);
    let last = peer.begin_read(&read16(8, 1), 512);
    let head = ScsiCommand { attribute: attribute::HEAD_OF_QUEUE, ..peer.command(&[0; 6]) };
    let head = peer.issue(&head, &[]);
    peer.finish(head, &[]).good();
    world.gate.resume_pending();
    for itt in [first, ordered, last] {
        peer.finish(itt, &[]).good();
    }
}

#[test]
fn blocked_writes_do_not_stop_the_stream() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    // The first one waits for data that comes behind the unsolicited data of the second, which waits for the first.
    let data = pattern(1, 64 << 10);
    for immediate in [0, 4096, 32 << 10] {
        let first = peer.begin_write(&write16(0, 128), data.len());
        let r2t = peer.hear_r2t();
        let second = ScsiCommand {
            attribute: attribute::ORDERED,
            final_bit: false,
            ..peer.write_command(&write16(64, 128), data.len() as u32)
        };
        let second = peer.issue(&second, &data[..immediate]);
        peer.volunteer(second, 0, immediate, &data[immediate..], true);
        peer.answer_r2t(&r2t, &data);
        peer.finish(first, &[]).good();
        peer.finish(second, &data).good();
        assert!(peer.read(&read16(64, 128), data.len()).good().data == data, "{immediate} bytes immediate");
    }
}

#[test]
fn held_writes_do_not_stop_the_stream() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    let data = pattern(2, 64 << 10);
    let missing = peer.cmd_sn.take();
    let command = ScsiCommand { final_bit: false, ..peer.write_command(&write16(0, 128), data.len() as u32) };
    let write = peer.issue(&command, &data[..20_480]);
    peer.volunteer(write, 0, 20_480, &data[20_480..], true);
    let next = std::mem::replace(&mut peer.cmd_sn, missing);
    let opener = peer.command(&[0; 6]);
    peer.issue(&opener, &[]);
    peer.cmd_sn = next;
    peer.finish(opener.itt, &[]).good();
    peer.finish(write, &data).good();
    assert!(peer.read(&read16(0, 128), data.len()).good().data == data);
}

#[test]
fn data_beyond_what_a_write_owes_does_not_stop_the_stream() {
    let world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    world.hold(Op::Write, 2);
    let data = pattern(1, 8192);
    let mut writes = Vec::new();
    for immediate in [4096, 512] {
        // More is announced (F=0) than there is left to send, and sent.
        let command = ScsiCommand { final_bit: false, ..peer.write_command(&write16(0, 8), 4096) };
        let itt = peer.issue(&command, &data[..immediate]);
        if immediate < 4096 {
            peer.volunteer(itt, 0, immediate, &data[immediate..4096], false);
        }
        peer.volunteer(itt, 1, 4096, &data[4096..], true);
        peer.hears_only_a_ping();
        writes.push(itt);
    }
    world.gate.resume_pending();
    writes.into_iter().for_each(|itt| drop(peer.finish(itt, &[]).good()));
}

#[test]
fn a_blocked_write_may_be_aborted_while_its_data_comes() {
    let world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    for function in [function::ABORT_TASK, function::ABORT_TASK_SET] {
        world.hold(Op::Read, 1);
        let first = peer.begin_read(&read16(0, 1), 512);
        let blocked = ScsiCommand {
            attribute: attribute::ORDERED,
            final_bit: false,
            ..peer.write_command(&write16(0, 128), 64 << 10)
        };
        let blocked = peer.issue(&blocked, &pattern(1, 512));
        peer.volunteer(blocked, 0, 512, &pattern(2, 8192), false);
        assert_eq!(peer.manage(function, GATED, blocked), COMPLETE);
        peer.volunteer(blocked, 1, 8704, &pattern(3, 8192), true);
        assert_eq!(peer.manage(function::ABORT_TASK, GATED, first), u8::from(function != function::ABORT_TASK));
        world.gate.resume_pending();
        peer.hears_only_a_ping();
        peer.no_data(&[0; 6]).good();
    }
}

#[test]
fn functions_about_nothing_say_so() {
    let world = World::on_one_core();
    let mut peer = world.log_in(DISK);
    for round in 0..2 {
        assert_eq!(peer.manage(function::ABORT_TASK, DISK, 4711 + round), NO_TASK);
        for how in [function::ABORT_TASK_SET, function::CLEAR_TASK_SET, function::LOGICAL_UNIT_RESET] {
            assert_eq!(peer.manage(how, 99, 0), tmf_response::LUN_DOES_NOT_EXIST);
        }
    }
    let next = peer.new_itt() + 1;
    assert_eq!(peer.manage(function::ABORT_TASK, DISK, next), NO_TASK, "a request does not abort itself");
    assert_eq!(peer.manage(function::TASK_REASSIGN, DISK, 1), tmf_response::REASSIGNMENT_NOT_SUPPORTED);
    for unknown in [0, function::CLEAR_ACA, function::QUERY_TASK, 13, 0x7F] {
        assert_eq!(peer.manage(unknown, DISK, 1), tmf_response::FUNCTION_NOT_SUPPORTED);
    }
    peer.no_data(&[0; 6]).good();
}

#[test]
fn the_same_function_twice_is_answered_twice() {
    let world = World::on_one_core();
    world.slow_down(std::time::Duration::from_millis(30));
    let mut peer = world.log_in(DELAYED);
    let read = peer.begin_read(&read16(0, 8), 4096);
    let first = peer.request(function::ABORT_TASK, DELAYED, read);
    let second = peer.request(function::ABORT_TASK, DELAYED, read);
    assert_eq!((peer.hear_managed(first), peer.hear_managed(second)), (COMPLETE, COMPLETE));
    peer.hears_only_a_ping();
}

#[test]
fn a_reset_reaches_the_nexuses_of_all_cores() {
    for tas in [false, true] {
        let world = World::on_two_cores();
        let mut asker = world.log_in(GATED);
        let mut other = world.log_in(GATED);
        let mut elsewhere = world.log_in(DISK);
        if !tas {
            // MODE SELECT(6): the Control mode page with TAS=0; the default is 1.
            let mut page = asker.read(&[0x1A, 0x08, 0x0A, 0, 255, 0], 255).data;
            (page[0], page[2], page[9]) = (0, 0, page[9] & !0x40);
            asker.write(&[0x15, 0x10, 0, 0, page.len() as u8, 0], &page).good();
            assert_eq!(other.unit_attentions(), [Sense(6, 0x2A, 0x01)]);
        }
        world.hold(Op::Read, 2);
        asker.begin_read(&read16(0, 1), 512);
        let hit = other.begin_read(&read16(1, 1), 512);
        other.hears_only_a_ping();
        assert_eq!(asker.manage(function::LOGICAL_UNIT_RESET, GATED, 0), COMPLETE);
        if tas {
            assert_eq!(other.finish(hit, &[]).status, 0x40, "TASK ABORTED");
        }
        for peer in [&mut asker, &mut other] {
            assert_eq!(peer.unit_attentions(), [Sense(6, 0x29, 0x03)]);
            peer.hears_only_a_ping();
        }
        assert_eq!(elsewhere.unit_attentions(), [], "another logical unit was not reset");
    }
}

#[test]
fn a_warm_reset_reaches_all_units() {
    let world = World::on_two_cores();
    let (mut asker, mut other) = (world.log_in(DISK), world.log_in(GATED));
    world.hold(Op::Read, 1);
    let hit = other.begin_read(&read16(0, 1), 512);
    other.hears_only_a_ping();
    assert_eq!(asker.manage(function::TARGET_WARM_RESET, 0, 0), COMPLETE);
    assert_eq!(other.finish(hit, &[]).status, 0x40, "TASK ABORTED");
    assert_eq!(asker.unit_attentions(), [Sense(6, 0x29, 0x02)]);
    assert_eq!(other.unit_attentions(), [Sense(6, 0x29, 0x02)]);
}

#[test]
fn a_cold_reset_ends_all_sessions() {
    let world = World::on_two_cores();
    let (mut asker, mut other) = (world.log_in(DISK), world.log_in(GATED));
    world.hold(Op::Read, 1);
    other.begin_read(&read16(0, 1), 512);
    other.hears_only_a_ping();
    assert_eq!(asker.manage(function::TARGET_COLD_RESET, 0, 0), COMPLETE);
    asker.hears_the_end();
    other.hears_the_end();
}

#[test]
fn resets_from_two_sides_meet() {
    let world = World::on_two_cores();
    let (mut a, mut b) = (world.log_in(DISK), world.log_in(DISK));
    for _ in 0..20 {
        a.begin_read(&read16(0, 8), 4096);
        let (x, y) =
            (a.request(function::LOGICAL_UNIT_RESET, DISK, 0), b.request(function::LOGICAL_UNIT_RESET, DISK, 0));
        for (peer, itt) in [(&mut a, x), (&mut b, y)] {
            while peer.hear().bhs.itt() != itt {}
        }
    }
    let _ = (a.unit_attentions(), b.unit_attentions());
}

#[test]
fn a_flood_of_functions_is_answered_one_by_one() {
    let world = World::on_one_core();
    let mut peer = world.log_in(GATED);
    world.hold(Op::Read, 1);
    let read = peer.begin_read(&read16(0, 1), 512);
    let count = 300;
    for n in 0..count {
        peer.request(function::ABORT_TASK, GATED, if n == count / 2 { read } else { 9_000_000 });
    }
    for _ in 0..count {
        peer.hear_a(iscsi::wire::Opcode::TMF_RESPONSE);
    }
    peer.hears_only_a_ping();
}
