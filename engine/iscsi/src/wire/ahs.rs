//! Additional header segments (RFC 7143 §11.2.2).
use primitives::span;

/// AHSType codes.
const EXTENDED_CDB: u8 = 1;
const BIDI_READ_LENGTH: u8 = 2;

/// The bytes of a CDB that the BHS holds.
const BHS_CDB: usize = 16;

/// What the additional header segments of one PDU say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ahs<'a> {
    /// The CDB beyond its first 16 bytes; empty when there is no extended CDB.
    pub extended_cdb: &'a [u8],
    /// Bidirectional Read Expected Data Transfer Length, in bytes.
    pub bidi_read_length: Option<u32>,
}

/// Why additional header segments cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AhsError {
    /// A segment runs past the end, or has a length its type cannot have.
    Length,
    /// A reserved AHSType.
    Type,
    /// Two segments of one type.
    Twice,
}

/// Reads all segments in `bytes`, which is exactly TotalAHSLength words long.
///
/// # Errors
/// [`AhsError`]; the PDU is then malformed (RFC 7143 §7.7).
pub fn parse(bytes: &[u8]) -> Result<Ahs<'_>, AhsError> {
    let mut ahs = Ahs::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (length, kind) = (span::be16(rest, 0).ok_or(AhsError::Length)?, rest.get(2).ok_or(AhsError::Length)?);
        // AHSLength leaves out itself and AHSType, but counts the reserved byte 3 (§11.2.2.3).
        let end = usize::from(length) + 3;
        let body = rest.get(4..end).ok_or(AhsError::Length)?;
        match kind & 0x3f {
            EXTENDED_CDB if !ahs.extended_cdb.is_empty() => return Err(AhsError::Twice),
            EXTENDED_CDB if body.is_empty() => return Err(AhsError::Length),
            EXTENDED_CDB => ahs.extended_cdb = body,
            BIDI_READ_LENGTH if ahs.bidi_read_length.is_some() => return Err(AhsError::Twice),
            BIDI_READ_LENGTH if body.len() != 4 => return Err(AhsError::Length),
            BIDI_READ_LENGTH => ahs.bidi_read_length = span::be32(body, 0),
            _ => return Err(AhsError::Type),
        }
        rest = span::padded(end).and_then(|end| rest.get(end..)).ok_or(AhsError::Length)?;
    }
    Ok(ahs)
}

/// Writes the segment for a CDB longer than 16 bytes: `tail` is what follows its first 16. Returns the words
/// written (TotalAHSLength); `None` when `out` is too small, or `tail` is empty or too long for the format.
pub fn write_extended_cdb(tail: &[u8], out: &mut [u8]) -> Option<u8> {
    let total = span::padded(tail.len().checked_add(4)?)?;
    let words = u8::try_from(total / 4).ok()?;
    if tail.is_empty() {
        return None;
    }
    let out = out.get_mut(..total)?;
    out.fill(0);
    span::put_be16(out, 0, u16::try_from(tail.len() + 1).ok()?)?;
    out[2] = EXTENDED_CDB;
    out.get_mut(4..4 + tail.len())?.copy_from_slice(tail);
    Some(words)
}

/// Copies a whole CDB into `out`: the 16 bytes of the header and the extension. Returns its length; `None` when
/// `out` is too small.
pub fn join_cdb(head: &[u8; BHS_CDB], ahs: &Ahs<'_>, out: &mut [u8]) -> Option<usize> {
    let len = BHS_CDB.checked_add(ahs.extended_cdb.len())?;
    let out = out.get_mut(..len)?;
    out[..BHS_CDB].copy_from_slice(head);
    out[BHS_CDB..].copy_from_slice(ahs.extended_cdb);
    Some(len)
}
