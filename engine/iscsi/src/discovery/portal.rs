//! Target records of a SendTargets answer (RFC 7143 appendix C).
use crate::keys::Key;
use crate::text::{Overflow, TextWriter};
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// An address where a target is reached. Shown as TargetAddress wants it: `address:port,portal-group-tag`, IPv6 in
/// brackets (RFC 7143 §13.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Portal {
    pub address: SocketAddr,
    pub group_tag: u16,
}

impl Portal {
    /// This portal as a peer should be told that reached us at `local`: a wildcard address says nothing to it.
    #[must_use]
    pub fn seen_from(self, local: IpAddr) -> Self {
        if self.address.ip().is_unspecified() {
            Self { address: SocketAddr::new(local, self.address.port()), ..self }
        } else {
            self
        }
    }
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (port, tag) = (self.address.port(), self.group_tag);
        // Not the standard form of a socket address: a scope id means nothing to another host.
        match self.address.ip().to_canonical() {
            IpAddr::V4(ip) => write!(f, "{ip}:{port},{tag}"),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{port},{tag}"),
        }
    }
}

/// One target and where it is.
#[derive(Clone, Copy, Debug)]
pub struct TargetRecord<'a> {
    /// A name in normal form.
    pub name: &'a str,
    pub portals: &'a [Portal],
}

impl TargetRecord<'_> {
    pub(super) fn write(&self, out: &mut TextWriter) -> Result<(), Overflow> {
        out.push(Key::TargetName.name(), self.name)?;
        self.portals.iter().try_for_each(|portal| out.push(Key::TargetAddress.name(), portal))
    }
}
