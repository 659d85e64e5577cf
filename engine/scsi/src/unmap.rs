//! UNMAP (SBC-3): the ranges come as a parameter list, whose lengths may lie.

use crate::block::{BlockKind, BlockOp};
use crate::cdb::Cdb;
use crate::limits;
use crate::plan::Plan;
use crate::sense::Sense;
use crate::status::Outcome;
use crate::table::Call;
use crate::unit::LogicalUnit;
use primitives::span;

const ANCHOR: u8 = 0;
const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;

/// Blocks to unmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnmapRange {
    /// First logical block.
    pub lba: u64,
    /// Number of logical blocks; may be zero.
    pub blocks: u32,
}

/// The ranges of an UNMAP parameter list, read in place: the list may be long, and a request slot is not.
///
/// Built from the Data-Out that [`crate::parameters`] has accepted with [`BlockKind::Unmap`], it yields exactly the
/// descriptors counted there, all of them on the medium.
#[derive(Clone, Debug)]
pub struct UnmapRanges<'a> {
    descriptors: core::slice::ChunksExact<'a, u8>,
}

impl<'a> UnmapRanges<'a> {
    /// The ranges in the parameter list `data`. What is not there is not read: a truncated list yields fewer.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        let length = usize::from(span::be16(data, 2).unwrap_or(0));
        let body = data.get(HEADER..).unwrap_or_default();
        // An incomplete last descriptor is ignored (SBC-3).
        let descriptors = body.get(..length).unwrap_or(body).chunks_exact(DESCRIPTOR);
        Self { descriptors }
    }
}

impl Iterator for UnmapRanges<'_> {
    type Item = UnmapRange;

    fn next(&mut self) -> Option<UnmapRange> {
        let descriptor = self.descriptors.next()?;
        Some(UnmapRange { lba: span::be64(descriptor, 0)?, blocks: span::be32(descriptor, 8)? })
    }
}

/// An empty parameter list is not an error; one too short for its header is.
pub(crate) fn decide(call: &mut Call<'_>) -> Result<Plan, Sense> {
    if call.cdb.bit(1, ANCHOR) {
        return Err(Sense::cdb_bit(1, ANCHOR));
    }
    match call.cdb.length16(7) {
        0 => Ok(Plan::Done(Outcome::GOOD)),
        1..HEADER => Err(Sense::PARAMETER_LIST_LENGTH_ERROR),
        HEADER..=limits::PARAMETERS => Ok(Plan::Parameters { len: call.cdb.length16(7) }),
        _ => Err(Sense::cdb_byte(7)),
    }
}

/// Checks the whole list before anything is unmapped. Ranges may overlap, and empty ones count as descriptors.
pub(crate) fn accept(lu: &LogicalUnit, cdb: Cdb<'_>, data: &[u8]) -> Result<Plan, Sense> {
    let list = data.get(..cdb.length16(7)).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    check_lengths(list)?;
    let medium = &lu.medium;
    let (mut descriptors, mut blocks) = (0u16, 0u64);
    for range in UnmapRanges::new(list) {
        match range.lba.checked_add(range.blocks.into()) {
            Some(end) if end <= medium.blocks => {}
            _ => return Err(Sense::LBA_OUT_OF_RANGE),
        }
        descriptors = descriptors.saturating_add(1);
        blocks = blocks.saturating_add(range.blocks.into());
    }
    if u32::from(descriptors) > medium.max_unmap_descriptors.min(limits::UNMAP_DESCRIPTORS) {
        return Err(Sense::list_byte(2));
    }
    if medium.max_unmap_blocks != u32::MAX && blocks > medium.max_unmap_blocks.into() {
        return Err(Sense::INVALID_FIELD_IN_PARAMETER_LIST);
    }
    if blocks == 0 {
        return Ok(Plan::Done(Outcome::GOOD));
    }
    Ok(Plan::Block(BlockOp { kind: BlockKind::Unmap { descriptors }, lba: 0, blocks, fua: lu.write_through() }))
}

/// UNMAP DATA LENGTH counts the bytes behind it, UNMAP BLOCK DESCRIPTOR DATA LENGTH those of the descriptors: these
/// must be within the former, and be there.
fn check_lengths(list: &[u8]) -> Result<(), Sense> {
    let data_length = span::be16(list, 0).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    let descriptor_length = span::be16(list, 2).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    if list.len() < HEADER.saturating_add(descriptor_length.into()) {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
    if usize::from(data_length) < usize::from(descriptor_length).saturating_add(HEADER - 2) {
        return Err(Sense::list_byte(0));
    }
    Ok(())
}
