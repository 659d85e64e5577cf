//! RESERVE and RELEASE (SPC-2): the whole unit for one I_T nexus. Which commands run against another's
//! reservation is in the table.

use crate::cdb::Cdb;
use crate::nexus::NexusId;
use crate::plan::Plan;
use crate::sense::Sense;
use crate::table::{Call, Change};
use crate::unit::LogicalUnit;

/// Byte 1 asks for what is obsolete: third-party reservations, long identifiers, extents.
fn whole_unit(cdb: Cdb<'_>, obsolete: u8) -> Result<Plan, Sense> {
    if cdb.byte(1) & obsolete == 0 { Ok(Plan::Home) } else { Err(Sense::cdb_byte(1)) }
}

pub(crate) fn decide_6(call: &mut Call<'_>) -> Result<Plan, Sense> {
    whole_unit(call.cdb, 0x1F)
}

pub(crate) fn decide_10(call: &mut Call<'_>) -> Result<Plan, Sense> {
    whole_unit(call.cdb, 0x13)
}

/// Dispatch has refused it if another nexus holds the reservation; reserving again is not an error.
pub(crate) fn reserve(lu: &mut LogicalUnit, nexus: NexusId, _: Cdb<'_>, _: &[u8]) -> Result<Change, Sense> {
    let changed = lu.reservation.replace(nexus) != Some(nexus);
    Ok(Change { changed, ..Change::default() })
}

/// Releasing what one does not hold does nothing, and is not an error (SPC-2).
pub(crate) fn release(lu: &mut LogicalUnit, nexus: NexusId, _: Cdb<'_>, _: &[u8]) -> Result<Change, Sense> {
    let changed = lu.reservation == Some(nexus);
    if changed {
        lu.reservation = None;
    }
    Ok(Change { changed, ..Change::default() })
}
