//! What our side of a negotiation wants.

/// What carries the connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Transport {
    Tcp,
    Iser,
}

/// Whether a digest is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DigestPolicy {
    /// Only None.
    Never,
    /// What the initiator prefers.
    #[default]
    Allowed,
    /// Only CRC32C.
    Required,
}

/// Task reporting semantics (RFC 7143 §13.23), from the least to the most demanding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum TaskReporting {
    #[default]
    Rfc3720,
    ResponseFence,
    FastAbort,
}

impl TaskReporting {
    /// All values, most demanding first.
    pub const ALL: [Self; 3] = [Self::FastAbort, Self::ResponseFence, Self::Rfc3720];

    /// The text value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rfc3720 => "RFC3720",
            Self::ResponseFence => "ResponseFence",
            Self::FastAbort => "FastAbort",
        }
    }

    /// The value of this text.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.name() == name)
    }
}

/// What we want and how much we can take. Lengths are in bytes, times in seconds; values outside a key's range are
/// brought into it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    pub header_digest: DigestPolicy,
    pub data_digest: DigestPolicy,
    pub max_connections: u16,
    /// `true` keeps unsolicited Data-Out away.
    pub initial_r2t: bool,
    pub immediate_data: bool,
    /// Our MaxRecvDataSegmentLength.
    pub max_recv_data_segment_length: u32,
    pub max_burst: u32,
    pub first_burst: u32,
    pub time2wait: u16,
    pub time2retain: u16,
    pub max_outstanding_r2t: u16,
    /// The most demanding semantics we support.
    pub task_reporting: TaskReporting,
    /// Highest iSCSIProtocolLevel we support.
    pub protocol_level: u8,
    /// Over iSER: the largest control PDU data segment the target receives.
    pub target_recv_data_segment_length: u32,
    /// Over iSER: the largest control PDU data segment the initiator receives.
    pub initiator_recv_data_segment_length: u32,
    /// Over iSER: unexpected PDUs we can take, declared to a peer that declares its own; 0 or at least 2.
    pub max_outstanding_unexpected_pdus: u32,
    /// Over iSER: bytes of AHS we can take, declared to a peer that declares its own.
    pub max_ahs_length: u32,
    /// Ordered commands a session may have outstanding: MaxCmdSN − ExpCmdSN + 1 at the end of login.
    pub command_window: u16,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            header_digest: DigestPolicy::Allowed,
            data_digest: DigestPolicy::Allowed,
            max_connections: 1,
            initial_r2t: true,
            immediate_data: true,
            max_recv_data_segment_length: 65_536,
            max_burst: 1 << 20,
            first_burst: 65_536,
            time2wait: 2,
            time2retain: 20,
            max_outstanding_r2t: 8,
            task_reporting: TaskReporting::Rfc3720,
            protocol_level: 1,
            target_recv_data_segment_length: 8192,
            initiator_recv_data_segment_length: 262_144,
            max_outstanding_unexpected_pdus: 16,
            max_ahs_length: 256,
            command_window: 64,
        }
    }
}

impl Policy {
    /// This policy with every number inside the range of its key.
    #[must_use]
    pub(super) fn legal(mut self) -> Self {
        let length = |n: u32| n.clamp(512, (1 << 24) - 1);
        self.max_recv_data_segment_length = length(self.max_recv_data_segment_length);
        self.max_burst = length(self.max_burst);
        self.first_burst = length(self.first_burst).min(self.max_burst);
        self.target_recv_data_segment_length = length(self.target_recv_data_segment_length);
        self.initiator_recv_data_segment_length = length(self.initiator_recv_data_segment_length);
        self.max_connections = self.max_connections.max(1);
        self.max_outstanding_r2t = self.max_outstanding_r2t.max(1);
        self.time2wait = self.time2wait.min(3600);
        self.time2retain = self.time2retain.min(3600);
        self.protocol_level = self.protocol_level.min(2);
        if self.max_outstanding_unexpected_pdus == 1 {
            self.max_outstanding_unexpected_pdus = 2;
        }
        self
    }
}
