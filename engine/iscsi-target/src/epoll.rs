//! A thin, safe wrapper around epoll: level-triggered readiness of many sockets for one call a turn.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Readiness reported in one turn at most.
const EVENTS: usize = 128;

/// A set of descriptors.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    events: Box<[libc::epoll_event]>,
    members: usize,
}

/// One descriptor's readiness; with nothing to read, there is room to write.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// As given when it was added.
    pub token: u64,
    /// There is something to read, or an end or an error to learn about.
    pub readable: bool,
}

impl Epoll {
    /// An empty set.
    ///
    /// # Errors
    /// The kernel's, when the process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are involved; the result is checked before it is owned.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS].into(), members: 0 })
    }

    /// Watches `fd` for input, and for room to write if `write`.
    ///
    /// # Errors
    /// The kernel's: out of memory or watches.
    pub fn add(&mut self, fd: RawFd, token: u64, write: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, write)?;
        self.members += 1;
        Ok(())
    }

    /// Descriptors in the set.
    pub fn len(&self) -> usize {
        self.members
    }

    /// Changes whether `fd` is watched for room to write.
    ///
    /// # Errors
    /// The kernel's, if it is not in the set.
    pub fn modify(&mut self, fd: RawFd, token: u64, write: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, write)
    }

    /// Stops watching `fd`.
    pub fn remove(&mut self, fd: RawFd) {
        if self.control(libc::EPOLL_CTL_DEL, fd, 0, false).is_ok() {
            self.members -= 1;
        }
    }

    /// Looks, without waiting, which descriptors are ready, and calls `each` for every one.
    ///
    /// Made without the C library's `epoll_wait`, which costs more instructions to be a cancellation point than the
    /// rest of a turn that finds nothing.
    pub fn poll(&mut self, mut each: impl FnMut(Ready)) -> usize {
        if self.members == 0 {
            return 0;
        }
        let no_signals: *const libc::sigset_t = std::ptr::null();
        // SAFETY: the kernel writes at most `events.len()` entries into an array of that length that we own; the set of
        // signals may be null, then its length says nothing.
        let n = unsafe {
            let (fd, events) = (self.fd.as_raw_fd(), self.events.as_mut_ptr());
            libc::syscall(
                libc::SYS_epoll_pwait,
                fd,
                events,
                EVENTS as libc::c_int,
                0 as libc::c_int,
                no_signals,
                8usize,
            )
        };
        let n = usize::try_from(n).unwrap_or(0);
        for event in &self.events[..n] {
            let flags = event.events;
            each(Ready {
                token: event.u64,
                readable: flags & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLRDHUP) as u32 != 0,
            });
        }
        n
    }

    fn control(&self, operation: i32, fd: RawFd, token: u64, write: bool) -> io::Result<()> {
        let write = if write { libc::EPOLLOUT as u32 } else { 0 };
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32 | write, u64: token };
        // SAFETY: `event` lives through the call, which reads it and keeps no pointer to it.
        let result = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Ends both directions of a socket without closing its descriptor.
pub fn hang_up(fd: RawFd) {
    // SAFETY: no pointers are involved; the caller owns the descriptor.
    unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
}
