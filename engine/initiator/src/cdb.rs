//! The few CDBs an initiator writes by itself (SPC-4, SBC-3).

/// A CDB, padded with zeros to the 16 bytes of a header.
pub type Cdb = [u8; 16];

const TEST_UNIT_READY: u8 = 0x00;
const INQUIRY: u8 = 0x12;
const READ_CAPACITY_10: u8 = 0x25;
const READ_10: u8 = 0x28;
const WRITE_10: u8 = 0x2a;
const SYNCHRONIZE_CACHE_10: u8 = 0x35;
const READ_16: u8 = 0x88;
const WRITE_16: u8 = 0x8a;
const SERVICE_ACTION_IN_16: u8 = 0x9e;
const READ_CAPACITY_16: u8 = 0x10;
const REPORT_LUNS: u8 = 0xa0;

fn cdb(head: &[u8]) -> Cdb {
    let mut cdb = [0; 16];
    cdb[..head.len()].copy_from_slice(head);
    cdb
}

/// TEST UNIT READY.
#[must_use]
pub fn test_unit_ready() -> Cdb {
    cdb(&[TEST_UNIT_READY])
}

/// INQUIRY, of a vital product data page if there is one.
#[must_use]
pub fn inquiry(page: Option<u8>, allocation: u16) -> Cdb {
    let [high, low] = allocation.to_be_bytes();
    cdb(&[INQUIRY, page.is_some().into(), page.unwrap_or(0), high, low])
}

/// READ CAPACITY(10).
#[must_use]
pub fn read_capacity_10() -> Cdb {
    cdb(&[READ_CAPACITY_10])
}

/// READ CAPACITY(16).
#[must_use]
pub fn read_capacity_16(allocation: u32) -> Cdb {
    let mut cdb = cdb(&[SERVICE_ACTION_IN_16, READ_CAPACITY_16]);
    cdb[10..14].copy_from_slice(&allocation.to_be_bytes());
    cdb
}

/// REPORT LUNS.
#[must_use]
pub fn report_luns(allocation: u32) -> Cdb {
    let mut cdb = cdb(&[REPORT_LUNS]);
    cdb[6..10].copy_from_slice(&allocation.to_be_bytes());
    cdb
}

/// SYNCHRONIZE CACHE(10) of everything.
#[must_use]
pub fn synchronize_cache() -> Cdb {
    cdb(&[SYNCHRONIZE_CACHE_10])
}

/// READ(10), or READ(16) where it takes that.
#[must_use]
#[inline]
pub fn read(lba: u64, blocks: u32) -> Cdb {
    read_or_write(READ_10, READ_16, lba, blocks)
}

/// WRITE(10), or WRITE(16) where it takes that.
#[must_use]
#[inline]
pub fn write(lba: u64, blocks: u32) -> Cdb {
    read_or_write(WRITE_10, WRITE_16, lba, blocks)
}

#[inline]
fn read_or_write(ten: u8, sixteen: u8, lba: u64, blocks: u32) -> Cdb {
    let mut cdb = [0; 16];
    if let (Ok(lba), Ok(blocks)) = (u32::try_from(lba), u16::try_from(blocks)) {
        cdb[0] = ten;
        cdb[2..6].copy_from_slice(&lba.to_be_bytes());
        cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    } else {
        cdb[0] = sixteen;
        cdb[2..10].copy_from_slice(&lba.to_be_bytes());
        cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    }
    cdb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_used_as_far_as_it_reaches() {
        let last = u64::from(u32::MAX);
        assert_eq!(read(last, 0xffff)[..10], [0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0]);
        assert_eq!(write(last + 1, 1)[..14], [0x8a, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(read(0, 0x1_0000)[..14], [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
