//! What other cores and the control plane ask of a worker.

use std::sync::Arc;

use iscsi::wire::LoginStatus;
use primitives::Key;
use reactors::{Core, Nanos, Pools};
use scsi::{LogicalUnit, NexusId, UnitAttention};

use super::Worker;
use crate::conn::{Close, Conn, Full, Scope, State};
use crate::context::Context;
use crate::control::{ChangeDone, Joined, Reset, publish_change};
use crate::session::{ConnId, Registered};
use crate::target::Target;
use crate::wire::Wire;

impl Worker {
    /// Every core works from a changed unit: the task that changed it goes on.
    pub(crate) fn change_done(&mut self, core: &mut Core, done: ChangeDone) {
        let now = core.now();
        self.with_full(done.conn, now, &mut core.pools, |full, dm, ctx| {
            if full.current(done.tag).is_some() {
                full.home_done(dm, ctx, done.tag.index(), done.flush);
            }
            Ok(())
        });
    }

    /// A unit changed somewhere.
    pub(crate) fn unit_changed(
        &mut self,
        id: u64,
        view: &Arc<LogicalUnit>,
        attention: Option<(UnitAttention, NexusId)>,
    ) {
        self.units.publish(id, view);
        for (_, entry) in self.conns.iter_mut() {
            if let State::Full(full) = &mut entry.conn.state {
                full.unit_changed(id, attention);
            }
        }
    }

    /// Aborts what a reset reaches on this core. `by` asked for it and keeps its session.
    pub(crate) fn begin_reset(&mut self, core: &mut Core, reset: Reset, by: ConnId) {
        let now = core.now();
        for index in 0..self.conns.capacity() as u32 {
            let Some((key, _)) = self.conns.at(index) else { continue };
            self.step(key.index, now, &mut core.pools, |conn, ctx| {
                let own = conn.id == by;
                let Some(scope) = scope_of(conn, reset) else { return };
                let State::Full(full) = &mut conn.state else { return };
                if !own {
                    full.abort_for_another(&mut conn.dm, ctx, scope);
                }
                match reset {
                    Reset::Unit(id) => full.units.reset(Some(id), UnitAttention::DeviceReset),
                    Reset::Target { .. } => full.units.reset(None, UnitAttention::BusReset),
                }
                if matches!(reset, Reset::Target { cold: true, .. }) && !own {
                    conn.close(ctx, Close::Graceful);
                }
            });
            self.touch(key.index);
        }
    }

    /// Something a reset reaches still moves on this core.
    pub(crate) fn is_resetting(&mut self, reset: Reset) -> bool {
        self.conns.iter_mut().any(|(_, entry)| {
            let scope = scope_of(&entry.conn, reset);
            match (&mut entry.conn.state, scope) {
                (State::Full(full), Some(scope)) => full.is_draining(scope),
                _ => false,
            }
        })
    }

    /// A reset is complete everywhere: its requester is answered.
    pub(crate) fn reset_done(&mut self, core: &mut Core, conn: ConnId, place: u8) {
        let now = core.now();
        self.with_full(conn, now, &mut core.pools, |full, dm, _| full.management_done_elsewhere(dm, place));
    }

    /// Joins the units of a target for a session that is being established here.
    pub(crate) fn join(
        &mut self,
        core: &mut Core,
        target: Option<Arc<Target>>,
        registered: Registered,
        reinstated: bool,
    ) -> Result<Joined, LoginStatus> {
        let mut units = Vec::new();
        for (lun, unit) in target.iter().flat_map(|t| &t.luns) {
            match self.units.join(unit, core) {
                Ok(key) => units.push((*lun, unit.id, key)),
                Err(error) => {
                    tracing::error!("login refused: {error}");
                    units.iter().for_each(|(_, _, key): &(u16, u64, Key)| self.units.leave(*key));
                    return Err(LoginStatus::TARGET_ERROR);
                }
            }
        }
        Ok(Joined { registered, target, units, reinstated })
    }

    /// The register has answered a login.
    pub(crate) fn registered(&mut self, core: &mut Core, id: ConnId, result: Result<Joined, LoginStatus>) {
        let now = core.now();
        if !self.has_conn(id) {
            // Gone meanwhile, which a registering connection never is; give back what was joined all the same.
            if let Ok(joined) = result {
                joined.units.iter().for_each(|(_, _, key)| self.units.leave(*key));
            }
            return;
        }
        self.step(id.index, now, &mut core.pools, |conn, ctx| {
            if let Err(close) = conn.registered(ctx, result) {
                conn.close(ctx, close);
            }
        });
        self.touch(id.index);
    }

    /// Closes a connection that another takes the place of.
    pub(crate) fn close_conn(&mut self, core: &mut Core, id: ConnId) {
        let now = core.now();
        if self.has_conn(id) {
            self.step(id.index, now, &mut core.pools, |conn, ctx| conn.close(ctx, Close::Now));
            self.touch(id.index);
        }
    }

    /// The connection still exists.
    pub(crate) fn has_conn(&mut self, id: ConnId) -> bool {
        self.conns.get(key_of(id)).is_some_and(|entry| !entry.poisoned)
    }

    /// What a connection leaves behind: its registration, its units, its reservations.
    pub(super) fn leave_session(&mut self, conn: &mut Conn) {
        if conn.registered {
            self.shared.sessions.unregister(conn.port.as_ref(), conn.id);
        }
        let State::Full(full) = &mut conn.state else { return };
        let nexus = full.session.nexus;
        let entries: Vec<_> = full.units.iter_mut().map(|(_, unit)| unit.local).collect();
        for key in entries {
            if let Some(local) = self.units.get(key) {
                let unit = Arc::clone(&local.unit);
                let (view, ()) = unit.change(|lu| (lu.nexus_lost(nexus), ()));
                if let Some(view) = view {
                    publish_change(&self.handle, unit.id, view, None, None);
                }
            }
            self.units.leave(key);
        }
        tracing::info!("{}: session ended", full.session);
    }

    /// Arms what can wake a sleeping reactor when devices are busy.
    pub(super) fn arm_devices(&mut self) -> bool {
        self.wake_fds.clear();
        self.units.arm(&mut self.wake_fds)
    }

    /// Steps a connection in full-feature phase.
    fn with_full(
        &mut self,
        id: ConnId,
        now: Nanos,
        pools: &mut Pools,
        f: impl FnOnce(&mut Full, &mut Wire, &mut Context<'_>) -> Result<(), Close>,
    ) {
        if !self.has_conn(id) {
            return;
        }
        self.step(id.index, now, pools, |conn, ctx| {
            let Conn { state: State::Full(full), dm, .. } = conn else { return };
            if let Err(close) = f(full, dm, ctx) {
                conn.close(ctx, close);
            }
        });
        self.touch(id.index);
    }
}

fn key_of(id: ConnId) -> Key {
    Key { index: id.index, generation: id.generation }
}

/// The tasks of a connection that a reset reaches.
fn scope_of(conn: &Conn, reset: Reset) -> Option<Scope> {
    let State::Full(full) = &conn.state else { return None };
    match reset {
        Reset::Unit(id) => Some(Scope::Unit(id)),
        Reset::Target { handle, .. } => {
            full.session.target.as_ref().is_some_and(|t| t.handle == handle).then_some(Scope::All)
        }
    }
}
