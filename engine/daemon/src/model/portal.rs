//! Portals and portal groups.

use super::{AuthPolicy, ModelError};
use crate::limits::MAX_PORTALS;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What a portal speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Whatever can be served at its address.
    #[default]
    Auto,
    /// iSCSI over TCP (RFC 7143).
    Tcp,
    /// iSER (RFC 7145).
    Iser,
}

/// What carries iSER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The RDMA device that has the portal's address, else soft-iWARP.
    #[default]
    Auto,
    /// The RDMA device that has the portal's address.
    Verbs,
    /// Soft-iWARP, without a device.
    Siw,
}

/// An address that targets are reached at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Portal {
    /// Numeric address; IPv6 with or without brackets; `*` and `[*]` are the wildcards.
    pub host: String,
    /// Decimal port, as a string (SPDK's form).
    pub port: String,
    /// An addition to SPDK's form, left out where it is the default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub transport: Transport,
    /// Likewise.
    #[serde(default, skip_serializing_if = "is_default")]
    pub provider: Provider,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Portal {
    /// Checks the portal and writes its wildcards out.
    ///
    /// # Errors
    /// Names the field.
    pub fn normalise(mut self) -> Result<Self, ModelError> {
        match self.host.as_str() {
            "*" => self.host = "0.0.0.0".into(),
            "[*]" => self.host = "[::]".into(),
            _ => {}
        }
        self.address()?;
        if self.transport == Transport::Tcp && self.provider != Provider::Auto {
            return Err(ModelError::invalid("provider", "a portal with transport tcp has no provider; leave it out"));
        }
        Ok(self)
    }

    /// Initiators of this transport can use it.
    #[must_use]
    pub fn serves(&self, transport: Transport) -> bool {
        self.transport == Transport::Auto || self.transport == transport
    }

    /// The address to listen at.
    ///
    /// # Errors
    /// Names the field that is no address or port.
    pub fn address(&self) -> Result<SocketAddr, ModelError> {
        let ip = parse_host(&self.host).ok_or_else(|| {
            ModelError::invalid(
                "host",
                format!("expected an IPv4 address or an IPv6 one in brackets, got {:?}", self.host),
            )
        })?;
        let port = self
            .port
            .parse()
            .ok()
            .filter(|port| *port != 0u16)
            .ok_or_else(|| ModelError::invalid("port", format!("expected 1 to 65535, got {:?}", self.port)))?;
        Ok(SocketAddr::new(ip, port))
    }
}

/// A numeric host, IPv6 with or without brackets.
pub fn parse_host(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

/// Portals that belong together; the tag is the target portal group tag of RFC 7143 §3.4.1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortalGroup {
    /// 1 to 65,535, unique.
    pub tag: i32,
    /// Where it listens.
    pub portals: Vec<Portal>,
    /// Left out of discovery; only redirection leads here.
    #[serde(default)]
    pub private: bool,
    /// Bound, but not accepting before `iscsi_start_portal_group`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wait: bool,
    /// How discovery sessions through this group authenticate. Starts as the global policy.
    #[serde(skip)]
    pub auth: AuthPolicy,
}

impl PortalGroup {
    /// Checks the group and normalises its portals.
    ///
    /// # Errors
    /// Names the field.
    pub fn normalise(mut self) -> Result<Self, ModelError> {
        if !(1..=65_535).contains(&self.tag) {
            return Err(ModelError::invalid("tag", format!("expected 1 to 65535, got {}", self.tag)));
        }
        if !(1..=MAX_PORTALS).contains(&self.portals.len()) {
            return Err(ModelError::invalid("portals", format!("expected 1 to {MAX_PORTALS} portals")));
        }
        self.portals = self.portals.into_iter().map(Portal::normalise).collect::<Result<_, _>>()?;
        for (at, portal) in self.portals.iter().enumerate() {
            if self.portals[..at].iter().any(|earlier| earlier.address() == portal.address()) {
                return Err(ModelError::invalid("portals", format!("{portal} is listed twice")));
            }
        }
        Ok(self)
    }
}
