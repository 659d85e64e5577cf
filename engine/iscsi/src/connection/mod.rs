//! Full-feature phase of one connection (RFC 7143 §4.2, §11): what is numbered, what is outstanding, what may be said.
//!
//! [`FullFeature`] holds the session's command window and the connection's status numbering and builds the PDUs the
//! target sends. It moves no data and executes nothing; whoever drives it owns the task slots and the datamover.

mod keepalive;
mod reply;
mod task_management;
mod task_map;
#[cfg(test)]
mod tests;
mod window;

pub use keepalive::{Keepalive, KeepaliveStep};
pub use reply::Residual;
pub use task_management::{Affected, TaskManagement};
pub use task_map::{TaskMap, Vacancy};
pub use window::{Admission, CommandWindow};

use primitives::Serial;

use crate::datamover::Numbers;
use crate::login::Authenticated;
use crate::negotiate::Parameters;

/// The numbering state of a connection in full-feature phase, and of its session: with one connection to a session
/// (MaxConnections=1) they are one thing. ExpStatSN is not part of it: at ERL 0 no answer is kept after it was sent, so
/// none is freed by being acknowledged.
#[derive(Debug)]
pub struct FullFeature {
    /// What was negotiated.
    pub parameters: Parameters,
    /// CmdSN window of the session.
    pub window: CommandWindow,
    /// Initiator task tags in use.
    pub tasks: TaskMap,
    /// NOP-In pings.
    pub keepalive: Keepalive,
    stat_sn: Serial,
    _authenticated: Authenticated,
}

impl FullFeature {
    /// Enters full-feature phase. `exp_cmd_sn` and `stat_sn` continue the login's numbering; at most `depth` ordered
    /// commands are outstanding at a time, and tasks have `slots` slots. The token proves that login let the initiator
    /// in.
    #[must_use]
    pub fn new(
        authenticated: Authenticated,
        parameters: Parameters,
        exp_cmd_sn: Serial,
        stat_sn: Serial,
        depth: u16,
        slots: usize,
        keepalive: Keepalive,
    ) -> Self {
        Self {
            parameters,
            window: CommandWindow::new(exp_cmd_sn, depth),
            tasks: TaskMap::new(slots),
            keepalive,
            stat_sn,
            _authenticated: authenticated,
        }
    }

    /// The numbers for a PDU that takes no StatSN (R2T, Data-In without status, a NOP-In ping).
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        Numbers { stat_sn: self.stat_sn, exp_cmd_sn: self.window.expected(), max_cmd_sn: self.window.maximum() }
    }

    /// The numbers for a PDU that takes a StatSN (RFC 7143 §4.2.2.2).
    pub fn take_numbers(&mut self) -> Numbers {
        let numbers = self.numbers();
        self.stat_sn.take();
        numbers
    }

    /// Undoes the last [`FullFeature::take_numbers`] for a PDU the datamover refused.
    pub fn return_numbers(&mut self) {
        self.stat_sn = self.stat_sn.minus(1);
    }
}
