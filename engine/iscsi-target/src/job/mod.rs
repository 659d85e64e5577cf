//! Jobs: how a task's data moves between the initiator and the medium.
//!
//! A task never waits in code. Each event (data arrived, the device finished, room appeared) changes its slot, and
//! [`Full::advance`] starts whatever can be started now. What cannot for want of a buffer, of room in the device or
//! in the transmit queue puts the task into its connection's queue of stalled tasks, which is stepped every turn.

mod compare;
mod read;
mod simple;
mod write;
mod write_same;

use bdev::{Done, Io, Op};
use iscsi::datamover::{DataStatus, Datamover, GetData, TaskName};
use primitives::{Buf, Key, Tag};
use reactors::limits::LARGE_BUFFER;
use scsi::{BlockKind, BlockOp, Outcome, Status};

use crate::conn::Full;
use crate::context::Context;
use crate::sense;
use crate::slot::{ChunkState, Phase, Slot, kind};
use crate::wire::Wire;

/// A step could not be taken now.
pub(crate) struct Stall;

/// What one step came to.
pub(crate) type Step = Result<(), Stall>;

impl Full {
    /// Starts whatever the task can start now.
    pub(crate) fn advance(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) {
        let slot = self.slot(index);
        let step = match slot.phase {
            Phase::Moving | Phase::Parameters if slot.outcome.is_some() => self.wind_up(dm, ctx, index),
            Phase::Moving => self.advance_job(dm, ctx, index),
            Phase::Parameters => self.advance_parameters(dm, ctx, index),
            Phase::Responding => self.respond(dm, ctx, index),
            Phase::Draining if slot.tell_aborted && slot.outstanding == 0 => self.respond_aborted(dm, ctx, index),
            Phase::Responded | Phase::Draining => {
                self.retire(ctx, index);
                Ok(())
            }
            Phase::Ready => self.start(dm, ctx, index),
            Phase::Free | Phase::Held | Phase::Skipped | Phase::Blocked | Phase::AtHome => Ok(()),
        };
        if step.is_err() {
            self.stall(index);
        }
    }

    fn advance_job(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        let Some(op) = self.slot(index).op else { return self.advance_reply(dm, ctx, index) };
        match op.kind {
            BlockKind::Read => self.advance_read(dm, ctx, index, &op),
            BlockKind::Write => self.advance_write(dm, ctx, index, &op),
            BlockKind::Verify | BlockKind::Compare | BlockKind::CompareRepeated | BlockKind::WriteVerify { .. } => {
                self.advance_compare(dm, ctx, index, &op)
            }
            BlockKind::WriteSame { .. } => self.advance_write_same(dm, ctx, index, &op),
            BlockKind::Flush { .. } | BlockKind::Unmap { .. } => self.advance_simple(dm, ctx, index, &op),
            BlockKind::Prefetch { .. } => self.respond(dm, ctx, index),
        }
    }

    /// Parameter data made by the device server goes out like data read.
    fn advance_reply(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        let slot = self.slot(index);
        if slot.total == 0 {
            self.drop_chunks(ctx, index);
            return self.respond(dm, ctx, index);
        }
        self.send_and_answer(dm, ctx, index)
    }

    /// A parameter list goes to the device server once it is complete.
    fn advance_parameters(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        if self.slot(index).total > 0 {
            if self.slot(index).used == 0 {
                self.begin_chunk(ctx, index, None)?;
            }
            let slot = self.slot(index);
            let chunk = slot.nth(0);
            match slot.chunks[chunk].state {
                ChunkState::Filling => return self.fetch(dm, ctx, index, chunk),
                ChunkState::Full => {}
                _ => return Ok(()),
            }
        }
        self.judge_parameters(dm, ctx, index);
        Ok(())
    }

    /// The task failed: takes back what the initiator still owes, waits for what moves, then answers.
    pub(crate) fn wind_up(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16) -> Step {
        let slot = self.slot(index);
        if slot.fetching > 0 {
            let tag = self.peek(index).tag(self.owner(), index, kind::GET, 0);
            dm.release_task(tag);
            return Ok(());
        }
        if slot.outstanding > 0 {
            return Ok(());
        }
        self.respond(dm, ctx, index)
    }

