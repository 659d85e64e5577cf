//! SYNCHRONIZE CACHE and PRE-FETCH (SBC-3).

use crate::block::BlockKind;
use crate::plan::Plan;
use crate::read_write::block;
use crate::sense::Sense;
use crate::status::Outcome;
use crate::table::Call;

const IMMED: u8 = 1;

/// Without a volatile cache every completed write is durable, so there is nothing to do.
pub(crate) fn synchronize(call: &mut Call<'_>) -> Result<Plan, Sense> {
    let lu = call.view.lu;
    let extent = call.cdb.extent().to_end_of(&lu.medium)?;
    if !lu.medium.write_cache {
        return Ok(Plan::Done(Outcome::GOOD));
    }
    Ok(block(lu, BlockKind::Flush { immed: call.cdb.bit(1, IMMED) }, extent, false))
}

pub(crate) fn prefetch(call: &mut Call<'_>) -> Result<Plan, Sense> {
    let lu = call.view.lu;
    let extent = call.cdb.extent().to_end_of(&lu.medium)?;
    Ok(match block(lu, BlockKind::Prefetch { immed: call.cdb.bit(1, IMMED) }, extent, false) {
        // No blocks at the end of the medium: they certainly fit.
        Plan::Done(_) => Plan::Done(Outcome::CONDITION_MET),
        plan => plan,
    })
}
