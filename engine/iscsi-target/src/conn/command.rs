//! SCSI Command PDUs (RFC 7143 §11.3): from the header to a running task.

use iscsi::connection::{Admission, Vacancy};
use iscsi::datamover::{Arrival, Control, Datamover};
use iscsi::wire::{RESERVED_TAG, ScsiCommand, reject_reason};
use scsi::{BlockKind, Direction, Lun, Outcome, Plan, Status};

use super::full::{Close, Full};
use super::order::attribute_of;
use super::quirks;
use crate::context::Context;
use crate::job::{Stall, Step};
use crate::sense;
use crate::slot::{Chunk, ChunkState, Phase, kind};
use crate::unit::NO_UNIT_BLOCK;
use crate::wire::Wire;

impl Full {
    pub(super) fn scsi_command(
        &mut self,
        dm: &mut Wire,
        ctx: &mut Context<'_>,
        control: &Control,
    ) -> Result<(), Close> {
        let command = ScsiCommand::decode(&control.bhs);
        let Some(vacancy) = self.proto.tasks.vacancy(command.itt) else {
            return self.reject(dm, ctx, control, reject_reason::TASK_IN_PROGRESS);
        };
        if !self.is_well_formed(&command, control.len) {
            return self.reject(dm, ctx, control, reject_reason::INVALID_PDU_FIELD);
        }
        let admission = self.proto.window.admit(command.cmd_sn, command.immediate, true);
        match admission {
            Admission::TooManyImmediate => {
                return self.reject(dm, ctx, control, reject_reason::TOO_MANY_IMMEDIATE_COMMANDS);
            }
            Admission::Drop => return drop_silently(dm, command.itt),
            Admission::Hold if self.is_held(command.cmd_sn.0) => return drop_silently(dm, command.itt),
            Admission::Deliver | Admission::Hold => {}
        }
        let delivered = admission == Admission::Deliver;
        let Some(index) = self.claim(ctx, &command, control, vacancy, delivered) else {
            if delivered {
                self.proto.window.finished(command.immediate);
            }
            ctx.stats.task_set_full += 1;
            return self.refuse_command(dm, &command, &control.remote, Status::TaskSetFull);
        };
        if !command.final_bit && self.peek(index).unsolicited == 0 {
            // Nothing is left that it could send unasked. What it sends all the same must not wait for a get.
            dm.refuse_unsolicited(command.itt);
        }
        if control.arrival == Arrival::BadDigest {
            self.reject_damaged(dm, ctx, &control.bhs);
            self.slot(index).fail(sense::digest_error());
        }
        if delivered {
            self.enable(dm, ctx, index);
            if self.peek(index).waits() {
                return Ok(());
            }
        }
        self.place_immediate(dm, ctx, index, control);
        if !self.write_at_once(dm, ctx, index) {
            self.advance(dm, ctx, index);
        }
        Ok(())
    }

    /// Header fields that contradict each other or what was negotiated (RFC 7143 §11.3, §7.7).
    fn is_well_formed(&self, command: &ScsiCommand, immediate_len: u32) -> bool {
        let parameters = &self.proto.parameters;
        let out = if command.write { command.edtl } else { 0 };
        let unasked = parameters.first_burst.min(out);
        let immediate_ok = immediate_len == 0 || (parameters.immediate_data && immediate_len <= unasked);
        let more_to_come_ok = command.final_bit || (command.write && !parameters.initial_r2t);
        immediate_ok && more_to_come_ok && command.itt != RESERVED_TAG
    }

    /// Takes a slot and fills it from the PDU.
    fn claim(
        &mut self,
        ctx: &mut Context<'_>,
        command: &ScsiCommand,
        control: &Control,
        vacancy: Vacancy,
        delivered: bool,
    ) -> Option<u16> {
        let index = self.take_slot()?;
        if !self.proto.tasks.fill(vacancy, index) {
            self.free_slot(ctx, index);
            return None;
        }
        let first_burst = self.proto.parameters.first_burst;
        let unit = Lun(command.lun).number().and_then(|n| self.units.find(n));
        let unit = unit.map(|unit| (unit, self.units.entry(unit)));
        let (local, block_size) =
            unit.as_ref().map_or((None, NO_UNIT_BLOCK), |(_, entry)| (Some(entry.local), entry.block_size));
        let unit = unit.map(|(unit, _)| unit);
        let slot = self.slot(index);
        slot.phase = Phase::Held;
        slot.itt = command.itt;
        slot.cmd_sn = command.cmd_sn.0;
        slot.lun = command.lun;
        (slot.unit, slot.local, slot.block_size) = (unit, local, block_size);
        slot.cdb = command.cdb;
        slot.flags = control.bhs.0[1];
        slot.attribute = attribute_of(slot.flags);
        slot.immediate = command.immediate;
        slot.counted = delivered;
        slot.edtl = command.edtl;
        slot.remote = control.remote;
        slot.immediate_len = control.len;
        if !command.final_bit {
            slot.unsolicited = first_burst.min(command.edtl) - control.len;
        }
        slot.solicited_from = slot.immediate_len + slot.unsolicited;
        slot.began = ctx.now.get();
        self.held += u16::from(!delivered);
        ctx.stats.commands += 1;
        Some(index)
    }

