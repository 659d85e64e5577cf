//! What a received message is (RFC 7145 §9).

use crate::wire::{HEADER, HEADERS, Header, VERSION};
use core::ops::Range;
use iscsi::datamover::Violation;
use iscsi::wire::{BHS_LEN, Bhs, Opcode};

/// A message, looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Frame {
    /// iSERHello (§9.3).
    Hello(Hello),
    /// A control-type PDU (§9.2).
    Pdu(Parts),
}

/// What an initiator declares in its Hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hello {
    /// We speak one of its versions.
    pub version_fits: bool,
    /// iSER-IRD.
    pub ird: u16,
}

/// What PDU a message is, and where its parts are. Its headers stay where they are until they are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parts {
    pub opcode: Opcode,
    /// Where the additional header segments end and the data segment begins.
    ahs_end: u32,
    data_end: u32,
}

impl Frame {
    /// Takes a message apart. A data segment may be `segment` bytes long. What follows the data segment is ignored: it
    /// is padding, and how much of it there is nobody agrees on.
    #[inline]
    pub fn parse(message: &[u8], segment: u32) -> Result<Self, Violation> {
        if Header::is_control(message) {
            return Parts::of(message, segment).map(Self::Pdu);
        }
        match Header::decode(message) {
            Ok(Header::Hello { max_version, min_version, ird }) if message.len() == HEADER => {
                Ok(Self::Hello(Hello { version_fits: (min_version..=max_version).contains(&VERSION), ird }))
            }
            _ => Err(Violation::Header),
        }
    }
}

impl Parts {
    /// The parts of a PDU whose data segment may be `segment` bytes long.
    #[inline]
    pub fn of(message: &[u8], segment: u32) -> Result<Self, Violation> {
        let bhs = bhs(message).ok_or(Violation::Header)?;
        let len = bhs.data_segment_length();
        // At most 76 + 1,020 + 2²⁴: no sum can overflow.
        let ahs_end = (HEADERS + bhs.ahs_bytes()) as u32;
        let data_end = ahs_end + len;
        if len > segment || data_end as usize > message.len() {
            return Err(Violation::Length(len));
        }
        Ok(Self { opcode: bhs.opcode(), ahs_end, data_end })
    }

    /// Bytes of the data segment.
    #[inline]
    pub const fn len(self) -> u32 {
        self.data_end - self.ahs_end
    }

    /// The additional header segments.
    pub const fn ahs(self) -> Range<usize> {
        HEADERS..self.ahs_end as usize
    }

    /// The data segment.
    pub const fn data(self) -> Range<usize> {
        self.ahs_end as usize..self.data_end as usize
    }
}

/// The basic header segment of a message.
#[inline]
pub(crate) fn bhs(message: &[u8]) -> Option<Bhs> {
    Bhs::from_slice(message.get(HEADER..)?)
}

/// A SCSI Command that is nothing but its header: most of all messages.
#[inline]
pub(crate) fn is_bare_command(headers: &[u8; HEADERS]) -> bool {
    // Both lengths, of the additional header segments and of the data segment, in one.
    const LENGTHS: usize = HEADER + 4;
    let lengths = [headers[LENGTHS], headers[LENGTHS + 1], headers[LENGTHS + 2], headers[LENGTHS + 3]];
    Header::is_control(headers) && headers[HEADER] & Opcode::MASK == Opcode::SCSI_COMMAND.0 && lengths == [0; 4]
}

/// The iSER header and the basic header segment.
#[inline]
pub(crate) fn split(headers: &[u8; HEADERS]) -> (&[u8; HEADER], &[u8; BHS_LEN]) {
    const { assert!(HEADER + BHS_LEN == HEADERS) };
    let (header, bhs) = headers.split_at(HEADER);
    (header.try_into().expect("its length"), bhs.try_into().expect("its length"))
}
