//! Sessions: who talks to whom, and the process-wide register of them (RFC 7143 §6.3).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use reactors::CoreId;
use scsi::NexusId;

use crate::target::Target;

/// A connection, wherever it lives. Outlives the connection harmlessly.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnId {
    /// The core that owns it.
    pub core: CoreId,
    /// Its place there.
    pub index: u32,
    /// Which occupancy of the place.
    pub generation: u32,
}

/// What identifies the initiator port of a session to a target port (RFC 7143 §4.2.5.1): the same pair of them means
/// the same nexus.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PortPair {
    /// iSCSI name of the initiator.
    pub initiator: String,
    /// ISID.
    pub isid: [u8; 6],
    /// The target's handle; discovery sessions have none and never reinstate each other.
    pub target: u32,
    /// Target portal group tag.
    pub portal_group: u16,
}

/// A session in full-feature phase, as its connection knows it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Unique for the process's life.
    pub nexus: NexusId,
    /// Target session identifying handle.
    pub tsih: u16,
    /// Connection id.
    pub cid: u16,
    /// The initiator's name, checked by login.
    pub initiator: String,
    /// The target; `None` in a discovery session.
    pub target: Option<Arc<Target>>,
}

impl Session {
    /// Serves SendTargets only.
    #[must_use]
    pub fn is_discovery(&self) -> bool {
        self.target.is_none()
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let initiator = iscsi::names::Printable(&self.initiator);
        match &self.target {
            Some(target) => write!(f, "{initiator} at {} (session {})", target.name, self.tsih),
            None => write!(f, "{initiator} discovering (session {})", self.tsih),
        }
    }
}

/// Why a session cannot be registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// As many sessions as allowed exist: out of resources.
    TooMany,
    /// The TSIH names no session of this initiator port.
    NoSuchSession,
    /// A second connection to a session (MaxConnections=1).
    SecondConnection,
}

/// A registered session.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// The handle given to the initiator.
    pub tsih: u16,
    /// The nexus.
    pub nexus: NexusId,
    /// The connection of the session this one takes the place of; it has to be gone first.
    pub replaces: Option<ConnId>,
}

#[derive(Debug)]
struct Entry {
    tsih: u16,
    cid: u16,
    conn: ConnId,
}

/// All sessions of the process. Locked during logins and logouts only.
#[derive(Debug, Default)]
pub struct Sessions {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_port: HashMap<PortPair, Entry>,
    discovery: usize,
    last_tsih: u16,
    last_nexus: u64,
}

impl Sessions {
    /// Registers a login that is about to enter full-feature phase. `port` is `None` for discovery. `tsih` is what the
    /// initiator sent: zero for a new session, which reinstates one of the same ports (RFC 7143 §6.3.5).
    ///
    /// # Errors
    /// Why the login has to be refused.
    pub fn register(
        &self,
        port: Option<PortPair>,
        tsih: u16,
        cid: u16,
        conn: ConnId,
        limit: usize,
    ) -> Result<Registered, Refused> {
        let mut inner = self.lock();
        let Some(port) = port else {
            if tsih != 0 {
                return Err(Refused::NoSuchSession);
            }
            inner.check_room(limit)?;
            inner.discovery += 1;
            let tsih = inner.next_tsih();
            return Ok(Registered { tsih, nexus: inner.next_nexus(), replaces: None });
        };
        let old = inner.by_port.get(&port).map(|e| (e.tsih, e.cid, e.conn));
        let replaces = match (tsih, old) {
            (0, None) => {
                inner.check_room(limit)?;
                None
            }
            (0, Some((_, _, conn))) => Some(conn),
            // Connection reinstatement (RFC 7143 §6.3.4): the same CID again.
            (t, Some((known, old_cid, conn))) if t == known => {
                if old_cid != cid {
                    return Err(Refused::SecondConnection);
                }
                Some(conn)
            }
            _ => return Err(Refused::NoSuchSession),
        };
        let tsih = if tsih == 0 { inner.next_tsih() } else { tsih };
        inner.by_port.insert(port, Entry { tsih, cid, conn });
        Ok(Registered { tsih, nexus: inner.next_nexus(), replaces })
    }

