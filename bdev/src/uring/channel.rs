//! One core's ring on a file or block device.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use io_uring::opcode;
use primitives::{IndexQueue, Key, Slab, Tag};

use super::Medium;
use super::event::Event;
use super::fixed::FixedBuffers;
use super::ring::Ring;
use super::transfer::{Next, Transfer, needs_worker};
use crate::channel::{AbortOutcome, Channel, DoneBatch};
use crate::check::{Extent, check};
use crate::fifo::Fifo;
use crate::io::{Done, Io, Status};
use crate::limits;
use crate::worker::WorkerChannel;

/// Kinds of tags in `user_data`.
const TRANSFER: u8 = 0;
const CANCEL: u8 = 1;

/// A channel of [`super::Uring`].
pub(super) struct UringChannel {
    medium: Arc<Medium>,
    ring: Ring,
    /// A ring whose completions are polled from the device, for what it can carry.
    polled: Option<Ring>,
    /// Carries the unmaps of devices that have no asynchronous form of it.
    discards: Option<WorkerChannel>,
    fixed: FixedBuffers,
    event: Event,
    armed: bool,
    transfers: Slab<Transfer>,
    /// Transfers of the polled ring.
    polling: usize,
    /// Transfers whose next step is to be started, by index.
    again: IndexQueue,
    /// Completions that never were in the ring.
    finished: Fifo<Done>,
}

/// What a channel is made of.
pub(super) struct Parts {
    pub medium: Arc<Medium>,
    pub ring: Ring,
    pub polled: Option<Ring>,
    pub discards: Option<WorkerChannel>,
    pub fixed: FixedBuffers,
    pub event: Event,
}

impl UringChannel {
    pub fn new(parts: Parts) -> Self {
        let Parts { medium, ring, polled, discards, fixed, event } = parts;
        Self {
            medium,
            ring,
            polled,
            discards,
            fixed,
            event,
            armed: false,
            transfers: Slab::new(limits::CHANNEL_DEPTH),
            polling: 0,
            again: IndexQueue::new(limits::CHANNEL_DEPTH),
            finished: Fifo::new(limits::CHANNEL_DEPTH),
        }
    }

    fn submit_checked(&mut self, io: Io, extent: Extent) -> Result<(), Io> {
        if needs_worker(&io, &self.medium.backing)
            && let Some(worker) = &mut self.discards
        {
            return worker.submit(io);
        }
        let transfer = Transfer::new(io, extent);
        let key = self.transfers.insert(transfer).map_err(|transfer| transfer.io)?;
        if self.polled.is_some() && self.transfers.get(key).is_some_and(Transfer::is_plain) {
            self.polling += 1;
        }
        self.start(key);
        Ok(())
    }

    /// Queues the next step of a transfer, now or, when the ring is full, after the next kick.
    fn start(&mut self, key: Key) {
        let Some(transfer) = self.transfers.get_mut(key) else { return };
        let entry = transfer.entry(&self.medium.backing, &self.fixed, &self.medium.zeroes);
        let entry = entry.user_data(user_data(TRANSFER, key).to_bits());
        let ring = match &mut self.polled {
            Some(polled) if transfer.is_plain() => polled,
            _ => &mut self.ring,
        };
        // SAFETY: the entry points into the transfer's buffer or the shared zeroes. The buffer stays in the slab, and
        // so untouched, until the completion; `Drop` waits for that, or leaks both.
        if !unsafe { ring.push(&entry) } {
            // Each transfer is queued here at most once, and there is room for all.
            let _ = self.again.push(key.index);
        }
    }

    /// Starts the steps that had to wait.
    fn start_waiting(&mut self) {
        for _ in 0..self.again.len() {
            let Some(index) = self.again.pop() else { break };
            let Some((key, transfer)) = self.transfers.at(index) else { continue };
            if transfer.aborting {
                self.finish(key, Status::Aborted);
            } else {
                self.start(key);
            }
        }
    }

    /// Takes a transfer out and queues its completion.
    fn finish(&mut self, key: Key, status: Status) {
        let Some(transfer) = self.transfers.remove(key) else { return };
        if self.polled.is_some() && transfer.is_plain() {
            self.polling -= 1;
        }
        // There is room for as many as there are operations, see `submit`.
        let _ = self.finished.push(transfer.io.done(status, self.medium.block_size()));
    }

    /// Judges one completion of a ring.
    fn complete(&mut self, user_data: u64, result: i32) {
        let tag = Tag::from_bits(user_data);
        let Some((key, transfer)) = self.transfers.at(tag.index().into()) else { return };
        if tag.kind() != TRANSFER || tag.generation() != key.generation % Tag::GENERATIONS {
            return;
        }
        match transfer.advance(result, &self.medium.backing, self.medium.block_size()) {
            Next::Finish(status) => self.finish(key, status),
            // As with `start`: room for all.
            Next::Again => self.again.push(key.index).unwrap_or(()),
        }
    }

    /// Moves completions from the rings to `finished`, as many as the batch has room for; whether there were any.
    fn harvest(&mut self, room: usize) -> bool {
        let mut found = false;
        while self.finished.len() < room
            && let Some((user_data, result)) = self.next_completion()
        {
            self.complete(user_data, result);
            found = true;
        }
        found
    }

    fn next_completion(&mut self) -> Option<(u64, i32)> {
        self.ring.next().or_else(|| self.polled.as_mut()?.next())
    }

