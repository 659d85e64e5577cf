//! WRITE SAME: one block of data to many.

use bdev::Op;
use reactors::limits::LARGE_BUFFER;
use scsi::{BlockKind, BlockOp};

use super::Step;
use crate::conn::Full;
use crate::context::Context;
use crate::slot::{Chunk, ChunkState};
use crate::wire::Wire;

/// What the job does next, kept in the slot's `step`.
mod stage {
    /// Get the block.
    pub const DATA: u16 = 0;
    /// One operation for the whole range was submitted.
    pub const WHOLE: u16 = 1;
    /// The device forgets it on power loss: flush.
    pub const FLUSH: u16 = 2;
    /// Write buffers full of copies.
    pub const COPIES: u16 = 3;
}

impl Full {
    pub(super) fn advance_write_same(
        &mut self,
        dm: &mut Wire,
        ctx: &mut Context<'_>,
        index: u16,
        op: &BlockOp,
    ) -> Step {
        match self.slot(index).step {
            stage::DATA => self.block_to_repeat(dm, ctx, index, op),
            stage::WHOLE => {
                let chunk = self.slot(index).nth(0);
                if self.slot(index).chunks[chunk].state != ChunkState::Returned {
                    return Ok(());
                }
                if !op.fua {
                    self.drop_chunks(ctx, index);
                    return self.respond(dm, ctx, index);
                }
                self.submit(ctx, index, chunk, Op::Flush, 0, 0)?;
                self.slot(index).step = stage::FLUSH;
                Ok(())
            }
            stage::FLUSH => {
                let chunk = self.slot(index).nth(0);
                if self.slot(index).chunks[chunk].state != ChunkState::Returned {
                    return Ok(());
                }
                self.drop_chunks(ctx, index);
                self.respond(dm, ctx, index)
            }
            _ => self.write_copies(dm, ctx, index, op),
        }
    }

    /// Gets the block of data, then chooses how to write it.
    fn block_to_repeat(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Step {
        let BlockKind::WriteSame { unmap, ndob } = op.kind else { return Ok(()) };
        if self.slot(index).used == 0 {
            if ndob {
                // A chunk without memory, to hang the operation on.
                let _ = self.slot(index).push_chunk();
            } else {
                self.begin_chunk(ctx, index, None)?;
            }
        }
        let block_size = self.block_size(index) as usize;
        let slot = self.slot(index);
        let chunk = slot.nth(0);
        if !ndob {
            match slot.chunks[chunk].state {
                ChunkState::Filling => return self.fetch(dm, ctx, index, chunk),
                ChunkState::Full => {}
                _ => return Ok(()),
            }
        }
        let zero = match &mut slot.chunks[chunk].buf {
            Some(buf) => {
                buf.set_len(block_size);
                buf.filled().iter().all(|b| *b == 0)
            }
            None => true,
        };
        let Some(local) = slot.local.and_then(|key| ctx.units.get(key)) else { return Ok(()) };
        let features = local.unit.bdev.features();
        // With UNMAP=1 the data does not matter: like LIO, and as libiscsi's suite expects, the blocks are unmapped
        // whatever it is (docs/decisions/0007).
        let whole = if unmap && features.unmap {
            Some(Op::Unmap)
        } else if zero && features.write_zeroes {
            Some(Op::WriteZeroes)
        } else {
            None
        };
        let Some(whole) = whole else {
            self.fill_with_copies(ctx, index, op)?;
            return self.write_copies(dm, ctx, index, op);
        };
        if let Some(buf) = self.slot(index).chunks[chunk].buf.take() {
            ctx.give(buf, None);
        }
        self.slot(index).chunks[chunk].state = ChunkState::Full;
        self.submit(ctx, index, chunk, whole, op.lba, op.blocks)?;
        self.slot(index).step = stage::WHOLE;
        Ok(())
    }

    /// Replaces the block by a buffer full of copies of it.
    fn fill_with_copies(&mut self, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Step {
        let block_size = self.block_size(index) as usize;
        let want = usize::try_from(op.blocks).unwrap_or(usize::MAX).saturating_mul(block_size).min(LARGE_BUFFER);
        let mut many = self.memory(ctx, index, Op::Write, op.lba, want as u32, false)?;
        let slot = self.slot(index);
        let chunk = slot.nth(0);
        let fill = many.capacity().min(want) / block_size * block_size;
        match &slot.chunks[chunk].buf {
            Some(one) => {
                many.storage()[..fill].chunks_exact_mut(block_size).for_each(|b| b.copy_from_slice(one.filled()))
            }
            None => many.storage()[..fill].fill(0),
        }
        many.set_len(fill);
        let old = core::mem::replace(
            &mut slot.chunks[chunk],
            Chunk { buf: Some(many), len: fill as u32, state: ChunkState::Full, ..Chunk::default() },
        );
        slot.step = stage::COPIES;
        if let Some(one) = old.buf {
            ctx.give(one, None);
        }
        Ok(())
    }

    fn write_copies(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Step {
        let block_size = u64::from(self.block_size(index));
        let slot = self.slot(index);
        let chunk = slot.nth(0);
        let per_write = u64::from(slot.chunks[chunk].len) / block_size;
        if slot.chunks[chunk].state == ChunkState::Returned {
            slot.blocks_done += per_write.min(op.blocks - slot.blocks_done);
            slot.chunks[chunk].state = ChunkState::Full;
        }
        if slot.chunks[chunk].state != ChunkState::Full {
            return Ok(());
        }
        let left = op.blocks - slot.blocks_done;
        if left == 0 {
            self.drop_chunks(ctx, index);
            return self.respond(dm, ctx, index);
        }
        let blocks = left.min(per_write);
        if let Some(buf) = &mut slot.chunks[chunk].buf {
            buf.set_len((blocks * block_size) as usize);
        }
        let lba = op.lba + slot.blocks_done;
        self.submit(ctx, index, chunk, Op::Write, lba, blocks)
    }
}
