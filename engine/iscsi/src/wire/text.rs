//! Text Request and Text Response (RFC 7143 §11.10, §11.11).
use super::layout::{At, Bit, pdu};
use primitives::Serial;

pdu! {
    /// Text Request (RFC 7143 §11.10).
    TextRequest = TEXT_REQUEST, fixed [] {
        immediate: bool = Bit(0, 0x40),
        /// The initiator has no more to say in this negotiation.
        final_bit: bool = Bit(1, 0x80),
        /// The C bit: the text goes on in the next request.
        cont: bool = Bit(1, 0x40),
        lun: [u8; 8] = At(8),
        itt: u32 = At(16),
        /// The last Text Response's tag, or [`RESERVED_TAG`](super::RESERVED_TAG) to begin (and to reset).
        ttt: u32 = At(20),
        cmd_sn: Serial = At(24),
        exp_stat_sn: Serial = At(28),
    }
}

pdu! {
    /// Text Response (RFC 7143 §11.11).
    TextResponse = TEXT_RESPONSE, fixed [] {
        /// The target has no more to say in this negotiation.
        final_bit: bool = Bit(1, 0x80),
        /// The C bit: the text goes on in the next response.
        cont: bool = Bit(1, 0x40),
        lun: [u8; 8] = At(8),
        itt: u32 = At(16),
        /// [`RESERVED_TAG`](super::RESERVED_TAG) exactly when `final_bit` is set.
        ttt: u32 = At(20),
        stat_sn: Serial = At(24),
        exp_cmd_sn: Serial = At(28),
        max_cmd_sn: Serial = At(32),
    }
}
