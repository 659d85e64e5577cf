//! What arrives: control PDUs to be reported, Data-Out to be put together, Hello to be answered.

use super::{Done, Iser};
use crate::frame::{Frame, Hello, Parts, bhs};
use crate::unsolicited::Verdict;
use crate::wire::Header;
use iscsi::datamover::{Arrival, Control, Upcall, Violation};
use iscsi::wire::{DataOut, Opcode, ScsiCommand};
use rdma::{Op, QueuePair};

impl<Q: QueuePair> Iser<Q> {
    /// There is a message that can be looked at now. What is not shown needs no answer: who does not take answers is
    /// not listened to.
    #[inline]
    pub(super) fn can_parse(&self) -> bool {
        !self.held && !self.inbound.is_empty() && self.out.has_room_for_answer(self.session.answer)
    }

    /// Looks at messages until there is something to report.
    #[inline]
    pub(super) fn parse(&mut self) -> Option<Upcall> {
        self.inbound.hide();
        while self.can_parse() {
            let taken = match Frame::parse(self.inbound.open(), self.session.receive_segment) {
                Ok(Frame::Pdu(parts)) if parts.opcode == Opcode::DATA_OUT => match self.on_data_out(parts) {
                    Ok(Some(Done { tag, buf, outcome, .. })) => {
                        return Some(Upcall::DataDone { tag, buf, status: outcome.into() });
                    }
                    taken => taken.map(drop),
                },
                Ok(Frame::Pdu(parts)) => match self.on_pdu(parts) {
                    Ok(()) => return self.shown(parts),
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
    #[inline]
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
        Ok(())
    }

    /// Reports the message that is open, a PDU with these parts. The report is made last and in one go: it is too long
    /// to be handed on.
    #[inline]
    fn shown(&mut self, parts: Parts) -> Option<Upcall> {
        self.inbound.show(parts);
        let message = self.inbound.message();
        let (bhs, remote) = (bhs(message)?, Header::advertised(message.first_chunk()?));
        Some(Upcall::Control(Control { bhs, len: parts.len(), arrival: Arrival::Here, remote }))
    }

    fn on_data_out(&mut self, parts: Parts) -> Result<Option<Done>, Violation> {
        self.hello.pdu()?;
        self.unexpected.end_quiet();
        let message = self.inbound.message();
        let data = message.get(parts.data()).unwrap_or_default();
        let bhs = bhs(message).ok_or(Violation::Header)?;
        let ended = match self.unsolicited.take_in(&DataOut::decode(&bhs), data) {
            Verdict::Placed(ended) => ended,
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
        self.stats.bytes_in += ended.as_ref().map_or(0, |done| u64::from(done.bytes));
        Ok(ended)
    }

    /// Answers a Hello (RFC 7145 §5.1.3).
    fn on_hello(&mut self, hello: Hello) -> Result<(), Violation> {
        let answer = self.hello.hello(hello, self.gets.ord)?;
        self.unexpected.end_quiet();
        self.gets.ord = answer.ord;
        // There is room for an answer to any message that is looked at.
        self.out.send(0, Op::SEND, |buf| {
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
    #[inline]
    fn count(&mut self) {
        self.stats.pdus_in += 1;
        if self.unexpected.is_any()
            && let Some(bhs) = bhs(self.inbound.message())
        {
            self.unexpected.acknowledge(&bhs);
        }
    }
}
