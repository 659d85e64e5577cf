//! The outcome of a negotiation.
use super::{TaskReporting, Transport};
use crate::keys::Key;

/// Operational parameters of a session and its connection. Lengths are in bytes, times in seconds.
/// [`Parameters::default`] is what holds when nothing was negotiated (RFC 7143 §13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameters {
    /// HeaderDigest=CRC32C.
    pub header_digest: bool,
    /// DataDigest=CRC32C.
    pub data_digest: bool,
    pub max_connections: u16,
    /// Write data beyond the immediate data waits for an R2T.
    pub initial_r2t: bool,
    pub immediate_data: bool,
    /// The largest data segment the initiator receives: its MaxRecvDataSegmentLength, and over iSER the negotiated
    /// InitiatorRecvDataSegmentLength (RFC 7145 §6.2). Linux ib_iser declares far more than it has room for.
    pub initiator_max_recv: u32,
    /// The largest data segment the target receives; over iSER the negotiated TargetRecvDataSegmentLength.
    pub target_max_recv: u32,
    pub max_burst: u32,
    /// Never above `max_burst`.
    pub first_burst: u32,
    pub time2wait: u16,
    pub time2retain: u16,
    pub max_outstanding_r2t: u16,
    pub data_pdu_in_order: bool,
    pub data_sequence_in_order: bool,
    pub error_recovery_level: u8,
    pub task_reporting: TaskReporting,
    /// iSCSIProtocolLevel; 2 switches RFC 7144 on.
    pub protocol_level: u8,
    /// RDMAExtensions=Yes: iSER-assisted mode. What follows means something only then (RFC 7145 §6).
    pub rdma_extensions: bool,
    pub target_recv_data_segment_length: u32,
    pub initiator_recv_data_segment_length: u32,
    /// Unexpected PDUs the initiator can take; 0 is no limit (RFC 7145 §6.7).
    pub initiator_max_outstanding_unexpected_pdus: u32,
    /// Bytes of AHS the initiator can take; 0 is no limit (RFC 7145 §6.8).
    pub initiator_max_ahs_length: u32,
    /// The advertised Write Base Offset is that of the solicited data only (RFC 7145 §6.9).
    pub tagged_buffer_for_solicited_data_only: bool,
    /// The initiator will send an iSER Hello (RFC 7145 §6.10).
    pub iser_hello_required: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            header_digest: false,
            data_digest: false,
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            initiator_max_recv: 8192,
            target_max_recv: 8192,
            max_burst: 262_144,
            first_burst: 65_536,
            time2wait: 2,
            time2retain: 20,
            max_outstanding_r2t: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            error_recovery_level: 0,
            task_reporting: TaskReporting::Rfc3720,
            protocol_level: 1,
            rdma_extensions: false,
            target_recv_data_segment_length: 8192,
            initiator_recv_data_segment_length: 8192,
            initiator_max_outstanding_unexpected_pdus: 0,
            initiator_max_ahs_length: 256,
            tagged_buffer_for_solicited_data_only: false,
            iser_hello_required: false,
        }
    }
}

impl Parameters {
    /// Applies the rules that join parameters, once all are known.
    pub(super) fn settle(&mut self, transport: Transport) {
        // FirstBurstLength MUST NOT exceed MaxBurstLength (RFC 7143 §13.14): one of them may have kept its default.
        self.first_burst = self.first_burst.min(self.max_burst);
        if self.rdma_extensions {
            self.initiator_max_recv = self.initiator_recv_data_segment_length;
            self.target_max_recv = self.target_recv_data_segment_length;
        } else if transport == Transport::Iser {
            // Only a discovery session gets here, and it runs on the login's buffers.
            self.initiator_max_recv = self.initiator_max_recv.min(crate::limits::ISER_DISCOVERY_SEGMENT_MAX);
        }
    }

    /// Notes a number that is inside its key's range.
    pub(super) fn set_number(&mut self, key: Key, value: u32) {
        let short = u16::try_from(value).unwrap_or(u16::MAX);
        let byte = u8::try_from(value).unwrap_or(u8::MAX);
        match key {
            Key::MaxConnections => self.max_connections = short,
            Key::MaxRecvDataSegmentLength => self.initiator_max_recv = value,
            Key::MaxBurstLength => self.max_burst = value,
            Key::FirstBurstLength => self.first_burst = value,
            Key::DefaultTime2Wait => self.time2wait = short,
            Key::DefaultTime2Retain => self.time2retain = short,
            Key::MaxOutstandingR2t => self.max_outstanding_r2t = short,
            Key::ErrorRecoveryLevel => self.error_recovery_level = byte,
            Key::ProtocolLevel => self.protocol_level = byte,
            Key::TargetRecvDataSegmentLength => self.target_recv_data_segment_length = value,
            Key::InitiatorRecvDataSegmentLength => self.initiator_recv_data_segment_length = value,
            Key::MaxOutstandingUnexpectedPdus => self.initiator_max_outstanding_unexpected_pdus = value,
            Key::MaxAhsLength => self.initiator_max_ahs_length = value,
            _ => {}
        }
    }

    /// Notes a negotiated Yes or No.
    pub(super) fn set_flag(&mut self, key: Key, value: bool) {
        match key {
            Key::RdmaExtensions => self.rdma_extensions = value,
            Key::InitialR2t => self.initial_r2t = value,
            Key::ImmediateData => self.immediate_data = value,
            Key::DataPduInOrder => self.data_pdu_in_order = value,
            Key::DataSequenceInOrder => self.data_sequence_in_order = value,
            Key::TaggedBufferForSolicitedDataOnly => self.tagged_buffer_for_solicited_data_only = value,
            Key::IserHelloRequired => self.iser_hello_required = value,
            _ => {}
        }
    }

    /// Notes the choice from a list.
    pub(super) fn set_choice(&mut self, key: Key, value: &str) {
        match key {
            Key::HeaderDigest => self.header_digest = value == "CRC32C",
            Key::DataDigest => self.data_digest = value == "CRC32C",
            Key::TaskReporting => self.task_reporting = TaskReporting::named(value).unwrap_or_default(),
            _ => {}
        }
    }
}
