//! `worker`: a device behind a blocking library, on a thread of its own behind the rings of any other device.

use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io, thread};

use primitives::Tag;
use reactors::{Bell, Core};

use crate::channel::{AbortOutcome, Channel, DoneBatch};
use crate::check::check;
use crate::device::{Bdev, Features, Geometry, OpenError};
use crate::fifo::Fifo;
use crate::io::{Done, Io, Status};
use crate::limits;
use crate::link::{Client, Server, link};
use crate::shape::{CreateError, Identity};

/// A library that does one operation at a time and waits for it.
pub trait Blocking: Send {
    /// Does `io`, which was checked against the device's geometry and features; reads into or writes from its
    /// buffer. A panic fails the operation and nothing else.
    fn execute(&mut self, io: &mut Io) -> Status;
}

/// A thread that serves any number of channels, one operation at a time, in the order of each channel.
///
/// Dropping it ends the thread after the operation at hand; what its channels still have under way completes with
/// [`Status::Removed`].
#[derive(Debug)]
pub struct Worker {
    inbox: Arc<Inbox>,
}

#[derive(Debug)]
struct Inbox {
    bell: Arc<Bell>,
    newcomers: Mutex<Vec<Server>>,
    /// Something is in `newcomers`, or it is time to stop.
    news: AtomicBool,
    stop: AtomicBool,
}

impl Worker {
    /// Starts a thread called `name` for `device`, whose blocks have `block_size` bytes.
    ///
    /// # Errors
    /// The system's, when there is no thread or descriptor to be had.
    pub fn spawn(name: &str, block_size: u32, device: Box<dyn Blocking>) -> io::Result<Self> {
        let bell = Arc::new(Bell::new()?);
        let inbox = Arc::new(Inbox {
            bell,
            newcomers: Mutex::default(),
            news: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let mut service = Service { inbox: inbox.clone(), device, block_size, seats: Vec::new() };
        thread::Builder::new().name(name.to_owned()).spawn(move || service.run())?;
        Ok(Self { inbox })
    }

    /// A channel to the thread. It does not check operations: its owner does.
    ///
    /// # Errors
    /// The system's, when there is no descriptor to be had.
    pub fn open(&self) -> io::Result<WorkerChannel> {
        let (client, server) = link(self.inbox.bell.clone())?;
        self.inbox.newcomers.lock().unwrap_or_else(PoisonError::into_inner).push(server);
        self.inbox.news.store(true, Ordering::Release);
        self.inbox.bell.ring();
        Ok(WorkerChannel { client })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.inbox.stop.store(true, Ordering::Release);
        self.inbox.news.store(true, Ordering::Release);
        self.inbox.bell.ring();
    }
}

/// The thread's side.
struct Service {
    inbox: Arc<Inbox>,
    device: Box<dyn Blocking>,
    block_size: u32,
    seats: Vec<Seat>,
}

/// One channel, as the thread sees it.
struct Seat {
    server: Server,
    backlog: Fifo<Io>,
}

impl Service {
    fn run(&mut self) {
        while !self.inbox.stop.load(Ordering::Acquire) {
            self.admit();
            let (device, block_size) = (self.device.as_mut(), self.block_size);
            let served = self.seats.iter_mut().filter_map(|seat| seat.serve_one(device, block_size)).count();
            self.seats.retain(|seat| !seat.server.client_gone());
            if served == 0 {
                let (seats, inbox) = (&self.seats, &self.inbox);
                let ready = || inbox.news.load(Ordering::Acquire) || seats.iter().any(|seat| !seat.server.is_idle());
                inbox.bell.wait(ready, None);
            }
        }
        self.admit();
    }

    fn admit(&mut self) {
        if self.inbox.news.swap(false, Ordering::AcqRel) {
            let mut newcomers = self.inbox.newcomers.lock().unwrap_or_else(PoisonError::into_inner);
            let seat = |server| Seat { server, backlog: Fifo::new(limits::CHANNEL_DEPTH) };
            self.seats.extend(newcomers.drain(..).map(seat));
        }
    }
}

impl Seat {
    /// Does the oldest operation; `None` if there is none.
    fn serve_one(&mut self, device: &mut dyn Blocking, block_size: u32) -> Option<()> {
        // An operation is never under way here: there is nothing to abort but the backlog.
        self.server.pull(&mut self.backlog, |_| ());
        let next = self.backlog.pop();
        if let Some(mut io) = next {
            let status = catch_unwind(AssertUnwindSafe(|| device.execute(&mut io))).unwrap_or_else(|_| {
                tracing::error!(?io, "a blocking device panicked");
                Status::Failed(libc::EIO)
            });
            self.server.reply(io.done(status, block_size));
            self.server.announce();
            return Some(());
        }
        self.server.announce();
        None
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        while let Some(io) = self.backlog.pop() {
            self.server.reply(io.done(Status::Removed, 0));
        }
    }
}

/// A channel to a [`Worker`].
#[derive(Debug)]
pub struct WorkerChannel {
    client: Client,
}

impl Channel for WorkerChannel {
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

/// What a device on a worker is made of.
#[derive(Clone, Debug)]
pub struct WorkerParams {
    /// Unique name.
    pub name: String,
    /// Kind of device.
    pub product: &'static str,
    /// Drawn at random if not given.
    pub uuid: Option<[u8; 16]>,
    /// The medium.
    pub geometry: Geometry,
    /// What the library does. `lend` and `per_core` are the worker's to say.
    pub features: Features,
}

/// A device whose operations a [`Blocking`] library does on a thread of its own.
pub struct WorkerBdev {
    id: Identity,
    product: &'static str,
    geometry: Geometry,
    features: Features,
    worker: Worker,
}

impl WorkerBdev {
    /// Starts the thread.
    ///
    /// # Errors
    /// When a parameter is not acceptable or the system has no thread.
    pub fn create(params: WorkerParams, device: Box<dyn Blocking>) -> Result<Arc<Self>, CreateError> {
        let id = Identity::new(&params.name, params.uuid)?;
        let WorkerParams { name, product, geometry, features, .. } = params;
        let worker = Worker::spawn(&name, geometry.block_size, device)
            .map_err(|error| CreateError::system("starting a thread for", name, error))?;
        Ok(Arc::new(Self {
            id,
            product,
            geometry,
            features: Features { lend: false, per_core: true, ..features },
            worker,
        }))
    }
}

impl fmt::Debug for WorkerBdev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBdev")
            .field("name", &self.id.name)
            .field("product", &self.product)
            .finish_non_exhaustive()
    }
}

impl Bdev for WorkerBdev {
    fn name(&self) -> &str {
        &self.id.name
    }

