//! Sense data (SPC-4): what it says, and its fixed and descriptor formats.

use primitives::span;

/// Sense key (SPC-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the standard's")]
pub enum SenseKey {
    NoSense = 0x0,
    NotReady = 0x2,
    MediumError = 0x3,
    HardwareError = 0x4,
    IllegalRequest = 0x5,
    UnitAttention = 0x6,
    DataProtect = 0x7,
    AbortedCommand = 0xB,
    Miscompare = 0xE,
}

/// The byte (and bit) of the CDB or parameter list that was at fault (SPC-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPointer {
    /// The field is in the CDB; otherwise in the Data-Out parameter list.
    pub in_cdb: bool,
    /// Byte offset of the field, of its most significant byte when it has several.
    pub byte: u16,
    /// Most significant bit of the field in that byte, when the fault is narrower than the byte.
    pub bit: Option<u8>,
}

/// Which sense format the initiator gets: D_SENSE of the Control mode page, or DESC of REQUEST SENSE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SenseFormat {
    /// Response code 70h, 18 bytes.
    #[default]
    Fixed,
    /// Response code 72h, 8 bytes and descriptors.
    Descriptor,
}

/// Why a command ended with CHECK CONDITION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
    /// INFORMATION: the LBA of a medium error, the offset of a miscompare.
    pub information: Option<u64>,
    /// The field at fault of an ILLEGAL REQUEST.
    pub field: Option<FieldPointer>,
}

