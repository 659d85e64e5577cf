//! NOP-Out and NOP-In (RFC 7143 §11.18, §11.19).
use super::layout::{At, Bit, pdu};
use primitives::Serial;

pdu! {
    /// NOP-Out (RFC 7143 §11.18): a ping when `itt` is valid, the answer to one when `ttt` is.
    NopOut = NOP_OUT, fixed [(1, 0x80)] {
        immediate: bool = Bit(0, 0x40),
        lun: [u8; 8] = At(8),
        itt: u32 = At(16),
        ttt: u32 = At(20),
        cmd_sn: Serial = At(24),
        exp_stat_sn: Serial = At(28),
    }
}

pdu! {
    /// NOP-In (RFC 7143 §11.19): the answer to a ping when `itt` is valid, a ping when `ttt` is.
    NopIn = NOP_IN, fixed [(1, 0x80)] {
        lun: [u8; 8] = At(8),
        itt: u32 = At(16),
        ttt: u32 = At(20),
        /// The next StatSN; used up only when this answers a ping (RFC 7143 §11.19.2).
        stat_sn: Serial = At(24),
        exp_cmd_sn: Serial = At(28),
        max_cmd_sn: Serial = At(32),
    }
}
