//! What arrives: control PDUs to be reported, Data-Out to be put together, Hello to be answered.

use super::Iser;
use crate::done::Done;
use crate::frame::{Frame, Hello, Parts, bhs, is_bare_command, split};
use crate::supplies::Size;
use crate::unsolicited::Verdict;
use crate::wire::{HEADERS, Header};
use iscsi::datamover::{Arrival, Control, Upcall, Violation};
use iscsi::wire::{Bhs, DataOut, Opcode, ScsiCommand};
use rdma::{Op, QueuePair};

impl<Q: QueuePair> Iser<Q> {
    /// There is a message that can be looked at now. What is not shown needs no answer: who does not take answers is
    /// not listened to.
    #[inline]
    pub(super) fn can_parse(&self) -> bool {
        !self.held && !self.inbound.is_empty() && self.out.has_room_for_answer(self.session.answer)
    }

    /// Reports the next message if it is a SCSI Command that its header alone decides about.
    #[inline]
    pub(super) fn bare_command(&mut self) -> Option<Upcall> {
        if !self.steady || !self.out.has_room_for_answer(Size::Control) {
            return None;
        }
        let headers = self.inbound.open_if(is_bare_command)?;
        self.stats.pdus_in += 1;
        Some(control(headers, 0))
    }

    /// Looks at messages until there is something to report.
    pub(super) fn parse(&mut self) -> Option<Upcall> {
        self.inbound.hide();
        while self.can_parse() {
            let taken = match Frame::parse(self.inbound.open(), self.session.receive_segment) {
                Ok(Frame::Pdu(parts)) if parts.opcode == Opcode::DATA_OUT => match self.on_data_out(parts) {
                    Ok(Some(done)) => return Some(done.report()),
                    taken => taken.map(drop),
                },
                Ok(Frame::Pdu(parts)) => match self.on_pdu(parts) {
                    Ok(()) => {
                        return self.inbound.message().first_chunk().map(|headers| control(headers, parts.len()));
                    }
                    refused => refused,
                },
                Ok(Frame::Hello(hello)) => self.on_hello(hello),
                Err(violation) => Err(violation),
            };
            self.inbound.hide();
            if let Err(violation) = taken {
                self.violate(violation);
                return None;
            }
        }
        None
    }

    /// Judges a PDU that is to be reported.
    fn on_pdu(&mut self, parts: Parts) -> Result<(), Violation> {
        self.hello.pdu()?;
        self.unexpected.end_quiet();
        if parts.opcode == Opcode::SCSI_COMMAND {
            // Immediate data counts towards the first burst (RFC 7143 §13.14).
            if self.session.first_burst.is_some_and(|most| parts.len() > most) {
                return Err(Violation::Length(parts.len()));
            }
            if self.unsolicited.is_possible()
                && let Some(bhs) = bhs(self.inbound.message())
            {
                self.unsolicited.announced(&ScsiCommand::decode(&bhs));
            }
        }
        self.count();
        self.steady = self.hello.is_over()
            && self.unexpected.is_settled()
            && !self.unsolicited.is_possible()
            && self.session.answer == Size::Control;
        Ok(())
    }

    fn on_data_out(&mut self, parts: Parts) -> Result<Option<Done>, Violation> {
        self.hello.pdu()?;
        self.unexpected.end_quiet();
        let message = self.inbound.message();
        let data = message.get(parts.data()).unwrap_or_default();
        let bhs = bhs(message).ok_or(Violation::Header)?;
        let ended = match self.unsolicited.take_in(&DataOut::decode(&bhs), data) {
            Verdict::Placed => None,
            Verdict::Ended(done, bytes) => {
                self.stats.bytes_in += u64::from(bytes);
                Some(done)
            }
            Verdict::Late => {
                self.stats.late += 1;
                None
            }
            Verdict::Hold => {
                self.held = true;
                self.inbound.put_back();
                return Ok(None);
            }
            Verdict::Never(violation) => return Err(violation),
        };
        self.count();
        Ok(ended)
    }

    /// Answers a Hello (RFC 7145 §5.1.3).
    fn on_hello(&mut self, hello: Hello) -> Result<(), Violation> {
        let answer = self.hello.hello(hello, self.gets.ord)?;
        self.unexpected.end_quiet();
        self.gets.ord = answer.ord;
        // There is room for an answer to any message that is looked at.
        self.out.send(Size::Control, Op::SEND, |buf| {
            buf.set_len(0);
            buf.copy_in(0, &answer.header().encode());
        });
        self.check_broken();
        if answer.reject {
            self.violate_politely(Violation::Header);
        }
        Ok(())
    }

    /// The message that is open, a PDU, is taken.
    fn count(&mut self) {
        self.stats.pdus_in += 1;
        if self.unexpected.is_any()
            && let Some(bhs) = bhs(self.inbound.message())
        {
            self.unexpected.acknowledge(&bhs);
        }
    }
}

/// The report of a PDU with these headers. It is made last and in one go: it is too long to be handed on.
#[inline]
fn control(headers: &[u8; HEADERS], len: u32) -> Upcall {
    let (header, bhs) = split(headers);
    Upcall::Control(Control { bhs: Bhs(*bhs), len, arrival: Arrival::Here, remote: Header::advertised(header) })
}