    fn run_completions(&mut self) {
        let in_ring = self.transfers.len() > self.polling;
        self.ring.run_completions(in_ring);
        if let Some(polled) = &mut self.polled {
            polled.run_completions(self.polling > 0);
        }
    }

    fn count_enters(&mut self) {
        let enters = std::mem::take(&mut self.ring.enters)
            + self.polled.as_mut().map_or(0, |polled| std::mem::take(&mut polled.enters));
        if enters > 0 {
            self.medium.enters.fetch_add(enters, Ordering::Relaxed);
        }
    }

    fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.ring.disarm();
            self.event.clear();
        }
    }

    /// Waits until the kernel has let go of every transfer; `false` when it does not within the limit.
    fn drain(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(limits::CLOSE_SECONDS);
        while let Some(index) = self.again.pop() {
            // Not in the kernel's hands.
            if let Some((key, _)) = self.transfers.at(index) {
                self.transfers.remove(key);
            }
        }
        self.ring.cancel_all();
        self.polled.iter_mut().for_each(Ring::cancel_all);
        while !self.transfers.is_empty() && Instant::now() < deadline {
            let polling = self.polling > 0;
            match &mut self.polled {
                Some(polled) if polling => polled.wait(Duration::ZERO),
                _ => self.ring.wait(Duration::from_millis(100)),
            }
            self.discard_completions();
        }
        self.transfers.is_empty()
    }

    fn discard_completions(&mut self) {
        while let Some((user_data, _)) = self.next_completion() {
            let tag = Tag::from_bits(user_data);
            if tag.kind() == TRANSFER
                && let Some((key, _)) = self.transfers.at(tag.index().into())
                && let Some(transfer) = self.transfers.remove(key)
                && transfer.is_plain()
            {
                self.polling = self.polling.saturating_sub(1);
            }
        }
    }
}

impl Channel for UringChannel {
    fn submit(&mut self, io: Io) -> Result<(), Io> {
        // `finished` has room for whatever the slab holds.
        if self.transfers.len() + self.finished.len() >= limits::CHANNEL_DEPTH {
            return Err(io);
        }
        match check(&io, &self.medium.shape.get(), self.medium.features) {
            Ok(extent) => self.submit_checked(io, extent),
            Err(status) => {
                // Room was seen above.
                let _ = self.finished.push(io.done(status, self.medium.block_size()));
                Ok(())
            }
        }
    }

    fn kick(&mut self) {
        self.start_waiting();
        self.ring.submit();
        self.polled.iter_mut().for_each(Ring::submit);
        self.discards.iter_mut().for_each(Channel::kick);
        self.count_enters();
    }

    fn reap(&mut self, done: &mut DoneBatch) {
        self.run_completions();
        if self.harvest(done.room()) {
            self.disarm();
        }
        self.finished.reap(done);
        self.discards.iter_mut().for_each(|worker| worker.reap(done));
        // What was cut short or interrupted goes on although nobody kicks.
        if !self.again.is_empty() {
            self.kick();
        }
        self.count_enters();
    }

    fn abort(&mut self, tag: Tag) -> AbortOutcome {
        let Some(key) = self.transfers.iter().find(|(_, t)| t.io.tag == tag).map(|(key, _)| key) else {
            let worker = self.discards.as_mut().map_or(AbortOutcome::Unknown, |worker| worker.abort(tag));
            let held = worker == AbortOutcome::WillComplete || self.finished.iter().any(|done| done.tag == tag);
            return AbortOutcome::held(held);
        };
        if let Some(transfer) = self.transfers.get_mut(key)
            && !std::mem::replace(&mut transfer.aborting, true)
        {
            let victim = user_data(TRANSFER, key).to_bits();
            let entry = opcode::AsyncCancel::new(victim).build().user_data(user_data(CANCEL, key).to_bits());
            let plain = transfer.is_plain();
            let ring = self.polled.as_mut().filter(|_| plain).unwrap_or(&mut self.ring);
            // SAFETY: a cancellation points to no memory. Where the ring has no room, the transfer ends by itself.
            unsafe { ring.push(&entry) };
            ring.owe();
        }
        AbortOutcome::WillComplete
    }

    fn outstanding(&self) -> usize {
        self.transfers.len() + self.finished.len() + self.discards.as_ref().map_or(0, Channel::outstanding)
    }

    fn wake_fd(&self) -> Option<RawFd> {
        Some(self.event.fd())
    }

    fn arm(&mut self) -> bool {
        let polling = self.polling > 0 || self.discards.as_ref().is_some_and(|worker| worker.outstanding() > 0);
        if polling || !self.finished.is_empty() || !self.again.is_empty() {
            return false;
        }
        self.ring.arm();
        self.armed = true;
        if self.ring.is_ready() {
            self.disarm();
            return false;
        }
        true
    }
}

impl Drop for UringChannel {
    fn drop(&mut self) {
        if self.drain() {
            self.ring.release_files();
            self.polled.iter_mut().for_each(Ring::release_files);
            return;
        }
        tracing::error!(path = %self.medium.backing.path.display(), operations = self.transfers.len(),
            "the kernel does not let go of these operations; their memory is leaked");
        // The kernel may still read the zeroes, and write to buffers, which are never freed under it anyway.
        std::mem::forget(self.medium.clone());
    }
}

/// The word that finds a transfer again: its slot and generation.
fn user_data(kind: u8, key: Key) -> Tag {
    // The slab has at most 2^16 slots, see `limits::CHANNEL_DEPTH`.
    Tag::new(kind, 0, key.index as u16, key.generation)
}
