//! The Terminate message (RFC 5040 §4.8) and its codes (RFC 5040 §4.8, RFC 5041 §7.2, RFC 5044 §8, RFC 6581 §8).

use super::ddp::UNTAGGED_LEN;
use super::rdmap::ReadRequest;
use core::fmt;

/// What went wrong, in the three numbers of a Terminate message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// 0 RDMAP, 1 DDP, 2 MPA.
    pub layer: u8,
    /// Error type, four bits.
    pub kind: u8,
    /// Error code.
    pub code: u8,
}

impl Fault {
    /// The STag of a Read Request is none of ours.
    pub const READ_STAG: Self = Self::new(0, 1, 0x00);
    /// A Read Request exceeds the bytes its STag stands for.
    pub const READ_BOUNDS: Self = Self::new(0, 1, 0x01);
    /// The STag does not allow this kind of access.
    pub const RIGHTS: Self = Self::new(0, 1, 0x02);
    /// The tagged offset of a Read Request wraps.
    pub const READ_WRAP: Self = Self::new(0, 1, 0x04);
    /// The STag of a Send with Invalidate cannot be invalidated.
    pub const INVALIDATE: Self = Self::new(0, 1, 0x09);
    /// Invalid RDMAP version.
    pub const RDMAP_VERSION: Self = Self::new(0, 2, 0x05);
    /// An opcode that is unknown, or not to be expected here.
    pub const OPCODE: Self = Self::new(0, 2, 0x06);
    /// A message that RDMAP cannot make sense of.
    pub const MALFORMED: Self = Self::new(0, 2, 0xFF);
    /// A tagged segment has an STag that is none of ours.
    pub const STAG: Self = Self::new(1, 1, 0x00);
    /// A tagged segment exceeds the bytes its STag stands for.
    pub const BOUNDS: Self = Self::new(1, 1, 0x01);
    /// The tagged offset of a segment wraps.
    pub const WRAP: Self = Self::new(1, 1, 0x03);
    /// Invalid DDP version in a tagged segment.
    pub const TAGGED_VERSION: Self = Self::new(1, 1, 0x04);
    /// A queue number that does not exist, or not for this opcode.
    pub const QUEUE: Self = Self::new(1, 2, 0x01);
    /// No buffer is available for the message: no receive is posted, or too many Reads are under way.
    pub const NO_BUFFER: Self = Self::new(1, 2, 0x02);
    /// The message sequence number is not the next one.
    pub const MSN: Self = Self::new(1, 2, 0x03);
    /// The message offset is not where the last segment ended.
    pub const OFFSET: Self = Self::new(1, 2, 0x04);
    /// The message does not fit the buffer.
    pub const TOO_LONG: Self = Self::new(1, 2, 0x05);
    /// Invalid DDP version in an untagged segment.
    pub const UNTAGGED_VERSION: Self = Self::new(1, 2, 0x06);
    /// The CRC of an FPDU is wrong.
    pub const CRC: Self = Self::new(2, 0, 0x02);
    /// The length of an FPDU cannot be right.
    pub const FPDU: Self = Self::new(2, 0, 0x03);
    /// More RDMA Reads are asked for than can be served.
    pub const DEPTH: Self = Self::new(2, 0, 0x06);
    /// No way to say "ready to receive" that both sides know.
    pub const READY: Self = Self::new(2, 0, 0x07);

    const fn new(layer: u8, kind: u8, code: u8) -> Self {
        Self { layer, kind, code }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layer = match self.layer {
            0 => "RDMAP",
            1 => "DDP",
            2 => "MPA",
            _ => "an unknown layer",
        };
        write!(f, "{layer} error of type {} with code {:#04x}", self.kind, self.code)
    }
}

const SEGMENT_LENGTH: u8 = 0x80;
const DDP_HEADER: u8 = 0x40;
const RDMA_HEADER: u8 = 0x20;

/// A Terminate message: a fault, and the headers of the segment it was found in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terminate {
    /// What went wrong.
    pub fault: Fault,
    ddp: [u8; UNTAGGED_LEN],
    ddp_len: u8,
    segment: u16,
    read: Option<[u8; ReadRequest::LEN]>,
}

impl Terminate {
    /// Bytes of the longest one.
    pub const MAX: usize = 4 + 2 + UNTAGGED_LEN + ReadRequest::LEN;

    /// One that tells of the fault only.
    #[must_use]
    pub const fn new(fault: Fault) -> Self {
        Self { fault, ddp: [0; UNTAGGED_LEN], ddp_len: 0, segment: 0, read: None }
    }

    /// With the DDP header (up to 18 bytes) and the length of the segment that was wrong. A fault of MPA has none
    /// (RFC 5040 §4.8, figure 10).
    #[must_use]
    pub fn with_segment(mut self, header: &[u8], segment: u16) -> Self {
        if self.fault.layer < 2
            && let Some(room) = self.ddp.get_mut(..header.len())
        {
            room.copy_from_slice(header);
            (self.ddp_len, self.segment) = (header.len() as u8, segment);
        }
        self
    }

    /// With the Read Request that was wrong.
    #[must_use]
    pub const fn with_read(mut self, request: [u8; ReadRequest::LEN]) -> Self {
        self.read = Some(request);
        self
    }

    /// Writes the message as RFC 5040 draws it; returns how many bytes it takes.
    pub fn encode(&self, out: &mut [u8; Self::MAX]) -> usize {
        *out = [0; Self::MAX];
        out[0] = self.fault.layer << 4 | self.fault.kind & 0x0F;
        out[1] = self.fault.code;
        let mut at = 4;
        if self.ddp_len > 0 {
            out[2] |= SEGMENT_LENGTH | DDP_HEADER;
            out[4..6].copy_from_slice(&self.segment.to_be_bytes());
            let ddp = &self.ddp[..usize::from(self.ddp_len)];
            out[6..6 + ddp.len()].copy_from_slice(ddp);
            at = 6 + ddp.len();
        }
        if let Some(read) = self.read {
            out[2] |= RDMA_HEADER;
            out[at..at + read.len()].copy_from_slice(&read);
            at += read.len();
        }
        at
    }

    /// The fault a peer reports. Whatever a Terminate message says ends the connection, so nothing about it is an
    /// error, and the headers in it are not looked at. The kernel's siw lays the first byte's two halves out the other
    /// way round on little-endian machines; no layer above 2 exists, which tells some of those apart.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Self {
        let (first, code) = (payload.first().copied().unwrap_or(0), payload.get(1).copied().unwrap_or(0));
        let (high, low) = (first >> 4, first & 0x0F);
        let (layer, kind) = if high > 2 && low <= 2 { (low, high) } else { (high, low) };
        Self::new(Fault { layer, kind, code })
    }
}
