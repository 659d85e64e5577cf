//! What a session receives in full-feature phase.

use iscsi::wire::{
    AsyncMessage, Bhs, DataIn, LogoutResponse, NopIn, NopOut, Opcode, RESERVED_TAG, Reject, ScsiResponse, TextResponse,
    TmfResponse, function, service, tmf_response,
};
use primitives::{Serial, span};

use super::event::{Event, Outcome, Residual, TaskId, status};
use super::sense::Sense;
use super::task::Kind;
use super::{Phase, Session};
use crate::error::Violation;
use crate::limits::{MAX_TEXT, SENSE_BYTES};
use crate::transport::Transport;

type Answer = Result<Option<Event>, Violation>;

impl<T: Transport> Session<T> {
    /// Takes a PDU whose data the transport has dealt with.
    pub(super) fn answer(&mut self, bhs: &Bhs) -> Answer {
        self.window.update(bhs.exp_cmd_sn(), bhs.max_cmd_sn());
        if self.window.is_absurd() {
            return Err(Violation::Field("ExpCmdSN acknowledges a command that was never sent"));
        }
        match bhs.opcode() {
            Opcode::DATA_IN => self.data_in(bhs),
            Opcode::SCSI_RESPONSE => self.scsi_response(bhs),
            Opcode::R2T => Ok(None),
            Opcode::NOP_IN => self.nop_in(bhs),
            Opcode::TMF_RESPONSE => self.management_response(bhs),
            Opcode::TEXT_RESPONSE => self.text_response(bhs),
            Opcode::ASYNC_MESSAGE => self.async_message(bhs),
            Opcode::REJECT => self.reject(bhs),
            Opcode::LOGOUT_RESPONSE => self.logout_response(bhs),
            other => Err(Violation::Opcode(other.0)),
        }
    }

    /// A PDU with a status of its own: its StatSN must be the next (RFC 7143 §4.2.2.2).
    fn take_stat_sn(&mut self, stat_sn: Serial) -> Result<(), Violation> {
        if stat_sn != self.exp_stat_sn {
            return Err(Violation::StatSn(stat_sn.0, self.exp_stat_sn.0));
        }
        self.exp_stat_sn.take();
        Ok(())
    }

    fn command(&mut self, itt: u32) -> Result<TaskId, Violation> {
        let found = self.tasks.by_itt(itt).filter(|(_, task)| task.is_running());
        found.map(|(id, _)| id).ok_or(Violation::TaskTag(itt))
    }

    fn data_in(&mut self, bhs: &Bhs) -> Answer {
        let pdu = DataIn::decode(bhs);
        if !pdu.has_status {
            return Ok(None);
        }
        if !pdu.final_bit {
            return Err(Violation::Field("a Data-In with status that is not final"));
        }
        self.take_stat_sn(pdu.stat_sn)?;
        let id = self.command(pdu.itt)?;
        let residual = residual(pdu.overflow, pdu.underflow, pdu.residual)?;
        Ok(self.complete(id, Outcome::Status { status: pdu.status, residual, sense: None }))
    }

    fn scsi_response(&mut self, bhs: &Bhs) -> Answer {
        let pdu = ScsiResponse::decode(bhs);
        self.take_stat_sn(pdu.stat_sn)?;
        let id = self.command(pdu.itt)?;
        if pdu.response != service::COMMAND_COMPLETED {
            return Ok(self.complete(id, Outcome::TargetFailure(pdu.response)));
        }
        let residual = residual(pdu.overflow, pdu.underflow, pdu.residual)?;
        let sense = if pdu.status == status::GOOD { None } else { self.keep_sense() };
        Ok(self.complete(id, Outcome::Status { status: pdu.status, residual, sense }))
    }

    /// Copies the sense data of the segment, which begins with its length (RFC 7143 §11.4.7.2).
    fn keep_sense(&mut self) -> Option<Sense> {
        let segment = self.transport.segment();
        let len = usize::from(span::be16(segment, 0)?);
        let sense = segment.get(2..)?;
        let sense = &sense[..len.min(sense.len()).min(SENSE_BYTES)];
        self.sense.0[..sense.len()].copy_from_slice(sense);
        self.sense.1 = sense.len();
        Sense::decode(sense)
    }

    fn nop_in(&mut self, bhs: &Bhs) -> Answer {
        let pdu = NopIn::decode(bhs);
        let mut event = None;
        if pdu.itt != RESERVED_TAG {
            self.take_stat_sn(pdu.stat_sn)?;
            let (id, task) = self.tasks.by_itt(pdu.itt).ok_or(Violation::TaskTag(pdu.itt))?;
            let Kind::Ping { user } = task.kind else { return Err(Violation::TaskTag(pdu.itt)) };
            self.tasks.remove(id);
            event = user.map(|user| Event::Pong { user });
        }
        if pdu.ttt != RESERVED_TAG {
            let pong = NopOut {
                immediate: true,
                lun: pdu.lun,
                itt: RESERVED_TAG,
                ttt: pdu.ttt,
                cmd_sn: self.window.cmd_sn,
                exp_stat_sn: self.exp_stat_sn,
            };
            if !self.transport.send_control(&pong.encode(), &[]) {
                return Err(Violation::Flood);
            }
        }
        Ok(event)
    }

