//! `Worker`: one core's share of the target, polled by its reactor.
//!
//! A turn: ready sockets are read, what arrived is stepped, devices are kicked and reaped, what they finished is
//! stepped, and everything that is to be sent goes out with one call per connection.

mod admin;
mod jobs;
mod portals;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bdev::DoneBatch;
use iscsi::datamover::Datamover;
use iscsi::login::{Login, Transport};
use iscsi_tcp::{Limits, Tcp};
use primitives::{Key, Slab};
use reactors::{Clock, CoreHandle, Drained, Nanos, Poller, Pools, Progress, Turn};

use crate::conn::{Close, Conn, LoginPhase, State};
use crate::context::Context;
use crate::epoll::{self, Epoll};
use crate::limits::{CONNECTIONS_PER_CORE, TICK_MILLIS};
use crate::session::ConnId;
use crate::shared::Shared;
use crate::stats::CoreStats;
use crate::target::{Entrance, Published};
use crate::unit::LocalUnits;

pub use admin::ConnInfo;
pub use portals::PortalId;

/// Rounds of device completions taken in one turn: a device that finishes at once may finish what follows, too.
const DEVICE_ROUNDS: usize = 2;

/// Tokens of portals in the epoll set have this bit; the others are connections.
const PORTAL: u64 = 1 << 63;

/// A connection over TCP and its place in the epoll set.
pub(crate) struct TcpConn {
    conn: Conn,
    /// Watched for room to write.
    writing: bool,
    /// A step of it panicked: its memory is not touched any more, and its slot is never used again.
    poisoned: bool,
}

/// One core's connections, logical units and portals.
#[expect(missing_debug_implementations, reason = "channels and datamovers have none")]
pub struct Worker {
    conns: Slab<TcpConn>,
    /// Connections to step this turn, each once (`Conn::active`).
    active: Vec<u32>,
    units: LocalUnits,
    epoll: Epoll,
    portals: portals::Portals,
    shared: Arc<Shared>,
    published: Arc<Published>,
    handle: CoreHandle,
    stats: CoreStats,
    clock: Clock,
    scratch: Box<[u8]>,
    /// Completions being stepped; out of its place only meanwhile.
    done: Option<Box<DoneBatch>>,
    wake_fds: Vec<RawFd>,
    next_tick: Nanos,
    draining: bool,
}

/// Borrows everything of a worker but its connections, to step one of them.
macro_rules! context {
    ($worker:expr, $now:expr, $pools:expr) => {
        Context {
            now: $now,
            core: $worker.handle.id(),
            pools: $pools,
            units: &mut $worker.units,
            shared: &$worker.shared,
            published: &$worker.published,
            handle: &$worker.handle,
            stats: &mut $worker.stats,
            scratch: &mut $worker.scratch,
        }
    };
}

impl Worker {
    /// A worker without connections.
    ///
    /// # Errors
    /// The kernel's, when the process is out of descriptors.
    pub fn new(shared: Arc<Shared>, published: Arc<Published>, handle: CoreHandle) -> io::Result<Self> {
        Ok(Self {
            conns: Slab::new(CONNECTIONS_PER_CORE),
            active: Vec::with_capacity(CONNECTIONS_PER_CORE),
            units: LocalUnits::default(),
            epoll: Epoll::new()?,
            portals: portals::Portals::default(),
            shared,
            published,
            handle,
            stats: CoreStats::default(),
            clock: Clock::new(),
            scratch: vec![0; scsi::limits::REPLY].into(),
            done: Some(Box::default()),
            wake_fds: Vec::new(),
            next_tick: Nanos::ZERO,
            draining: false,
        })
    }

    /// Takes over a connection that was accepted somewhere and placed here.
    pub fn adopt(&mut self, stream: TcpStream, portal_group: i32, peer: SocketAddr, now: Nanos) {
        if let Err(error) = self.try_adopt(stream, portal_group, peer, now) {
            tracing::warn!(%peer, "connection refused: {error}");
            self.shared.unplace(self.handle.id());
        }
    }

