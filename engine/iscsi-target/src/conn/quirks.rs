//! What initiators in use cannot do, and how they are spared it.
//!
//! libiscsi 1.19 (that of Debian 12, below QEMU there) over iSER announces immediate data that it does not send,
//! and fails commands of more than 256 KiB before they are sent. It is told from Linux's initiator by its private data,
//! which does not invite remote invalidation; whoever else does not either loses little.

/// The longest transfer it can do, in bytes.
const LONGEST: u32 = 256 * 1024;

/// Whether an iSER initiator with this private data may be such a libiscsi.
pub fn may_be_old_libiscsi(private: &[u8]) -> bool {
    !iser::private::invites_invalidation(private)
}

/// Puts its bound into the Block Limits page (SBC-4 §6.6.4, MAXIMUM TRANSFER LENGTH), if `reply` is that page.
pub fn limit_transfers(cdb: &[u8; 16], reply: &mut [u8], block_size: u32) {
    const INQUIRY: u8 = 0x12;
    const EVPD: u8 = 1;
    const BLOCK_LIMITS: u8 = 0xB0;
    if cdb[..3] != [INQUIRY, EVPD, BLOCK_LIMITS] {
        return;
    }
    if let Some(field) = reply.get_mut(8..12) {
        field.copy_from_slice(&(LONGEST / block_size.max(1)).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_block_limits_page_is_changed() {
        let mut cdb = [0; 16];
        cdb[..3].copy_from_slice(&[0x12, 1, 0xB0]);
        let mut page = [0; 64];
        limit_transfers(&cdb, &mut page, 512);
        assert_eq!(page[8..12], 512u32.to_be_bytes());
        limit_transfers(&cdb, &mut page[..11], 512);
        for other in [[0x12, 0, 0xB0], [0x12, 1, 0xB1], [0x28, 1, 0xB0]] {
            cdb[..3].copy_from_slice(&other);
            let mut reply = [0; 64];
            limit_transfers(&cdb, &mut reply, 512);
            assert_eq!(reply, [0; 64]);
        }
    }

    #[test]
    fn linux_is_not_taken_for_it() {
        assert!(!may_be_old_libiscsi(&[0x80, 0, 0, 0]));
        assert!(may_be_old_libiscsi(&[0xC0, 0, 0, 0]) && may_be_old_libiscsi(&[]));
    }
}
