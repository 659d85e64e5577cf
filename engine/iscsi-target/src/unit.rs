//! Logical units: the shared thing, and each core's private way into it.

use std::sync::{Arc, Mutex, PoisonError};

use bdev::{Bdev, Channel, DoneBatch, Io, Op, OpenError, Registry, Status};
use primitives::{Buf, Key, Slab};
use reactors::Core;
use scsi::{LogicalUnit, Medium};

use crate::limits::UNITS_PER_CORE;

/// A logical unit, shared by all cores and all nexuses of its target.
///
/// `truth` is what the rare commands change (reservations, mode pages, start/stop) and what a resize changes. Its lock
/// is taken on those paths only. Every core that serves the unit works from a copy, and a change is answered to its
/// initiator only after every core has the new copy.
#[derive(Debug)]
pub struct Unit {
    /// Unique in the process for its life.
    pub id: u64,
    /// The device behind it.
    pub bdev: Arc<dyn Bdev>,
    registry: Registry,
    truth: Mutex<LogicalUnit>,
}

impl Unit {
    /// A unit over `bdev`, which `registry` knows.
    #[must_use]
    pub fn new(id: u64, bdev: Arc<dyn Bdev>, registry: Registry, lu: LogicalUnit) -> Self {
        Self { id, bdev, registry, truth: Mutex::new(lu) }
    }

    /// The present truth, copied.
    #[must_use]
    pub fn copy(&self) -> Arc<LogicalUnit> {
        Arc::new(self.lock().clone())
    }

