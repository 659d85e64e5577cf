//! How a task ends: outcome, residual, and its place in the command window.

use iscsi::connection::{CommandWindow, Residual};
use scsi::Outcome;

use super::Slot;

impl Slot {
    /// What the initiator sends is what the command writes, no more and no less.
    pub fn is_whole(&self) -> bool {
        self.total == self.out_length() && u64::from(self.total) == self.expected
    }

    /// How the task will end if nothing fails any more.
    pub fn outcome(&self) -> Outcome {
        self.outcome.unwrap_or_else(|| self.op.map_or(Outcome::GOOD, |op| op.success()))
    }

    /// It has not failed.
    pub fn is_good(&self) -> bool {
        self.outcome.is_none_or(|outcome| outcome.is_good())
    }

    /// It has not failed and its status may ride the last Data-In.
    pub fn ends_well(&self) -> bool {
        self.outcome() == Outcome::GOOD
    }

    /// The residual of the task as things stand.
    pub fn residual(&self) -> Residual {
        let announced = match self.reads {
            Some(true) => self.in_length(),
            Some(false) => self.out_length(),
            None => self.edtl,
        };
        let moved = if self.is_good() { self.expected } else { u64::from(self.finished) };
        Residual::new(u64::from(announced), moved)
    }

    /// Gives the task's place in the command window back, once.
    pub fn leave(&mut self, window: &mut CommandWindow) {
        if core::mem::take(&mut self.counted) {
            window.finished(self.immediate);
        }
    }

    /// Undoes [`Slot::leave`] for a response that could not be queued.
    pub fn rejoin(&mut self, window: &mut CommandWindow) {
        if !core::mem::replace(&mut self.counted, true) {
            window.resumed(self.immediate);
        }
    }

    /// Records the first failure; later ones change nothing.
    pub fn fail(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }
}
