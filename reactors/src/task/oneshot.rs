//! `oneshot`: one value from anywhere (a poller, another core, a thread) to one waiting task.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A pair of ends. Uses a lock: for the control plane.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Mutex::new(State { value: None, waker: None, open: true }));
    (Sender { shared: shared.clone() }, Receiver { shared })
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    waker: Option<Waker>,
    /// Both ends exist.
    open: bool,
}

fn lock<T>(shared: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    // Nothing in here panics while it holds the lock.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end that answers, once. Dropping it unanswered yields [`Cancelled`] at the other end.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Mutex<State<T>>>,
}

/// The end that waits.
#[derive(Debug)]
#[must_use = "a future does nothing unless awaited"]
pub struct Receiver<T> {
    shared: Arc<Mutex<State<T>>>,
}

/// The sender went away without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("whoever was to answer went away: its core stopped, or its work panicked")]
pub struct Cancelled;

impl<T> Sender<T> {
    /// Answers.
    ///
    /// # Errors
    /// The value, when nobody waits for it any more.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut state = lock(&self.shared);
        if !state.open {
            return Err(value);
        }
        state.value = Some(value);
        // The waker is called by `drop`, without the lock.
        Ok(())
    }

    /// Nobody waits any more; the work may be spared.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !lock(&self.shared).open
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut state = lock(&self.shared);
            state.open = false;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// The answer, if it is there already.
    pub fn try_take(&mut self) -> Option<Result<T, Cancelled>> {
        let mut state = lock(&self.shared);
        match state.value.take() {
            Some(value) => Some(Ok(value)),
            None if state.open => None,
            None => Some(Err(Cancelled)),
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.shared);
        if let Some(value) = state.value.take() {
            return Poll::Ready(Ok(value));
        }
        if !state.open {
            return Poll::Ready(Err(Cancelled));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let unheard = {
            let mut state = lock(&self.shared);
            state.open = false;
            (state.value.take(), state.waker.take())
        };
        drop(unheard);
    }
}
