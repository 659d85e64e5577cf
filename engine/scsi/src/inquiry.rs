//! INQUIRY (SPC-4): standard data; the vital product data pages are in `vpd`.

use crate::cdb::Cdb;
use crate::plan::Plan;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::table::Call;
use crate::unit::Identity;
use crate::vpd;

/// PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Peripheral {
    /// A direct access block device.
    Block = 0x00,
    /// A well known logical unit.
    WellKnown = 0x1E,
    /// No logical unit here, and none possible.
    Absent = 0x7F,
}

const EVPD: u8 = 0;
const CMDDT: u8 = 1;
/// VERSION: SPC-4.
const VERSION: u8 = 0x06;
/// RESPONSE DATA FORMAT 2; NormACA and HISUP are 0.
const RESPONSE_FORMAT: u8 = 0x02;
/// CMDQUE: the task management model of SAM.
const CMDQUE: u8 = 0x02;
/// Version descriptors, no version claimed: SAM-5, iSCSI, SPC-4, SBC-3.
const VERSION_DESCRIPTORS: [u16; 4] = [0x00A0, 0x0960, 0x0460, 0x04C0];
/// Bytes of standard data: up to the eighth version descriptor.
const STANDARD: usize = 74;

/// What the initiator wants, and how much of it.
struct Request {
    /// A vital product data page, or standard data.
    page: Option<u8>,
    allocation: usize,
}

impl Request {
    /// EVPD=0 with a page code is an error, and so is the obsolete CMDDT.
    fn parse(cdb: Cdb<'_>) -> Result<Self, Sense> {
        if cdb.bit(1, CMDDT) {
            return Err(Sense::cdb_bit(1, CMDDT));
        }
        let page = cdb.byte(2);
        if !cdb.bit(1, EVPD) && page != 0 {
            return Err(Sense::cdb_byte(2));
        }
        Ok(Self { page: cdb.bit(1, EVPD).then_some(page), allocation: cdb.length16(3) })
    }
}

pub(crate) fn decide(call: &mut Call<'_>) -> Result<Plan, Sense> {
    let request = Request::parse(call.cdb)?;
    let mut reply = Reply::new(call.reply);
    match request.page {
        Some(page) => vpd::page(call.view.lu, page, &mut reply)?,
        None => standard(Peripheral::Block, Some(&call.view.lu.identity), &mut reply),
    }
    Ok(reply.finish(request.allocation))
}

/// INQUIRY where there is no logical unit: standard data without a name, and an empty list of pages.
pub(crate) fn without_lu(peripheral: Peripheral, cdb: Cdb<'_>, reply: &mut [u8]) -> Result<Plan, Sense> {
    let request = Request::parse(cdb)?;
    let mut reply = Reply::new(reply);
    match request.page {
        Some(vpd::SUPPORTED_PAGES) => vpd::only_supported_pages(peripheral, &mut reply),
        Some(_) => return Err(Sense::cdb_byte(2)),
        None => standard(peripheral, None, &mut reply),
    }
    Ok(reply.finish(request.allocation))
}

fn standard(peripheral: Peripheral, identity: Option<&Identity>, reply: &mut Reply<'_>) {
    reply.bytes(&[peripheral as u8, 0, VERSION, RESPONSE_FORMAT, 0, 0, 0, CMDQUE]);
    match identity {
        Some(identity) => {
            reply.bytes(&identity.vendor);
            reply.bytes(&identity.product);
            reply.bytes(&identity.revision);
        }
        None => reply.bytes(&[b' '; 28]),
    }
    reply.pad_to(58);
    for descriptor in VERSION_DESCRIPTORS {
        reply.u16(descriptor);
    }
    reply.pad_to(STANDARD);
    reply.patch_u8(4, STANDARD - 5);
}
