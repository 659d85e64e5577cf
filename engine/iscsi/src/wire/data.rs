//! SCSI Data-Out, SCSI Data-In and Ready To Transfer (RFC 7143 §11.7, §11.8).
use super::layout::{At, Bit, pdu};
use primitives::Serial;

pdu! {
    /// SCSI Data-Out (RFC 7143 §11.7).
    DataOut = DATA_OUT, fixed [] {
        /// Ends the unsolicited burst, or the burst an R2T asked for.
        final_bit: bool = Bit(1, 0x80),
        lun: [u8; 8] = At(8),
        itt: u32 = At(16),
        /// The R2T this answers; [`RESERVED_TAG`](super::RESERVED_TAG) when unsolicited.
        ttt: u32 = At(20),
        exp_stat_sn: Serial = At(28),
        data_sn: Serial = At(36),
        /// Where in the whole transfer this segment begins, in bytes.
        buffer_offset: u32 = At(40),
    }
}

pdu! {
    /// SCSI Data-In (RFC 7143 §11.7).
    DataIn = DATA_IN, fixed [] {
        /// Ends a sequence.
        final_bit: bool = Bit(1, 0x80),
        /// Asks for a Data ACK SNACK; only at ErrorRecoveryLevel 1 or more.
        acknowledge: bool = Bit(1, 0x40),
        overflow: bool = Bit(1, 0x04),
        underflow: bool = Bit(1, 0x02),
        /// The S bit: status, StatSN and residual are valid and no SCSI Response follows.
        has_status: bool = Bit(1, 0x01),
        status: u8 = At(3),
        lun: [u8; 8] = At(8),
        itt: u32 = At(16),
        ttt: u32 = At(20),
        /// Valid only with `has_status`.
        stat_sn: Serial = At(24),
        exp_cmd_sn: Serial = At(28),
        max_cmd_sn: Serial = At(32),
        data_sn: Serial = At(36),
        /// Where in the whole transfer this segment begins, in bytes.
        buffer_offset: u32 = At(40),
        residual: u32 = At(44),
    }
}

pdu! {
    /// Ready To Transfer (RFC 7143 §11.8).
    R2t = R2T, fixed [(1, 0x80)] {
        lun: [u8; 8] = At(8),
        itt: u32 = At(16),
        ttt: u32 = At(20),
        /// The next StatSN; an R2T does not use one up (RFC 7143 §11.8.3).
        stat_sn: Serial = At(24),
        exp_cmd_sn: Serial = At(28),
        max_cmd_sn: Serial = At(32),
        r2t_sn: Serial = At(36),
        buffer_offset: u32 = At(40),
        /// Desired Data Transfer Length in bytes; never 0 and never above MaxBurstLength.
        desired_length: u32 = At(44),
    }
}
