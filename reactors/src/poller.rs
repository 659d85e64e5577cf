//! `Poller`: what a reactor runs every turn, and `Turn`: what it gets to do so.

use crate::clock::Nanos;
use crate::locals::Locals;
use crate::mail::Mail;
use crate::percore::CoreId;
use crate::pools::Pools;
use crate::task::Spawner;
use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::Rc;

/// Something that must be looked at all the time: a set of connections, a completion queue, a device channel.
///
/// A poller lives and dies on one reactor and need not be `Send`. One dynamic call reaches it per turn; what it
/// drives below that is its own, statically dispatched business. It must bound the work of one `poll` itself.
///
/// A panic in any of these methods is fatal for the process: the reactor catches it, sets the poller aside without
/// dropping it (a device may still write to its memory) and reports a failure, upon which the daemon shuts down in
/// order with an exit code. Whoever wants a finer boundary, say one per connection, draws it inside the poller.
pub trait Poller {
    /// Does what there is to do now, within bounds, without ever waiting.
    fn poll(&mut self, turn: &mut Turn<'_>) -> Progress;

    /// A short name for statistics and logs.
    fn name(&self) -> &'static str;

    /// Appends descriptors whose readability means there is work. A sleeping reactor waits for them, level
    /// triggered, so `poll` must consume what made them readable. They are asked for anew before each sleep and
    /// passed to `poll(2)`; with many, hand out one epoll descriptor that holds them all.
    fn wake_fds(&self, out: &mut Vec<RawFd>) {
        let _ = out;
    }

    /// Whether the reactor may sleep until something of [`Poller::wake_fds`], [`Poller::deadline`], a message or a
    /// [`crate::Ring`] wakes it. `false` while there is something only polling can find.
    fn may_sleep(&mut self) -> bool {
        true
    }

    /// Arms notifications, e.g. of a completion queue. The reactor polls once more between this and sleeping, so
    /// what arrived before arming is not missed.
    fn before_sleep(&mut self) {}

    /// Disarms them. Follows every [`Poller::before_sleep`], whether the reactor slept or not.
    fn after_wake(&mut self) {}

    /// The next instant at which this poller needs a turn although nothing happens.
    fn deadline(&self) -> Option<Nanos> {
        None
    }

    /// Asked every turn after shutdown began, until [`Drained::Done`]: begins or continues to wind down. `poll` goes
    /// on being called, before and after `Done`, as other cores may still need this one.
    fn drain(&mut self) -> Drained {
        Drained::Done
    }
}

/// What a poll achieved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Progress {
    /// Nothing was there to do, and nothing will be for a while: the poller may be left out of the next
    /// [`REST_TURNS`](crate::limits::REST_TURNS) turns, unless a job or a task runs on its core or its
    /// [`Poller::deadline`] comes. What happens meanwhile anywhere else it may find that much later.
    Rest,
    /// Nothing was there to do.
    Idle,
    /// Something was done; the reactor does not sleep now.
    Busy,
}

impl Progress {
    /// `Busy` if `busy`.
    pub const fn from_bool(busy: bool) -> Self {
        if busy { Self::Busy } else { Self::Idle }
    }

    /// Is `Busy`.
    #[must_use]
    pub const fn is_busy(self) -> bool {
        matches!(self, Self::Busy)
    }

    /// The busier of both.
    pub const fn or(self, other: Self) -> Self {
        if self as u8 >= other as u8 { self } else { other }
    }
}

/// Answer of [`Poller::drain`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Drained {
    /// Nothing of this poller is in flight any more.
    Done,
    /// Something is; ask again next turn.
    Busy,
}

/// What a poller may use during one turn.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The time, read once for the whole turn.
    pub now: Nanos,
    /// Turns the pollers were left out of just before this one, because all of them said [`Progress::Rest`].
    pub rested: u32,
    /// The core this is.
    pub core: CoreId,
    /// The core's DMA buffers.
    pub pools: &'a mut Pools,
    /// The core's shared objects. Look-ups compare type ids: keep an `Rc` instead on the data path.
    pub locals: &'a mut Locals,
    /// Starts control-plane tasks on this core.
    pub tasks: &'a Spawner,
    /// Sends jobs to other cores.
    pub mail: &'a Mail,
}

/// Names a poller of one core; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PollerId(pub u64);

/// A poller that control calls reach too, through a second `Rc` (see [`crate::Core::add_shared`]).
///
/// Control calls and tasks never run during a poll, so the borrow is always free unless somebody keeps one across an
/// `await`, or the poller reaches for itself; both are bugs, and panic.
impl<T: Poller> Poller for Rc<RefCell<T>> {
    fn poll(&mut self, turn: &mut Turn<'_>) -> Progress {
        self.borrow_mut().poll(turn)
    }

    fn name(&self) -> &'static str {
        self.borrow().name()
    }

    fn wake_fds(&self, out: &mut Vec<RawFd>) {
        self.borrow().wake_fds(out);
    }

    fn may_sleep(&mut self) -> bool {
        self.borrow_mut().may_sleep()
    }

    fn before_sleep(&mut self) {
        self.borrow_mut().before_sleep();
    }

    fn after_wake(&mut self) {
        self.borrow_mut().after_wake();
    }

    fn deadline(&self) -> Option<Nanos> {
        self.borrow().deadline()
    }

    fn drain(&mut self) -> Drained {
        self.borrow_mut().drain()
    }
}
