//! `Worker`: one core's share of the target, polled by its reactor.
//!
//! A turn: ready sockets are read, what arrived is stepped, devices are kicked and reaped, what they finished is
//! stepped, and everything that is to be sent goes out with one call per connection.

mod admin;
mod arrivals;
mod fabric;
mod jobs;
mod portals;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bdev::DoneBatch;
use iscsi::datamover::Datamover;
use primitives::{Key, Slab};
use reactors::{Clock, CoreHandle, Drained, Nanos, Poller, Pools, Progress, RegionCache, Turn};

use crate::conn::{Close, Conn};
use crate::context::Context;
use crate::epoll::{self, Epoll};
use crate::limits::{CONNECTIONS_PER_CORE, TICK_MILLIS};
use crate::shared::Shared;
use crate::stats::CoreStats;
use crate::target::Published;
use crate::unit::LocalUnits;
use crate::wire::Wire;

pub use admin::ConnInfo;
pub use fabric::SOFT_IWARP;
pub use portals::PortalId;

/// Rounds of device completions taken in one turn: a device that finishes at once may finish what follows, too.
const DEVICE_ROUNDS: usize = 2;

/// Turns between two looks for new connections on a core whose sockets are all portals.
const LOOK_EVERY: u32 = 16;

/// Tokens in the epoll set: the upper half says of what, the lower which. Connections have none of these bits.
mod token {
    /// A portal's listening socket.
    pub const PORTAL: u64 = 1 << 32;
    /// A connection that has not said yet what it speaks.
    pub const STRANGER: u64 = 1 << 33;
}

/// A connection and its place on the core.
pub(crate) struct Entry {
    conn: Conn,
    /// Watched for room to write.
    writing: bool,
    /// A step of it panicked: its memory is not touched any more, and its slot is never used again.
    poisoned: bool,
    /// Its device and the memory of its messages, over RDMA.
    link: Option<fabric::Link>,
}

