//! The table: every operation code, every bit of every CDB, and that dispatch and RSOC agree.

use super::*;
use crate::table::COMMANDS;

const MAINTENANCE_IN: u8 = opcodes::MAINTENANCE_IN;

#[test]
fn rows_are_sorted_and_whole() {
    let keys: Vec<_> = COMMANDS.iter().map(|c| (c.opcode(), c.service_action)).collect();
    assert!(keys.is_sorted_by(|a, b| a < b));
    for command in COMMANDS {
        let length = match command.opcode() >> 5 {
            0 => 6,
            1 | 2 => 10,
            4 => 16,
            5 => 12,
            group => panic!("group {group}"),
        };
        assert_eq!(command.cdb_length(), length, "{}", command.name);
        assert_eq!(command.usage[length - 1], 0x04, "{}: CONTROL", command.name);
        if let Some(action) = command.service_action {
            assert_eq!(command.usage[1] & 0x1F, action as u8, "{}", command.name);
        }
        assert!(table::rows(command.opcode()).iter().any(|c| c.name == command.name));
    }
}

/// Every operation code with every service action and every bit pattern of a small set: no panic, lengths within
/// bounds, and ILLEGAL REQUEST exactly for what the table does not have.
#[test]
fn every_opcode_and_service_action_is_sane() {
    for thin in [false, true] {
        let mut host = Host::with(|medium| medium.thin = thin);
        for opcode in 0..=255u8 {
            for byte_1 in 0..=255u8 {
                for fill in [0x00, 0x01, 0x7F, 0xFB] {
                    let mut cdb = [fill; 16];
                    (cdb[0], cdb[1]) = (opcode, byte_1);
                    check_sane(&mut host, &cdb);
                    for length in 0..16 {
                        check_sane(&mut host, &cdb[..length]);
                    }
                }
            }
        }
    }
}

fn check_sane(host: &mut Host, cdb: &[u8]) {
    let known = table::find(&host.lu, cdb::Cdb(cdb));
    match host.run(cdb) {
        Plan::Reply { len, outcome } => {
            assert!(known.is_ok() && len <= host.reply.len() && outcome.is_good());
        }
        Plan::Parameters { len } => {
            assert!(known.unwrap().accept.is_some() && (1..=limits::PARAMETERS).contains(&len));
            for data in [&[][..], &[0; 4], &[0xFF; limits::PARAMETERS][..len]] {
                let _ = parameters(&host.lu, cdb, data);
            }
        }
        Plan::Home => assert!(known.unwrap().apply.is_some()),
        Plan::Block(op) => {
            assert!(op.blocks > 0 && op.lba + op.blocks <= BLOCKS, "{cdb:02x?}: {op:?}");
        }
        Plan::Done(outcome) => {
            assert_eq!(outcome.sense.is_some(), outcome.status == Status::CheckCondition);
            if let Err(sense) = known {
                assert_eq!(outcome, sense.into());
            }
        }
    }
    let generation = host.lu.generation;
    let mut lu = host.lu.clone();
    let home = at_home(&mut lu, ME, cdb, &[0; 8]);
    assert_eq!(lu.generation != generation, home.changed);
    assert_eq!(lu == host.lu, !home.changed);
}

#[test]
fn what_does_not_exist_is_refused_with_the_right_sense() {
    let mut host = Host::new();
    for opcode in (0..=255).filter(|&opcode| table::rows(opcode).is_empty()) {
        assert_eq!(host.sense(&[opcode; 16]), Sense::INVALID_OPERATION_CODE);
    }
    for (opcode, known) in [(opcodes::SERVICE_ACTION_IN_16, &[0x10][..]), (MAINTENANCE_IN, &[0x0C, 0x0D])] {
        for action in (0..32).filter(|action| !known.contains(action)) {
            let mut cdb = [0; 16];
            (cdb[0], cdb[1]) = (opcode, action);
            assert_eq!(host.sense(&cdb), Sense::cdb_bit(1, 4));
        }
    }
    host.lu.medium.thin = false;
    assert_eq!(host.sense(&[opcodes::UNMAP, 0, 0, 0, 0, 0, 0, 0, 8, 0]), Sense::INVALID_OPERATION_CODE);
}

#[test]
fn short_cdbs_and_aca_are_refused() {
    let mut host = Host::new();
    for command in COMMANDS {
        let mut cdb = minimal(command);
        let last = cdb.len() - 1;
        // A CDB too short for its service action asks for one that does not exist.
        let first = if command.service_action.is_some() { 2 } else { 1 };
        for length in first..cdb.len() {
            assert_eq!(host.sense(&cdb[..length]), Sense::cdb_byte(length as u16), "{}", command.name);
        }
        cdb[last] = 0x04;
        assert_eq!(host.sense(&cdb), Sense::cdb_bit(last as u16, 2), "{}", command.name);
        // Vendor bits and the obsolete FLAG and LINK are ignored.
        cdb[last] = 0xC3;
        assert_ne!(host.run(&cdb), Plan::Done(Sense::cdb_bit(last as u16, 2).into()));
    }
}