    /// A session's connection is gone. A session that was taken over meanwhile stays.
    pub fn unregister(&self, port: Option<&PortPair>, conn: ConnId) {
        let mut inner = self.lock();
        match port {
            None => inner.discovery = inner.discovery.saturating_sub(1),
            Some(port) => {
                if inner.by_port.get(port).is_some_and(|e| e.conn == conn) {
                    inner.by_port.remove(port);
                }
            }
        }
    }

    /// Sessions of a target.
    #[must_use]
    pub fn count(&self, target: u32) -> usize {
        self.lock().by_port.keys().filter(|port| port.target == target).count()
    }

    /// All sessions, discovery included.
    #[must_use]
    pub fn total(&self) -> usize {
        let inner = self.lock();
        inner.by_port.len() + inner.discovery
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Every change is one insertion or removal: a panic elsewhere leaves a sound map behind.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn check_room(&self, limit: usize) -> Result<(), Refused> {
        if self.by_port.len() + self.discovery >= limit { Err(Refused::TooMany) } else { Ok(()) }
    }

    /// The next TSIH that no session has; zero is never one.
    fn next_tsih(&mut self) -> u16 {
        loop {
            self.last_tsih = self.last_tsih.wrapping_add(1);
            let tsih = self.last_tsih;
            if tsih != 0 && self.by_port.values().all(|e| e.tsih != tsih) {
                return tsih;
            }
        }
    }

    fn next_nexus(&mut self) -> NexusId {
        self.last_nexus += 1;
        NexusId(self.last_nexus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(initiator: &str) -> Option<PortPair> {
        Some(PortPair { initiator: initiator.into(), isid: [1; 6], target: 1, portal_group: 1 })
    }

    fn conn(index: u32) -> ConnId {
        ConnId { core: CoreId(0), index, generation: 0 }
    }

    #[test]
    fn the_same_ports_again_take_the_session_over() {
        let sessions = Sessions::default();
        let first = sessions.register(port("a"), 0, 0, conn(1), 8).unwrap();
        assert!(first.replaces.is_none());
        let second = sessions.register(port("a"), 0, 0, conn(2), 8).unwrap();
        assert_eq!(second.replaces, Some(conn(1)));
        assert_ne!((first.tsih, first.nexus), (second.tsih, second.nexus));
        // The old connection's end does not end the new session.
        sessions.unregister(port("a").as_ref(), conn(1));
        assert_eq!(sessions.count(1), 1);
        sessions.unregister(port("a").as_ref(), conn(2));
        assert_eq!(sessions.count(1), 0);
    }

    #[test]
    fn a_tsih_must_be_the_session_s_own() {
        let sessions = Sessions::default();
        let tsih = sessions.register(port("a"), 0, 7, conn(1), 8).unwrap().tsih;
        assert_eq!(sessions.register(port("b"), tsih, 7, conn(2), 8).unwrap_err(), Refused::NoSuchSession);
        assert_eq!(sessions.register(port("a"), tsih + 1, 7, conn(2), 8).unwrap_err(), Refused::NoSuchSession);
        assert_eq!(sessions.register(port("a"), tsih, 8, conn(2), 8).unwrap_err(), Refused::SecondConnection);
        assert_eq!(sessions.register(None, tsih, 7, conn(2), 8).unwrap_err(), Refused::NoSuchSession);
        let again = sessions.register(port("a"), tsih, 7, conn(2), 8).unwrap();
        assert_eq!((again.tsih, again.replaces), (tsih, Some(conn(1))));
    }

    #[test]
    fn sessions_are_limited_but_reinstatement_is_not() {
        let sessions = Sessions::default();
        sessions.register(port("a"), 0, 0, conn(1), 2).unwrap();
        sessions.register(None, 0, 0, conn(2), 2).unwrap();
        assert_eq!(sessions.register(port("b"), 0, 0, conn(3), 2).unwrap_err(), Refused::TooMany);
        assert_eq!(sessions.register(None, 0, 0, conn(3), 2).unwrap_err(), Refused::TooMany);
        assert!(sessions.register(port("a"), 0, 0, conn(3), 2).is_ok());
        sessions.unregister(None, conn(2));
        assert!(sessions.register(port("b"), 0, 0, conn(4), 2).is_ok());
    }
}
