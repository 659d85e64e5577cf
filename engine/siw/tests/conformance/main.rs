//! The conformance suite of the verbs seam, over 127.0.0.1.

#[macro_use]
#[allow(dead_code, reason = "sockets have no seed")]
#[path = "../../../rdma/tests/conformance/suite/mod.rs"]
mod suite;

use siw::{Config, Crc, Fpdu, Siw};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Instant;
use suite::{Harness, Options, Side};

#[global_allocator]
static ALLOCATOR: reactors::guard::Counting = reactors::guard::Counting;

/// Two devices that meet over the loopback interface. `KIND` is how they are set up.
#[derive(Debug)]
pub struct Sockets<const KIND: u8> {
    devices: [Siw; 2],
    began: Instant,
}

const PLAIN: u8 = 0;
const CRC: u8 = 1;
/// FPDUs so short that most messages are several segments. But not so short that the accesses of the clauses are: each
/// segment is judged by itself (RFC 5041 §7.1), and those before the first that is wrong are placed.
const SHORT: u8 = 2;

impl<const KIND: u8> Harness for Sockets<KIND> {
    type P = Siw;

    fn new(options: Options) -> Self {
        assert!(!options.overruns_depth, "this harness cannot");
        let config = match KIND {
            CRC => Config { crc: Crc::Always, ..Config::default() },
            SHORT => Config { fpdu: Fpdu::UpTo(1_040), ..Config::default() },
            _ => Config::default(),
        };
        Self { devices: [(); 2].map(|()| Siw::new(config).unwrap()), began: Instant::now() }
    }

    fn provider(&mut self, side: Side) -> &mut Siw {
        &mut self.devices[side as usize]
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    fn nowhere(&self) -> SocketAddr {
        // Bound for a moment and free again: nobody else is given it so soon.
        TcpListener::bind(self.address()).unwrap().local_addr().unwrap()
    }

    fn pause(&mut self) -> u64 {
        // What one socket sent is in the other when the call returns, unless the machine is busy.
        std::thread::yield_now();
        self.began.elapsed().as_nanos() as u64 + 1
    }
}

conformance!(plain, crate::Sockets<{ crate::PLAIN }>);
conformance!(crc, crate::Sockets<{ crate::CRC }>);
conformance!(short, crate::Sockets<{ crate::SHORT }>);
