//! What the calls of the seam come to when something is not as it is nearly always. Apart, so that what is nearly
//! always done is short, and does not carry what only this needs.

use super::Iser;
use super::ending::Phase;
use super::seam::{remote, source};
use crate::done::{Done, Outcome};
use iscsi::datamover::{GetData, Later, PutData, Upcall, Violation};
use iscsi::wire::{Bhs, Opcode};
use rdma::{Op, QueuePair, Stag};

impl<Q: QueuePair> Iser<Q> {
    /// The next event when it is neither the end of an operation nor a bare command.
    #[inline(never)]
    pub(super) fn poll_unusual(&mut self) -> Option<Upcall> {
        if self.phase == Phase::Closing {
            self.close_when_sent();
        }
        if self.is_open()
            && let Some(upcall) = self.parse()
        {
            return Some(upcall);
        }
        if self.is_open() { None } else { self.poll_ending() }
    }

    /// A response with data, or when not everything is there for it.
    #[inline(never)]
    pub(super) fn send_unusual_response(
        &mut self,
        bhs: &Bhs,
        data: &[u8],
        invalidate: Option<Stag>,
    ) -> Result<(), Later> {
        if self.is_ending() {
            return Ok(());
        }
        if !(self.grant() || self.out.has_room_for_data()) || !self.out.has_buffer_for_response() {
            self.stats.refused += 1;
            return Err(Later);
        }
        self.send(bhs, data, Op::Send { solicited: false, invalidate })?;
        self.stats.invalidations += u64::from(invalidate.is_some());
        self.note_answer(bhs, data);
        Ok(())
    }

    /// A put that moves nothing, or when not everything is there for it.
    #[inline(never)]
    pub(super) fn put_unusual(&mut self, put: PutData) -> Result<u32, PutData> {
        if self.refuses_operations() {
            self.stats.refused += 1;
            return Err(put);
        }
        let next = put.data_sn.wrapping_add(1);
        if self.is_ending() || put.len == 0 {
            let outcome = if put.len == 0 { Outcome::Ok } else { Outcome::Released };
            self.done.add(Done { tag: put.tag, buf: put.data, outcome });
            return Ok(next);
        }
        let Some(to) = remote(put.remote.read, put.offset, put.len) else {
            self.violate(Violation::Header);
            self.done.add(Done { tag: put.tag, buf: put.data, outcome: Outcome::Released });
            return Ok(next);
        };
        if !self.grant() {
            self.stats.refused += 1;
            return Err(put);
        }
        Ok(self.write(put, to))
    }

    /// A get of unsolicited data, or one that may have to wait.
    #[inline(never)]
    pub(super) fn get_unusual(&mut self, get: GetData) -> Result<(), GetData> {
        if self.refuses_operations() || !get.unsolicited && self.gets.is_full() {
            self.stats.refused += 1;
            return Err(get);
        }
        if self.is_ending() {
            self.done.add(released(get));
            return Ok(());
        }
        if get.unsolicited {
            if let Some(done) = self.unsolicited.expect(get) {
                self.done.add(done);
            }
            self.held = false;
            return Ok(());
        }
        if self.gets.ord == 0 {
            // RFC 7145 §7.3.6.
            self.done.add(released(get));
            self.on_no_reads();
            return Ok(());
        }
        let Some(from) = source(&get) else {
            self.violate(Violation::Header);
            self.done.add(released(get));
            return Ok(());
        };
        self.gets.add(get, from);
        self.grant();
        self.post_reads();
        self.stats.read_waits += u64::from(self.gets.is_waiting());
        Ok(())
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
            self.change(Phase::Gone);
            return Some(Upcall::Terminated(ended));
        }
        None
    }

    /// A PDU of the layer above may settle what was undecided about unsolicited data.
    #[inline(never)]
    pub(super) fn note_answer(&mut self, bhs: &Bhs, data: &[u8]) {
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
    pub(super) fn due_violation(&self) -> Option<Violation> {
        let (violation, when_sent) = self.violation?;
        (!when_sent || self.out.is_idle()).then_some(violation)
    }

    /// No operation is taken.
    fn refuses_operations(&self) -> bool {
        !self.is_open() && self.phase == Phase::Gone || self.done.len() >= self.done_limit
    }
}

fn released(get: GetData) -> Done {
    Done { tag: get.tag, buf: get.sink, outcome: Outcome::Released }
}
