//! How a device behaves.

use rdma::ReadDepth;

/// When FPDUs carry a CRC that means something (RFC 5044 §7.1.1: on unless neither side wants it).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crc {
    /// Never: a peer that wants it is turned away.
    Never,
    /// If the peer asks for it.
    IfAsked,
    /// Always.
    Always,
}

/// How long the FPDUs of a long message are. Any length up to 64 KiB is received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fpdu {
    /// One to a TCP segment, as RFC 5044 wants it and as the kernel's siw does.
    Segment,
    /// At most this many bytes, whatever TCP makes of them; raised to [`MIN_FPDU`](crate::limits::MIN_FPDU) and cut to
    /// [`MAX_SENT_FPDU`](crate::limits::MAX_SENT_FPDU).
    UpTo(u32),
}

/// Which threads use the device and what is made from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// The first thread that does anything with it after [`Siw::new`](crate::Siw::new), and no other.
    OneThread,
    /// Any, but one at a time: the owner keeps them apart, with a lock of its own around all calls. Costs an atomic
    /// operation for each call.
    Locked,
}

/// How a device behaves. The default is what the kernel's siw does by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// CRC32C of FPDUs.
    pub crc: Crc,
    /// Length of FPDUs sent.
    pub fpdu: Fpdu,
    /// Most RDMA Reads served and issued at once on one queue pair.
    pub max_depth: ReadDepth,
    /// Asks, as the connecting side, for the peer-to-peer model of RFC 6581 §9.2: a zero-length RDMA Write is sent
    /// first of all, so that the accepting side may speak before this side's owner has said anything.
    pub peer_to_peer: bool,
    /// Connections the kernel holds for each listener until they are accepted.
    pub listen_backlog: u16,
    /// Accepted connections at once that have not sent a whole MPA request yet. One more drives out the oldest.
    pub half_open: u16,
    /// Connection requests at once that wait for an answer of the owner, of all listeners together.
    pub requests: u16,
    /// How long a TCP connection may take to come about, in nanoseconds.
    pub connect_timeout: u64,
    /// How long a peer may take to send its MPA request, in nanoseconds.
    pub request_timeout: u64,
    /// How long a peer may take to answer an MPA request, in nanoseconds.
    pub reply_timeout: u64,
    /// How long a message waits for a shared receive queue that is empty, in nanoseconds. Its connection is not read
    /// from meanwhile; after that it ends.
    pub receive_timeout: u64,
    /// How long the last bytes of a connection that was ended may take to reach the peer, in nanoseconds.
    pub linger: u64,
    /// Which threads use it.
    pub used_by: Use,
}

const SECOND: u64 = 1_000_000_000;

impl Default for Config {
    fn default() -> Self {
        Self {
            crc: Crc::IfAsked,
            fpdu: Fpdu::Segment,
            max_depth: ReadDepth { ird: 128, ord: 128 },
            peer_to_peer: true,
            listen_backlog: 1024,
            half_open: 128,
            requests: 256,
            connect_timeout: 10 * SECOND,
            request_timeout: 10 * SECOND,
            reply_timeout: 5 * SECOND,
            receive_timeout: 5 * SECOND,
            linger: 2 * SECOND,
            used_by: Use::OneThread,
        }
    }
}