    /// The task's CmdSN has come: it enters the task set of its logical unit and starts, or waits there.
    #[inline(always)]
    pub(super) fn enable(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) {
        if self.slot(index).phase == Phase::Held {
            self.slot(index).phase = Phase::Ready;
        }
        if self.enter_task_set(index) {
            self.start_or_stall(dm, ctx, index);
        } else {
            self.slot(index).phase = Phase::Blocked;
        }
    }

    #[inline(always)]
    pub(super) fn start_or_stall(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) {
        self.slot(index).phase = Phase::Ready;
        if self.peek(index).fetching == 0 && self.plan(dm, ctx, index).is_err() {
            self.stall(index);
        }
    }

    /// `advance` for a task in phase Ready: a later turn may have the buffer it needs.
    pub(crate) fn start(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        if self.peek(index).fetching > 0 {
            // Data that came before the task's turn is still arriving; its end brings the task back here.
            return Ok(());
        }
        self.plan(dm, ctx, index)?;
        self.advance(dm, ctx, index);
        Ok(())
    }

    /// Decides the command. Afterwards the slot is in the phase that does what the plan says.
    fn plan(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        let slot = self.peek(index);
        if slot.outcome.is_some() {
            self.slot(index).phase = Phase::Moving;
            return Ok(());
        }
        let cdb = slot.cdb;
        if is_transfer(cdb[0]) {
            self.plan_transfer(dm, ctx, index, &cdb);
            return Ok(());
        }
        let reads = scsi::direction(&cdb) == Some(Direction::In);
        // Parameter data is made in the buffer it is sent from.
        let mut buf = if reads { Some(ctx.pools.take(scsi::limits::REPLY).ok_or(Stall)?) } else { None };
        let (unit, lun, block_size) = (slot.unit, slot.lun, slot.block_size);
        let reply = match &mut buf {
            Some(buf) => buf.storage(),
            None => &mut *ctx.scratch,
        };
        let plan = self.units.execute(ctx.units, unit, lun, &cdb, reply);
        if self.entrance.old_libiscsi
            && let Plan::Reply { len, .. } = plan
        {
            quirks::limit_transfers(&cdb, &mut reply[..len], block_size);
        }
        if let Plan::Reply { len, .. } = plan {
            self.begin_reply(index, buf.take(), len);
        }
        if let Some(buf) = buf {
            ctx.give(buf, None);
        }
        self.follow(dm, ctx, index, plan);
        Ok(())
    }

    /// Decides a READ or a WRITE, which makes no parameter data.
    fn plan_transfer(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, cdb: &[u8; 16]) {
        let slot = self.peek(index);
        match self.units.execute(ctx.units, slot.unit, slot.lun, cdb, ctx.scratch) {
            Plan::Block(op) => {
                self.slot(index).phase = Phase::Moving;
                self.begin_block(index, op);
                let slot = self.peek(index);
                match op.kind {
                    BlockKind::Read if slot.total > 0 => self.read_at_once(dm, ctx, index, &op),
                    BlockKind::Write if slot.total > 0 && slot.solicited_from == 0 => {
                        self.ask_at_once(dm, ctx, index, &op)
                    }
                    _ => {}
                }
            }
            plan => self.follow(dm, ctx, index, plan),
        }
    }

    /// Turns a plan into a phase.
    pub(crate) fn follow(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, plan: Plan) {
        let slot = self.slot(index);
        slot.phase = Phase::Moving;
        match plan {
            Plan::Done(outcome) | Plan::Reply { outcome, .. } => {
                if outcome != Outcome::GOOD {
                    slot.fail(outcome);
                }
            }
            Plan::Parameters { len } => {
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                slot.phase = Phase::Parameters;
                slot.reads = Some(false);
                slot.expected = u64::from(len);
                slot.total = len.min(slot.out_length());
            }
            Plan::Block(op) => self.begin_block(index, op),
            Plan::Home => self.begin_home(dm, ctx, index, &[]),
        }
    }

    fn begin_reply(&mut self, index: u16, buf: Option<primitives::Buf>, len: usize) {
        let slot = self.slot(index);
        slot.reads = Some(true);
        slot.expected = len as u64;
        slot.total = (len as u32).min(slot.in_length());
        slot.begun = slot.total;
        let Some(mut buf) = buf else { return };
        buf.set_len(slot.total as usize);
        let Some(chunk) = slot.push_chunk() else { return };
        slot.chunks[chunk] = Chunk { buf: Some(buf), len: slot.total, state: ChunkState::Returned, ..Chunk::default() };
    }