    fn try_adopt(&mut self, stream: TcpStream, portal_group: i32, peer: SocketAddr, now: Nanos) -> io::Result<()> {
        if self.draining {
            return Err(io::Error::other("the engine is shutting down"));
        }
        let local = stream.local_addr()?;
        let mut entropy = [0; iscsi::limits::LOGIN_ENTROPY];
        getrandom::fill(&mut entropy).map_err(io::Error::other)?;
        let login = LoginPhase {
            machine: Login::new(Transport::Tcp, entropy),
            deadline: now + self.published.directory.login_timeout(),
            registering: false,
        };
        let conn = Conn {
            dm: Tcp::new(stream, Limits::default())?,
            id: ConnId { core: self.handle.id(), index: 0, generation: 0 },
            entrance: Entrance { portal_group, local, peer },
            state: State::Login(Box::new(login)),
            port: None,
            registered: false,
            closing: None,
            terminated: false,
            active: false,
        };
        let fd = conn.dm.as_raw_fd();
        let full = || io::Error::other(format!("limits::CONNECTIONS_PER_CORE ({CONNECTIONS_PER_CORE}) reached"));
        let key = self.conns.insert(TcpConn { conn, writing: false, poisoned: false }).map_err(|_| full())?;
        if let Some(entry) = self.conns.get_mut(key) {
            entry.conn.id.index = key.index;
            entry.conn.id.generation = key.generation;
        }
        if let Err(error) = self.epoll.add(fd, u64::from(key.index), false) {
            self.conns.remove(key);
            return Err(error);
        }
        self.stats.accepted += 1;
        Ok(())
    }

    /// Puts a connection into the list of those to step.
    fn touch(&mut self, index: u32) {
        if let Some((_, entry)) = self.conns.at(index)
            && !core::mem::replace(&mut entry.conn.active, true)
        {
            self.active.push(index);
        }
    }

