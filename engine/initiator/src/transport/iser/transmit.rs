//! What is sent: commands with the windows they advertise, unsolicited data, and other PDUs.

use iscsi::wire::{BHS_LEN, Bhs, DataOut, RESERVED_TAG, ScsiCommand};
use iser::wire::{Advertisement, HEADER, HEADERS, Header};
use primitives::{Buf, Serial};
use rdma::{Access, Op, Provider, QueuePair, Sge, Sgl, WorkRequest};

use super::tasks::Memory;
use super::{Iser, tag};
use crate::limits::{ISER_LARGE_MESSAGE, ISER_RESERVE, ISER_SMALL_MESSAGE};
use crate::transport::{Agreed, Data};

/// Places in the send queue a command needs at least: a Bind, a Send, and an Invalidate later.
const COMMAND_REQUESTS: usize = 3;

/// What of a write goes without being asked for (RFC 7143 §4.2.5.2), in bytes from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Unsolicited {
    /// With the command.
    immediate: u32,
    /// In all; what is not immediate follows in Data-Out PDUs.
    total: u32,
}

impl Unsolicited {
    /// For a write of `edtl` bytes, with `large` large buffers at hand and `room` places in the send queue. An
    /// initiator that may send unsolicited data need not; if it does, it must send as much as it may. So a burst that
    /// would not find room is left to be asked for.
    fn of(edtl: u32, agreed: &Agreed, large: usize, room: usize) -> Self {
        let first_burst = edtl.min(agreed.first_burst);
        let segment = agreed.max_send_segment.min(most_data(ISER_LARGE_MESSAGE));
        let immediate = if agreed.immediate_data { first_burst.min(segment) } else { 0 };
        let fits_small = immediate <= most_data(ISER_SMALL_MESSAGE);
        let immediate = if fits_small || large > 0 { immediate } else { 0 };
        let left = large.saturating_sub(usize::from(!fits_small)).min(room);
        let total = if agreed.initial_r2t || (first_burst - immediate).div_ceil(segment) as usize > left {
            immediate
        } else {
            first_burst
        };
        Self { immediate, total }
    }
}

/// Bytes of data in a message buffer of this size.
const fn most_data(message: usize) -> u32 {
    (message - HEADERS) as u32
}

impl<P: Provider> Iser<P> {
    pub(super) fn has_room_for_command(&self) -> bool {
        self.link.is_established()
            && self.tasks.windows() < self.link.windows
            && self.buffers.small_sends() > ISER_RESERVE
            && usize::from(self.link.queue.room().send) >= COMMAND_REQUESTS + ISER_RESERVE
    }

    pub(super) fn transmit_control(&mut self, bhs: &Bhs, data: &[u8]) -> bool {
        if self.link.queue.room().send == 0 {
            return false;
        }
        let Some(mut buf) = self.buffers.for_message(HEADERS + data.len()) else { return false };
        begin(&mut buf, &Header::PLAIN, &bhs.with_data_segment_length(data.len() as u32));
        buf.copy_in(HEADERS, data);
        self.post(buf)
    }

    pub(super) fn transmit_command(&mut self, command: &ScsiCommand, data: Data) {
        match data {
            Data::None => {
                self.tasks.begin(command.itt, None, Memory::None);
                self.send(&ScsiCommand { final_bit: true, edtl: 0, ..*command }, &Header::PLAIN, None);
            }
            Data::Read { mut buf, len } => {
                buf.set_len(0);
                let (memory, read) = self.advertise(Sge::new(buf, 0, len), Access::RemoteWrite);
                self.tasks.begin(command.itt, Some(len), memory);
                let pdu = ScsiCommand { final_bit: true, edtl: len, ..*command };
                self.send(&pdu, &Header::Control { write: None, read }, None);
            }
            Data::Write { buf } => self.transmit_write(command, buf),
        }
    }

    /// What goes unasked is copied first, then the window opens on the rest: its address is past the unsolicited bytes,
    /// as every target takes it to be (RFC 7145 §6.9 has another default, which nobody implements).
    fn transmit_write(&mut self, command: &ScsiCommand, buf: Buf) {
        let edtl = buf.len() as u32;
        let room = usize::from(self.link.queue.room().send).saturating_sub(COMMAND_REQUESTS + ISER_RESERVE);
        let unsolicited = Unsolicited::of(edtl, &self.agreed, self.buffers.large_sends(), room);
        let mut message = self.buffers.for_message(HEADERS + unsolicited.immediate as usize);
        if let Some(message) = &mut message {
            copy_segment(message, &buf, 0, unsolicited.immediate);
        }
        self.make_data_out(command, &buf, unsolicited);
        let (memory, write) = if unsolicited.total < edtl {
            self.advertise(Sge::new(buf, unsolicited.total, edtl - unsolicited.total), Access::RemoteRead)
        } else {
            (Memory::Held(buf), None)
        };
        self.tasks.begin(command.itt, None, memory);
        let final_bit = unsolicited.total == unsolicited.immediate;
        let pdu = ScsiCommand { final_bit, edtl, ..*command };
        self.send(&pdu, &Header::Control { write, read: None }, message);
        while let Some(buf) = self.data_out.pop_front() {
            self.post(buf);
        }
    }

