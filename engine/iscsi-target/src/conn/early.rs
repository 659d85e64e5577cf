//! Data that comes unasked for a task that may not start yet (RFC 7143 §4.2.5.2): its CmdSN is ahead of a gap, or older
//! tasks of its unit hold it back.

use iscsi::datamover::{Arrival, Control, DataStatus, Datamover, GetData, TaskName};
use primitives::Tag;
use scsi::{Outcome, Status};

use super::full::Full;
use crate::context::Context;
use crate::sense;
use crate::slot::{Phase, kind};
use crate::wire::Wire;

impl Full {
    /// What a task that may not start yet sends unasked goes into a buffer of its own. Left in the stream it would stop
    /// everything behind it, perhaps the very data that the task waits for.
    pub(super) fn keep_early(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, control: &Control) {
        let Some(mut buf) = ctx.pools.take(self.peek(index).solicited_from as usize) else {
            return self.refuse_early(dm, ctx, index);
        };
        let owner = self.owner();
        let slot = self.slot(index);
        if control.arrival == Arrival::Coming {
            slot.outstanding += 1;
            slot.fetching += 1;
            return dm.accept_immediate(slot.tag(owner, index, kind::EARLY_IMMEDIATE, 0), buf, 0);
        }
        buf.copy_in(0, dm.segment());
        slot.early = Some(buf);
        self.await_early(dm, ctx, index);
    }

    /// Asks for the unsolicited Data-Out of a task that may not start yet.
    fn await_early(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) {
        let numbers = self.proto.numbers();
        let owner = self.owner();
        let slot = self.slot(index);
        let (start, len) = (slot.immediate_len, slot.unsolicited);
        if len == 0 {
            return;
        }
        let Some(sink) = slot.early.take() else { return };
        let get = GetData {
            tag: slot.tag(owner, index, kind::EARLY, 0),
            task: TaskName { itt: slot.itt, lun: slot.lun },
            remote: slot.remote,
            sink,
            start,
            len,
            offset: start,
            solicited_from: slot.solicited_from,
            unsolicited: true,
            r2t_sn: 0,
            numbers,
        };
        match dm.get_data(get) {
            Ok(()) => {
                slot.outstanding += 1;
                slot.fetching += 1;
            }
            Err(get) => {
                slot.early = Some(get.sink);
                self.refuse_early(dm, ctx, index);
            }
        }
    }

    /// There is no place for data that cannot be asked for again: the task fails when its turn comes.
    fn refuse_early(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) {
        let slot = self.slot(index);
        slot.fail(Outcome::status(Status::TaskSetFull));
        dm.refuse_unsolicited(slot.itt);
        ctx.stats.task_set_full += 1;
    }

    /// Unasked data of a task that could not start when it came is in the slot's early buffer.
    pub(crate) fn early_fetched(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, tag: Tag, status: DataStatus) {
        let index = tag.index();
        let slot = self.slot(index);
        let immediate = tag.kind() & 0xF0 == kind::EARLY_IMMEDIATE;
        let got = match (status, immediate) {
            (DataStatus::Ok, true) => slot.immediate_len,
            (DataStatus::Ok, false) => slot.unsolicited,
            (DataStatus::Short(got), _) => got,
            (DataStatus::Released, _) => 0,
            (DataStatus::DigestError(_), _) => {
                slot.fail(sense::digest_error());
                0
            }
            (DataStatus::SequenceError, _) => {
                slot.fail(sense::sequence_error());
                0
            }
        };
        ctx.stats.bytes_in += u64::from(got);
        let slot = self.slot(index);
        if immediate {
            if slot.outcome.is_none() && slot.phase != Phase::Draining {
                self.await_early(dm, ctx, index);
            }
        } else {
            slot.immediate_len += got;
            slot.unsolicited = 0;
            dm.refuse_unsolicited(slot.itt);
        }
    }
}
