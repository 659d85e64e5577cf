//! `Registry`: every device by name, who uses it, and who wants to know when it changes.
//!
//! Control path only: one lock, any thread. Subscribers are called without the lock, so they may call back.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reactors::Core;
use thiserror::Error;

use crate::channel::Channel;
use crate::device::{Bdev, OpenError};
use crate::qos::{Qos, RateLimits, Throttling};
use crate::shape::{self, CreateError};
use crate::stats::DeviceStats;
use crate::{limits, uuid};
use underlay::Underlay;

mod claim;
mod underlay;

pub use claim::{Claim, User};

/// Why the registry refuses. The texts reach the operator through the RPC.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The name, alias or UUID is taken.
    #[error("block device {name} already exists")]
    Exists {
        /// The name, alias or UUID.
        name: String,
    },
    /// There is no such device.
    #[error("there is no block device {name}")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// Somebody uses the device in a way that forbids this.
    #[error("block device {name} is in use by {user}")]
    Busy {
        /// The device.
        name: String,
        /// Who uses it.
        user: User,
    },
    /// The device is being removed.
    #[error("block device {name} is being removed")]
    Removing {
        /// The device.
        name: String,
    },
    /// A limit is reached.
    #[error("there are {limit} {what} already")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The name, or a rate limit, is not acceptable.
    #[error(transparent)]
    Name(#[from] CreateError),
}

impl RegistryError {
    /// The errno that an SPDK-compatible RPC answers with.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::Exists { .. } => libc::EEXIST,
            Self::NotFound { .. } | Self::Removing { .. } => libc::ENODEV,
            Self::Busy { .. } => libc::EBUSY,
            Self::TooMany { .. } => libc::ENOSPC,
            Self::Name(error) => error.errno(),
        }
    }
}

/// What subscribers learn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The capacity changed; the geometry says to what.
    Resized {
        /// The device.
        name: String,
    },
    /// The device is being removed: users let go of their claims and close their channels.
    Removing {
        /// The device.
        name: String,
    },
    /// The last user let go: the name is free again.
    Removed {
        /// The device.
        name: String,
    },
}

/// What a device's channels share with its registry.
#[derive(Debug, Default)]
pub(crate) struct Lifeline {
    pub stats: DeviceStats,
    pub qos: Arc<Qos>,
    /// Of `REMOVED` and `LIMITED`, what is true: one look at it tells the data path that nothing is.
    state: AtomicU8,
}

const REMOVED: u8 = 1;
const LIMITED: u8 = 2;

impl Lifeline {
    /// The device is in plain service: neither being removed nor under a rate limit.
    pub fn is_plain(&self) -> bool {
        self.state.load(Ordering::Relaxed) == 0
    }

    /// No new operations.
    pub fn is_removed(&self) -> bool {
        self.state.load(Ordering::Relaxed) & REMOVED != 0
    }

    /// There is a rate limit.
    pub fn is_limited(&self) -> bool {
        self.state.load(Ordering::Relaxed) & LIMITED != 0
    }

    fn remove(&self) {
        self.state.fetch_or(REMOVED, Ordering::Relaxed);
        self.qos.wake();
    }

