//! PDUs the target sends in full-feature phase, built from the numbering state.

use super::FullFeature;
use crate::datamover::Numbers;
use crate::wire::{
    AsyncMessage, Bhs, LogoutResponse, NopIn, RESERVED_TAG, Reject, ScsiResponse, TextResponse, TmfResponse, service,
};

/// Difference between what the initiator expected to move and what the command moves (RFC 7143 §11.4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Residual {
    /// Bytes short (underflow) or not moved for want of room (overflow).
    pub count: u32,
    /// The command had more to move than the initiator expected.
    pub overflow: bool,
}

impl Residual {
    /// The residual of a command that moves `actual` bytes when `expected` were announced.
    #[must_use]
    pub fn new(expected: u64, actual: u64) -> Self {
        let overflow = actual > expected;
        let count = u32::try_from(actual.abs_diff(expected)).unwrap_or(u32::MAX);
        Self { count, overflow }
    }

    /// The O and U bits in their place in byte 1 of SCSI Response and Data-In.
    #[must_use]
    pub const fn flags(self) -> u8 {
        match (self.count, self.overflow) {
            (0, _) => 0,
            (_, true) => 0x04,
            (_, false) => 0x02,
        }
    }
}

impl FullFeature {
    /// SCSI Response. Its data segment, when there is one, is the sense length (2 bytes) and sense data. `data_pdus` is
    /// the number of Data-In and R2T PDUs sent for the command.
    #[inline]
    pub fn scsi_response(&mut self, itt: u32, status: u8, residual: Residual, data_pdus: u32, segment: usize) -> Bhs {
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.take_numbers();
        let response = ScsiResponse {
            overflow: residual.count > 0 && residual.overflow,
            underflow: residual.count > 0 && !residual.overflow,
            response: service::COMMAND_COMPLETED,
            status,
            itt,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            exp_data_sn: primitives::Serial(data_pdus),
            residual: residual.count,
            ..ScsiResponse::default()
        };
        with_segment(response.encode(), segment)
    }

    /// Task Management Function Response.
    pub fn task_management_response(&mut self, itt: u32, response: u8) -> Bhs {
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.take_numbers();
        TmfResponse { response, itt, stat_sn, exp_cmd_sn, max_cmd_sn, ..TmfResponse::default() }.encode()
    }

    /// NOP-In that answers the initiator's ping.
    pub fn nop_answer(&mut self, itt: u32, lun: [u8; 8], segment: usize) -> Bhs {
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.take_numbers();
        let nop = NopIn { lun, itt, ttt: RESERVED_TAG, stat_sn, exp_cmd_sn, max_cmd_sn };
        with_segment(nop.encode(), segment)
    }

    /// NOP-In that pings the initiator: it shows the next StatSN without taking it (RFC 7143 §11.19).
    #[must_use]
    pub fn nop_ping(&self, ttt: u32) -> Bhs {
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.numbers();
        NopIn { itt: RESERVED_TAG, ttt, stat_sn, exp_cmd_sn, max_cmd_sn, ..NopIn::default() }.encode()
    }

    /// Reject; its data segment is the header of the rejected PDU.
    pub fn reject(&mut self, reason: u8) -> Bhs {
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.take_numbers();
        let reject = Reject { reason, stat_sn, exp_cmd_sn, max_cmd_sn, ..Reject::default() };
        with_segment(reject.encode(), crate::wire::BHS_LEN)
    }

    /// Logout Response.
    pub fn logout_response(&mut self, itt: u32, response: u8) -> Bhs {
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.take_numbers();
        let logout = LogoutResponse {
            response,
            itt,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            time2wait: self.parameters.time2wait,
            time2retain: self.parameters.time2retain,
        };
        logout.encode()
    }

    /// Text Response; `ttt` is the reserved tag unless more follows.
    pub fn text_response(&mut self, itt: u32, ttt: u32, last: bool, cont: bool, segment: usize) -> Bhs {
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.take_numbers();
        let text = TextResponse {
            final_bit: last,
            cont,
            itt,
            ttt,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            ..TextResponse::default()
        };
        with_segment(text.encode(), segment)
    }

    /// Asynchronous Message asking the initiator to log out within `seconds` (RFC 7143 §11.9.1, event 1).
    pub fn logout_request(&mut self, seconds: u16) -> Bhs {
        let Numbers { stat_sn, exp_cmd_sn, max_cmd_sn } = self.take_numbers();
        let message = AsyncMessage {
            event: crate::wire::event::LOGOUT_REQUEST,
            parameter3: seconds,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            ..AsyncMessage::default()
        };
        message.encode()
    }
}

/// Segments the target sends itself are bounded far below 24 bits.
fn with_segment(bhs: Bhs, segment: usize) -> Bhs {
    bhs.with_data_segment_length(u32::try_from(segment).unwrap_or(0))
}
