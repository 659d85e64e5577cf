//! READ: from the medium to the initiator, in order, as many chunks at once as the slot holds.

use bdev::Op;
use iscsi::datamover::{Datamover, FinalStatus, PutData, TaskName};
use scsi::BlockOp;

use super::{Stall, Step, lba_at};
use crate::conn::Full;
use crate::context::Context;
use crate::slot::{Chunk, ChunkState, kind};
use crate::wire::Wire;

impl Full {
    pub(super) fn advance_read(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Step {
        let slot = self.peek(index);
        let begun = if slot.begun < slot.total { self.begin_reads(ctx, index, op) } else { Ok(()) };
        let slot = self.peek(index);
        if slot.outcome.is_some() {
            return self.wind_up(dm, ctx, index);
        }
        if slot.has_returned() || slot.finished == slot.total {
            self.send_and_answer(dm, ctx, index)?;
        }
        begun
    }

    /// Sends what is ready; answers when that was all and the status did not ride the last of it.
    pub(super) fn send_and_answer(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        self.send_ready(dm, ctx, index)?;
        let slot = self.slot(index);
        if slot.finished == slot.total && !slot.answered {
            return self.respond(dm, ctx, index);
        }
        Ok(())
    }

    fn begin_reads(&mut self, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Step {
        let block_size = self.block_size(index);
        let lend = !self.proto.parameters.data_digest;
        loop {
            let slot = self.slot(index);
            let left = slot.total - slot.begun;
            if left == 0 || usize::from(slot.used) == crate::limits::CHUNKS {
                return Ok(());
            }
            let offset = slot.begun;
            let lba = lba_at(op, offset, block_size);
            // A chunk whose submission failed earlier keeps its memory; it is the youngest one.
            // Near 4 GiB the last, partial block is left for a chunk of its own.
            let bytes = left.checked_next_multiple_of(block_size).unwrap_or(left / block_size * block_size);
            let buf = self.memory(ctx, index, Op::Read, lba, bytes, lend)?;
            let slot = self.slot(index);
            let room = u32::try_from(buf.capacity()).unwrap_or(u32::MAX) / block_size * block_size;
            let blocks = u64::from(bytes.min(room) / block_size);
            let len = left.min(room);
            let Some(chunk) = slot.push_chunk() else { return Ok(()) };
            slot.chunks[chunk] = Chunk { buf: Some(buf), offset, len, ..Chunk::default() };
            slot.begun += len;
            if let Err(stall) = self.transfer(ctx, index, chunk, Op::Read, lba, blocks) {
                self.unpush(ctx, index, chunk);
                return Err(stall);
            }
        }
    }

    /// Takes the youngest chunk back: the device had no room for it.
    fn unpush(&mut self, ctx: &mut Context<'_>, index: u16, chunk: usize) {
        let slot = self.slot(index);
        let piece = core::mem::take(&mut slot.chunks[chunk]);
        slot.begun -= piece.len;
        slot.used -= 1;
        let lender = slot.local;
        if let Some(buf) = piece.buf {
            ctx.give(buf, lender);
        }
    }

    /// Sends every chunk whose predecessors were sent.
    fn send_ready(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        let slot = self.slot(index);
        for n in 0..slot.used {
            let slot = self.slot(index);
            let chunk = slot.nth(n);
            match slot.chunks[chunk].state {
                ChunkState::Returned => self.send_chunk(dm, ctx, index, chunk)?,
                ChunkState::Sending => {}
                _ => break,
            }
        }
        Ok(())
    }

    fn send_chunk(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, chunk: usize) -> Step {
        let slot = self.slot(index);
        let piece = &mut slot.chunks[chunk];
        let Some(data) = piece.buf.take() else { return Ok(()) };
        let (offset, len) = (piece.offset, piece.len);
        let last = offset + len == slot.total;
        self.put(dm, ctx, index, chunk, data, len, offset, last)
    }

    /// Queues data for the initiator, with the status behind the last of it where the transport allows.
    #[expect(clippy::too_many_arguments, reason = "the places of one Put_Data")]
    pub(crate) fn put(
        &mut self,
        dm: &mut Wire,
        ctx: &mut Context<'_>,
        index: u16,
        chunk: usize,
        data: primitives::Buf,
        len: u32,
        offset: u32,
        last: bool,
    ) -> Step {
        let collapse = dm.phase_collapse() && last && self.ends_well(index);
        let status = collapse.then(|| self.final_status(index));
        let numbers = self.proto.numbers();
        let owner = self.owner();
        let slot = self.slot(index);
        let put = PutData {
            tag: slot.tag(owner, index, kind::PUT, chunk),
            task: TaskName { itt: slot.itt, lun: slot.lun },
            remote: slot.remote,
            data,
            start: 0,
            len,
            offset,
            data_sn: slot.data_sn,
            last,
            status,
            numbers,
        };
        match dm.put_data(put) {
            Ok(data_sn) => {
                slot.data_sn = data_sn;
                slot.chunks[chunk].state = ChunkState::Sending;
                slot.finished += len;
                slot.outstanding += 1;
                ctx.stats.bytes_out += u64::from(len);
                if collapse {
                    self.answered(ctx, index);
                }
                Ok(())
            }
            Err(put) => {
                slot.chunks[chunk].buf = Some(put.data);
                if collapse {
                    self.undo_final_status(index);
                }
                ctx.stats.transmit_waits += 1;
                Err(Stall)
            }
        }
    }

    /// The status of a good end, with the numbers it takes.
    fn final_status(&mut self, index: u16) -> FinalStatus {
        self.leave_window(index);
        let numbers = self.proto.take_numbers();
        let residual = self.residual(index);
        let status = scsi::Status::Good as u8;
        FinalStatus { status, stat_sn: numbers.stat_sn, residual_flags: residual.flags(), residual: residual.count }
    }

    fn undo_final_status(&mut self, index: u16) {
        self.proto.return_numbers();
        self.rejoin_window(index);
    }
}
