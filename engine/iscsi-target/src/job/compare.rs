//! VERIFY and WRITE AND VERIFY: what the medium holds against what the initiator says, one piece after the other.
//!
//! The oldest chunk holds the initiator's data (unless the command has none), the next one what the medium holds.

use bdev::Op;
use primitives::Buf;
use reactors::limits::LARGE_BUFFER;
use scsi::{BlockFailure, BlockKind, BlockOp};

use super::{Stall, Step};
use crate::conn::Full;
use crate::context::Context;
use crate::slot::{Chunk, ChunkState};
use crate::wire::Wire;

impl Full {
    pub(super) fn advance_compare(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Step {
        let block_size = self.block_size(index);
        let has_data = op.kind != BlockKind::Verify;
        let goal = match op.kind {
            BlockKind::Verify | BlockKind::CompareRepeated => op.blocks,
            _ => u64::from(self.slot(index).total / block_size),
        };
        loop {
            if self.slot(index).blocks_done == goal {
                self.drop_chunks(ctx, index);
                return self.respond(dm, ctx, index);
            }
            if has_data && !self.have_data(dm, ctx, index, op)? {
                return Ok(());
            }
            if !self.have_medium(ctx, index, op, goal, has_data)? {
                return Ok(());
            }
            self.compare(ctx, index, op, has_data);
            if self.slot(index).outcome.is_some() {
                self.drop_chunks(ctx, index);
                return self.respond(dm, ctx, index);
            }
        }
    }

    /// The initiator's data is here and, for WRITE AND VERIFY, on the medium.
    fn have_data(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, op: &BlockOp) -> Result<bool, Stall> {
        let block_size = self.block_size(index);
        if self.slot(index).used == 0 {
            self.begin_chunk(ctx, index, None)?;
        }
        let slot = self.slot(index);
        let chunk = slot.nth(0);
        match slot.chunks[chunk].state {
            ChunkState::Filling => {
                self.fetch(dm, ctx, index, chunk)?;
                Ok(false)
            }
            ChunkState::Full => {
                let piece = &mut slot.chunks[chunk];
                let len = piece.len;
                if let Some(buf) = &mut piece.buf {
                    buf.set_len(len as usize);
                }
                if !matches!(op.kind, BlockKind::WriteVerify { .. }) {
                    return Ok(true);
                }
                let lba = op.lba + slot.blocks_done;
                self.submit(ctx, index, chunk, Op::Write, lba, u64::from(len / block_size))?;
                Ok(false)
            }
            ChunkState::Returned => Ok(true),
            _ => Ok(false),
        }
    }

    /// What the medium holds is here.
    fn have_medium(
        &mut self,
        ctx: &mut Context<'_>,
        index: u16,
        op: &BlockOp,
        goal: u64,
        has_data: bool,
    ) -> Result<bool, Stall> {
        let block_size = self.block_size(index);
        let slot = self.slot(index);
        let n = u8::from(has_data);
        if slot.used > n {
            return Ok(slot.chunks[slot.nth(n)].state == ChunkState::Returned);
        }
        let piece = match op.kind {
            BlockKind::Compare | BlockKind::WriteVerify { .. } => slot.chunks[slot.nth(0)].len,
            _ => LARGE_BUFFER as u32,
        };
        let blocks = u64::from(piece / block_size).min(goal - slot.blocks_done);
        let lba = op.lba + slot.blocks_done;
        let len = blocks as u32 * block_size;
        let buf = self.memory(ctx, index, Op::Read, lba, len, false)?;
        let room = buf.capacity() as u32 / block_size * block_size;
        let len = len.min(room);
        let slot = self.slot(index);
        let Some(chunk) = slot.push_chunk() else {
            ctx.give(buf, None);
            return Ok(false);
        };
        slot.chunks[chunk] = Chunk { buf: Some(buf), len, ..Chunk::default() };
        let submitted = self.submit(ctx, index, chunk, Op::Read, lba, u64::from(len / block_size));
        if submitted.is_err() {
            self.drop_youngest(ctx, index);
        }
        submitted.map(|()| false)
    }

    /// Compares a piece, or merely notes that it could be read.
    fn compare(&mut self, ctx: &mut Context<'_>, index: u16, op: &BlockOp, has_data: bool) {
        let block_size = self.block_size(index);
        let slot = self.slot(index);
        let medium = &slot.chunks[slot.nth(u8::from(has_data))];
        let blocks = u64::from(medium.len / block_size);
        let difference = match (&slot.chunks[slot.nth(0)].buf, &medium.buf) {
            (Some(data), Some(medium)) => match op.kind {
                BlockKind::Compare | BlockKind::WriteVerify { compare: true } => first_difference(data, medium, 0),
                BlockKind::CompareRepeated => first_difference(data, medium, block_size as usize),
                _ => None,
            },
            _ => None,
        };
        if let Some(at) = difference {
            let base = if op.kind == BlockKind::CompareRepeated { 0 } else { slot.blocks_done * u64::from(block_size) };
            slot.fail(scsi::block_failure(BlockFailure::Miscompare { offset: base + at as u64 }));
        }
        slot.blocks_done += blocks;
        self.drop_youngest(ctx, index);
        if has_data && op.kind != BlockKind::CompareRepeated {
            let chunk = self.slot(index).nth(0);
            self.finish_chunk(ctx, index, chunk);
            self.slot(index).pop_chunk();
        }
    }

    /// Gives the youngest chunk's memory back and forgets it.
    pub(super) fn drop_youngest(&mut self, ctx: &mut Context<'_>, index: u16) {
        let slot = self.slot(index);
        slot.used -= 1;
        let lender = slot.local;
        let chunk = slot.nth(slot.used);
        if let Some(buf) = core::mem::take(&mut slot.chunks[chunk]).buf {
            ctx.give(buf, lender);
        }
    }

    /// Gives every chunk's memory back. Nothing of the task may be outstanding.
    pub(crate) fn drop_chunks(&mut self, ctx: &mut Context<'_>, index: u16) {
        while self.slot(index).used > 0 {
            self.drop_youngest(ctx, index);
        }
    }
}

/// Offset of the first byte of `medium` that differs from `data`; `data` repeats every `period` bytes unless that is 0.
fn first_difference(data: &Buf, medium: &Buf, period: usize) -> Option<usize> {
    let data = data.filled();
    let medium = medium.filled();
    if period == 0 {
        return data.iter().zip(medium).position(|(a, b)| a != b);
    }
    medium.chunks(period).find_map(|block| block.iter().zip(data).position(|(a, b)| a != b))
}
