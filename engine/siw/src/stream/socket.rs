//! A non-blocking TCP socket.

use crate::limits::{NEAR_MICROS, SEND_BUFFER};
use rdma::Refused;
use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

/// Nothing can be moved now.
pub(crate) const AGAIN: i32 = libc::EAGAIN;

/// A non-blocking TCP socket without Nagle's delay.
#[derive(Debug)]
pub(crate) struct Socket(TcpStream);

/// What the kernel says, as a refusal.
pub(crate) fn refused(error: &io::Error) -> Refused {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => Refused::InUse,
        errno => Refused::System(errno.unwrap_or(0)),
    }
}

impl Socket {
    /// Takes a connected socket, however it is set up now.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// A socket that is being connected: it becomes writable when that is decided, see [`Socket::take_error`].
    pub fn connect(to: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        match socket.connect(&SockAddr::from(to)) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Self::new(socket.into()),
        }
    }

    /// A listening socket.
    pub fn listen(at: SocketAddr, backlog: u16) -> io::Result<TcpListener> {
        let socket = socket2::Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        // Connections of an earlier listener may still be there.
        socket.set_reuse_address(true)?;
        if at.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(at))?;
        socket.listen(i32::from(backlog))?;
        Ok(socket.into())
    }

    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    /// The error that ended the connection or the attempt, once.
    pub fn take_error(&self) -> Option<i32> {
        match self.0.take_error() {
            Ok(error) => error.and_then(|e| e.raw_os_error()),
            Err(error) => error.raw_os_error(),
        }
    }

    /// Bytes of payload in a TCP segment to this peer, as of now.
    pub fn segment(&self) -> Option<usize> {
        // SAFETY: the kernel writes a number there.
        let value: libc::c_int = unsafe { self.option(libc::TCP_MAXSEG)? };
        usize::try_from(value).ok()
    }

    /// Bounds the send buffer if the peer is near, where little has to be under way to keep the network busy: what the
    /// kernel copies, frees and copies again then stays in the cache (decision 16).
    pub fn bound_send_buffer(&self) {
        // SAFETY: the kernel writes as much of the structure as it knows; the rest is zero.
        let info: Option<libc::tcp_info> = unsafe { self.option(libc::TCP_INFO) };
        if info.is_some_and(|info| info.tcpi_rtt <= NEAR_MICROS) {
            // Refused, nothing is lost but speed.
            let _ = SockRef::from(&self.0).set_send_buffer_size(SEND_BUFFER);
        }
    }

    /// What the kernel says of an option of TCP.
    ///
    /// # Safety
    /// `T` is what the option has, or its beginning; all zeroes is a value of it.
    unsafe fn option<T>(&self, name: libc::c_int) -> Option<T> {
        let (mut value, mut len) = (std::mem::MaybeUninit::<T>::zeroed(), size_of::<T>() as libc::socklen_t);
        // SAFETY: the descriptor is ours; the kernel writes at most `len` bytes to `value`, which is that long.
        let result = unsafe {
            libc::getsockopt(self.as_raw_fd(), libc::IPPROTO_TCP, name, value.as_mut_ptr().cast(), &raw mut len)
        };
        // SAFETY: zeroes, or what the kernel wrote over them.
        if result < 0 { None } else { Some(unsafe { value.assume_init() }) }
    }

    /// Reads what there is into `iov`, in order; 0 bytes when the peer has closed.
    ///
    /// # Safety
    /// Every entry must be valid for writes of its length.
    pub unsafe fn readv(&self, iov: &[libc::iovec]) -> Result<usize, i32> {
        // SAFETY: the descriptor is ours, `iov` is a live slice of that many entries, and the caller vouches for the
        // memory they name.
        outcome(unsafe { libc::readv(self.as_raw_fd(), iov.as_ptr(), iov.len() as libc::c_int) })
    }

    /// Reads what there is into `bytes`.
    pub fn read(&self, bytes: &mut [u8]) -> Result<usize, i32> {
        let iov = [libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }];
        // SAFETY: the entry is a live slice, borrowed mutably.
        unsafe { self.readv(&iov) }
    }

    /// Writes what fits of `iov`, in order.
    ///
    /// # Safety
    /// Every entry must be valid for reads of its length.
    pub unsafe fn writev(&self, iov: &[libc::iovec]) -> Result<usize, i32> {
        // SAFETY: `msghdr` is plain data, for which all zeroes is a valid value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = iov.as_ptr().cast_mut();
        message.msg_iovlen = iov.len() as _;
        // SAFETY: the descriptor is ours, `message` names a live slice that the kernel only reads, and the caller
        // vouches for the memory its entries name. MSG_NOSIGNAL: a closed peer is an errno, not a SIGPIPE.
        outcome(unsafe { libc::sendmsg(self.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) })
    }

    /// Writes what fits of `bytes`.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, i32> {
        let iov = [libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }];
        // SAFETY: the entry is a live slice, which is only read.
        unsafe { self.writev(&iov) }
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        // It fails only when the connection is gone already.
        let _ = self.0.shutdown(Shutdown::Write);
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
        Some(libc::EINTR) | None => AGAIN,
        Some(errno) => errno,
    })
}
