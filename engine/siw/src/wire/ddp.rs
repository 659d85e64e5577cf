//! The header of a DDP segment with RDMAP's share of it (RFC 5041 §4, RFC 5040 §4.1).

use super::rdmap::Opcode;
use super::terminate::Fault;
use primitives::span;

const TAGGED: u8 = 0x80;
const LAST: u8 = 0x40;
const DDP_VERSION_MASK: u8 = 0x03;
const DDP_VERSION: u8 = 0x01;
const RDMAP_VERSION_MASK: u8 = 0xC0;
const RDMAP_VERSION: u8 = 0x40;
const OPCODE: u8 = 0x0F;

/// Bytes of the header of a tagged segment.
pub const TAGGED_LEN: usize = 14;

/// Bytes of the header of an untagged segment.
pub const UNTAGGED_LEN: usize = 18;

/// Where the payload of a segment belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Into a buffer the receiver has advertised.
    Tagged {
        /// Which.
        stag: u32,
        /// Tagged offset: where in it.
        to: u64,
    },
    /// Into the next buffer of a queue.
    Untagged {
        /// RDMAP's word: the STag to invalidate, or reserved.
        ulp: u32,
        /// The queue.
        queue: u32,
        /// Message sequence number, from 1 on.
        msn: u32,
        /// Offset in the message.
        mo: u32,
    },
}

/// A decoded header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The message ends with this segment.
    pub last: bool,
    /// What the message is.
    pub opcode: Opcode,
    /// Where its payload belongs.
    pub place: Place,
}

/// Bytes of the header whose first byte this is.
#[must_use]
pub const fn len_of(control: u8) -> usize {
    if control & TAGGED != 0 { TAGGED_LEN } else { UNTAGGED_LEN }
}

impl Header {
    /// Reads a header; `bytes` must hold all of it, see [`len_of`]. Reserved bits are ignored.
    ///
    /// # Errors
    /// What is wrong with it, as a Terminate message says it.
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let &[control, rdmap, ..] = bytes else { return Err(Fault::FPDU) };
        let tagged = control & TAGGED != 0;
        if control & DDP_VERSION_MASK != DDP_VERSION {
            return Err(if tagged { Fault::TAGGED_VERSION } else { Fault::UNTAGGED_VERSION });
        }
        if rdmap & RDMAP_VERSION_MASK != RDMAP_VERSION {
            return Err(Fault::RDMAP_VERSION);
        }
        let opcode = Opcode::from_bits(rdmap & OPCODE).ok_or(Fault::OPCODE)?;
        let place = if tagged { tagged_place(bytes) } else { untagged_place(bytes) }.ok_or(Fault::FPDU)?;
        if opcode.is_tagged() != tagged {
            return Err(Fault::OPCODE);
        }
        Ok(Self { last: control & LAST != 0, opcode, place })
    }

    /// Writes the header; returns how many bytes it takes.
    #[inline(always)] // With `Outbox::open`.
    pub fn encode(&self, out: &mut [u8; UNTAGGED_LEN]) -> usize {
        out[0] = DDP_VERSION | if self.last { LAST } else { 0 };
        out[1] = RDMAP_VERSION | self.opcode as u8;
        match self.place {
            Place::Tagged { stag, to } => {
                out[0] |= TAGGED;
                out[2..6].copy_from_slice(&stag.to_be_bytes());
                out[6..14].copy_from_slice(&to.to_be_bytes());
                TAGGED_LEN
            }
            Place::Untagged { ulp, queue, msn, mo } => {
                out[2..6].copy_from_slice(&ulp.to_be_bytes());
                out[6..10].copy_from_slice(&queue.to_be_bytes());
                out[10..14].copy_from_slice(&msn.to_be_bytes());
                out[14..18].copy_from_slice(&mo.to_be_bytes());
                UNTAGGED_LEN
            }
        }
    }
}

#[inline]
fn tagged_place(bytes: &[u8]) -> Option<Place> {
    let bytes = bytes.first_chunk::<TAGGED_LEN>()?;
    Some(Place::Tagged { stag: span::be32(bytes, 2)?, to: span::be64(bytes, 6)? })
}

#[inline]
fn untagged_place(bytes: &[u8]) -> Option<Place> {
    // Of this length, so that the bounds are checked once.
    let bytes = bytes.first_chunk::<UNTAGGED_LEN>()?;
    Some(Place::Untagged {
        ulp: span::be32(bytes, 2)?,
        queue: span::be32(bytes, 6)?,
        msn: span::be32(bytes, 10)?,
        mo: span::be32(bytes, 14)?,
    })
}
