//! Reject (RFC 7143 §11.17). Its data segment is the header of the refused PDU.
use super::layout::{At, pdu};
use primitives::Serial;

/// Reject reasons (RFC 7143 §11.17.1). 0x0b is deprecated and must not be sent.
pub mod reject_reason {
    pub const DATA_DIGEST_ERROR: u8 = 0x02;
    pub const SNACK_REJECT: u8 = 0x03;
    pub const PROTOCOL_ERROR: u8 = 0x04;
    pub const COMMAND_NOT_SUPPORTED: u8 = 0x05;
    pub const TOO_MANY_IMMEDIATE_COMMANDS: u8 = 0x06;
    pub const TASK_IN_PROGRESS: u8 = 0x07;
    pub const INVALID_DATA_ACK: u8 = 0x08;
    pub const INVALID_PDU_FIELD: u8 = 0x09;
    pub const OUT_OF_RESOURCES: u8 = 0x0a;
    pub const WAITING_FOR_LOGOUT: u8 = 0x0c;
}

pdu! {
    /// Reject (RFC 7143 §11.17).
    Reject = REJECT, fixed [(1, 0x80), (16, 0xff), (17, 0xff), (18, 0xff), (19, 0xff)] {
        /// One of [`reject_reason`].
        reason: u8 = At(2),
        stat_sn: Serial = At(24),
        exp_cmd_sn: Serial = At(28),
        max_cmd_sn: Serial = At(32),
        /// Valid only for a rejected Data/R2T SNACK.
        data_sn: Serial = At(36),
    }
}