    /// Makes the Data-Out PDUs of the unsolicited data behind the immediate data.
    fn make_data_out(&mut self, command: &ScsiCommand, data: &Buf, unsolicited: Unsolicited) {
        let segment = self.agreed.max_send_segment.min(most_data(ISER_LARGE_MESSAGE));
        let (mut at, mut data_sn) = (unsolicited.immediate, 0);
        while at < unsolicited.total {
            let len = (unsolicited.total - at).min(segment);
            let pdu = DataOut {
                final_bit: at + len == unsolicited.total,
                lun: command.lun,
                itt: command.itt,
                ttt: RESERVED_TAG,
                exp_stat_sn: command.exp_stat_sn,
                data_sn: Serial(data_sn),
                buffer_offset: at,
            };
            // There is one, as was counted before.
            let Some(mut buf) = self.buffers.for_message(ISER_LARGE_MESSAGE) else { return };
            begin(&mut buf, &Header::PLAIN, &pdu.encode().with_data_segment_length(len));
            copy_segment(&mut buf, data, at, len);
            self.data_out.push_back(buf);
            at += len;
            data_sn += 1;
        }
    }

    /// Opens a window. If that fails the connection is lost; the memory then stays here.
    fn advertise(&mut self, sge: Sge, access: Access) -> (Memory, Option<Advertisement>) {
        match self.link.queue.bind(tag::BIND, sge, access) {
            Ok(remote) => (Memory::Window(remote.stag), Some(Advertisement { stag: remote.stag.0, va: remote.va })),
            Err(refusal) => {
                self.link.refused(refusal.why);
                (Memory::Held(refusal.request.buf), None)
            }
        }
    }

    /// Sends a command; `message` has its data segment already.
    fn send(&mut self, command: &ScsiCommand, header: &Header, message: Option<Buf>) {
        // With room for a command there is a buffer.
        let Some(mut buf) = message.or_else(|| self.buffers.for_message(HEADERS)) else { return };
        let len = buf.len().saturating_sub(HEADERS) as u32;
        begin(&mut buf, header, &command.encode().with_data_segment_length(len));
        self.post(buf);
    }

    /// Queues a message. Those not signalled come back with the next that is.
    fn post(&mut self, buf: Buf) -> bool {
        self.unsignalled += 1;
        let signalled = self.unsignalled >= self.signal_every;
        if signalled {
            self.unsignalled = 0;
        }
        let request = WorkRequest { tag: tag::SEND, op: Op::SEND, sgl: Sgl::one(Sge::filled(buf)), signalled };
        match self.link.queue.post_send(request) {
            Ok(()) => true,
            Err(refusal) => {
                self.link.refused(refusal.why);
                self.buffers.sent(refusal.request.sgl);
                false
            }
        }
    }
}

/// Writes both headers.
fn begin(buf: &mut Buf, header: &Header, bhs: &Bhs) {
    buf.copy_in(0, &header.encode());
    buf.copy_in(HEADER, &bhs.as_bytes()[..BHS_LEN]);
}

/// Copies bytes of a command's data behind the headers of a message.
fn copy_segment(message: &mut Buf, data: &Buf, at: u32, len: u32) {
    let copied = data.copy_out(at as usize, &mut message.storage()[HEADERS..][..len as usize]);
    message.set_len(HEADERS + copied);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes unasked of a write of `edtl` bytes, with this many large buffers and places.
    fn unsolicited(edtl: u32, immediate_data: bool, initial_r2t: bool, large: usize, room: usize) -> (u32, u32) {
        let agreed = Agreed { immediate_data, initial_r2t, ..Agreed::DURING_LOGIN };
        let Unsolicited { immediate, total } = Unsolicited::of(edtl, &agreed, large, room);
        (immediate, total)
    }

    #[test]
    fn a_burst_goes_whole_or_not_at_all() {
        // FirstBurstLength is 65,536: 8 segments, the first of them with the command.
        assert_eq!(unsolicited(100_000, true, false, 8, 7), (8192, 65_536));
        assert_eq!(unsolicited(100_000, true, false, 7, 7), (8192, 8192));
        assert_eq!(unsolicited(100_000, true, false, 8, 6), (8192, 8192));
        assert_eq!(unsolicited(100_000, false, false, 8, 8), (0, 65_536));
        assert_eq!(unsolicited(100_000, false, false, 8, 7), (0, 0));
        assert_eq!(unsolicited(8193, true, false, 2, 1), (8192, 8193));
    }

    #[test]
    fn immediate_data_goes_where_there_is_a_buffer_for_it() {
        assert_eq!(unsolicited(100_000, true, true, 1, 0), (8192, 8192));
        assert_eq!(unsolicited(100_000, true, true, 0, 0), (0, 0));
        assert_eq!(unsolicited(565, true, true, 0, 0), (0, 0));
        assert_eq!(unsolicited(564, true, true, 0, 0), (564, 564));
        assert_eq!(unsolicited(564, false, true, 9, 9), (0, 0));
    }
}
