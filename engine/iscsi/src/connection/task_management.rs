//! Task management requests (RFC 7143 §11.5, §11.6): which tasks one reaches.

use primitives::Serial;

use super::FullFeature;
use crate::wire::{TmfRequest, function, tmf_response};

/// The tasks a function reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Affected {
    /// One task of this connection.
    Task(u16),
    /// This nexus's tasks on one logical unit. Each nexus has a task set of its own (TST=001b), so CLEAR TASK SET
    /// reaches no further than ABORT TASK SET.
    NexusTaskSet,
    /// Every nexus's tasks on one logical unit.
    LogicalUnit,
    /// Every nexus's tasks on every logical unit of the target. A cold reset also ends the sessions.
    Target {
        /// TARGET COLD RESET.
        cold: bool,
    },
}

/// What a request comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskManagement {
    /// Answer at once with this response code.
    Answer(u8),
    /// Abort the tasks, wait until nothing of them moves any more, then answer "function complete".
    Abort(Affected),
    /// The task has not come yet. Count this CmdSN as received, drop whatever still comes with it, and answer "function
    /// complete" (RFC 7143 §11.5.1, case b).
    Forestall(Serial),
}

impl FullFeature {
    /// Judges a request whose CmdSN was admitted. The caller still checks that the logical unit exists.
    pub fn task_management(&self, request: &TmfRequest) -> TaskManagement {
        match request.function {
            function::ABORT_TASK => self.abort_task(request),
            function::ABORT_TASK_SET | function::CLEAR_TASK_SET => TaskManagement::Abort(Affected::NexusTaskSet),
            function::LOGICAL_UNIT_RESET => TaskManagement::Abort(Affected::LogicalUnit),
            function::TARGET_WARM_RESET => TaskManagement::Abort(Affected::Target { cold: false }),
            function::TARGET_COLD_RESET => TaskManagement::Abort(Affected::Target { cold: true }),
            // At ERL 0 no task changes its connection (RFC 7143 §11.6.1).
            function::TASK_REASSIGN => TaskManagement::Answer(tmf_response::REASSIGNMENT_NOT_SUPPORTED),
            _ => TaskManagement::Answer(tmf_response::FUNCTION_NOT_SUPPORTED),
        }
    }

    /// The three cases of RFC 7143 §11.5.1 for ABORT TASK.
    fn abort_task(&self, request: &TmfRequest) -> TaskManagement {
        if let Some(slot) = self.tasks.get(request.referenced_task_tag) {
            return TaskManagement::Abort(Affected::Task(slot));
        }
        let reference = request.ref_cmd_sn;
        let before_request = Serial::precedes(reference, request.cmd_sn);
        if before_request && reference.within(self.window.expected(), self.window.maximum()) {
            return TaskManagement::Forestall(reference);
        }
        TaskManagement::Answer(tmf_response::TASK_DOES_NOT_EXIST)
    }
}
