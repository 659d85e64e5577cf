//! Every limit of this crate. Running into one is a refusal, a wait or the end of one connection, never growth.

/// Bytes of a message buffer: both headers and a data segment of [`LOGIN_SEGMENT`], rounded up. For every receive, and
/// for Sends of the login phase and of discovery sessions.
pub const MESSAGE: usize = 8320;

/// Bytes of a control buffer: both headers and more than a data segment of [`CONTROL_SEGMENT`]. For all other Sends.
pub const CONTROL: usize = 256;

/// The largest data segment sent in full-feature phase. Linux's initiator posts receives of just that, whatever
/// InitiatorRecvDataSegmentLength it negotiates.
pub const CONTROL_SEGMENT: usize = 128;

/// The largest data segment before full-feature phase, both ways (RFC 7143 §13.12).
pub const LOGIN_SEGMENT: usize = 8192;

/// Unexpected PDUs (RFC 7145 §8.1.2) sent and not acknowledged, if the initiator declares no lower limit. Linux's
/// initiator has no more receives for them.
pub const UNEXPECTED: usize = 4;

/// Requests gathered before they are posted; from this many on they are posted before the end of the turn.
pub const BATCH: usize = 64;

/// What one connection may hold, fixed when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Puts outstanding.
    pub puts: usize,
    /// Gets outstanding, those that wait for the read depth included.
    pub gets: usize,
    /// Tasks that owe unsolicited data. Not less than an initiator may have tasks: what finds no place here is
    /// discarded, and there is no other way to ask for it.
    pub unsolicited: usize,
    /// Messages received and not looked at. Not less than the depth of the queue pair's own receive queue; with a
    /// shared one, what a peer may take of it.
    pub receives: usize,
    /// Places in the send queue, and control buffers, that only
    /// [`send_control`](iscsi::datamover::Datamover::send_control) may take: data and SCSI Responses wait instead.
    /// Must leave some of both.
    pub reserve: usize,
    /// The largest data segment sent in full-feature phase; [`CONTROL_SEGMENT`] unless the peer is known to take more.
    pub control_segment: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { puts: 192, gets: 128, unsolicited: 128, receives: 256, reserve: 8, control_segment: CONTROL_SEGMENT }
    }
}
