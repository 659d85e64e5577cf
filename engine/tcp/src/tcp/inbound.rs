//! What arrives: control PDUs to be reported, Data-Out to be placed.
use super::{Phase, Placing, Tcp, push_done};
use crate::limits::DIRECT_MIN;
use crate::stream::{Fault, Step, Stream};
use crate::transfers::{Ended, Verdict};
use iscsi::datamover::{Advertised, Arrival, Control, DataStatus, Upcall, Violation};
use iscsi::wire::{Bhs, DataOut, Opcode, ScsiCommand};
use primitives::Tag;

impl<S: Stream> Tcp<S> {
    /// Takes events out of staging until there is one to report.
    pub(super) fn parse(&mut self) -> Option<Upcall> {
        loop {
            let upcall = match self.receiver.step() {
                Step::Header => self.on_header(),
                Step::Payload { intact } => self.on_payload(intact),
                Step::Broken(Fault::HeaderDigest) => Some(self.violated(Violation::HeaderDigest)),
                Step::Broken(Fault::Length(n)) => Some(self.violated(Violation::Length(n))),
                Step::Starved => {
                    self.more = false;
                    return None;
                }
            };
            if upcall.is_some() || self.held {
                return upcall;
            }
        }
    }

    fn on_header(&mut self) -> Option<Upcall> {
        let bhs = *self.receiver.bhs();
        match bhs.opcode() {
            Opcode::DATA_OUT => return self.on_data_out(&bhs),
            Opcode::SCSI_COMMAND => {
                // Immediate data counts towards the first burst (RFC 7143 §13.14).
                if self.first_burst.is_some_and(|most| bhs.data_segment_length() > most) {
                    return Some(self.violated(Violation::Length(bhs.data_segment_length())));
                }
                self.transfers.announced(&ScsiCommand::decode(&bhs));
                if bhs.data_segment_length() >= DIRECT_MIN {
                    return Some(self.coming(bhs));
                }
            }
            _ => {}
        }
        if !self.receiver.fits() {
            return Some(self.coming(bhs));
        }
        self.receiver.stage();
        None
    }

    /// A control PDU whose data is still in the stream.
    fn coming(&mut self, bhs: Bhs) -> Upcall {
        self.unclaimed = true;
        Upcall::Control(Control {
            bhs,
            len: bhs.data_segment_length(),
            arrival: Arrival::Coming,
            remote: Advertised::default(),
        })
    }

    fn on_data_out(&mut self, bhs: &Bhs) -> Option<Upcall> {
        let len = bhs.data_segment_length();
        if self.first_burst.is_none() {
            return Some(self.violated(Violation::UnexpectedData));
        }
        match self.transfers.judge(&DataOut::decode(bhs), len) {
            Verdict::Place(key) => match self.transfers.place_of(key) {
                Some((to, cold)) => {
                    self.placing = Some(Placing::Get(key, len));
                    // SAFETY: the sink belongs to the get, which has room for `len` more bytes (`judge`); whatever
                    // ends it first abandons the placement (`release_gets`, `finish`). With digests on sinks are
                    // not lent (`get_data`), so nobody else touches them.
                    unsafe { self.receiver.place(to, cold) };
                }
                None => self.receiver.discard(),
            },
            Verdict::Break(key) => {
                self.receiver.discard();
                return self.transfers.end(key, DataStatus::SequenceError).map(data_done);
            }
            Verdict::Late => {
                self.late += 1;
                self.receiver.discard();
            }
            Verdict::Hold => self.held = true,
            Verdict::Never(violation) => return Some(self.violated(violation)),
        }
        None
    }

    /// The data of the current PDU is complete.
    fn on_payload(&mut self, intact: bool) -> Option<Upcall> {
        let damaged = (!intact).then(|| *self.receiver.bhs());
        match self.placing.take() {
            Some(Placing::Get(key, len)) => self.transfers.placed(key, len, damaged).map(data_done),
            Some(Placing::Immediate { tag, mut sink, filled }) => {
                let status = damaged.map_or(DataStatus::Ok, DataStatus::DigestError);
                if intact {
                    sink.set_len(filled.max(sink.len()));
                }
                Some(Upcall::DataDone { tag, buf: sink, status })
            }
            None => {
                let bhs = *self.receiver.bhs();
                let arrival = if intact { Arrival::Here } else { Arrival::BadDigest };
                Some(Upcall::Control(Control {
                    bhs,
                    len: bhs.data_segment_length(),
                    arrival,
                    remote: Advertised::default(),
                }))
            }
        }
    }

    fn violated(&mut self, violation: Violation) -> Upcall {
        self.phase = Phase::Violated;
        Upcall::Violation(violation)
    }

    /// Takes the gets (and accepted immediate data) of a task back.
    pub(super) fn release_gets(&mut self, is_of_task: impl Fn(Tag) -> bool) {
        let mut from = 0;
        while let Some(key) = self.transfers.find(from, &is_of_task) {
            from = key.index + 1;
            if matches!(self.placing, Some(Placing::Get(placing, _)) if placing == key) {
                self.placing = None;
                self.receiver.abandon();
            }
            if let Some(Ended { tag, buf, status }) = self.transfers.end(key, DataStatus::Released) {
                push_done(&mut self.done, tag, buf, status);
            }
        }
        self.placing = match self.placing.take() {
            Some(Placing::Immediate { tag, sink, .. }) if is_of_task(tag) => {
                self.receiver.abandon();
                push_done(&mut self.done, tag, sink, DataStatus::Released);
                None
            }
            other => other,
        };
    }
}

fn data_done(ended: Ended) -> Upcall {
    Upcall::DataDone { tag: ended.tag, buf: ended.buf, status: ended.status }
}
