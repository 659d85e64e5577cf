//! Commands to a LUN that has no logical unit (SAM-5): the few that are answered all the same, and the REPORT
//! LUNS well known logical unit, which exists only for them.

use crate::cdb::Cdb;
use crate::inquiry::{self, Peripheral};
use crate::lun::Lun;
use crate::opcodes;
use crate::plan::Plan;
use crate::report_luns;
use crate::request_sense;
use crate::sense::Sense;
use crate::status::Outcome;

/// Answers a command to `lun` when the session has no logical unit there; `luns` are those it has, for REPORT LUNS.
///
/// An unknown LUN answers INQUIRY with peripheral qualifier 011b, REQUEST SENSE and everything else with LOGICAL UNIT
/// NOT SUPPORTED. `reply` is scratch of at least [`crate::limits::REPLY`] bytes.
#[must_use]
pub fn execute_without_lu(lun: Lun, luns: &[Lun], cdb: &[u8], reply: &mut [u8]) -> Plan {
    let cdb = Cdb(cdb);
    let well_known = lun == Lun::REPORT_LUNS;
    let decided = match cdb.opcode() {
        opcodes::INQUIRY => {
            inquiry::without_lu(if well_known { Peripheral::WellKnown } else { Peripheral::Absent }, cdb, reply)
        }
        opcodes::REPORT_LUNS => report_luns::report(luns, cdb, reply),
        opcodes::REQUEST_SENSE => {
            request_sense::report(if well_known { Sense::NONE } else { Sense::LOGICAL_UNIT_NOT_SUPPORTED }, cdb, reply)
        }
        opcodes::TEST_UNIT_READY if well_known => Ok(Plan::Done(Outcome::GOOD)),
        _ if well_known => Err(Sense::INVALID_OPERATION_CODE),
        _ => Err(Sense::LOGICAL_UNIT_NOT_SUPPORTED),
    };
    decided.unwrap_or_else(|sense| Plan::Done(sense.into()))
}
