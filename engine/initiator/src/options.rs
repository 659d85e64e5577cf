//! What a session is asked to be.

use std::sync::Arc;
use std::time::Duration;

use iscsi::chap::Algorithm;
use iscsi::names::IscsiName;

use crate::error::Error;
use crate::limits;
use crate::transport::RdmaDevices;

/// A CHAP name and secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Chap {
    /// CHAP_N.
    pub user: String,
    /// The shared secret; RFC 7143 §12.1.3 wants at least 12 bytes, which is left to the peers to insist on.
    pub secret: String,
}

impl std::fmt::Debug for Chap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chap").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Whether a CRC32C digest protects headers or data (RFC 7143 §13.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Digest {
    /// Offer `None` only.
    #[default]
    Off,
    /// Offer `None,CRC32C`: use it if the target insists.
    Allow,
    /// Offer `CRC32C` only: log in with it or not at all.
    Require,
}

/// What carries a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Carrier {
    /// TCP (RFC 7143).
    #[default]
    Tcp,
    /// RDMA (iSER, RFC 7145), by this provider.
    Iser(RdmaProvider),
}

/// Which RDMA provider carries a session over iSER.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum RdmaProvider {
    /// A device if there are [`Options::rdma_devices`] and one of them reaches the target, soft-iWARP otherwise.
    #[default]
    Auto,
    /// Soft-iWARP in user space, over an ordinary TCP socket: works everywhere.
    Siw,
    /// A device of [`Options::rdma_devices`], or not at all.
    Verbs,
}

impl RdmaProvider {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Siw, Self::Verbs];

    /// The word for it in URLs and on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Siw => "siw",
            Self::Verbs => "verbs",
        }
    }

    /// The provider of this [name](Self::name).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name)
    }
}

/// Everything about a session that is not its address. The defaults are those of a fast local benchmark.
#[derive(Clone, Debug)]
pub struct Options {
    /// What carries the session. The scheme of a URL goes before it.
    pub carrier: Carrier,
    /// RDMA devices for iSER, if the program knows any.
    pub rdma_devices: Option<Arc<dyn RdmaDevices>>,
    /// InitiatorName: an iqn., eui. or naa. name.
    pub initiator_name: String,
    /// The qualifier of the ISID. Sessions of one initiator name to one target portal group need different ones, or
    /// the later reinstates (ends) the earlier (RFC 7143 §6.3.5).
    pub isid_qualifier: u16,
    /// How the initiator proves who it is.
    pub chap: Option<Chap>,
    /// How the target must prove who it is; needs `chap`.
    pub mutual_chap: Option<Chap>,
    /// CHAP algorithms offered, in this order. `tgtd` calls SHA-1 number 7, which is SHA-256: offer it only MD5, or it
    /// picks 7 and refuses the right answer with status 0200.
    pub chap_algorithms: Vec<Algorithm>,
    /// HeaderDigest.
    pub header_digest: Digest,
    /// DataDigest.
    pub data_digest: Digest,
    /// Offer InitialR2T=Yes: no unsolicited Data-Out.
    pub initial_r2t: bool,
    /// Offer ImmediateData=Yes: data in the command PDU.
    pub immediate_data: bool,
    /// MaxRecvDataSegmentLength declared to the target, in bytes (512 to 2²⁴−1).
    pub max_recv_data_segment_length: u32,
    /// MaxBurstLength offered, in bytes.
    pub max_burst_length: u32,
    /// FirstBurstLength offered, in bytes; not above `max_burst_length`.
    pub first_burst_length: u32,
    /// MaxOutstandingR2T offered; at most [`limits::MAX_OUTSTANDING_R2T`](crate::limits::MAX_OUTSTANDING_R2T).
    pub max_outstanding_r2t: u16,
    /// Commands that may be outstanding at once.
    pub queue_depth: usize,
    /// Time for connecting and logging in.
    pub login_timeout: Duration,
    /// Time for one command; then it is aborted. If even the abort is not answered in this time the session fails.
    pub command_timeout: Duration,
    /// Ping the target when it has been silent this long; `None` never does.
    pub nop_interval: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            carrier: Carrier::Tcp,
            rdma_devices: None,
            initiator_name: "iqn.2025-01.io.isere:initiator".to_owned(),
            isid_qualifier: 1,
            chap: None,
            mutual_chap: None,
            chap_algorithms: Algorithm::ALL.to_vec(),
            header_digest: Digest::Off,
            data_digest: Digest::Off,
            initial_r2t: false,
            immediate_data: true,
            max_recv_data_segment_length: 256 << 10,
            max_burst_length: 1 << 20,
            first_burst_length: 256 << 10,
            max_outstanding_r2t: 1,
            queue_depth: 128,
            login_timeout: Duration::from_secs(10),
            command_timeout: Duration::from_secs(30),
            nop_interval: None,
        }
    }
}

impl Options {
    /// Checks what would only fail later, or be a bug of the target's to find out.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let bad = |option, why: &str| Err(Error::Option { option, why: why.to_owned() });
        if self.queue_depth == 0 || self.queue_depth > limits::MAX_QUEUE_DEPTH {
            return bad("queue_depth", &format!("must be 1 to {}", limits::MAX_QUEUE_DEPTH));
        }
        if !(512..1 << 24).contains(&self.max_recv_data_segment_length) {
            return bad("max_recv_data_segment_length", "must be 512 to 16777215");
        }
        if !(512..1 << 24).contains(&self.max_burst_length) {
            return bad("max_burst_length", "must be 512 to 16777215");
        }
        if !(512..=self.max_burst_length).contains(&self.first_burst_length) {
            return bad("first_burst_length", "must be 512 to max_burst_length");
        }
        if !(1..=limits::MAX_OUTSTANDING_R2T).contains(&usize::from(self.max_outstanding_r2t)) {
            return bad("max_outstanding_r2t", &format!("must be 1 to {}", limits::MAX_OUTSTANDING_R2T));
        }
        if IscsiName::parse(&self.initiator_name).is_err() {
            return bad("initiator_name", "must be an iSCSI name: iqn.YYYY-MM.domain:name, eui.… or naa.…");
        }
        if self.chap_algorithms.is_empty() {
            return bad("chap_algorithms", "must not be empty");
        }
        if self.carrier != Carrier::Tcp {
            for (option, digest) in [("header_digest", self.header_digest), ("data_digest", self.data_digest)] {
                if digest == Digest::Require {
                    return bad(option, "cannot be required over iSER, which has no digests (RFC 7145 §6.1)");
                }
            }
        }
        match (&self.chap, &self.mutual_chap) {
            (None, Some(_)) => {
                bad("mutual_chap", "the target proves itself only to an initiator that does too; set chap")
            }
            (Some(one), Some(other)) if one.secret == other.secret => {
                bad("mutual_chap", "must have another secret than chap (RFC 7143 §9.2.1)")
            }
            _ => Ok(()),
        }
    }
}
