//! Task attributes (SAM-5 §8): which tasks of a nexus may run beside each other.

use iscsi::wire::attribute;
use scsi::{Admission, TaskAttribute};

use super::full::Full;
use crate::slot::Phase;

/// The attribute in byte 1 of a SCSI Command PDU. Reserved values are as good as simple.
#[inline]
pub(super) fn attribute_of(flags: u8) -> TaskAttribute {
    match flags & 0x07 {
        attribute::ORDERED => TaskAttribute::Ordered,
        attribute::HEAD_OF_QUEUE => TaskAttribute::HeadOfQueue,
        attribute::ACA => TaskAttribute::Aca,
        _ => TaskAttribute::Simple,
    }
}

impl Full {
    /// Enters a task in its unit's task set. `false`: it waits there until others are done.
    #[inline]
    pub(super) fn enter_task_set(&mut self, index: u16) -> bool {
        let Some(unit) = self.peek(index).unit else { return true };
        let attribute = self.peek(index).attribute;
        match self.units.entry(unit).tasks.admit(attribute) {
            Admission::Run => {
                self.slot(index).in_task_set = true;
                true
            }
            held => self.hold_back(index, unit, held),
        }
    }

    #[cold]
    fn hold_back(&mut self, index: u16, unit: u16, admission: Admission) -> bool {
        if let Admission::Refuse(outcome) = admission {
            self.slot(index).fail(outcome);
            return true;
        }
        // As many places as tasks.
        let _ = self.units.entry(unit).blocked.push(u32::from(index));
        false
    }

    /// A task is over for its unit's task set. What it held back starts next turn, by way of the stalled tasks.
    #[inline]
    pub(super) fn leave_task_set(&mut self, index: u16) {
        let slot = self.slot(index);
        let Some(unit) = slot.unit else { return };
        let attribute = slot.attribute;
        let in_task_set = core::mem::take(&mut slot.in_task_set);
        let tasks = &mut self.units.entry(unit).tasks;
        if in_task_set {
            tasks.done(attribute);
        }
        if !in_task_set || tasks.held() > 0 {
            self.release_blocked(index, unit);
        }
    }

    /// Lets tasks go whose turn has come, oldest first, and forgets one that is over if it was held back.
    #[cold]
    fn release_blocked(&mut self, over: u16, unit: u16) {
        let entry = self.units.entry(unit);
        if entry.blocked.contains(u32::from(over)) {
            entry.blocked.remove(u32::from(over));
            entry.tasks.forget();
        }
        while let Some(index) = self.units.entry(unit).blocked.peek() {
            let index = index as u16;
            let attribute = self.peek(index).attribute;
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
