//! The calls of the seam.
use super::{Done, Phase, Placing, Tcp, push_done};
use crate::data_in::Split;
use crate::limits::CONTROL_SEGMENT;
use crate::stream::{Digests, Received, Stream};
use crate::transfers::Ended as EndedGet;
use iscsi::datamover::{DataStatus, Datamover, Ended, GetData, Later, PutData, Upcall};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, Opcode, R2t};
use primitives::{Buf, Serial, Tag};

impl<S: Stream> Datamover for Tcp<S> {
    fn phase_collapse(&self) -> bool {
        true
    }

    fn control_segment_limit(&self) -> usize {
        self.out.split.segment.min(CONTROL_SEGMENT) as usize
    }

    fn receive(&mut self) -> bool {
        if self.closed || matches!(self.phase, Phase::Violated | Phase::Over(_) | Phase::Gone) {
            return false;
        }
        match self.receiver.receive(&mut self.stream, self.transfers.expects_large()) {
            Received::Some => {
                self.more = true;
                true
            }
            Received::Nothing => false,
            Received::Closed => {
                self.on_close();
                true
            }
            Received::Failed(errno) => {
                self.on_failure(errno);
                true
            }
        }
    }

    fn poll(&mut self) -> Option<Upcall> {
        if std::mem::take(&mut self.unclaimed) {
            self.receiver.discard();
        }
        loop {
            if let Some(Done { tag, buf, status }) = self.done.pop_front() {
                return Some(Upcall::DataDone { tag, buf, status });
            }
            match self.phase {
                Phase::Over(ended) => {
                    self.phase = Phase::Gone;
                    return Some(Upcall::Terminated(ended));
                }
                Phase::Gone | Phase::Violated => return None,
                Phase::Closing | Phase::Lingering => {
                    self.receiver.skip_all();
                    self.more = false;
                    return None;
                }
                Phase::Open => {}
            }
            if !self.held {
                // What is not shown needs no answer: a peer that does not read is not read from.
                if !self.out.has_room_for_answer() {
                    return None;
                }
                if let Some(upcall) = self.parse() {
                    return Some(upcall);
                }
            }
            if !self.closed {
                return None;
            }
            // All that was sent before the close has been seen to.
            self.finish(Ended::Peer);
        }
    }

    fn segment(&self) -> &[u8] {
        self.receiver.segment()
    }

    fn ahs(&self) -> &[u8] {
        self.receiver.ahs()
    }

    fn has_more(&self) -> bool {
        let may_parse = !self.held && self.out.has_room_for_answer();
        let parses = self.phase == Phase::Open && (may_parse && (self.more || self.closed) || self.held && self.closed);
        parses || !self.done.is_empty() || matches!(self.phase, Phase::Over(_))
    }

    fn accept_immediate(&mut self, tag: Tag, sink: Buf, start: u32) {
        if self.phase != Phase::Open {
            self.unclaimed = false;
            return push_done(&mut self.done, tag, sink, DataStatus::Released);
        }
        let filled = start as usize + self.receiver.bhs().data_segment_length() as usize;
        assert!(std::mem::take(&mut self.unclaimed), "no immediate data is to be claimed");
        assert!(filled <= sink.capacity(), "immediate data does not fit its sink");
        let to = sink.as_ptr().wrapping_add(start as usize);
        let cold = sink.is_cold();
        self.placing = Some(Placing::Immediate { tag, sink, filled });
        // SAFETY: the sink has room (above) and stays in `placing` until the payload is complete or was abandoned.
        unsafe { self.receiver.place(to, cold) };
        self.more = true;
    }

    fn enable(&mut self, parameters: &Parameters) {
        let digests = Digests { header: parameters.header_digest, data: parameters.data_digest };
        self.data_digest = digests.data;
        self.receiver.set_framing(digests, parameters.target_max_recv);
        self.out.sender.set_digests(digests);
        self.out.split = Split { segment: parameters.initiator_max_recv, burst: parameters.max_burst };
        self.transfers.segment = parameters.target_max_recv;
        self.first_burst = Some(parameters.first_burst);
        self.transfers.first_burst = (!parameters.initial_r2t).then_some(parameters.first_burst);
    }

