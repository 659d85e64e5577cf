//! Futures of time: sleep, timeout, yield.

use super::spawner::Shared;
use crate::clock::Nanos;
use crate::timers::TimerId;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Ends at an instant. See [`super::Spawner::sleep`].
#[must_use = "a future does nothing unless awaited"]
pub struct Sleep {
    shared: Rc<Shared>,
    at: Nanos,
    timer: Option<TimerId>,
}

impl Sleep {
    pub(super) fn new(shared: Rc<Shared>, at: Nanos) -> Self {
        Self { shared, at, timer: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.now.get() >= self.at {
            return Poll::Ready(());
        }
        let shared = self.shared.clone();
        let mut timers = shared.timers.borrow_mut();
        if let Some(waker) = self.timer.and_then(|id| timers.get_mut(id)) {
            waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        match timers.arm(self.at, cx.waker().clone()) {
            Ok(id) => {
                self.timer = Some(id);
                shared.attention.set(shared.attention.get().min(self.at));
            }
            // Out of timers: be polled every turn instead. Costs cycles, loses nothing.
            Err(waker) => waker.wake(),
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            // The waker is dropped after the borrow: dropping it may drop a task that sleeps itself.
            let waker = self.shared.timers.borrow_mut().cancel(id);
            drop(waker);
        }
    }
}

impl std::fmt::Debug for Sleep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleep").field("at", &self.at).finish_non_exhaustive()
    }
}

/// The time of a [`Timeout`] was up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the time is up")]
pub struct Elapsed;

/// A future with a deadline. See [`super::Spawner::timeout`].
#[must_use = "a future does nothing unless awaited"]
#[derive(Debug)]
pub struct Timeout<F> {
    sleep: Sleep,
    task: Pin<Box<F>>,
}

impl<F: Future> Timeout<F> {
    pub(super) fn new(sleep: Sleep, task: F) -> Self {
        Self { sleep, task: Box::pin(task) }
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.task.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

/// Lets every other ready task go first.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
