//! What a session sends: commands, task management, pings, text, logout.

use std::time::Instant;

use iscsi::wire::{
    LogoutRequest, NopOut, RESERVED_TAG, ScsiCommand, TextRequest, TmfRequest, attribute, logout_reason,
};

use super::event::{Command, Refused, TaskId, Why};
use super::task::{Kind, Task};
use super::{Phase, Session};
use crate::limits::MAX_TRANSFER;
use crate::transport::{Data, Transport};

impl<T: Transport> Session<T> {
    /// A command would be taken now.
    #[must_use]
    pub fn can_submit(&self) -> bool {
        self.obstacle().is_none()
    }

    fn obstacle(&self) -> Option<Why> {
        if !self.is_logged_in() {
            Some(Why::NotLoggedIn)
        } else if !self.tasks.has_room_for_command() {
            Some(Why::QueueFull)
        } else if !self.window.is_open() {
            Some(Why::WindowClosed)
        } else if !self.transport.has_room() {
            Some(Why::TransmitFull)
        } else {
            None
        }
    }

    /// Queues a command; it leaves with the next poll. Its timeout counts from `now`.
    ///
    /// # Errors
    /// [`Refused`] with the command when it cannot be taken now.
    pub fn submit(&mut self, command: Command, now: Instant) -> Result<TaskId, Refused> {
        let obstacle = self
            .obstacle()
            .or_else(|| (!fits(&command.data)).then_some(Why::BadLength))
            .or_else(|| (!self.transport.reaches(&command.data)).then_some(Why::Unregistered));
        if let Some(why) = obstacle {
            return Err(Refused { command, why });
        }
        let task = Task {
            kind: Kind::Command { aborting: false },
            user: command.user,
            lun: command.lun,
            cmd_sn: self.window.cmd_sn,
            deadline: self.timers.command_deadline(now),
            outcome: None,
        };
        let Some(id) = self.tasks.insert(task) else { return Err(Refused { command, why: Why::QueueFull }) };
        let pdu = ScsiCommand {
            read: matches!(command.data, Data::Read { .. }),
            write: matches!(command.data, Data::Write { .. }),
            attribute: attribute::SIMPLE,
            lun: command.lun,
            itt: id.itt(),
            cmd_sn: self.window.cmd_sn.take(),
            exp_stat_sn: self.exp_stat_sn,
            cdb: command.cdb,
            ..ScsiCommand::default()
        };
        self.transport.send_command(&pdu, command.data);
        Ok(id)
    }

    /// Asks for a task management function (`iscsi::wire::function`). [`Event::Managed`](super::Event::Managed)
    /// answers. ABORT TASK needs `referenced`; the others concern `lun`.
    ///
    /// # Errors
    /// Why it cannot be taken now.
    pub fn manage(
        &mut self,
        function: u8,
        lun: [u8; 8],
        referenced: Option<TaskId>,
        user: u64,
        now: Instant,
    ) -> Result<(), Why> {
        self.send_management(function, lun, referenced, Some(user), now)
    }

    pub(super) fn send_management(
        &mut self,
        function: u8,
        lun: [u8; 8],
        referenced: Option<TaskId>,
        user: Option<u64>,
        now: Instant,
    ) -> Result<(), Why> {
        // A task that ended meanwhile is still named as it was: the target then says that it does not exist.
        let ref_cmd_sn = referenced.and_then(|id| self.tasks.get_mut(id)).map_or(self.window.cmd_sn, |t| t.cmd_sn);
        let id = self.control_slot(Kind::Management { function, referenced, user }, lun, now)?;
        let pdu = TmfRequest {
            immediate: true,
            function,
            lun,
            itt: id.itt(),
            referenced_task_tag: referenced.map_or(RESERVED_TAG, TaskId::itt),
            cmd_sn: self.window.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ref_cmd_sn: if referenced.is_some() { ref_cmd_sn } else { primitives::Serial(0) },
            ..TmfRequest::default()
        };
        self.send_or_undo(id, &pdu.encode(), &[])
    }

