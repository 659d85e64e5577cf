//! `Core`: everything one core owns, as control calls see it.

use crate::clock::Nanos;
use crate::limits::Limits;
use crate::locals::Locals;
use crate::mail::Mail;
use crate::poller::{Poller, PollerId, Progress, Turn};
use crate::pools::Pools;
use crate::reactor::pollers::{PollerSet, PollersFull};
use crate::stats::CoreStats;
use crate::task::{Spawner, TooManyTasks};
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// A reactor's dense index, from 0. Not the number of its CPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct CoreId(pub u16);

impl CoreId {
    /// The index, for tables of one entry per core.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where a core is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Phase {
    /// Working.
    #[default]
    Running,
    /// Pollers are asked to drain, every turn.
    Draining,
    /// This was the last turn.
    Stopped,
}

/// Everything one core owns. Jobs get it from the mailbox, tasks through a [`CoreHandle`].
pub struct Core {
    /// DMA buffers.
    pub pools: Pools,
    /// Objects shared between pollers and control calls.
    pub locals: Locals,
    pub(crate) pollers: PollerSet,
    pub(crate) now: Nanos,
    pub(crate) phase: Phase,
    pub(crate) stats: Arc<CoreStats>,
    pub(crate) limits: Limits,
    handle: CoreHandle,
}

impl Core {
    /// A core in its cell; handles and the reactor share it.
    pub(crate) fn new(id: CoreId, mail: Mail, spawner: Spawner, pools: Pools, limits: Limits) -> Rc<RefCell<Self>> {
        let stats = Arc::new(CoreStats::default());
        let mail = mail.sent_by(stats.clone());
        Rc::new_cyclic(|this| {
            RefCell::new(Self {
                pools,
                locals: Locals::default(),
                pollers: PollerSet::new(limits.pollers, stats.clone()),
                now: Nanos::ZERO,
                phase: Phase::Running,
                stats,
                limits,
                handle: CoreHandle { id, core: this.clone(), spawner, mail },
            })
        })
    }

    /// Which core this is.
    #[must_use]
    pub const fn id(&self) -> CoreId {
        self.handle.id
    }

    /// The time of the current turn.
    #[must_use]
    pub const fn now(&self) -> Nanos {
        self.now
    }

    /// Polls `poller` every turn from now on.
    ///
    /// # Errors
    /// [`PollersFull`], dropping the poller.
    pub fn add_poller(&mut self, poller: Box<dyn Poller>) -> Result<PollerId, PollersFull> {
        self.pollers.add(poller)
    }

    /// Polls `poller` every turn and keeps an `Rc<RefCell<T>>` of it in the locals, where control calls and other
    /// pollers find it: `core.local::<Rc<RefCell<T>>>()`. Replaces one of the same type in the locals.
    ///
    /// # Errors
    /// [`PollersFull`], dropping the poller.
    pub fn add_shared<T: Poller + 'static>(&mut self, poller: T) -> Result<(PollerId, Rc<RefCell<T>>), PollersFull> {
        let shared = Rc::new(RefCell::new(poller));
        let id = self.pollers.add(Box::new(shared.clone()))?;
        self.locals.insert(shared.clone());
        Ok((id, shared))
    }

    /// Stops polling; the poller comes back.
    pub fn remove_poller(&mut self, id: PollerId) -> Option<Box<dyn Poller>> {
        self.pollers.remove(id)
    }

    /// The local of type `T`.
    pub fn local<T: 'static>(&mut self) -> Option<&mut T> {
        self.locals.get_mut()
    }

    /// Stores a local; returns the one of the same type it replaces.
    pub fn insert_local<T: 'static>(&mut self, value: T) -> Option<T> {
        self.locals.insert(value)
    }

    /// Starts a control-plane task on this core.
    ///
    /// # Errors
    /// [`TooManyTasks`], dropping the task.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> Result<(), TooManyTasks> {
        self.handle.spawner.spawn(task)
    }

    /// For tasks: a way back to this core.
    #[must_use]
    pub const fn handle(&self) -> &CoreHandle {
        &self.handle
    }

    /// Starts tasks on this core.
    #[must_use]
    pub const fn spawner(&self) -> &Spawner {
        &self.handle.spawner
    }

    /// Sends jobs to other cores.
    #[must_use]
    pub const fn mail(&self) -> &Mail {
        &self.handle.mail
    }

    /// The counters of this core, to be read from any thread.
    #[must_use]
    pub const fn stats(&self) -> &Arc<CoreStats> {
        &self.stats
    }

    /// Where the core is in its life.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Polls every poller once, after they were left out of so many turns.
    #[inline(always)]
    pub(crate) fn poll(&mut self, rested: u32) -> Progress {
        let mut turn = Turn {
            now: self.now,
            rested,
            core: self.handle.id,
            pools: &mut self.pools,
            locals: &mut self.locals,
            tasks: &self.handle.spawner,
            mail: &self.handle.mail,
        };
        self.pollers.poll(&mut turn)
    }

    /// While draining, asks those pollers that have not drained yet; returns whether all have.
    #[cold]
    pub(crate) fn drain(&mut self) -> bool {
        if self.phase == Phase::Draining {
            self.pollers.drain();
        }
        self.phase != Phase::Running && self.pollers.is_drained()
    }

    /// Asks all pollers to drain from now on.
    pub fn begin_drain(&mut self) {
        self.phase = self.phase.max(Phase::Draining);
    }

    /// Makes this turn the last one.
    pub fn stop(&mut self) {
        self.phase = Phase::Stopped;
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("id", &self.id())
            .field("phase", &self.phase)
            .field("pollers", &self.pollers)
            .field("locals", &self.locals)
            .field("pools", &self.pools)
            .finish_non_exhaustive()
    }
}

/// A task's way to the core it runs on. Cheap to clone; bound to its core, so not `Send`.
#[derive(Clone)]
pub struct CoreHandle {
    id: CoreId,
    core: Weak<RefCell<Core>>,
    spawner: Spawner,
    mail: Mail,
}

impl CoreHandle {
    /// Which core this is.
    #[must_use]
    pub const fn id(&self) -> CoreId {
        self.id
    }

    /// Runs `f` on the core.
    ///
    /// # Panics
    /// When called from a poller or a job instead of a task: those have the core, or a [`crate::Turn`], at hand; and
    /// after the core is gone, which only a destructor can live to see.
    pub fn with<R>(&self, f: impl FnOnce(&mut Core) -> R) -> R {
        self.try_with(f).expect("CoreHandle::with is for tasks; a poller or a job has the core at hand")
    }

    /// Runs `f` on the core; `None` if it is in use or gone.
    pub fn try_with<R>(&self, f: impl FnOnce(&mut Core) -> R) -> Option<R> {
        let core = self.core.upgrade()?;
        let mut core = core.try_borrow_mut().ok()?;
        Some(f(&mut core))
    }

    /// Starts tasks, sleeps, tells the time.
    #[must_use]
    pub const fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// Sends jobs to cores.
    #[must_use]
    pub const fn mail(&self) -> &Mail {
        &self.mail
    }
}

impl fmt::Debug for CoreHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CoreHandle({})", self.id)
    }
}