/// A bit that the usage map does not have changes nothing, from several starting points.
#[test]
fn bits_outside_the_usage_map_are_ignored() {
    let mut host = Host::new();
    for command in COMMANDS {
        for fill in [0x00, 0x01, 0x10, 0xFF] {
            let mut cdb: Vec<u8> = command.usage.iter().map(|usage| usage & fill).collect();
            let last = cdb.len() - 1;
            cdb[0] = command.opcode();
            cdb[last] = 0;
            if let Some(action) = command.service_action {
                cdb[1] = action as u8;
            }
            let plan = host.run(&cdb);
            let reply = host.reply.clone();
            for byte in 1..cdb.len() {
                for bit in 0..8 {
                    let service_action = byte == 1 && bit < 5 && command.service_action.is_some();
                    if command.usage[byte] >> bit & 1 == 1 || service_action {
                        continue;
                    }
                    cdb[byte] ^= 1 << bit;
                    assert_eq!(host.run(&cdb), plan, "{} byte {byte} bit {bit}", command.name);
                    assert_eq!(host.reply, reply, "{} byte {byte} bit {bit}", command.name);
                    cdb[byte] ^= 1 << bit;
                }
            }
        }
    }
}

fn rsoc(options: u8, opcode: u8, action: u16) -> [u8; 12] {
    let [hi, lo] = action.to_be_bytes();
    [MAINTENANCE_IN, 0x0C, options, opcode, hi, lo, 0, 0, 0x10, 0, 0, 0]
}

#[test]
fn rsoc_lists_exactly_what_dispatch_runs() {
    for thin in [false, true] {
        let mut host = Host::with(|medium| medium.thin = thin);
        let data = host.data(&rsoc(0, 0, 0));
        assert_eq!(data[..4], (data.len() as u32 - 4).to_be_bytes());
        let mut listed = Vec::new();
        for entry in data[4..].chunks_exact(8) {
            let action = u16::from_be_bytes([entry[2], entry[3]]);
            let servactv = entry[5] & 1 == 1;
            assert!(entry[1] == 0 && entry[4] == 0 && entry[5] & !1 == 0 && (servactv || action == 0));
            listed.push((entry[0], servactv.then_some(action), u16::from_be_bytes([entry[6], entry[7]])));
        }
        for opcode in 0..=255u8 {
            for action in 0..32u16 {
                let mut cdb = [0u8; 16];
                (cdb[0], cdb[1]) = (opcode, action as u8);
                let found = table::find(&host.lu, cdb::Cdb(&cdb)).ok();
                let entry = listed.iter().find(|e| e.0 == opcode && e.1.is_none_or(|sa| sa == action));
                assert_eq!(found.map(|c| c.cdb_length() as u16), entry.map(|e| e.2), "{opcode:#x}/{action:#x}");
            }
        }
    }
}

#[test]
fn rsoc_with_timeouts_adds_a_descriptor_to_each() {
    let mut host = Host::new();
    let data = host.data(&rsoc(0x80, 0, 0));
    assert_eq!(data.len(), 4 + 20 * COMMANDS.len());
    for entry in data[4..].chunks_exact(20) {
        assert_eq!((entry[5] & 0x02, &entry[8..10]), (0x02, &[0, 0x0A][..]));
    }
}

#[test]
fn rsoc_of_one_command_gives_its_usage() {
    let mut host = Host::new();
    for command in COMMANDS {
        let opcode = command.opcode();
        let (right, wrong, action) = match command.service_action {
            Some(action) => (2, 1, action),
            None => (1, 2, 0),
        };
        for options in [right, 3, right | 0x80] {
            let data = host.data(&rsoc(options, opcode, action));
            let ctdp = options & 0x80;
            assert_eq!(data[..2], [0, ctdp | 0x03], "{}", command.name);
            assert_eq!(usize::from(data[3]), command.cdb_length());
            assert_eq!(&data[4..4 + command.cdb_length()], command.usage);
            assert_eq!(data.len(), 4 + command.cdb_length() + if ctdp != 0 { 12 } else { 0 });
        }
        assert_eq!(host.sense(&rsoc(wrong, opcode, action)), Sense::cdb_byte(3), "{}", command.name);
    }
}

#[test]
fn rsoc_says_what_is_not_supported() {
    let mut host = Host::new();
    for (options, opcode, action) in
        [(1, 0xFF, 0), (2, 0xFF, 3), (3, 0xFF, 0), (2, MAINTENANCE_IN, 0x1F), (3, MAINTENANCE_IN, 1), (3, 0x28, 1)]
    {
        assert_eq!(host.data(&rsoc(options, opcode, action)), [0, 1, 0, 0]);
    }
    for options in 4..8 {
        assert_eq!(host.sense(&rsoc(options, 0x28, 0)), Sense::cdb_bit(2, 2));
    }
    host.lu.medium.thin = false;
    assert_eq!(host.data(&rsoc(1, opcodes::UNMAP, 0)), [0, 1, 0, 0]);
}

#[test]
fn direction_and_name_come_from_the_table() {
    assert_eq!(direction(&[0x28]), Some(Direction::In));
    assert_eq!(direction(&[0x8A]), Some(Direction::Out));
    assert_eq!(direction(&[0x00]), Some(Direction::None));
    assert_eq!(name(&[0x9E, 0x10]), Some("READ CAPACITY (16)"));
    assert_eq!((name(&[0x9E, 0x11]), direction(&[0xFF]), name(&[])), (None, None, Some("TEST UNIT READY")));
}

/// What a command hands back stays small: plans are moved on the data path.
#[test]
fn a_plan_is_small() {
    assert!(core::mem::size_of::<Plan>() <= 48, "{}", core::mem::size_of::<Plan>());
    assert!(core::mem::size_of::<BlockOp>() <= 32);
}
