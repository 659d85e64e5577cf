//! Vital product data pages (SPC-4, SBC-3).

use crate::inquiry::Peripheral;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::unit::{Identity, LogicalUnit, Medium};

pub(crate) const SUPPORTED_PAGES: u8 = 0x00;
const UNIT_SERIAL_NUMBER: u8 = 0x80;
const DEVICE_IDENTIFICATION: u8 = 0x83;
const EXTENDED_INQUIRY: u8 = 0x86;
const BLOCK_LIMITS: u8 = 0xB0;
const BLOCK_DEVICE_CHARACTERISTICS: u8 = 0xB1;
const LOGICAL_BLOCK_PROVISIONING: u8 = 0xB2;

type Fill = fn(&LogicalUnit, &mut Reply<'_>);

/// Every page, in the ascending order page 00h must list them in.
const PAGES: [(u8, Fill); 7] = [
    (SUPPORTED_PAGES, |_, reply| PAGES.iter().for_each(|&(code, _)| reply.u8(code))),
    (UNIT_SERIAL_NUMBER, |lu, reply| reply.bytes(lu.identity.serial.as_bytes())),
    (DEVICE_IDENTIFICATION, |lu, reply| device_identification(&lu.identity, reply)),
    (EXTENDED_INQUIRY, |lu, reply| extended_inquiry(&lu.medium, reply)),
    (BLOCK_LIMITS, |lu, reply| block_limits(&lu.medium, reply)),
    (BLOCK_DEVICE_CHARACTERISTICS, |lu, reply| block_device_characteristics(&lu.medium, reply)),
    (LOGICAL_BLOCK_PROVISIONING, |lu, reply| logical_block_provisioning(&lu.medium, reply)),
];

/// Bytes of the pages with a fixed length of 003Ch.
const LONG_PAGE: usize = 64;

/// Writes the page `code` with its header.
///
/// # Errors
/// INVALID FIELD IN CDB when there is no such page.
pub(crate) fn page(lu: &LogicalUnit, code: u8, reply: &mut Reply<'_>) -> Result<(), Sense> {
    let (_, fill) = PAGES.iter().find(|(page, _)| *page == code).ok_or(Sense::cdb_byte(2))?;
    header(Peripheral::Block, code, reply);
    fill(lu, reply);
    reply.patch_u16(2, reply.len().saturating_sub(4));
    Ok(())
}

/// Page 00h of a LUN without a logical unit: it lists only itself.
pub(crate) fn only_supported_pages(peripheral: Peripheral, reply: &mut Reply<'_>) {
    header(peripheral, SUPPORTED_PAGES, reply);
    reply.u8(SUPPORTED_PAGES);
    reply.patch_u16(2, 1);
}

fn header(peripheral: Peripheral, code: u8, reply: &mut Reply<'_>) {
    reply.bytes(&[peripheral as u8, code, 0, 0]);
}

/// Designation descriptors (SPC-4): for the unit, its target port and its target device.
fn device_identification(identity: &Identity, reply: &mut Reply<'_>) {
    const BINARY: u8 = 0x01;
    const ASCII: u8 = 0x02;
    const UTF_8: u8 = 0x03;
    /// PROTOCOL IDENTIFIER of iSCSI, in front of the code set.
    const ISCSI: u8 = 0x50;
    const T10_VENDOR_ID: u8 = 0x01;
    const NAA: u8 = 0x03;
    const RELATIVE_TARGET_PORT: u8 = 0x04;
    const SCSI_NAME: u8 = 0x08;
    const UUID: u8 = 0x0A;
    /// PIV and ASSOCIATION.
    const TARGET_PORT: u8 = 0x90;
    const TARGET_DEVICE: u8 = 0xA0;

    designator(BINARY, NAA, reply, |reply| reply.bytes(&identity.naa));
    designator(ASCII, T10_VENDOR_ID, reply, |reply| {
        reply.bytes(&identity.vendor);
        reply.bytes(identity.serial.as_bytes());
    });
    designator(BINARY, UUID, reply, |reply| {
        reply.bytes(&[0x10, 0]);
        reply.bytes(&identity.uuid);
    });
    designator(ISCSI | BINARY, TARGET_PORT | RELATIVE_TARGET_PORT, reply, |reply| {
        reply.u16(0);
        reply.u16(identity.relative_target_port);
    });
    // A target port is named after its target and portal group tag (RFC 7143 2.2, SCSI port name).
    let name = identity.target_name.as_bytes();
    designator(ISCSI | UTF_8, TARGET_PORT | SCSI_NAME, reply, |reply| {
        name_string(reply, &[name, b",t,0x", &hex(identity.portal_group_tag)]);
    });
    designator(ISCSI | UTF_8, TARGET_DEVICE | SCSI_NAME, reply, |reply| name_string(reply, &[name]));
}

fn designator(protocol_and_code_set: u8, kind: u8, reply: &mut Reply<'_>, value: impl FnOnce(&mut Reply<'_>)) {
    reply.bytes(&[protocol_and_code_set, kind, 0, 0]);
    let start = reply.len();
    value(reply);
    reply.patch_u8(start.saturating_sub(1), reply.len().saturating_sub(start));
}

