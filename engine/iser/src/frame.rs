//! What a received message is (RFC 7145 §9).

use crate::wire::{HEADER, HEADERS, Header, VERSION};
use core::ops::Range;
use iscsi::datamover::{Advertised, Violation};
use iscsi::wire::Bhs;

/// A message, looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Frame {
    /// iSERHello (§9.3).
    Hello(Hello),
    /// A control-type PDU (§9.2).
    Pdu(Pdu),
}

/// What an initiator declares in its Hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hello {
    /// We speak one of its versions.
    pub version_fits: bool,
    /// iSER-IRD.
    pub ird: u16,
}

/// Where the parts of a PDU are in its message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pdu {
    pub bhs: Bhs,
    pub remote: Advertised,
    pub ahs: Range<usize>,
    pub data: Range<usize>,
}

impl Frame {
    /// Takes a message apart. A data segment may be `segment` bytes long. What follows the data segment is ignored: it
    /// is padding, and how much of it there is nobody agrees on.
    #[inline]
    pub fn parse(message: &[u8], segment: u32) -> Result<Self, Violation> {
        match Header::decode(message).map_err(|_| Violation::Header)? {
            Header::Control { write, read } => Ok(Self::Pdu(Pdu::parse(message, Advertised { write, read }, segment)?)),
            Header::Hello { max_version, min_version, ird } if message.len() == HEADER => {
                Ok(Self::Hello(Hello { version_fits: (min_version..=max_version).contains(&VERSION), ird }))
            }
            Header::Hello { .. } | Header::HelloReply { .. } => Err(Violation::Header),
        }
    }
}

impl Pdu {
    #[inline]
    fn parse(message: &[u8], remote: Advertised, segment: u32) -> Result<Self, Violation> {
        let bhs = message.get(HEADER..).and_then(Bhs::from_slice).ok_or(Violation::Header)?;
        let len = bhs.data_segment_length();
        // At most 76 + 1,020 + 2²⁴: no sum can overflow.
        let ahs = HEADERS..HEADERS + bhs.ahs_bytes();
        let data = ahs.end..ahs.end + len as usize;
        if len > segment || data.end > message.len() {
            return Err(Violation::Length(len));
        }
        Ok(Self { bhs, remote, ahs, data })
    }
}
