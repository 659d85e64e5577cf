//! Task management (RFC 7143 §11.5, §11.6): aborts that wait until nothing of the aborted tasks moves any more.

use iscsi::connection::{Affected, TaskManagement};
use iscsi::datamover::{Control, Datamover};
use iscsi::wire::{RESERVED_TAG, TmfRequest, reject_reason, tmf_response};
use primitives::Serial;
use scsi::Lun;

use super::full::{Close, Full};
use crate::context::Context;
use crate::control::{Reset, has_room, reset_everywhere};
use crate::limits::TASK_MANAGEMENT;
use crate::slot::{Phase, kind};
use crate::wire::Wire;

/// A function being carried out.
#[derive(Clone, Copy, Debug)]
struct Pending {
    itt: u32,
    /// Tasks of this connection that must drain first: one, or those of a unit, or all.
    scope: Scope,
    /// Other cores have yet to say that they are done.
    elsewhere: bool,
}

/// Which tasks of this connection a function reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// One task.
    Task {
        /// Its slot.
        index: u16,
        /// And which occupancy of it.
        generation: u32,
    },
    /// All tasks on a unit, named by its identity in the process.
    Unit(u64),
    /// All tasks.
    All,
}

/// The functions of one connection.
#[derive(Debug, Default)]
pub struct Management {
    pending: [Option<Pending>; TASK_MANAGEMENT],
    /// How many of them are pending: asked after every step of the connection.
    waiting: u8,
    /// A target cold reset ends the session once it was answered.
    pub(super) cold: bool,
}

impl Full {
    pub(super) fn task_management_request(
        &mut self,
        dm: &mut Wire,
        ctx: &mut Context<'_>,
        control: &Control,
    ) -> Result<(), Close> {
        let request = TmfRequest::decode(&control.bhs);
        if !self.admit_request(&control.bhs, "task management request")? {
            return Ok(());
        }
        ctx.stats.task_management += 1;
        let unit = Lun(request.lun).number().and_then(|n| self.units.find(n));
        let affected = match self.proto.task_management(&request) {
            TaskManagement::Answer(response) => return self.answer_management(dm, request.itt, response),
            TaskManagement::Forestall(cmd_sn) => {
                self.forestall(cmd_sn);
                return self.answer_management(dm, request.itt, tmf_response::FUNCTION_COMPLETE);
            }
            TaskManagement::Abort(affected) => affected,
        };
        let scope = match (affected, unit) {
            (Affected::Task(index), _) => Scope::Task { index, generation: self.peek(index).generation },
            (Affected::NexusTaskSet | Affected::LogicalUnit, None) => {
                return self.answer_management(dm, request.itt, tmf_response::LUN_DOES_NOT_EXIST);
            }
            (Affected::NexusTaskSet | Affected::LogicalUnit, Some(unit)) => Scope::Unit(self.units.entry(unit).id),
            (Affected::Target { .. }, _) => Scope::All,
        };
        let free = self.management.pending.iter().position(Option::is_none);
        let Some(place) = free.filter(|_| has_room(ctx.handle)) else {
            return self.reject(dm, ctx, control, reject_reason::TOO_MANY_IMMEDIATE_COMMANDS);
        };
        self.abort_scope(dm, ctx, scope);
        let elsewhere = self.spread(ctx, affected, scope, place);
        self.management.pending[place] = Some(Pending { itt: request.itt, scope, elsewhere });
        self.management.waiting += 1;
        self.finish_management(dm)
    }

    /// Resets reach every nexus on every core. `true` when others have to be waited for.
    fn spread(&mut self, ctx: &mut Context<'_>, affected: Affected, scope: Scope, place: usize) -> bool {
        let reset = match (affected, scope) {
            (Affected::LogicalUnit, Scope::Unit(id)) => Reset::Unit(id),
            (Affected::Target { cold }, _) => {
                self.management.cold |= cold;
                let Some(target) = &self.session.target else { return false };
                Reset::Target { handle: target.handle, cold }
            }
            _ => return false,
        };
        reset_everywhere(ctx, reset, self.id, place as u8);
        true
    }

    /// Every other core is done with the reset that stands at `place`.
    pub(crate) fn management_done_elsewhere(&mut self, dm: &mut Wire, place: u8) -> Result<(), Close> {
        if let Some(Some(pending)) = self.management.pending.get_mut(usize::from(place)) {
            pending.elsewhere = false;
        }
        self.finish_management(dm)
    }

    /// Answers the functions whose tasks are gone.
    pub(crate) fn finish_management(&mut self, dm: &mut Wire) -> Result<(), Close> {
        for place in 0..TASK_MANAGEMENT {
            let Some(pending) = self.management.pending[place] else { continue };
            if pending.elsewhere || self.is_draining(pending.scope) {
                continue;
            }
            self.management.pending[place] = None;
            self.management.waiting -= 1;
            self.answer_management(dm, pending.itt, tmf_response::FUNCTION_COMPLETE)?;
        }
        if self.management.cold && !self.is_managing() { Err(Close::Graceful) } else { Ok(()) }
    }

    /// A function waits for tasks to drain.
    pub(crate) fn is_managing(&self) -> bool {
        self.management.waiting > 0
    }

    fn answer_management(&mut self, dm: &mut Wire, itt: u32, response: u8) -> Result<(), Close> {
        let bhs = self.proto.task_management_response(itt, response);
        dm.send_control(&bhs, &[]).map_err(|_| Close::Now)
    }