macro_rules! senses {
    ($($(#[$doc:meta])* $name:ident = $key:ident $asc:literal $ascq:literal;)*) => {
        impl Sense {
            $($(#[$doc])* pub const $name: Self = Self::new(SenseKey::$key, $asc, $ascq);)*
        }
    };
}

senses! {
    /// NO ADDITIONAL SENSE INFORMATION
    NONE = NoSense 0x00 0x00;
    /// LOGICAL UNIT IS IN PROCESS OF BECOMING READY
    BECOMING_READY = NotReady 0x04 0x01;
    /// LOGICAL UNIT NOT READY, INITIALIZING COMMAND REQUIRED
    INITIALIZING_COMMAND_REQUIRED = NotReady 0x04 0x02;
    /// WRITE ERROR
    WRITE_ERROR = MediumError 0x0C 0x00;
    /// UNRECOVERED READ ERROR
    UNRECOVERED_READ_ERROR = MediumError 0x11 0x00;
    /// INTERNAL TARGET FAILURE
    INTERNAL_TARGET_FAILURE = HardwareError 0x44 0x00;
    /// INVALID FIELD IN COMMAND INFORMATION UNIT
    INVALID_FIELD_IN_INFORMATION_UNIT = IllegalRequest 0x0E 0x03;
    /// PARAMETER LIST LENGTH ERROR
    PARAMETER_LIST_LENGTH_ERROR = IllegalRequest 0x1A 0x00;
    /// INVALID COMMAND OPERATION CODE
    INVALID_OPERATION_CODE = IllegalRequest 0x20 0x00;
    /// LOGICAL BLOCK ADDRESS OUT OF RANGE
    LBA_OUT_OF_RANGE = IllegalRequest 0x21 0x00;
    /// INVALID FIELD IN CDB
    INVALID_FIELD_IN_CDB = IllegalRequest 0x24 0x00;
    /// LOGICAL UNIT NOT SUPPORTED
    LOGICAL_UNIT_NOT_SUPPORTED = IllegalRequest 0x25 0x00;
    /// INVALID FIELD IN PARAMETER LIST
    INVALID_FIELD_IN_PARAMETER_LIST = IllegalRequest 0x26 0x00;
    /// SAVING PARAMETERS NOT SUPPORTED
    SAVING_PARAMETERS_NOT_SUPPORTED = IllegalRequest 0x39 0x00;
    /// INVALID MESSAGE ERROR
    INVALID_MESSAGE_ERROR = IllegalRequest 0x49 0x00;
    /// WRITE PROTECTED
    WRITE_PROTECTED = DataProtect 0x27 0x00;
    /// LOGICAL UNIT SOFTWARE WRITE PROTECTED
    SOFTWARE_WRITE_PROTECTED = DataProtect 0x27 0x02;
    /// SPACE ALLOCATION FAILED WRITE PROTECT
    SPACE_ALLOCATION_FAILED = DataProtect 0x27 0x07;
    /// ABORTED COMMAND with no additional sense information
    ABORTED = AbortedCommand 0x00 0x00;
    /// MISCOMPARE DURING VERIFY OPERATION
    MISCOMPARE = Miscompare 0x1D 0x00;
}

/// Response codes of current errors (SPC-4).
const FIXED_CURRENT: u8 = 0x70;
const DESCRIPTOR_CURRENT: u8 = 0x72;
/// Descriptor types (SPC-4) and their ADDITIONAL LENGTH.
const INFORMATION: [u8; 2] = [0x00, 0x0A];
const SENSE_KEY_SPECIFIC: [u8; 2] = [0x02, 0x06];
const VALID: u8 = 0x80;

impl Sense {
    /// Sense with neither information nor field pointer.
    #[must_use]
    pub const fn new(key: SenseKey, asc: u8, ascq: u8) -> Self {
        Self { key, asc, ascq, information: None, field: None }
    }

    /// The same sense with INFORMATION set.
    #[must_use]
    pub const fn with_information(mut self, information: u64) -> Self {
        self.information = Some(information);
        self
    }

    /// INVALID FIELD IN CDB at `byte`.
    #[must_use]
    pub const fn cdb_byte(byte: u16) -> Self {
        Self::INVALID_FIELD_IN_CDB.at(FieldPointer { in_cdb: true, byte, bit: None })
    }

    /// INVALID FIELD IN CDB at `byte`; the field's most significant bit is `bit`.
    #[must_use]
    pub const fn cdb_bit(byte: u16, bit: u8) -> Self {
        Self::INVALID_FIELD_IN_CDB.at(FieldPointer { in_cdb: true, byte, bit: Some(bit) })
    }

    /// INVALID FIELD IN PARAMETER LIST at `byte`; a byte beyond what a pointer can say is left out.
    #[must_use]
    pub fn list_byte(byte: usize) -> Self {
        match u16::try_from(byte) {
            Ok(byte) => Self::INVALID_FIELD_IN_PARAMETER_LIST.at(FieldPointer { in_cdb: false, byte, bit: None }),
            Err(_) => Self::INVALID_FIELD_IN_PARAMETER_LIST,
        }
    }

    pub(crate) const fn at(mut self, field: FieldPointer) -> Self {
        self.field = Some(field);
        self
    }

    /// Writes the sense in `format` and returns its length; a shorter `out` gets the front of it.
    #[must_use]
    pub fn encode(&self, format: SenseFormat, out: &mut [u8]) -> usize {
        let mut bytes = [0u8; crate::limits::SENSE];
        let len = match format {
            SenseFormat::Fixed => self.fixed(&mut bytes),
            SenseFormat::Descriptor => self.descriptor(&mut bytes),
        };
        let len = len.min(out.len());
        for (to, from) in out.iter_mut().zip(bytes).take(len) {
            *to = from;
        }
        len
    }

    /// Fixed format (SPC-4). INFORMATION has four bytes there: a larger value is left out, as VALID=0 says.
    fn fixed(&self, out: &mut [u8; crate::limits::SENSE]) -> usize {
        const LEN: u8 = 18;
        let information = self.information.and_then(|value| u32::try_from(value).ok());
        let valid = if information.is_some() { VALID } else { 0 };
        let [a, b, c, d] = information.unwrap_or(0).to_be_bytes();
        let [x, y, z] = self.field_bytes();
        let head = [FIXED_CURRENT | valid, 0, self.key as u8, a, b, c, d, LEN - 8];
        let tail = [self.asc, self.ascq, 0, x, y, z];
        for (to, from) in out.iter_mut().zip(head.into_iter().chain([0; 4]).chain(tail)) {
            *to = from;
        }
        usize::from(LEN)
    }

    /// Descriptor format (SPC-4).
    fn descriptor(&self, out: &mut [u8; crate::limits::SENSE]) -> usize {
        let mut reply = crate::reply::Reply::new(out);
        reply.bytes(&[DESCRIPTOR_CURRENT, self.key as u8, self.asc, self.ascq, 0, 0, 0, 0]);
        if let Some(information) = self.information {
            reply.bytes(&INFORMATION);
            reply.bytes(&[VALID, 0]);
            reply.u64(information);
        }
        if self.field.is_some() {
            reply.bytes(&SENSE_KEY_SPECIFIC);
            reply.zeros(2);
            reply.bytes(&self.field_bytes());
            reply.zeros(1);
        }
        reply.patch_u8(7, reply.len().saturating_sub(8));
        reply.len()
    }

    /// SENSE KEY SPECIFIC of an ILLEGAL REQUEST: SKSV, C/D, BPV and the pointers; zero when there is nothing to say.
    fn field_bytes(&self) -> [u8; 3] {
        let Some(field) = self.field else { return [0; 3] };
        let mut bytes = [VALID, 0, 0];
        if field.in_cdb {
            bytes[0] |= 0x40;
        }
        if let Some(bit) = field.bit {
            bytes[0] |= 0x08 | (bit & 0x07);
        }
        // A u16 at byte 1 of three bytes always fits.
        let _ = span::put_be16(&mut bytes, 1, field.byte);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(sense: Sense, format: SenseFormat) -> ([u8; 28], usize) {
        let mut out = [0xDB; 28];
        let len = sense.encode(format, &mut out);
        (out, len)
    }

    #[test]
    fn fixed_format_has_key_code_and_field() {
        let (out, len) = encoded(Sense::cdb_bit(0x0102, 5), SenseFormat::Fixed);
        assert_eq!(len, 18);
        assert_eq!(out[..18], [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xCD, 1, 2]);
        assert!(out[18..].iter().all(|&b| b == 0xDB));
        let (out, _) = encoded(Sense::list_byte(7), SenseFormat::Fixed);
        assert_eq!(out[12..18], [0x26, 0, 0, 0x80, 0, 7]);
    }

    #[test]
    fn fixed_format_leaves_out_information_it_cannot_hold() {
        let (out, _) = encoded(Sense::UNRECOVERED_READ_ERROR.with_information(0x0102_0304), SenseFormat::Fixed);
        assert_eq!(out[..8], [0xF0, 0, 3, 1, 2, 3, 4, 10]);
        let (out, _) = encoded(Sense::UNRECOVERED_READ_ERROR.with_information(1 << 32), SenseFormat::Fixed);
        assert_eq!(out[..8], [0x70, 0, 3, 0, 0, 0, 0, 10]);
    }

    #[test]
    fn descriptor_format_grows_by_what_there_is_to_say() {
        let (out, len) = encoded(Sense::LBA_OUT_OF_RANGE, SenseFormat::Descriptor);
        assert_eq!((len, &out[..8]), (8, &[0x72, 5, 0x21, 0, 0, 0, 0, 0][..]));
        let (out, len) = encoded(Sense::MISCOMPARE.with_information(1 << 40), SenseFormat::Descriptor);
        assert_eq!(len, 20);
        assert_eq!(out[7..20], [12, 0, 10, 0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
        let (out, len) = encoded(Sense::cdb_byte(1).with_information(2), SenseFormat::Descriptor);
        assert_eq!(len, crate::limits::SENSE);
        assert_eq!(out[7], 20);
        assert_eq!(out[20..28], [2, 6, 0, 0, 0xC0, 0, 1, 0]);
    }

    #[test]
    fn a_short_buffer_gets_the_front() {
        let sense = Sense::cdb_byte(3).with_information(9);
        for format in [SenseFormat::Fixed, SenseFormat::Descriptor] {
            let (whole, len) = encoded(sense, format);
            for room in 0..=28 {
                let mut out = [0xDB; 28];
                assert_eq!(sense.encode(format, &mut out[..room]), len.min(room));
                assert_eq!(out[..len.min(room)], whole[..len.min(room)]);
                assert!(out[len.min(room)..].iter().all(|&b| b == 0xDB));
            }
        }
    }
}
