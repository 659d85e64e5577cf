//! Tests of the device server as a whole: an initiator's view of one logical unit.

mod absent;
mod attention;
mod blocks;
mod capacity;
mod commands;
mod home;
mod inquiry;
mod mode_select;
mod mode_sense;
mod report;
mod reservation;
mod unmap;

use crate::*;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

/// What reply buffers are filled with, to find bytes that were counted and not written.
const POISON: u8 = 0xDB;
const BLOCKS: u64 = 10_000;
const ME: NexusId = NexusId(1);
const OTHER: NexusId = NexusId(2);

fn identity() -> Identity {
    Identity {
        vendor: *b"ISERE   ",
        product: *b"malloc disk     ",
        revision: *b"0001",
        serial: "S0123456789".to_string(),
        naa: [0x30, 1, 2, 3, 4, 5, 6, 7],
        uuid: [0xA5; 16],
        target_name: "iqn.2024-01.org.example:disk0".to_string(),
        relative_target_port: 3,
        portal_group_tag: 0x01AF,
    }
}

fn medium() -> Medium {
    Medium {
        block_size: 512,
        blocks: BLOCKS,
        physical_block_exponent: 3,
        write_cache: true,
        read_only: false,
        thin: true,
        unmap_zeroes: true,
        unmap_granularity: 8,
        unmap_alignment: 0,
        optimal_transfer: 128,
        max_transfer: 2048,
        max_unmap_blocks: 5_000,
        max_unmap_descriptors: 16,
        max_write_same: 4_096,
        rotation_rate: 1,
    }
}

/// One initiator and one logical unit, all on one core.
struct Host {
    lu: LogicalUnit,
    nexus: Nexus,
    luns: Vec<Lun>,
    reply: Vec<u8>,
}

impl Host {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Medium)) -> Self {
        let mut medium = medium();
        change(&mut medium);
        Self {
            lu: LogicalUnit::new(identity(), medium).unwrap(),
            nexus: Nexus::new(ME),
            luns: vec![Lun::from_number(0), Lun::from_number(300)],
            reply: vec![POISON; limits::REPLY],
        }
    }

    fn run(&mut self, cdb: &[u8]) -> Plan {
        self.reply.fill(POISON);
        execute(View { lu: &self.lu, luns: &self.luns }, &mut self.nexus, cdb, &mut self.reply)
    }

    /// The parameter data of a command that must succeed.
    fn data(&mut self, cdb: &[u8]) -> Vec<u8> {
        match self.run(cdb) {
            Plan::Reply { len, outcome: Outcome::GOOD } => self.reply[..len].to_vec(),
            plan => panic!("{cdb:02x?}: {plan:?}"),
        }
    }

    /// The sense of a command that must fail with CHECK CONDITION.
    fn sense(&mut self, cdb: &[u8]) -> Sense {
        failure(self.run(cdb))
    }

    fn block(&mut self, cdb: &[u8]) -> BlockOp {
        match self.run(cdb) {
            Plan::Block(op) => op,
            plan => panic!("{cdb:02x?}: {plan:?}"),
        }
    }

    /// A command with a parameter list, up to the plan that follows it.
    fn with_list(&mut self, cdb: &[u8], list: &[u8]) -> Plan {
        match self.run(cdb) {
            Plan::Parameters { len } => {
                assert!(len <= limits::PARAMETERS);
                parameters(&self.lu, cdb, &list[..len.min(list.len())])
            }
            plan => plan,
        }
    }

    fn home(&mut self, from: NexusId, cdb: &[u8], data: &[u8]) -> HomeOutcome {
        at_home(&mut self.lu, from, cdb, data)
    }
}

fn failure(plan: Plan) -> Sense {
    match plan {
        Plan::Done(Outcome { status: Status::CheckCondition, sense: Some(sense) }) => sense,
        plan => panic!("expected CHECK CONDITION: {plan:?}"),
    }
}

/// The CDB of a command on a range of blocks, in the layout of its group; `flags` is byte 1.
fn on_blocks(opcode: u8, flags: u8, lba: u64, blocks: u32) -> Vec<u8> {
    let [a, b, c, d] = (lba as u32).to_be_bytes();
    let [l0, l1, l2, l3] = blocks.to_be_bytes();
    match opcode >> 5 {
        0 => vec![opcode, b, c, d, l3, 0],
        4 => {
            let mut cdb = vec![opcode, flags];
            cdb.extend(lba.to_be_bytes());
            cdb.extend([l0, l1, l2, l3, 0, 0]);
            cdb
        }
        5 => vec![opcode, flags, a, b, c, d, l0, l1, l2, l3, 0, 0],
        _ => vec![opcode, flags, a, b, c, d, 0, l2, l3, 0],
    }
}

/// A CDB that every supported command takes without complaint, made from its usage map.
fn minimal(command: &table::Command) -> Vec<u8> {
    let mut cdb = vec![0; command.cdb_length()];
    cdb[0] = command.opcode();
    if let Some(action) = command.service_action {
        cdb[1] = action as u8;
    }
    cdb
}
