//! What every provider counts.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Plain counts of one core, of a queue pair or of a whole provider. They wrap never in practice.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        impl core::ops::AddAssign for Counters {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Sends of any kind posted.
    sends,
    /// Of those, with invalidation.
    send_invalidates,
    /// RDMA Writes posted.
    writes,
    /// RDMA Reads posted.
    reads,
    /// Windows bound.
    binds,
    /// Local invalidations posted.
    invalidates,
    /// Receives posted.
    receives,
    /// Requests refused when posted, for want of room or for another reason.
    refused,
    /// Rings that had something to tell: one may cover any number of requests.
    doorbells,
    /// Requests posted that asked for a completion of their own.
    signalled,
    /// Requests completed, of any kind and status.
    completions,
    /// Of those, because the queue pair had failed.
    flushed,
    /// Times a Send found no receive and had to wait (receiver not ready).
    rnr_waits,
    /// Payload bytes of completed Sends and Writes.
    bytes_out,
    /// Payload bytes of completed receives and Reads.
    bytes_in,
}

impl Counters {
    /// Requests posted to send and receive queues.
    #[must_use]
    pub const fn posted(&self) -> u64 {
        self.sends + self.writes + self.reads + self.binds + self.invalidates + self.receives
    }
}
