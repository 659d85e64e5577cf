//! `Mail`: sends jobs to cores. For the control plane; data goes through a [`crate::Ring`].

use crate::bell::Bell;
use crate::percore::{Core, CoreId};
use crate::stats::CoreStats;
use crate::task::oneshot::{self, oneshot};
use crossbeam_queue::ArrayQueue;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// A piece of work for another core.
pub type Job = Box<dyn FnOnce(&mut Core) + Send>;

/// Posts to the mailboxes of all cores. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Mail {
    inboxes: Arc<[Arc<Inbox>]>,
    /// Whose `messages_out` counts, when it is a core that posts.
    from: Option<Arc<CoreStats>>,
}

/// The mailbox of one core.
pub(crate) struct Inbox {
    queue: ArrayQueue<Job>,
    bell: Arc<Bell>,
    closed: AtomicBool,
}

/// A job that was not posted, and why. The job comes back.
#[derive(thiserror::Error)]
pub enum PostError {
    /// The mailbox is full. Try again next turn: a core that turns empties it.
    #[error("the mailbox of the core is full")]
    Full(Job),
    /// The core has stopped.
    #[error("the core has stopped")]
    Stopped(Job),
    /// There is no such core.
    #[error("there is no such core")]
    NoSuchCore(Job),
}

impl PostError {
    /// The job.
    #[must_use]
    pub fn into_job(self) -> Job {
        match self {
            Self::Full(job) | Self::Stopped(job) | Self::NoSuchCore(job) => job,
        }
    }

    /// Whether trying again may help.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

impl fmt::Debug for PostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Mail {
    /// Mailboxes for `cores` cores with room for `depth` jobs each.
    ///
    /// # Errors
    /// The kernel's, when the process is out of descriptors.
    pub fn new(cores: usize, depth: usize) -> io::Result<Self> {
        let inbox = |_| {
            Ok(Arc::new(Inbox {
                queue: ArrayQueue::new(depth.max(1)),
                bell: Arc::new(Bell::new()?),
                closed: AtomicBool::new(false),
            }))
        };
        let inboxes = (0..cores).map(inbox).collect::<io::Result<Arc<[_]>>>()?;
        Ok(Self { inboxes, from: None })
    }

    /// How many cores there are.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.inboxes.len()
    }

    /// Every core.
    pub fn core_ids(&self) -> impl Iterator<Item = CoreId> + use<> {
        // A fleet has at most MAX_CORES cores.
        (0..self.inboxes.len()).map(|i| CoreId(i as u16))
    }

    /// Puts `job` into the mailbox of `core` and wakes it. Jobs from one thread run in the order posted.
    ///
    /// # Errors
    /// The job and why it was refused; never waits.
    pub fn post(&self, core: CoreId, job: Job) -> Result<(), PostError> {
        let Some(inbox) = self.inbox(core) else { return Err(PostError::NoSuchCore(job)) };
        if inbox.closed.load(Ordering::Acquire) {
            return Err(PostError::Stopped(job));
        }
        // The job may take it that data is in its place.
        primitives::settle_copies();
        inbox.queue.push(job).map_err(PostError::Full)?;
        // The fence in `ring` also orders this push before the second look at `closed`: either the core's last
        // sweep saw the job, or this thread sees that there will be no other.
        inbox.bell.ring();
        if inbox.closed.load(Ordering::SeqCst) {
            inbox.sweep();
        }
        if let Some(stats) = &self.from {
            stats.messages_out.add_shared(1);
        }
        Ok(())
    }

    /// Runs `f` on `core` and yields its result to the awaiting task. [`oneshot::Cancelled`] means the core stopped
    /// or `f` panicked.
    ///
    /// # Errors
    /// As [`Mail::post`].
    pub fn ask<R: Send + 'static>(
        &self,
        core: CoreId,
        f: impl FnOnce(&mut Core) -> R + Send + 'static,
    ) -> Result<oneshot::Receiver<R>, PostError> {
        let (answer, receiver) = oneshot();
        let job = move |core: &mut Core| {
            // Nobody may be waiting any more, which is their decision.
            let _ = answer.send(f(core));
        };
        self.post(core, Box::new(job))?;
        Ok(receiver)
    }

    /// Wakes `core` if it sleeps.
    pub fn wake(&self, core: CoreId) {
        if let Some(inbox) = self.inbox(core) {
            inbox.bell.ring();
        }
    }

    /// What wakes `core`, for a [`crate::Ring`] it consumes; `None` if there is no such core.
    #[must_use]
    pub fn bell(&self, core: CoreId) -> Option<Arc<Bell>> {
        self.inbox(core).map(|inbox| inbox.bell.clone())
    }

    /// This mail as a core of these counters uses it.
    pub(crate) fn sent_by(mut self, stats: Arc<CoreStats>) -> Self {
        self.from = Some(stats);
        self
    }

    /// The mailbox of `core`, for its reactor.
    pub(crate) fn inbox(&self, core: CoreId) -> Option<&Arc<Inbox>> {
        self.inboxes.get(core.index())
    }
}

impl Inbox {
    /// The oldest job.
    pub(crate) fn take(&self) -> Option<Job> {
        self.queue.pop()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Ends the mailbox: jobs in it are dropped, later ones refused.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.sweep();
    }

    fn sweep(&self) {
        while let Some(job) = self.queue.pop() {
            drop(job);
        }
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").field("cores", &self.cores()).finish_non_exhaustive()
    }
}
