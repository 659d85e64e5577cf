//! A connected TCP socket as a [`Stream`].
use super::Stream;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

/// A non-blocking TCP socket without Nagle's delay.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    /// Takes a connected socket, however it is set up now.
    ///
    /// # Errors
    /// What the kernel says to non-blocking mode or TCP_NODELAY.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self(socket))
    }

    /// The address at the other end.
    ///
    /// # Errors
    /// What the kernel says, when the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    /// The address at this end: the portal.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The result of a call, with an interrupted one taken as "nothing now": the next turn comes anyway.
fn outcome(result: isize) -> Result<usize, i32> {
    usize::try_from(result).map_err(|_| match io::Error::last_os_error().raw_os_error() {
        Some(libc::EINTR) | None => libc::EAGAIN,
        Some(errno) => errno,
    })
}

impl Stream for Socket {
    unsafe fn readv(&mut self, iov: &[libc::iovec]) -> Result<usize, i32> {
        if let [one] = iov {
            // Cheaper by some 50 ns than a list of one, which the kernel would have to copy in and check.
            // SAFETY: the descriptor is ours, and the caller vouches for the memory.
            return outcome(unsafe { libc::recv(self.as_raw_fd(), one.iov_base, one.iov_len, 0) });
        }
        let count = iov.len() as libc::c_int;
        // SAFETY: the descriptor is ours, `iov` is a live slice of `count` entries, and the caller vouches for the
        // memory they name.
        outcome(unsafe { libc::readv(self.as_raw_fd(), iov.as_ptr(), count) })
    }

    unsafe fn writev(&mut self, iov: &[libc::iovec]) -> Result<usize, i32> {
        if let [one] = iov {
            // SAFETY: as in `readv`, and the kernel only reads.
            return outcome(unsafe { libc::send(self.as_raw_fd(), one.iov_base, one.iov_len, libc::MSG_NOSIGNAL) });
        }
        // SAFETY: `msghdr` is plain data, for which all zeroes is a valid value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = iov.as_ptr().cast_mut();
        message.msg_iovlen = iov.len() as _;
        // SAFETY: the descriptor is ours, `message` names a live slice that the kernel only reads, and the caller
        // vouches for the memory its entries name. MSG_NOSIGNAL: a closed peer is an errno, not a SIGPIPE.
        outcome(unsafe { libc::sendmsg(self.as_raw_fd(), &message, libc::MSG_NOSIGNAL) })
    }

    fn shutdown(&mut self, both: bool) {
        // It fails only when the connection is gone already.
        let _ = self.0.shutdown(if both { Shutdown::Both } else { Shutdown::Write });
    }
}
