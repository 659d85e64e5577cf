//! Descriptors that programs wait on.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

unsafe extern "C-unwind" {
    /// The C library's, as something that the cancellation of a thread may unwind out of.
    fn read(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
    /// The C library's, as above.
    fn pause() -> c_int;
}

/// A descriptor that is readable while there are rings not waited for.
#[derive(Debug)]
pub struct Bell {
    fd: OwnedFd,
}

impl Bell {
    pub fn new() -> Result<Self, c_int> {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_SEMAPHORE) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EMFILE));
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub fn ring(&self) {
        let one = 1u64;
        // SAFETY: eight bytes are read from `one`. A counter at its limit loses nothing that matters: it is readable.
        unsafe { libc::write(self.fd(), (&raw const one).cast(), 8) };
    }

    /// Takes back a ring, if there is one.
    pub fn unring(&self) {
        let mut descriptor = libc::pollfd { fd: self.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor; then eight bytes are written to `count`.
        unsafe {
            if libc::poll(&raw mut descriptor, 1, 0) > 0 {
                let mut count = 0u64;
                libc::read(self.fd(), (&raw mut count).cast(), 8);
            }
        }
    }
}

/// Waits for a ring of the bell behind `fd`, as its flags say. A thread may be cancelled in here: nothing is held.
pub fn wait(fd: RawFd) -> bool {
    let mut count = 0u64;
    // SAFETY: eight bytes are written to `count`.
    unsafe { read(fd, (&raw mut count).cast(), 8) == 8 }
}

/// Waits for the end of the thread.
pub fn never() -> ! {
    loop {
        // SAFETY: nothing is passed.
        unsafe { pause() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ring_is_heard_once() {
        let bell = Bell::new().unwrap();
        bell.ring();
        bell.ring();
        bell.ring();
        bell.unring();
        assert!(wait(bell.fd()) && wait(bell.fd()));
        // SAFETY: F_SETFL takes a number.
        unsafe { libc::fcntl(bell.fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        assert!(!wait(bell.fd()));
        bell.unring();
    }
}
