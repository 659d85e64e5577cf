//! Asynchronous Message (RFC 7143 §11.9).
use super::layout::{At, pdu};
use primitives::Serial;

/// Asynchronous events (RFC 7143 §11.9.1).
pub mod event {
    pub const SCSI: u8 = 0;
    pub const LOGOUT_REQUEST: u8 = 1;
    pub const CONNECTION_DROP: u8 = 2;
    pub const SESSION_DROP: u8 = 3;
    pub const NEGOTIATION_REQUEST: u8 = 4;
    /// Only when TaskReporting is FastAbort.
    pub const TASK_TERMINATION: u8 = 5;
    pub const VENDOR: u8 = 255;
}

pdu! {
    /// Asynchronous Message (RFC 7143 §11.9).
    AsyncMessage = ASYNC_MESSAGE, fixed [(1, 0x80), (16, 0xff), (17, 0xff), (18, 0xff), (19, 0xff)] {
        lun: [u8; 8] = At(8),
        stat_sn: Serial = At(24),
        exp_cmd_sn: Serial = At(28),
        max_cmd_sn: Serial = At(32),
        /// One of [`event`].
        event: u8 = At(36),
        vendor_code: u8 = At(37),
        /// CID of the dropped connection.
        parameter1: u16 = At(38),
        /// Time2Wait in seconds.
        parameter2: u16 = At(40),
        /// Time2Retain, or the time allowed to log out, in seconds.
        parameter3: u16 = At(42),
    }
}
