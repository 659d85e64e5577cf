//! Memory for messages: small ones for full-feature phase, a few large ones for the login and for immediate data.

use primitives::Buf;
use rdma::{Memory, Sgl};

use super::Setup;
use crate::arena::Arena;
use crate::limits::{
    ISER_LARGE_MESSAGE, ISER_LARGE_RECEIVES, ISER_LARGE_SENDS, ISER_RESERVE, ISER_SIGNAL_EVERY, ISER_SMALL_MESSAGE,
    ISER_UNEXPECTED,
};

/// How many of everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    commands: usize,
    pub small_receives: usize,
    pub small_sends: usize,
    pub large_sends: usize,
    signal_every: usize,
}

impl Counts {
    pub fn of(setup: Setup) -> Self {
        // Whatever has not been signalled keeps its buffer, so that a shallow queue must be signalled more often.
        let signal_every = (setup.commands / 4).clamp(1, ISER_SIGNAL_EVERY);
        Self {
            commands: setup.commands,
            small_receives: setup.slots + ISER_UNEXPECTED,
            small_sends: setup.commands + 2 * ISER_RESERVE + signal_every,
            large_sends: (setup.commands + ISER_LARGE_RECEIVES).min(ISER_LARGE_SENDS),
            signal_every,
        }
    }

    /// Sends of which one is signalled, so that a send queue of `depth` never fills up with what is not.
    pub fn signal_every(&self, depth: u16) -> usize {
        self.signal_every.min(usize::from(depth) / 8).max(1)
    }

    /// Receives posted at once.
    pub fn receives(&self) -> usize {
        self.small_receives + ISER_LARGE_RECEIVES
    }

    /// Requests in the send queue at once: of each command a Bind, a Send and an Invalidate, its unsolicited data, and
    /// other PDUs.
    pub fn requests(&self) -> usize {
        3 * self.commands + self.large_sends + 2 * ISER_RESERVE + 2 * self.signal_every
    }
}

/// What is not in a queue.
#[derive(Debug)]
pub(super) struct Buffers {
    small: Arena,
    large: Arena,
    small_sends: Vec<Buf>,
    large_sends: Vec<Buf>,
    small_receives: Vec<Buf>,
}

impl Buffers {
    pub fn new(counts: Counts) -> Self {
        let mut small = Arena::packed(counts.small_receives + counts.small_sends, ISER_SMALL_MESSAGE);
        let mut large = Arena::packed(ISER_LARGE_RECEIVES + counts.large_sends, ISER_LARGE_MESSAGE);
        let take = |arena: &mut Arena, count| std::iter::from_fn(|| arena.take()).take(count).collect();
        Self {
            small_sends: take(&mut small, counts.small_sends),
            small_receives: take(&mut small, counts.small_receives),
            large_sends: take(&mut large, counts.large_sends),
            small,
            large,
        }
    }

    /// All of it.
    pub fn memory(&self) -> [Memory; 2] {
        [self.small.memory(), self.large.memory()]
    }

    /// A receive for the login.
    pub fn large_receive(&mut self) -> Option<Buf> {
        self.large.take()
    }

    /// A receive for full-feature phase that has not been posted.
    pub fn small_receive(&mut self) -> Option<Buf> {
        self.small_receives.pop()
    }

    /// One to send a message of `len` bytes with.
    pub fn for_message(&mut self, len: usize) -> Option<Buf> {
        let mut buf = if len <= ISER_SMALL_MESSAGE {
            self.small_sends.pop()?
        } else if len <= ISER_LARGE_MESSAGE {
            self.large_sends.pop()?
        } else {
            return None;
        };
        buf.set_len(0);
        Some(buf)
    }

    /// Small ones left for sending.
    pub fn small_sends(&self) -> usize {
        self.small_sends.len()
    }

    /// Large ones left for sending.
    pub fn large_sends(&self) -> usize {
        self.large_sends.len()
    }

    /// Takes the buffer of a Send back.
    pub fn sent(&mut self, mut sgl: Sgl) {
        while let Some(buf) = sgl.take_buf() {
            let stack =
                if buf.capacity() == ISER_LARGE_MESSAGE { &mut self.large_sends } else { &mut self.small_sends };
            stack.push(buf);
        }
    }

    /// Takes a receive back that is not posted again.
    pub fn retire(&mut self, buf: Buf) {
        if buf.capacity() == ISER_LARGE_MESSAGE { self.large.give(buf) } else { self.small.give(buf) }
    }

    /// Gives all that is here back to the arenas, which can be freed when nothing is missing.
    pub fn retire_all(&mut self) {
        for stack in [&mut self.small_sends, &mut self.small_receives] {
            stack.drain(..).for_each(|buf| self.small.give(buf));
        }
        self.large_sends.drain(..).for_each(|buf| self.large.give(buf));
    }
}
