//! CRC32C over an FPDU from its length field to its padding (RFC 5044 §4.4).

use super::CRC;

/// A CRC computed in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(crc_fast::Digest);

impl Crc32c {
    /// The CRC of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi))
    }

    /// Covers `bytes` too.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The four bytes as they are sent, the low byte of the CRC first (as captured from the kernel's siw).
    #[must_use]
    pub fn to_wire(self) -> [u8; CRC] {
        (self.0.finalize() as u32).to_le_bytes()
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

/// The CRC of `bytes`, as it is sent.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> [u8; CRC] {
    crc_fast::crc32_iscsi(bytes).to_le_bytes()
}
