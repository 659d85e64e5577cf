//! One iSCSI session of one connection, as a polled state machine.
//!
//! ```text
//! loop {
//!     session.poll(now);                      // one writev, one readv, timers
//!     while let Some(event) = session.next_event() {
//!         …                                   // submit more; it leaves with the next poll
//!     }
//! }
//! ```
mod answers;
mod event;
mod requests;
mod sense;
mod task;
#[cfg(test)]
mod tests;
mod timers;
pub(crate) mod window;

use std::net::SocketAddr;
use std::time::Instant;

use iscsi::wire::Bhs;
use primitives::Serial;

use crate::arena::Arena;
use crate::error::{Error, Violation};
use crate::limits::{DRAIN_TIMEOUT, SENSE_BYTES};
use crate::login::{Login, Step};
use crate::options::Options;
use crate::transport::{Agreed, Any, Broken, Finished, Transport};
pub use event::{Command, Completion, Event, Outcome, Refused, Residual, TaskId, Why, status};
pub use sense::Sense;
use task::Tasks;
use timers::Timers;
use window::Window;

/// How far a session is.
#[derive(Debug)]
enum Phase {
    Connecting,
    LoggingIn,
    FullFeature,
    LoggingOut,
    /// With what is still to be reported.
    Ended(Option<Event>),
}

/// A session.
#[derive(Debug)]
pub struct Session<T: Transport = Any> {
    transport: T,
    peer: SocketAddr,
    phase: Phase,
    login: Box<Login>,
    window: Window,
    exp_stat_sn: Serial,
    agreed: Agreed,
    tasks: Tasks,
    timers: Timers,
    /// Of an ended session, when buffers that are still in use are given up.
    drained_by: Option<Instant>,
    given_up: bool,
    sense: ([u8; SENSE_BYTES], usize),
    text: Vec<u8>,
}

impl Session<Any> {
    /// Begins to connect to `peer`, by what [`Options::carrier`] says, and to log in to `target` (`None`: a discovery
    /// session); does not wait. [`Event::LoggedIn`] or [`Event::Failed`] follows.
    ///
    /// # Errors
    /// [`Error::Option`]; [`Error::Connect`] or [`Error::Rdma`] when not even a beginning can be made.
    pub fn connect(peer: SocketAddr, target: Option<&str>, options: &Options, now: Instant) -> Result<Self, Error> {
        options.check()?;
        let transport = Any::connect(peer, options)?;
        Self::over(transport, peer, target, options, now)
    }
}

impl<T: Transport> Session<T> {
    /// Slots a transport needs for a session of these options.
    #[must_use]
    pub fn slots(options: &Options) -> usize {
        options.queue_depth + crate::limits::CONTROL_SLOTS
    }

