//! The one table of supported commands: what each looks like, what it needs, what runs it. Dispatch and REPORT
//! SUPPORTED OPERATION CODES read nothing else.
//!
//! Rows are sorted by operation code and service action. A usage map has one byte for each of the CDB: the operation
//! code, the service action in its place, and ones for every bit that is evaluated (SPC-4). Bits that are zero
//! there do not change what a command does; a test holds every row to that.

use crate::cdb::Cdb;
use crate::nexus::{Nexus, NexusId};
use crate::opcodes::*;
use crate::plan::{Direction, Plan};
use crate::sense::Sense;
use crate::unit::{LogicalUnit, View};
use crate::{
    attention::UnitAttention, cache, capacity, inquiry, mode, prevent, read_write, report_luns, report_opcodes,
    report_tmf, request_sense, reserve, start_stop, unmap, verify, write_same,
};

/// Everything a command may look at while it is decided.
pub(crate) struct Call<'a> {
    pub view: View<'a>,
    pub nexus: &'a mut Nexus,
    pub cdb: Cdb<'a>,
    pub reply: &'a mut [u8],
}

/// What a command did to the unit on its home core.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    pub changed: bool,
    pub attention: Option<UnitAttention>,
    pub flush: bool,
}

pub(crate) type Decide = fn(&mut Call<'_>) -> Result<Plan, Sense>;
pub(crate) type Accept = fn(&LogicalUnit, Cdb<'_>, &[u8]) -> Result<Plan, Sense>;
pub(crate) type Apply = fn(&mut LogicalUnit, NexusId, Cdb<'_>, &[u8]) -> Result<Change, Sense>;

/// What a command does with the medium, and so which states of the unit refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing.
    None,
    /// Reads it, or asks if it could: a stopped unit refuses.
    Medium,
    /// Writes it: a stopped or write-protected unit refuses.
    Write,
}

/// When the command runs although another nexus holds the reservation (SPC-2; its annex B for block commands).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// Never.
    Conflict,
    /// Always.
    Allowed,
    /// When it allows removal.
    AllowingRemoval,
    /// When it starts the unit (START=1, POWER CONDITION=0).
    Starting,
}

/// What the medium must be able to do for the command to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    ThinProvisioning,
}

/// A supported command.
pub(crate) struct Command {
    pub name: &'static str,
    pub usage: &'static [u8],
    pub service_action: Option<u16>,
    pub direction: Direction,
    pub access: Access,
    pub reserved: Reserved,
    /// A pending unit attention does not stop it (SAM-5).
    pub ignores_attention: bool,
    pub needs: Needs,
    pub decide: Decide,
    /// What to do with the Data-Out parameters `decide` asked for.
    pub accept: Option<Accept>,
    /// What to do on the home core.
    pub apply: Option<Apply>,
}

impl Command {
    const fn new(name: &'static str, usage: &'static [u8], decide: Decide) -> Self {
        Self {
            name,
            usage,
            service_action: None,
            direction: Direction::None,
            access: Access::None,
            reserved: Reserved::Conflict,
            ignores_attention: false,
            needs: Needs::Nothing,
            decide,
            accept: None,
            apply: None,
        }
    }

    const fn service_action(mut self, service_action: u16) -> Self {
        self.service_action = Some(service_action);
        self
    }

    const fn data_in(mut self) -> Self {
        self.direction = Direction::In;
        self
    }

    const fn data_out(mut self) -> Self {
        self.direction = Direction::Out;
        self
    }

    const fn medium(mut self) -> Self {
        self.access = Access::Medium;
        self
    }

    const fn writes(mut self) -> Self {
        self.access = Access::Write;
        self
    }

    const fn reserved(mut self, reserved: Reserved) -> Self {
        self.reserved = reserved;
        self
    }

    const fn ignores_attention(mut self) -> Self {
        self.ignores_attention = true;
        self
    }

