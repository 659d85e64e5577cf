//! The frames that set a connection up (RFC 5044 §7.1, RFC 6581 §9).

use core::fmt;
use primitives::span;
use rdma::{PrivateData, ReadDepth};

const REQUEST_KEY: &[u8; 16] = b"MPA ID Req Frame";
const REPLY_KEY: &[u8; 16] = b"MPA ID Rep Frame";

const MARKERS: u8 = 0x80;
const CRC: u8 = 0x40;
const REJECT: u8 = 0x20;
const ENHANCED: u8 = 0x10;

const FIXED: usize = 20;
const DEPTHS: usize = 4;

/// Longest private data a frame has, the enhanced set-up word included.
pub const MAX_PRIVATE: usize = 512;

/// Bytes of the longest frame.
pub const MAX_FRAME: usize = FIXED + MAX_PRIVATE;

/// The revision of RFC 6581, which brought the enhanced set-up.
pub const REVISION: u8 = 2;

const DEPTH_MASK: u16 = 0x3FFF;
const HIGH: u16 = 0x8000;
const NEXT: u16 = 0x4000;

/// A depth that is left to the consumers to agree on (RFC 6581 §9.1).
pub const UNNEGOTIATED: u16 = 0x3FFF;

/// Who sends a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The connecting side.
    Request,
    /// The accepting side.
    Reply,
}

/// The enhanced set-up word (RFC 6581 §9).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Depths {
    /// Inbound and outbound Reads, 14 bits each.
    pub depth: ReadDepth,
    /// A: peer-to-peer, the connecting side says when it is ready to receive (RTR).
    pub peer_to_peer: bool,
    /// B: by an empty Send.
    pub by_send: bool,
    /// C: by an empty RDMA Write.
    pub by_write: bool,
    /// D: by an empty RDMA Read.
    pub by_read: bool,
}

impl Depths {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (ird, ord) = (span::be16(bytes, 0)?, span::be16(bytes, 2)?);
        Some(Self {
            depth: ReadDepth { ird: ird & DEPTH_MASK, ord: ord & DEPTH_MASK },
            peer_to_peer: ird & HIGH != 0,
            by_send: ird & NEXT != 0,
            by_write: ord & HIGH != 0,
            by_read: ord & NEXT != 0,
        })
    }

    fn encode(&self) -> [u8; DEPTHS] {
        let bit = |set: bool, bit: u16| if set { bit } else { 0 };
        let ird = self.depth.ird.min(DEPTH_MASK) | bit(self.peer_to_peer, HIGH) | bit(self.by_send, NEXT);
        let ord = self.depth.ord.min(DEPTH_MASK) | bit(self.by_write, HIGH) | bit(self.by_read, NEXT);
        let ([a, b], [c, d]) = (ird.to_be_bytes(), ord.to_be_bytes());
        [a, b, c, d]
    }
}

/// A set-up frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Who sends it.
    pub role: Role,
    /// M: wants markers.
    pub markers: bool,
    /// C: wants CRCs.
    pub crc: bool,
    /// R, of a reply: no.
    pub reject: bool,
    /// Revision of the protocol.
    pub revision: u8,
    /// S: the enhanced set-up word.
    pub enhanced: Option<Depths>,
    /// What the consumer says.
    pub private: PrivateData,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// They do not begin as one.
    Key,
    /// The private data is longer than it may be, or too short for the enhanced set-up.
    Length(u16),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("not an MPA frame"),
            Self::Length(n) => write!(f, "an MPA frame with {n} bytes of private data"),
        }
    }
}

impl Frame {
    /// Reads a frame at the beginning of `bytes`, and how many bytes it has; `None` until all of it is there. What can
    /// be no frame is told from its first byte on.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(role: Role, bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let key = if role == Role::Request { REQUEST_KEY } else { REPLY_KEY };
        if bytes.iter().zip(key).any(|(a, b)| a != b) {
            return Err(Malformed::Key);
        }
        let (Some(&flags), Some(&revision), Some(length)) = (bytes.get(16), bytes.get(17), span::be16(bytes, 18))
        else {
            return Ok(None);
        };
        let malformed = Malformed::Length(length);
        let (len, enhanced) = (usize::from(length), flags & ENHANCED != 0);
        if len > MAX_PRIVATE || (enhanced && len < DEPTHS) {
            return Err(malformed);
        }
        let Some(private) = bytes.get(FIXED..FIXED + len) else { return Ok(None) };
        let (word, private) = private.split_at(if enhanced { DEPTHS } else { 0 });
        let frame = Self {
            role,
            markers: flags & MARKERS != 0,
            crc: flags & CRC != 0,
            reject: flags & REJECT != 0,
            revision,
            enhanced: if enhanced { Depths::decode(word) } else { None },
            private: PrivateData::new(private).ok_or(malformed)?,
        };
        Ok(Some((frame, FIXED + len)))
    }

    /// Writes the frame; returns how many bytes it takes.
    pub fn encode(&self, out: &mut [u8; MAX_FRAME]) -> usize {
        let key = if self.role == Role::Request { REQUEST_KEY } else { REPLY_KEY };
        out[..16].copy_from_slice(key);
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out[16] = flag(self.markers, MARKERS)
            | flag(self.crc, CRC)
            | flag(self.reject, REJECT)
            | flag(self.enhanced.is_some(), ENHANCED);
        out[17] = self.revision;
        let mut at = FIXED;
        if let Some(depths) = self.enhanced {
            out[at..at + DEPTHS].copy_from_slice(&depths.encode());
            at += DEPTHS;
        }
        // At most 508 bytes, so that the sum fits the frame and 16 bits.
        let private = self.private.as_slice();
        out[at..at + private.len()].copy_from_slice(private);
        at += private.len();
        out[18..20].copy_from_slice(&((at - FIXED) as u16).to_be_bytes());
        at
    }
}