    #[inline(always)]
    fn begin_block(&mut self, index: u16, op: scsi::BlockOp) {
        let slot = self.slot(index);
        let block_size = slot.block_size;
        let (data_in, data_out) = (op.data_in(block_size), op.data_out(block_size));
        slot.op = Some(op);
        if data_in > 0 {
            slot.reads = Some(true);
            slot.expected = data_in;
            slot.total = u32::try_from(data_in).unwrap_or(u32::MAX).min(slot.in_length());
        } else if data_out > 0 {
            slot.reads = Some(false);
            slot.expected = data_out;
            let total = u32::try_from(data_out).unwrap_or(u32::MAX).min(slot.out_length());
            // Only whole blocks reach the medium.
            slot.total = slot.whole_blocks(total);
            if let Some(outcome) = op.wrong_length(block_size, u64::from(slot.out_length())) {
                slot.fail(outcome);
            }
        }
    }

    /// Puts the immediate data of a command where its task wants it. It is there only now.
    fn place_immediate(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, control: &Control) {
        let len = control.len;
        let slot = self.peek(index);
        if slot.solicited_from == 0 {
            // Nothing comes unasked.
            return;
        }
        if slot.outcome.is_some() || slot.phase == Phase::Free {
            return;
        }
        if matches!(slot.phase, Phase::Held | Phase::Blocked) {
            return self.keep_early(dm, ctx, index, control);
        }
        if len == 0 {
            return;
        }
        let moves_out = slot.reads == Some(false) && slot.total > 0;
        if !moves_out {
            // The command takes no data: what came with it is dropped and shows as a residual.
            return;
        }
        let lend = slot.op.filter(|op| op.kind == BlockKind::Write);
        let begun = if slot.used == 0 { self.begin_chunk(ctx, index, lend.as_ref()) } else { Ok(()) };
        let slot = self.slot(index);
        let chunk = slot.nth(0);
        if begun.is_err() || slot.used == 0 {
            // The data cannot be kept and an initiator cannot be asked for it again.
            slot.fail(Outcome::status(Status::TaskSetFull));
            ctx.stats.task_set_full += 1;
            return;
        }
        let piece = &mut slot.chunks[chunk];
        let Some(mut buf) = piece.buf.take() else { return };
        match control.arrival {
            Arrival::Here => {
                let bytes = dm.segment();
                let take = bytes.len().min(buf.capacity());
                buf.copy_in(0, &bytes[..take]);
                piece.have = len;
                piece.buf = Some(buf);
                if piece.have >= piece.len {
                    piece.state = ChunkState::Full;
                }
                ctx.stats.bytes_in += u64::from(len);
            }
            Arrival::Coming if buf.capacity() >= len as usize => {
                piece.asked = len;
                piece.state = ChunkState::Fetching;
                slot.outstanding += 1;
                slot.fetching += 1;
                let owner = self.owner();
                let tag = self.peek(index).tag(owner, index, kind::IMMEDIATE, chunk);
                dm.accept_immediate(tag, buf, 0);
            }
            Arrival::Coming | Arrival::BadDigest => {
                piece.buf = Some(buf);
                slot.fail(Outcome::status(Status::TaskSetFull));
            }
        }
    }

    pub(super) fn is_held(&self, cmd_sn: u32) -> bool {
        self.held > 0
            && self.live().any(|i| {
                let slot = self.peek(i);
                matches!(slot.phase, Phase::Held | Phase::Skipped) && slot.cmd_sn == cmd_sn
            })
    }

    /// The gap closed: held tasks whose number has come start in order.
    pub(super) fn deliver_held(&mut self, dm: &mut Wire, ctx: &mut Context<'_>) {
        while self.held > 0 {
            let expected = self.proto.window.expected();
            let next = self.live().find(|i| {
                let slot = self.peek(*i);
                matches!(slot.phase, Phase::Held | Phase::Skipped) && slot.cmd_sn == expected.0
            });
            let Some(index) = next else { return };
            if self.peek(index).phase == Phase::Skipped {
                self.proto.window.skip();
                self.forget_skipped(ctx, index);
                continue;
            }
            if !self.proto.window.deliver_held(expected) {
                return;
            }
            self.held -= 1;
            self.slot(index).counted = true;
            self.enable(dm, ctx, index);
            self.advance(dm, ctx, index);
        }
    }
}

/// A command outside the window, or a duplicate: as if it had never come, its data included.
fn drop_silently(dm: &mut Wire, itt: u32) -> Result<(), Close> {
    dm.refuse_unsolicited(itt);
    Ok(())
}

/// READ and WRITE of 6, 10, 12 and 16 bytes: their data comes from the medium or goes there, not to the device server.
const fn is_transfer(opcode: u8) -> bool {
    matches!(opcode, 0x08 | 0x0A | 0x28 | 0x2A | 0xA8 | 0xAA | 0x88 | 0x8A)
}
