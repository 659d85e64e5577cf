//! The way of a command through the device server: found in the table, checked against the state of unit and nexus,
//! run by its handler.

use crate::cdb::Cdb;
use crate::limits;
use crate::nexus::{Nexus, NexusId};
use crate::plan::{Direction, HomeOutcome, Plan};
use crate::sense::Sense;
use crate::status::Outcome;
use crate::table::{self, Access, Call, Change, Command};
use crate::unit::{LogicalUnit, View};

/// Decides the command `cdb` of `nexus` against this core's copy of the unit.
///
/// `reply` is scratch of at least [`limits::REPLY`] bytes for parameter data. Of several reasons to refuse a command
/// the first in this order is reported (SAM-5): RESERVATION CONFLICT, a pending unit attention, a fault
/// in the CDB, a stopped unit, write protection.
#[must_use]
pub fn execute(view: View<'_>, nexus: &mut Nexus, cdb: &[u8], reply: &mut [u8]) -> Plan {
    debug_assert!(reply.len() >= limits::REPLY, "the reply buffer is smaller than limits::REPLY");
    let cdb = Cdb(cdb);
    let found = table::find(view.lu, cdb);
    if view.lu.reserved_by_other(nexus.id()) && found.is_ok_and(|command| !command.passes_reservation(cdb)) {
        return Plan::Done(Outcome::RESERVATION_CONFLICT);
    }
    if nexus.pending().is_some() && !found.is_ok_and(|command| command.ignores_attention) {
        return Plan::Done(nexus.take().map_or(Outcome::GOOD, |attention| attention.sense().into()));
    }
    found
        .and_then(|command| {
            check_cdb(command, cdb)?;
            check_state(command, view.lu)?;
            (command.decide)(&mut Call { view, nexus, cdb, reply })
        })
        .unwrap_or_else(refused)
}

/// Goes on with a command whose Data-Out parameters [`execute`] asked for: `data` is what was fetched. `lu` may be a
/// newer copy than the one `execute` saw.
#[must_use]
pub fn parameters(lu: &LogicalUnit, cdb: &[u8], data: &[u8]) -> Plan {
    let cdb = Cdb(cdb);
    table::find(lu, cdb)
        .and_then(|command| {
            check_state(command, lu)?;
            let accept = command.accept.ok_or(Sense::INVALID_OPERATION_CODE)?;
            accept(lu, cdb, data)
        })
        .unwrap_or_else(refused)
}

/// Runs a command that changes the unit, on the unit's home core and against the truth: another core may have changed
/// it since this one's copy was made, so reservations and parameters are checked again.
#[must_use]
pub fn at_home(lu: &mut LogicalUnit, nexus: NexusId, cdb: &[u8], data: &[u8]) -> HomeOutcome {
    let cdb = Cdb(cdb);
    let unchanged = |outcome| HomeOutcome { outcome, changed: false, attention: None, flush: false };
    let command = match table::find(lu, cdb) {
        Ok(command) => command,
        Err(sense) => return unchanged(sense.into()),
    };
    if lu.reserved_by_other(nexus) && !command.passes_reservation(cdb) {
        return unchanged(Outcome::RESERVATION_CONFLICT);
    }
    let Some(apply) = command.apply else {
        return unchanged(Sense::INVALID_OPERATION_CODE.into());
    };
    match apply(lu, nexus, cdb, data) {
        Ok(Change { changed, attention, flush }) => {
            if changed {
                lu.touch();
            }
            HomeOutcome { outcome: Outcome::GOOD, changed, attention, flush }
        }
        Err(sense) => unchanged(sense.into()),
    }
}

/// Which way `cdb` may move data; `None` for a command no unit has.
#[must_use]
pub fn direction(cdb: &[u8]) -> Option<Direction> {
    known(Cdb(cdb)).map(|command| command.direction)
}

/// The standard's name of the command `cdb`, for logs; `None` for a command no unit has.
#[must_use]
pub fn name(cdb: &[u8]) -> Option<&'static str> {
    known(Cdb(cdb)).map(|command| command.name)
}

fn known(cdb: Cdb<'_>) -> Option<&'static Command> {
    table::rows(cdb.opcode())
        .iter()
        .find(|command| command.service_action.is_none_or(|action| action == cdb.service_action()))
}

fn refused(sense: Sense) -> Plan {
    Plan::Done(Outcome::check(sense))
}

/// The CDB is whole and does not ask for ACA (NormACA is 0, so NACA=1 is INVALID FIELD IN CDB, SAM-5).
#[inline]
fn check_cdb(command: &Command, cdb: Cdb<'_>) -> Result<(), Sense> {
    const NACA: u8 = 2;
    let length = command.cdb_length();
    let at = |byte: usize| u16::try_from(byte).unwrap_or(u16::MAX);
    if cdb.0.len() < length {
        return Err(Sense::cdb_byte(at(cdb.0.len())));
    }
    let control = length.saturating_sub(1);
    if cdb.bit(control, NACA) { Err(Sense::cdb_bit(at(control), NACA)) } else { Ok(()) }
}

#[inline]
fn check_state(command: &Command, lu: &LogicalUnit) -> Result<(), Sense> {
    if command.access == Access::None {
        return Ok(());
    }
    if lu.stopped {
        return Err(Sense::INITIALIZING_COMMAND_REQUIRED);
    }
    match lu.write_protect() {
        Some(sense) if command.access == Access::Write => Err(sense),
        _ => Ok(()),
    }
}
