//! Soft-iWARP as a [`Fabric`].

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

use rdma::{Refused, RequestId};
use siw::Siw;

use super::{Fabric, Parcel};

impl Fabric for Siw {
    fn adopt(&mut self, stream: TcpStream, at: SocketAddr) -> Result<(), Refused> {
        Self::adopt(self, stream, at)
    }

    fn detach(&mut self, request: RequestId) -> Option<Parcel> {
        Self::detach(self, request).map(|parcel| Box::new(parcel) as Parcel)
    }

    fn attach(&mut self, parcel: Parcel) -> Result<(), Refused> {
        let parcel = parcel.downcast().map_err(|_| Refused::Unsupported)?;
        Self::attach(self, *parcel)
    }

    fn rests(&self) -> bool {
        true
    }

    fn wake_fds(&self, out: &mut Vec<RawFd>) {
        out.push(self.as_raw_fd());
    }

    fn arm(&mut self) -> bool {
        // Zero stands for work that is there already and no descriptor tells of.
        Self::deadline(self) != Some(0)
    }

    fn deadline(&self) -> Option<u64> {
        Self::deadline(self)
    }
}