    fn product(&self) -> &'static str {
        self.product
    }

    fn uuid(&self) -> [u8; 16] {
        self.id.uuid
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn features(&self) -> Features {
        self.features
    }

    fn open(&self, _core: &mut Core) -> Result<Box<dyn Channel>, OpenError> {
        let what = "creating an eventfd";
        let inner =
            self.worker.open().map_err(|error| OpenError::System { name: self.id.name.clone(), what, error })?;
        let finished = Fifo::new(limits::CHANNEL_DEPTH);
        Ok(Box::new(Checked { geometry: self.geometry, features: self.features, inner, finished }))
    }
}

/// Checks operations before they cross over.
#[derive(Debug)]
struct Checked {
    geometry: Geometry,
    features: Features,
    inner: WorkerChannel,
    finished: Fifo<Done>,
}

impl Channel for Checked {
    fn submit(&mut self, io: Io) -> Result<(), Io> {
        if self.outstanding() >= limits::CHANNEL_DEPTH {
            return Err(io);
        }
        match check(&io, &self.geometry, self.features) {
            Ok(_) => self.inner.submit(io),
            Err(status) => {
                // Room was seen above.
                let _ = self.finished.push(io.done(status, self.geometry.block_size));
                Ok(())
            }
        }
    }

    fn kick(&mut self) {
        self.inner.kick();
    }

    fn reap(&mut self, done: &mut DoneBatch) {
        self.finished.reap(done);
        self.inner.reap(done);
    }

    fn abort(&mut self, tag: Tag) -> AbortOutcome {
        match self.inner.abort(tag) {
            AbortOutcome::Unknown => AbortOutcome::held(self.finished.iter().any(|done| done.tag == tag)),
            outcome => outcome,
        }
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding() + self.finished.len()
    }

    fn wake_fd(&self) -> Option<RawFd> {
        self.inner.wake_fd()
    }

    fn arm(&mut self) -> bool {
        self.finished.is_empty() && self.inner.arm()
    }
}
