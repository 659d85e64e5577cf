//! The calls of the seam.

use super::Iser;
use super::ending::Phase;
use crate::done::{Done, Outcome};
use crate::limits::LOGIN_SEGMENT;
use crate::supplies::Size;
use crate::unexpected::is_unexpected;
use crate::wire::{HEADER, HEADERS, Header};
use iscsi::datamover::{Advertised, Advertisement, DataStatus, Datamover, Ended, GetData, Later, PutData, Upcall};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, Opcode};
use primitives::{Buf, Tag, span};
use rdma::limits::MAX_MESSAGE;
use rdma::{Op, QueuePair, Remote, Sge, Sgl, Stag, WorkRequest};

impl<Q: QueuePair> Datamover for Iser<Q> {
    fn phase_collapse(&self) -> bool {
        false
    }

    fn control_segment_limit(&self) -> usize {
        self.session.send_segment
    }

    fn receive(&mut self) -> bool {
        core::mem::take(&mut self.news)
    }

    #[inline(never)] // Into its caller, which would then copy what comes from three places.
    fn poll(&mut self) -> Option<Upcall> {
        match self.done.pop() {
            Some(Done { tag, buf, outcome: Outcome::Ok }) => {
                Some(Upcall::DataDone { tag, buf, status: DataStatus::Ok })
            }
            Some(done) => Some(done.report()),
            None => self.poll_arrived(),
        }
    }

    fn segment(&self) -> &[u8] {
        self.inbound.segment()
    }

    fn ahs(&self) -> &[u8] {
        self.inbound.ahs()
    }

    fn has_more(&self) -> bool {
        self.done.len() > 0
            || self.is_open() && self.can_parse()
            || self.phase == Phase::Closing && self.out.is_idle()
            || self.due_violation().is_some()
            || self.is_drained()
    }

    /// Data segments are always complete here, so nothing can be claimed.
    fn accept_immediate(&mut self, tag: Tag, sink: Buf, _start: u32) {
        debug_assert!(false, "no immediate data is to be claimed");
        self.done.add(Done { tag, buf: sink, outcome: Outcome::Released });
    }

    fn enable(&mut self, parameters: &Parameters) {
        let peer = usize::try_from(parameters.initiator_max_recv).unwrap_or(LOGIN_SEGMENT);
        // What an initiator negotiates for full-feature phase is not to be trusted; a discovery session goes on with
        // the buffers of its login.
        let most = if parameters.rdma_extensions { self.limits.control_segment } else { LOGIN_SEGMENT };
        self.session.send_segment = most.min(peer);
        self.session.answer = Size::of(self.session.send_segment).unwrap_or(Size::Message);
        self.session.receive_segment = parameters.target_max_recv.min(LOGIN_SEGMENT as u32);
        self.session.first_burst = Some(parameters.first_burst);
        self.unsolicited.enable((!parameters.initial_r2t).then_some(parameters.first_burst));
        self.unexpected.enable(parameters.initiator_max_outstanding_unexpected_pdus);
        self.hello.enable(parameters.iser_hello_required);
        self.steady = false;
    }

    fn send_control(&mut self, bhs: &Bhs, data: &[u8]) -> Result<(), Later> {
        if self.is_ending() {
            return Ok(());
        }
        let unexpected = is_unexpected(bhs, data);
        if unexpected && !self.unexpected.allows(bhs) {
            self.stats.refused += 1;
            return Err(Later);
        }
        self.send(bhs, data, Op::SEND)?;
        if unexpected {
            self.unexpected.sent(bhs);
            self.steady = false;
        }
        self.note_answer(bhs, data);
        Ok(())
    }

    fn send_response(&mut self, bhs: &Bhs, data: &[u8], buffers: &Advertised) -> Result<(), Later> {
        let invalidate = self.invalidation(bhs, buffers);
        if !data.is_empty() || !self.out.has_credit() {
            return self.send_unusual_response(bhs, data, invalidate);
        }
        let Some(mut buf) = self.out.take_buffer_for_response() else {
            return self.send_unusual_response(bhs, data, invalidate);
        };
        fill_headers(&mut buf, bhs, 0);
        self.stats.invalidations += u64::from(invalidate.is_some());
        let op = Op::Send { solicited: false, invalidate };
        let sgl = Sgl::one(Sge::filled(buf));
        self.out.push(WorkRequest { tag: Size::Control.tag(), op, sgl, signalled: false });
        self.stats.pdus_out += 1;
        if self.unsolicited.is_any() {
            self.note_answer(bhs, data);
        }
        Ok(())
    }

    fn put_data(&mut self, put: PutData) -> Result<u32, PutData> {
        assert!(put.status.is_none(), "a status goes in a PDU of its own (RFC 7145 §7.3.2)");
        let end = put.start as usize + put.len as usize;
        assert!(end <= put.data.len() && put.len <= MAX_MESSAGE, "a put beyond the meaningful bytes");
        if put.len > 0
            && self.out.has_credit()
            && let Some(to) = remote(put.remote.read, put.offset, put.len)
        {
            return Ok(self.write(put, to));
        }
        self.put_unusual(put)
    }

