//! TEST UNIT READY (SPC-4), READ CAPACITY (10) and (16) (SBC-3).

use crate::cdb::Cdb;
use crate::plan::Plan;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::status::Outcome;
use crate::table::Call;

/// Dispatch has found the unit started and without attention, which is all it asks.
pub(crate) fn test_unit_ready(_: &mut Call<'_>) -> Result<Plan, Sense> {
    Ok(Plan::Done(Outcome::GOOD))
}

/// The obsolete PMI asks for the last block that is read without a delay after LOGICAL BLOCK ADDRESS. There are no
/// delays, so the answer is the same; without PMI the address must be zero (SBC-2).
fn check_address(cdb: Cdb<'_>, lba: u64, pmi_byte: usize, last: u64) -> Result<(), Sense> {
    match cdb.bit(pmi_byte, 0) {
        false if lba != 0 => Err(Sense::cdb_byte(2)),
        true if lba > last => Err(Sense::LBA_OUT_OF_RANGE),
        _ => Ok(()),
    }
}

/// A last address beyond 32 bits is reported as FFFFFFFFh and sends the initiator to READ CAPACITY (16).
pub(crate) fn read_capacity_10(call: &mut Call<'_>) -> Result<Plan, Sense> {
    let medium = &call.view.lu.medium;
    check_address(call.cdb, call.cdb.u32(2).into(), 8, medium.last_lba())?;
    let mut reply = Reply::new(call.reply);
    reply.u32(u32::try_from(medium.last_lba()).unwrap_or(u32::MAX));
    reply.u32(medium.block_size);
    Ok(reply.finish(usize::MAX))
}

pub(crate) fn read_capacity_16(call: &mut Call<'_>) -> Result<Plan, Sense> {
    const LBPME: u8 = 0x80;
    const LBPRZ: u8 = 0x40;
    let medium = &call.view.lu.medium;
    check_address(call.cdb, call.cdb.u64(2), 14, medium.last_lba())?;
    let provisioning = match (medium.thin, medium.unmap_zeroes) {
        (false, _) => 0,
        (true, false) => LBPME,
        (true, true) => LBPME | LBPRZ,
    };
    let mut reply = Reply::new(call.reply);
    reply.u64(medium.last_lba());
    reply.u32(medium.block_size);
    // No protection information; the lowest aligned address is 0.
    reply.bytes(&[0, medium.physical_block_exponent & 0x0F, provisioning, 0]);
    reply.pad_to(32);
    Ok(reply.finish(call.cdb.length32(10)))
}