/// A SCSI name string ends with NUL and has a multiple of four bytes (SPC-4).
fn name_string(reply: &mut Reply<'_>, parts: &[&[u8]]) {
    let start = reply.len();
    parts.iter().for_each(|part| reply.bytes(part));
    let misaligned = reply.len().saturating_sub(start) % 4;
    reply.zeros(4 - misaligned);
}

fn hex(value: u16) -> [u8; 4] {
    [12, 8, 4, 0].map(|shift| match (value >> shift & 0xF) as u8 {
        digit @ 0..=9 => b'0' + digit,
        digit => b'A' - 10 + digit,
    })
}

/// Page 86h (SPC-4): which task attributes there are, and that the cache is volatile.
fn extended_inquiry(medium: &Medium, reply: &mut Reply<'_>) {
    const HEADSUP_ORDSUP_SIMPSUP: u8 = 0x07;
    reply.bytes(&[0, HEADSUP_ORDSUP_SIMPSUP, u8::from(medium.write_cache)]);
    reply.pad_to(LONG_PAGE);
}

/// Page B0h (SBC-3). WSNZ is 0: WRITE SAME of zero blocks means up to the last.
fn block_limits(medium: &Medium, reply: &mut Reply<'_>) {
    const UGAVALID: u32 = 1 << 31;
    let thin = |value: u32| if medium.thin { value } else { 0 };
    let alignment = if medium.unmap_granularity == 0 { 0 } else { UGAVALID | medium.unmap_alignment };
    reply.zeros(2);
    reply.u16(1 << medium.physical_block_exponent.min(15));
    reply.u32(medium.max_transfer);
    reply.u32(medium.optimal_transfer);
    // MAXIMUM PREFETCH LENGTH: no limit is reported.
    reply.u32(0);
    reply.u32(thin(medium.max_unmap_blocks));
    reply.u32(thin(medium.max_unmap_descriptors));
    reply.u32(thin(medium.unmap_granularity));
    reply.u32(thin(alignment));
    reply.u64(medium.max_write_same);
    reply.pad_to(LONG_PAGE);
}

/// Page B1h (SBC-3).
fn block_device_characteristics(medium: &Medium, reply: &mut Reply<'_>) {
    reply.u16(medium.rotation_rate);
    reply.pad_to(LONG_PAGE);
}

/// Page B2h (SBC-3). There are no anchored blocks (ANC_SUP is 0) and no thresholds.
fn logical_block_provisioning(medium: &Medium, reply: &mut Reply<'_>) {
    const LBPU_LBPWS_LBPWS10: u8 = 0xE0;
    const LBPRZ: u8 = 0x04;
    const THIN: u8 = 0x02;
    let (flags, provisioning) = match (medium.thin, medium.unmap_zeroes) {
        (false, _) => (0, 0),
        (true, false) => (LBPU_LBPWS_LBPWS10, THIN),
        (true, true) => (LBPU_LBPWS_LBPWS10 | LBPRZ, THIN),
    };
    reply.bytes(&[0, flags, provisioning, 0]);
}
