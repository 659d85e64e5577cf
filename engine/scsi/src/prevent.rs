//! PREVENT ALLOW MEDIUM REMOVAL (SBC-3). The medium cannot be removed (RMB is 0), so what the initiator wishes is
//! kept with its nexus and binds nobody else.

use crate::cdb::Cdb;
use crate::plan::Plan;
use crate::sense::Sense;
use crate::status::Outcome;
use crate::table::Call;

fn prevent(cdb: Cdb<'_>) -> u8 {
    cdb.byte(4) & 0b11
}

pub(crate) fn allows(cdb: Cdb<'_>) -> bool {
    prevent(cdb) == 0
}

pub(crate) fn decide(call: &mut Call<'_>) -> Result<Plan, Sense> {
    match prevent(call.cdb) {
        0b00 => call.nexus.set_prevents_removal(false),
        0b01 => call.nexus.set_prevents_removal(true),
        // Obsolete: persistent prevention in medium changers.
        _ => return Err(Sense::cdb_bit(4, 1)),
    }
    Ok(Plan::Done(Outcome::GOOD))
}
