//! `error`: a device that fails on purpose, as SPDK's error bdev does.
//!
//! Errors are injected by kind of operation and, beyond SPDK, by range of blocks. They affect operations submitted
//! from then on, each injection a given number of times.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use primitives::{Buf, Tag};
use reactors::Core;

use crate::channel::{AbortOutcome, Channel, DoneBatch};
use crate::device::{Bdev, Features, Geometry, OpenError};
use crate::fifo::Fifo;
use crate::io::{Done, Io, Op, Status};
use crate::limits;
use crate::shape::{CreateError, Identity};
use crate::track::Tracker;

/// What happens to an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorType {
    /// It fails: with a medium error if a range of blocks was given, otherwise with EIO.
    Failure,
    /// It never completes, until [`ErrorInjector::resume_pending`] or an abort.
    Pending,
    /// The byte at `offset` of its data is replaced by `value`; on its way down in the caller's own buffer.
    CorruptData {
        /// Byte of the operation's data.
        offset: u64,
        /// What it becomes.
        value: u8,
    },
    /// The device has no room for it: it is given back at submission.
    NoMemory,
}

/// One injected error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Injection {
    /// The operations it affects; `None` affects all.
    pub op: Option<Op>,
    /// What happens to them.
    pub error: ErrorType,
    /// How many operations it affects.
    pub count: u32,
    /// First and last block of the range that an operation must touch; `None` is the whole device.
    pub range: Option<(u64, u64)>,
}

impl Injection {
    fn hits(&self, io: &Io) -> bool {
        let in_range = self.range.is_none_or(|(first, last)| {
            io.blocks > 0 && io.lba <= last && io.lba.saturating_add(io.blocks - 1) >= first
        });
        self.count > 0 && self.op.is_none_or(|op| op == io.op) && in_range
    }

    fn status(&self, io: &Io) -> Status {
        match self.range {
            Some((first, _)) => Status::MediumError { lba: first.max(io.lba) },
            None => Status::Failed(libc::EIO),
        }
    }
}

/// The shared side of an error device.
#[derive(Debug)]
pub struct ErrorInjector {
    id: Identity,
    base: Arc<dyn Bdev>,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    injections: Mutex<Vec<Injection>>,
    /// Injections in the list. While it is zero the data path takes no lock.
    armed: AtomicUsize,
    /// Rises when pending operations are to go on.
    resumed: AtomicU64,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Vec<Injection>> {
        self.injections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The injection that hits `io`, used up by one.
    fn strike(&self, io: &Io) -> Option<Injection> {
        if self.armed.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut list = self.lock();
        let injection = list.iter_mut().find(|injection| injection.hits(io))?;
        injection.count -= 1;
        let hit = *injection;
        list.retain(|injection| injection.count > 0);
        self.armed.store(list.len(), Ordering::Relaxed);
        Some(hit)
    }
}

impl ErrorInjector {
    /// Puts an error device on top of `base`. SPDK names it `EE_` and the base's name.
    ///
    /// # Errors
    /// When the name is not acceptable.
    pub fn create(name: &str, uuid: Option<[u8; 16]>, base: Arc<dyn Bdev>) -> Result<Arc<Self>, CreateError> {
        Ok(Arc::new(Self { id: Identity::new(name, uuid)?, base, faults: Arc::default() }))
    }

    /// Injects an error. Of several that hit one operation, the oldest does.
    ///
    /// # Errors
    /// When a parameter is not acceptable or there are too many already.
    pub fn inject(&self, injection: Injection) -> Result<(), CreateError> {
        if injection.count == 0 {
            return Err(CreateError::invalid("num", 0, "at least 1"));
        }
        if let Some((first, last)) = injection.range.filter(|(first, last)| first > last) {
            return Err(CreateError::invalid("range", format!("{first} to {last}"), "a first block before the last"));
        }
        let mut list = self.faults.lock();
        if list.len() >= limits::INJECTIONS {
            let expected = format!("at most {} injections at a time; clear some", limits::INJECTIONS);
            return Err(CreateError::invalid("injections", list.len() + 1, expected));
        }
        list.push(injection);
        self.faults.armed.store(list.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Forgets all injections. Pending operations stay pending.
    pub fn clear(&self) {
        let mut list = self.faults.lock();
        list.clear();
        self.faults.armed.store(0, Ordering::Relaxed);
    }

    /// Injections not used up yet, oldest first.
    #[must_use]
    pub fn injections(&self) -> Vec<Injection> {
        self.faults.lock().clone()
    }

    /// Lets pending operations go on to the device below.
    pub fn resume_pending(&self) {
        self.faults.resumed.fetch_add(1, Ordering::Release);
    }

    /// The device below.
    #[must_use]
    pub fn base(&self) -> &Arc<dyn Bdev> {
        &self.base
    }
}

impl Bdev for ErrorInjector {
    fn name(&self) -> &str {
        &self.id.name
    }

    fn product(&self) -> &'static str {
        "Error Injection Disk"
    }

    fn uuid(&self) -> [u8; 16] {
        self.id.uuid
    }

    fn geometry(&self) -> Geometry {
        self.base.geometry()
    }

    fn features(&self) -> Features {
        self.base.features()
    }

    fn open(&self, core: &mut Core) -> Result<Box<dyn Channel>, OpenError> {
        Ok(Box::new(ErrorChannel {
            below: self.base.open(core)?,
            block_size: self.base.geometry().block_size,
            faults: self.faults.clone(),
            resumed: self.faults.resumed.load(Ordering::Acquire),
            tracker: Tracker::new(),
            pending: Fifo::new(limits::CHANNEL_DEPTH),
            resuming: Fifo::new(limits::CHANNEL_DEPTH),
            finished: Fifo::new(limits::CHANNEL_DEPTH),
        }))
    }
}

/// Damage to do to a read once it has succeeded.
type Damage = Option<(u64, u8)>;

struct ErrorChannel {
    below: Box<dyn Channel>,
    block_size: u32,
    faults: Arc<Faults>,
    /// The resumption this channel has seen.
    resumed: u64,
    tracker: Tracker<Damage>,
    /// Operations that do not complete.
    pending: Fifo<Io>,
    /// Operations on their way down at last.
    resuming: Fifo<Io>,
    finished: Fifo<Done>,
}

impl ErrorChannel {
    fn submit_below(&mut self, io: Io, damage: Damage) -> Result<(), Io> {
        self.tracker.submit(&mut *self.below, io, damage)
    }

