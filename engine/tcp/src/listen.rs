//! [`Listener`]: a portal's listening socket.
use crate::limits::{ACCEPT_TRIES, BACKLOG};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

/// What [`Listener::accept`] came to.
#[derive(Debug)]
pub enum Accepted {
    /// A connection, not blocking, and who made it.
    Connection(TcpStream, SocketAddr),
    /// Nobody is waiting.
    Nothing,
    /// This process has no descriptor left; the oldest waiting connection was closed, so that a level-triggered poll
    /// does not report it for ever.
    Shed,
    /// The system lacks something (errno). The connection still waits: try again later, not at once.
    Exhausted(i32),
}

/// A non-blocking listening TCP socket, over IPv4 or IPv6 only.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// A descriptor to give up when there is no other (see [`Accepted::Shed`]).
    spare: Option<File>,
}

impl Listener {
    /// Listens on `address`; port 0 picks one. An IPv6 socket takes no IPv4 connections: those have portals of their
    /// own. A port whose last connections still linger is taken over (SO_REUSEADDR).
    ///
    /// # Errors
    /// What the kernel says: the address is taken, not local, or privileged.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        Ok(Self { socket: socket.into(), spare: spare() })
    }

    /// The address, with the port that was picked.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Takes one connection, if one waits. Never blocks.
    pub fn accept(&mut self) -> Accepted {
        for _ in 0..ACCEPT_TRIES {
            let error = match self.take() {
                Ok((stream, peer)) => return Accepted::Connection(stream, peer),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Accepted::Nothing,
                Some(libc::EMFILE) => return self.shed(),
                Some(errno @ (libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) => return Accepted::Exhausted(errno),
                // Errors of the connection that was to be accepted (accept(2)): it is gone, the next may be well.
                _ => {}
            }
        }
        Accepted::Nothing
    }

    fn take(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.socket.accept()?;
        stream.set_nonblocking(true)?;
        Ok((stream, peer))
    }

    /// Closes the oldest waiting connection with the spare descriptor's help.
    fn shed(&mut self) -> Accepted {
        if self.spare.take().is_none() {
            self.spare = spare();
            return Accepted::Exhausted(libc::EMFILE);
        }
        drop(self.socket.accept());
        self.spare = spare();
        Accepted::Shed
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_one_by_one() {
        let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(matches!(listener.accept(), Accepted::Nothing));
        let address = listener.local_addr().unwrap();
        let clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        for client in &clients {
            let Accepted::Connection(stream, peer) = listener.accept() else { panic!("a connection waits") };
            assert_eq!(peer, client.local_addr().unwrap());
            let read = io::Read::read(&mut &stream, &mut [0; 1]);
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        }
        assert!(matches!(listener.accept(), Accepted::Nothing));
    }

    #[test]
    fn a_taken_port_is_refused_and_a_closed_one_free_again() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(Listener::bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(Listener::bind(address).is_ok());
    }

    #[test]
    fn both_families_share_a_port_number() {
        let Ok(v6) = Listener::bind("[::]:0".parse().unwrap()) else { return };
        let port = v6.local_addr().unwrap().port();
        assert!(Listener::bind(SocketAddr::from(([0, 0, 0, 0], port))).is_ok(), "V6ONLY leaves IPv4 alone");
    }

    #[test]
    fn a_connection_is_shed_when_descriptors_run_out() {
        let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(matches!(listener.shed(), Accepted::Shed));
        assert_eq!(io::Read::read(&mut &client, &mut [0; 1]).unwrap_or(0), 0, "the client is closed");
        assert!(listener.spare.is_some());
        listener.spare = None;
        assert!(matches!(listener.shed(), Accepted::Exhausted(libc::EMFILE)));
    }
}
