//! Logout Request and Logout Response (RFC 7143 §11.14, §11.15).
use super::layout::{At, Bit, Bits, pdu};
use primitives::Serial;

/// Logout reasons (RFC 7143 §11.14.1).
pub mod logout_reason {
    pub const CLOSE_SESSION: u8 = 0;
    pub const CLOSE_CONNECTION: u8 = 1;
    pub const REMOVE_FOR_RECOVERY: u8 = 2;
}

/// Logout responses (RFC 7143 §11.15.1).
pub mod logout_response {
    pub const CLOSED: u8 = 0;
    pub const CID_NOT_FOUND: u8 = 1;
    pub const RECOVERY_NOT_SUPPORTED: u8 = 2;
    pub const CLEANUP_FAILED: u8 = 3;
}

pdu! {
    /// Logout Request (RFC 7143 §11.14).
    LogoutRequest = LOGOUT_REQUEST, fixed [(1, 0x80)] {
        immediate: bool = Bit(0, 0x40),
        /// One of [`logout_reason`].
        reason: u8 = Bits(1, 0x7f),
        itt: u32 = At(16),
        /// The connection to close; not used when the whole session is closed.
        cid: u16 = At(20),
        cmd_sn: Serial = At(24),
        exp_stat_sn: Serial = At(28),
    }
}

pdu! {
    /// Logout Response (RFC 7143 §11.15).
    LogoutResponse = LOGOUT_RESPONSE, fixed [(1, 0x80)] {
        /// One of [`logout_response`].
        response: u8 = At(2),
        itt: u32 = At(16),
        stat_sn: Serial = At(24),
        exp_cmd_sn: Serial = At(28),
        max_cmd_sn: Serial = At(32),
        /// Seconds to wait before reconnecting.
        time2wait: u16 = At(40),
        /// Seconds after Time2Wait during which tasks are kept for reassignment.
        time2retain: u16 = At(42),
    }
}