    const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    const fn accept(mut self, accept: Accept) -> Self {
        self.accept = Some(accept);
        self
    }

    const fn apply(mut self, apply: Apply) -> Self {
        self.apply = Some(apply);
        self
    }

    pub const fn opcode(&self) -> u8 {
        match self.usage {
            [opcode, ..] => *opcode,
            [] => 0,
        }
    }

    pub fn cdb_length(&self) -> usize {
        self.usage.len()
    }

    /// The unit has this command.
    pub fn exists_on(&self, lu: &LogicalUnit) -> bool {
        match self.needs {
            Needs::Nothing => true,
            Needs::ThinProvisioning => lu.medium.thin,
        }
    }

    /// The command runs although another nexus holds the reservation.
    pub fn passes_reservation(&self, cdb: Cdb<'_>) -> bool {
        match self.reserved {
            Reserved::Conflict => false,
            Reserved::Allowed => true,
            Reserved::AllowingRemoval => prevent::allows(cdb),
            Reserved::Starting => start_stop::starts(cdb),
        }
    }
}

/// Of the CONTROL byte NACA is evaluated.
const CONTROL: u8 = 0x04;

/// Usage of the CDBs that name a range of blocks: `flags` is byte 1.
const fn blocks_10(opcode: u8, flags: u8) -> [u8; 10] {
    [opcode, flags, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, CONTROL]
}

const fn blocks_12(opcode: u8, flags: u8) -> [u8; 12] {
    [opcode, flags, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, CONTROL]
}

const fn blocks_16(opcode: u8, flags: u8) -> [u8; 16] {
    let mut usage = [0xFF; 16];
    usage[0] = opcode;
    usage[1] = flags;
    usage[14] = 0;
    usage[15] = CONTROL;
    usage
}

/// Byte 1 of READ and WRITE: RDPROTECT or WRPROTECT, DPO, FUA.
const RW: u8 = 0xF8;
/// Byte 1 of VERIFY and WRITE AND VERIFY: VRPROTECT or WRPROTECT, DPO, BYTCHK.
const VERIFY: u8 = 0xF6;
/// Byte 1 of SYNCHRONIZE CACHE and PRE-FETCH: IMMED.
const IMMED: u8 = 0x02;