    fn limit(&self, limits: RateLimits) -> Result<(), CreateError> {
        self.qos.set(limits)?;
        if limits.is_none() {
            self.state.fetch_and(!LIMITED, Ordering::Relaxed);
        } else {
            self.state.fetch_or(LIMITED, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// All devices of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    shared: Arc<Shared>,
}

type Subscriber = Arc<dyn Fn(&Event) + Send + Sync>;

#[derive(Default)]
struct Shared {
    devices: Mutex<BTreeMap<String, Entry>>,
    subscribers: Mutex<Vec<(u64, Subscriber)>>,
}

#[derive(Debug)]
struct Entry {
    bdev: Arc<dyn Bdev>,
    aliases: Vec<String>,
    users: Vec<(u64, User)>,
    next_user: u64,
    lifeline: Arc<Lifeline>,
}

type Devices = BTreeMap<String, Entry>;

impl Registry {
    /// A registry without devices.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a device. Its name and UUID must differ from every name, alias and UUID there is.
    ///
    /// # Errors
    /// When they do not, or there are too many devices.
    pub fn register(&self, bdev: Arc<dyn Bdev>) -> Result<(), RegistryError> {
        let name = bdev.name().to_owned();
        shape::check_name("name", &name)?;
        let mut devices = self.shared.lock();
        for taken in [name.clone(), uuid::format(&bdev.uuid())] {
            if find(&devices, &taken).is_some() {
                return Err(RegistryError::Exists { name: taken });
            }
        }
        if devices.len() >= limits::DEVICES {
            return Err(RegistryError::TooMany { what: "block devices", limit: limits::DEVICES });
        }
        let entry = Entry { bdev, aliases: Vec::new(), users: Vec::new(), next_user: 0, lifeline: Arc::default() };
        devices.insert(name, entry);
        Ok(())
    }

    /// Lets a device be found by another name too.
    ///
    /// # Errors
    /// When the alias is taken or not acceptable, there is no such device, or it has too many.
    pub fn add_alias(&self, name: &str, alias: &str) -> Result<(), RegistryError> {
        shape::check_name("alias", alias)?;
        let mut devices = self.shared.lock();
        if find(&devices, alias).is_some() {
            return Err(RegistryError::Exists { name: alias.to_owned() });
        }
        let entry = find_mut(&mut devices, name)?;
        if entry.aliases.len() >= limits::ALIASES {
            return Err(RegistryError::TooMany { what: "aliases of this block device", limit: limits::ALIASES });
        }
        entry.aliases.push(alias.to_owned());
        Ok(())
    }

    /// Forgets an alias.
    ///
    /// # Errors
    /// When the device has no such alias.
    pub fn remove_alias(&self, name: &str, alias: &str) -> Result<(), RegistryError> {
        let mut devices = self.shared.lock();
        let entry = find_mut(&mut devices, name)?;
        let at = entry.aliases.iter().position(|a| a == alias);
        let at = at.ok_or_else(|| RegistryError::NotFound { name: alias.to_owned() })?;
        entry.aliases.remove(at);
        Ok(())
    }

    /// The aliases of a device.
    #[must_use]
    pub fn aliases(&self, name: &str) -> Vec<String> {
        find(&self.shared.lock(), name).map(|entry| entry.aliases.clone()).unwrap_or_default()
    }

    /// The device of this name, alias or UUID.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<dyn Bdev>> {
        find(&self.shared.lock(), name).map(|entry| entry.bdev.clone())
    }

    /// The device of this name, alias or UUID, if it is a `T`.
    #[must_use]
    pub fn get_as<T: Bdev>(&self, name: &str) -> Option<Arc<T>> {
        let any: Arc<dyn Any + Send + Sync> = self.get(name)?;
        any.downcast().ok()
    }

    /// All devices, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<dyn Bdev>> {
        self.shared.lock().values().map(|entry| entry.bdev.clone()).collect()
    }

    /// The users of a device.
    #[must_use]
    pub fn users(&self, name: &str) -> Vec<User> {
        let users = |entry: &Entry| entry.users.iter().map(|(_, user)| user.clone()).collect();
        find(&self.shared.lock(), name).map(users).unwrap_or_default()
    }

    /// Reads and resets a device's statistics.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn with_stats<R>(&self, name: &str, f: impl FnOnce(&DeviceStats) -> R) -> Result<R, RegistryError> {
        Ok(f(&self.lifeline(name)?.stats))
    }

    fn lifeline(&self, name: &str) -> Result<Arc<Lifeline>, RegistryError> {
        let found = find(&self.shared.lock(), name).map(|entry| entry.lifeline.clone());
        found.ok_or_else(|| RegistryError::NotFound { name: name.to_owned() })
    }

    /// Replaces a device's rate limits. Open channels follow within a turn; what waits for a limit that is gone goes
    /// on.
    ///
    /// # Errors
    /// When a limit is too high, there is no such device or it is being removed.
    pub fn set_limits(&self, name: &str, limits: RateLimits) -> Result<(), RegistryError> {
        // Under the lock: of two changes at a time, one is complete before the other.
        let mut devices = self.shared.lock();
        Ok(find_mut(&mut devices, name)?.lifeline.limit(limits)?)
    }

