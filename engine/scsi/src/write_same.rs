//! WRITE SAME (SBC-3; NDOB from SBC-4).

use crate::block::BlockKind;
use crate::cdb::Cdb;
use crate::plan::Plan;
use crate::read_write::block;
use crate::sense::Sense;
use crate::table::Call;
use crate::unit::LogicalUnit;

const ANCHOR: u8 = 4;
const UNMAP: u8 = 3;
/// Obsolete in WRITE SAME (10): blocks with their address in the data.
const PBDATA: u8 = 2;
const LBDATA: u8 = 1;
const NDOB: u8 = 0;

pub(crate) fn decide_10(call: &mut Call<'_>) -> Result<Plan, Sense> {
    for bit in [PBDATA, LBDATA] {
        refuse(call.cdb, bit)?;
    }
    write_same(call.view.lu, call.cdb, false)
}

pub(crate) fn decide_16(call: &mut Call<'_>) -> Result<Plan, Sense> {
    write_same(call.view.lu, call.cdb, call.cdb.bit(1, NDOB))
}

/// Nothing can be anchored (ANC_SUP is 0), and only a thin medium unmaps. WSNZ is 0, so zero blocks means up to the
/// last, which MAXIMUM WRITE SAME LENGTH bounds like any other number.
fn write_same(lu: &LogicalUnit, cdb: Cdb<'_>, ndob: bool) -> Result<Plan, Sense> {
    cdb.no_protection()?;
    refuse(cdb, ANCHOR)?;
    if !lu.medium.thin {
        refuse(cdb, UNMAP)?;
    }
    let extent = cdb.extent().to_end_of(&lu.medium)?.at_most(lu.medium.max_write_same)?;
    Ok(block(lu, BlockKind::WriteSame { unmap: cdb.bit(1, UNMAP), ndob }, extent, false))
}

fn refuse(cdb: Cdb<'_>, bit: u8) -> Result<(), Sense> {
    if cdb.bit(1, bit) { Err(Sense::cdb_bit(1, bit)) } else { Ok(()) }
}
