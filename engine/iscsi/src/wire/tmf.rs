//! Task management (RFC 7143 §11.5, §11.6; RFC 7144 §6).
use super::layout::{At, Bit, Bits, pdu};
use primitives::Serial;

/// Task management functions (RFC 7143 §11.5.1, RFC 7144 §6.3).
pub mod function {
    pub const ABORT_TASK: u8 = 1;
    pub const ABORT_TASK_SET: u8 = 2;
    pub const CLEAR_ACA: u8 = 3;
    pub const CLEAR_TASK_SET: u8 = 4;
    pub const LOGICAL_UNIT_RESET: u8 = 5;
    pub const TARGET_WARM_RESET: u8 = 6;
    pub const TARGET_COLD_RESET: u8 = 7;
    pub const TASK_REASSIGN: u8 = 8;
    /// This and the next three only when iSCSIProtocolLevel is 2 or more.
    pub const QUERY_TASK: u8 = 9;
    pub const QUERY_TASK_SET: u8 = 10;
    pub const I_T_NEXUS_RESET: u8 = 11;
    pub const QUERY_ASYNCHRONOUS_EVENT: u8 = 12;
}

/// Task management responses (RFC 7143 §11.6.1, RFC 7144 §6.4.2).
pub mod tmf_response {
    pub const FUNCTION_COMPLETE: u8 = 0;
    pub const TASK_DOES_NOT_EXIST: u8 = 1;
    pub const LUN_DOES_NOT_EXIST: u8 = 2;
    pub const TASK_STILL_ALLEGIANT: u8 = 3;
    pub const REASSIGNMENT_NOT_SUPPORTED: u8 = 4;
    pub const FUNCTION_NOT_SUPPORTED: u8 = 5;
    pub const FUNCTION_AUTHORIZATION_FAILED: u8 = 6;
    /// The answer "yes" to a query; only when iSCSIProtocolLevel is 2 or more.
    pub const FUNCTION_SUCCEEDED: u8 = 7;
    pub const FUNCTION_REJECTED: u8 = 255;
}

pdu! {
    /// Task Management Function Request (RFC 7143 §11.5).
    TmfRequest = TMF_REQUEST, fixed [(1, 0x80)] {
        immediate: bool = Bit(0, 0x40),
        /// One of [`function`].
        function: u8 = Bits(1, 0x7f),
        lun: [u8; 8] = At(8),
        itt: u32 = At(16),
        /// Referenced Task Tag: the task to abort or reassign, else [`RESERVED_TAG`](super::RESERVED_TAG).
        referenced_task_tag: u32 = At(20),
        cmd_sn: Serial = At(24),
        exp_stat_sn: Serial = At(28),
        /// CmdSN of the task to abort.
        ref_cmd_sn: Serial = At(32),
        exp_data_sn: Serial = At(36),
    }
}

pdu! {
    /// Task Management Function Response (RFC 7143 §11.6).
    TmfResponse = TMF_RESPONSE, fixed [(1, 0x80)] {
        /// One of [`tmf_response`].
        response: u8 = At(2),
        /// SAM additional response information (RFC 7144 §6.4.1).
        additional: [u8; 3] = At(8),
        itt: u32 = At(16),
        stat_sn: Serial = At(24),
        exp_cmd_sn: Serial = At(28),
        max_cmd_sn: Serial = At(32),
    }
}