/// One core's connections, logical units and portals.
#[expect(missing_debug_implementations, reason = "channels and datamovers have none")]
pub struct Worker {
    conns: Slab<Entry>,
    /// Connections to step this turn, each once (`Conn::active`).
    active: Vec<u32>,
    units: LocalUnits,
    epoll: Epoll,
    portals: portals::Portals,
    strangers: arrivals::Strangers,
    fabric: fabric::Fabric,
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
    /// Turns since the kernel was asked which sockets are ready.
    unasked: u32,
    /// The connection that was read last, by its socket: when there is but one socket beside portals, it is this one's
    /// or that of somebody whom the kernel will name.
    only: Option<Key>,
    /// The last read of that connection brought nothing.
    dry: bool,
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
    pub fn new(
        shared: Arc<Shared>,
        published: Arc<Published>,
        handle: CoreHandle,
        regions: RegionCache,
    ) -> io::Result<Self> {
        Ok(Self {
            conns: Slab::new(CONNECTIONS_PER_CORE),
            active: Vec::with_capacity(CONNECTIONS_PER_CORE),
            units: LocalUnits::default(),
            epoll: Epoll::new()?,
            portals: portals::Portals::default(),
            strangers: arrivals::Strangers::default(),
            fabric: fabric::Fabric::new(regions),
            shared,
            published,
            handle,
            stats: CoreStats::default(),
            clock: Clock::new(),
            scratch: vec![0; scsi::limits::REPLY].into(),
            done: Some(Box::default()),
            wake_fds: Vec::new(),
            next_tick: Nanos::ZERO,
            unasked: 0,
            only: None,
            dry: false,
            draining: false,
        })
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
            match &mut entry.conn.dm {
                Wire::Tcp(tcp) => {
                    self.epoll.remove(tcp.as_raw_fd());
                    epoll::hang_up(tcp.as_raw_fd());
                }
                Wire::Iser(iser) => iser.queue().to_error(),
            }
        }
    }

    /// Reads the sockets that are ready. The kernel is asked which these are every turn, unless all are portals, or
    /// but one that had something last time: more has come by now, or asking comes cheaper than reading in vain, which
    /// takes the lock of a socket that is about to be filled.
    fn poll_sockets(&mut self) -> bool {
        self.unasked += 1;
        if self.unasked < LOOK_EVERY {
            let others = self.epoll.len() - self.portals.len();
            if others == 0 {
                return false;
            }
            if others == 1
                && !self.dry
                && let Some(received) = self.read_only_socket()
            {
                self.dry = !received;
                return received;
            }
        }
        self.unasked = 0;
        let Self { epoll, conns, active, portals, strangers, only, .. } = self;
        let ready = epoll.poll(|ready| {
            let index = ready.token as u32;
            match ready.token & !u64::from(u32::MAX) {
                token::PORTAL => return portals.mark_ready(index),
                token::STRANGER => return strangers.mark_ready(index),
                _ => {}
            }
            let Some((key, entry)) = conns.at(index) else { return };
            if entry.poisoned {
                return;
            }
            if ready.readable {
                entry.conn.dm.receive();
                *only = Some(Key { index, generation: key.generation });
            }
            if !core::mem::replace(&mut entry.conn.active, true) {
                active.push(index);
            }
        });
        self.dry &= ready == 0;
        ready > 0
    }

    /// Reads the one socket there is beside portals, unless more has to be known of it.
    fn read_only_socket(&mut self) -> Option<bool> {
        let only = self.only?;
        let entry = self.conns.get_mut(only).filter(|entry| !entry.poisoned && !entry.writing)?;
        let received = entry.conn.dm.receive();
        if received {
            self.touch(only.index);
        }
        Some(received)
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
            let mut items = done.drain();
            while let Some(first) = items.next() {
                let owner = first.tag.owner();
                // Those of one connection behind each other are handled in one step.
                self.step(u32::from(owner), now, pools, |conn, ctx| {
                    conn.io_done(ctx, first);
                    while let Some(next) = items.next_if(|done| done.tag.owner() == owner) {
                        conn.io_done(ctx, next);
                    }
                    conn.finish_management(ctx);
                });
                self.touch(u32::from(owner));
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
    fn finish_turn(&mut self, pools: &mut Pools) {
        if !self.active.is_empty() {
            // What was written is there before anybody is told.
            primitives::settle_copies();
        }
        let mut keep = 0;
        for at in 0..self.active.len() {
            let index = self.active[at];
            let Some((key, entry)) = self.conns.at(index) else { continue };
            entry.conn.active = false;
            if entry.poisoned {
                continue;
            }
            entry.conn.dm.flush();
            match &mut entry.conn.dm {
                Wire::Tcp(tcp) if tcp.wants_write() != entry.writing => {
                    entry.writing = !entry.writing;
                    // It is in the set; should the kernel refuse all the same, the tick flushes.
                    let _ = self.epoll.modify(tcp.as_raw_fd(), u64::from(index), entry.writing);
                }
                Wire::Tcp(_) => {}
                Wire::Iser(iser) => self.fabric.after_flush(iser, entry.link.as_ref()),
            }
            if entry.conn.is_over() {
                self.forget(key, pools);
            } else if entry.conn.wants_turn() {
                entry.conn.active = true;
                self.active[keep] = index;
                keep += 1;
            }
        }
        self.active.truncate(keep);
        if !self.fabric.is_empty() {
            self.fabric.ring();
        }
    }

    /// A connection is over and holds nothing any more.
    fn forget(&mut self, key: Key, pools: &mut Pools) {
        let Some(mut entry) = self.conns.remove(key) else { return };
        if let Wire::Tcp(tcp) = &entry.conn.dm {
            self.epoll.remove(tcp.as_raw_fd());
        }
        self.stats.add_transport(&entry.conn.dm);
        if let (Wire::Iser(iser), Some(link)) = (&mut entry.conn.dm, entry.link.take()) {
            self.fabric.unlink(iser, link, pools);
        }
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
        self.expire_strangers(now);
        self.remove_devices(pools, false);
        self.fabric.tick();
    }

    /// Nothing is there to do but what devices may have to say, as far as can be seen without asking the kernel about
    /// portals: what most turns of a core without commands find, in a few instructions.
    #[inline]
    fn is_still(&self, now: Nanos) -> bool {
        let asks = self.epoll.len() != self.portals.len();
        let ready = !self.active.is_empty() || self.portals.any_ready() || self.strangers.any_ready();
        let housekeeping = now >= self.next_tick || self.draining;
        !(asks || ready || housekeeping || self.units.inflight() > 0)
    }

    /// Asks sockets, and meets those who come.
    fn ask(&mut self, now: Nanos) -> bool {
        let busy = self.poll_sockets();
        if self.portals.any_ready() {
            self.accept(now);
        }
        if self.strangers.any_ready() {
            self.meet_strangers(now);
        }
        busy
    }

    /// A turn that has something to do, or to ask: of devices only if it is `still`. Apart, so that
    /// [`Worker::is_still`] comes cheap.
    #[inline(never)]
    fn turn(&mut self, turn: &mut Turn<'_>, still: bool) -> Progress {
        let mut busy = !still && self.ask(turn.now);
        if still || !self.fabric.is_still() {
            busy |= self.turn_fabric(turn.now, turn.pools);
        }
        if still && !busy {
            return Progress::Idle;
        }
        busy |= !self.active.is_empty();
        for at in 0..self.active.len() {
            let index = self.active[at];
            self.step(index, turn.now, turn.pools, Conn::step);
        }
        busy |= self.turn_devices(turn.now, turn.pools);
        if turn.now >= self.next_tick || self.draining {
            self.housekeeping(turn.now, turn.pools);
        }
        self.finish_turn(turn.pools);
        if self.draining && self.is_deserted() {
            self.remove_devices(turn.pools, true);
        }
        if self.stats.is_unsettled() {
            self.stats.settle(self.clock.now().get());
        }
        Progress::from_bool(busy)
    }

    /// What is not done every turn.
    #[cold]
    fn housekeeping(&mut self, now: Nanos, pools: &mut Pools) {
        if now >= self.next_tick {
            self.tick(now, pools);
        }
        if self.draining {
            self.close_all(now, pools);
        }
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

    /// Nobody is connected, or on the way to be.
    fn is_deserted(&self) -> bool {
        self.conns.iter().all(|(_, entry)| entry.poisoned) && self.strangers.is_empty()
    }
}

impl Poller for Worker {
    fn poll(&mut self, turn: &mut Turn<'_>) -> Progress {
        let still = self.is_still(turn.now);
        // Then only a job or a task brings something, or the next look at portals.
        let rests = still && self.fabric.is_still();
        self.unasked = self.unasked.saturating_add(turn.rested);
        if still && self.unasked < LOOK_EVERY {
            self.unasked += 1;
            return if rests { Progress::Rest } else { self.turn(turn, true) };
        }
        let progress = self.turn(turn, false);
        if rests && !progress.is_busy() { Progress::Rest } else { progress }
    }

    fn name(&self) -> &'static str {
        "iscsi_target"
    }

    fn wake_fds(&self, out: &mut Vec<RawFd>) {
        out.push(self.epoll.as_raw_fd());
        out.extend_from_slice(&self.wake_fds);
        self.fabric.wake_fds(out);
    }

    fn may_sleep(&mut self) -> bool {
        self.active.is_empty() && !self.portals.any_ready() && self.arm_devices() && self.fabric.arm()
    }

    fn before_sleep(&mut self) {
        // The last look before a sleep sees everything, and so does the first one after it.
        self.unasked = LOOK_EVERY;
    }

    fn after_wake(&mut self) {
        self.unasked = LOOK_EVERY;
    }

    fn deadline(&self) -> Option<Nanos> {
        let idle = self.conns.is_empty() && self.strangers.is_empty() && self.fabric.is_quiet();
        (!idle).then_some(self.next_tick)
    }

    fn drain(&mut self) -> Drained {
        self.draining = true;
        if self.is_deserted() && self.fabric.is_empty() { Drained::Done } else { Drained::Busy }
    }
}