    /// Steps one connection behind its panic boundary.
    fn step(&mut self, index: u32, now: Nanos, pools: &mut Pools, f: impl FnOnce(&mut Conn, &mut Context<'_>)) {
        let Some((_, entry)) = self.conns.at(index) else { return };
        if entry.poisoned {
            return;
        }
        let mut ctx = context!(self, now, pools);
        if catch_unwind(AssertUnwindSafe(|| f(&mut entry.conn, &mut ctx))).is_err() {
            tracing::error!(peer = %entry.conn.entrance.peer, "a bug: panic while serving a connection; it is closed");
            entry.poisoned = true;
            self.stats.panics += 1;
            self.epoll.remove(entry.conn.dm.as_raw_fd());
            epoll::hang_up(entry.conn.dm.as_raw_fd());
        }
    }

    fn poll_sockets(&mut self) -> bool {
        let Self { epoll, conns, active, portals, .. } = self;
        let ready = epoll.poll(|ready| {
            if ready.token & PORTAL != 0 {
                portals.mark_ready((ready.token & !PORTAL) as u32);
                return;
            }
            let index = ready.token as u32;
            let Some((_, entry)) = conns.at(index) else { return };
            if entry.poisoned {
                return;
            }
            if ready.readable {
                entry.conn.dm.receive();
            }
            if !core::mem::replace(&mut entry.conn.active, true) {
                active.push(index);
            }
        });
        ready > 0
    }

    /// Kicks and reaps devices; steps the tasks whose operations ended.
    fn turn_devices(&mut self, now: Nanos, pools: &mut Pools) -> bool {
        let mut busy = false;
        for _ in 0..DEVICE_ROUNDS {
            if self.units.inflight() == 0 {
                break;
            }
            let Some(mut done) = self.done.take() else { break };
            self.units.turn(&mut done);
            let any = !done.is_empty();
            for item in done.drain() {
                let index = u32::from(item.tag.owner());
                self.step(index, now, pools, |conn, ctx| conn.io_done(ctx, item));
                self.touch(index);
            }
            self.done = Some(done);
            busy |= any;
            if !any {
                break;
            }
        }
        busy
    }

    /// Sends what connections have to send; forgets those that are over; keeps those that want another turn.
    fn finish_turn(&mut self) {
        let mut keep = 0;
        for at in 0..self.active.len() {
            let index = self.active[at];
            let Some((key, entry)) = self.conns.at(index) else { continue };
            entry.conn.active = false;
            if entry.poisoned {
                continue;
            }
            entry.conn.dm.flush();
            let wants_write = entry.conn.dm.wants_write();
            if wants_write != entry.writing {
                entry.writing = wants_write;
                // It is in the set; should the kernel refuse all the same, the tick flushes.
                let _ = self.epoll.modify(entry.conn.dm.as_raw_fd(), u64::from(index), wants_write);
            }
            if entry.conn.is_over() {
                self.forget(key);
            } else if entry.conn.wants_turn() {
                entry.conn.active = true;
                self.active[keep] = index;
                keep += 1;
            }
        }
        self.active.truncate(keep);
    }

    /// A connection is over and holds nothing any more.
    fn forget(&mut self, key: Key) {
        let Some(mut entry) = self.conns.remove(key) else { return };
        self.epoll.remove(entry.conn.dm.as_raw_fd());
        self.stats.add_transport(&entry.conn.dm.stats());
        self.shared.unplace(self.handle.id());
        self.leave_session(&mut entry.conn);
    }

    fn tick(&mut self, now: Nanos, pools: &mut Pools) {
        self.next_tick = now + Duration::from_millis(TICK_MILLIS);
        for index in 0..self.conns.capacity() as u32 {
            if self.conns.at(index).is_some() {
                self.step(index, now, pools, |conn, ctx| conn.tick(ctx));
                self.touch(index);
            }
        }
        self.release_lost_units();
    }

    /// Begins to close every connection.
    fn close_all(&mut self, now: Nanos, pools: &mut Pools) {
        for index in 0..self.conns.capacity() as u32 {
            if self.conns.at(index).is_some() {
                self.step(index, now, pools, |conn, ctx| conn.close(ctx, Close::Graceful));
                self.touch(index);
            }
        }
    }

    fn has_live_conns(&self) -> bool {
        self.conns.iter().any(|(_, entry)| !entry.poisoned)
    }
}

impl Poller for Worker {
    fn poll(&mut self, turn: &mut Turn<'_>) -> Progress {
        let mut busy = self.poll_sockets();
        if self.portals.any_ready() {
            self.accept(turn.now);
        }
        busy |= !self.active.is_empty();
        for at in 0..self.active.len() {
            let index = self.active[at];
            self.step(index, turn.now, turn.pools, Conn::step);
        }
        busy |= self.turn_devices(turn.now, turn.pools);
        if turn.now >= self.next_tick {
            self.tick(turn.now, turn.pools);
        }
        if self.draining {
            self.close_all(turn.now, turn.pools);
        }
        self.finish_turn();
        if self.stats.is_unsettled() {
            self.stats.settle(self.clock.now().get());
        }
        Progress::from_bool(busy)
    }

    fn name(&self) -> &'static str {
        "iscsi_target"
    }

    fn wake_fds(&self, out: &mut Vec<RawFd>) {
        out.push(self.epoll.as_raw_fd());
        out.extend_from_slice(&self.wake_fds);
    }

    fn may_sleep(&mut self) -> bool {
        self.active.is_empty() && !self.portals.any_ready() && self.arm_devices()
    }

    fn deadline(&self) -> Option<Nanos> {
        (!self.conns.is_empty()).then_some(self.next_tick)
    }

    fn drain(&mut self) -> Drained {
        self.draining = true;
        if self.has_live_conns() { Drained::Busy } else { Drained::Done }
    }
}
