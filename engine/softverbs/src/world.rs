//! Everything there is, behind one lock.

use crate::asynchronous::Asynchronous;
use crate::bell::Bell;
use crate::cm::{Channel, Id};
use crate::completions::{CompletionChannel, Completions};
use crate::device;
use crate::domain::{Domain, device as soft_device};
use crate::pair::Pair;
use crate::receives::Receives;
use rdma::Provider;
use siw::Siw;
use std::collections::HashMap;
use std::ffi::c_int;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All objects, by the addresses programs know them by.
pub struct World {
    /// Where connections are listened for, until a protection domain is known.
    pub front: Siw,
    pub context: usize,
    pub domains: HashMap<usize, Domain>,
    /// The protection domain of each memory region.
    pub regions: HashMap<usize, usize>,
    pub completions: HashMap<usize, Completions>,
    pub completion_channels: HashMap<usize, CompletionChannel>,
    pub receives: HashMap<usize, Receives>,
    pub pairs: HashMap<usize, Pair>,
    /// Queue pairs by number.
    pub numbers: HashMap<u32, usize>,
    pub next_number: u32,
    pub channels: HashMap<usize, Channel>,
    pub ids: HashMap<usize, Id>,
    pub asynchronous: Asynchronous,
    /// Wakes the thread.
    pub alarm: Bell,
    /// The process whose thread looks after all this: a child has none.
    pub process: u32,
}

static WORLD: Mutex<Option<World>> = Mutex::new(None);

unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
}

const PTHREAD_CANCEL_DISABLE: c_int = 1;

/// The world, for as long as this is held. The thread is not cancelled meanwhile.
pub struct Locked {
    guard: MutexGuard<'static, Option<World>>,
    cancel: c_int,
}

/// Locks the world, making it if there is none yet.
///
/// # Errors
/// The process is out of descriptors.
pub fn lock() -> Result<Locked, c_int> {
    let mut cancel = 0;
    // SAFETY: the old state is written to `cancel`.
    unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut cancel) };
    let guard = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut locked = Locked { guard, cancel };
    if locked.guard.is_none() {
        *locked.guard = Some(World::new()?);
    }
    locked.look_after();
    Ok(locked)
}

impl Locked {
    fn look_after(&mut self) {
        let process = std::process::id();
        if self.process != process {
            self.process = process;
            crate::thread::start();
        }
    }
}

impl Deref for Locked {
    type Target = World;

    fn deref(&self) -> &World {
        self.guard.as_ref().expect("made when it was locked")
    }
}

impl DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut World {
        self.guard.as_mut().expect("made when it was locked")
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut old = 0;
        // SAFETY: as in `lock`.
        unsafe { pthread_setcancelstate(self.cancel, &raw mut old) };
    }
}

/// Nanoseconds of the monotonic clock.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is written to `time`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl World {
    fn new() -> Result<Self, c_int> {
        let asynchronous = Asynchronous::new()?;
        let context = device::context(asynchronous.fd());
        Ok(Self {
            front: soft_device()?,
            context,
            domains: HashMap::new(),
            regions: HashMap::new(),
            completions: HashMap::new(),
            completion_channels: HashMap::new(),
            receives: HashMap::new(),
            pairs: HashMap::new(),
            numbers: HashMap::new(),
            next_number: 1,
            channels: HashMap::new(),
            ids: HashMap::new(),
            asynchronous,
            alarm: Bell::new()?,
            process: 0,
        })
    }

    /// Lets every device work, and hands out what comes of it.
    pub fn turn(&mut self) {
        let now = now();
        self.front.progress(now);
        self.domains.values_mut().for_each(|domain| domain.siw.progress(now));
        self.settle();
    }

    /// Hands out completions and events.
    pub fn settle(&mut self) {
        let domains: Vec<usize> = self.domains.keys().copied().collect();
        for domain in &domains {
            self.reap(*domain);
        }
        while let Some(event) = self.front.poll() {
            self.event(event);
        }
        for domain in domains {
            while let Some(event) = self.domains.get_mut(&domain).and_then(|domain| domain.siw.poll()) {
                self.event(event);
            }
            // Events end connections, and those complete requests.
            self.reap(domain);
        }
    }

    /// What the thread sleeps on, and until when.
    pub fn sleep(&self) -> (Vec<RawFd>, Option<u64>) {
        let devices = || std::iter::once(&self.front).chain(self.domains.values().map(|domain| &domain.siw));
        let fds = std::iter::once(self.alarm.fd()).chain(devices().map(Siw::as_raw_fd)).collect();
        (fds, devices().filter_map(Siw::deadline).min())
    }
}
