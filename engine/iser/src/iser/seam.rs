//! The calls of the seam.

use super::ending::Phase;
use super::{Done, Iser, Outcome};
use crate::limits::LOGIN_SEGMENT;
use crate::supplies::Size;
use crate::unexpected::is_unexpected;
use crate::wire::{HEADER, HEADERS, Header};
use iscsi::datamover::{Advertised, Advertisement, Datamover, Ended, GetData, Later, PutData, Upcall, Violation};
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
        if self.phase == Phase::Closing {
            self.close_when_sent();
        }
        if let Some(Done { tag, buf, outcome, .. }) = self.done.pop() {
            return Some(Upcall::DataDone { tag, buf, status: outcome.into() });
        }
        if self.is_open()
            && let Some(upcall) = self.parse()
        {
            return Some(upcall);
        }
        if self.is_open() { None } else { self.poll_ending() }
    }

    fn segment(&self) -> &[u8] {
        self.inbound.segment()
    }

    fn ahs(&self) -> &[u8] {
        self.inbound.ahs()
    }

    fn has_more(&self) -> bool {
        !self.done.is_empty()
            || self.is_open() && self.can_parse()
            || self.phase == Phase::Closing && self.out.is_idle()
            || self.due_violation().is_some()
            || self.is_drained()
    }

    /// Data segments are always complete here, so nothing can be claimed.
    fn accept_immediate(&mut self, tag: Tag, sink: Buf, _start: u32) {
        debug_assert!(false, "no immediate data is to be claimed");
        self.done(Done { tag, buf: sink, outcome: Outcome::Released, bytes: 0 });
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
        if self.is_ending() || put.len == 0 {
            let outcome = if put.len == 0 { Outcome::Ok } else { Outcome::Released };
            self.done(Done { tag: put.tag, buf: put.data, outcome, bytes: 0 });
            return Ok(next);
        }
        let Some(to) = remote(put.remote.read, put.offset, put.len) else {
            self.violate(Violation::Header);
            self.done(Done { tag: put.tag, buf: put.data, outcome: Outcome::Released, bytes: 0 });
            return Ok(next);
        };
        if self.puts >= self.limits.puts || !self.out.has_room_for_data() || !self.out.make_way() {
            self.stats.refused += 1;
            return Err(put);
        }
        self.out.push(put.tag, Op::Write { to }, Sge::new(put.data, put.start, put.len), false);
        self.puts += 1;
        self.stats.bytes_out += u64::from(put.len);
        Ok(next)
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
    #[inline]
    fn send(&mut self, bhs: &Bhs, data: &[u8], op: Op) -> Result<(), Later> {
        assert!(data.len() <= self.session.send_segment, "a data segment longer than the initiator takes");
        if self.out.send(data.len(), op, |buf| fill(buf, bhs, data)) {
            self.stats.pdus_out += 1;
            return Ok(());
        }
        self.stats.refused += 1;
        self.check_broken();
        // What ended the connection ended this PDU too.
        if self.is_ending() { Ok(()) } else { Err(Later) }
    }

    /// The next event when the connection does not just go on.
    #[cold]
    fn poll_ending(&mut self) -> Option<Upcall> {
        self.inbound.hide();
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

    /// The STag that a SCSI Response closes (RFC 7145 §7.3.2).
    fn invalidation(&self, bhs: &Bhs, buffers: &Advertised) -> Option<Stag> {
        let may = self.peer_invalidates && bhs.opcode() == Opcode::SCSI_RESPONSE;
        buffers.read.or(buffers.write).filter(|_| may).map(|buffer| Stag(buffer.stag))
    }

    /// A PDU of the layer above may settle what was undecided about unsolicited data.
    #[inline]
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

    /// Nothing has begun to end the connection.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// What comes too late to be begun comes back at once.
    #[inline]
    fn is_ending(&self) -> bool {
        !self.is_open() && matches!(self.phase, Phase::Closing | Phase::Draining { .. })
    }

    #[inline]
    fn refuses_operations(&self) -> bool {
        !self.is_open() && self.phase == Phase::Gone || self.done.len() >= self.done_limit
    }
}

/// Writes a PDU behind a header without advertisements. `buf` has room: see [`Size::of`].
#[inline]
fn fill(buf: &mut Buf, bhs: &Bhs, data: &[u8]) {
    let Some((headers, segment)) = buf.storage().split_first_chunk_mut::<HEADERS>() else { return };
    let (header, basic) = headers.split_at_mut(HEADER);
    header.copy_from_slice(&Header::PLAIN_BYTES);
    basic.copy_from_slice(bhs.with_data_segment_length(data.len() as u32).as_bytes());
    let mut len = HEADERS;
    if !data.is_empty() {
        let (data_place, behind) = segment.split_at_mut(data.len());
        data_place.copy_from_slice(data);
        let padding = span::padded(data.len()).map_or(0, |len| len - data.len());
        behind[..padding].fill(0);
        len += data.len() + padding;
    }
    buf.set_len(len);
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
    Done { tag: get.tag, buf: get.sink, outcome: Outcome::Released, bytes: 0 }
}
