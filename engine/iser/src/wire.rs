//! The iSER header in front of every Send (RFC 7145 §9).

use core::fmt;
use iscsi::datamover::Advertised;

pub use iscsi::datamover::Advertisement;

/// Bytes of the header.
pub const HEADER: usize = 28;

/// Bytes in front of a PDU's data segment: iSER header and basic header segment.
pub const HEADERS: usize = HEADER + iscsi::wire::BHS_LEN;

const CONTROL: u8 = 0x1;
const HELLO: u8 = 0x2;
const HELLO_REPLY: u8 = 0x3;

const WSV: u8 = 0x08;
const RSV: u8 = 0x04;
const REJECT: u8 = 0x01;

/// The only version of the protocol (RFC 7145 §9.3).
pub const VERSION: u8 = 10;

/// A decoded header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Header {
    /// Precedes an iSCSI control-type PDU (§9.2).
    Control {
        /// The buffer that RDMA Reads fetch write data from (WSV).
        write: Option<Advertisement>,
        /// The buffer that RDMA Writes put read data into (RSV).
        read: Option<Advertisement>,
    },
    /// iSERHello (§9.3).
    Hello {
        /// Highest version the initiator speaks.
        max_version: u8,
        /// Lowest.
        min_version: u8,
        /// iSER-IRD: RDMA Reads it serves at once.
        ird: u16,
    },
    /// iSERHelloReply (§9.4).
    HelloReply {
        /// The target refuses.
        reject: bool,
        /// Highest version the target speaks.
        max_version: u8,
        /// The version chosen.
        version: u8,
        /// iSER-ORD: RDMA Reads it will have outstanding at most.
        ord: u16,
    },
}

/// Why bytes are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Fewer than [`HEADER`] bytes; how many.
    Short(usize),
    /// An opcode RFC 7145 §9.1 does not define.
    Opcode(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(n) => write!(f, "a message of {n} bytes is too short for an iSER header of {HEADER}"),
            Self::Opcode(opcode) => write!(f, "unknown iSER opcode {opcode:#x}"),
        }
    }
}

impl Header {
    /// A control-type PDU without buffers: everything a target sends.
    pub const PLAIN: Self = Self::Control { write: None, read: None };

    /// The bytes of [`Header::PLAIN`].
    pub(crate) const PLAIN_BYTES: [u8; HEADER] = {
        let mut bytes = [0; HEADER];
        bytes[0] = CONTROL << 4;
        bytes
    };

    /// A message begins with the header of a control-type PDU.
    #[inline]
    pub(crate) fn is_control(message: &[u8]) -> bool {
        message.len() >= HEADER && message[0] >> 4 == CONTROL
    }

    /// What is advertised in the header of a control-type PDU.
    #[inline]
    pub(crate) fn advertised(header: &[u8; HEADER]) -> Advertised {
        let buffer = |flag, at| if header[0] & flag != 0 { advertisement(header, at) } else { None };
        Advertised { write: buffer(WSV, 4), read: buffer(RSV, 16) }
    }

    /// Reads the header at the beginning of a message. Reserved bits are ignored, and fields whose flag is not set.
    ///
    /// # Errors
    /// [`Malformed`].
    #[inline]
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let Some(bytes) = message.first_chunk::<HEADER>() else { return Err(Malformed::Short(message.len())) };
        let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        match bytes[0] >> 4 {
            CONTROL => {
                let Advertised { write, read } = Self::advertised(bytes);
                Ok(Self::Control { write, read })
            }
            HELLO => Ok(Self::Hello { max_version: bytes[1] >> 4, min_version: bytes[1] & 0xF, ird: half(2) }),
            HELLO_REPLY => Ok(Self::HelloReply {
                reject: bytes[0] & REJECT != 0,
                max_version: bytes[1] >> 4,
                version: bytes[1] & 0xF,
                ord: half(2),
            }),
            opcode => Err(Malformed::Opcode(opcode)),
        }
    }

    /// The header's bytes.
    #[must_use]
    #[inline]
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        match *self {
            Self::Control { write, read } => {
                bytes[0] = CONTROL << 4;
                for (buffer, flag, at) in [(write, WSV, 4), (read, RSV, 16)] {
                    if let Some(Advertisement { stag, va }) = buffer {
                        bytes[0] |= flag;
                        bytes[at..at + 4].copy_from_slice(&stag.to_be_bytes());
                        bytes[at + 4..at + 12].copy_from_slice(&va.to_be_bytes());
                    }
                }
            }
            Self::Hello { max_version, min_version, ird } => {
                bytes[0] = HELLO << 4;
                bytes[1] = max_version << 4 | min_version & 0xF;
                bytes[2..4].copy_from_slice(&ird.to_be_bytes());
            }
            Self::HelloReply { reject, max_version, version, ord } => {
                bytes[0] = HELLO_REPLY << 4 | if reject { REJECT } else { 0 };
                bytes[1] = max_version << 4 | version & 0xF;
                bytes[2..4].copy_from_slice(&ord.to_be_bytes());
            }
        }
        bytes
    }
}

