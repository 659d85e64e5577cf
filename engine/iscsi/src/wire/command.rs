//! SCSI Command and SCSI Response (RFC 7143 §11.3, §11.4; RFC 7144 §5).
use super::layout::{At, Bit, Bits, pdu};
use primitives::Serial;

/// Task attributes (RFC 7143 §11.3.1).
pub mod attribute {
    pub const UNTAGGED: u8 = 0;
    pub const SIMPLE: u8 = 1;
    pub const ORDERED: u8 = 2;
    pub const HEAD_OF_QUEUE: u8 = 3;
    pub const ACA: u8 = 4;
}

/// iSCSI service response codes (RFC 7143 §11.4.3).
pub mod service {
    pub const COMMAND_COMPLETED: u8 = 0x00;
    pub const TARGET_FAILURE: u8 = 0x01;
}

pdu! {
    /// SCSI Command (RFC 7143 §11.3).
    ScsiCommand = SCSI_COMMAND, fixed [] {
        immediate: bool = Bit(0, 0x40),
        /// No unsolicited Data-Out follows.
        final_bit: bool = Bit(1, 0x80),
        read: bool = Bit(1, 0x40),
        write: bool = Bit(1, 0x20),
        /// One of [`attribute`].
        attribute: u8 = Bits(1, 0x07),
        /// Command priority; zero unless iSCSIProtocolLevel is 2 or more (RFC 7144 §5.1.1).
        priority: u8 = Bits(2, 0xf0),
        lun: [u8; 8] = At(8),
        itt: u32 = At(16),
        /// Expected Data Transfer Length in bytes; for a bidirectional command, of the write.
        edtl: u32 = At(20),
        cmd_sn: Serial = At(24),
        exp_stat_sn: Serial = At(28),
        /// The first 16 bytes of the CDB; the rest of a longer one is in an AHS.
        cdb: [u8; 16] = At(32),
    }
}

pdu! {
    /// SCSI Response (RFC 7143 §11.4).
    ScsiResponse = SCSI_RESPONSE, fixed [(1, 0x80)] {
        bidi_overflow: bool = Bit(1, 0x10),
        bidi_underflow: bool = Bit(1, 0x08),
        overflow: bool = Bit(1, 0x04),
        underflow: bool = Bit(1, 0x02),
        /// One of [`service`].
        response: u8 = At(2),
        /// SCSI status; meaningful only when `response` is [`service::COMMAND_COMPLETED`].
        status: u8 = At(3),
        /// Zero unless iSCSIProtocolLevel is 2 or more (RFC 7144 §5.2.1).
        status_qualifier: u16 = At(8),
        itt: u32 = At(16),
        snack_tag: u32 = At(20),
        stat_sn: Serial = At(24),
        exp_cmd_sn: Serial = At(28),
        max_cmd_sn: Serial = At(32),
        /// How many Data-In and R2T PDUs the target sent for the command.
        exp_data_sn: Serial = At(36),
        bidi_residual: u32 = At(40),
        residual: u32 = At(44),
    }
}
