//! The end of a task: response, place in the window, slot.

use iscsi::datamover::{Advertised, Control, Datamover};
use iscsi::wire::{BHS_LEN, Bhs, ScsiCommand, reject_reason};
use scsi::{Outcome, Sense, SenseFormat, Status};

use super::full::{Close, Full};
use crate::context::Context;
use crate::job::{Stall, Step};
use crate::slot::Phase;
use crate::wire::Wire;

/// A SCSI Response's data segment: two bytes of length, then sense data (RFC 7143 §11.4.7).
struct SenseSegment {
    bytes: [u8; 2 + scsi::limits::SENSE],
    len: usize,
}

impl SenseSegment {
    fn new(sense: &Sense, format: SenseFormat) -> Self {
        let mut bytes = [0; 2 + scsi::limits::SENSE];
        let len = sense.encode(format, &mut bytes[2..]);
        bytes[..2].copy_from_slice(&(len as u16).to_be_bytes());
        Self { bytes, len: len + 2 }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Full {
    /// Queues the SCSI Response. Everything the task had to move has been handed to the datamover or the medium.
    pub(crate) fn respond(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        let slot = self.peek(index);
        let status = match &slot.outcome {
            None => slot.op.as_ref().map_or(Status::Good, |op| op.success().status),
            Some(Outcome { status, sense: None }) => *status,
            Some(Outcome { sense: Some(sense), .. }) => return self.respond_with_sense(dm, ctx, index, *sense),
        };
        self.respond_with(dm, ctx, index, status, &[])
    }

    #[cold]
    fn respond_with_sense(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, sense: Sense) -> Step {
        let segment = SenseSegment::new(&sense, self.sense_format(ctx, index));
        self.respond_with(dm, ctx, index, Status::CheckCondition, segment.bytes())
    }

    #[inline(always)]
    fn respond_with(
        &mut self,
        dm: &mut Wire,
        ctx: &mut Context<'_>,
        index: u16,
        status: Status,
        segment: &[u8],
    ) -> Step {
        let (proto, slot) = self.parts(index);
        slot.phase = Phase::Responding;
        slot.leave(&mut proto.window);
        let bhs = proto.scsi_response(slot.itt, status as u8, slot.residual(), slot.data_sn, segment.len());
        if dm.send_response(&bhs, segment, &slot.remote).is_err() {
            proto.return_numbers();
            slot.rejoin(&mut proto.window);
            ctx.stats.transmit_waits += 1;
            return Err(Stall);
        }
        self.answered(ctx, index);
        Ok(())
    }

    /// Answers a task that another nexus aborted, once nothing of it moves any more.
    pub(crate) fn respond_aborted(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        self.drop_chunks(ctx, index);
        let slot = self.slot(index);
        slot.tell_aborted = false;
        slot.op = None;
        slot.outcome = Some(Outcome::status(Status::TaskAborted));
        self.respond(dm, ctx, index)
    }

    /// The response is queued: the task is over for the initiator.
    #[inline(always)]
    pub(crate) fn answered(&mut self, ctx: &mut Context<'_>, index: u16) {
        let (proto, slot) = self.parts(index);
        slot.phase = Phase::Responded;
        slot.answered = true;
        proto.tasks.remove(slot.itt);
        ctx.stats.task_ended(slot.reads, slot.is_good(), slot.began);
        let moves = slot.outstanding > 0;
        self.leave_task_set(index);
        if !moves {
            self.free_slot(ctx, index);
        }
    }

    /// An answered or aborted task leaves its slot once nothing of it moves.
    pub(crate) fn retire(&mut self, ctx: &mut Context<'_>, index: u16) {
        let (proto, slot) = self.parts(index);
        if slot.outstanding > 0 {
            return;
        }
        if slot.phase == Phase::Draining {
            proto.tasks.remove(slot.itt);
            slot.leave(&mut proto.window);
            self.leave_task_set(index);
        }
        self.free_slot(ctx, index);
    }

    /// Ends a task that never got as far as a slot with a status of its own.
    #[cold]
    pub(crate) fn refuse_command(
        &mut self,
        dm: &mut Wire,
        command: &ScsiCommand,
        buffers: &Advertised,
        status: Status,
    ) -> Result<(), Close> {
        let residual = iscsi::connection::Residual::new(u64::from(command.edtl), 0);
        let bhs = self.proto.scsi_response(command.itt, status as u8, residual, 0, 0);
        // The datamover keeps room for an answer to every PDU it shows, and lets no response that may wait have it.
        // Sent from there this one does not close the initiator's buffers: the initiator does.
        let sent = dm.send_response(&bhs, &[], buffers).or_else(|_| dm.send_control(&bhs, &[]));
        sent.map_err(|_| Close::Now)
    }

    /// Rejects a PDU (RFC 7143 §11.17). If its CmdSN was the expected one it is spent, so that no gap is left.
    #[cold]
    pub(crate) fn reject(
        &mut self,
        dm: &mut Wire,
        ctx: &mut Context<'_>,
        control: &Control,
        reason: u8,
    ) -> Result<(), Close> {
        let bhs = &control.bhs;
        tracing::debug!(session = %self.session, reason, opcode = bhs.opcode().0, "rejecting a PDU");
        if !bhs.opcode().is_target() && !bhs.immediate() && bhs.cmd_sn() == self.proto.window.expected() {
            self.proto.window.skip();
        }
        ctx.stats.rejects += 1;
        let reject = self.proto.reject(reason);
        debug_assert_eq!(reject.data_segment_length() as usize, BHS_LEN);
        dm.send_control(&reject, bhs.as_bytes()).map_err(|_| Close::Now)
    }

    /// Rejects a PDU whose data arrived damaged (RFC 7143 §7.8). Its task ends with a status of its own, so a Reject
    /// for which there is no room just now is left out.
    #[cold]
    pub(crate) fn reject_damaged(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, bhs: &Bhs) {
        ctx.stats.rejects += 1;
        let reject = self.proto.reject(reject_reason::DATA_DIGEST_ERROR);
        if dm.send_control(&reject, bhs.as_bytes()).is_err() {
            self.proto.return_numbers();
        }
    }

    fn sense_format(&self, ctx: &Context<'_>, index: u16) -> SenseFormat {
        let local = self.peek(index).local.and_then(|key| ctx.units.get(key));
        local.map_or(SenseFormat::Fixed, |local| local.view.sense_format())
    }
}
