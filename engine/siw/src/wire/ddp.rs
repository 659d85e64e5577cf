//! The header of a DDP segment with RDMAP's share of it (RFC 5041 §4, RFC 5040 §4.1).

use super::rdmap::Opcode;
use super::terminate::Fault;

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
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut whole = [0; UNTAGGED_LEN];
        let len = bytes.first().map_or(UNTAGGED_LEN, |control| len_of(*control));
        whole[..len].copy_from_slice(bytes.get(..len).ok_or(Fault::FPDU)?);
        Self::decode_first(&whole)
    }

    /// The same where more is known to be there: of these bytes, those that are the header's.
    ///
    /// # Errors
    /// As [`Header::decode`].
    #[inline]
    pub fn decode_first(bytes: &[u8; UNTAGGED_LEN]) -> Result<Self, Fault> {
        let [control, rdmap, ..] = *bytes;
        let tagged = control & TAGGED != 0;
        if control & DDP_VERSION_MASK != DDP_VERSION {
            return Err(if tagged { Fault::TAGGED_VERSION } else { Fault::UNTAGGED_VERSION });
        }
        if rdmap & RDMAP_VERSION_MASK != RDMAP_VERSION {
            return Err(Fault::RDMAP_VERSION);
        }
        let opcode = Opcode::from_bits(rdmap & OPCODE).ok_or(Fault::OPCODE)?;
        let (first, second, third, fourth) = (word(bytes, 2), word(bytes, 6), word(bytes, 10), word(bytes, 14));
        let place = if tagged {
            Place::Tagged { stag: first, to: u64::from(second) << 32 | u64::from(third) }
        } else {
            Place::Untagged { ulp: first, queue: second, msn: third, mo: fourth }
        };
        if opcode.is_tagged() != tagged {
            return Err(Fault::OPCODE);
        }
        Ok(Self { last: control & LAST != 0, opcode, place })
    }

    /// Bytes of the header.
    #[must_use]
    #[inline]
    pub const fn encoded_len(&self) -> usize {
        match self.place {
            Place::Tagged { .. } => TAGGED_LEN,
            Place::Untagged { .. } => UNTAGGED_LEN,
        }
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

/// The word at a place within the header.
#[inline]
fn word(bytes: &[u8; UNTAGGED_LEN], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