    /// Logs in over `transport`, which has [`Self::slots`] and is connecting to `peer`.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub fn over(
        transport: T,
        peer: SocketAddr,
        target: Option<&str>,
        options: &Options,
        now: Instant,
    ) -> Result<Self, Error> {
        options.check()?;
        let login = Login::new(peer, transport.protocol(), target, options)?;
        Ok(Self {
            transport,
            peer,
            phase: Phase::Connecting,
            login: Box::new(login),
            window: Window::new(Serial(0), Serial(0), Serial(0)),
            exp_stat_sn: Serial(0),
            agreed: Agreed::DURING_LOGIN,
            tasks: Tasks::new(options.queue_depth),
            timers: Timers::new(options, now),
            drained_by: None,
            given_up: false,
            sense: ([0; SENSE_BYTES], 0),
            text: Vec::new(),
        })
    }

    /// Makes the buffers of `arena` known: over iSER a command is taken only with such a buffer. To be done once, not
    /// for each command.
    ///
    /// # Errors
    /// [`Error::Rdma`].
    pub fn register(&mut self, arena: &Arena) -> Result<(), Error> {
        let done = self.transport.add_memory(arena.memory());
        done.map_err(|source| self.refused("register memory", source))
    }

    /// Forgets the buffers of `arena`, before it is dropped or goes to another session.
    ///
    /// # Errors
    /// [`Error::Rdma`], above all while a command uses one of them.
    pub fn unregister(&mut self, arena: &Arena) -> Result<(), Error> {
        let done = self.transport.remove_memory(arena.memory());
        done.map_err(|source| self.refused("forget memory", source))
    }

    fn refused(&self, what: &'static str, source: rdma::Refused) -> Error {
        Error::Rdma { provider: self.transport.name(), what, peer: self.peer, source }
    }

    /// One turn: sends what was queued, receives what has come, looks after timeouts. Returns `true` when there may be
    /// events. Never blocks.
    pub fn poll(&mut self, now: Instant) -> bool {
        match self.phase {
            Phase::Ended(_) => {
                self.transport.drain();
                self.given_up = now >= *self.drained_by.get_or_insert(now + DRAIN_TIMEOUT);
                return true;
            }
            Phase::Connecting => self.await_connection(),
            _ => {}
        }
        let turn = if matches!(self.phase, Phase::Connecting) { Ok(false) } else { self.exchange() };
        match turn {
            Ok(came) => {
                self.run_timers(now, came);
                came || self.tasks.ending() > 0 || matches!(self.phase, Phase::Ended(_))
            }
            Err(broken) => {
                self.fail(broken);
                true
            }
        }
    }

    /// Sends what was queued since the poll, with at most one system call, instead of leaving it to the next poll: for
    /// callers that look after other things in between.
    pub fn flush(&mut self) {
        if matches!(self.phase, Phase::Connecting | Phase::Ended(_)) {
            return;
        }
        if let Err(broken) = self.transport.flush(self.exp_stat_sn) {
            self.fail(broken);
        }
    }

    fn exchange(&mut self) -> Result<bool, Broken> {
        self.transport.flush(self.exp_stat_sn)?;
        self.transport.receive()
    }

    /// The next thing that happened; `None` when there is nothing more this turn.
    pub fn next_event(&mut self) -> Option<Event> {
        for _ in 0..self.tasks.ending() {
            if let Some(event) = self.report_ending() {
                return Some(event);
            }
        }
        loop {
            if matches!(self.phase, Phase::Ended(_)) {
                return self.report_end();
            }
            match self.transport.next_pdu() {
                Ok(None) => return None,
                Ok(Some(bhs)) => match self.step(&bhs) {
                    Ok(Some(event)) => return Some(event),
                    Ok(None) => {}
                    Err(violation) => self.fail(violation.into()),
                },
                Err(broken) => self.fail(broken),
            }
        }
    }

    fn step(&mut self, bhs: &Bhs) -> Result<Option<Event>, Violation> {
        match self.phase {
            Phase::LoggingIn => Ok(self.login_step(bhs)),
            _ => self.answer(bhs),
        }
    }

    /// The session has begun and not ended.
    #[must_use]
    pub fn is_logged_in(&self) -> bool {
        matches!(self.phase, Phase::FullFeature)
    }

    /// Nothing will happen any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(None))
    }

    /// Commands outstanding.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.tasks.commands()
    }

    /// What the login agreed on.
    #[must_use]
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// What carries it.
    #[must_use]
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The portal.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sense data of the last [`Completion`] that has some.
    #[must_use]
    pub fn sense(&self) -> &[u8] {
        &self.sense.0[..self.sense.1]
    }

    /// The answer [`Event::Text`] told of.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The data segment of the PDU behind the last event, until the next call.
    #[must_use]
    pub fn segment(&self) -> &[u8] {
        self.transport.segment()
    }

    fn await_connection(&mut self) {
        match self.transport.connected() {
            Ok(false) => {}
            Ok(true) => {
                self.phase = Phase::LoggingIn;
                self.send_login();
            }
            Err(Broken::Io(source)) => self.end(Error::Connect { address: self.peer, source }),
            Err(broken) => self.fail(broken),
        }
    }

    fn send_login(&mut self) {
        let (bhs, data) = self.login.request();
        if !self.transport.send_control(&bhs, &data) {
            self.fail(Violation::Flood.into());
        }
    }

    fn login_step(&mut self, bhs: &Bhs) -> Option<Event> {
        match self.login.response(bhs, self.transport.segment()) {
            Ok(Step::Send) => {
                self.send_login();
                None
            }
            Ok(Step::Done(done)) => {
                self.transport.enable(&done.agreed);
                self.agreed = done.agreed;
                self.window = Window::new(done.cmd_sn, done.exp_cmd_sn, done.max_cmd_sn);
                self.exp_stat_sn = done.exp_stat_sn;
                self.phase = Phase::FullFeature;
                Some(Event::LoggedIn(done.agreed))
            }
            Err(error) => {
                self.end(error);
                None
            }
        }
    }

    /// Ends the session over a fault of the connection.
    fn fail(&mut self, broken: Broken) {
        let peer = self.peer;
        let error = match broken {
            Broken::Io(source) => Error::Io { peer, source },
            Broken::Violation(violation) => Error::Protocol { peer, violation },
            Broken::Closed => {
                let during = match self.phase {
                    Phase::Connecting | Phase::LoggingIn => "during login",
                    Phase::LoggingOut => "before it answered the logout",
                    _ => "in full-feature phase",
                };
                Error::Closed { peer, during }
            }
        };
        self.end(error);
    }

    fn end(&mut self, error: Error) {
        self.end_with(Event::Failed(error));
    }

    /// Ends the session; `last` is reported once every command has been.
    fn end_with(&mut self, last: Event) {
        if !matches!(self.phase, Phase::Ended(_)) {
            self.transport.terminate();
            self.phase = Phase::Ended(Some(last));
        }
    }

    /// After the end: commands that are left, each as soon as its memory is out of use, then why.
    fn report_end(&mut self) -> Option<Event> {
        while let Some((id, is_running)) = self.tasks.any_not_ended() {
            if !is_running {
                self.tasks.remove(id);
            } else if let Some(event) = self.complete(id, Outcome::Lost) {
                return Some(event);
            }
        }
        for _ in 0..self.tasks.ending() {
            if let Some(event) = self.report_ending() {
                return Some(event);
            }
        }
        if self.tasks.ending() > 0 {
            return None;
        }
        match &mut self.phase {
            Phase::Ended(last) => last.take(),
            _ => None,
        }
    }

    fn report_ending(&mut self) -> Option<Event> {
        let (id, outcome) = self.tasks.pop_ending()?;
        match self.transport.finish_task(id.itt()) {
            Finished::Free(buf) => {
                let task = self.tasks.remove(id)?;
                Some(Event::Completed(Completion { id, user: task.user, buf, outcome }))
            }
            // A device that fails to drain must not keep the session from ending.
            Finished::InUse if self.given_up => {
                let task = self.tasks.remove(id)?;
                Some(Event::Completed(Completion { id, user: task.user, buf: None, outcome }))
            }
            Finished::InUse => {
                self.tasks.still_ending(id);
                None
            }
        }
    }

    /// Ends a command: reports it now, or once its memory is out of use.
    fn complete(&mut self, id: TaskId, outcome: Outcome) -> Option<Event> {
        if !self.tasks.get_mut(id)?.is_running() {
            return None;
        }
        match self.transport.finish_task(id.itt()) {
            Finished::Free(buf) => {
                let task = self.tasks.remove(id)?;
                Some(Event::Completed(Completion { id, user: task.user, buf, outcome }))
            }
            Finished::InUse => {
                self.tasks.end_later(id, outcome);
                None
            }
        }
    }
}
