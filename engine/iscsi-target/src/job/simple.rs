//! SYNCHRONIZE CACHE and UNMAP: operations that move no data between the initiator and the medium.

use bdev::Op;
use scsi::{BlockKind, BlockOp, UnmapRange, UnmapRanges};

use super::Step;
use crate::conn::Full;
use crate::context::Context;
use crate::slot::ChunkState;
use crate::wire::Wire;

impl Full {
    pub(super) fn advance_simple(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Step {
        match op.kind {
            BlockKind::Unmap { .. } => self.advance_unmap(dm, ctx, index),
            _ => self.advance_flush(dm, ctx, index),
        }
    }

    /// A flush makes everything durable, whatever range was asked for. IMMED is not honoured: an early answer would
    /// promise what is not so yet.
    fn advance_flush(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        let slot = self.slot(index);
        if slot.used == 0 {
            let Some(chunk) = slot.push_chunk() else { return Ok(()) };
            slot.chunks[chunk].state = ChunkState::Full;
        }
        let chunk = slot.nth(0);
        match slot.chunks[chunk].state {
            ChunkState::Full => self.submit(ctx, index, chunk, Op::Flush, 0, 0),
            ChunkState::Returned => {
                self.drop_chunks(ctx, index);
                self.respond(dm, ctx, index)
            }
            _ => Ok(()),
        }
    }

    /// One block operation for every descriptor of the list, in order. The oldest chunk keeps the list; the next one
    /// carries the operation.
    fn advance_unmap(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        loop {
            let slot = self.slot(index);
            if slot.used == 1 {
                let list = slot.nth(0);
                let range = slot.chunks[list].buf.as_ref().and_then(|b| nth_range(b.filled(), slot.step));
                let Some(range) = range else {
                    self.drop_chunks(ctx, index);
                    return self.end_unmap(dm, ctx, index);
                };
                slot.step += 1;
                if range.blocks == 0 {
                    continue;
                }
                let Some(chunk) = slot.push_chunk() else { return Ok(()) };
                slot.chunks[chunk].state = ChunkState::Full;
            }
            let slot = self.slot(index);
            let (list, chunk) = (slot.nth(0), slot.nth(1));
            match slot.chunks[chunk].state {
                ChunkState::Full => {
                    let range = slot.chunks[list].buf.as_ref().and_then(|b| nth_range(b.filled(), slot.step - 1));
                    let Some(range) = range else { return Ok(()) };
                    return self.submit(ctx, index, chunk, Op::Unmap, range.lba, u64::from(range.blocks));
                }
                ChunkState::Returned => self.drop_youngest(ctx, index),
                _ => return Ok(()),
            }
        }
    }

    /// With WCE=0 nothing is answered before it is durable.
    fn end_unmap(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        match &mut self.slot(index).op {
            Some(op) if op.fua => {
                op.kind = BlockKind::Flush { immed: false };
                self.advance_flush(dm, ctx, index)
            }
            _ => self.respond(dm, ctx, index),
        }
    }
}

fn nth_range(list: &[u8], n: u16) -> Option<UnmapRange> {
    UnmapRanges::new(list).nth(usize::from(n))
}
