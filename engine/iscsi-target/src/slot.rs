//! A task's slot: everything one outstanding SCSI command holds. A fixed number per connection, reused for ever.

mod ending;

use iscsi::datamover::Advertised;
use primitives::{Buf, Key, Tag};
use scsi::{BlockOp, Outcome, TaskAttribute};

use crate::limits::CHUNKS;

/// What a sub-operation is, in the kind byte of its [`Tag`]: the operation in the high nibble, its chunk in the low.
pub mod kind {
    /// A block operation.
    pub const IO: u8 = 0x00;
    /// A Put_Data.
    pub const PUT: u8 = 0x10;
    /// A Get_Data.
    pub const GET: u8 = 0x20;
    /// Immediate data accepted while still in the stream.
    pub const IMMEDIATE: u8 = 0x30;
    /// The same for a task that may not start yet.
    pub const EARLY_IMMEDIATE: u8 = 0x40;
    /// A Get_Data of what such a task sends unasked.
    pub const EARLY: u8 = 0x50;
}

/// The phase of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// No task.
    #[default]
    Free,
    /// Ahead of a CmdSN gap (RFC 7143 §4.2.2.1).
    Held,
    /// Aborted while it was held, or before it came: keeps nothing but its CmdSN, which counts as received when its
    /// turn comes. Else no later command could ever be delivered.
    Skipped,
    /// May start, but waits for a buffer to do so.
    Ready,
    /// Waiting for the task set (SAM-5 §8: ORDERED tasks and what follows them).
    Blocked,
    /// Data moves between the initiator and the medium.
    Moving,
    /// Fetching a parameter list.
    Parameters,
    /// A change of the logical unit is being made known to every core.
    AtHome,
    /// Everything is done but the response could not be queued yet.
    Responding,
    /// The response is queued; memory is still on its way out.
    Responded,
    /// Aborted: waits until nothing of it moves any more, then vanishes without a response.
    Draining,
}

/// Where a piece of data is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ChunkState {
    /// Nowhere.
    #[default]
    Idle,
    /// Has memory and waits for more bytes from the initiator to be asked for.
    Filling,
    /// The datamover fills it.
    Fetching,
    /// Full: waits for the device to take it.
    Full,
    /// The device has it.
    InDevice,
    /// The device is done with it.
    Returned,
    /// The datamover sends it.
    Sending,
    /// Nothing is left to do with it.
    Finished,
}

/// One piece of a task's data and its memory.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Where it is.
    pub state: ChunkState,
    /// Its memory, while neither datamover nor device holds it.
    pub buf: Option<Buf>,
    /// Offset of its first byte in the task's data.
    pub offset: u32,
    /// Bytes of it that are the task's data on the medium.
    pub len: u32,
    /// Bytes received so far.
    pub have: u32,
    /// Bytes the datamover was asked to get.
    pub asked: u32,
    /// They come unasked: no R2T was spent on them.
    pub asked_unsolicited: bool,
}

/// One outstanding SCSI command.
#[derive(Debug)]
pub struct Slot {
    /// Phase.
    pub phase: Phase,
    /// Low 24 bits go into tags.
    pub generation: u32,
    /// Initiator Task Tag.
    pub itt: u32,
    /// CmdSN, for tasks that wait for it.
    pub cmd_sn: u32,
    /// LUN field as received.
    pub lun: [u8; 8],
    /// The session's entry for the logical unit, if it exists.
    pub unit: Option<u16>,
    /// The core's entry for the logical unit.
    pub local: Option<Key>,
    /// CDB.
    pub cdb: [u8; 16],
    /// Flags and attribute, byte 1 of the SCSI Command PDU.
    pub flags: u8,
    /// How it is ordered against the other tasks of its logical unit.
    pub attribute: TaskAttribute,
    /// The immediate bit was set.
    pub immediate: bool,
    /// Counted in the command window, so its end has to be told to it.
    pub counted: bool,
    /// Counted in the task set of its logical unit.
    pub in_task_set: bool,
    /// Expected Data Transfer Length.
    pub edtl: u32,
    /// The initiator's buffers.
    pub remote: Advertised,
    /// The block operation.
    pub op: Option<BlockOp>,
    /// Data that came unasked for a task that may not start yet.
    pub early: Option<Buf>,
    /// Which way the command moves data: `true` to the initiator.
    pub reads: Option<bool>,
    /// Bytes the command moves, as its CDB says; for residuals.
    pub expected: u64,
    /// Bytes that will really move, the smaller of CDB and EDTL, for writes in whole blocks.
    pub total: u32,
    /// Bytes for which chunks were begun.
    pub begun: u32,
    /// Bytes finished (sent, or on the medium).
    pub finished: u32,
    /// Bytes of immediate data that came or are coming with the command.
    pub immediate_len: u32,
    /// Bytes of data the initiator still sends unasked, beyond immediate data.
    pub unsolicited: u32,
    /// Offset at which solicited data begins.
    pub solicited_from: u32,
    /// Blocks done, by the jobs that count in blocks.
    pub blocks_done: u64,
    /// Bytes of a logical block.
    pub block_size: u32,
    /// DataSN or R2TSN of the next PDU.
    pub data_sn: u32,
    /// The oldest chunk in use.
    pub head: u8,
    /// Chunks in use.
    pub used: u8,
    /// Operations of this task that datamover and device hold.
    pub outstanding: u8,
    /// Fetches outstanding, solicited or not.
    pub fetching: u8,
    /// Where a job of several stages stands.
    pub step: u16,
    /// The response is queued.
    pub answered: bool,
    /// Aborted by another nexus while the Control page says TAS=1, or because its unit was removed: answered with TASK
    /// ABORTED (SAM-5 §5.6).
    pub tell_aborted: bool,
    /// The slot stands in its connection's queue of stalled tasks.
    pub stalled: bool,
    /// Sense or status of the first failure; the final outcome when Responding.
    pub outcome: Option<Outcome>,
    /// When the task began, for latency.
    pub began: u64,
    /// Data in flight.
    pub chunks: [Chunk; CHUNKS],
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            phase: Phase::Free,
            generation: 0,
            itt: 0,
            cmd_sn: 0,
            lun: [0; 8],
            unit: None,
            local: None,
            cdb: [0; 16],
            flags: 0,
            attribute: TaskAttribute::Simple,
            immediate: false,
            counted: false,
            in_task_set: false,
            edtl: 0,
            remote: Advertised::default(),
            op: None,
            early: None,
            reads: None,
            expected: 0,
            total: 0,
            begun: 0,
            finished: 0,
            immediate_len: 0,
            unsolicited: 0,
            solicited_from: 0,
            blocks_done: 0,
            block_size: 512,
            data_sn: 0,
            head: 0,
            used: 0,
            outstanding: 0,
            fetching: 0,
            step: 0,
            answered: false,
            tell_aborted: false,
            stalled: false,
            outcome: None,
            began: 0,
            chunks: Default::default(),
        }
    }
}