    /// Aborts every task in scope. None of them is answered: their initiator asked for it, or is gone.
    pub(crate) fn abort_scope(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, scope: Scope) {
        for index in 0..self.slot_count() {
            if self.in_scope(index, scope) {
                self.abort_task(dm, ctx, index);
            }
        }
    }

    /// Aborts everything: the connection ends, and no CmdSN will come any more.
    pub(crate) fn abort_all(&mut self, dm: &mut Wire, ctx: &mut Context<'_>) {
        self.abort_scope(dm, ctx, Scope::All);
        for index in 0..self.slot_count() {
            if self.peek(index).phase == Phase::Skipped {
                self.forget_skipped(ctx, index);
            }
        }
    }

    /// Aborts every task in scope on behalf of another nexus. Where TAS=1 they are answered with TASK ABORTED.
    pub(crate) fn abort_for_another(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, scope: Scope) {
        for index in 0..self.slot_count() {
            let slot = self.peek(index);
            // What is held has not entered its task set yet, so another nexus's function does not reach it.
            let beyond = matches!(slot.phase, Phase::Responded | Phase::Draining | Phase::Held | Phase::Skipped);
            if beyond || !self.in_scope(index, scope) {
                continue;
            }
            let local = slot.local.and_then(|key| ctx.units.get(key));
            self.slot(index).tell_aborted = local.is_some_and(|local| local.view.modes.tas);
            self.abort_task(dm, ctx, index);
        }
    }

    /// Aborts the tasks of a unit that is removed. Their initiator did not ask for it, so each is answered, with TASK
    /// ABORTED; trying again tells it that the unit is gone.
    pub(crate) fn abort_removed(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, unit: u64) {
        for index in 0..self.slot_count() {
            if !self.in_scope(index, Scope::Unit(unit)) {
                continue;
            }
            let slot = self.slot(index);
            match slot.phase {
                Phase::Responded | Phase::Draining => {}
                // Its turn has not come; then it will find no unit.
                Phase::Held => (slot.unit, slot.local) = (None, None),
                _ => {
                    slot.tell_aborted = true;
                    self.abort_task(dm, ctx, index);
                }
            }
        }
    }

    /// Some task in scope still moves.
    pub(crate) fn is_draining(&self, scope: Scope) -> bool {
        (0..self.slot_count()).any(|i| self.in_scope(i, scope) && self.peek(i).phase == Phase::Draining)
    }

    fn in_scope(&self, index: u16, scope: Scope) -> bool {
        let slot = self.peek(index);
        if slot.phase == Phase::Free {
            return false;
        }
        match scope {
            Scope::All => true,
            Scope::Task { index: other, generation } => index == other && slot.generation == generation,
            Scope::Unit(id) => slot.unit.is_some_and(|unit| self.units.id_of(unit) == Some(id)),
        }
    }

    /// A command that never came was aborted: its CmdSN counts as received.
    fn forestall(&mut self, cmd_sn: Serial) {
        if cmd_sn == self.proto.window.expected() {
            return self.proto.window.skip();
        }
        if self.is_held(cmd_sn.0) {
            // Another command came with this number.
            return;
        }
        // Without a slot the command is executed if it comes after all; but there are more slots than numbers in the
        // window.
        let Some(index) = self.take_slot() else { return };
        let slot = self.slot(index);
        slot.phase = Phase::Skipped;
        slot.itt = RESERVED_TAG;
        slot.cmd_sn = cmd_sn.0;
        self.held += 1;
    }

    /// Aborts a task whose CmdSN has not come yet.
    fn skip_held(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) {
        ctx.stats.aborted += 1;
        let slot = self.slot(index);
        slot.phase = Phase::Skipped;
        slot.unit = None;
        let itt = core::mem::replace(&mut slot.itt, RESERVED_TAG);
        if slot.outstanding > 0 {
            let tag = self.peek(index).tag(self.owner(), index, kind::EARLY, 0);
            dm.release_task(tag);
        }
        dm.refuse_unsolicited(itt);
        self.proto.tasks.remove(itt);
    }

    /// The CmdSN of an aborted task has come, or will not come any more.
    pub(super) fn forget_skipped(&mut self, ctx: &mut Context<'_>, index: u16) {
        self.held -= 1;
        self.slot(index).phase = Phase::Draining;
        self.retire(ctx, index);
    }

    /// Begins to abort one task. It vanishes once datamover and device have given everything back.
    fn abort_task(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) {
        let owner = self.owner();
        let slot = self.slot(index);
        match slot.phase {
            // Answered already: nothing is left to abort.
            Phase::Free | Phase::Responded | Phase::Draining | Phase::Skipped => return,
            Phase::Held => return self.skip_held(dm, ctx, index),
            _ => {}
        }
        ctx.stats.aborted += 1;
        let slot = self.slot(index);
        if slot.unsolicited > 0 {
            dm.refuse_unsolicited(slot.itt);
        }
        let at_home = slot.phase == Phase::AtHome;
        slot.phase = Phase::Draining;
        // A change of the unit cannot be taken back: its task waits until every core knows.
        slot.outstanding += u8::from(at_home);
        if slot.outstanding == 0 {
            return self.advance(dm, ctx, index);
        }
        dm.release_task(slot.tag(owner, index, kind::GET, 0));
        let slot = self.peek(index);
        if let Some(key) = slot.local {
            for chunk in 0..crate::limits::CHUNKS {
                if slot.chunks[chunk].state == crate::slot::ChunkState::InDevice {
                    ctx.units.abort(key, slot.tag(owner, index, kind::IO, chunk));
                }
            }
        }
    }
}