    fn get_data(&mut self, get: GetData) -> Result<(), GetData> {
        let end = get.start as usize + get.len as usize;
        assert!(get.len > 0 && get.len <= MAX_MESSAGE && end <= get.sink.capacity(), "a get without room");
        if !get.unsolicited
            && self.out.has_credit()
            && self.gets.may_begin()
            && let Some(from) = source(&get)
        {
            self.begin_read(get.tag, from, Sge::new(get.sink, get.start, get.len));
            return Ok(());
        }
        self.get_unusual(get)
    }

    fn release_task(&mut self, tag: Tag) {
        self.release_gets(|other| (other.owner(), other.index()) == (tag.owner(), tag.index()));
        self.held = false;
    }

    fn refuse_unsolicited(&mut self, itt: u32) {
        self.unsolicited.answered(itt);
        self.held = false;
    }

    fn flush(&mut self) {
        self.post_reads();
        self.out.unrung |= self.inbound.repost(&mut self.out.queue);
        self.out.ring();
        self.check_broken();
    }

    fn is_flushed(&self) -> bool {
        self.out.is_flushed() && !self.gets.is_waiting()
    }

    fn terminate(&mut self, graceful: bool) {
        match self.phase {
            Phase::Open | Phase::Violated if graceful => {
                self.change(Phase::Closing);
                self.violation = None;
                self.release_gets(|_| true);
                self.forget_messages();
                self.close_when_sent();
            }
            Phase::Closing if graceful => {}
            Phase::Draining { .. } | Phase::Gone => {}
            Phase::Open | Phase::Violated | Phase::Closing => self.end(Ended::Local, false),
        }
    }
}

impl<Q: QueuePair> Iser<Q> {
    /// The next event that is not the end of an operation.
    #[inline(never)]
    fn poll_arrived(&mut self) -> Option<Upcall> {
        match self.bare_command() {
            None => self.poll_unusual(),
            command => command,
        }
    }

    /// Sends a PDU behind a header without advertisements.
    pub(super) fn send(&mut self, bhs: &Bhs, data: &[u8], op: Op) -> Result<(), Later> {
        assert!(data.len() <= self.session.send_segment, "a data segment longer than the initiator takes");
        if let Some(size) = Size::of(data.len())
            && self.out.send(size, op, |buf| fill(buf, bhs, data))
        {
            self.stats.pdus_out += 1;
            return Ok(());
        }
        self.stats.refused += 1;
        self.check_broken();
        // What ended the connection ended this PDU too.
        if self.is_ending() { Ok(()) } else { Err(Later) }
    }

    /// Queues an RDMA Write, when there is room. Returns the DataSN that follows.
    #[inline]
    pub(super) fn write(&mut self, put: PutData, to: Remote) -> u32 {
        self.puts += 1;
        self.stats.bytes_out += u64::from(put.len);
        let sgl = Sgl::one(Sge::new(put.data, put.start, put.len));
        self.out.push(WorkRequest { tag: put.tag, op: Op::Write { to }, sgl, signalled: false });
        put.data_sn.wrapping_add(1)
    }

    /// The STag that a SCSI Response closes (RFC 7145 §7.3.2).
    fn invalidation(&self, bhs: &Bhs, buffers: &Advertised) -> Option<Stag> {
        let may = self.peer_invalidates && bhs.opcode() == Opcode::SCSI_RESPONSE;
        buffers.read.or(buffers.write).filter(|_| may).map(|buffer| Stag(buffer.stag))
    }
}

/// Writes the headers of a PDU that advertises nothing and has `len` bytes of data: `buf` has room for them.
#[inline]
fn fill_headers(buf: &mut Buf, bhs: &Bhs, len: usize) {
    let Some(headers) = buf.storage().first_chunk_mut::<HEADERS>() else { return };
    let (header, basic) = headers.split_at_mut(HEADER);
    header.copy_from_slice(&Header::PLAIN_BYTES);
    basic.copy_from_slice(bhs.as_bytes());
    // TotalAHSLength, which stays, and DataSegmentLength.
    let lengths = u32::from(bhs.as_bytes()[4]) << 24 | len as u32;
    basic[4..8].copy_from_slice(&lengths.to_be_bytes());
    buf.set_len(HEADERS);
}

/// Writes a PDU that advertises nothing. `buf` has room: see [`Size::of`].
fn fill(buf: &mut Buf, bhs: &Bhs, data: &[u8]) {
    fill_headers(buf, bhs, data.len());
    buf.copy_in(HEADERS, data);
    let padding = span::padded(data.len()).map_or(0, |len| len - data.len());
    buf.copy_in(HEADERS + data.len(), &[0; 3][..padding]);
}

/// The place of `len` bytes at `offset` of an advertised buffer, if there is one and they do not run past the last
/// address.
#[inline]
pub(super) fn remote(buffer: Option<Advertisement>, offset: u32, len: u32) -> Option<Remote> {
    let Advertisement { stag, va } = buffer?;
    let va = va.checked_add(u64::from(offset))?;
    va.checked_add(u64::from(len))?;
    Some(Remote { stag: Stag(stag), va })
}

/// The place of the bytes that a get fetches.
#[inline]
pub(super) fn source(get: &GetData) -> Option<Remote> {
    remote(get.remote.write, get.offset.checked_sub(get.solicited_from)?, get.len)
}
