//! VERIFY and WRITE AND VERIFY (SBC-3).

use crate::block::BlockKind;
use crate::cdb::Cdb;
use crate::plan::Plan;
use crate::read_write::{block, transfer};
use crate::sense::Sense;
use crate::table::Call;

/// BYTCHK has two bits; this is the upper.
const BYTCHK: u8 = 2;

fn bytchk(cdb: Cdb<'_>) -> u8 {
    cdb.byte(1) >> 1 & 0b11
}

pub(crate) fn verify(call: &mut Call<'_>) -> Result<Plan, Sense> {
    call.cdb.no_protection()?;
    let lu = call.view.lu;
    let extent = call.cdb.extent();
    let kind = match bytchk(call.cdb) {
        0b00 => BlockKind::Verify,
        0b01 => return transfer(lu, BlockKind::Compare, extent, false),
        0b11 => BlockKind::CompareRepeated,
        _ => return Err(Sense::cdb_bit(1, BYTCHK)),
    };
    // No data of that length is transferred, so MAXIMUM TRANSFER LENGTH does not bind it.
    Ok(block(lu, kind, extent.on(&lu.medium)?, false))
}

/// What is verified must be on the medium, so the write is always forced there.
pub(crate) fn write_and_verify(call: &mut Call<'_>) -> Result<Plan, Sense> {
    call.cdb.no_protection()?;
    let compare = match bytchk(call.cdb) {
        0b00 => false,
        0b01 => true,
        _ => return Err(Sense::cdb_bit(1, BYTCHK)),
    };
    transfer(call.view.lu, BlockKind::WriteVerify { compare }, call.cdb.extent(), true)
}
