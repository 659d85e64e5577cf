//! One connection: login, then full-feature phase, then the way out.

mod command;
mod early;
mod full;
mod login;
mod manage;
mod order;
mod parameters;
mod ping;
pub(crate) mod quirks;
mod respond;
mod text;
mod units;

pub use full::{Close, Full};
pub(crate) use manage::Scope;
pub use units::SessionUnits;

use iscsi::datamover::{Datamover, Upcall};
use iscsi::login::{Login, Transport};
use reactors::Nanos;

use crate::context::Context;
use crate::limits::{DRAIN_SECONDS, LINGER_MILLIS, QUIET_MILLIS};
use crate::session::{ConnId, PortPair};
use crate::target::Entrance;
use crate::wire::Wire;

/// Where a connection is in its life.
pub(crate) enum State {
    /// Before full-feature phase.
    Login(Box<LoginPhase>),
    /// Full-feature phase.
    Full(Box<Full>),
}

/// A login in progress.
pub(crate) struct LoginPhase {
    pub machine: Login,
    /// Cut off at this instant.
    pub deadline: Nanos,
    /// The session is being registered; PDUs wait meanwhile.
    pub registering: bool,
}

/// A connection and everything it holds.
#[expect(missing_debug_implementations, reason = "datamovers need none")]
pub struct Conn {
    pub(crate) dm: Wire,
    pub(crate) id: ConnId,
    pub(crate) entrance: Entrance,
    pub(crate) state: State,
    /// When it entered that state.
    pub(crate) since: Nanos,
    /// What the session is registered as.
    pub(crate) port: Option<PortPair>,
    pub(crate) registered: bool,
    /// Since when it is closing, and how.
    pub(crate) closing: Option<Nanos>,
    /// Logged out: the peer is given a moment to close.
    pub(crate) lingering: bool,
    /// The datamover has returned everything and is done.
    pub(crate) terminated: bool,
    /// In the worker's list of connections to step.
    pub(crate) active: bool,
}

impl Conn {
    /// Handles what arrived and what could not go on earlier, within the turn's budget.
    pub(crate) fn step(&mut self, ctx: &mut Context<'_>) {
        if let State::Full(full) = &mut self.state
            && full.has_stalled()
        {
            full.step_stalled(&mut self.dm, ctx);
        }
        for _ in 0..self.dm.upcalls_per_turn() {
            if self.waits() {
                break;
            }
            let polled = self.dm.poll();
            // A header is looked at where it is: it is large, and this is done for every PDU.
            if let (Some(Upcall::Control(control)), State::Full(full), None) = (&polled, &mut self.state, self.closing)
            {
                if let Err(close) = full.control(&mut self.dm, ctx, control) {
                    self.close(ctx, close);
                }
                continue;
            }
            let Some(upcall) = polled else { break };
            self.upcall(ctx, upcall);
        }
        self.finish_management(ctx);
    }

    /// PDUs have to wait for the registration of the session.
    fn waits(&self) -> bool {
        matches!(&self.state, State::Login(login) if login.registering) && self.closing.is_none()
    }

    #[inline]
    fn upcall(&mut self, ctx: &mut Context<'_>, upcall: Upcall) {
        if let Upcall::Terminated(_) = upcall {
            self.terminated = true;
            self.closing.get_or_insert(ctx.now);
            self.abort_all(ctx);
            return;
        }
        if self.closing.is_some() && !matches!(upcall, Upcall::DataDone { .. }) {
            // Nothing the peer still says matters any more.
            return;
        }
        let outcome = match &mut self.state {
            State::Full(full) => full.upcall(&mut self.dm, ctx, upcall),
            State::Login(_) => self.login_upcall(ctx, upcall),
        };
        if let Err(close) = outcome {
            self.close(ctx, close);
        }
    }

    /// An operation of a logical unit came back. Follow the last of a turn with [`Conn::finish_management`].
    pub(crate) fn io_done(&mut self, ctx: &mut Context<'_>, done: bdev::Done) {
        match &mut self.state {
            State::Full(full) => full.io_done(&mut self.dm, ctx, done),
            State::Login(_) => {
                if let Some(buf) = done.data {
                    ctx.give(buf, None);
                }
            }
        }
    }

    /// Answers the task management functions whose tasks are gone by now.
    pub(crate) fn finish_management(&mut self, ctx: &mut Context<'_>) {
        if let State::Full(full) = &mut self.state
            && self.closing.is_none()
            && full.is_managing()
            && let Err(close) = full.finish_management(&mut self.dm)
        {
            self.close(ctx, close);
        }
    }

    /// Begins to close: tasks are aborted, the datamover is told, and the rest is waited for.
    pub(crate) fn close(&mut self, ctx: &mut Context<'_>, how: Close) {
        if self.closing.is_none() {
            self.closing = Some(ctx.now);
            self.abort_all(ctx);
            match how {
                // Over TCP the datamover waits for the peer by itself.
                Close::LoggedOut if self.entrance.transport == Transport::Iser => self.lingering = true,
                Close::LoggedOut | Close::Graceful => self.dm.terminate(true),
                Close::Now => self.dm.terminate(false),
            }
        } else if how != Close::LoggedOut && core::mem::take(&mut self.lingering) {
            self.dm.terminate(how == Close::Graceful);
        }
    }

    fn abort_all(&mut self, ctx: &mut Context<'_>) {
        if let State::Full(full) = &mut self.state {
            full.abort_all(&mut self.dm, ctx);
        }
    }

    /// Everything the connection held has been given back: it may be forgotten.
    pub(crate) fn is_over(&self) -> bool {
        let quiet = match &self.state {
            State::Full(full) => full.is_quiet(),
            State::Login(login) => !login.registering,
        };
        self.terminated && quiet
    }

    /// Looks at the connection's timers.
    pub(crate) fn tick(&mut self, ctx: &mut Context<'_>) {
        if let Some(since) = self.closing {
            if self.lingering && ctx.now.since(since).as_millis() >= LINGER_MILLIS {
                self.close(ctx, Close::Graceful);
            }
            if ctx.now.since(since).as_secs() >= DRAIN_SECONDS {
                // The peer does not take what is queued for it: cut it off.
                self.dm.terminate(false);
            }
            return;
        }
        let outcome = match &mut self.state {
            State::Login(login) if ctx.now >= login.deadline => {
                tracing::warn!(peer = %self.entrance.peer, "login took too long; closing the connection");
                ctx.stats.login_failures += 1;
                Err(Close::Now)
            }
            State::Login(_) => Ok(()),
            State::Full(full) => {
                if ctx.now.since(self.since).as_millis() >= QUIET_MILLIS {
                    self.dm.end_quiet();
                }
                full.keep_alive(&mut self.dm, ctx)
            }
        };
        if let Err(close) = outcome {
            self.close(ctx, close);
        }
    }

    /// There is something to step without new input.
    pub(crate) fn wants_turn(&self) -> bool {
        let stalled = matches!(&self.state, State::Full(full) if full.has_stalled());
        stalled || (self.dm.has_more() && !self.waits())
    }
}
