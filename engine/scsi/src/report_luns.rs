//! REPORT LUNS (SPC-4): the logical units the session may see.

use crate::attention::UnitAttention;
use crate::cdb::Cdb;
use crate::limits;
use crate::lun::Lun;
use crate::plan::Plan;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::table::Call;

pub(crate) fn decide(call: &mut Call<'_>) -> Result<Plan, Sense> {
    let plan = report(call.view.luns, call.cdb, call.reply)?;
    // The initiator has just read what the attention would point it to.
    call.nexus.clear(UnitAttention::ReportedLunsChanged);
    Ok(plan)
}

/// Lists the units of the session (00h), the well known ones (01h), or both (02h), as SELECT REPORT says.
pub(crate) fn report(luns: &[Lun], cdb: Cdb<'_>, reply: &mut [u8]) -> Result<Plan, Sense> {
    let (ordinary, well_known) = match cdb.byte(2) {
        0x00 => (true, false),
        0x01 => (false, true),
        0x02 => (true, true),
        _ => return Err(Sense::cdb_byte(2)),
    };
    let mut reply = Reply::new(reply);
    reply.zeros(8);
    for lun in luns.iter().take(limits::LUNS).filter(|_| ordinary) {
        reply.bytes(&lun.0);
    }
    if well_known {
        reply.bytes(&Lun::REPORT_LUNS.0);
    }
    reply.patch_u32(0, reply.len().saturating_sub(8));
    Ok(reply.finish(cdb.length32(6)))
}
