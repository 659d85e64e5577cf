//! MODE SENSE (6) and (10) (SPC-4).

use super::pages::{PAGES, Page};
use super::{LONG_DESCRIPTOR, ModePages, SHORT_DESCRIPTOR, Size};
use crate::cdb::Cdb;
use crate::plan::Plan;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::table::Call;
use crate::unit::{LogicalUnit, Medium};

const DBD: u8 = 3;
const LLBAA: u8 = 4;
const ALL_PAGES: u8 = 0x3F;
const ALL_SUBPAGES: u8 = 0xFF;
/// DEVICE-SPECIFIC PARAMETER of a direct-access block device (SBC-3).
const WP: u8 = 0x80;
const DPOFUA: u8 = 0x10;
/// Mode parameter header (10), byte 4.
const LONGLBA: u8 = 0x01;

/// Which values of the pages PAGE CONTROL asks for.
#[derive(Clone, Copy)]
enum PageControl {
    Current,
    Changeable,
    Default,
}

pub(crate) fn decide(call: &mut Call<'_>) -> Result<Plan, Sense> {
    let cdb = call.cdb;
    let lu = call.view.lu;
    let size = Size::of(cdb);
    let control = match cdb.byte(2) >> 6 {
        0b00 => PageControl::Current,
        0b01 => PageControl::Changeable,
        0b10 => PageControl::Default,
        _ => return Err(Sense::SAVING_PARAMETERS_NOT_SUPPORTED),
    };
    let mut reply = Reply::new(call.reply);
    header(lu, size, descriptor_len(cdb, size), &mut reply);
    block_descriptor(&lu.medium, descriptor_len(cdb, size), &mut reply);
    selected_pages(lu, cdb, control, &mut reply)?;
    match size {
        Size::Six => reply.patch_u8(0, reply.len().saturating_sub(1)),
        Size::Ten => reply.patch_u16(0, reply.len().saturating_sub(2)),
    }
    Ok(reply.finish(size.length(cdb)))
}

/// Bytes of the block descriptor: none with DBD=1, the long one only where LLBAA can ask for it.
fn descriptor_len(cdb: Cdb<'_>, size: Size) -> usize {
    match size {
        _ if cdb.bit(1, DBD) => 0,
        Size::Ten if cdb.bit(1, LLBAA) => LONG_DESCRIPTOR,
        _ => SHORT_DESCRIPTOR,
    }
}

/// The header; its length field is filled in at the end.
fn header(lu: &LogicalUnit, size: Size, descriptor: usize, reply: &mut Reply<'_>) {
    let parameter = DPOFUA | if lu.write_protect().is_some() { WP } else { 0 };
    let descriptor_length = u8::try_from(descriptor).unwrap_or(0);
    match size {
        Size::Six => reply.bytes(&[0, 0, parameter, descriptor_length]),
        Size::Ten => {
            let longlba = if descriptor == LONG_DESCRIPTOR { LONGLBA } else { 0 };
            reply.bytes(&[0, 0, 0, parameter, longlba, 0, 0, descriptor_length]);
        }
    }
}

/// Number and length of the logical blocks. A number that does not fit the short form is FFFFFFFFh.
fn block_descriptor(medium: &Medium, len: usize, reply: &mut Reply<'_>) {
    match len {
        SHORT_DESCRIPTOR => {
            reply.u32(u32::try_from(medium.blocks).unwrap_or(u32::MAX));
            reply.u32(medium.block_size);
        }
        LONG_DESCRIPTOR => {
            reply.u64(medium.blocks);
            reply.u32(0);
            reply.u32(medium.block_size);
        }
        _ => {}
    }
}

/// Page code 3Fh means all pages, subpage code FFh all subpages of them (SPC-4).
fn selected_pages(lu: &LogicalUnit, cdb: Cdb<'_>, control: PageControl, reply: &mut Reply<'_>) -> Result<(), Sense> {
    let (code, subpage) = (cdb.byte(2) & 0x3F, cdb.byte(3));
    let selects =
        |page: &Page| (code == ALL_PAGES || code == page.code) && (subpage == ALL_SUBPAGES || subpage == page.subpage);
    if code == ALL_PAGES && !matches!(subpage, 0 | ALL_SUBPAGES) {
        return Err(Sense::cdb_byte(3));
    }
    if !PAGES.iter().any(selects) {
        let known = PAGES.iter().any(|page| page.code == code);
        return Err(if known { Sense::cdb_byte(3) } else { Sense::cdb_bit(2, 5) });
    }
    for page in PAGES.iter().filter(|page| selects(page)) {
        let image = match control {
            PageControl::Current => page.values(&lu.modes),
            PageControl::Changeable => page.changeable(&lu.medium),
            PageControl::Default => page.values(&ModePages::defaults(&lu.medium)),
        };
        reply.bytes(image.get(..page.len).unwrap_or_default());
    }
    Ok(())
}