    /// A device's rate limits.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn limits(&self, name: &str) -> Result<RateLimits, RegistryError> {
        Ok(self.lifeline(name)?.qos.limits())
    }

    /// What a device's rate limits held up since the last [`Registry::reset_throttling`].
    ///
    /// # Errors
    /// When there is no such device.
    pub fn throttling(&self, name: &str) -> Result<Throttling, RegistryError> {
        Ok(self.lifeline(name)?.qos.throttling())
    }

    /// Counts what is held up from zero.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn reset_throttling(&self, name: &str) -> Result<(), RegistryError> {
        self.lifeline(name)?.qos.reset();
        Ok(())
    }

    /// The device of this name, alias or UUID, for a layer to be built on: its channels count, and keep to the
    /// device's limits, as those that [`Registry::open`] opens.
    #[must_use]
    pub fn underlay(&self, name: &str) -> Option<Arc<dyn Bdev>> {
        let devices = self.shared.lock();
        let entry = find(&devices, name)?;
        Some(Arc::new(Underlay::new(entry.bdev.clone(), entry.lifeline.clone())))
    }

    /// Opens this core's channel, with statistics.
    ///
    /// # Errors
    /// When there is no such device, it is being removed, or it cannot be opened.
    pub fn open(&self, core: &mut Core, name: &str) -> Result<Box<dyn Channel>, OpenError> {
        let device = self.underlay(name).ok_or_else(|| OpenError::Removed { name: name.to_owned() })?;
        device.open(core)
    }

    /// Notes that `user` uses the device. LUNs share a device; a layer has it for itself.
    ///
    /// # Errors
    /// When somebody else's use forbids it, or there is no such device.
    pub fn claim(&self, name: &str, user: User) -> Result<Claim, RegistryError> {
        let mut devices = self.shared.lock();
        let entry = find_mut(&mut devices, name)?;
        let conflict = entry.users.iter().find(|(_, other)| user.is_exclusive() || other.is_exclusive());
        if let Some((_, other)) = conflict {
            return Err(RegistryError::Busy { name: name.to_owned(), user: other.clone() });
        }
        if entry.users.len() >= limits::USERS {
            return Err(RegistryError::TooMany { what: "users of this block device", limit: limits::USERS });
        }
        let id = entry.next_user;
        entry.next_user += 1;
        entry.users.push((id, user));
        Ok(Claim::new(Arc::downgrade(&self.shared), entry.bdev.name().to_owned(), id))
    }

    /// Removes a device. New operations on it end with [`crate::Status::Removed`] at once; users are told, and when
    /// the last has dropped its [`Claim`] the name is free ([`Event::Removed`]).
    ///
    /// # Errors
    /// When a layer is built on it, it is being removed already, or there is no such device.
    pub fn unregister(&self, name: &str) -> Result<(), RegistryError> {
        let (name, unused) = {
            let mut devices = self.shared.lock();
            let entry = find_mut(&mut devices, name)?;
            if let Some((_, layer)) = entry.users.iter().find(|(_, user)| user.is_exclusive()) {
                return Err(RegistryError::Busy { name: name.to_owned(), user: layer.clone() });
            }
            entry.lifeline.remove();
            let (name, unused) = (entry.bdev.name().to_owned(), entry.users.is_empty());
            if unused {
                devices.remove(&name);
            }
            (name, unused)
        };
        self.shared.tell(&Event::Removing { name: name.clone() });
        if unused {
            self.shared.tell(&Event::Removed { name });
        }
        Ok(())
    }

    /// Tells subscribers that a device has a new capacity.
    pub fn resized(&self, name: &str) {
        if let Some(bdev) = self.get(name) {
            self.shared.tell(&Event::Resized { name: bdev.name().to_owned() });
        }
    }

    /// Calls `subscriber` for every event from now on, from whichever thread causes it. Returns a number for
    /// [`Registry::unsubscribe`].
    ///
    /// # Errors
    /// When there are too many.
    pub fn subscribe(&self, subscriber: impl Fn(&Event) + Send + Sync + 'static) -> Result<u64, RegistryError> {
        let mut list = self.shared.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() >= limits::SUBSCRIBERS {
            return Err(RegistryError::TooMany { what: "subscribers", limit: limits::SUBSCRIBERS });
        }
        let id = list.last().map_or(0, |(id, _)| id + 1);
        list.push((id, Arc::new(subscriber)));
        Ok(id)
    }

    /// Ends a subscription. A call under way on another thread may still be finishing.
    pub fn unsubscribe(&self, id: u64) {
        self.shared.subscribers.lock().unwrap_or_else(PoisonError::into_inner).retain(|(other, _)| *other != id);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Devices> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: &Event) {
        let list: Vec<_> = {
            let list = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
            list.iter().map(|(_, subscriber)| subscriber.clone()).collect()
        };
        list.iter().for_each(|subscriber| subscriber(event));
    }

    /// A claim ends; with the last one of a device that is being removed, so does the device.
    fn release(&self, name: &str, id: u64) {
        let gone = {
            let mut devices = self.lock();
            let Some(entry) = devices.get_mut(name) else { return };
            entry.users.retain(|(other, _)| *other != id);
            let over = entry.users.is_empty() && entry.lifeline.is_removed();
            if over { devices.remove(name) } else { None }
        };
        if gone.is_some() {
            self.tell(&Event::Removed { name: name.to_owned() });
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.lock().iter().map(|(name, entry)| (name, &entry.users))).finish()
    }
}

/// By name, then by UUID, then by alias.
fn find<'a>(devices: &'a Devices, name: &str) -> Option<&'a Entry> {
    let by_uuid = || uuid::parse(name).and_then(|uuid| devices.values().find(|entry| entry.bdev.uuid() == uuid));
    let by_alias = || devices.values().find(|entry| entry.aliases.iter().any(|alias| alias == name));
    devices.get(name).or_else(by_uuid).or_else(by_alias)
}

/// As [`find`], to be changed: not while it is being removed.
fn find_mut<'a>(devices: &'a mut Devices, name: &str) -> Result<&'a mut Entry, RegistryError> {
    let found = find(devices, name).ok_or_else(|| RegistryError::NotFound { name: name.to_owned() })?;
    if found.lifeline.is_removed() {
        return Err(RegistryError::Removing { name: name.to_owned() });
    }
    let own = found.bdev.name().to_owned();
    devices.get_mut(&own).ok_or(RegistryError::NotFound { name: own })
}

#[cfg(test)]
mod tests;
