//! The data of outstanding commands: what may still come in, and what must still go out.

use iscsi::wire::{DataIn, DataOut, R2t, RESERVED_TAG, ScsiCommand};
use primitives::{Buf, IndexQueue, Serial};

use crate::error::Violation;
use crate::limits::MAX_OUTSTANDING_R2T;
use crate::transport::{Agreed, Data, Finished};

/// Bytes the target wants: an R2T, or the unsolicited burst.
#[derive(Clone, Copy, Default, Debug)]
struct Burst {
    ttt: u32,
    next: u32,
    end: u32,
    data_sn: u32,
}

/// R2Ts to be answered, oldest first, and the unsolicited burst before them.
#[derive(Clone, Copy, Default, Debug)]
struct Bursts {
    ring: [Burst; MAX_OUTSTANDING_R2T + 1],
    head: u8,
    len: u8,
}

impl Bursts {
    fn push(&mut self, burst: Burst) -> bool {
        let full = usize::from(self.len) == self.ring.len();
        if !full {
            self.ring[usize::from(self.head + self.len) % self.ring.len()] = burst;
            self.len += 1;
        }
        !full
    }

    fn front(&mut self) -> Option<&mut Burst> {
        (self.len > 0).then(|| &mut self.ring[usize::from(self.head)])
    }

    fn pop(&mut self) {
        debug_assert!(self.len > 0);
        self.head = (self.head + 1) % self.ring.len() as u8;
        self.len -= 1;
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    None,
    Read,
    Write,
}

/// One slot. It is live while `itt` is not the reserved tag.
#[derive(Debug)]
struct Transfer {
    itt: u32,
    /// The command's data length; nothing outside it is read or written.
    edtl: u32,
    /// Where the next Data-In must begin.
    next_offset: u32,
    /// The DataSN of the next Data-In, or the R2TSN of the next R2T; they share one numbering (RFC 7143 §4.2.2.3).
    next_sn: u32,
    /// Queued pieces that refer to `buf`.
    queued: u32,
    direction: Direction,
    lun: [u8; 8],
    buf: Option<Buf>,
    bursts: Bursts,
}

impl Transfer {
    const FREE: Self = Self {
        itt: RESERVED_TAG,
        edtl: 0,
        next_offset: 0,
        next_sn: 0,
        queued: 0,
        direction: Direction::None,
        lun: [0; 8],
        buf: None,
        bursts: Bursts {
            ring: [Burst { ttt: 0, next: 0, end: 0, data_sn: 0 }; MAX_OUTSTANDING_R2T + 1],
            head: 0,
            len: 0,
        },
    };
}

/// What goes with a command PDU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Immediate {
    /// Bytes of immediate data.
    pub len: u32,
    /// No unsolicited Data-Out follows.
    pub final_bit: bool,
}

/// One Data-Out to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub slot: u16,
    pub header: DataOut,
    pub len: u32,
}

/// The table, indexed by the low 16 bits of the ITT.
#[derive(Debug)]
pub(super) struct Transfers {
    slots: Box<[Transfer]>,
    /// Slots with bursts to send, each at most once; they take turns, a PDU each.
    senders: IndexQueue,
}

/// The slot an ITT names.
fn slot_of(itt: u32) -> u16 {
    itt as u16
}

