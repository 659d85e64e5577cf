//! The calls of the seam.

use super::ending::Phase;
use super::{Done, Iser};
use crate::limits::LOGIN_SEGMENT;
use crate::unexpected::is_unexpected;
use crate::wire::{HEADER, HEADERS, Header};
use iscsi::datamover::{
    Advertised, Advertisement, DataStatus, Datamover, Ended, GetData, Later, PutData, Upcall, Violation,
};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, Opcode};
use primitives::{Buf, Tag, span};
use rdma::limits::MAX_MESSAGE;
use rdma::{Op, QueuePair, Remote, Sge, Stag};

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

    fn poll(&mut self) -> Option<Upcall> {
        if let Some(message) = self.inbound.hide() {
            self.recycle(message);
        }
        self.close_when_sent();
        if let Some(Done { tag, buf, status, .. }) = self.done.pop_front() {
            if self.done.is_empty() {
                // Begins again at its beginning, which is in a cache.
                self.done.clear();
            }
            return Some(Upcall::DataDone { tag, buf, status });
        }
        if self.phase == Phase::Open
            && let Some(upcall) = self.parse()
        {
            return Some(upcall);
        }
        if let Some(violation) = self.due_violation() {
            self.violation = None;
            return Some(Upcall::Violation(violation));
        }
        if let Phase::Draining { ended, .. } = self.phase
            && self.is_drained()
        {
            self.phase = Phase::Gone;
            return Some(Upcall::Terminated(ended));
        }
        None
    }

    fn segment(&self) -> &[u8] {
        self.inbound.segment()
    }

    fn ahs(&self) -> &[u8] {
        self.inbound.ahs()
    }

    fn has_more(&self) -> bool {
        !self.done.is_empty()
            || self.phase == Phase::Open && self.can_parse()
            || self.phase == Phase::Closing && self.out.is_idle()
            || self.due_violation().is_some()
            || self.is_drained()
    }

    /// Data segments are always complete here, so nothing can be claimed.
    fn accept_immediate(&mut self, tag: Tag, sink: Buf, _start: u32) {
        debug_assert!(false, "no immediate data is to be claimed");
        self.done(Done { tag, buf: sink, status: DataStatus::Released, bytes: 0 });
    }

    fn enable(&mut self, parameters: &Parameters) {
        let peer = usize::try_from(parameters.initiator_max_recv).unwrap_or(LOGIN_SEGMENT);
        // What an initiator negotiates for full-feature phase is not to be trusted; a discovery session goes on with
        // the buffers of its login.
        let most = if parameters.rdma_extensions { self.limits.control_segment } else { LOGIN_SEGMENT };
        self.session.send_segment = most.min(peer);
        self.session.receive_segment = parameters.target_max_recv.min(LOGIN_SEGMENT as u32);
        self.session.first_burst = Some(parameters.first_burst);
        self.unsolicited.enable((!parameters.initial_r2t).then_some(parameters.first_burst));
        self.unexpected.enable(parameters.initiator_max_outstanding_unexpected_pdus);
        self.hello.enable(parameters.iser_hello_required);
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
        }
        self.note_answer(bhs, data);
        Ok(())
    }

    fn send_response(&mut self, bhs: &Bhs, data: &[u8], buffers: &Advertised) -> Result<(), Later> {
        if self.is_ending() {
            return Ok(());
        }
        if !self.out.has_room_for_response() {
            self.stats.refused += 1;
            return Err(Later);
        }
        let invalidate = self.invalidation(bhs, buffers);
        self.send(bhs, data, Op::Send { solicited: false, invalidate })?;
        self.stats.invalidations += u64::from(invalidate.is_some());
        self.note_answer(bhs, data);
        Ok(())
    }

    fn put_data(&mut self, put: PutData) -> Result<u32, PutData> {
        assert!(put.status.is_none(), "a status goes in a PDU of its own (RFC 7145 §7.3.2)");
        let end = put.start as usize + put.len as usize;
        assert!(end <= put.data.len() && put.len <= MAX_MESSAGE, "a put beyond the meaningful bytes");
        if self.refuses_operations() {
            self.stats.refused += 1;
            return Err(put);
        }
        let next = put.data_sn.wrapping_add(1);
        let status = if put.len == 0 { DataStatus::Ok } else { DataStatus::Released };
        if self.is_ending() || put.len == 0 {
            self.done(Done { tag: put.tag, buf: put.data, status, bytes: 0 });
            return Ok(next);
        }
        let Some(to) = remote(put.remote.read, put.offset, put.len) else {
            self.violate(Violation::Header);
            self.done(Done { tag: put.tag, buf: put.data, status, bytes: 0 });
            return Ok(next);
        };
        if self.puts >= self.limits.puts || !self.out.has_room_for_data() {
            self.stats.refused += 1;
            return Err(put);
        }
        self.write(put, to).map_or(Ok(next), Err)
    }

    fn get_data(&mut self, get: GetData) -> Result<(), GetData> {
        let end = get.start as usize + get.len as usize;
        assert!(get.len > 0 && get.len <= MAX_MESSAGE && end <= get.sink.capacity(), "a get without room");
        if self.refuses_operations() || !get.unsolicited && self.gets.is_full() {
            self.stats.refused += 1;
            return Err(get);
        }
        if self.is_ending() {
            self.done(released(get));
            return Ok(());
        }
        if get.unsolicited {
            if let Some(done) = self.unsolicited.expect(get) {
                self.done(done);
            }
            self.held = false;
            return Ok(());
        }
        if self.gets.ord == 0 {
            // RFC 7145 §7.3.6.
            self.done(released(get));
            self.on_no_reads();
            return Ok(());
        }
        let Some(from) =
            get.offset.checked_sub(get.solicited_from).and_then(|at| remote(get.remote.write, at, get.len))
        else {
            self.violate(Violation::Header);
            self.done(released(get));
            return Ok(());
        };
        self.gets.add(get, from);
        self.post_reads();
        self.stats.read_waits += u64::from(self.gets.is_waiting());
        Ok(())
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
        self.out.ring();
        self.check_broken();
    }

    fn is_flushed(&self) -> bool {
        self.out.is_flushed() && !self.gets.is_waiting()
    }

    fn terminate(&mut self, graceful: bool) {
        match self.phase {
            Phase::Open | Phase::Violated if graceful => {
                self.phase = Phase::Closing;
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
    /// Sends a PDU behind a header without advertisements.
    fn send(&mut self, bhs: &Bhs, data: &[u8], op: Op) -> Result<(), Later> {
        assert!(data.len() <= self.session.send_segment, "a data segment longer than the initiator takes");
        let Some((size, mut buf)) = self.out.take_buffer(data.len()) else {
            self.stats.refused += 1;
            return Err(Later);
        };
        buf.copy_in(0, &headers(bhs, data.len() as u32));
        if !data.is_empty() {
            buf.copy_in(HEADERS, data);
            let padding = span::padded(data.len()).map_or(0, |len| len - data.len());
            buf.copy_in(HEADERS + data.len(), &[0; 3][..padding]);
        }
        let result = self.out.send(size, buf, op);
        self.check_broken();
        if result.is_ok() {
            self.stats.pdus_out += 1;
        }
        // What ended the connection ended this PDU too.
        result.or_else(|later| if self.is_ending() { Ok(()) } else { Err(later) })
    }

    /// Queues an RDMA Write; the put comes back if that cannot be done now.
    fn write(&mut self, put: PutData, to: Remote) -> Option<PutData> {
        if !self.out.make_way() {
            self.check_broken();
            return Some(put);
        }
        let PutData { tag, data, start, len, .. } = put;
        self.out.hold(tag, Op::Write { to }, Sge::new(data, start, len));
        self.puts += 1;
        self.stats.bytes_out += u64::from(len);
        None
    }

    /// The STag that a SCSI Response closes (RFC 7145 §7.3.2).
    fn invalidation(&self, bhs: &Bhs, buffers: &Advertised) -> Option<Stag> {
        let may = self.peer_invalidates && bhs.opcode() == Opcode::SCSI_RESPONSE;
        buffers.read.or(buffers.write).filter(|_| may).map(|buffer| Stag(buffer.stag))
    }

    /// A PDU of the layer above may settle what was undecided about unsolicited data.
    fn note_answer(&mut self, bhs: &Bhs, data: &[u8]) {
        match bhs.opcode() {
            Opcode::SCSI_RESPONSE => self.unsolicited.answered(bhs.itt()),
            Opcode::REJECT => match Bhs::from_slice(data) {
                Some(rejected) if rejected.opcode() == Opcode::SCSI_COMMAND => {
                    self.unsolicited.answered(rejected.itt());
                }
                _ => return,
            },
            _ => return,
        }
        self.held = false;
    }

    /// A violation that can be reported now.
    fn due_violation(&self) -> Option<Violation> {
        let (violation, when_sent) = self.violation?;
        (!when_sent || self.out.is_idle()).then_some(violation)
    }

    /// What comes too late to be begun comes back at once.
    fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Draining { .. })
    }

    fn refuses_operations(&self) -> bool {
        self.phase == Phase::Gone || self.done.len() >= self.done_limit
    }
}

/// What goes in front of a data segment of `len` bytes.
fn headers(bhs: &Bhs, len: u32) -> [u8; HEADERS] {
    let mut bytes = [0; HEADERS];
    bytes[..HEADER].copy_from_slice(&Header::PLAIN.encode());
    bytes[HEADER..].copy_from_slice(bhs.with_data_segment_length(len).as_bytes());
    bytes
}

/// The place of `len` bytes at `offset` of an advertised buffer, if there is one and they do not run past the last
/// address.
fn remote(buffer: Option<Advertisement>, offset: u32, len: u32) -> Option<Remote> {
    let Advertisement { stag, va } = buffer?;
    let va = va.checked_add(u64::from(offset))?;
    va.checked_add(u64::from(len))?;
    Some(Remote { stag: Stag(stag), va })
}

fn released(get: GetData) -> Done {
    Done { tag: get.tag, buf: get.sink, status: DataStatus::Released, bytes: 0 }
}
