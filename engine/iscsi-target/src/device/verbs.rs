//! RDMA devices of the machine as [`Fabric`]s.

use std::os::fd::RawFd;

use rdma::{Refused, RequestId};
use rdma_verbs::Verbs;

use super::{Fabric, Parcel};

impl Fabric for Verbs {
    fn detach(&mut self, request: RequestId) -> Option<Parcel> {
        Self::detach(self, request).map(|parcel| Box::new(parcel) as Parcel)
    }

    fn attach(&mut self, parcel: Parcel) -> Result<(), Refused> {
        let parcel = parcel.downcast().map_err(|_| Refused::Unsupported)?;
        Self::attach(self, *parcel)
    }

    fn rests(&self) -> bool {
        false
    }

    fn wake_fds(&self, out: &mut Vec<RawFd>) {
        out.extend(Self::wake_fds(self));
    }

    fn arm(&mut self) -> bool {
        Self::arm(self)
    }

    fn deadline(&self) -> Option<u64> {
        Self::deadline(self)
    }
}