    fn send_control(&mut self, bhs: &Bhs, data: &[u8]) -> Result<(), Later> {
        if self.is_ending() {
            return Ok(());
        }
        self.out.control(bhs, data)?;
        self.note_answer(bhs, data);
        Ok(())
    }

    fn put_data(&mut self, put: PutData) -> Result<u32, PutData> {
        let end = put.start as usize + put.len as usize;
        assert!(end <= put.data.len(), "a put beyond the meaningful bytes");
        assert!(!self.data_digest || !put.data.is_lent(), "lent memory may change under its digest");
        if self.refuses_operations() {
            return Err(put);
        }
        if self.is_ending() {
            push_done(&mut self.done, put.tag, put.data, DataStatus::Released);
            return Ok(put.data_sn);
        }
        let answers = put.status.is_some().then_some(put.task.itt);
        let next = self.out.put(put)?;
        if let Some(itt) = answers {
            self.transfers.answered(itt);
            self.release_hold();
        }
        Ok(next)
    }

    fn get_data(&mut self, get: GetData) -> Result<(), GetData> {
        assert!(!self.data_digest || !get.sink.is_lent(), "lent memory may change under its digest");
        if self.refuses_operations() {
            return Err(get);
        }
        if self.is_ending() {
            push_done(&mut self.done, get.tag, get.sink, DataStatus::Released);
            return Ok(());
        }
        if get.unsolicited {
            if let Some(EndedGet { tag, buf, status }) = self.transfers.expect(get)? {
                push_done(&mut self.done, tag, buf, status);
            }
            self.release_hold();
            return Ok(());
        }
        if !self.out.has_room_for_data() || self.transfers.is_full() {
            return Err(get);
        }
        let mut r2t = r2t(&get);
        r2t.ttt = self.transfers.solicit(get)?;
        self.out.control(&r2t.encode(), &[]).expect("room for a PDU without data was checked");
        Ok(())
    }

    fn release_task(&mut self, tag: Tag) {
        let is_of_task = |other: Tag| (other.owner(), other.index()) == (tag.owner(), tag.index());
        let done = &mut self.done;
        self.out.release(is_of_task, |tag, buf, status| push_done(done, tag, buf, status));
        self.release_gets(is_of_task);
        self.release_hold();
    }

    fn refuse_unsolicited(&mut self, itt: u32) {
        self.transfers.answered(itt);
        self.release_hold();
    }

    fn flush(&mut self) {
        let done = &mut self.done;
        if let Err(errno) = self.out.flush(&mut self.stream, |tag, buf, status| push_done(done, tag, buf, status)) {
            self.on_failure(errno);
        }
        self.linger();
    }

    fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    fn terminate(&mut self, graceful: bool) {
        match self.phase {
            Phase::Over(_) | Phase::Gone => {}
            Phase::Open | Phase::Violated if graceful => {
                self.release_gets(|_| true);
                self.receiver.skip_all();
                self.unclaimed = false;
                self.phase = Phase::Closing;
                self.linger();
            }
            Phase::Closing | Phase::Lingering if graceful => {}
            _ => self.finish(Ended::Local),
        }
    }
}

impl<S: Stream> Tcp<S> {
    /// A PDU of the layer above may settle what was undecided about unsolicited data.
    fn note_answer(&mut self, bhs: &Bhs, data: &[u8]) {
        match bhs.opcode() {
            Opcode::SCSI_RESPONSE => self.transfers.answered(bhs.itt()),
            Opcode::TMF_RESPONSE => self.transfers.management_answered(),
            Opcode::REJECT => match Bhs::from_slice(data) {
                Some(rejected) if rejected.opcode() == Opcode::SCSI_COMMAND => {
                    self.transfers.answered(rejected.itt());
                }
                _ => return,
            },
            _ => return,
        }
        self.release_hold();
    }
}

/// The R2T of a get, but for its Target Transfer Tag.
fn r2t(get: &GetData) -> R2t {
    R2t {
        lun: get.task.lun,
        itt: get.task.itt,
        stat_sn: get.numbers.stat_sn,
        exp_cmd_sn: get.numbers.exp_cmd_sn,
        max_cmd_sn: get.numbers.max_cmd_sn,
        r2t_sn: Serial(get.r2t_sn),
        buffer_offset: get.offset,
        desired_length: get.len,
        ..R2t::default()
    }
}
