//! SNACK Request (RFC 7143 §11.16). At ErrorRecoveryLevel 0 it is only ever rejected.
use super::layout::{At, Bits, pdu};
use primitives::Serial;

/// SNACK types (RFC 7143 §11.16.1).
pub mod snack_type {
    pub const DATA_OR_R2T: u8 = 0;
    pub const STATUS: u8 = 1;
    pub const DATA_ACK: u8 = 2;
    pub const R_DATA: u8 = 3;
}

pdu! {
    /// SNACK Request (RFC 7143 §11.16).
    SnackRequest = SNACK_REQUEST, fixed [(1, 0x80)] {
        /// One of [`snack_type`].
        kind: u8 = Bits(1, 0x0f),
        lun: [u8; 8] = At(8),
        itt: u32 = At(16),
        /// Target Transfer Tag or SNACK Tag.
        ttt: u32 = At(20),
        exp_stat_sn: Serial = At(28),
        begin_run: Serial = At(40),
        run_length: u32 = At(44),
    }
}
