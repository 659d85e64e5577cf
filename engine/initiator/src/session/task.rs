//! The requests of a session that wait for an answer, in fixed slots.

use std::time::Instant;

use primitives::{IndexQueue, Serial, Slab};

use super::{Outcome, TaskId};
use crate::limits::CONTROL_SLOTS;

/// What a request is, and with it what answers it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A SCSI command. `aborting`: an abort of our own is under way, because it took too long.
    Command { aborting: bool },
    /// A task management function, and the command it refers to. Our own aborts have no user.
    Management { function: u8, referenced: Option<TaskId>, user: Option<u64> },
    /// A ping; our own keep-alives have no user.
    Ping { user: Option<u64> },
    /// A text request.
    Text { user: u64 },
    /// The logout.
    Logout,
}

/// One request.
#[derive(Debug)]
pub(super) struct Task {
    pub kind: Kind,
    pub user: u64,
    pub lun: [u8; 8],
    /// Its CmdSN; for an immediate request, the one it carried.
    pub cmd_sn: Serial,
    pub deadline: Instant,
    /// How it ended, while its memory is still in use.
    pub outcome: Option<Outcome>,
}

impl Task {
    pub fn is_command(&self) -> bool {
        matches!(self.kind, Kind::Command { .. })
    }

    /// A command that has not ended.
    pub fn is_running(&self) -> bool {
        self.is_command() && self.outcome.is_none()
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Tasks {
    slots: Slab<Task>,
    commands: usize,
    depth: usize,
    /// Ended commands whose memory is still in use.
    ending: IndexQueue,
}

impl Tasks {
    /// Room for `depth` commands and [`CONTROL_SLOTS`] other requests.
    pub fn new(depth: usize) -> Self {
        let slots = depth + CONTROL_SLOTS;
        Self { slots: Slab::new(slots), commands: 0, depth, ending: IndexQueue::new(slots) }
    }

    pub fn has_room_for_command(&self) -> bool {
        self.commands < self.depth
    }

    pub fn commands(&self) -> usize {
        self.commands
    }

    /// Takes a slot. `None` when none is left.
    pub fn insert(&mut self, task: Task) -> Option<TaskId> {
        let is_command = task.is_command();
        let key = self.slots.insert(task).ok()?;
        self.commands += usize::from(is_command);
        Some(TaskId(key))
    }

    pub fn remove(&mut self, id: TaskId) -> Option<Task> {
        let task = self.slots.remove(id.0)?;
        self.commands -= usize::from(task.is_command());
        Some(task)
    }

    pub fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.slots.get_mut(id.0)
    }

    /// The request an Initiator Task Tag names, if it is outstanding.
    pub fn by_itt(&mut self, itt: u32) -> Option<(TaskId, &mut Task)> {
        let (key, task) = self.slots.at(itt & 0xffff)?;
        (TaskId(key).itt() == itt && task.outcome.is_none()).then_some((TaskId(key), task))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (TaskId, &mut Task)> {
        self.slots.iter_mut().map(|(key, task)| (TaskId(key), task))
    }

    /// Some request, whichever, that has not ended; and whether it is a command.
    pub fn any_not_ended(&self) -> Option<(TaskId, bool)> {
        let mut left = self.slots.iter().filter(|(_, task)| task.outcome.is_none());
        left.next().map(|(key, task)| (TaskId(key), task.is_command()))
    }

    /// Marks a running command as ended; it is reported once its memory is out of use.
    pub fn end_later(&mut self, id: TaskId, outcome: Outcome) {
        if let Some(task) = self.slots.get_mut(id.0).filter(|t| t.is_running()) {
            task.outcome = Some(outcome);
            let pushed = self.ending.push(id.0.index);
            debug_assert!(pushed.is_ok(), "a slot ends once, and there is a place for each");
        }
    }

    /// Commands that have ended and are to be reported.
    pub fn ending(&self) -> usize {
        self.ending.len()
    }

    /// The ended command that has waited longest.
    pub fn pop_ending(&mut self) -> Option<(TaskId, Outcome)> {
        let index = self.ending.pop()?;
        let (key, task) = self.slots.at(index)?;
        Some((TaskId(key), task.outcome?))
    }

    /// Not yet: it waits again, behind the others.
    pub fn still_ending(&mut self, id: TaskId) {
        let pushed = self.ending.push(id.0.index);
        debug_assert!(pushed.is_ok(), "its place was just freed");
    }
}
