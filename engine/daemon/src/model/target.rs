//! Target nodes.

use super::{AuthPolicy, ModelError};
use crate::limits::{MAX_ISCSI_NAME_BYTES, MAX_LUNS, MAX_MAPS};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A portal group through which an initiator group may use a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    /// Portal group.
    pub pg_tag: i32,
    /// Initiator group.
    pub ig_tag: i32,
}

/// A logical unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lun {
    /// The block device behind it.
    pub bdev_name: String,
    /// Its number.
    pub lun_id: i32,
}

/// Where sessions through a portal group are sent instead (RFC 7143 §11.13.5, "target moved temporarily").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The portal group it concerns.
    pub pg_tag: i32,
    /// Where to.
    pub to: SocketAddr,
}

/// A target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetNode {
    /// Full, normalised iSCSI name.
    pub name: String,
    /// TargetAlias; may be empty.
    pub alias: String,
    /// Who may come in where. Maps of one portal group are together, as SPDK lists them.
    pub maps: Vec<Map>,
    /// By number.
    pub luns: Vec<Lun>,
    /// Commands in flight in one session.
    pub queue_depth: u32,
    /// How sessions authenticate.
    pub auth: AuthPolicy,
    /// HeaderDigest is required.
    pub header_digest: bool,
    /// DataDigest is required.
    pub data_digest: bool,
    /// At most one per portal group.
    pub redirects: Vec<Redirect>,
}

impl TargetNode {
    /// Checks the alias.
    ///
    /// # Errors
    /// Too long, or holds control characters.
    pub fn check_alias(alias: &str) -> Result<(), ModelError> {
        if alias.len() <= MAX_ISCSI_NAME_BYTES && !alias.chars().any(char::is_control) {
            return Ok(());
        }
        let expected = format!("expected at most {MAX_ISCSI_NAME_BYTES} bytes without control characters");
        Err(ModelError::invalid("alias_name", expected))
    }

    /// Adds a map, next to others of the same portal group.
    ///
    /// # Errors
    /// It is there already, or there are too many.
    pub fn add_map(&mut self, map: Map) -> Result<(), ModelError> {
        if self.maps.contains(&map) {
            return Err(ModelError::invalid("pg_ig_maps", format!("{}:{} is mapped already", map.pg_tag, map.ig_tag)));
        }
        if self.maps.len() >= MAX_MAPS {
            return Err(ModelError::invalid("pg_ig_maps", format!("expected at most {MAX_MAPS} maps")));
        }
        let after = self.maps.iter().rposition(|other| other.pg_tag == map.pg_tag);
        self.maps.insert(after.map_or(self.maps.len(), |at| at + 1), map);
        Ok(())
    }

    /// Removes a map, and a redirection that no map is left for.
    ///
    /// # Errors
    /// There is none.
    pub fn remove_map(&mut self, map: Map) -> Result<(), ModelError> {
        let Some(at) = self.maps.iter().position(|other| *other == map) else {
            return Err(ModelError::invalid("pg_ig_maps", format!("{}:{} is not mapped", map.pg_tag, map.ig_tag)));
        };
        self.maps.remove(at);
        self.drop_stale_redirects();
        Ok(())
    }

    /// Removes every map that fails `keep`.
    pub fn retain_maps(&mut self, keep: impl Fn(&Map) -> bool) {
        self.maps.retain(keep);
        self.drop_stale_redirects();
    }

    fn drop_stale_redirects(&mut self) {
        let maps = &self.maps;
        self.redirects.retain(|redirect| maps.iter().any(|map| map.pg_tag == redirect.pg_tag));
    }

    /// Adds a logical unit; without a number, or with −1, it gets the lowest free one.
    ///
    /// # Errors
    /// The number is taken or out of range.
    pub fn add_lun(&mut self, bdev_name: &str, lun_id: Option<i32>) -> Result<i32, ModelError> {
        let most = MAX_LUNS as i32 - 1;
        let taken = |id: i32| self.luns.iter().any(|lun| lun.lun_id == id);
        let id = match lun_id {
            None | Some(-1) => (0..=most)
                .find(|id| !taken(*id))
                .ok_or_else(|| ModelError::invalid("lun_id", format!("no number is free below {MAX_LUNS}")))?,
            Some(id) if !(0..=most).contains(&id) => {
                return Err(ModelError::invalid(
                    "lun_id",
                    format!("expected 0 to {most}, or -1 for a free one, got {id}"),
                ));
            }
            Some(id) if taken(id) => return Err(ModelError::invalid("lun_id", format!("{id} is taken"))),
            Some(id) => id,
        };
        let at = self.luns.partition_point(|lun| lun.lun_id < id);
        self.luns.insert(at, Lun { bdev_name: bdev_name.to_owned(), lun_id: id });
        Ok(id)
    }

    /// Where sessions through a portal group are sent, if anywhere.
    pub fn redirect(&self, pg_tag: i32) -> Option<SocketAddr> {
        self.redirects.iter().find(|redirect| redirect.pg_tag == pg_tag).map(|redirect| redirect.to)
    }
}
