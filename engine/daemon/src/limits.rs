//! Every limit of the control plane. Reaching one is a refusal that names it.

use std::time::Duration;

/// Longest iSCSI name, in bytes (RFC 7143 §4.2.7.1).
pub const MAX_ISCSI_NAME_BYTES: usize = 223;

/// Portals in one portal group.
pub const MAX_PORTALS: usize = 64;

/// Portal groups.
pub const MAX_PORTAL_GROUPS: usize = 256;

/// Initiator names in one initiator group.
pub const MAX_INITIATORS: usize = 256;

/// Netmasks in one initiator group.
pub const MAX_NETMASKS: usize = 256;

/// Initiator groups.
pub const MAX_INITIATOR_GROUPS: usize = 1024;

/// Target nodes.
pub const MAX_TARGETS: usize = 1024;

/// Logical units of one target node; their numbers are below this too (peripheral device addressing, SAM-5 §4.7).
pub const MAX_LUNS: usize = 256;

/// Portal group to initiator group maps of one target node.
pub const MAX_MAPS: usize = 256;

/// Authentication groups.
pub const MAX_AUTH_GROUPS: usize = 256;

/// Secrets in one authentication group.
pub const MAX_SECRETS: usize = 256;

/// Longest CHAP user name or secret, in bytes (as in SPDK).
pub const MAX_CHAP_BYTES: usize = 255;

/// Shortest CHAP secret that is accepted without a warning, in bytes: 96 bits (RFC 7143 §12.1.3).
pub const MIN_CHAP_SECRET_BYTES: usize = 12;

/// Block devices.
pub const MAX_BDEVS: usize = 1024;

/// Longest block device name, in bytes.
pub const MAX_BDEV_NAME_BYTES: usize = 255;

/// Longest wait that `bdev_get_bdevs` accepts for a device to appear.
pub const MAX_BDEV_WAIT: Duration = Duration::from_secs(600);

/// How often that wait looks.
pub const BDEV_WAIT_STEP: Duration = Duration::from_millis(20);

/// How long deleting a device waits for its last operations.
pub const BDEV_DELETE_WAIT: Duration = Duration::from_secs(10);

/// Highest rate limit of a block device, in operations or megabytes a second.
pub const MAX_QOS_RATE: u64 = bdev::limits::QOS_RATE;

/// How long shutting down waits for cores to drain.
pub const SHUTDOWN_WAIT: Duration = Duration::from_secs(10);

/// Most sessions `iscsi_set_options` accepts.
pub const MAX_SESSIONS: u32 = 65_535;

/// Largest queue depth `iscsi_set_options` accepts.
pub const MAX_QUEUE_DEPTH: u32 = 1024;

/// Largest configuration file read, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 64 * 1024 * 1024;

/// Events that `notify_get_notifications` can look back on.
pub const MAX_NOTIFICATIONS: usize = 1024;

/// Longest HTTP request head the metrics endpoint reads, in bytes.
pub const MAX_HTTP_HEAD_BYTES: usize = 8 * 1024;

/// How long one metrics request may take, reading and writing each.
pub const HTTP_TIMEOUT: Duration = Duration::from_secs(5);
