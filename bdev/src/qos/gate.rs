//! `Gate`: where operations of a channel wait for the device's limits.

use std::os::fd::RawFd;
use std::sync::Arc;

use primitives::Tag;
use reactors::{Nanos, Spawner};

use super::Qos;
use super::account::{self, Account, Cost};
use super::alarm::{Alarm, Seat};
use super::lanes::{Lane, Lanes, Waiting};
use crate::channel::{Channel, DoneBatch};
use crate::fifo::Fifo;
use crate::io::{Done, Io, Status};
use crate::limits;

/// Stands before a channel from when its device is first used under a limit until the limit is gone and nothing
/// waits. Tags are those of its owner, who holds no more operations than a channel may.
pub(crate) struct Gate {
    qos: Arc<Qos>,
    /// Tells the time of the turn, for nothing.
    clock: Spawner,
    block_size: u32,
    account: Account,
    waiting: Lanes,
    finished: Fifo<Done>,
    seat: Arc<Seat>,
    alarm: Alarm,
}

impl Gate {
    pub fn new(qos: Arc<Qos>, clock: Spawner, block_size: u32) -> Self {
        let seat = qos.opened();
        let alarm = Alarm::new(seat.clone());
        let (account, waiting, finished) = (Account::default(), Lanes::new(), Fifo::new(limits::CHANNEL_DEPTH));
        Self { qos, clock, block_size, account, waiting, finished, seat, alarm }
    }

    /// Passes an operation on, or lets it wait. Only reads and writes wait, and behind what waits already.
    ///
    /// # Errors
    /// The operation, when the channel has no room for it.
    pub fn submit(&mut self, below: &mut dyn Channel, io: Io) -> Result<(), Io> {
        let Some(cost) = account::cost(&io, self.block_size) else { return below.submit(io) };
        let now = self.clock.now();
        self.account.follow(&self.qos);
        if self.waiting.is_empty() && self.account.pay(&self.qos, now.get(), &cost, &cost).is_ok() {
            return below.submit(io).inspect_err(|_| self.account.refund(&cost));
        }
        self.waiting.push(io, cost, now)?;
        self.seat.set_waiting(self.waiting.len());
        Ok(())
    }

    /// Passes on what the limits allow by now; `removed` ends it all instead. Completions of what never got to the
    /// device go to `done`.
    pub fn turn(&mut self, below: &mut dyn Channel, removed: bool, done: &mut DoneBatch) {
        let before = self.waiting.len();
        if before > 0 {
            if removed || self.alarm.is_due(self.clock.now()) || self.account.is_outdated(&self.qos) {
                self.alarm.disarm();
            }
            if removed {
                self.give_up(below);
            } else {
                self.release(below);
            }
        }
        if self.waiting.len() < before {
            self.alarm.disarm();
            self.seat.set_waiting(self.waiting.len());
        }
        self.finished.reap(done);
    }

    fn release(&mut self, below: &mut dyn Channel) {
        let now = self.clock.now();
        self.account.follow(&self.qos);
        let mut started = false;
        while let Some(lane) = self.next(now) {
            let Some(waiting) = self.waiting.pop(lane) else { break };
            let Waiting { cost, since, .. } = waiting;
            if let Err(refused) = waiting.pass(below) {
                self.account.refund(&cost);
                self.waiting.put_back(lane, refused);
                break;
            }
            started = true;
            // What was let through in the turn it came in did not wait.
            if since < now {
                self.seat.count(now.since(since).as_nanos() as u64);
            }
        }
        if started {
            below.kick();
        }
    }

    /// The lane whose first operation goes next, which is paid for.
    fn next(&mut self, now: Nanos) -> Option<Lane> {
        let oldest = self.waiting.oldest()?;
        match self.pay(oldest, now) {
            Ok(()) => Some(oldest),
            Err(kind) => self.waiting.passing(oldest, kind).filter(|lane| self.pay(*lane, now).is_ok()),
        }
    }

    fn pay(&mut self, lane: Lane, now: Nanos) -> Result<(), usize> {
        let cost = self.waiting.front(lane).map_or(Cost::default(), |waiting| waiting.cost);
        let demand = self.waiting.demand(&Cost::default());
        self.account.pay(&self.qos, now.get(), &cost, &demand)
    }

    /// The device is going away.
    fn give_up(&mut self, below: &mut dyn Channel) {
        while let Some(lane) = self.waiting.oldest()
            && let Some(waiting) = self.waiting.pop(lane)
        {
            if let Some(refused) = self.end(below, waiting, Status::Removed) {
                self.waiting.put_back(lane, refused);
                break;
            }
        }
    }

    /// Ends an operation that waits. What lent memory was lent for has happened: such an operation goes on to the
    /// device, which may have no room for it now.
    fn end(&mut self, below: &mut dyn Channel, waiting: Waiting, status: Status) -> Option<Waiting> {
        if waiting.io.is_lent() {
            let refused = waiting.pass(below).err();
            below.kick();
            return refused;
        }
        // Room for all operations there may be.
        let _ = self.finished.push(waiting.io.done(status, self.block_size));
        None
    }

    /// Cuts an operation short that has not got to the device; `false` if there is none of this tag.
    pub fn abort(&mut self, below: &mut dyn Channel, tag: Tag) -> bool {
        let Some(waiting) = self.waiting.take(tag) else {
            return self.finished.iter().any(|done| done.tag == tag);
        };
        let (lane, refused) = (waiting.lane(), self.end(below, waiting, Status::Aborted));
        if let Some(refused) = refused {
            self.waiting.put_back(lane, refused);
        }
        self.seat.set_waiting(self.waiting.len());
        true
    }

    /// Nothing is in the gate.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.finished.is_empty()
    }

    /// See [`Channel::wake_fd`]. While nothing waits, it is the device's.
    pub fn wake_fd(&self, below: &dyn Channel) -> Option<RawFd> {
        if self.waiting.is_empty() { below.wake_fd() } else { self.alarm.fd() }
    }

    /// See [`Channel::arm`].
    pub fn arm(&mut self, below: &mut dyn Channel) -> bool {
        if self.waiting.is_empty() {
            return self.finished.is_empty() && below.arm();
        }
        // One descriptor tells of one thing: while the device is at work, too, the core stays awake.
        if !self.finished.is_empty() || below.outstanding() > 0 {
            return false;
        }
        let heads = [Lane::Reads, Lane::Writes].map(|lane| self.waiting.front(lane));
        let chances = heads.into_iter().flatten().map(|waiting| self.account.next_chance(&waiting.cost));
        let at = Nanos::new(chances.min().unwrap_or(0));
        at > self.clock.now() && self.alarm.arm(&self.clock, at) && !self.account.is_outdated(&self.qos)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.account.close(&self.qos, self.clock.now().get());
        self.qos.closed(&self.seat);
    }
}