// The rest of SCSI has its place here by operation code: PERSISTENT RESERVE IN/OUT 5Eh/5Fh, COMPARE AND WRITE 89h, ...
pub(crate) static COMMANDS: &[Command] = &[
    Command::new("TEST UNIT READY", &[TEST_UNIT_READY, 0, 0, 0, 0, CONTROL], capacity::test_unit_ready).medium(),
    Command::new("REQUEST SENSE", &[REQUEST_SENSE, 0x01, 0, 0, 0xFF, CONTROL], request_sense::decide)
        .data_in()
        .reserved(Reserved::Allowed)
        .ignores_attention(),
    Command::new("READ (6)", &[READ_6, 0x1F, 0xFF, 0xFF, 0xFF, CONTROL], read_write::read_6).data_in().medium(),
    Command::new("WRITE (6)", &[WRITE_6, 0x1F, 0xFF, 0xFF, 0xFF, CONTROL], read_write::write_6).data_out().writes(),
    Command::new("INQUIRY", &[INQUIRY, 0x03, 0xFF, 0xFF, 0xFF, CONTROL], inquiry::decide)
        .data_in()
        .reserved(Reserved::Allowed)
        .ignores_attention(),
    Command::new("MODE SELECT (6)", &[MODE_SELECT_6, 0x13, 0, 0, 0xFF, CONTROL], mode::select::decide)
        .data_out()
        .accept(mode::select::accept)
        .apply(mode::select::apply),
    Command::new("RESERVE (6)", &[RESERVE_6, 0x1F, 0, 0, 0, CONTROL], reserve::decide_6).apply(reserve::reserve),
    Command::new("RELEASE (6)", &[RELEASE_6, 0x1F, 0, 0, 0, CONTROL], reserve::decide_6)
        .reserved(Reserved::Allowed)
        .apply(reserve::release),
    Command::new("MODE SENSE (6)", &[MODE_SENSE_6, 0x08, 0xFF, 0xFF, 0xFF, CONTROL], mode::sense::decide).data_in(),
    Command::new("START STOP UNIT", &[START_STOP_UNIT, 0, 0, 0, 0xF7, CONTROL], start_stop::decide)
        .reserved(Reserved::Starting)
        .apply(start_stop::apply),
    Command::new(
        "PREVENT ALLOW MEDIUM REMOVAL",
        &[PREVENT_ALLOW_MEDIUM_REMOVAL, 0, 0, 0, 0x03, CONTROL],
        prevent::decide,
    )
    .reserved(Reserved::AllowingRemoval),
    Command::new(
        "READ CAPACITY (10)",
        &[READ_CAPACITY_10, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0x01, CONTROL],
        capacity::read_capacity_10,
    )
    .data_in()
    .reserved(Reserved::Allowed),
    Command::new("READ (10)", &blocks_10(READ_10, RW), read_write::read).data_in().medium(),
    Command::new("WRITE (10)", &blocks_10(WRITE_10, RW), read_write::write).data_out().writes(),
    Command::new("WRITE AND VERIFY (10)", &blocks_10(WRITE_AND_VERIFY_10, VERIFY), verify::write_and_verify)
        .data_out()
        .writes(),
    Command::new("VERIFY (10)", &blocks_10(VERIFY_10, VERIFY), verify::verify).data_out().medium(),
    Command::new("PRE-FETCH (10)", &blocks_10(PRE_FETCH_10, IMMED), cache::prefetch).medium(),
    Command::new("SYNCHRONIZE CACHE (10)", &blocks_10(SYNCHRONIZE_CACHE_10, IMMED), cache::synchronize).medium(),
    Command::new("WRITE SAME (10)", &blocks_10(WRITE_SAME_10, 0xFE), write_same::decide_10).data_out().writes(),
    Command::new("UNMAP", &[UNMAP, 0x01, 0, 0, 0, 0, 0, 0xFF, 0xFF, CONTROL], unmap::decide)
        .data_out()
        .writes()
        .needs(Needs::ThinProvisioning)
        .accept(unmap::accept),
    Command::new("MODE SELECT (10)", &[MODE_SELECT_10, 0x13, 0, 0, 0, 0, 0, 0xFF, 0xFF, CONTROL], mode::select::decide)
        .data_out()
        .accept(mode::select::accept)
        .apply(mode::select::apply),
    Command::new("RESERVE (10)", &[RESERVE_10, 0x13, 0, 0, 0, 0, 0, 0, 0, CONTROL], reserve::decide_10)
        .apply(reserve::reserve),
    Command::new("RELEASE (10)", &[RELEASE_10, 0x13, 0, 0, 0, 0, 0, 0, 0, CONTROL], reserve::decide_10)
        .reserved(Reserved::Allowed)
        .apply(reserve::release),
    Command::new(
        "MODE SENSE (10)",
        &[MODE_SENSE_10, 0x18, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, CONTROL],
        mode::sense::decide,
    )
    .data_in(),
    Command::new("READ (16)", &blocks_16(READ_16, RW), read_write::read).data_in().medium(),
    Command::new("WRITE (16)", &blocks_16(WRITE_16, RW), read_write::write).data_out().writes(),
    Command::new("WRITE AND VERIFY (16)", &blocks_16(WRITE_AND_VERIFY_16, VERIFY), verify::write_and_verify)
        .data_out()
        .writes(),
    Command::new("VERIFY (16)", &blocks_16(VERIFY_16, VERIFY), verify::verify).data_out().medium(),
    Command::new("PRE-FETCH (16)", &blocks_16(PRE_FETCH_16, IMMED), cache::prefetch).medium(),
    Command::new("SYNCHRONIZE CACHE (16)", &blocks_16(SYNCHRONIZE_CACHE_16, IMMED), cache::synchronize).medium(),
    Command::new("WRITE SAME (16)", &blocks_16(WRITE_SAME_16, 0xF9), write_same::decide_16).data_out().writes(),
    Command::new(
        "READ CAPACITY (16)",
        &[
            SERVICE_ACTION_IN_16,
            0x10,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            1,
            CONTROL,
        ],
        capacity::read_capacity_16,
    )
    .service_action(READ_CAPACITY_16)
    .data_in()
    .reserved(Reserved::Allowed),
    Command::new(
        "REPORT LUNS",
        &[REPORT_LUNS, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CONTROL],
        report_luns::decide,
    )
    .data_in()
    .reserved(Reserved::Allowed)
    .ignores_attention(),
    Command::new(
        "REPORT SUPPORTED OPERATION CODES",
        &[MAINTENANCE_IN, 0x0C, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, CONTROL],
        report_opcodes::decide,
    )
    .service_action(REPORT_SUPPORTED_OPERATION_CODES)
    .data_in(),
    Command::new(
        "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
        &[MAINTENANCE_IN, 0x0D, 0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, CONTROL],
        report_tmf::decide,
    )
    .service_action(REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS)
    .data_in(),
    Command::new("READ (12)", &blocks_12(READ_12, RW), read_write::read).data_in().medium(),
    Command::new("WRITE (12)", &blocks_12(WRITE_12, RW), read_write::write).data_out().writes(),
    Command::new("WRITE AND VERIFY (12)", &blocks_12(WRITE_AND_VERIFY_12, VERIFY), verify::write_and_verify)
        .data_out()
        .writes(),
    Command::new("VERIFY (12)", &blocks_12(VERIFY_12, VERIFY), verify::verify).data_out().medium(),
];

