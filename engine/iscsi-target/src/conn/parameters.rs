//! Parameter lists and changes of a logical unit (MODE SELECT, RESERVE, START STOP UNIT, …).

use scsi::{BlockKind, BlockOp, NexusId, Outcome, Plan, UnitAttention};

use super::full::Full;
use crate::context::Context;
use crate::control::{ChangeDone, has_room, publish_change};
use crate::slot::Phase;
use crate::wire::Wire;

impl Full {
    /// The parameter list of a task is complete.
    pub(crate) fn judge_parameters(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) {
        let slot = self.peek(index);
        let cdb = slot.cdb;
        let Some(local) = slot.local.and_then(|key| ctx.units.get(key)) else { return };
        let chunk = &slot.chunks[slot.nth(0)];
        let data = match &chunk.buf {
            Some(buf) if slot.used > 0 => &buf.filled()[..(chunk.len as usize).min(buf.len())],
            _ => &[],
        };
        let plan = scsi::parameters(&local.view, &cdb, data);
        match plan {
            Plan::Home => {
                let data = data.to_vec();
                self.slot(index).phase = Phase::Moving;
                self.begin_home(dm, ctx, index, &data);
                if self.peek(index).phase == Phase::Moving {
                    self.advance(dm, ctx, index);
                }
            }
            // UNMAP keeps its list: the job reads the ranges from it.
            Plan::Block(op @ BlockOp { kind: BlockKind::Unmap { .. }, .. }) => {
                let slot = self.slot(index);
                slot.op = Some(op);
                slot.phase = Phase::Moving;
                self.advance(dm, ctx, index);
            }
            plan => {
                self.drop_chunks(ctx, index);
                self.follow(dm, ctx, index, plan);
                self.slot(index).total = 0;
                self.advance(dm, ctx, index);
            }
        }
    }

    /// Changes the unit's truth, then lets every core know before the initiator is answered.
    pub(crate) fn begin_home(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, data: &[u8]) {
        self.drop_chunks(ctx, index);
        if !has_room(ctx.handle) {
            self.slot(index).fail(Outcome::BUSY);
            return;
        }
        let slot = self.peek(index);
        let cdb = slot.cdb;
        let Some(local) = slot.local.and_then(|key| ctx.units.get(key)) else { return };
        let unit = std::sync::Arc::clone(&local.unit);
        let nexus = self.session.nexus;
        let (view, home) = unit.change(|lu| {
            let home = scsi::at_home(lu, nexus, &cdb, data);
            (home.changed, home)
        });
        let slot = self.slot(index);
        slot.total = 0;
        if home.outcome != Outcome::GOOD {
            slot.fail(home.outcome);
        }
        let Some(view) = view else {
            return self.home_done(dm, ctx, index, home.flush);
        };
        slot.phase = Phase::AtHome;
        let tag = self.peek(index).tag(self.owner(), index, 0, 0);
        let done = ChangeDone { conn: self.id, tag, flush: home.flush };
        publish_change(ctx.handle, unit.id, view, home.attention.map(|a| (a, nexus)), Some(done));
    }

    /// Every core works from the changed unit now.
    pub(crate) fn home_done(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, flush: bool) {
        let slot = self.slot(index);
        if slot.phase == Phase::Draining {
            slot.outstanding -= 1;
            return self.advance(dm, ctx, index);
        }
        slot.phase = Phase::Moving;
        slot.op = flush.then_some(BlockOp { kind: BlockKind::Flush { immed: false }, lba: 0, blocks: 0, fua: false });
        self.advance(dm, ctx, index);
    }

    /// Another nexus or the control plane changed a unit.
    pub(crate) fn unit_changed(&mut self, id: u64, attention: Option<(UnitAttention, NexusId)>) {
        if let Some((attention, except)) = attention
            && self.session.nexus != except
        {
            self.units.raise(id, attention);
        }
    }
}
