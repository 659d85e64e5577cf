//! PDU framing over a byte stream, for either end of a connection: [`Receiver`] finds PDUs in what was read and puts
//! their data where its user wants it, [`Sender`] gathers PDUs for the kernel. Neither knows what a PDU means.
mod arena;
mod receiver;
mod sender;
mod socket;
#[cfg(test)]
mod tests;

pub use receiver::{Counts as ReceiveCounts, Received, Receiver, Step};
pub use sender::{Counts as SendCounts, Frame, Sender, Sent};
pub use socket::Socket;

/// Which parts of the RFC 7143 §13.1 framing are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digests {
    /// HeaderDigest=CRC32C.
    pub header: bool,
    /// DataDigest=CRC32C.
    pub data: bool,
}

/// Why a stream of PDUs cannot be followed any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The header digest was wrong (RFC 7143 §7.8).
    HeaderDigest,
    /// DataSegmentLength exceeds what the peer may send; the value.
    Length(u32),
}

/// A non-blocking byte stream.
pub trait Stream {
    /// Reads what there is into `iov`, in order; 0 bytes when the peer has closed.
    ///
    /// # Errors
    /// The errno; `EAGAIN` when there is nothing now.
    ///
    /// # Safety
    /// Every entry must be valid for writes of its length.
    unsafe fn readv(&mut self, iov: &[libc::iovec]) -> Result<usize, i32>;

    /// Writes what fits of `iov`, in order.
    ///
    /// # Errors
    /// The errno; `EAGAIN` when nothing fits now.
    ///
    /// # Safety
    /// Every entry must be valid for reads of its length.
    unsafe fn writev(&mut self, iov: &[libc::iovec]) -> Result<usize, i32>;

    /// Closes the sending direction (`both` = false) or both.
    fn shutdown(&mut self, both: bool);
}
