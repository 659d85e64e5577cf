//! What a benchmark is asked to do.

use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use crate::options::{Chap, Digest};
use crate::transport::RdmaDevices;
use crate::url::Url;

use super::PerfError;

/// Which way the data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rw {
    /// Only reads.
    Read,
    /// Only writes.
    Write,
    /// Both, `read_percent` of them reads (0 to 100).
    Mixed {
        /// Reads in a hundred.
        read_percent: u8,
    },
}

impl Rw {
    /// Reads in a hundred.
    #[must_use]
    pub const fn read_percent(self) -> u8 {
        match self {
            Self::Read => 100,
            Self::Write => 0,
            Self::Mixed { read_percent } => read_percent,
        }
    }
}

/// In which order the region is visited.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pattern {
    /// Uniformly random, aligned to `block_bytes`.
    #[default]
    Random,
    /// From the beginning to the end, again and again; each connection has a part of the region of its own.
    Sequential,
}

/// One benchmark. All fields are plain; [`Options::new`] gives defaults for all but the URL.
#[derive(Clone, Debug)]
pub struct Options {
    /// The logical unit, and in its scheme what carries the sessions.
    pub url: Url,
    /// RDMA devices, for a URL over iSER; see [`crate::Options::rdma_devices`].
    pub rdma_devices: Option<Arc<dyn RdmaDevices>>,
    /// InitiatorName.
    pub initiator_name: String,
    /// CHAP user and secret; those in the URL go first.
    pub chap: Option<Chap>,
    /// How the target must prove itself; needs CHAP.
    pub mutual_chap: Option<Chap>,
    /// CHAP algorithms offered; see [`crate::Options::chap_algorithms`].
    pub chap_algorithms: Vec<iscsi::chap::Algorithm>,
    /// Reads, writes or both.
    pub rw: Rw,
    /// Random or sequential.
    pub pattern: Pattern,
    /// Bytes of one I/O; a multiple of the logical block size, at most 16 MiB.
    pub block_bytes: u32,
    /// I/Os outstanding on each connection.
    pub queue_depth: u32,
    /// Sessions of one connection each, spread over the threads.
    pub connections: u32,
    /// Threads, each polling its connections without ever sleeping.
    pub threads: u32,
    /// How long is measured, after the warm-up.
    pub duration: Duration,
    /// How long runs unmeasured first.
    pub warmup: Duration,
    /// `None` is a closed loop: an I/O is issued when another ends. `Some` is an open loop of so many I/Os a second
    /// over all connections: an I/O is due at its time whether or not the target keeps up, and its latency counts from
    /// then.
    pub rate: Option<f64>,
    /// Writes stamp every logical block; reads check every block that this run has written. Nobody else may write to
    /// the region meanwhile. Each connection has a part of the region of its own.
    pub verify: bool,
    /// Of the random numbers, and in the stamps.
    pub seed: u64,
    /// Where in the logical unit the region begins, in bytes; a multiple of `block_bytes`.
    pub offset: u64,
    /// How long the region is, in bytes; `None` is up to the end.
    pub size: Option<u64>,
    /// HeaderDigest.
    pub header_digest: Digest,
    /// DataDigest.
    pub data_digest: Digest,
    /// Offer ImmediateData=Yes.
    pub immediate_data: bool,
    /// Offer InitialR2T=Yes.
    pub initial_r2t: bool,
    /// FirstBurstLength offered, in bytes.
    pub first_burst_bytes: u32,
    /// MaxBurstLength offered, in bytes.
    pub max_burst_bytes: u32,
    /// Processors the threads are pinned to, in turn; empty pins none.
    pub pin_cpus: Vec<usize>,
    /// Time for one I/O.
    pub timeout: Duration,
}

impl Options {
    /// Random 4 KiB reads for ten seconds after one of warm-up, 32 deep on one connection.
    #[must_use]
    pub fn new(url: Url) -> Self {
        let session = crate::Options::default();
        Self {
            url,
            rdma_devices: None,
            initiator_name: session.initiator_name,
            chap: None,
            mutual_chap: None,
            chap_algorithms: session.chap_algorithms,
            rw: Rw::Read,
            pattern: Pattern::Random,
            block_bytes: 4096,
            queue_depth: 32,
            connections: 1,
            threads: 1,
            duration: Duration::from_secs(10),
            warmup: Duration::from_secs(1),
            rate: None,
            verify: false,
            seed: 1,
            offset: 0,
            size: None,
            header_digest: Digest::Off,
            data_digest: Digest::Off,
            immediate_data: session.immediate_data,
            initial_r2t: session.initial_r2t,
            first_burst_bytes: session.first_burst_length,
            max_burst_bytes: session.max_burst_length,
            pin_cpus: Vec::new(),
            timeout: session.command_timeout,
        }
    }

    /// The options of the `index`-th session.
    pub(super) fn session(&self, index: u32) -> crate::Options {
        crate::Options {
            carrier: self.url.carrier,
            rdma_devices: self.rdma_devices.clone(),
            initiator_name: self.initiator_name.clone(),
            isid_qualifier: index as u16,
            chap: self.url.chap.clone().or_else(|| self.chap.clone()),
            mutual_chap: self.mutual_chap.clone(),
            chap_algorithms: self.chap_algorithms.clone(),
            header_digest: self.header_digest,
            data_digest: self.data_digest,
            initial_r2t: self.initial_r2t,
            immediate_data: self.immediate_data,
            max_recv_data_segment_length: self.block_bytes.clamp(64 << 10, 1 << 20),
            max_burst_length: self.max_burst_bytes,
            first_burst_length: self.first_burst_bytes,
            queue_depth: self.queue_depth as usize,
            command_timeout: self.timeout,
            ..crate::Options::default()
        }
    }

    /// Checks what does not need the target to be known.
    pub(super) fn check(&self) -> Result<(), PerfError> {
        let bad = |option, why: &str| Err(PerfError::Option { option, why: why.to_owned() });
        let within = |n: u32, max: usize| (1..=max).contains(&(n as usize));
        if !within(self.block_bytes, limits::MAX_TRANSFER) {
            return bad("block_bytes", "must be 1 byte to 16 MiB");
        }
        if !within(self.queue_depth, limits::MAX_QUEUE_DEPTH) {
            return bad("queue_depth", "must be 1 to 4096");
        }
        if !within(self.connections, limits::MAX_CONNECTIONS) {
            return bad("connections", "must be 1 to 1024");
        }
        if !within(self.threads, limits::MAX_THREADS) || self.threads > self.connections {
            return bad("threads", "must be 1 to 256, and not more than connections");
        }
        if self.duration.is_zero() {
            return bad("duration", "must not be zero");
        }
        if self.rw.read_percent() > 100 {
            return bad("read_percent", "must be 0 to 100");
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && (0.001..=1e9).contains(&rate))) {
            return bad("rate", "must be 0.001 to 1e9 I/Os a second");
        }
        if !self.offset.is_multiple_of(self.block_bytes.into()) {
            return bad("offset", "must be a multiple of block_bytes");
        }
        Ok(())
    }
}
