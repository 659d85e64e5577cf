//! Parameters that many methods share.

use serde::Deserialize;

/// `{"name": …}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByName {
    pub name: String,
}

/// `{"tag": …}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByTag {
    pub tag: i32,
}
