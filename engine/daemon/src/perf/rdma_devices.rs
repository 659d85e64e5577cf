//! The RDMA devices of this machine, for sessions of `isere perf` over iSER.

use initiator::Error;
use initiator::transport::iser::{Iser, Setup};
use initiator::transport::{RdmaDevices, Transport};
use rdma_verbs::{Config, Use, Verbs};
use std::net::SocketAddr;

/// Whichever has the address from which packets to the target leave.
#[derive(Debug)]
pub struct ByRoute;

impl RdmaDevices for ByRoute {
    fn connect(&self, peer: SocketAddr, setup: Setup) -> Result<Option<Box<dyn Transport + Send>>, Error> {
        let Ok(local) = rdma_verbs::route(peer) else { return Ok(None) };
        if rdma_verbs::serves(local).is_none() {
            return Ok(None);
        }
        // Sessions are made on one thread and driven by another.
        let config = Config { used_by: Use::OneAtATime, ..Config::default() };
        let device = Verbs::open(local, config);
        let device = device.map_err(|error| Error::Option { option: "provider", why: error.to_string() })?;
        Ok(Some(Box::new(Iser::connect(device, "iser/verbs", peer, setup)?)))
    }
}
