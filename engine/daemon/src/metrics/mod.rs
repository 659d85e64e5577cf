//! Prometheus metrics over HTTP.
//!
//! Nothing is recorded while I/O runs: cores count in plain integers, and a scrape reads them ([`harvest`]) into the
//! `metrics` facade, whose exporter renders the text.

mod harvest;
mod http;

pub use http::Endpoint;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An address, or a port at loopback.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| format!("expected a port or an address like 127.0.0.1:9090 or [::1]:9090, got {text:?}"))
}
