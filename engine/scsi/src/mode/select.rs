//! MODE SELECT (6) and (10) (SPC-4). The whole list is checked before any of it takes effect.

use super::pages::{Image, PAGES, Page, SPF};
use super::{LONG_DESCRIPTOR, ModePages, SHORT_DESCRIPTOR, Size};
use crate::attention::UnitAttention;
use crate::cdb::Cdb;
use crate::limits::{self, MODE_PAGE};
use crate::nexus::NexusId;
use crate::plan::Plan;
use crate::sense::Sense;
use crate::status::Outcome;
use crate::table::{Call, Change};
use crate::unit::{LogicalUnit, Medium};
use primitives::span;

const PF: u8 = 4;
const RTD: u8 = 1;
const SP: u8 = 0;
/// The page code in byte 0 of a page; PS above it is reserved here.
const PAGE_CODE: u8 = 0x3F;

/// Pages cannot be saved (SP) nor reverted (RTD), and a list in a vendor's own format (PF=0) means nothing here.
pub(crate) fn decide(call: &mut Call<'_>) -> Result<Plan, Sense> {
    for bit in [SP, RTD] {
        if call.cdb.bit(1, bit) {
            return Err(Sense::cdb_bit(1, bit));
        }
    }
    let size = Size::of(call.cdb);
    match size.length(call.cdb) {
        0 => Ok(Plan::Done(Outcome::GOOD)),
        _ if !call.cdb.bit(1, PF) => Err(Sense::cdb_bit(1, PF)),
        len if len < size.header() => Err(Sense::PARAMETER_LIST_LENGTH_ERROR),
        len if len > limits::PARAMETERS => Err(Sense::cdb_byte(7)),
        len => Ok(Plan::Parameters { len }),
    }
}

/// A list that changes nothing need not bother the home core.
pub(crate) fn accept(lu: &LogicalUnit, cdb: Cdb<'_>, data: &[u8]) -> Result<Plan, Sense> {
    let modes = parse(lu, cdb, data)?;
    Ok(if modes == lu.modes { Plan::Done(Outcome::GOOD) } else { Plan::Home })
}

/// With the volatile cache turned off, what it holds must reach the medium (SBC-3).
pub(crate) fn apply(lu: &mut LogicalUnit, _: NexusId, cdb: Cdb<'_>, data: &[u8]) -> Result<Change, Sense> {
    let modes = parse(lu, cdb, data)?;
    let changed = modes != lu.modes;
    let flush = lu.modes.wce && !modes.wce;
    lu.modes = modes;
    Ok(Change { changed, attention: changed.then_some(UnitAttention::ModeParametersChanged), flush })
}

/// The mode parameters a list asks for.
fn parse(lu: &LogicalUnit, cdb: Cdb<'_>, data: &[u8]) -> Result<ModePages, Sense> {
    let size = Size::of(cdb);
    let list = data.get(..size.length(cdb)).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    let mut at = after_descriptors(&lu.medium, size, list)?;
    let mut modes = lu.modes;
    while at < list.len() {
        let (page, image) = page_at(list, at)?;
        check_unchangeable(page, &image, &modes, &lu.medium, at)?;
        (page.adopt)(&mut modes, &image);
        at = at.saturating_add(page.len);
    }
    Ok(modes)
}

/// Checks header and block descriptor and returns where the pages begin. MODE DATA LENGTH is reserved, medium type and
/// device-specific parameter cannot be selected; all are ignored.
fn after_descriptors(medium: &Medium, size: Size, list: &[u8]) -> Result<usize, Sense> {
    let (length_at, longlba) = match size {
        Size::Six => (3, false),
        Size::Ten => (6, list.get(4).is_some_and(|byte| byte & 1 == 1)),
    };
    let length = match size {
        Size::Six => list.get(length_at).copied().map(usize::from),
        Size::Ten => span::be16(list, length_at).map(usize::from),
    }
    .ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    let start = size.header();
    let end = start.saturating_add(length);
    let expected = if longlba { LONG_DESCRIPTOR } else { SHORT_DESCRIPTOR };
    if length != 0 {
        if length != expected {
            return Err(Sense::list_byte(length_at));
        }
        let descriptor = list.get(start..end).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
        check_descriptor(medium, descriptor, start)?;
    } else if list.len() < start {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
    Ok(end)
}

/// The medium cannot be formatted anew: number and length of the blocks must be what they are. The number may also be
/// zero or, in the short form, FFFFFFFFh, which both mean what is there (SBC-3).
fn check_descriptor(medium: &Medium, descriptor: &[u8], start: usize) -> Result<(), Sense> {
    let long = descriptor.len() == LONG_DESCRIPTOR;
    let (blocks, length, length_at) = if long {
        (span::be64(descriptor, 0), span::be32(descriptor, 12), 12)
    } else {
        (span::be32(descriptor, 0).map(u64::from), span::be24(descriptor, 5), 5)
    };
    let all = if long { u64::MAX } else { u32::MAX.into() };
    if !blocks.is_some_and(|blocks| blocks == 0 || blocks == all || blocks == medium.blocks) {
        return Err(Sense::list_byte(start));
    }
    if length != Some(medium.block_size) {
        return Err(Sense::list_byte(start.saturating_add(length_at)));
    }
    Ok(())
}

/// The page that begins at `at`. Its length must be the one MODE SENSE reports, and the list must hold all of it.
fn page_at(list: &[u8], at: usize) -> Result<(&'static Page, Image), Sense> {
    let rest = list.get(at..).unwrap_or_default();
    let truncated = Sense::PARAMETER_LIST_LENGTH_ERROR;
    let [first, second, ..] = *rest else { return Err(truncated) };
    let is_subpage = first & SPF != 0;
    let subpage = if is_subpage { second } else { 0 };
    let page = PAGES
        .iter()
        .find(|page| page.code == first & PAGE_CODE && page.subpage == subpage && is_subpage == (page.subpage != 0))
        .ok_or(Sense::list_byte(at))?;
    let length = if is_subpage { span::be16(rest, 2).ok_or(truncated)?.into() } else { usize::from(second) };
    if length != page.len.saturating_sub(page.header_len()) {
        return Err(Sense::list_byte(at.saturating_add(if is_subpage { 2 } else { 1 })));
    }
    let body = rest.get(..page.len).ok_or(truncated)?;
    let mut image = [0; MODE_PAGE];
    for (to, from) in image.iter_mut().zip(body) {
        *to = *from;
    }
    Ok((page, image))
}

/// A bit that cannot be changed must be sent as it is.
fn check_unchangeable(page: &Page, image: &Image, modes: &ModePages, medium: &Medium, at: usize) -> Result<(), Sense> {
    let (current, changeable) = (page.values(modes), page.changeable(medium));
    let bytes = image.iter().zip(current).zip(changeable).enumerate().take(page.len).skip(page.header_len());
    for (offset, ((new, old), may)) in bytes {
        if (new ^ old) & !may != 0 {
            return Err(Sense::list_byte(at.saturating_add(offset)));
        }
    }
    Ok(())
}