    /// Changes the truth. `change` says whether it did (and a changed unit has a new generation); then the copy to
    /// publish is returned.
    pub fn change<R>(&self, change: impl FnOnce(&mut LogicalUnit) -> (bool, R)) -> (Option<Arc<LogicalUnit>>, R) {
        let mut lu = self.lock();
        let (changed, result) = change(&mut lu);
        (changed.then(|| Arc::new(lu.clone())), result)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LogicalUnit> {
        // Changes are plain assignments: a panic elsewhere leaves a whole value behind.
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One core's way into a logical unit.
#[expect(missing_debug_implementations, reason = "a channel has none")]
pub struct LocalUnit {
    /// The shared thing.
    pub unit: Arc<Unit>,
    /// This core's copy of its state.
    pub view: Arc<LogicalUnit>,
    /// This device lends its memory.
    lends: bool,
    /// It may do operations at once.
    immediate: bool,
    channel: Box<dyn Channel>,
    inflight: u32,
    submitted: bool,
    users: u32,
}

/// All logical units this core serves.
#[expect(missing_debug_implementations, reason = "a channel has none")]
pub struct LocalUnits {
    units: Slab<LocalUnit>,
    /// Places in use, so that a turn looks at these only.
    open: Vec<u32>,
    inflight: usize,
}

impl Default for LocalUnits {
    fn default() -> Self {
        Self { units: Slab::new(UNITS_PER_CORE), open: Vec::with_capacity(UNITS_PER_CORE), inflight: 0 }
    }
}

impl LocalUnits {
    /// Joins a session to `unit`, opening this core's channel if it is the first. Pair with [`LocalUnits::leave`].
    ///
    /// # Errors
    /// When the device refuses a channel or the core serves too many units.
    pub fn join(&mut self, unit: &Arc<Unit>, core: &mut Core) -> Result<Key, OpenError> {
        if let Some((key, local)) = self.units.iter_mut().find(|(_, l)| l.unit.id == unit.id) {
            local.users += 1;
            return Ok(key);
        }
        let channel = unit.registry.open(core, unit.bdev.name())?;
        let local = LocalUnit {
            unit: Arc::clone(unit),
            view: unit.copy(),
            lends: unit.bdev.features().lend,
            immediate: channel.is_immediate(),
            channel,
            inflight: 0,
            submitted: false,
            users: 1,
        };
        let key = self.units.insert(local).map_err(|_| OpenError::System {
            name: unit.bdev.name().to_owned(),
            what: "enter the core's table of logical units",
            error: std::io::Error::other("limits::UNITS_PER_CORE reached"),
        })?;
        self.open.push(key.index);
        Ok(key)
    }

    /// Ends a session's use; the last one closes the channel. Nothing of the session may be in flight.
    pub fn leave(&mut self, key: Key) {
        if let Some(local) = self.units.get_mut(key) {
            local.users -= 1;
            if local.users == 0 {
                debug_assert_eq!(local.inflight, 0);
                self.units.remove(key);
                self.open.retain(|index| *index != key.index);
            }
        }
    }

    /// The unit of `key`.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&LocalUnit> {
        self.units.get(key)
    }

    /// Bytes of a logical block of the unit of `key`.
    #[must_use]
    pub fn block_size(&self, key: Key) -> u32 {
        self.get(key).map_or(NO_UNIT_BLOCK, |local| local.view.medium.block_size)
    }

    /// Puts a newer copy of a unit's state in place.
    pub fn publish(&mut self, id: u64, view: &Arc<LogicalUnit>) {
        for (_, local) in self.units.iter_mut() {
            if local.unit.id == id && local.view.generation < view.generation {
                local.view = Arc::clone(view);
            }
        }
    }

    /// Hands an operation to the unit's device.
    ///
    /// # Errors
    /// The operation, when the device is full.
    pub fn submit(&mut self, key: Key, io: Io) -> Result<(), Io> {
        let Some(local) = self.units.get_mut(key) else { return Err(io) };
        local.channel.submit(io)?;
        local.inflight += 1;
        local.submitted = true;
        self.inflight += 1;
        Ok(())
    }

    /// Lets the unit's device do a read or a write at once; `None` when it cannot: submit it.
    pub fn run(&mut self, key: Key, io: &mut Io) -> Option<Status> {
        let local = self.units.get_mut(key).filter(|local| local.immediate)?;
        local.channel.run(io)
    }

    /// Asks the device for its own memory.
    pub fn lend(&mut self, key: Key, op: Op, lba: u64, blocks: u64) -> Option<Buf> {
        let local = self.units.get_mut(key).filter(|local| local.lends)?;
        local.channel.lend(op, lba, blocks)
    }

    /// Asks the device for its own memory with what it holds: a read that is done.
    pub fn read_in_place(&mut self, key: Key, lba: u64, blocks: u64) -> Option<Buf> {
        let local = self.units.get_mut(key).filter(|local| local.lends)?;
        local.channel.read_in_place(lba, blocks)
    }

    /// Takes back memory the device lent.
    pub fn give_back(&mut self, key: Key, buf: Buf) {
        if let Some(local) = self.units.get_mut(key) {
            local.channel.give_back(buf);
        }
    }

    /// Tries to cut an operation short.
    pub fn abort(&mut self, key: Key, tag: primitives::Tag) {
        if let Some(local) = self.units.get_mut(key) {
            // Either way its completion is awaited, so the answer changes nothing.
            let _ = local.channel.abort(tag);
        }
    }

    /// Rings the doorbell of every device that was given something and gathers what is finished, until `done` is
    /// full.
    pub fn turn(&mut self, done: &mut DoneBatch) {
        if self.inflight == 0 {
            return;
        }
        for index in &self.open {
            let Some((_, local)) = self.units.at(*index) else { continue };
            if core::mem::take(&mut local.submitted) {
                local.channel.kick();
            }
            if local.inflight > 0 && done.room() > 0 {
                let before = done.len();
                local.channel.reap(done);
                let finished = done.len() - before;
                local.inflight -= finished as u32;
                self.inflight -= finished;
            }
        }
    }

    /// Operations in flight on this core.
    #[must_use]
    pub fn inflight(&self) -> usize {
        self.inflight
    }

    /// Arms every busy device's wake descriptor; `false` when one can only be polled.
    pub fn arm(&mut self, fds: &mut Vec<std::os::fd::RawFd>) -> bool {
        if self.inflight == 0 {
            return true;
        }
        let mut all = true;
        for (_, local) in self.units.iter_mut().filter(|(_, l)| l.inflight > 0) {
            match local.channel.wake_fd() {
                Some(fd) if local.channel.arm() => fds.push(fd),
                _ => all = false,
            }
        }
        all
    }

    /// Every unit with an open channel here.
    pub fn iter(&self) -> impl Iterator<Item = &LocalUnit> {
        self.units.iter().map(|(_, l)| l)
    }
}

/// The block size of a task without a logical unit, which never moves a block.
pub(crate) const NO_UNIT_BLOCK: u32 = 512;

/// The medium as a device server shows it, of a device as it is now.
#[must_use]
pub fn medium(bdev: &dyn Bdev) -> Medium {
    let geometry = bdev.geometry();
    let features = bdev.features();
    let physical = (geometry.physical_block_size / geometry.block_size).max(1);
    Medium {
        block_size: geometry.block_size,
        blocks: geometry.blocks,
        physical_block_exponent: physical.trailing_zeros() as u8,
        write_cache: geometry.write_cache,
        read_only: geometry.read_only || !features.write,
        thin: features.unmap,
        unmap_zeroes: features.unmap && geometry.unmap_reads_zeroes,
        unmap_granularity: geometry.unmap_granularity,
        unmap_alignment: 0,
        optimal_transfer: geometry.optimal_io_blocks,
        // No limit: data moves in pieces, so a long transfer takes time, not memory.
        max_transfer: 0,
        max_unmap_blocks: u32::MAX,
        max_unmap_descriptors: scsi::limits::UNMAP_DESCRIPTORS,
        max_write_same: 0,
        rotation_rate: if geometry.rotational { 7200 } else { 1 },
    }
}
