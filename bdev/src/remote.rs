//! `remote`: a device that lives on one core, reached from others by exactly two messages an operation.
//!
//! The owner core has one poller for all its guests. Opening a channel elsewhere posts a job there that opens the
//! device and gives the guest a seat; from then on only the two rings of a link connect the cores.

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

use primitives::Tag;
use reactors::{Core, CoreId, Drained, Poller, PostError, Progress, Turn};

use crate::channel::{AbortOutcome, Channel, DoneBatch};
use crate::device::{Bdev, Features, Geometry, OpenError};
use crate::fifo::Fifo;
use crate::io::Io;
use crate::limits;
use crate::link::{Client, Server, link};

/// A device bound to its owner core. On that core its channels are the device's own.
#[derive(Debug)]
pub struct Remote {
    inner: Arc<dyn Bdev>,
    owner: CoreId,
}

impl Remote {
    /// Lets every core use `inner`, whose channels all live on core `owner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Bdev>, owner: CoreId) -> Arc<Self> {
        Arc::new(Self { inner, owner })
    }

    /// The core that does the work.
    #[must_use]
    pub fn owner(&self) -> CoreId {
        self.owner
    }

    fn failed(&self, what: &'static str, error: io::Error) -> OpenError {
        OpenError::System { name: self.inner.name().to_owned(), what, error }
    }
}

impl Bdev for Remote {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn product(&self) -> &'static str {
        self.inner.product()
    }

    fn uuid(&self) -> [u8; 16] {
        self.inner.uuid()
    }

    fn geometry(&self) -> Geometry {
        self.inner.geometry()
    }

    fn features(&self) -> Features {
        // Memory of the device could be lent across cores, but giving it back would take the messages again.
        Features { lend: false, per_core: true, ..self.inner.features() }
    }

    fn open(&self, core: &mut Core) -> Result<Box<dyn Channel>, OpenError> {
        if core.id() == self.owner {
            return self.inner.open(core);
        }
        let no_core = || self.failed("finding its core", io::ErrorKind::NotFound.into());
        let bell = core.mail().bell(self.owner).ok_or_else(no_core)?;
        let (client, server) = link(bell).map_err(|e| self.failed("creating an eventfd", e))?;
        let inner = self.inner.clone();
        let job = Box::new(move |core: &mut Core| seat_guest(core, &*inner, server));
        core.mail().post(self.owner, job).map_err(|error| {
            let kind = if matches!(error, PostError::Full(_)) {
                io::ErrorKind::WouldBlock
            } else {
                io::ErrorKind::NotConnected
            };
            self.failed("asking its core", kind.into())
        })?;
        Ok(Box::new(RemoteChannel { client }))
    }
}

/// Runs on the owner core. A server that finds no seat is dropped, and its client learns of it by `Status::Removed`.
fn seat_guest(core: &mut Core, device: &dyn Bdev, server: Server) {
    let channel = match device.open(core) {
        Ok(channel) => channel,
        Err(error) => return tracing::error!(%error, "a core cannot open a device for another one"),
    };
    let host = match core.local::<Rc<RefCell<Host>>>() {
        Some(host) => host.clone(),
        None => match core.add_shared(Host::default()) {
            Ok((_, host)) => host,
            Err(error) => return tracing::error!(%error, "a core cannot serve devices to other ones"),
        },
    };
    host.borrow_mut().seats.push(Seat {
        server,
        channel,
        backlog: Fifo::new(limits::CHANNEL_DEPTH),
        batch: DoneBatch::default(),
    });
}

/// The owner core's poller: all channels that other cores have to devices of this one.
#[derive(Default)]
struct Host {
    seats: Vec<Seat>,
}

/// One guest.
struct Seat {
    server: Server,
    channel: Box<dyn Channel>,
    backlog: Fifo<Io>,
    batch: DoneBatch,
}

impl Poller for Host {
    fn poll(&mut self, _turn: &mut Turn<'_>) -> Progress {
        let mut busy = false;
        for seat in &mut self.seats {
            busy |= seat.serve();
        }
        self.seats.retain(|seat| !seat.is_over());
        Progress::from_bool(busy)
    }

    fn name(&self) -> &'static str {
        "bdev-remote"
    }

    fn wake_fds(&self, out: &mut Vec<RawFd>) {
        out.extend(self.seats.iter().filter_map(|seat| seat.channel.wake_fd()));
    }

    fn may_sleep(&mut self) -> bool {
        self.seats.iter_mut().all(|seat| seat.backlog.is_empty() && seat.channel.arm())
    }

    fn drain(&mut self) -> Drained {
        // Guests on other cores drain themselves and need this one to do so.
        let over = self.seats.iter().all(|seat| seat.channel.outstanding() == 0 && seat.backlog.is_empty());
        if over { Drained::Done } else { Drained::Busy }
    }
}

impl Seat {
    /// Takes requests, starts them, returns what is done.
    fn serve(&mut self) -> bool {
        let channel = &mut self.channel;
        self.server.pull(&mut self.backlog, |tag| _ = channel.abort(tag));
        let mut started = false;
        while let Some(io) = self.backlog.pop() {
            match self.channel.submit(io) {
                Ok(()) => started = true,
                Err(io) => {
                    self.backlog.put_back(io);
                    break;
                }
            }
        }
        if started {
            self.channel.kick();
        }
        self.channel.reap(&mut self.batch);
        let finished = !self.batch.is_empty();
        self.batch.drain().for_each(|done| self.server.reply(done));
        self.server.announce();
        started || finished
    }

    /// The guest has left, and nothing of its is under way any more.
    fn is_over(&self) -> bool {
        self.server.client_gone() && self.backlog.is_empty() && self.channel.outstanding() == 0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        while let Some(io) = self.backlog.pop() {
            self.server.reply(io.done(crate::Status::Removed, 0));
        }
    }
}

#[derive(Debug)]
struct RemoteChannel {
    client: Client,
}

impl Channel for RemoteChannel {
    fn submit(&mut self, io: Io) -> Result<(), Io> {
        self.client.submit(io)
    }

    fn kick(&mut self) {
        self.client.kick();
    }

    fn reap(&mut self, done: &mut DoneBatch) {
        self.client.reap(done);
    }

    fn abort(&mut self, tag: Tag) -> AbortOutcome {
        self.client.abort(tag)
    }

    fn outstanding(&self) -> usize {
        self.client.outstanding()
    }

    fn wake_fd(&self) -> Option<RawFd> {
        Some(self.client.wake_fd())
    }

    fn arm(&mut self) -> bool {
        self.client.arm()
    }
}
