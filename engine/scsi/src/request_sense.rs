//! REQUEST SENSE (SPC-4): autosense has delivered the sense of commands, so this tells what is pending.

use crate::cdb::Cdb;
use crate::plan::Plan;
use crate::sense::{Sense, SenseFormat};
use crate::status::Outcome;
use crate::table::Call;

/// A pending unit attention is returned as parameter data and is told by that; else the state of the unit.
pub(crate) fn decide(call: &mut Call<'_>) -> Result<Plan, Sense> {
    let sense = match call.nexus.take() {
        Some(attention) => attention.sense(),
        None if call.view.lu.stopped => Sense::INITIALIZING_COMMAND_REQUIRED,
        None => Sense::NONE,
    };
    report(sense, call.cdb, call.reply)
}

/// Returns `sense` in the format the DESC bit asks for.
pub(crate) fn report(sense: Sense, cdb: Cdb<'_>, reply: &mut [u8]) -> Result<Plan, Sense> {
    let format = if cdb.bit(1, 0) { SenseFormat::Descriptor } else { SenseFormat::Fixed };
    let len = sense.encode(format, reply).min(usize::from(cdb.byte(4)));
    Ok(Plan::Reply { len, outcome: Outcome::GOOD })
}
