//! Signals of the daemon: SIGTERM and SIGINT end it in order, a second one at once; SIGPIPE is an error of a write.

use crate::bell::wait_readable;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// The signal that asked for the end, or 0.
static RECEIVED: AtomicI32 = AtomicI32::new(0);
/// The eventfd the handler writes.
static EVENT: AtomicI32 = AtomicI32::new(-1);
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Why signals are not handled.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// There can be only one.
    #[error("signals are handled already")]
    Installed,
    /// The kernel refused.
    #[error("cannot handle signals: {0}")]
    System(#[from] io::Error),
}

/// What ended [`Signals::wait`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// SIGTERM or SIGINT: shut down in order.
    Signal(i32),
    /// The other descriptor is readable.
    Other,
    /// The time is up.
    Timeout,
}

/// The process's signal handling.
#[derive(Debug)]
pub struct Signals {
    event: OwnedFd,
}

impl Signals {
    /// Handles SIGTERM and SIGINT, and ignores SIGPIPE, from now until the process ends. The second of the two
    /// signals ends the process at once, with status 128 + its number.
    ///
    /// # Errors
    /// [`SignalError::Installed`] on a second call.
    pub fn install() -> Result<Self, SignalError> {
        if INSTALLED.swap(true, Ordering::AcqRel) {
            return Err(SignalError::Installed);
        }
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: `fd` was just created and belongs to nobody else.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        EVENT.store(fd, Ordering::Release);
        let handler = handle as extern "C" fn(libc::c_int) as libc::sighandler_t;
        set_action(libc::SIGTERM, handler)?;
        set_action(libc::SIGINT, handler)?;
        set_action(libc::SIGPIPE, libc::SIG_IGN)?;
        Ok(Self { event })
    }

    /// Waits for a signal, for `other` (say [`crate::Fleet::failure_fd`]) to become readable, or for `timeout`.
    #[must_use]
    pub fn wait(&self, other: Option<BorrowedFd<'_>>, timeout: Option<Duration>) -> Woken {
        let start = Instant::now();
        loop {
            let signal = RECEIVED.load(Ordering::Acquire);
            if signal != 0 {
                return Woken::Signal(signal);
            }
            let watch = |fd: RawFd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // poll(2) skips negative descriptors.
            let mut fds = [watch(self.event.as_raw_fd()), watch(other.map_or(-1, |fd| fd.as_raw_fd()))];
            wait_readable(&mut fds, timeout.map(|t| t.saturating_sub(start.elapsed())));
            if fds[0].revents == 0 && fds[1].revents != 0 {
                return Woken::Other;
            }
            if fds[0].revents == 0 && timeout.is_some_and(|t| start.elapsed() >= t) {
                return Woken::Timeout;
            }
        }
    }

    /// The signal that asked for the end, if one did.
    #[must_use]
    pub fn received(&self) -> Option<i32> {
        Some(RECEIVED.load(Ordering::Acquire)).filter(|signal| *signal != 0)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // The handler stays and must not write to a descriptor that may soon be something else.
        EVENT.store(-1, Ordering::Release);
    }
}

/// Runs on whichever thread the kernel picks, in the middle of anything: only async-signal-safe calls.
extern "C" fn handle(signal: libc::c_int) {
    if RECEIVED.compare_exchange(0, signal, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: ends the process without running anything.
        unsafe { libc::_exit(128 + signal) };
    }
    let one = 1u64.to_ne_bytes();
    // SAFETY: write is async-signal-safe and reads eight bytes; errno is the interrupted code's and put back.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(EVENT.load(Ordering::Acquire), one.as_ptr().cast(), one.len());
        *libc::__errno_location() = errno;
    }
}

fn set_action(signal: libc::c_int, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is valid (no flags, empty mask); the handler is async-signal-safe or SIG_IGN.
    let result = unsafe {
        let mut new = std::mem::zeroed::<libc::sigaction>();
        new.sa_sigaction = action;
        new.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const new, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
