//! The executor: a fixed table of tasks and a queue of those that were woken.

use super::spawner::{LocalFuture, Spawner};
use crate::bell::Bell;
use crate::clock::Nanos;
use crate::panics::guarded;
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Runs the control-plane tasks of one core.
pub(crate) struct Executor {
    spawner: Spawner,
    slots: Vec<Option<Task>>,
    free: Vec<u32>,
    ready: Arc<Ready>,
}

struct Task {
    /// `None` while being polled, and once it ended.
    future: Option<LocalFuture>,
    signal: Arc<Signal>,
    waker: Waker,
}

/// Slots of woken tasks. A slot is queued at most once (see [`Signal::queued`]), so there is always room.
struct Ready {
    queue: ArrayQueue<u32>,
    bell: Arc<Bell>,
}

/// What a task's wakers point at; any thread may wake.
struct Signal {
    slot: u32,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            let pushed = self.ready.queue.push(self.slot);
            debug_assert!(pushed.is_ok(), "a slot is queued at most once");
            self.ready.bell.ring();
        }
    }
}

/// What a call of [`Executor::run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Ran {
    pub(crate) fired: usize,
    pub(crate) polls: usize,
    pub(crate) panics: usize,
}

impl Executor {
    pub(crate) fn new(tasks: usize, sleeps: usize, bell: Arc<Bell>) -> Self {
        let tasks = tasks.clamp(1, u32::MAX as usize);
        Self {
            spawner: Spawner::new(tasks, sleeps),
            slots: (0..tasks).map(|_| None).collect(),
            free: (0..tasks as u32).rev().collect(),
            ready: Arc::new(Ready { queue: ArrayQueue::new(tasks), bell }),
        }
    }

    pub(crate) fn spawner(&self) -> &Spawner {
        &self.spawner
    }

    /// No task could run right now.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.queue.is_empty() && self.spawner.shared.incoming.borrow().is_empty()
    }

    /// When the next sleeping task wants to go on.
    pub(crate) fn deadline(&self) -> Option<Nanos> {
        self.spawner.shared.timers.borrow().next()
    }

    /// Sets the time of the turn.
    #[inline]
    pub(crate) fn set_now(&self, now: Nanos) {
        self.spawner.shared.now.set(now);
    }

    /// Whether [`Executor::run`] may find anything to do at this time. Cheap; errs on the side of yes.
    #[inline]
    pub(crate) fn wants_turn(&self, now: Nanos) -> bool {
        now >= self.spawner.shared.attention.get() || !self.ready.queue.is_empty()
    }

    /// Fires up to `timers` timers that are due and then polls up to `polls` tasks.
    pub(crate) fn run(&mut self, timers: usize, polls: usize) -> Ran {
        let mut ran = Ran { fired: self.fire(timers), ..Ran::default() };
        self.admit();
        while ran.polls < polls {
            let Some(slot) = self.ready.queue.pop() else { break };
            if let Some(panicked) = self.poll(slot) {
                ran.polls += 1;
                ran.panics += usize::from(panicked);
            }
            self.admit();
        }
        let shared = &self.spawner.shared;
        shared.attention.set(shared.timers.borrow().next().unwrap_or(Nanos::MAX));
        ran
    }

    fn fire(&mut self, budget: usize) -> usize {
        let shared = &self.spawner.shared;
        let mut fired = 0;
        while fired < budget {
            // The borrow ends before the waker runs.
            let Some(waker) = shared.timers.borrow_mut().expire(shared.now.get()) else { break };
            waker.wake();
            fired += 1;
        }
        fired
    }

    /// Drops every task, for good: no more can be spawned. Returns how many there were.
    pub(crate) fn clear(&mut self) -> usize {
        let shared = self.spawner.shared.clone();
        shared.limit.set(0);
        let waiting = shared.incoming.take().into_iter();
        let admitted = self.slots.iter_mut().filter_map(Option::take).filter_map(|task| task.future);
        let futures: Vec<_> = waiting.chain(admitted).collect();
        let dropped = futures.len();
        for future in futures {
            if let Err(message) = guarded(move || drop(future)) {
                tracing::error!(message, "a control-plane task panicked while being dropped");
            }
        }
        shared.live.set(0);
        dropped
    }

    /// Gives newly spawned tasks a slot each. There is one: `live` counts a task until its slot is free again.
    fn admit(&mut self) {
        loop {
            let Some(future) = self.spawner.shared.incoming.borrow_mut().pop_front() else { break };
            let slot = self.free.pop().expect("the spawner admits no more tasks than there are slots");
            let signal = Arc::new(Signal { slot, queued: AtomicBool::new(false), ready: self.ready.clone() });
            signal.wake_by_ref();
            let waker = Waker::from(signal.clone());
            self.slots[slot as usize] = Some(Task { future: Some(future), signal, waker });
        }
    }

    /// Polls the task of `slot`; `None` if it had ended, else whether it panicked.
    fn poll(&mut self, slot: u32) -> Option<bool> {
        let task = self.slots[slot as usize].as_mut()?;
        let Some(mut future) = task.future.take() else {
            self.release(slot);
            return None;
        };
        // From here on a wake queues the task anew: it may be about what this poll has already looked at. A swap, to
        // see what was published before a wake that found the flag still up.
        task.signal.queued.swap(false, Ordering::AcqRel);
        let waker = task.waker.clone();
        let outcome = guarded(move || match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => Some(future),
            // Dropped here, inside the boundary: a destructor may panic too.
            Poll::Ready(()) => None,
        });
        match outcome {
            Ok(Some(future)) => task.future = Some(future),
            Ok(None) => self.retire(slot),
            Err(message) => {
                tracing::error!(message, "a control-plane task panicked and was dropped");
                self.retire(slot);
                return Some(true);
            }
        }
        Some(false)
    }

    /// Ends the task of `slot`. If it was woken meanwhile its slot is still queued, and freed when that comes up.
    fn retire(&mut self, slot: u32) {
        let Some(task) = self.slots[slot as usize].as_ref() else { return };
        if !task.signal.queued.swap(true, Ordering::AcqRel) {
            self.release(slot);
        }
    }

    fn release(&mut self, slot: u32) {
        self.slots[slot as usize] = None;
        self.free.push(slot);
        let live = &self.spawner.shared.live;
        live.set(live.get() - 1);
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("spawner", &self.spawner).finish_non_exhaustive()
    }
}
