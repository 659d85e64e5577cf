//! RDMAP messages (RFC 5040 §4).

use primitives::span;

/// What a message is (RFC 5040 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// RDMA Write.
    Write = 0,
    /// RDMA Read Request.
    ReadRequest = 1,
    /// RDMA Read Response.
    ReadResponse = 2,
    /// Send.
    Send = 3,
    /// Send with Invalidate.
    SendInvalidate = 4,
    /// Send with Solicited Event.
    SendSolicited = 5,
    /// Send with Solicited Event and Invalidate.
    SendSolicitedInvalidate = 6,
    /// Terminate.
    Terminate = 7,
}

impl Opcode {
    /// The opcode of these four bits; those of RFC 7306 and the reserved ones are none.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Write,
            1 => Self::ReadRequest,
            2 => Self::ReadResponse,
            3 => Self::Send,
            4 => Self::SendInvalidate,
            5 => Self::SendSolicited,
            6 => Self::SendSolicitedInvalidate,
            7 => Self::Terminate,
            _ => return None,
        })
    }

    /// A Send of this kind.
    #[must_use]
    pub const fn send(solicited: bool, invalidate: bool) -> Self {
        match (solicited, invalidate) {
            (false, false) => Self::Send,
            (false, true) => Self::SendInvalidate,
            (true, false) => Self::SendSolicited,
            (true, true) => Self::SendSolicitedInvalidate,
        }
    }

    /// Carried in tagged segments (RFC 5040 §4.2, figure 4).
    #[must_use]
    pub const fn is_tagged(self) -> bool {
        matches!(self, Self::Write | Self::ReadResponse)
    }

    /// The untagged queue it is sent on; zero for tagged ones, which have none.
    #[must_use]
    pub const fn queue(self) -> u32 {
        match self {
            Self::ReadRequest => 1,
            Self::Terminate => 2,
            _ => 0,
        }
    }

    /// A Send that closes a window of the receiver.
    #[must_use]
    pub const fn invalidates(self) -> bool {
        matches!(self, Self::SendInvalidate | Self::SendSolicitedInvalidate)
    }
}

/// The header of an RDMA Read Request, all it carries (RFC 5040 §4.4).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ReadRequest {
    /// Where the requester wants the data: STag.
    pub sink_stag: u32,
    /// And tagged offset.
    pub sink_to: u64,
    /// Bytes.
    pub len: u32,
    /// Where the responder finds it: STag.
    pub source_stag: u32,
    /// And tagged offset.
    pub source_to: u64,
}

impl ReadRequest {
    /// Bytes of the header.
    pub const LEN: usize = 28;

    /// The header in exactly these bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LEN {
            return None;
        }
        Some(Self {
            sink_stag: span::be32(bytes, 0)?,
            sink_to: span::be64(bytes, 4)?,
            len: span::be32(bytes, 12)?,
            source_stag: span::be32(bytes, 16)?,
            source_to: span::be64(bytes, 20)?,
        })
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[0..4].copy_from_slice(&self.sink_stag.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.sink_to.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.len.to_be_bytes());
        bytes[16..20].copy_from_slice(&self.source_stag.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.source_to.to_be_bytes());
        bytes
    }
}
