//! What a device counts beyond [`rdma::Counters`].

use crate::wire::Terminate;

/// Plain counts of one device since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Calls to receive from sockets of connections.
    pub reads: u64,
    /// Of those, that found nothing.
    pub empty_reads: u64,
    /// Calls to send to sockets of connections.
    pub writes: u64,
    /// Looks for sockets that have become ready.
    pub looks: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// FPDUs received.
    pub fpdus_in: u64,
    /// FPDUs made.
    pub fpdus_out: u64,
    /// Payload bytes the kernel wrote straight to their place.
    pub direct: u64,
    /// Payload bytes copied from staging to their place.
    pub copied: u64,
    /// Terminate messages sent.
    pub terminates_out: u64,
    /// Terminate messages received.
    pub terminates_in: u64,
    /// Connections dropped before they made a request: not MPA, too slow, or too many.
    pub half_open_dropped: u64,
    /// Requests turned away for want of room in a backlog.
    pub requests_dropped: u64,
    /// Times a connection waited for a shared receive queue that was empty.
    pub pauses: u64,
    /// The last Terminate message received.
    pub last_terminate: Option<Terminate>,
}

impl Stats {
    /// Calls into the kernel for the data path.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.reads + self.writes + self.looks
    }
}
