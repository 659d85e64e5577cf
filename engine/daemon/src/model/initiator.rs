//! Initiator groups: who may use a target.

use super::ModelError;
use crate::limits::{MAX_INITIATORS, MAX_ISCSI_NAME_BYTES, MAX_NETMASKS};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names and addresses of initiators. Both must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitiatorGroup {
    /// Unique, greater than 0.
    pub tag: i32,
    /// iSCSI names, `ANY`, or either with `!` before it to refuse. The first that matches decides.
    pub initiators: Vec<String>,
    /// Addresses, networks (`192.168.1.0/24`, `[fe80::]/10`) or `ANY`.
    pub netmasks: Vec<String>,
}

impl InitiatorGroup {
    /// Checks the group; `ALL` becomes `ANY`.
    ///
    /// # Errors
    /// Names the field.
    pub fn normalise(mut self) -> Result<Self, ModelError> {
        if self.tag < 1 {
            return Err(ModelError::invalid("tag", format!("expected 1 or more, got {}", self.tag)));
        }
        if self.initiators.len() > MAX_INITIATORS {
            return Err(ModelError::invalid("initiators", format!("expected at most {MAX_INITIATORS}")));
        }
        if self.netmasks.len() > MAX_NETMASKS {
            return Err(ModelError::invalid("netmasks", format!("expected at most {MAX_NETMASKS}")));
        }
        for text in &mut self.initiators {
            check_initiator(text)?;
            any_for_all(text);
        }
        for text in &mut self.netmasks {
            any_for_all(text);
            if Netmask::parse(text).is_none() {
                let expected =
                    format!("expected ANY, an address or a network like 10.0.0.0/8 or [fe80::]/10, got {text:?}");
                return Err(ModelError::invalid("netmasks", expected));
            }
        }
        first_twice("initiators", &self.initiators)?;
        first_twice("netmasks", &self.netmasks)?;
        Ok(self)
    }

    /// What the group says about a name: allowed, refused, or nothing.
    pub fn allows_name(&self, initiator: &str) -> Option<bool> {
        self.initiators.iter().find_map(|entry| {
            let (verdict, name) = match entry.strip_prefix('!') {
                Some(name) => (false, name),
                None => (true, entry.as_str()),
            };
            (name.eq_ignore_ascii_case("ANY") || name.eq_ignore_ascii_case(initiator)).then_some(verdict)
        })
    }

    /// Whether an address is in one of the networks.
    pub fn allows_address(&self, from: IpAddr) -> bool {
        self.netmasks.iter().filter_map(|text| Netmask::parse(text)).any(|mask| mask.contains(from))
    }
}

fn check_initiator(text: &str) -> Result<(), ModelError> {
    let name = text.strip_prefix('!').unwrap_or(text);
    let printable = name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if (1..=MAX_ISCSI_NAME_BYTES).contains(&name.len()) && printable {
        return Ok(());
    }
    let expected = format!("expected ANY or a name of 1 to {MAX_ISCSI_NAME_BYTES} bytes, got {text:?}");
    Err(ModelError::invalid("initiators", expected))
}

fn any_for_all(text: &mut String) {
    match text.as_str() {
        "ALL" => *text = "ANY".into(),
        "!ALL" => *text = "!ANY".into(),
        _ => {}
    }
}

fn first_twice(field: &str, list: &[String]) -> Result<(), ModelError> {
    match list.iter().enumerate().find(|(at, text)| list[..*at].contains(text)) {
        Some((_, text)) => Err(ModelError::invalid(field, format!("{text:?} is listed twice"))),
        None => Ok(()),
    }
}

/// A set of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Netmask {
    /// Every address.
    Any,
    /// The leading bits of an IPv4 address.
    V4(Ipv4Addr, u32),
    /// The leading bits of an IPv6 address.
    V6(Ipv6Addr, u32),
}

impl Netmask {
    /// Reads `ANY`, an address, or an address, a slash and a number of bits; IPv6 with or without brackets.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("ANY") {
            return Some(Self::Any);
        }
        let (host, bits) = match text.split_once('/') {
            Some((host, bits)) => (host, Some(bits)),
            None => (text, None),
        };
        let ip = super::portal::parse_host(host)?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            // `parse` would take a sign.
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse().ok().filter(|bits| *bits <= most)?,
            Some(_) => return None,
            None => most,
        };
        Some(match ip {
            IpAddr::V4(ip) => Self::V4(ip, bits),
            IpAddr::V6(ip) => Self::V6(ip, bits),
        })
    }

    /// Whether the address is in the set. An IPv4 address that came in over an IPv6 socket counts as IPv4.
    pub fn contains(self, from: IpAddr) -> bool {
        match (self, from.to_canonical()) {
            (Self::Any, _) => true,
            (Self::V4(net, bits), IpAddr::V4(from)) => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                (net.to_bits() ^ from.to_bits()) & mask == 0
            }
            (Self::V6(net, bits), IpAddr::V6(from)) => {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                (net.to_bits() ^ from.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}
