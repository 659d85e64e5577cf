//! `Channel`: one core's private way into a block device.

use std::os::fd::RawFd;

use primitives::{Buf, Tag};

use crate::io::{Done, Io, Op, Status};

/// Completions reaped in one call. Fixed, so that reaping never allocates and a burst cannot starve the loop.
pub type DoneBatch = Batch<Done, { crate::channel::BATCH }>;

/// Capacity of a [`DoneBatch`].
pub const BATCH: usize = 64;

/// What became of an operation one wanted to abort.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AbortOutcome {
    /// The channel does not hold such an operation (any more): its completion was reaped already.
    Unknown,
    /// It will complete, possibly as [`crate::Status::Aborted`]. Until then its memory stays in use.
    WillComplete,
}

impl AbortOutcome {
    pub(crate) fn held(held: bool) -> Self {
        if held { Self::WillComplete } else { Self::Unknown }
    }
}

/// One core's handle to a device. Used by one thread only.
///
/// Reap until nothing is outstanding before dropping a channel: the memory of an operation it still holds is never
/// freed under the device, but such a buffer is lost to its pool.
pub trait Channel {
    /// Hands an operation to the device. What is wrong with it (range, memory, an operation the device lacks) is told
    /// by its completion; tags of outstanding operations are the caller's to keep distinct.
    ///
    /// # Errors
    /// The operation itself, when the channel is full: keep it and try again after the next [`Channel::reap`].
    fn submit(&mut self, io: Io) -> Result<(), Io>;

    /// Operations may be done at once, by [`Channel::run`].
    fn is_immediate(&self) -> bool {
        false
    }

    /// Does a read or a write here and now, without waiting for anything: it never was outstanding. What is wrong with
    /// it is told as by a completion, and its data stays where it is. `None`, and nothing was done, when that is not
    /// possible, or not now: [`Channel::submit`] it.
    fn run(&mut self, io: &mut Io) -> Option<Status> {
        let _ = io;
        None
    }

    /// Starts what was submitted since the last kick: one doorbell a turn.
    fn kick(&mut self);

    /// Moves finished operations into `done` until it is full or none is left.
    fn reap(&mut self, done: &mut DoneBatch);

    /// Tries to cut an operation short (ABORT TASK, LOGICAL UNIT RESET, shutdown).
    fn abort(&mut self, tag: Tag) -> AbortOutcome;

    /// Lends the device's own memory for `op` (`Read`: what the medium holds; `Write`: where the data has to go) so
    /// that a datamover places from or into it without a copy. The returned buffer's capacity covers exactly the
    /// blocks; for reads its length does too. Finish with an [`Io`] that carries the buffer, and then with
    /// [`Channel::give_back`]. `None` where the device cannot, which is most of them, or where the range is invalid.
    fn lend(&mut self, op: Op, lba: u64, blocks: u64) -> Option<Buf> {
        let _ = (op, lba, blocks);
        None
    }

    /// Does a read here and now by lending the device's own memory with what the medium holds: no copy, and no
    /// operation either. Use what it holds, then [`Channel::give_back`]. `None` where the device cannot, or not now, or
    /// where the range is invalid: read it in the ordinary way, which also tells what is wrong.
    fn read_in_place(&mut self, lba: u64, blocks: u64) -> Option<Buf> {
        let _ = (lba, blocks);
        None
    }

    /// Takes memory back that [`Channel::lend`] or [`Channel::read_in_place`] lent, after the operation that carried
    /// it, if any, was reaped and its content was used, or when none ever will. Every lent buffer comes back this way;
    /// memory of those that do not is never freed.
    fn give_back(&mut self, buf: Buf) {
        let _ = buf;
    }

    /// Operations submitted and not reaped.
    fn outstanding(&self) -> usize;

    /// A descriptor that becomes readable when [`Channel::reap`] has something to do, after
    /// [`Channel::arm`]; `None` where operations never outlive the turn or must be polled.
    fn wake_fd(&self) -> Option<RawFd> {
        None
    }

    /// Asks for `wake_fd` to be signalled by the next completion. `false` when completions can only be found by
    /// polling, or are there already, so the reactor must not sleep. Holds until a [`Channel::reap`] finds something.
    fn arm(&mut self) -> bool {
        self.outstanding() == 0
    }
}

/// A fixed-capacity list that never allocates.
#[derive(Debug)]
pub struct Batch<T, const N: usize> {
    items: [Option<T>; N],
    len: usize,
}

impl<T, const N: usize> Default for Batch<T, N> {
    fn default() -> Self {
        Self { items: [const { None }; N], len: 0 }
    }
}

impl<T, const N: usize> Batch<T, N> {
    /// Appends an item.
    ///
    /// # Errors
    /// The item, when the batch is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        let Some(place) = self.items.get_mut(self.len) else { return Err(item) };
        *place = Some(item);
        self.len += 1;
        Ok(())
    }

    /// Takes every item, in order; the batch is empty afterwards.
    pub fn drain(&mut self) -> Drain<'_, T> {
        let len = core::mem::take(&mut self.len);
        Drain { rest: self.items[..len].iter_mut() }
    }

    /// The items from the `start`th on, to be rewritten in place by a layer that just reaped them from below.
    pub fn since(&mut self, start: usize) -> impl Iterator<Item = &mut T> {
        self.items[..self.len].iter_mut().skip(start).filter_map(Option::as_mut)
    }

    /// Items held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// No item is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Room left.
    #[must_use]
    pub fn room(&self) -> usize {
        N - self.len
    }
}

/// The items of a [`Batch`] on their way out. Those that are not taken are dropped with the next use of their place.
#[derive(Debug)]
pub struct Drain<'a, T> {
    rest: core::slice::IterMut<'a, Option<T>>,
}

impl<T> Drain<'_, T> {
    /// The next item, if it is one of those wanted.
    #[inline]
    pub fn next_if(&mut self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        let first = self.rest.as_slice().first()?.as_ref()?;
        if wanted(first) { self.next() } else { None }
    }
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.rest.next()?.take()
    }
}
