//! Rate limits of a block device.

use crate::limits::MAX_QOS_RATE;
use crate::model::ModelError;
use serde::Serialize;
use serde_json::{Map, Value};

/// Rate limits, named as SPDK names them; 0 is no limit. A megabyte has 2²⁰ bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RateLimits {
    /// Reads and writes a second.
    pub rw_ios_per_sec: u64,
    /// Megabytes read and written a second.
    pub rw_mbytes_per_sec: u64,
    /// Megabytes read a second.
    pub r_mbytes_per_sec: u64,
    /// Megabytes written a second.
    pub w_mbytes_per_sec: u64,
}

impl RateLimits {
    /// No limit at all.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Checks all rates.
    ///
    /// # Errors
    /// EINVAL naming the one that is too high.
    pub fn check(&self) -> Result<(), ModelError> {
        match self.all().into_iter().find(|(_, rate)| *rate > MAX_QOS_RATE) {
            None => Ok(()),
            Some((name, rate)) => {
                let expected = format!("{name}: expected at most {MAX_QOS_RATE}, got {rate}");
                Err(ModelError::errno(libc::EINVAL, expected))
            }
        }
    }

    /// Those that are limits, as parameters of `bdev_set_qos_limit`.
    pub fn given(&self) -> Map<String, Value> {
        let given = self.all().into_iter().filter(|(_, rate)| *rate > 0);
        given.map(|(name, rate)| (name.to_owned(), rate.into())).collect()
    }

    fn all(&self) -> [(&'static str, u64); 4] {
        [
            ("rw_ios_per_sec", self.rw_ios_per_sec),
            ("rw_mbytes_per_sec", self.rw_mbytes_per_sec),
            ("r_mbytes_per_sec", self.r_mbytes_per_sec),
            ("w_mbytes_per_sec", self.w_mbytes_per_sec),
        ]
    }
}
