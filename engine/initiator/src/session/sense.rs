//! Sense data (SPC-4 §4.5), as far as a message needs it.

use std::fmt;

/// Sense key and additional sense code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sense {
    /// SENSE KEY.
    pub key: u8,
    /// ADDITIONAL SENSE CODE.
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub ascq: u8,
}

impl Sense {
    /// Reads fixed and descriptor format; `None` when it is neither, or too short to have a key.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let at = |i: usize| bytes.get(i).copied();
        match at(0)? & 0x7f {
            0x70 | 0x71 => {
                Some(Self { key: at(2)? & 0x0f, asc: at(12).unwrap_or_default(), ascq: at(13).unwrap_or_default() })
            }
            0x72 | 0x73 => {
                Some(Self { key: at(1)? & 0x0f, asc: at(2).unwrap_or_default(), ascq: at(3).unwrap_or_default() })
            }
            _ => None,
        }
    }
}

const KEYS: [&str; 16] = [
    "NO SENSE",
    "RECOVERED ERROR",
    "NOT READY",
    "MEDIUM ERROR",
    "HARDWARE ERROR",
    "ILLEGAL REQUEST",
    "UNIT ATTENTION",
    "DATA PROTECT",
    "BLANK CHECK",
    "VENDOR SPECIFIC",
    "COPY ABORTED",
    "ABORTED COMMAND",
    "RESERVED",
    "VOLUME OVERFLOW",
    "MISCOMPARE",
    "COMPLETED",
];

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = KEYS[usize::from(self.key & 0x0f)];
        write!(f, "{key} ({:x}h), ASC/ASCQ {:02x}h/{:02x}h", self.key, self.asc, self.ascq)
    }
}

/// The name of a SCSI status (SAM-5 §5.3.1).
pub(super) fn status_name(status: u8) -> &'static str {
    match status {
        super::status::GOOD => "GOOD",
        super::status::CHECK_CONDITION => "CHECK CONDITION",
        0x04 => "CONDITION MET",
        super::status::BUSY => "BUSY",
        super::status::RESERVATION_CONFLICT => "RESERVATION CONFLICT",
        super::status::TASK_SET_FULL => "TASK SET FULL",
        0x30 => "ACA ACTIVE",
        0x40 => "TASK ABORTED",
        _ => "unknown status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let fixed = [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 1];
        let expected = Sense { key: 5, asc: 0x20, ascq: 1 };
        assert_eq!(Sense::decode(&fixed), Some(expected));
        assert_eq!(Sense::decode(&[0x72, 5, 0x20, 1]), Some(expected));
        assert_eq!(expected.to_string(), "ILLEGAL REQUEST (5h), ASC/ASCQ 20h/01h");
    }

    #[test]
    fn short_and_foreign_data_do_no_harm() {
        assert_eq!(Sense::decode(&[]), None);
        assert_eq!(Sense::decode(&[0x70, 0]), None);
        assert_eq!(Sense::decode(&[0x72]), None);
        assert_eq!(Sense::decode(&[0x7f, 5, 5, 5]), None);
        assert_eq!(Sense::decode(&[0xf0, 0, 0xf6]), Some(Sense { key: 6, asc: 0, ascq: 0 }));
    }
}
