//! `Spawner`: starts tasks on the core it belongs to, and tells them the time.

use super::sleep::{Sleep, Timeout};
use crate::clock::Nanos;
use crate::timers::Timers;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

pub(super) type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Every task slot of the core is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{limit} control-plane tasks are running on this core already; try again when some have ended")]
pub struct TooManyTasks {
    /// The limit.
    pub limit: usize,
}

/// Starts control-plane tasks on one core. Cheap to clone; bound to its core, so not `Send`.
#[derive(Clone)]
pub struct Spawner {
    pub(super) shared: Rc<Shared>,
}

/// What the executor, its spawners and its sleepers share.
pub(super) struct Shared {
    /// Tasks there may be; 0 once the core has stopped.
    pub(super) limit: Cell<usize>,
    /// Tasks spawned and not ended, including those not yet admitted.
    pub(super) live: Cell<usize>,
    pub(super) incoming: RefCell<VecDeque<LocalFuture>>,
    pub(super) timers: RefCell<Timers<Waker>>,
    pub(super) now: Cell<Nanos>,
    /// No later than the next instant at which the executor has timers to fire or tasks to admit. One comparison a
    /// turn tells that there is nothing to do.
    pub(super) attention: Cell<Nanos>,
}

impl Spawner {
    pub(super) fn new(tasks: usize, sleeps: usize) -> Self {
        let shared = Shared {
            limit: Cell::new(tasks),
            live: Cell::new(0),
            incoming: RefCell::new(VecDeque::with_capacity(tasks.min(64))),
            timers: RefCell::new(Timers::new(sleeps)),
            now: Cell::new(Nanos::ZERO),
            attention: Cell::new(Nanos::MAX),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Starts `task`; it is first polled in the task phase of this turn or the next.
    ///
    /// # Errors
    /// [`TooManyTasks`], dropping the task.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> Result<(), TooManyTasks> {
        let (live, limit) = (self.shared.live.get(), self.shared.limit.get());
        if live >= limit {
            return Err(TooManyTasks { limit });
        }
        self.shared.live.set(live + 1);
        self.shared.incoming.borrow_mut().push_back(Box::pin(task));
        self.shared.attention.set(Nanos::ZERO);
        Ok(())
    }

    /// Tasks spawned and not ended.
    #[must_use]
    pub fn live(&self) -> usize {
        self.shared.live.get()
    }

    /// The time of the current turn.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.shared.now.get()
    }

    /// Waits for `span` from the current turn on.
    pub fn sleep(&self, span: Duration) -> Sleep {
        self.sleep_until(self.now() + span)
    }

    /// Waits for the instant `at`.
    pub fn sleep_until(&self, at: Nanos) -> Sleep {
        Sleep::new(self.shared.clone(), at)
    }

    /// Runs `task` for at most `span`; then drops it and yields [`super::Elapsed`].
    pub fn timeout<F: Future>(&self, span: Duration, task: F) -> Timeout<F> {
        Timeout::new(self.sleep(span), task)
    }
}

impl std::fmt::Debug for Spawner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spawner").field("live", &self.live()).field("limit", &self.shared.limit.get()).finish()
    }
}
