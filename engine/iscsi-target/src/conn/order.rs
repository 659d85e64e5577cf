//! Task attributes (SAM-5 §8): which tasks of a nexus may run beside each other.

use iscsi::wire::attribute;
use scsi::{Admission, TaskAttribute};

use super::full::Full;
use crate::slot::Phase;

/// The attribute in byte 1 of a SCSI Command PDU. Reserved values are as good as simple.
fn attribute_of(flags: u8) -> TaskAttribute {
    match flags & 0x07 {
        attribute::ORDERED => TaskAttribute::Ordered,
        attribute::HEAD_OF_QUEUE => TaskAttribute::HeadOfQueue,
        attribute::ACA => TaskAttribute::Aca,
        _ => TaskAttribute::Simple,
    }
}

impl Full {
    /// Enters a task in its unit's task set. `false`: it waits there until others are done.
    pub(super) fn enter_task_set(&mut self, index: u16) -> bool {
        let slot = self.slot(index);
        let Some(unit) = slot.unit else { return true };
        let attribute = attribute_of(slot.flags);
        let entry = self.units.entry(unit);
        match entry.tasks.admit(attribute) {
            Admission::Run => {
                self.slot(index).in_task_set = true;
                true
            }
            Admission::Hold => {
                // As many places as tasks.
                let _ = entry.blocked.push(u32::from(index));
                false
            }
            Admission::Refuse(outcome) => {
                self.slot(index).fail(outcome);
                true
            }
        }
    }

    /// A task is over for its unit's task set. What it held back starts next turn, by way of the stalled tasks.
    pub(super) fn leave_task_set(&mut self, index: u16) {
        let slot = self.slot(index);
        let Some(unit) = slot.unit else { return };
        let attribute = attribute_of(slot.flags);
        let in_task_set = core::mem::take(&mut slot.in_task_set);
        let entry = self.units.entry(unit);
        if in_task_set {
            entry.tasks.done(attribute);
        } else if entry.blocked.contains(u32::from(index)) {
            entry.blocked.remove(u32::from(index));
            entry.tasks.forget();
        }
        if entry.tasks.held() > 0 {
            self.release_blocked(unit);
        }
    }

    /// Lets tasks go whose turn has come, oldest first.
    fn release_blocked(&mut self, unit: u16) {
        while let Some(index) = self.units.entry(unit).blocked.peek() {
            let index = index as u16;
            let attribute = attribute_of(self.peek(index).flags);
            let entry = self.units.entry(unit);
            if !entry.tasks.release(attribute) {
                return;
            }
            entry.blocked.pop();
            let slot = self.slot(index);
            slot.in_task_set = true;
            slot.phase = Phase::Ready;
            self.stall(index);
        }
    }
}
