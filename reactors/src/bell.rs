//! `Bell`: wakes one sleeping thread, and costs a fence while it is awake.
//!
//! The protocol that loses no wake-up. Sleeper: announce (`sleeping = true`), fence, look at every source once more,
//! sleep only if all were empty. Producer: publish, fence, look at `sleeping`. The two fences are sequentially
//! consistent, so at least one side sees the other: the sleeper finds the item, or the producer finds the flag and
//! writes the eventfd.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

/// A wake-up for one thread, rung by any. Aligned so that the flag, read by every producer, shares no cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct Bell {
    sleeping: AtomicBool,
    event: OwnedFd,
}

impl Bell {
    /// A bell of its own eventfd.
    ///
    /// # Errors
    /// The kernel's, when the process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just created and belongs to nobody else.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { sleeping: AtomicBool::new(false), event })
    }

    /// Wakes the thread if it sleeps. To be called after what it is to find has been published.
    #[inline]
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) {
            self.ring_sleeper();
        }
    }

    #[cold]
    fn ring_sleeper(&self) {
        // Of many producers, the one that takes the flag down pays for the system call.
        if self.sleeping.swap(false, Ordering::AcqRel) {
            let one = 1u64.to_ne_bytes();
            // SAFETY: eight readable bytes, as an eventfd wants. EAGAIN (the counter is full) means it is rung.
            unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    /// Announces sleep. Afterwards look at every source once more, and sleep only if all are empty.
    pub fn arm(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Ends the announcement; returns whether somebody rang meanwhile.
    pub fn disarm(&self) -> bool {
        let rung = !self.sleeping.swap(false, Ordering::AcqRel);
        // Drained even if nobody rang this time: a producer that took the flag down during an earlier sleep may have
        // written only after that sleep was over. Left readable, it would end every sleep from now on.
        let mut count = [0u8; 8];
        // SAFETY: eight writable bytes; the descriptor does not block.
        unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        rung
    }

    /// Readable once rung while armed.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// [`Bell::fd`], borrowed.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Sleeps until rung or for `timeout`, unless `ready` already holds. For plain threads behind a [`crate::Ring`];
    /// may return early, so loop.
    pub fn wait(&self, ready: impl FnOnce() -> bool, timeout: Option<Duration>) {
        self.arm();
        if !ready() {
            let mut fds = [libc::pollfd { fd: self.fd(), events: libc::POLLIN, revents: 0 }];
            wait_readable(&mut fds, timeout);
        }
        self.disarm();
    }
}

/// Waits until a descriptor is readable or `timeout` passed; returns how many are. Signals end it early.
pub(crate) fn wait_readable(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> usize {
    let spec = timeout.map(|t| libc::timespec {
        tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(t.subsec_nanos() as i32),
    });
    let spec = spec.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `fds` is a valid array of its length; `spec` is null or points to a timespec that outlives the call.
    let n = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, spec, std::ptr::null()) };
    usize::try_from(n).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(bell: &Bell) -> bool {
        let mut fds = [libc::pollfd { fd: bell.fd(), events: libc::POLLIN, revents: 0 }];
        wait_readable(&mut fds, Some(Duration::ZERO)) == 1
    }

    #[test]
    fn writes_only_when_armed_and_only_once() {
        let bell = Bell::new().unwrap();
        bell.ring();
        assert!(!readable(&bell), "an awake thread costs no system call");
        bell.arm();
        bell.ring();
        assert!(readable(&bell));
        assert!(bell.disarm());
        assert!(!readable(&bell), "the ring was consumed");
        bell.arm();
        assert!(!bell.disarm());
        bell.ring();
        assert!(!readable(&bell));
    }

    #[test]
    fn does_not_sleep_when_something_is_ready() {
        let bell = Bell::new().unwrap();
        bell.wait(|| true, None);
        // A ring between arming and sleeping ends the sleep at once.
        bell.wait(
            || {
                bell.ring();
                false
            },
            None,
        );
        assert!(!readable(&bell));
    }
}
