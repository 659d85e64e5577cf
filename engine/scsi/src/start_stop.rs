//! START STOP UNIT (SBC-3). A stopped unit refuses every command that accesses the medium until it is started
//! again, for all nexuses. There are no other power conditions, and there is nothing to load or eject.

use crate::cdb::Cdb;
use crate::nexus::NexusId;
use crate::plan::Plan;
use crate::sense::Sense;
use crate::table::{Call, Change};
use crate::unit::LogicalUnit;

const NO_FLUSH: u8 = 2;
const LOEJ: u8 = 1;
const START: u8 = 0;

fn power_condition(cdb: Cdb<'_>) -> u8 {
    cdb.byte(4) >> 4
}

/// Starting a unit is harmless, so a reservation does not stand in its way.
pub(crate) fn starts(cdb: Cdb<'_>) -> bool {
    cdb.bit(4, START) && power_condition(cdb) == 0
}

fn check(cdb: Cdb<'_>) -> Result<(), Sense> {
    if power_condition(cdb) != 0 {
        return Err(Sense::cdb_bit(4, 7));
    }
    if cdb.bit(4, LOEJ) { Err(Sense::cdb_bit(4, LOEJ)) } else { Ok(()) }
}

pub(crate) fn decide(call: &mut Call<'_>) -> Result<Plan, Sense> {
    check(call.cdb)?;
    Ok(Plan::Home)
}

/// Stopping flushes the cache unless NO_FLUSH says that nobody cares. IMMED is ignored: the status is never early.
pub(crate) fn apply(lu: &mut LogicalUnit, _: NexusId, cdb: Cdb<'_>, _: &[u8]) -> Result<Change, Sense> {
    check(cdb)?;
    let stop = !cdb.bit(4, START);
    let changed = lu.stopped != stop;
    lu.stopped = stop;
    let flush = stop && changed && lu.medium.write_cache && !cdb.bit(4, NO_FLUSH);
    Ok(Change { changed, attention: None, flush })
}
