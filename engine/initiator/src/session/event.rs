//! What a session is asked to do, and what it reports.

use std::fmt;

use iscsi::wire::Bhs;
use primitives::Buf;

use super::sense::{Sense, status_name};
use crate::error::Error;
use crate::transport::{Agreed, Data};

/// SCSI status codes (SAM-5 §5.3.1).
pub mod status {
    pub const GOOD: u8 = 0x00;
    pub const CHECK_CONDITION: u8 = 0x02;
    pub const BUSY: u8 = 0x08;
    pub const RESERVATION_CONFLICT: u8 = 0x18;
    pub const TASK_SET_FULL: u8 = 0x28;
}

/// A SCSI command to be issued.
#[derive(Debug, Default)]
#[must_use = "a command may carry a buffer"]
pub struct Command {
    /// LUN field.
    pub lun: [u8; 8],
    /// The CDB, padded with zeros.
    pub cdb: [u8; 16],
    /// Its data.
    pub data: Data,
    /// Whatever the caller wants back in the [`Completion`].
    pub user: u64,
}

/// A request that is outstanding. Ids are not reused within 2³² uses of one slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TaskId(pub(crate) primitives::slab::Key);

impl TaskId {
    /// The Initiator Task Tag on the wire: slot index and generation.
    #[must_use]
    pub const fn itt(self) -> u32 {
        (self.0.generation << 16) | self.0.index
    }
}

/// How much less or more data there was than the command announced (RFC 7143 §11.4.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Residual {
    /// As announced.
    #[default]
    None,
    /// So many bytes less.
    Underflow(u32),
    /// So many bytes did not fit.
    Overflow(u32),
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// With a SCSI status.
    Status {
        /// One of [`status`] or another one of SAM.
        status: u8,
        /// Residual count.
        residual: Residual,
        /// What the sense data says, if there is any; all of it is in [`Session::sense`](super::Session::sense).
        sense: Option<Sense>,
    },
    /// The target could not carry it out and says no more (RFC 7143 §11.4.3); the response code.
    TargetFailure(u8),
    /// By task management.
    Aborted,
    /// It took too long and was aborted.
    TimedOut,
    /// The session ended first.
    Lost,
}

impl Outcome {
    /// Status GOOD, without a residual.
    pub const GOOD: Self = Self::Status { status: status::GOOD, residual: Residual::None, sense: None };

    /// The status is GOOD, whatever the residual.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self, Self::Status { status: status::GOOD, .. })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status, residual, sense } => {
                write!(f, "{} ({status:02x}h)", status_name(*status))?;
                if let Some(sense) = sense {
                    write!(f, ", {sense}")?;
                }
                match residual {
                    Residual::None => Ok(()),
                    Residual::Underflow(n) => write!(f, ", {n} bytes short"),
                    Residual::Overflow(n) => write!(f, ", {n} bytes did not fit"),
                }
            }
            Self::TargetFailure(code) => write!(f, "target failure (response {code:02x}h)"),
            Self::Aborted => write!(f, "aborted by task management"),
            Self::TimedOut => write!(f, "timed out and was aborted"),
            Self::Lost => write!(f, "the session ended before it"),
        }
    }
}

/// The end of a command.
#[derive(Debug)]
#[must_use = "it may carry a buffer"]
pub struct Completion {
    /// Which.
    pub id: TaskId,
    /// [`Command::user`].
    pub user: u64,
    /// The command's buffer. Of a read, the meaningful bytes are those that came. It is missing if the session ended
    /// and the transport's device did not let go of it.
    pub buf: Option<Buf>,
    /// How it ended.
    pub outcome: Outcome,
}

/// What a session reports.
#[derive(Debug)]
#[must_use = "it may carry a buffer"]
pub enum Event {
    /// Full-feature phase has begun.
    LoggedIn(Agreed),
    /// A command ended.
    Completed(Completion),
    /// A task management function was answered (RFC 7143 §11.6.1). The commands it ended have been or will be reported.
    Managed {
        /// As given.
        user: u64,
        /// The response code.
        response: u8,
    },
    /// A ping was answered; [`Session::segment`](super::Session::segment) has the echo until the next call.
    Pong {
        /// As given.
        user: u64,
    },
    /// A text request was answered in full; see [`Session::text`](super::Session::text).
    Text {
        /// As given.
        user: u64,
    },
    /// An asynchronous message (RFC 7143 §11.9): its event code and three parameters.
    Async {
        /// `iscsi::wire::event`.
        event: u8,
        /// Parameter1 to Parameter3.
        parameters: [u16; 3],
    },
    /// The target refused a PDU. A command it belongs to still gets its own end.
    Rejected {
        /// RFC 7143 §11.17.1.
        reason: u8,
        /// The refused header, if the target sent it whole.
        header: Option<Bhs>,
    },
    /// The logout was answered (RFC 7143 §11.15.1). Nothing follows.
    LoggedOut {
        /// The response code.
        response: u8,
    },
    /// The session ended. Every command has been reported; nothing follows.
    Failed(Error),
}

/// Why a request is not taken now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Not in full-feature phase.
    NotLoggedIn,
    /// Every slot has a task.
    QueueFull,
    /// The target's command window is closed.
    WindowClosed,
    /// What is queued already has to be sent first.
    TransmitFull,
    /// The data does not fit its buffer or a limit.
    BadLength,
    /// Its buffer is in no arena that was [registered](super::Session::register), and the transport needs that.
    Unregistered,
}

/// A command that was not taken, with its buffer.
#[derive(Debug)]
#[must_use = "it may carry a buffer"]
pub struct Refused {
    /// As given.
    pub command: Command,
    /// Why.
    pub why: Why,
}