/// Says that an operation code has no row.
const ABSENT: u8 = u8::MAX;

/// The first row of every operation code, so that finding a command takes one step.
static FIRST: [u8; 256] = first_rows();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses an index out of bounds")]
const fn first_rows() -> [u8; 256] {
    assert!(COMMANDS.len() < ABSENT as usize);
    let mut first = [ABSENT; 256];
    let mut row = COMMANDS.len();
    while row > 0 {
        row -= 1;
        first[COMMANDS[row].opcode() as usize] = row as u8;
    }
    first
}

/// The rows of an operation code: none, one, or one for each service action.
pub(crate) fn rows(opcode: u8) -> &'static [Command] {
    let first = FIRST.get(usize::from(opcode)).copied().unwrap_or(ABSENT);
    let from_first = COMMANDS.get(usize::from(first)..).unwrap_or_default();
    let count = from_first.iter().take_while(|command| command.opcode() == opcode).count();
    from_first.get(..count).unwrap_or_default()
}

/// The command a CDB asks for.
///
/// # Errors
/// INVALID COMMAND OPERATION CODE, or INVALID FIELD IN CDB for an unknown service action.
#[inline]
pub(crate) fn find(lu: &LogicalUnit, cdb: Cdb<'_>) -> Result<&'static Command, Sense> {
    let first = FIRST.get(usize::from(cdb.opcode())).copied().unwrap_or(ABSENT);
    let command = match COMMANDS.get(usize::from(first)).ok_or(Sense::INVALID_OPERATION_CODE)? {
        command if command.service_action.is_none() => command,
        _ => rows(cdb.opcode())
            .iter()
            .find(|command| command.service_action == Some(cdb.service_action()))
            .ok_or(Sense::cdb_bit(1, 4))?,
    };
    if command.exists_on(lu) { Ok(command) } else { Err(Sense::INVALID_OPERATION_CODE) }
}
