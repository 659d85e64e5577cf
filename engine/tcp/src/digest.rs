//! CRC32C as iSCSI digests use it (RFC 7143 §13.1): a header digest covers BHS and AHS, a data digest covers the
//! data segment with its padding.

/// Bytes of a digest on the wire.
pub const DIGEST_LEN: usize = 4;

/// A digest computed in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(crc_fast::Digest);

impl Crc32c {
    /// The digest of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }

    /// Covers `bytes` too.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The four bytes as they are sent.
    #[must_use]
    pub fn to_wire(self) -> [u8; DIGEST_LEN] {
        (self.0.finalize() as u32).to_le_bytes()
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

/// The digest of `bytes`, as it is sent: the low byte of the CRC first (RFC 3720 appendix B.4 has examples).
#[must_use]
pub fn crc32c(bytes: &[u8]) -> [u8; DIGEST_LEN] {
    crc_fast::crc32_iscsi(bytes).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720 appendix B.4.
    #[test]
    fn the_examples_of_the_rfc() {
        let up: [u8; 32] = core::array::from_fn(|i| i as u8);
        let down: [u8; 32] = core::array::from_fn(|i| 31 - i as u8);
        assert_eq!(crc32c(&[0; 32]), [0xaa, 0x36, 0x91, 0x8a]);
        assert_eq!(crc32c(&[0xff; 32]), [0x43, 0xab, 0xa8, 0x62]);
        assert_eq!(crc32c(&up), [0x4e, 0x79, 0xdd, 0x46]);
        assert_eq!(crc32c(&down), [0x5c, 0xdb, 0x3f, 0x11]);
        let mut read10 = [0u8; 48];
        read10[..2].copy_from_slice(&[0x01, 0xc0]);
        read10[16] = 0x14;
        read10[22] = 0x04;
        read10[27] = 0x14;
        read10[31] = 0x18;
        read10[32] = 0x28;
        read10[40] = 0x02;
        assert_eq!(crc32c(&read10), [0x56, 0x3a, 0x96, 0xd9]);
    }

    #[test]
    fn pieces_make_the_same_digest() {
        let bytes: Vec<u8> = (0..5000u32).map(|i| (i * 7) as u8).collect();
        for cut in [0, 1, 47, 48, 4095, 5000] {
            let mut crc = Crc32c::new();
            crc.update(&bytes[..cut]);
            crc.update(&bytes[cut..]);
            assert_eq!(crc.to_wire(), crc32c(&bytes), "cut at {cut}");
        }
    }
}
