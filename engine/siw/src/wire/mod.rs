//! Frames, segments and messages as bytes: MPA (RFC 5044, RFC 6581), DDP (RFC 5041), RDMAP (RFC 5040).

pub mod crc;
pub mod ddp;
pub mod mpa;
pub mod rdmap;
pub mod terminate;
#[cfg(test)]
mod tests;

pub use ddp::{Header, Place};
pub use mpa::{Depths, Frame, Role};
pub use rdmap::{Opcode, ReadRequest};
pub use terminate::{Fault, Terminate};

/// Bytes of the length in front of a ULPDU (RFC 5044 §4.1).
pub const LENGTH: usize = 2;

/// Bytes of the CRC at the end of an FPDU.
pub const CRC: usize = 4;

/// Bytes of padding that follow a ULPDU of `ulpdu` bytes: length field, ULPDU and padding are whole words.
#[must_use]
pub const fn padding(ulpdu: usize) -> usize {
    (ulpdu + LENGTH).wrapping_neg() % 4
}
