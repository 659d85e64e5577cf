//! Portals: listening sockets on the reactor, and the placement of what they accept.

use std::io;
use std::os::fd::AsRawFd;

use iscsi_tcp::listen::{Accepted, Listener};
use reactors::Nanos;

use super::arrivals::Arrival;
use super::{Worker, token};
use crate::control::with_worker;
pub use crate::portal::Serves;

/// Connections accepted per portal and turn.
const ACCEPTS: usize = 16;

/// Names a portal in the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PortalId(pub u32);

#[derive(Debug)]
struct Portal {
    id: PortalId,
    group: i32,
    listener: Listener,
    serves: Serves,
    ready: bool,
}

/// The portals a core listens on.
#[derive(Debug, Default)]
pub(super) struct Portals {
    list: Vec<Portal>,
    ready: bool,
}

impl Portals {
    pub(super) fn mark_ready(&mut self, id: u32) {
        if let Some(portal) = self.list.iter_mut().find(|p| p.id.0 == id) {
            portal.ready = true;
            self.ready = true;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn any_ready(&self) -> bool {
        self.ready
    }
}

impl Worker {
    /// Accepts connections from `listener` on this core from now on.
    ///
    /// # Errors
    /// The kernel's: out of memory or watches.
    pub fn open_portal(&mut self, id: PortalId, group: i32, listener: Listener, serves: Serves) -> io::Result<()> {
        self.epoll.add(listener.as_raw_fd(), token::PORTAL | u64::from(id.0), false)?;
        self.portals.list.push(Portal { id, group, listener, serves, ready: true });
        self.portals.ready = true;
        Ok(())
    }

    /// Stops listening.
    pub fn close_portal(&mut self, id: PortalId) {
        self.unlisten(id);
        let Some(at) = self.portals.list.iter().position(|p| p.id == id) else { return };
        let portal = self.portals.list.swap_remove(at);
        self.epoll.remove(portal.listener.as_raw_fd());
    }

    pub(super) fn accept(&mut self, now: Nanos) {
        self.portals.ready = false;
        for at in 0..self.portals.list.len() {
            for _ in 0..ACCEPTS {
                let portal = &mut self.portals.list[at];
                if !portal.ready {
                    break;
                }
                let (portal_group, serves) = (portal.group, portal.serves);
                match portal.listener.accept() {
                    Accepted::Connection(stream, peer) => {
                        self.place(Arrival { stream, portal_group, peer, serves }, now);
                    }
                    Accepted::Nothing => portal.ready = false,
                    Accepted::Shed => {
                        tracing::warn!("out of file descriptors: a connection was shed; raise `ulimit -n`");
                    }
                    Accepted::Exhausted(errno) => {
                        let error = io::Error::from_raw_os_error(errno);
                        tracing::warn!("cannot accept connections at the moment: {error}");
                        portal.ready = false;
                    }
                }
            }
            // More may wait; readiness is level-triggered, so the next turn hears of it.
            self.portals.list[at].ready = false;
        }
    }

    /// Gives a connection to the core that has the least to do.
    fn place(&mut self, arrival: Arrival, now: Nanos) {
        let (core, peer) = (self.shared.place(), arrival.peer);
        if core == self.handle.id() {
            return self.adopt(arrival, now);
        }
        let adopt = move |core: &mut reactors::Core| {
            let now = core.now();
            with_worker(core, |worker, _| worker.adopt(arrival, now));
        };
        if let Err(error) = self.handle.mail().post(core, Box::new(adopt)) {
            tracing::warn!(%peer, "connection refused: {error}");
            self.shared.unplace(core);
        }
    }
}