impl Transfers {
    pub fn new(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| Transfer::FREE).collect(), senders: IndexQueue::new(slots) }
    }

    /// Takes a command's data, and decides what of it goes along unasked (RFC 7143 §4.2.5.2).
    pub fn begin(&mut self, command: &ScsiCommand, data: Data, agreed: &Agreed) -> Immediate {
        let slot = slot_of(command.itt);
        let transfer = &mut self.slots[usize::from(slot)];
        assert!(transfer.itt == RESERVED_TAG, "slot {slot} still has a task");
        let edtl = data.len() as u32;
        let direction = match &data {
            Data::None => Direction::None,
            Data::Read { .. } => Direction::Read,
            Data::Write { .. } => Direction::Write,
        };
        let mut buf = data.into_buf();
        if let (Direction::Read, Some(buf)) = (direction, &mut buf) {
            assert!(edtl as usize <= buf.capacity(), "a read of {edtl} bytes into a smaller buffer");
            buf.set_len(0);
        }
        transfer.itt = command.itt;
        (transfer.edtl, transfer.direction, transfer.lun, transfer.buf) = (edtl, direction, command.lun, buf);
        (transfer.next_offset, transfer.next_sn, transfer.queued) = (0, 0, 0);
        transfer.bursts.len = 0;
        if direction == Direction::Write {
            self.begin_write(slot, edtl, agreed)
        } else {
            Immediate { len: 0, final_bit: true }
        }
    }

    fn begin_write(&mut self, slot: u16, edtl: u32, agreed: &Agreed) -> Immediate {
        let first_burst = edtl.min(agreed.first_burst);
        let immediate = if agreed.immediate_data { first_burst.min(agreed.max_send_segment) } else { 0 };
        let unsolicited = !agreed.initial_r2t && immediate < first_burst;
        if unsolicited {
            let burst = Burst { ttt: RESERVED_TAG, next: immediate, end: first_burst, data_sn: 0 };
            let pushed = self.slots[usize::from(slot)].bursts.push(burst) && self.senders.push(slot.into()).is_ok();
            debug_assert!(pushed, "a new task has no bursts and is no sender");
        }
        Immediate { len: immediate, final_bit: !unsolicited }
    }

    fn live(&mut self, itt: u32) -> Result<&mut Transfer, Violation> {
        let transfer = self.slots.get_mut(usize::from(slot_of(itt))).filter(|t| t.itt == itt && itt != RESERVED_TAG);
        transfer.ok_or(Violation::TaskTag(itt))
    }

    /// Checks a Data-In against its task and advances over it; its `len` bytes then go to [`Self::sink`].
    pub fn data_in(&mut self, pdu: &DataIn, len: u32) -> Result<(), Violation> {
        let transfer = self.live(pdu.itt)?;
        let end = pdu.buffer_offset.checked_add(len).filter(|end| *end <= transfer.edtl);
        let Some(end) = end.filter(|_| transfer.direction == Direction::Read) else {
            return Err(Violation::DataBounds(pdu.buffer_offset, len));
        };
        if pdu.data_sn.0 != transfer.next_sn {
            return Err(Violation::DataSn(pdu.data_sn.0, transfer.next_sn));
        }
        // DataPDUInOrder and DataSequenceInOrder are always Yes.
        if pdu.buffer_offset != transfer.next_offset {
            return Err(Violation::DataOrder(pdu.buffer_offset, transfer.next_offset));
        }
        transfer.next_offset = end;
        transfer.next_sn = transfer.next_sn.wrapping_add(1);
        Ok(())
    }

    /// The buffer of a task that [`Self::data_in`] accepted.
    pub fn sink(&mut self, itt: u32) -> Option<&mut Buf> {
        self.live(itt).ok()?.buf.as_mut()
    }

    /// Checks an R2T and notes what it asks for (RFC 7143 §11.8).
    pub fn r2t(&mut self, pdu: &R2t, agreed: &Agreed) -> Result<(), Violation> {
        let transfer = self.live(pdu.itt)?;
        let asked = (pdu.buffer_offset, pdu.desired_length);
        let end = pdu.buffer_offset.checked_add(pdu.desired_length).filter(|end| *end <= transfer.edtl);
        let fits = pdu.desired_length > 0 && pdu.desired_length <= agreed.max_burst;
        let Some(end) = end.filter(|_| fits && transfer.direction == Direction::Write) else {
            return Err(Violation::R2tBounds(asked.0, asked.1));
        };
        if pdu.ttt == RESERVED_TAG {
            return Err(Violation::Field("an R2T with the reserved transfer tag"));
        }
        if pdu.r2t_sn.0 != transfer.next_sn {
            return Err(Violation::DataSn(pdu.r2t_sn.0, transfer.next_sn));
        }
        let idle = transfer.bursts.len == 0;
        // The unsolicited burst, which has the reserved tag, may still be going out beside them.
        let unsolicited = transfer.bursts.front().is_some_and(|b| b.ttt == RESERVED_TAG);
        if usize::from(transfer.bursts.len) - usize::from(unsolicited) >= usize::from(agreed.max_outstanding_r2t) {
            return Err(Violation::TooManyR2t);
        }
        transfer.next_sn = transfer.next_sn.wrapping_add(1);
        let burst = Burst { ttt: pdu.ttt, next: pdu.buffer_offset, end, data_sn: 0 };
        if !transfer.bursts.push(burst) {
            return Err(Violation::TooManyR2t);
        }
        if idle {
            let pushed = self.senders.push(slot_of(pdu.itt).into());
            debug_assert!(pushed.is_ok(), "a slot is queued once, and there is a place for each");
        }
        Ok(())
    }

    /// The next Data-Out, of at most `max_segment` bytes; its payload counts as queued.
    pub fn next_data_out(&mut self, max_segment: u32, exp_stat_sn: Serial) -> Option<Outgoing> {
        loop {
            let index = self.senders.pop()?;
            let transfer = &mut self.slots[index as usize];
            // A task that ended meanwhile has none left.
            let Some(burst) = transfer.bursts.front() else { continue };
            let len = (burst.end - burst.next).min(max_segment);
            let header = DataOut {
                final_bit: burst.next + len == burst.end,
                lun: transfer.lun,
                itt: transfer.itt,
                ttt: burst.ttt,
                exp_stat_sn,
                data_sn: Serial(burst.data_sn),
                buffer_offset: burst.next,
            };
            burst.next += len;
            burst.data_sn = burst.data_sn.wrapping_add(1);
            if header.final_bit {
                transfer.bursts.pop();
            }
            if transfer.bursts.len > 0 {
                let pushed = self.senders.push(index);
                debug_assert!(pushed.is_ok(), "its place was just freed");
            }
            self.payload_queued(index as u16);
            return Some(Outgoing { slot: index as u16, header, len });
        }
    }

    /// A piece that refers to the slot's buffer was queued.
    pub fn payload_queued(&mut self, slot: u16) {
        self.slots[usize::from(slot)].queued += 1;
    }

    /// A piece that refers to the slot's buffer was sent.
    pub fn payload_sent(&mut self, slot: u16) {
        let transfer = &mut self.slots[usize::from(slot)];
        debug_assert!(transfer.queued > 0);
        transfer.queued -= 1;
    }

    /// Bytes `at..at + len` of what the slot's command writes.
    pub fn payload(&self, slot: u16, at: u32, len: u32) -> &[u8] {
        let buf = self.slots[usize::from(slot)].buf.as_ref().expect("a queued piece keeps its buffer here");
        &buf.filled()[at as usize..][..len as usize]
    }

    /// Ends the task, unless pieces of its buffer are still queued.
    pub fn finish(&mut self, itt: u32) -> Finished {
        let Ok(transfer) = self.live(itt) else { return Finished::Free(None) };
        let unsent = std::mem::take(&mut transfer.bursts.len) > 0;
        let finished = if transfer.queued > 0 {
            Finished::InUse
        } else {
            transfer.itt = RESERVED_TAG;
            Finished::Free(transfer.buf.take())
        };
        if unsent {
            // A slot that is reused must not find itself queued already. Rare, so linear will do.
            self.senders.remove(slot_of(itt).into());
        }
        finished
    }

    /// Nothing refers to any buffer any more: the connection is gone.
    pub fn abandon(&mut self) {
        for transfer in &mut self.slots {
            transfer.queued = 0;
        }
    }
}
