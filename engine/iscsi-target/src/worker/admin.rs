//! What the control plane asks of a worker: a new configuration, lists, counters, ends.

use std::sync::Arc;

use reactors::{Core, Nanos};
use scsi::UnitAttention;

use super::Worker;
use crate::conn::{Close, Full, State};
use crate::limits::CONNECTIONS_PER_CORE;
use crate::session::ConnId;
use crate::stats::CoreStats;
use crate::target::{Entrance, Published, Target};

/// A connection as the control plane shows it.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// Where it lives.
    pub id: ConnId,
    /// Where it came in, and from where.
    pub entrance: Entrance,
    /// Connection id of its session; 0 before login.
    pub cid: u16,
    /// Target session identifying handle, once logged in.
    pub tsih: Option<u16>,
    /// The initiator's name; empty before login.
    pub initiator: String,
    /// The target's name; empty before login and in discovery sessions.
    pub target: String,
    /// It is on its way out.
    pub closing: bool,
    /// Commands in progress.
    pub tasks: usize,
}

impl Worker {
    /// Puts a new configuration in force on this core. Sessions get and lose logical units; those whose target is gone
    /// are closed.
    pub fn publish(&mut self, core: &mut Core, published: Arc<Published>) {
        let now = core.now();
        for index in 0..self.conns.capacity() as u32 {
            let Some((_, entry)) = self.conns.at(index) else { continue };
            let State::Full(full) = &entry.conn.state else { continue };
            let Some(old) = full.session.target.clone() else { continue };
            match published.target(old.handle) {
                Some(new) if Arc::ptr_eq(new, &old) => {}
                Some(new) => self.replace_target(core, index, new, now),
                None => self.step(index, now, &mut core.pools, |conn, ctx| conn.close(ctx, Close::Graceful)),
            }
            self.touch(index);
        }
        self.published = published;
    }

    /// Brings a session's view in line with its target's new logical units.
    fn replace_target(&mut self, core: &mut Core, index: u32, target: &Arc<Target>, now: Nanos) {
        let mut joined = Vec::new();
        if let Some((_, entry)) = self.conns.at(index)
            && let State::Full(full) = &mut entry.conn.state
        {
            for (lun, unit) in &target.luns {
                if full.units.id_at(*lun) == Some(unit.id) {
                    continue;
                }
                match self.units.join(unit, core) {
                    Ok(key) => joined.push((*lun, unit.id, key)),
                    Err(error) => tracing::error!("a session goes without LUN {lun}: {error}"),
                }
            }
        }
        let target = Arc::clone(target);
        self.step(index, now, &mut core.pools, |conn, ctx| {
            let State::Full(full) = &mut conn.state else { return };
            let gone = full.units.retain(|lun, id| target.luns.iter().any(|(l, unit)| *l == lun && unit.id == id));
            let changed = !gone.is_empty() || !joined.is_empty();
            for id in gone {
                full.abort_removed(&mut conn.dm, ctx, id);
            }
            for (lun, id, key) in joined {
                full.units.add(lun, id, key, ctx.units.block_size(key));
            }
            if changed {
                full.units.raise_all(UnitAttention::ReportedLunsChanged);
            }
            full.session.target = Some(target);
        });
    }

    /// Lets go of logical units that sessions have lost and whose tasks are gone.
    pub(super) fn release_lost_units(&mut self) {
        let Self { conns, units, .. } = self;
        for (_, entry) in conns.iter_mut() {
            if let State::Full(full) = &mut entry.conn.state {
                full.release_lost_units(units);
            }
        }
    }

    /// Some session here still uses the unit.
    pub fn uses_unit(&mut self, id: u64) -> bool {
        self.release_lost_units();
        self.units.iter().any(|local| local.unit.id == id)
    }

    /// A connection to the target still exists here.
    pub fn serves_target(&self, handle: u32) -> bool {
        self.conns.iter().any(|(_, entry)| match &entry.conn.state {
            State::Full(full) => full.session.target.as_ref().is_some_and(|t| t.handle == handle),
            State::Login(_) => false,
        })
    }

    /// Every connection, those included that have not said yet what they speak.
    pub fn connections(&self) -> Vec<ConnInfo> {
        let strangers = self.strangers.list().map(|(index, entrance)| ConnInfo {
            // Behind the numbers of connections, which these are not yet.
            id: ConnId { core: self.handle.id(), index: CONNECTIONS_PER_CORE as u32 + index, generation: 0 },
            entrance,
            cid: 0,
            tsih: None,
            initiator: String::new(),
            target: String::new(),
            closing: false,
            tasks: 0,
        });
        self.conns.iter().map(|(_, entry)| info(&entry.conn)).chain(strangers).collect()
    }

    /// Asks the initiators of a target to log out, those that came in through `portal_group` or all.
    pub fn request_logout(&mut self, core: &mut Core, handle: u32, portal_group: Option<i32>) {
        let now = core.now();
        for index in 0..self.conns.capacity() as u32 {
            if self.conns.at(index).is_none() {
                continue;
            }
            self.step(index, now, &mut core.pools, |conn, ctx| {
                let State::Full(full) = &mut conn.state else { return };
                let hit = full.session.target.as_ref().is_some_and(|t| t.handle == handle)
                    && portal_group.is_none_or(|group| group == conn.entrance.portal_group);
                if hit && let Err(close) = full.ask_for_logout(&mut conn.dm) {
                    conn.close(ctx, close);
                }
            });
            self.touch(index);
        }
    }

    /// Closes the connections that came in through a portal group.
    pub fn close_group(&mut self, core: &mut Core, portal_group: i32) {
        let now = core.now();
        for index in 0..self.conns.capacity() as u32 {
            let Some((_, entry)) = self.conns.at(index) else { continue };
            if entry.conn.entrance.portal_group == portal_group {
                self.step(index, now, &mut core.pools, |conn, ctx| conn.close(ctx, Close::Graceful));
                self.touch(index);
            }
        }
    }

    /// This core's counters.
    pub fn stats(&self) -> CoreStats {
        let mut stats = self.stats;
        self.conns.iter().for_each(|(_, entry)| stats.add_transport(&entry.conn.dm));
        stats.rdma = self.fabric.counters();
        stats
    }

    /// Names of the block devices with a channel open here.
    pub fn channels(&self) -> Vec<String> {
        self.units.iter().map(|local| local.unit.bdev.name().to_owned()).collect()
    }
}

fn info(conn: &crate::conn::Conn) -> ConnInfo {
    let full: Option<&Full> = match &conn.state {
        State::Full(full) => Some(full),
        State::Login(_) => None,
    };
    ConnInfo {
        id: conn.id,
        entrance: conn.entrance,
        cid: full.map_or(0, |f| f.session.cid),
        tsih: full.map(|f| f.session.tsih),
        initiator: full.map_or_else(String::new, |f| f.session.initiator.clone()),
        target: full.and_then(|f| f.session.target.as_ref()).map_or_else(String::new, |t| t.name.clone()),
        closing: conn.closing.is_some(),
        tasks: full.map_or(0, Full::task_count),
    }
}
