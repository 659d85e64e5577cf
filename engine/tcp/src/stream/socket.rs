//! A connected TCP socket as a [`Stream`].
use super::Stream;
use crate::limits::{NEAR_MICROS, SEND_BUFFER};
use socket2::SockRef;
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

    /// Bounds the send buffer if the peer is near, where little has to be under way to keep the network busy: what the
    /// kernel copies, frees and copies again then stays in the cache (decision 16). To a far peer the buffer grows as
    /// the kernel sees fit.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bound_send_buffer(&self) -> io::Result<()> {
        match send_buffer(self.round_trip()?) {
            Some(bytes) => SockRef::from(&self.0).set_send_buffer_size(bytes as usize),
            None => Ok(()),
        }
    }

    /// How long the peer takes to answer, in microseconds; at first what its handshake took.
    fn round_trip(&self) -> io::Result<u32> {
        // SAFETY: plain data, for which all zeroes is a valid value.
        let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
        let mut len = size_of_val(&info) as libc::socklen_t;
        // SAFETY: the descriptor is ours; `info` and `len` live during the call, which writes no more than `len` bytes.
        let result = unsafe {
            let info = (&raw mut info).cast();
            libc::getsockopt(self.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info, &raw mut len)
        };
        if result == 0 { Ok(info.tcpi_rtt) } else { Err(io::Error::last_os_error()) }
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

/// The bound for a peer that answers within so many microseconds.
fn send_buffer(round_trip: u32) -> Option<u32> {
    (round_trip <= NEAR_MICROS).then_some(SEND_BUFFER)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_send_buffer_of_a_near_peer_is_bounded() {
        assert_eq!([0, NEAR_MICROS, NEAR_MICROS + 1].map(send_buffer), [Some(SEND_BUFFER), Some(SEND_BUFFER), None]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Socket::new(listener.accept().unwrap().0).unwrap();
        let before = SockRef::from(&socket.0).send_buffer_size().unwrap();
        let near = socket.round_trip().unwrap() <= NEAR_MICROS;
        socket.bound_send_buffer().unwrap();
        let after = SockRef::from(&socket.0).send_buffer_size().unwrap();
        // The kernel takes what it is asked for twice, or less if it is not allowed to.
        assert!(if near { after <= 2 * SEND_BUFFER as usize } else { after == before }, "{before} {after}");
    }
}