    fn management_response(&mut self, bhs: &Bhs) -> Answer {
        let pdu = TmfResponse::decode(bhs);
        self.take_stat_sn(pdu.stat_sn)?;
        let (id, task) = self.tasks.by_itt(pdu.itt).ok_or(Violation::TaskTag(pdu.itt))?;
        let Kind::Management { function, referenced, user } = task.kind else {
            return Err(Violation::TaskTag(pdu.itt));
        };
        let (lun, cmd_sn) = (task.lun, task.cmd_sn);
        self.tasks.remove(id);
        let gone = pdu.response == tmf_response::TASK_DOES_NOT_EXIST && function == function::ABORT_TASK;
        if pdu.response == tmf_response::FUNCTION_COMPLETE || gone {
            self.end_managed(function, lun, cmd_sn, referenced);
        } else if user.is_none() {
            return Err(Violation::Field("the target does not abort a command that takes too long"));
        }
        // The commands that ended are reported first: they may be out by themselves before the next PDU.
        Ok(user.map(|user| Event::Managed { user, response: pdu.response }))
    }

    /// Ends the commands that a completed function has ended without an answer of their own.
    fn end_managed(&mut self, function: u8, lun: [u8; 8], before: Serial, referenced: Option<TaskId>) {
        let concerns = |id: TaskId, of: [u8; 8], cmd_sn: Serial| match function {
            function::ABORT_TASK => Some(id) == referenced,
            function::ABORT_TASK_SET | function::CLEAR_TASK_SET | function::LOGICAL_UNIT_RESET => {
                of == lun && cmd_sn.precedes(before)
            }
            function::TARGET_WARM_RESET | function::TARGET_COLD_RESET => cmd_sn.precedes(before),
            _ => false,
        };
        // One at a time, for ending one changes the table. Aborts are rare.
        loop {
            let next = self.tasks.iter_mut().find_map(|(id, task)| match task.kind {
                Kind::Command { aborting } if task.is_running() && concerns(id, task.lun, task.cmd_sn) => {
                    Some((id, aborting))
                }
                _ => None,
            });
            let Some((id, aborting)) = next else { return };
            self.tasks.end_later(id, if aborting { Outcome::TimedOut } else { Outcome::Aborted });
        }
    }

    fn text_response(&mut self, bhs: &Bhs) -> Answer {
        let pdu = TextResponse::decode(bhs);
        self.take_stat_sn(pdu.stat_sn)?;
        let (id, task) = self.tasks.by_itt(pdu.itt).ok_or(Violation::TaskTag(pdu.itt))?;
        let Kind::Text { user } = task.kind else { return Err(Violation::TaskTag(pdu.itt)) };
        let segment = self.transport.segment();
        if self.text.len() + segment.len() > MAX_TEXT {
            return Err(Violation::Field("the answer to a text request never ends"));
        }
        self.text.extend_from_slice(segment);
        if pdu.final_bit {
            if pdu.cont {
                return Err(Violation::Field("a text response with F and C"));
            }
            self.tasks.remove(id);
            return Ok(Some(Event::Text { user }));
        }
        if pdu.ttt == RESERVED_TAG {
            return Err(Violation::Field("a text response that goes on, without a tag to ask for more"));
        }
        let more = self.text_request(id, pdu.ttt);
        if self.transport.send_control(&more.encode(), &[]) { Ok(None) } else { Err(Violation::Flood) }
    }

    fn async_message(&mut self, bhs: &Bhs) -> Answer {
        let pdu = AsyncMessage::decode(bhs);
        self.take_stat_sn(pdu.stat_sn)?;
        Ok(Some(Event::Async { event: pdu.event, parameters: [pdu.parameter1, pdu.parameter2, pdu.parameter3] }))
    }

    /// A rejected command stays outstanding: a command that was begun still gets a response (RFC 7143 §7.3), and one
    /// that was not runs into its timeout. Other requests end here.
    fn reject(&mut self, bhs: &Bhs) -> Answer {
        let pdu = Reject::decode(bhs);
        self.take_stat_sn(pdu.stat_sn)?;
        let header = Bhs::from_slice(self.transport.segment());
        if let Some(header) = &header {
            let request = self.tasks.by_itt(header.itt()).filter(|(_, task)| !task.is_command());
            if let Some((id, _)) = request {
                self.tasks.remove(id);
            }
        }
        Ok(Some(Event::Rejected { reason: pdu.reason, header }))
    }

    fn logout_response(&mut self, bhs: &Bhs) -> Answer {
        let pdu = LogoutResponse::decode(bhs);
        self.take_stat_sn(pdu.stat_sn)?;
        if !matches!(self.phase, Phase::LoggingOut) {
            return Err(Violation::Opcode(Opcode::LOGOUT_RESPONSE.0));
        }
        match self.tasks.by_itt(pdu.itt) {
            Some((_, task)) if matches!(task.kind, Kind::Logout) => {}
            _ => return Err(Violation::TaskTag(pdu.itt)),
        }
        self.end_with(Event::LoggedOut { response: pdu.response });
        Ok(None)
    }
}

fn residual(overflow: bool, underflow: bool, count: u32) -> Result<Residual, Violation> {
    match (overflow, underflow) {
        (true, true) => Err(Violation::Field("a residual overflow and underflow at once")),
        (true, false) => Ok(Residual::Overflow(count)),
        (false, true) => Ok(Residual::Underflow(count)),
        (false, false) => Ok(Residual::None),
    }
}
