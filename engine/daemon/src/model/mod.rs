//! The configuration model: what exists and how it is related. Pure data with validation, no I/O.
//!
//! A [`Model`] is a value. A change is made on a copy, checked, given to the engine, and only then becomes current, so
//! a refused change leaves nothing behind.

pub mod auth;
pub mod bdev;
pub mod error;
pub mod initiator;
pub mod name;
pub mod options;
pub mod portal;
pub mod target;

pub use auth::{AuthGroup, AuthPolicy, Credential, Secret};
pub use bdev::{BdevOptions, BdevSpec, RateLimits};
pub use error::ModelError;
pub use initiator::InitiatorGroup;
pub use options::Options;
pub use portal::{Portal, PortalGroup};
pub use target::{Map, TargetNode};

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// iSCSI options, discovery authentication included.
    pub options: Options,
    /// Block layer options.
    pub bdev_options: BdevOptions,
    /// Block devices, in order of creation (a layer comes after its base).
    pub bdevs: Vec<BdevSpec>,
    /// Rate limits of those block devices that have any, by name.
    pub rate_limits: BTreeMap<String, RateLimits>,
    /// Portal groups, in order of creation, as are all lists below.
    pub portal_groups: Vec<PortalGroup>,
    /// Initiator groups.
    pub initiator_groups: Vec<InitiatorGroup>,
    /// Target nodes.
    pub targets: Vec<TargetNode>,
    /// Authentication groups.
    pub auth_groups: Vec<AuthGroup>,
}

impl Model {
    /// The portal group with this tag.
    pub fn portal_group(&self, tag: i32) -> Option<&PortalGroup> {
        self.portal_groups.iter().find(|group| group.tag == tag)
    }

    /// The initiator group with this tag.
    pub fn initiator_group(&self, tag: i32) -> Option<&InitiatorGroup> {
        self.initiator_groups.iter().find(|group| group.tag == tag)
    }

    /// The authentication group with this tag.
    pub fn auth_group(&self, tag: i32) -> Option<&AuthGroup> {
        self.auth_groups.iter().find(|group| group.tag == tag)
    }

    /// The target of this name, in any case (RFC 3722).
    pub fn target(&self, name: &str) -> Option<&TargetNode> {
        self.targets.iter().find(|target| target.name.eq_ignore_ascii_case(name))
    }

    /// The block device of this name or UUID.
    pub fn bdev(&self, name: &str) -> Option<&BdevSpec> {
        self.bdevs.iter().find(|bdev| bdev.is_called(name))
    }

    /// The rate limits of the block device of this name.
    pub fn limits_of(&self, bdev: &str) -> RateLimits {
        self.rate_limits.get(bdev).copied().unwrap_or_default()
    }

    /// Whether an initiator that came in through a portal group may use a target: the first initiator group mapped to
    /// the portal group that knows the name decides, unless it merely refuses the address.
    pub fn allows(&self, target: &TargetNode, pg_tag: i32, initiator: &str, from: IpAddr) -> bool {
        for map in target.maps.iter().filter(|map| map.pg_tag == pg_tag) {
            let Some(group) = self.initiator_group(map.ig_tag) else { continue };
            match group.allows_name(initiator) {
                Some(false) => return false,
                Some(true) if group.allows_address(from) => return true,
                _ => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