#[inline]
fn advertisement(bytes: &[u8; HEADER], at: usize) -> Option<Advertisement> {
    let stag = bytes.get(at..at + 4)?.try_into().ok()?;
    let va = bytes.get(at + 4..at + 12)?.try_into().ok()?;
    Some(Advertisement { stag: u32::from_be_bytes(stag), va: u64::from_be_bytes(va) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER: Advertisement = Advertisement { stag: 0x0102_0304, va: 0x1112_1314_1516_1718 };

    #[test]
    fn a_control_header_has_its_fields_where_the_rfc_puts_them() {
        let write = [0x18, 0, 0, 0, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18];
        let mut expected = [0; HEADER];
        expected[..16].copy_from_slice(&write);
        assert_eq!(Header::Control { write: Some(BUFFER), read: None }.encode(), expected);
        assert_eq!(Header::PLAIN.encode(), Header::PLAIN_BYTES);
        let read = [1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18];
        expected = [0; HEADER];
        expected[0] = 0x14;
        expected[16..].copy_from_slice(&read);
        assert_eq!(Header::Control { write: None, read: Some(BUFFER) }.encode(), expected);
        expected = [0; HEADER];
        expected[0] = 0x10;
        assert_eq!(Header::PLAIN.encode(), expected);
    }

    #[test]
    fn hello_and_its_reply_have_their_fields_where_the_rfc_puts_them() {
        let hello = Header::Hello { max_version: 10, min_version: 9, ird: 0x0102 }.encode();
        assert_eq!((&hello[..4], &hello[4..]), (&[0x20, 0xA9, 1, 2][..], &[0; 24][..]));
        let reply = Header::HelloReply { reject: true, max_version: 10, version: 10, ord: 0x0304 }.encode();
        assert_eq!((&reply[..4], &reply[4..]), (&[0x31, 0xAA, 3, 4][..], &[0; 24][..]));
    }

    #[test]
    fn headers_survive_the_wire_with_whatever_follows_them() {
        let buffers = [None, Some(BUFFER), Some(Advertisement { stag: u32::MAX, va: u64::MAX })];
        for write in buffers {
            for read in buffers {
                let header = Header::Control { write, read };
                assert_eq!(Header::decode(&[&header.encode()[..], b"more"].concat()), Ok(header));
            }
        }
        for reject in [false, true] {
            let reply = Header::HelloReply { reject, max_version: 10, version: 10, ord: u16::MAX };
            assert_eq!(Header::decode(&reply.encode()), Ok(reply));
            let hello = Header::Hello { max_version: 15, min_version: 0, ird: 1 };
            assert_eq!(Header::decode(&hello.encode()), Ok(hello));
        }
    }

    #[test]
    fn reserved_bits_and_fields_without_their_flags_are_ignored() {
        let mut bytes = [0xFF; HEADER];
        bytes[0] = 0x13;
        assert_eq!(Header::decode(&bytes), Ok(Header::PLAIN));
        bytes[0] = 0x2F;
        assert_eq!(Header::decode(&bytes), Ok(Header::Hello { max_version: 15, min_version: 15, ird: u16::MAX }));
    }

    #[test]
    fn what_is_no_header_says_why() {
        for len in 0..HEADER {
            assert_eq!(Header::decode(&[0x10; HEADER][..len]), Err(Malformed::Short(len)));
        }
        for opcode in (0..16).filter(|opcode| !(1..=3).contains(opcode)) {
            assert_eq!(Header::decode(&[opcode << 4; HEADER]), Err(Malformed::Opcode(opcode)));
        }
    }
}
