//! What can be set.

/// Which threads use a [`Verbs`](crate::Verbs) and what is made from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// The first that does anything with it after it was opened, and no other.
    OneThread,
    /// Any, but one at a time; who has it sees to that. Costs an atomic operation for each call.
    OneAtATime,
}

/// How connections are made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// How long an address or a route may take to resolve, in milliseconds.
    pub resolve_millis: u16,
    /// Transmissions without an acknowledgement before the peer counts as gone: 0 to 7.
    pub retry: u8,
    /// Attempts at a peer that has no receive posted: 0 to 6, or 7 for any number.
    pub rnr_retry: u8,
    /// How long a peer shall wait before it tries again when this side has no receive posted, as InfiniBand encodes it
    /// (IBTA table 45): 12 is 0.64 ms. The connection manager's default, 0, is 655 ms.
    pub rnr_timer: u8,
    /// Bytes that requests may carry inside themselves, if the device can.
    pub max_inline: u32,
    /// Which threads use it.
    pub used_by: Use,
}

impl Default for Config {
    fn default() -> Self {
        Self { resolve_millis: 2_000, retry: 7, rnr_retry: 7, rnr_timer: 12, max_inline: 128, used_by: Use::OneThread }
    }
}
