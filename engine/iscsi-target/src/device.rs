//! RDMA devices as a worker uses them, whatever provider is behind them.

mod loopback;
mod over;
mod soft;
mod stock;
#[cfg(feature = "verbs")]
mod verbs;

use std::net::{SocketAddr, TcpStream};
use std::os::fd::RawFd;

use primitives::Tag;
use rdma::{
    Attributes, CompletionBatch, Counters, Event, PrivateData, Provider, QueuePair, ReceiveRequest, Refused, RequestId,
};
use reactors::{Pools, RegionChanges};

pub use over::Over;
pub use stock::Stock;

/// A connection request on its way from one core to another, in its provider's own form.
pub type Parcel = Box<dyn std::any::Any + Send>;

/// What a provider can beside the verbs seam, so that portals can be served by it.
pub trait Fabric: Provider<Queue: 'static> {
    /// Takes over a connection whose first bytes, still unread, are an MPA request; [`Event::Request`] follows when
    /// it is complete.
    ///
    /// # Errors
    /// The connection is closed.
    fn adopt(&mut self, stream: TcpStream, at: SocketAddr) -> Result<(), Refused> {
        drop((stream, at));
        Err(Refused::Unsupported)
    }

    /// Takes an unanswered request out, for another core.
    fn detach(&mut self, request: RequestId) -> Option<Parcel> {
        let _ = request;
        None
    }

    /// Takes a request in that another core's provider gave up; its [`Event::Request`] comes here again.
    ///
    /// # Errors
    /// The request is lost.
    fn attach(&mut self, parcel: Parcel) -> Result<(), Refused> {
        drop(parcel);
        Err(Refused::Unsupported)
    }

    /// It has nothing to do while it has no connection, none in the making, and no timer: it listens to nobody by
    /// itself.
    fn rests(&self) -> bool;

    /// Descriptors that become readable when there is something to do.
    fn wake_fds(&self, out: &mut Vec<RawFd>);

    /// Makes sure that what happens from now on makes a descriptor readable. `false` when something has happened
    /// already.
    fn arm(&mut self) -> bool {
        true
    }

    /// The next instant, in nanoseconds of the clock given to [`Provider::progress`], at which it wants to be polled
    /// even so.
    fn deadline(&self) -> Option<u64> {
        None
    }
}

/// One device as one worker drives it: a provider with its completion queue and its receives.
pub trait Device {
    /// What configuration and counters call it.
    fn name(&self) -> &str;
    /// What it can do.
    fn attributes(&self) -> Attributes;
    /// Regions of the arena came and went.
    fn memory_changed(&mut self, changes: &RegionChanges);
    /// See [`Provider::progress`].
    fn progress(&mut self, now: u64);
    /// Moves completions into `batch`.
    fn poll(&mut self, batch: &mut CompletionBatch);
    /// The next connection event.
    fn event(&mut self) -> Option<Event>;
    /// Begins to answer a request with a queue pair that is not started yet, with a receive queue of its own unless
    /// receives are shared.
    ///
    /// # Errors
    /// [`Refused`]; the request still waits.
    fn prepare(&mut self, request: RequestId, name: Tag, receive_depth: u16) -> Result<Box<dyn QueuePair>, Refused>;
    /// Says no.
    fn reject(&mut self, request: RequestId, private: PrivateData);
    /// Takes shared receives back that were used, all of them, to post them again with the next [`Device::ring`].
    fn recycle(&mut self, receives: &mut Vec<ReceiveRequest>);
    /// Receives are shared among the connections of this device.
    fn shares_receives(&self) -> bool;
    /// Posts the shared receives that came back: one doorbell.
    fn ring(&mut self);
    /// See [`Provider::listen`].
    ///
    /// # Errors
    /// [`Refused`].
    fn listen(&mut self, at: SocketAddr, backlog: u16) -> Result<SocketAddr, Refused>;
    /// See [`Provider::unlisten`].
    fn unlisten(&mut self, at: SocketAddr);
    /// See [`Fabric::adopt`].
    ///
    /// # Errors
    /// [`Refused`].
    fn adopt(&mut self, stream: TcpStream, at: SocketAddr) -> Result<(), Refused>;
    /// See [`Fabric::detach`].
    fn detach(&mut self, request: RequestId) -> Option<Parcel>;
    /// See [`Fabric::attach`].
    ///
    /// # Errors
    /// [`Refused`].
    fn attach(&mut self, parcel: Parcel) -> Result<(), Refused>;
    /// See [`Fabric::rests`].
    fn rests(&self) -> bool;
    /// See [`Fabric::wake_fds`].
    fn wake_fds(&self, out: &mut Vec<RawFd>);
    /// See [`Fabric::arm`].
    fn arm(&mut self) -> bool;
    /// See [`Fabric::deadline`].
    fn deadline(&self) -> Option<u64>;
    /// Counts of all its queue pairs.
    fn counters(&self) -> Counters;
    /// Gives all memory back that no connection holds; for the end.
    fn close(&mut self, pools: &mut Pools);
}
