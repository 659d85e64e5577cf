//! iSCSI options: `iscsi_set_options`, `iscsi_get_options`.

use super::{AuthPolicy, ModelError, name};
use crate::limits::{MAX_QUEUE_DEPTH, MAX_SESSIONS};
use serde::{Deserialize, Serialize};

/// Values that hold for all target nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// File of CHAP secrets; not supported, must be absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_file: Option<String>,
    /// Put before target names that have no type of their own.
    pub node_base: String,
    /// Most sessions.
    pub max_sessions: u32,
    /// Connections of one session. More than one is accepted for compatibility and negotiated down to one.
    pub max_connections_per_session: u32,
    /// Most commands in flight in one session.
    pub max_queue_depth: u32,
    /// DefaultTime2Wait, in seconds.
    pub default_time2wait: u32,
    /// DefaultTime2Retain, in seconds.
    pub default_time2retain: u32,
    /// FirstBurstLength offered, in bytes. SPDK's default is 8,192; ours is larger because a write up to this size
    /// needs no R2T.
    pub first_burst_length: u32,
    /// ImmediateData offered.
    pub immediate_data: bool,
    /// Accepted for compatibility: sessions of the same name and ISID always reinstate (RFC 7143 §6.3.5).
    pub allow_duplicated_isid: bool,
    /// ErrorRecoveryLevel; only 0 is supported.
    pub error_recovery_level: u32,
    /// How long an initiator may leave a NOP-In unanswered, in seconds.
    pub nop_timeout: i32,
    /// Time between NOP-Ins on an idle connection, in seconds; 0 sends none.
    pub nop_in_interval: i32,
    /// Discovery sessions need no authentication; see [`AuthPolicy`].
    pub disable_chap: bool,
    /// Discovery sessions need CHAP.
    pub require_chap: bool,
    /// And the target authenticates itself.
    pub mutual_chap: bool,
    /// Whose secrets; 0 for none.
    pub chap_group: i32,
    /// Split reads in flight on one connection.
    pub max_large_datain_per_connection: u32,
    /// R2Ts outstanding on one connection.
    pub max_r2t_per_connection: u32,
    /// Sizes of SPDK's pools. Kept so that its files load; pools are sized by `--memory` here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdu_pool_size: Option<u32>,
    /// See `pdu_pool_size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immediate_data_pool_size: Option<u32>,
    /// See `pdu_pool_size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_out_pool_size: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auth_file: None,
            node_base: "iqn.2016-06.io.spdk".into(),
            max_sessions: 128,
            max_connections_per_session: 1,
            max_queue_depth: 64,
            default_time2wait: 2,
            default_time2retain: 20,
            first_burst_length: 65_536,
            immediate_data: true,
            allow_duplicated_isid: false,
            error_recovery_level: 0,
            nop_timeout: 60,
            nop_in_interval: 30,
            disable_chap: false,
            require_chap: false,
            mutual_chap: false,
            chap_group: 0,
            max_large_datain_per_connection: 64,
            max_r2t_per_connection: 4,
            pdu_pool_size: None,
            immediate_data_pool_size: None,
            data_out_pool_size: None,
        }
    }
}

impl Options {
    /// How discovery sessions authenticate.
    pub fn discovery(&self) -> AuthPolicy {
        AuthPolicy {
            disable_chap: self.disable_chap,
            require_chap: self.require_chap,
            mutual_chap: self.mutual_chap,
            chap_group: self.chap_group,
        }
    }

    /// Sets how discovery sessions authenticate.
    pub fn set_discovery(&mut self, policy: AuthPolicy) {
        self.disable_chap = policy.disable_chap;
        self.require_chap = policy.require_chap;
        self.mutual_chap = policy.mutual_chap;
        self.chap_group = policy.chap_group;
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the first that is out of range.
    pub fn check(&self) -> Result<(), ModelError> {
        if self.auth_file.is_some() {
            return Err(ModelError::invalid("auth_file", "not supported; use iscsi_create_auth_group"));
        }
        name::check("node_base", &self.node_base)?;
        self.discovery().check()?;
        in_range("max_sessions", self.max_sessions, 1, MAX_SESSIONS)?;
        in_range("max_connections_per_session", self.max_connections_per_session, 1, 65_535)?;
        in_range("max_queue_depth", self.max_queue_depth, 1, MAX_QUEUE_DEPTH)?;
        in_range("default_time2wait", self.default_time2wait, 0, 3600)?;
        in_range("default_time2retain", self.default_time2retain, 0, 3600)?;
        in_range("first_burst_length", self.first_burst_length, 512, 0x00ff_ffff)?;
        in_range("error_recovery_level", self.error_recovery_level, 0, 0)?;
        in_range("nop_timeout", self.nop_timeout, 0, 3600)?;
        in_range("nop_in_interval", self.nop_in_interval, 0, 60)?;
        in_range("max_large_datain_per_connection", self.max_large_datain_per_connection, 1, 1024)?;
        in_range("max_r2t_per_connection", self.max_r2t_per_connection, 1, 65_535)
    }
}

fn in_range<T: PartialOrd + std::fmt::Display>(field: &str, value: T, low: T, high: T) -> Result<(), ModelError> {
    if low <= value && value <= high {
        return Ok(());
    }
    Err(ModelError::invalid(field, format!("expected {low} to {high}, got {value}")))
}
