//! READ: from the medium to the initiator, in order, as many chunks at once as the slot holds.

use bdev::Op;
use iscsi::connection::FullFeature;
use iscsi::datamover::{Datamover, FinalStatus, PutData, TaskName};
use scsi::BlockOp;

use super::{Stall, Step, lba_at};
use crate::conn::Full;
use crate::context::Context;
use crate::limits::{CHUNKS, LENT_BYTES};
use crate::slot::{Chunk, ChunkState, Slot, kind};
use crate::wire::Wire;

impl Full {
    /// A read whose data the device shows in memory of its own goes out at once, in one piece. Where it does not,
    /// advancing the task finds it as it is.
    pub(crate) fn read_at_once(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, op: &BlockOp) {
        // A digest has to be of the very bytes that are sent, which may change in memory of the medium.
        if self.proto.parameters.data_digest {
            return;
        }
        let slot = self.slot(index);
        if slot.total > LENT_BYTES {
            return;
        }
        let blocks = slot.blocks_in(slot.to_whole_blocks(slot.total));
        let shown = slot.local.and_then(|key| ctx.units.read_in_place(key, op.lba, blocks.into()));
        let Some(data) = shown else { return };
        ctx.stats.lent += 1;
        slot.begun = slot.total;
        slot.used = 1;
        let (chunk, len) = (usize::from(slot.head), slot.total);
        slot.chunks[chunk] = Chunk { len, state: ChunkState::Returned, ..Chunk::default() };
        let put = self.put(dm, ctx, index, chunk, data, len, 0, true);
        if put.is_err() || !self.peek(index).answered && self.respond(dm, ctx, index).is_err() {
            self.stall(index);
        }
    }

    pub(super) fn advance_read(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Step {
        let begun = self.begin_reads(ctx, index, op);
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
        let slot = self.peek(index);
        if slot.finished == slot.total && !slot.answered {
            return self.respond(dm, ctx, index);
        }
        Ok(())
    }

    /// Begins to read as much as there are chunks for.
    fn begin_reads(&mut self, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Step {
        loop {
            let slot = self.peek(index);
            let left = slot.total - slot.begun;
            if left == 0 || usize::from(slot.used) == CHUNKS {
                return Ok(());
            }
            self.begin_read(ctx, index, lba_at(op, slot.begun, slot), left.min(LENT_BYTES))?;
        }
    }

    /// Begins to read the next chunk, of at most `most` bytes.
    fn begin_read(&mut self, ctx: &mut Context<'_>, index: u16, lba: u64, most: u32) -> Step {
        let lend = !self.proto.parameters.data_digest;
        let slot = self.peek(index);
        let bytes = slot.to_whole_blocks(most);
        let buf = self.memory(ctx, index, Op::Read, lba, bytes, lend)?;
        let slot = self.slot(index);
        let room = slot.whole_blocks(u32::try_from(buf.capacity()).unwrap_or(u32::MAX));
        let blocks = slot.blocks_in(bytes.min(room));
        let len = most.min(room);
        let offset = slot.begun;
        let Some(chunk) = slot.push_chunk() else { return Ok(()) };
        slot.chunks[chunk] = Chunk { buf: Some(buf), offset, len, ..Chunk::default() };
        slot.begun += len;
        let begun = self.transfer(ctx, index, chunk, Op::Read, lba, blocks.into());
        if begun.is_err() {
            self.unpush(ctx, index, chunk);
        }
        begun
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
        for n in 0..self.peek(index).used {
            let slot = self.slot(index);
            let chunk = slot.nth(n);
            let piece = &mut slot.chunks[chunk];
            match piece.state {
                ChunkState::Returned => {
                    let Some(data) = piece.buf.take() else { continue };
                    let (offset, len) = (piece.offset, piece.len);
                    let last = offset + len == slot.total;
                    self.put(dm, ctx, index, chunk, data, len, offset, last)?;
                }
                ChunkState::Sending => {}
                _ => break,
            }
        }
        Ok(())
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
        let owner = self.owner();
        let (proto, slot) = self.parts(index);
        let collapse = last && dm.phase_collapse() && slot.ends_well();
        let status = collapse.then(|| final_status(proto, slot));
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
            numbers: proto.numbers(),
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
                    proto.return_numbers();
                    slot.rejoin(&mut proto.window);
                }
                ctx.stats.transmit_waits += 1;
                Err(Stall)
            }
        }
    }
}

/// The status of a good end, with the numbers it takes.
fn final_status(proto: &mut FullFeature, slot: &mut Slot) -> FinalStatus {
    slot.leave(&mut proto.window);
    let numbers = proto.take_numbers();
    let residual = slot.residual();
    let status = scsi::Status::Good as u8;
    FinalStatus { status, stat_sn: numbers.stat_sn, residual_flags: residual.flags(), residual: residual.count }
}