    /// A put, get or immediate segment came back.
    pub(crate) fn data_done(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, tag: Tag, buf: Buf, status: DataStatus) {
        let index = tag.index();
        let Some(slot) = self.current(tag) else {
            ctx.give(buf, None);
            return;
        };
        slot.outstanding -= 1;
        let chunk = usize::from(tag.kind() & 0x0F);
        if tag.kind() & 0xF0 == kind::PUT {
            slot.chunks[chunk].state = ChunkState::Finished;
            ctx.give(buf, slot.local);
            if slot.phase == Phase::Responded {
                return self.retire(ctx, index);
            }
            if slot.phase == Phase::Moving {
                while slot.used > 0 && slot.chunks[usize::from(slot.head)].state == ChunkState::Finished {
                    slot.pop_chunk();
                }
            }
            return self.advance(dm, ctx, index);
        }
        if let DataStatus::DigestError(bhs) = status {
            self.reject_damaged(dm, ctx, &bhs);
        }
        let slot = self.slot(index);
        match tag.kind() & 0xF0 {
            kind::EARLY_IMMEDIATE | kind::EARLY => {
                slot.fetching -= 1;
                slot.early = Some(buf);
                self.early_fetched(dm, ctx, tag, status);
            }
            _ => {
                slot.fetching -= 1;
                slot.chunks[chunk].buf = Some(buf);
                if slot.chunks[chunk].asked_unsolicited {
                    // That was all of it: no get will come for what is sent beyond.
                    dm.refuse_unsolicited(slot.itt);
                }
                self.fetched(ctx, index, chunk, status);
                if self.write_at_once(dm, ctx, index) {
                    return;
                }
            }
        }
        self.advance(dm, ctx, index);
    }

    /// Bytes from the initiator arrived in a chunk.
    fn fetched(&mut self, ctx: &mut Context<'_>, index: u16, chunk: usize, status: DataStatus) {
        let slot = self.slot(index);
        let asked = core::mem::take(&mut slot.chunks[chunk].asked);
        let unsolicited = core::mem::take(&mut slot.chunks[chunk].asked_unsolicited);
        let got = match status {
            DataStatus::Ok => asked,
            DataStatus::Short(bytes) => bytes.min(asked),
            // The connection is ending; asking again would bring the same answer, for ever.
            DataStatus::Released => {
                slot.fail(Outcome::status(Status::TaskAborted));
                0
            }
            DataStatus::DigestError(_) => {
                slot.fail(sense::digest_error());
                0
            }
            DataStatus::SequenceError => {
                slot.fail(sense::sequence_error());
                0
            }
        };
        if unsolicited {
            slot.unsolicited = 0;
        }
        let piece = &mut slot.chunks[chunk];
        piece.have += got;
        piece.state = if piece.have >= piece.len { ChunkState::Full } else { ChunkState::Filling };
        ctx.stats.bytes_in += u64::from(got);
    }

    /// A block operation came back.
    pub(crate) fn io_done(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, done: Done) {
        let index = done.tag.index();
        let Some(slot) = self.current(done.tag) else {
            if let Some(buf) = done.data {
                ctx.give(buf, None);
            }
            return;
        };
        slot.outstanding -= 1;
        returned(slot, usize::from(done.tag.kind() & 0x0F), done.status, done.data);
        self.advance(dm, ctx, index);
    }

    /// Memory for `len` bytes of a chunk: the device's own where it lends it, a buffer otherwise.
    pub(crate) fn memory(
        &mut self,
        ctx: &mut Context<'_>,
        index: u16,
        op: Op,
        lba: u64,
        len: u32,
        lend: bool,
    ) -> Result<Buf, Stall> {
        let slot = self.peek(index);
        // A device that lends anything lends whole blocks.
        let blocks = slot.blocks_in(slot.to_whole_blocks(len));
        if let Some(key) = slot.local.filter(|_| lend)
            && let Some(buf) = ctx.units.lend(key, op, lba, blocks.into())
        {
            ctx.stats.lent += 1;
            return Ok(buf);
        }
        ctx.pools.take((len as usize).min(LARGE_BUFFER)).ok_or_else(|| {
            ctx.stats.buffer_waits += 1;
            Stall
        })
    }

    /// Gives a chunk to the device to be read or written, which may be done at once: look at its state, and at the
    /// task's outcome, afterwards.
    pub(crate) fn transfer(
        &mut self,
        ctx: &mut Context<'_>,
        index: u16,
        chunk: usize,
        op: Op,
        lba: u64,
        blocks: u64,
    ) -> Step {
        let Some((key, mut io)) = self.io(index, chunk, op, lba, blocks) else { return Ok(()) };
        match ctx.units.run(key, &mut io) {
            Some(status) => {
                returned(self.slot(index), chunk, status, io.data);
                Ok(())
            }
            None => self.hand_over(ctx, index, chunk, key, io),
        }
    }

