//! Level-triggered readiness of many sockets for one call.

use crate::limits::READY;
use primitives::Key;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// What is waited for. Errors and the peer's end are told in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Interest {
    pub read: bool,
    pub write: bool,
}

impl Interest {
    pub const READ: Self = Self { read: true, write: false };
    pub const WRITE: Self = Self { read: false, write: true };

    fn flags(self) -> u32 {
        // Without "read" the peer's orderly end is not told either: it comes behind what is not to be read yet.
        let read = if self.read { libc::EPOLLIN | libc::EPOLLRDHUP } else { 0 };
        (read | if self.write { libc::EPOLLOUT } else { 0 }) as u32
    }
}

/// Whose socket it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Listener,
    Incoming,
    Pair,
    Lingering,
}

/// One socket's readiness.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub kind: Kind,
    /// Low 32 bits of what the member was added with are its index, the next 28 the low bits of its generation.
    token: u64,
    pub readable: bool,
    pub writable: bool,
    /// Both directions are over, or the connection is lost.
    pub dead: bool,
}

const GENERATION: u32 = (1 << 28) - 1;

impl Ready {
    pub fn index(&self) -> u32 {
        self.token as u32
    }

    /// Whether this is about the entry of `key`, and not about one before it in the same slot.
    pub fn is(&self, key: Key) -> bool {
        self.index() == key.index && (self.token >> 32) as u32 & GENERATION == key.generation & GENERATION
    }
}

fn token(kind: Kind, key: Key) -> u64 {
    (kind as u64) << 60 | u64::from(key.generation & GENERATION) << 32 | u64::from(key.index)
}

/// A set of sockets.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Box<[libc::epoll_event]>,
    members: usize,
}

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are involved; the result is checked before it is owned.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; READY].into(), members: 0 })
    }

    pub fn add(&mut self, socket: &impl AsRawFd, kind: Kind, key: Key, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, token(kind, key), interest)?;
        self.members += 1;
        Ok(())
    }

    /// Changes what a member waits for, and who it is.
    pub fn change(&mut self, socket: &impl AsRawFd, kind: Kind, key: Key, interest: Interest) {
        let changed = self.control(libc::EPOLL_CTL_MOD, socket, token(kind, key), interest);
        debug_assert!(changed.is_ok(), "a member of the set is changed: {changed:?}");
    }

    pub fn remove(&mut self, socket: &impl AsRawFd) {
        if self.control(libc::EPOLL_CTL_DEL, socket, 0, Interest::READ).is_ok() {
            self.members -= 1;
        }
    }

    /// Looks, without waiting, which sockets are ready; how many there are for [`Epoll::ready`], if anybody was asked.
    pub fn look(&mut self) -> Option<usize> {
        if self.members == 0 {
            return None;
        }
        // SAFETY: the kernel writes at most `events.len()` entries into an array of that length that we own.
        let n = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), READY as i32, 0) };
        Some(usize::try_from(n).unwrap_or(0))
    }

    /// The `i`-th that was ready at the last look.
    pub fn ready(&self, i: usize) -> Ready {
        let event = self.events[i];
        let (flags, token) = (event.events as i32, event.u64);
        let kind = match token >> 60 {
            0 => Kind::Listener,
            1 => Kind::Incoming,
            2 => Kind::Pair,
            _ => Kind::Lingering,
        };
        Ready {
            kind,
            token,
            readable: flags & (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) != 0,
            writable: flags & libc::EPOLLOUT != 0,
            dead: flags & (libc::EPOLLHUP | libc::EPOLLERR) != 0,
        }
    }

    fn control(&self, operation: i32, socket: &impl AsRawFd, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.flags(), u64: token };
        // SAFETY: `event` lives through the call, which reads it and keeps no pointer to it.
        let result = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, socket.as_raw_fd(), &raw mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