impl Slot {
    /// Empties it for its next task. What every command fills in anyway is left as it is: a slot is large, and this is
    /// done for every task.
    pub fn recycle(&mut self) {
        debug_assert!(self.outstanding == 0 && self.used == 0 && self.early.is_none());
        self.phase = Phase::Free;
        self.generation = self.generation.wrapping_add(1);
        (self.unit, self.local) = (None, None);
        (self.op, self.outcome, self.reads) = (None, None, None);
        (self.expected, self.total, self.begun, self.finished) = (0, 0, 0, 0);
        (self.blocks_done, self.data_sn, self.step) = (0, 0, 0);
        (self.unsolicited, self.fetching, self.head) = (0, 0, 0);
        (self.counted, self.in_task_set) = (false, false);
        (self.answered, self.tell_aborted, self.stalled) = (false, false, false);
    }

    /// The tag of a sub-operation of this task.
    pub fn tag(&self, owner: u16, index: u16, kind: u8, chunk: usize) -> Tag {
        Tag::new(kind | chunk as u8, owner, index, self.generation)
    }

    /// A completion with this tag belongs to the present task.
    pub fn is_current(&self, tag: Tag) -> bool {
        self.phase != Phase::Free && tag.generation() == self.generation % Tag::GENERATIONS
    }

    /// Nothing can be done for it before something happens: it is answered or over, or all of its data was asked for
    /// and none of it is here.
    pub fn waits(&self) -> bool {
        match self.phase {
            Phase::Responded | Phase::Free => true,
            _ => {
                self.solicited_from == 0 && self.fetching > 0 && self.fetching == self.used && self.begun == self.total
            }
        }
    }

    /// EDTL when the command says it writes, else 0.
    pub fn out_length(&self) -> u32 {
        if self.flags & 0x20 != 0 { self.edtl } else { 0 }
    }

    /// EDTL when the command says it reads (and does not write), else 0.
    pub fn in_length(&self) -> u32 {
        if self.flags & 0x60 == 0x40 { self.edtl } else { 0 }
    }

    /// Whole blocks in so many bytes.
    pub fn blocks_in(&self, bytes: u32) -> u32 {
        // A block is 512 or 4096 bytes; divisions are slow.
        bytes >> self.block_size.trailing_zeros()
    }

    /// As many bytes of these as are whole blocks.
    pub fn whole_blocks(&self, bytes: u32) -> u32 {
        bytes & !(self.block_size - 1)
    }

    /// So many bytes and what is missing to a whole block, as far as lengths go.
    pub fn to_whole_blocks(&self, bytes: u32) -> u32 {
        self.whole_blocks(bytes.saturating_add(self.block_size - 1))
    }

    /// Index of the `n`-th oldest chunk in use.
    pub fn nth(&self, n: u8) -> usize {
        usize::from(self.head + n) % CHUNKS
    }

    /// The device has given a chunk back that waits for what comes next.
    pub fn has_returned(&self) -> bool {
        (0..self.used).any(|n| self.chunks[self.nth(n)].state == ChunkState::Returned)
    }

    /// Takes the next free chunk, which becomes the youngest.
    pub fn push_chunk(&mut self) -> Option<usize> {
        if usize::from(self.used) == CHUNKS {
            return None;
        }
        let at = self.nth(self.used);
        self.used += 1;
        Some(at)
    }

    /// The oldest chunk is done.
    pub fn pop_chunk(&mut self) {
        debug_assert!(self.used > 0);
        self.chunks[usize::from(self.head)] = Chunk::default();
        self.head = (self.head + 1) % CHUNKS as u8;
        self.used -= 1;
    }
}