    /// Pings the target with `data` to be echoed. [`Event::Pong`](super::Event::Pong) answers.
    ///
    /// # Errors
    /// Why it cannot be taken now.
    pub fn ping(&mut self, data: &[u8], user: u64, now: Instant) -> Result<(), Why> {
        self.send_ping(data, Some(user), now)
    }

    pub(super) fn send_ping(&mut self, data: &[u8], user: Option<u64>, now: Instant) -> Result<(), Why> {
        // The echo has to come back whole (RFC 7143 §11.18, RFC 7145 §6.2).
        if data.len() > self.agreed.max_send_segment.min(self.agreed.max_recv_segment) as usize {
            return Err(Why::BadLength);
        }
        let id = self.control_slot(Kind::Ping { user }, [0; 8], now)?;
        let pdu = NopOut {
            immediate: true,
            itt: id.itt(),
            ttt: RESERVED_TAG,
            cmd_sn: self.window.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ..NopOut::default()
        };
        self.send_or_undo(id, &pdu.encode(), data)
    }

    /// Sends `text`, pairs each with its NUL. [`Event::Text`](super::Event::Text) answers. One at a time.
    ///
    /// # Errors
    /// Why it cannot be taken now.
    pub fn send_text(&mut self, text: &[u8], user: u64, now: Instant) -> Result<(), Why> {
        if text.len() > self.agreed.max_send_segment as usize {
            return Err(Why::BadLength);
        }
        if self.tasks.iter_mut().any(|(_, t)| matches!(t.kind, Kind::Text { .. })) {
            return Err(Why::QueueFull);
        }
        self.text.clear();
        let id = self.control_slot(Kind::Text { user }, [0; 8], now)?;
        let pdu = self.text_request(id, RESERVED_TAG);
        self.send_or_undo(id, &pdu.encode(), text)
    }

    /// A text request of ours; `ttt` goes on with an answer that has more to it.
    pub(super) fn text_request(&self, id: TaskId, ttt: u32) -> TextRequest {
        TextRequest {
            immediate: true,
            final_bit: true,
            itt: id.itt(),
            ttt,
            cmd_sn: self.window.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ..TextRequest::default()
        }
    }

    /// Asks to close the session. Nothing can be submitted afterwards; [`Event::LoggedOut`](super::Event::LoggedOut)
    /// ends it.
    ///
    /// # Errors
    /// Why it cannot be taken now.
    pub fn log_out(&mut self, now: Instant) -> Result<(), Why> {
        let id = self.control_slot(Kind::Logout, [0; 8], now)?;
        let pdu = LogoutRequest {
            immediate: true,
            reason: logout_reason::CLOSE_SESSION,
            itt: id.itt(),
            cmd_sn: self.window.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ..LogoutRequest::default()
        };
        self.send_or_undo(id, &pdu.encode(), &[])?;
        self.phase = Phase::LoggingOut;
        Ok(())
    }

    fn control_slot(&mut self, kind: Kind, lun: [u8; 8], now: Instant) -> Result<TaskId, Why> {
        if !self.is_logged_in() {
            return Err(Why::NotLoggedIn);
        }
        let (cmd_sn, deadline) = (self.window.cmd_sn, self.timers.command_deadline(now));
        self.tasks.insert(Task { kind, user: 0, lun, cmd_sn, deadline, outcome: None }).ok_or(Why::QueueFull)
    }

    fn send_or_undo(&mut self, id: TaskId, bhs: &iscsi::wire::Bhs, data: &[u8]) -> Result<(), Why> {
        if self.transport.send_control(bhs, data) {
            return Ok(());
        }
        self.tasks.remove(id);
        Err(Why::TransmitFull)
    }
}

/// The data is within its buffer and the limit, and there is some.
fn fits(data: &Data) -> bool {
    let room = match data {
        Data::None => return true,
        Data::Read { buf, .. } | Data::Write { buf } => buf.capacity(),
    };
    (1..=room.min(MAX_TRANSFER)).contains(&data.len())
}