    fn resume(&mut self) {
        let resumed = self.faults.resumed.load(Ordering::Acquire);
        if std::mem::replace(&mut self.resumed, resumed) != resumed {
            while let Some(io) = self.pending.pop() {
                // Room for all operations there may be.
                let _ = self.resuming.push(io);
            }
        }
        let mut started = false;
        while let Some(io) = self.resuming.pop() {
            if let Err(io) = self.submit_below(io, None) {
                self.resuming.put_back(io);
                break;
            }
            started = true;
        }
        if started {
            self.below.kick();
        }
    }
}

fn corrupt(data: &mut Option<Buf>, (offset, value): (u64, u8)) {
    if let Some(data) = data
        && let Ok(at) = usize::try_from(offset)
        && at < data.len()
    {
        data.copy_in(at, &[value]);
    }
}

impl Channel for ErrorChannel {
    fn submit(&mut self, mut io: Io) -> Result<(), Io> {
        if self.outstanding() >= limits::CHANNEL_DEPTH {
            return Err(io);
        }
        // Too late for a fault in lent memory: it holds, or comes from, the medium already.
        let hit = if io.is_lent() { None } else { self.faults.strike(&io) };
        let Some(hit) = hit else { return self.submit_below(io, None) };
        // The queues have room for all operations there may be.
        match hit.error {
            ErrorType::NoMemory => return Err(io),
            ErrorType::Failure => {
                let status = hit.status(&io);
                let _ = self.finished.push(io.done(status, self.block_size));
            }
            ErrorType::Pending => {
                // A resumption that came before is not about this one.
                self.resume();
                let _ = self.pending.push(io);
            }
            ErrorType::CorruptData { offset, value } if io.op == Op::Read => {
                return self.submit_below(io, Some((offset, value)));
            }
            ErrorType::CorruptData { offset, value } => {
                corrupt(&mut io.data, (offset, value));
                return self.submit_below(io, None);
            }
        }
        Ok(())
    }

    fn kick(&mut self) {
        self.below.kick();
    }

    fn reap(&mut self, done: &mut DoneBatch) {
        self.resume();
        self.finished.reap(done);
        let start = done.len();
        self.below.reap(done);
        for done in done.since(start) {
            let Some((tag, damage)) = self.tracker.leave(done.tag) else { continue };
            done.tag = tag;
            if let Some(damage) = damage.filter(|_| done.status == Status::Ok) {
                corrupt(&mut done.data, damage);
            }
        }
    }

    fn abort(&mut self, tag: Tag) -> AbortOutcome {
        let matches = |io: &Io| io.tag == tag;
        if let Some(io) = self.pending.take(matches).or_else(|| self.resuming.take(matches)) {
            let _ = self.finished.push(io.done(Status::Aborted, self.block_size));
            return AbortOutcome::WillComplete;
        }
        match self.tracker.find(tag) {
            Some((own, _)) => self.below.abort(own),
            None => AbortOutcome::held(self.finished.iter().any(|done| done.tag == tag)),
        }
    }

    fn lend(&mut self, op: Op, lba: u64, blocks: u64) -> Option<Buf> {
        // Damage to lent memory would be damage to the medium.
        if self.faults.armed.load(Ordering::Relaxed) > 0 { None } else { self.below.lend(op, lba, blocks) }
    }

    fn read_in_place(&mut self, lba: u64, blocks: u64) -> Option<Buf> {
        if self.faults.armed.load(Ordering::Relaxed) > 0 { None } else { self.below.read_in_place(lba, blocks) }
    }

    fn give_back(&mut self, buf: Buf) {
        self.below.give_back(buf);
    }

    fn outstanding(&self) -> usize {
        self.tracker.len() + self.pending.len() + self.resuming.len() + self.finished.len()
    }

    fn wake_fd(&self) -> Option<RawFd> {
        self.below.wake_fd()
    }

    fn arm(&mut self) -> bool {
        // Nothing signals a resumption.
        let polled = self.pending.len() + self.resuming.len() + self.finished.len();
        polled == 0 && self.below.arm()
    }
}

#[cfg(test)]
mod tests;
