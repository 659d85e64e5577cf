//! What a connection counts.

/// Plain counts of one connection since its start. Those of the work requests are the queue pair's own.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Control PDUs received, Data-Out included.
    pub pdus_in: u64,
    /// Control PDUs sent.
    pub pdus_out: u64,
    /// Of those, with invalidation of the peer's STag.
    pub invalidations: u64,
    /// Puts completed.
    pub puts: u64,
    /// Solicited gets completed.
    pub gets: u64,
    /// Bytes of completed puts.
    pub bytes_out: u64,
    /// Bytes of completed gets, unsolicited ones included.
    pub bytes_in: u64,
    /// Unsolicited data that came too late for its task, discarded.
    pub late: u64,
    /// Gets that had to wait for the read depth.
    pub read_waits: u64,
    /// Operations and PDUs refused for want of room.
    pub refused: u64,
}
