//! WRITE: from the initiator to the medium. Chunks are fetched and written independently of each other.

use bdev::Op;
use reactors::limits::LARGE_BUFFER;
use scsi::{BlockKind, BlockOp, Outcome, Status};

use super::{Step, lba_at, returned};
use crate::conn::Full;
use crate::context::Context;
use crate::slot::{Chunk, ChunkState, Phase};
use crate::wire::Wire;

impl Full {
    pub(super) fn advance_write(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Step {
        loop {
            let begun = self.begin_writes(ctx, index, op);
            let pushed = self.push_chunks(dm, ctx, index, op);
            let slot = self.slot(index);
            if slot.outcome.is_some() {
                return self.wind_up(dm, ctx, index);
            }
            if slot.finished == slot.total {
                return self.respond(dm, ctx, index);
            }
            let popped = self.pop_finished(index);
            begun.and(pushed)?;
            if !popped {
                return Ok(());
            }
        }
    }

    /// Gets memory for as many chunks as the initiator may be asked for at a time.
    fn begin_writes(&mut self, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Step {
        let wanted = self.proto.parameters.max_outstanding_r2t.clamp(1, crate::limits::CHUNKS as u16) as u8;
        loop {
            let slot = self.slot(index);
            if slot.begun == slot.total || slot.used >= wanted {
                return Ok(());
            }
            self.begin_chunk(ctx, index, Some(op))?;
        }
    }

    /// Takes memory for the next chunk of a task's Data-Out: with `write`, the very blocks it is going to, if the
    /// device lends them.
    pub(crate) fn begin_chunk(&mut self, ctx: &mut Context<'_>, index: u16, write: Option<&BlockOp>) -> Step {
        if self.slot(index).early.is_some() {
            self.begin_with_early_data(index);
            return Ok(());
        }
        let max_burst = self.proto.parameters.max_burst;
        let digest = self.proto.parameters.data_digest;
        let slot = self.slot(index);
        let (offset, left) = (slot.begun, slot.total - slot.begun);
        let unasked = if offset == 0 { slot.immediate_len + slot.unsolicited } else { 0 };
        // The device's memory is filled in place only when nothing can go wrong with the bytes on the way that the
        // initiator would not be told about as a failed write, and when all of them belong to the medium.
        let lend = slot.is_whole() && !digest && write.is_some();
        let block_size = slot.block_size;
        let burst = slot.whole_blocks(max_burst).max(block_size);
        let want = if lend { left.min(burst.max(slot.to_whole_blocks(unasked))) } else { left.max(unasked) };
        let lba = write.map_or(0, |op| lba_at(op, offset, slot));
        let buf = self.memory(ctx, index, Op::Write, lba, want, lend);
        let slot = self.slot(index);
        if buf.is_err() && offset == 0 && slot.unsolicited > 0 {
            // Its data is on the way and cannot be asked for later; waiting for a buffer with the stream stopped could
            // wait for a buffer that needs the stream to move.
            slot.fail(Outcome::status(Status::TaskSetFull));
            ctx.stats.task_set_full += 1;
        }
        let buf = buf?;
        let room = slot.whole_blocks(u32::try_from(buf.capacity()).unwrap_or(u32::MAX));
        let len = left.min(room);
        let lender = slot.local;
        let Some(chunk) = slot.push_chunk() else {
            ctx.give(buf, lender);
            return Ok(());
        };
        slot.chunks[chunk] = Chunk { buf: Some(buf), offset, len, state: ChunkState::Filling, ..Chunk::default() };
        slot.begun += len;
        Ok(())
    }

    /// The first chunk is the buffer that kept the immediate data of a task that had to wait.
    fn begin_with_early_data(&mut self, index: u16) {
        let slot = self.slot(index);
        let Some(buf) = slot.early.take() else { return };
        let room = slot.whole_blocks(u32::try_from(buf.capacity()).unwrap_or(u32::MAX));
        let (len, have) = (slot.total.min(room), slot.immediate_len);
        let state = if have >= len { ChunkState::Full } else { ChunkState::Filling };
        if let Some(chunk) = slot.push_chunk() {
            slot.chunks[chunk] = Chunk { buf: Some(buf), len, have, state, ..Chunk::default() };
            slot.begun += len;
        }
    }

    /// Moves every chunk on: asks for its bytes, gives it to the device, retires it.
    fn push_chunks(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Step {
        for n in 0..self.peek(index).used {
            let slot = self.peek(index);
            let chunk = slot.nth(n);
            if slot.chunks[chunk].state == ChunkState::Filling {
                self.fetch(dm, ctx, index, chunk)?;
            }
            self.write_chunk(ctx, index, chunk, op)?;
        }
        Ok(())
    }

    /// Gives a chunk that is full to the device, and retires one that came back.
    #[inline]
    fn write_chunk(&mut self, ctx: &mut Context<'_>, index: u16, chunk: usize, op: &BlockOp) -> Step {
        let slot = self.slot(index);
        let piece = &mut slot.chunks[chunk];
        let (len, offset) = (piece.len, piece.offset);
        if piece.state == ChunkState::Full {
            if let Some(buf) = &mut piece.buf {
                buf.set_len(len as usize);
            }
            let (lba, blocks) = (lba_at(op, offset, slot), u64::from(slot.blocks_in(len)));
            self.transfer(ctx, index, chunk, Op::Write, lba, blocks)?;
        }
        let slot = self.slot(index);
        if slot.chunks[chunk].state == ChunkState::Returned {
            slot.finished += len;
            self.finish_chunk(ctx, index, chunk);
        }
        Ok(())
    }

    /// A write of one piece, none of which comes unasked, asks for it at once, without passing the states of those that
    /// take several. Where it cannot, advancing the task finds it as it is.
    pub(crate) fn ask_at_once(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, op: &BlockOp) {
        let parameters = &self.proto.parameters;
        let (most, digest) = (parameters.max_burst.min(LARGE_BUFFER as u32), parameters.data_digest);
        let slot = self.peek(index);
        let len = slot.total;
        if len > most || slot.early.is_some() {
            return;
        }
        let Ok(sink) = self.memory(ctx, index, Op::Write, op.lba, len, !digest && slot.is_whole()) else { return };
        let slot = self.slot(index);
        slot.begun = len;
        slot.used = 1;
        let chunk = slot.nth(0);
        slot.chunks[chunk] = Chunk { len, state: ChunkState::Filling, ..Chunk::default() };
        // A stall shows again when the task is advanced.
        let _ = self.get(dm, ctx, index, chunk, sink, len);
    }

    /// Ends a write whose only piece has come, if the device takes it at once. `false`: it has to be advanced.
    pub(crate) fn write_at_once(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> bool {
        let slot = self.slot(index);
        let chunk = slot.nth(0);
        let piece = &mut slot.chunks[chunk];
        if slot.used != 1 || piece.state != ChunkState::Full || piece.len != slot.total || slot.phase != Phase::Moving {
            return false;
        }
        let Some(op) = slot.op.filter(|op| op.kind == BlockKind::Write && slot.outcome.is_none()) else { return false };
        if let Some(buf) = &mut piece.buf {
            buf.set_len(slot.total as usize);
        }
        let blocks = slot.blocks_in(slot.total);
        let Some((key, mut io)) = self.io(index, chunk, Op::Write, op.lba, blocks.into()) else { return false };
        let ran = ctx.units.run(key, &mut io);
        let slot = self.slot(index);
        match ran {
            Some(bdev::Status::Ok) => slot.chunks[chunk].state = ChunkState::Finished,
            Some(failed) => {
                returned(slot, chunk, failed, io.data);
                return false;
            }
            None => {
                slot.chunks[chunk].buf = io.data;
                return false;
            }
        }
        slot.finished = slot.total;
        if let Some(buf) = io.data {
            ctx.give(buf, slot.local);
        }
        if self.respond(dm, ctx, index).is_err() {
            self.stall(index);
        }
        true
    }

    /// The chunk's memory is not needed any more.
    pub(crate) fn finish_chunk(&mut self, ctx: &mut Context<'_>, index: u16, chunk: usize) {
        let slot = self.slot(index);
        let lender = slot.local;
        let piece = &mut slot.chunks[chunk];
        piece.state = ChunkState::Finished;
        if let Some(buf) = piece.buf.take() {
            ctx.give(buf, lender);
        }
    }

    /// Frees the oldest chunks that are finished; `true` if there were any.
    fn pop_finished(&mut self, index: u16) -> bool {
        let slot = self.slot(index);
        let before = slot.used;
        while slot.used > 0 && slot.chunks[usize::from(slot.head)].state == ChunkState::Finished {
            slot.pop_chunk();
        }
        slot.used < before
    }
}
