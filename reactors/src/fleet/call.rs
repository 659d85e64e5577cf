//! Calls: how control-plane threads reach a core.

use super::Fleet;
use super::thread::on_reactor;
use crate::limits::CALL_DEADLINE;
use crate::mail::{Job, Mail, PostError};
use crate::percore::{Core, CoreHandle, CoreId};
use crate::task::TooManyTasks;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Why a call has no result.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// There is no such core.
    #[error("there is no core {core}")]
    NoSuchCore {
        /// The core.
        core: CoreId,
    },
    /// The core did not answer in time.
    #[error("core {core} did not answer within {} ms; {}", .waited.as_millis(),
            if *.began { "the call is still running there" } else { "the call was withdrawn and has no effect" })]
    Deadline {
        /// The core.
        core: CoreId,
        /// How long it was given.
        waited: Duration,
        /// Whether the call had begun, and so may still take effect.
        began: bool,
    },
    /// The core has stopped, or stopped before it came to the call.
    #[error("core {core} has stopped")]
    Stopped {
        /// The core.
        core: CoreId,
    },
    /// The call panicked; the core goes on.
    #[error("the call panicked on core {core}; see the log")]
    Panicked {
        /// The core.
        core: CoreId,
    },
    /// A reactor may not wait for a reactor: two that wait for each other would stand still for ever.
    #[error("a reactor may not make a blocking call; use Mail::ask")]
    OnReactor,
    /// The core has no room for another task.
    #[error("core {core}: {why}")]
    Tasks {
        /// The core.
        core: CoreId,
        /// What it said.
        why: TooManyTasks,
    },
}

const PENDING: u8 = 0;
const BEGUN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Settles whether a call begins or is withdrawn.
#[derive(Clone, Default)]
struct Claim(Arc<AtomicU8>);

impl Claim {
    fn begin(&self) -> bool {
        self.settle(BEGUN)
    }

    fn withdraw(&self) -> bool {
        self.settle(WITHDRAWN)
    }

    fn begun(&self) -> bool {
        self.0.load(Ordering::Acquire) == BEGUN
    }

    fn settle(&self, outcome: u8) -> bool {
        self.0.compare_exchange(PENDING, outcome, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Fleet {
    /// Runs `f` on `core` and waits for its result, for [`CALL_DEADLINE`] at most.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call<R: Send + 'static>(
        &self,
        core: CoreId,
        f: impl FnOnce(&mut Core) -> R + Send + 'static,
    ) -> Result<R, CallError> {
        self.call_within(core, CALL_DEADLINE, f)
    }

    /// As [`Fleet::call`], waiting for `limit` at most. A full mailbox is waited for too.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call_within<R: Send + 'static>(
        &self,
        core: CoreId,
        limit: Duration,
        f: impl FnOnce(&mut Core) -> R + Send + 'static,
    ) -> Result<R, CallError> {
        self.exchange(core, limit, move |core, answer| {
            let _ = answer.send(Ok(f(core)));
        })
    }

    /// Starts the future `f` makes as a task on `core` and waits for its output, for `limit` at most. At the deadline
    /// a task that has begun is left running.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn run<R, F>(
        &self,
        core: CoreId,
        limit: Duration,
        f: impl FnOnce(CoreHandle) -> F + Send + 'static,
    ) -> Result<R, CallError>
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
    {
        self.exchange(core, limit, move |core, answer| {
            let (task, refused) = (f(core.handle().clone()), answer.clone());
            let task = async move {
                let _ = answer.send(Ok(task.await));
            };
            if let Err(why) = core.spawn(task) {
                let _ = refused.send(Err(CallError::Tasks { core: core.id(), why }));
            }
        })
    }

    /// Sends `f` to `core` without waiting.
    ///
    /// # Errors
    /// As [`Mail::post`].
    pub fn post(&self, core: CoreId, f: impl FnOnce(&mut Core) + Send + 'static) -> Result<(), PostError> {
        self.mail().post(core, Box::new(f))
    }

    fn exchange<R: Send + 'static>(
        &self,
        core: CoreId,
        limit: Duration,
        f: impl FnOnce(&mut Core, SyncSender<Result<R, CallError>>) + Send + 'static,
    ) -> Result<R, CallError> {
        if on_reactor() {
            return Err(CallError::OnReactor);
        }
        let (start, claim) = (Instant::now(), Claim::default());
        let (sender, receiver) = sync_channel(1);
        let began = claim.clone();
        let job = move |core: &mut Core| {
            if began.begin() {
                f(core, sender);
            }
        };
        if !post_within(self.mail(), core, Box::new(job), start, limit)? {
            return Err(CallError::Deadline { core, waited: limit, began: false });
        }
        await_answer(&receiver, core, &claim, start, limit)
    }
}

/// Posts, waiting for room; `false` if the time was up.
fn post_within(mail: &Mail, core: CoreId, mut job: Job, start: Instant, limit: Duration) -> Result<bool, CallError> {
    /// A turning core makes room within microseconds.
    const PAUSE: Duration = Duration::from_micros(100);
    loop {
        match mail.post(core, job) {
            Ok(()) => return Ok(true),
            Err(PostError::NoSuchCore(_)) => return Err(CallError::NoSuchCore { core }),
            Err(PostError::Stopped(_)) => return Err(CallError::Stopped { core }),
            Err(PostError::Full(_)) if start.elapsed() >= limit => return Ok(false),
            Err(PostError::Full(refused)) => job = refused,
        }
        std::thread::sleep(PAUSE);
    }
}

fn await_answer<R>(
    receiver: &Receiver<Result<R, CallError>>,
    core: CoreId,
    claim: &Claim,
    start: Instant,
    limit: Duration,
) -> Result<R, CallError> {
    match receiver.recv_timeout(limit.saturating_sub(start.elapsed())) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => {
            let began = !claim.withdraw();
            Err(CallError::Deadline { core, waited: limit, began })
        }
        // The sender went without an answer: by unwinding, or unused with a mailbox that was closed.
        Err(RecvTimeoutError::Disconnected) if claim.begun() => Err(CallError::Panicked { core }),
        Err(RecvTimeoutError::Disconnected) => Err(CallError::Stopped { core }),
    }
}
