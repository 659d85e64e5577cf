//! Timeouts: of the login, of commands, and of a silent target. Looked at a few times a second, not at every turn.

use std::time::{Duration, Instant};

use iscsi::wire::function;

use super::task::Kind;
use super::{Phase, Session};
use crate::error::Error;
use crate::options::Options;
use crate::transport::Transport;

#[derive(Debug)]
pub(super) struct Timers {
    login_deadline: Instant,
    login_timeout: Duration,
    command_timeout: Duration,
    nop_interval: Option<Duration>,
    /// When something came last.
    heard: Instant,
    next_sweep: Instant,
    sweep_every: Duration,
}

impl Timers {
    pub fn new(options: &Options, now: Instant) -> Self {
        let shortest = options.command_timeout.min(options.nop_interval.unwrap_or(options.command_timeout));
        Self {
            login_deadline: now + options.login_timeout,
            login_timeout: options.login_timeout,
            command_timeout: options.command_timeout,
            nop_interval: options.nop_interval,
            heard: now,
            next_sweep: now,
            sweep_every: (shortest / 8).min(Duration::from_secs(1)),
        }
    }

    pub fn command_deadline(&self, now: Instant) -> Instant {
        now + self.command_timeout
    }
}

impl<T: Transport> Session<T> {
    /// Looks after timeouts; `came`: something was received in this turn.
    pub(super) fn run_timers(&mut self, now: Instant, came: bool) {
        if came {
            self.timers.heard = now;
        }
        if now < self.timers.next_sweep {
            return;
        }
        self.timers.next_sweep = now + self.timers.sweep_every;
        match self.phase {
            Phase::Ended(_) => {}
            Phase::Connecting | Phase::LoggingIn => {
                if now >= self.timers.login_deadline {
                    self.end(Error::Timeout { what: "the login", after: self.timers.login_timeout });
                }
            }
            Phase::FullFeature | Phase::LoggingOut => {
                self.expire(now);
                self.keep_alive(now);
            }
        }
    }

    /// Aborts what takes too long. A request that is not a command, or an abort, ends the session with it.
    fn expire(&mut self, now: Instant) {
        let deadline = self.timers.command_deadline(now);
        while let Some((id, lun)) = self.overdue(now) {
            let again = |task: &mut super::task::Task| {
                let first = matches!(task.kind, Kind::Command { aborting: false });
                task.kind = if first { Kind::Command { aborting: true } } else { task.kind };
                task.deadline = deadline;
                first
            };
            let first = self.tasks.get_mut(id).is_some_and(again);
            let sent = first && self.send_management(function::ABORT_TASK, lun, Some(id), None, now).is_ok();
            if !sent {
                self.end(Error::Timeout { what: "a command, or its abort,", after: self.timers.command_timeout });
                return;
            }
        }
    }

    fn overdue(&mut self, now: Instant) -> Option<(super::TaskId, [u8; 8])> {
        let late = |task: &super::task::Task| task.outcome.is_none() && task.deadline <= now;
        self.tasks.iter_mut().find(|(_, task)| late(task)).map(|(id, task)| (id, task.lun))
    }

    fn keep_alive(&mut self, now: Instant) {
        let Some(interval) = self.timers.nop_interval else { return };
        let waiting = self.tasks.iter_mut().any(|(_, task)| matches!(task.kind, Kind::Ping { user: None }));
        if now.duration_since(self.timers.heard) >= interval && !waiting {
            // When there is no room for it, a later sweep sends it.
            let _ = self.send_ping(&[], None, now);
        }
    }
}
