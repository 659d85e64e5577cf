//! READ and WRITE (SBC-3).

use crate::block::{BlockKind, BlockOp};
use crate::cdb::Extent;
use crate::plan::Plan;
use crate::sense::Sense;
use crate::status::Outcome;
use crate::table::Call;
use crate::unit::LogicalUnit;

const FUA: u8 = 3;

pub(crate) fn read(call: &mut Call<'_>) -> Result<Plan, Sense> {
    call.cdb.no_protection()?;
    transfer(call.view.lu, BlockKind::Read, call.cdb.extent(), call.cdb.bit(1, FUA))
}

pub(crate) fn write(call: &mut Call<'_>) -> Result<Plan, Sense> {
    call.cdb.no_protection()?;
    transfer(call.view.lu, BlockKind::Write, call.cdb.extent(), call.cdb.bit(1, FUA))
}

/// The six-byte commands have neither protection nor FUA.
pub(crate) fn read_6(call: &mut Call<'_>) -> Result<Plan, Sense> {
    transfer(call.view.lu, BlockKind::Read, call.cdb.extent(), false)
}

pub(crate) fn write_6(call: &mut Call<'_>) -> Result<Plan, Sense> {
    transfer(call.view.lu, BlockKind::Write, call.cdb.extent(), false)
}

/// Checks a transfer of data against the medium. Transferring nothing is not an error, but the address must be one.
#[inline]
pub(crate) fn transfer(lu: &LogicalUnit, kind: BlockKind, extent: Extent, fua: bool) -> Result<Plan, Sense> {
    let extent = extent.on(&lu.medium)?.at_most(lu.medium.max_transfer.into())?;
    Ok(block(lu, kind, extent, fua))
}

/// The plan of a checked block operation; one on no blocks has ended. Writes go through the cache when WCE is 0.
#[inline]
pub(crate) fn block(lu: &LogicalUnit, kind: BlockKind, extent: Extent, fua: bool) -> Plan {
    if extent.blocks == 0 {
        return Plan::Done(Outcome::GOOD);
    }
    let writes = matches!(kind, BlockKind::Write | BlockKind::WriteVerify { .. } | BlockKind::WriteSame { .. });
    let fua = fua || writes && lu.write_through();
    Plan::Block(BlockOp { kind, lba: extent.lba, blocks: extent.blocks, fua })
}
