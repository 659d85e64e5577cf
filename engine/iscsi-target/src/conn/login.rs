//! Login: the pure state machine's steps carried out.

use iscsi::connection::{FullFeature, Keepalive};
use iscsi::datamover::{Arrival, Datamover, Upcall};
use iscsi::login::{Registered, Registration, Response, SessionKind, Step, Transport};
use iscsi::wire::LoginStatus;
use scsi::UnitAttention;

use super::full::Close;
use super::{Conn, Full, SessionUnits, State};
use crate::context::Context;
use crate::control::{Joined, PendingRegistration, has_room, register};
use crate::limits::CHUNKS;
use crate::session::{PortPair, Session};
use crate::target::At;

impl Conn {
    pub(super) fn login_upcall(&mut self, ctx: &mut Context<'_>, upcall: Upcall) -> Result<(), Close> {
        match upcall {
            Upcall::Control(control) => {
                let State::Login(login) = &mut self.state else { return Ok(()) };
                if control.arrival != Arrival::Here {
                    return Err(Close::Now);
                }
                let at = At { directory: &*ctx.published.directory, entrance: &self.entrance };
                let step = login.machine.receive(&control.bhs, self.dm.segment(), &at);
                self.login_step(ctx, step)
            }
            Upcall::DataDone { buf, .. } => {
                ctx.give(buf, None);
                Ok(())
            }
            Upcall::Violation(violation) => {
                tracing::warn!(peer = %self.entrance.peer, "{violation} during login; closing the connection");
                ctx.stats.login_failures += 1;
                Err(Close::Now)
            }
            Upcall::Terminated(_) => Ok(()),
        }
    }

    fn login_step(&mut self, ctx: &mut Context<'_>, step: Step) -> Result<(), Close> {
        match step {
            Step::Reply(response) => self.send_login(&response),
            Step::Register(registration) => {
                if !has_room(ctx.handle) {
                    return self.registered(ctx, Err(LoginStatus::OUT_OF_RESOURCES));
                }
                self.begin_registration(ctx, &registration);
                Ok(())
            }
            // Only `registered` leads there.
            Step::Established(..) => Err(Close::Now),
            Step::Refuse(response, why) => {
                let status = response.status();
                let (peer, local) = (self.entrance.peer, self.entrance.local);
                tracing::warn!(%peer, %local, ?status, "login refused: {why}");
                ctx.stats.login_failures += 1;
                self.send_login(&response)?;
                Err(Close::Graceful)
            }
            Step::Close(why) => {
                tracing::warn!(peer = %self.entrance.peer, "closing a connection in login: {why}");
                ctx.stats.login_failures += 1;
                Err(Close::Now)
            }
        }
    }

    fn send_login(&mut self, response: &Response) -> Result<(), Close> {
        self.dm.send_control(&response.bhs, &response.text).map_err(|_| Close::Now)
    }

    /// The session has to be found or made, which may have to wait for an old connection on another core.
    fn begin_registration(&mut self, ctx: &mut Context<'_>, registration: &Registration) {
        let State::Login(login) = &mut self.state else { return };
        login.registering = true;
        let target = match registration.session {
            SessionKind::Normal { target } => Some(target),
            SessionKind::Discovery => None,
        };
        let port = target.map(|target| PortPair {
            initiator: registration.initiator_name.as_str().to_owned(),
            isid: registration.isid,
            target,
            portal_group: self.entrance.portal_group as u16,
        });
        self.port.clone_from(&port);
        let (tsih, cid) = (registration.tsih, registration.cid);
        register(ctx, PendingRegistration { conn: self.id, port, tsih, cid });
    }

    /// The register has answered; units of the target are joined.
    pub(crate) fn registered(
        &mut self,
        ctx: &mut Context<'_>,
        joined: Result<Joined, LoginStatus>,
    ) -> Result<(), Close> {
        let State::Login(login) = &mut self.state else { return Ok(()) };
        login.registering = false;
        self.registered = joined.is_ok();
        let (result, joined) = match joined {
            Ok(joined) => (Ok(Registered { tsih: joined.registered.tsih }), Some(joined)),
            Err(status) => (Err(status), None),
        };
        let step = login.machine.registered(result);
        match (step, joined) {
            (Step::Established(response, established), Some(joined)) => {
                self.establish(ctx, &response, established, joined)
            }
            (step, joined) => {
                if let Some(joined) = joined {
                    joined.units.iter().for_each(|(_, _, key)| ctx.units.leave(*key));
                }
                self.login_step(ctx, step)
            }
        }
    }

    fn establish(
        &mut self,
        ctx: &mut Context<'_>,
        response: &Response,
        established: iscsi::login::Established,
        joined: Joined,
    ) -> Result<(), Close> {
        if let Err(close) = self.send_login(response) {
            joined.units.iter().for_each(|(_, _, key)| ctx.units.leave(*key));
            return Err(close);
        }
        let mut parameters = established.parameters;
        if self.entrance.transport == Transport::Iser {
            // No R2T is ever sent: data is fetched by RDMA Reads, which the read depth bounds (RFC 7145 §7.3.6).
            parameters.max_outstanding_r2t = CHUNKS as u16;
        }
        self.dm.enable(&parameters);
        let settings = ctx.published.directory.settings();
        let second = 1_000_000_000;
        let keepalive = Keepalive::new(settings.nop_in_interval * second, settings.nop_timeout * second, ctx.now.get());
        let depth = established.command_window;
        let session = Session {
            nexus: joined.registered.nexus,
            tsih: established.tsih,
            cid: established.cid,
            initiator: established.initiator_name.as_str().to_owned(),
            target: joined.target,
        };
        tracing::info!(peer = %self.entrance.peer, core = ctx.core.0, "{session}: logged in");
        let slots = Full::slots_for(depth);
        let mut units = SessionUnits::new(session.nexus, slots);
        for (lun, id, key) in joined.units {
            units.add(lun, id, key, ctx.units.block_size(key));
        }
        if joined.reinstated {
            // RFC 7143 §6.3.5: the old nexus is lost, and with it what was bound to it.
            units.raise_all(UnitAttention::NexusLoss);
        }
        let proto = FullFeature::new(
            established.authenticated,
            parameters,
            established.exp_cmd_sn,
            established.stat_sn,
            depth,
            slots,
            keepalive,
        );
        ctx.stats.logins += 1;
        self.since = ctx.now;
        self.state = State::Full(Box::new(Full::new(proto, session, units, self.id, self.entrance, depth)));
        Ok(())
    }
}
