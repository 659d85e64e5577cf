//! What arrives: control PDUs to be reported, Data-Out to be put together, Hello to be answered.

use super::{Done, Iser};
use crate::frame::{Frame, Hello, Pdu};
use crate::unsolicited::Verdict;
use iscsi::datamover::{Arrival, Control, Upcall, Violation};
use iscsi::wire::{Bhs, DataOut, Opcode, ScsiCommand};
use rdma::{Op, QueuePair};

impl<Q: QueuePair> Iser<Q> {
    /// There is a message that can be looked at now. What is not shown needs no answer: who does not take answers is
    /// not listened to.
    pub(super) fn can_parse(&self) -> bool {
        !self.held && !self.inbound.is_empty() && self.out.has_room_for_answer(self.session.send_segment)
    }

    /// Looks at messages until there is something to report.
    pub(super) fn parse(&mut self) -> Option<Upcall> {
        while self.can_parse() {
            let frame = self.inbound.front().map(|message| Frame::parse(message, self.session.receive_segment))?;
            let upcall = match frame {
                Ok(Frame::Pdu(pdu)) => self.on_pdu(pdu),
                Ok(Frame::Hello(hello)) => self.on_hello(hello),
                Err(violation) => Err(violation),
            };
            match upcall {
                Ok(None) => {}
                Ok(Some(upcall)) => return Some(upcall),
                Err(violation) => {
                    self.violate(violation);
                    return None;
                }
            }
        }
        None
    }

    fn on_pdu(&mut self, pdu: Pdu) -> Result<Option<Upcall>, Violation> {
        self.hello.pdu()?;
        self.unexpected.end_quiet();
        match pdu.bhs.opcode() {
            Opcode::DATA_OUT => return self.on_data_out(&pdu),
            Opcode::SCSI_COMMAND => {
                // Immediate data counts towards the first burst (RFC 7143 §13.14).
                let len = pdu.bhs.data_segment_length();
                if self.session.first_burst.is_some_and(|most| len > most) {
                    return Err(Violation::Length(len));
                }
                self.unsolicited.announced(&ScsiCommand::decode(&pdu.bhs));
            }
            _ => {}
        }
        self.count(&pdu.bhs);
        let (bhs, remote) = (pdu.bhs, pdu.remote);
        self.inbound.show(pdu);
        Ok(Some(Upcall::Control(Control { bhs, len: bhs.data_segment_length(), arrival: Arrival::Here, remote })))
    }

    fn on_data_out(&mut self, pdu: &Pdu) -> Result<Option<Upcall>, Violation> {
        let data = self.inbound.front().and_then(|message| message.get(pdu.data.clone())).unwrap_or_default();
        let ended = match self.unsolicited.take_in(&DataOut::decode(&pdu.bhs), data) {
            Verdict::Placed(ended) => ended,
            Verdict::Late => {
                self.stats.late += 1;
                None
            }
            Verdict::Hold => {
                self.held = true;
                return Ok(None);
            }
            Verdict::Never(violation) => return Err(violation),
        };
        self.count(&pdu.bhs);
        self.drop_front();
        Ok(ended.map(|Done { tag, buf, status, bytes }| {
            self.stats.bytes_in += u64::from(bytes);
            Upcall::DataDone { tag, buf, status }
        }))
    }

    /// Answers a Hello (RFC 7145 §5.1.3).
    fn on_hello(&mut self, hello: Hello) -> Result<Option<Upcall>, Violation> {
        let answer = self.hello.hello(hello, self.gets.ord)?;
        self.unexpected.end_quiet();
        self.gets.ord = answer.ord;
        self.drop_front();
        // There is room for an answer to any message that is looked at.
        if let Some((size, mut buf)) = self.out.take_buffer(0) {
            buf.copy_in(0, &answer.header().encode());
            let _ = self.out.send(size, buf, Op::SEND);
            self.check_broken();
        }
        if answer.reject {
            self.violate_politely(Violation::Header);
        }
        Ok(None)
    }

    fn count(&mut self, bhs: &Bhs) {
        self.stats.pdus_in += 1;
        self.unexpected.request(bhs);
    }

    fn drop_front(&mut self) {
        if let Some(message) = self.inbound.pop() {
            self.recycle(message);
        }
    }
}
