//! Whichever transport a session's options ask for.

use std::fmt;
use std::net::SocketAddr;

use iscsi::wire::{Bhs, ScsiCommand};
use primitives::Serial;
use rdma::{Counters, Memory, Refused};

use super::iser::{self, Setup};
use super::tcp::Tcp;
use super::{Agreed, Broken, Data, Finished, Protocol, Transport};
use crate::error::Error;
use crate::options::{Carrier, Options, RdmaProvider};

/// RDMA devices that the program has beside the built-in soft-iWARP, for sessions over iSER. The program gives them
/// with [`Options::rdma_devices`]; this crate knows none.
pub trait RdmaDevices: fmt::Debug + Send + Sync {
    /// Begins to connect to `peer`, usually with [`Iser::connect`](iser::Iser::connect) over a provider of its own.
    /// `None` when no device reaches it.
    ///
    /// # Errors
    /// Why not even a beginning can be made.
    fn connect(&self, peer: SocketAddr, setup: Setup) -> Result<Option<Box<dyn Transport + Send>>, Error>;
}

/// A transport chosen by [`Options::carrier`].
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a session has one, and TCP needs no detour")]
pub enum Any {
    /// TCP.
    Tcp(Tcp),
    /// iSER.
    Iser(Box<dyn Transport + Send>),
}

impl Any {
    /// Begins to connect to `peer`, without waiting.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Rdma`], or [`Error::Option`] when there is no such provider or it is too small.
    pub fn connect(peer: SocketAddr, options: &Options) -> Result<Self, Error> {
        let setup = Setup::of(options);
        match options.carrier {
            Carrier::Tcp => Tcp::connect(peer, setup.slots).map(Self::Tcp),
            Carrier::Iser(RdmaProvider::Siw) => iser::over_siw(peer, setup).map(Self::Iser),
            Carrier::Iser(RdmaProvider::Auto) => match over_device(peer, options, setup)? {
                Some(transport) => Ok(Self::Iser(transport)),
                None => iser::over_siw(peer, setup).map(Self::Iser),
            },
            Carrier::Iser(RdmaProvider::Verbs) => {
                let none = || Error::Option { option: "provider", why: no_device(peer, options) };
                over_device(peer, options, setup)?.map(Self::Iser).ok_or_else(none)
            }
        }
    }
}

fn over_device(peer: SocketAddr, options: &Options, setup: Setup) -> Result<Option<Box<dyn Transport + Send>>, Error> {
    match &options.rdma_devices {
        Some(devices) => devices.connect(peer, setup),
        None => Ok(None),
    }
}

fn no_device(peer: SocketAddr, options: &Options) -> String {
    match &options.rdma_devices {
        Some(_) => format!("no RDMA device reaches {peer}; siw works without one"),
        None => "this program has no RDMA devices; siw works without one".to_owned(),
    }
}

macro_rules! either {
    ($any:expr, $transport:ident => $call:expr) => {
        match $any {
            Any::Tcp($transport) => $call,
            Any::Iser($transport) => $call,
        }
    };
}

impl Transport for Any {
    fn protocol(&self) -> Protocol {
        either!(self, t => t.protocol())
    }

    fn name(&self) -> &'static str {
        either!(self, t => t.name())
    }

    fn add_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        either!(self, t => t.add_memory(memory))
    }

    fn remove_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        either!(self, t => t.remove_memory(memory))
    }

    fn reaches(&self, data: &Data) -> bool {
        either!(self, t => t.reaches(data))
    }

    fn rdma_counters(&self) -> Option<Counters> {
        either!(self, t => t.rdma_counters())
    }

    fn connected(&mut self) -> Result<bool, Broken> {
        either!(self, t => t.connected())
    }

    fn receive(&mut self) -> Result<bool, Broken> {
        either!(self, t => t.receive())
    }

    fn next_pdu(&mut self) -> Result<Option<Bhs>, Broken> {
        either!(self, t => t.next_pdu())
    }

    fn segment(&self) -> &[u8] {
        either!(self, t => t.segment())
    }

    fn send_control(&mut self, bhs: &Bhs, data: &[u8]) -> bool {
        either!(self, t => t.send_control(bhs, data))
    }

    fn has_room(&self) -> bool {
        either!(self, t => t.has_room())
    }

    fn send_command(&mut self, command: &ScsiCommand, data: Data) {
        either!(self, t => t.send_command(command, data));
    }

    fn finish_task(&mut self, itt: u32) -> Finished {
        either!(self, t => t.finish_task(itt))
    }

    fn enable(&mut self, agreed: &Agreed) {
        either!(self, t => t.enable(agreed));
    }

    fn flush(&mut self, exp_stat_sn: Serial) -> Result<(), Broken> {
        either!(self, t => t.flush(exp_stat_sn))
    }

    fn terminate(&mut self) {
        either!(self, t => t.terminate());
    }

    fn drain(&mut self) {
        either!(self, t => t.drain());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Devices that reach nothing but port 1, over TCP as it were.
    #[derive(Debug)]
    struct Devices;

    impl RdmaDevices for Devices {
        fn connect(&self, peer: SocketAddr, setup: Setup) -> Result<Option<Box<dyn Transport + Send>>, Error> {
            (peer.port() == 1).then(|| Tcp::connect(peer, setup.slots).map(|tcp| Box::new(tcp) as _)).transpose()
        }
    }

    fn connect(port: u16, provider: RdmaProvider, devices: bool) -> Result<Any, Error> {
        let rdma_devices = devices.then(|| Arc::new(Devices) as Arc<dyn RdmaDevices>);
        let options = Options { carrier: Carrier::Iser(provider), rdma_devices, ..Options::default() };
        Any::connect(SocketAddr::from(([127, 0, 0, 1], port)), &options)
    }

    #[test]
    fn devices_go_before_soft_iwarp_where_they_reach() {
        for (port, provider, devices, name) in [
            (1, RdmaProvider::Auto, true, "tcp"),
            (1, RdmaProvider::Verbs, true, "tcp"),
            (1, RdmaProvider::Siw, true, "iser/siw"),
            (2, RdmaProvider::Auto, true, "iser/siw"),
            (1, RdmaProvider::Auto, false, "iser/siw"),
        ] {
            assert_eq!(connect(port, provider, devices).unwrap().name(), name, "{port} {provider:?} {devices}");
        }
        for (port, devices, what) in [(2, true, "reaches 127.0.0.1:2"), (1, false, "has no RDMA devices")] {
            let error = connect(port, RdmaProvider::Verbs, devices).unwrap_err().to_string();
            assert!(error.contains("provider") && error.contains(what), "{error}");
        }
    }
}