    /// Gives a chunk to the device.
    pub(crate) fn submit(
        &mut self,
        ctx: &mut Context<'_>,
        index: u16,
        chunk: usize,
        op: Op,
        lba: u64,
        blocks: u64,
    ) -> Step {
        let Some((key, io)) = self.io(index, chunk, op, lba, blocks) else { return Ok(()) };
        self.hand_over(ctx, index, chunk, key, io)
    }

    /// The operation on a chunk, and the unit it goes to.
    fn io(&mut self, index: u16, chunk: usize, op: Op, lba: u64, blocks: u64) -> Option<(Key, Io)> {
        let owner = self.owner();
        let slot = self.slot(index);
        let key = slot.local?;
        let fua = slot.op.is_some_and(|op| op.fua);
        let tag = slot.tag(owner, index, kind::IO, chunk);
        Some((key, Io { tag, op, fua, lba, blocks, data: slot.chunks[chunk].buf.take() }))
    }

    fn hand_over(&mut self, ctx: &mut Context<'_>, index: u16, chunk: usize, key: Key, io: Io) -> Step {
        let submitted = ctx.units.submit(key, io);
        let slot = self.slot(index);
        match submitted {
            Ok(()) => {
                slot.chunks[chunk].state = ChunkState::InDevice;
                slot.outstanding += 1;
                Ok(())
            }
            Err(io) => {
                slot.chunks[chunk].buf = io.data;
                ctx.stats.device_waits += 1;
                Err(Stall)
            }
        }
    }

    /// Asks the initiator for the rest of a chunk, or awaits what it sends unasked.
    pub(crate) fn fetch(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, chunk: usize) -> Step {
        let max_burst = self.proto.parameters.max_burst;
        let slot = self.slot(index);
        let unsolicited = slot.unsolicited > 0;
        let piece = &mut slot.chunks[chunk];
        let Some(sink) = piece.buf.take() else { return Ok(()) };
        let len = if unsolicited {
            slot.unsolicited.min(sink.capacity() as u32 - piece.have)
        } else {
            (piece.len - piece.have).min(max_burst)
        };
        self.get(dm, ctx, index, chunk, sink, len)
    }

    /// Asks for `len` bytes of a chunk into its memory, `sink`, behind what it has.
    #[inline]
    fn get(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, index: u16, chunk: usize, sink: Buf, len: u32) -> Step {
        let owner = self.owner();
        let (proto, slot) = self.parts(index);
        let unsolicited = slot.unsolicited > 0;
        let piece = &mut slot.chunks[chunk];
        piece.asked = len;
        piece.asked_unsolicited = unsolicited;
        let start = piece.have;
        let offset = piece.offset + start;
        let get = GetData {
            tag: slot.tag(owner, index, kind::GET, chunk),
            task: TaskName { itt: slot.itt, lun: slot.lun },
            remote: slot.remote,
            sink,
            start,
            len,
            offset,
            solicited_from: slot.solicited_from,
            unsolicited,
            r2t_sn: slot.data_sn,
            numbers: proto.numbers(),
        };
        match dm.get_data(get) {
            Ok(()) => {
                slot.chunks[chunk].state = ChunkState::Fetching;
                slot.outstanding += 1;
                slot.fetching += 1;
                slot.data_sn += u32::from(!unsolicited);
                Ok(())
            }
            Err(get) => {
                slot.chunks[chunk].buf = Some(get.sink);
                ctx.stats.transmit_waits += 1;
                Err(Stall)
            }
        }
    }

    /// Bytes of a logical block of the task's unit.
    pub(crate) fn block_size(&self, index: u16) -> u32 {
        self.peek(index).block_size
    }
}

/// A device is done with a chunk.
fn returned(slot: &mut Slot, chunk: usize, status: bdev::Status, data: Option<Buf>) {
    let piece = &mut slot.chunks[chunk];
    piece.buf = data;
    if status == bdev::Status::Ok {
        piece.state = ChunkState::Returned;
    } else {
        piece.state = ChunkState::Finished;
        let (op, lba) = slot.op.map_or((Op::Read, 0), |op| (device_op(&op), op.lba));
        slot.fail(sense::of_device(status, op, lba));
    }
}

/// Whether a failure of the operation is one of reading or of writing.
fn device_op(op: &BlockOp) -> Op {
    match op.kind {
        BlockKind::Read | BlockKind::Verify | BlockKind::Compare | BlockKind::CompareRepeated => Op::Read,
        _ => Op::Write,
    }
}

/// The block address of byte `offset` of the data of `slot`'s operation.
pub(crate) fn lba_at(op: &BlockOp, offset: u32, slot: &Slot) -> u64 {
    op.lba + u64::from(slot.blocks_in(offset))
}
