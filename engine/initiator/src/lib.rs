//! A small, polled iSCSI initiator: for benchmarks, for tests of targets, and as a client of remote disks.
//!
//! * [`Session`]: the non-blocking state machine. One `writev` and one `readv` a turn, fixed slots, buffers that
//!   move in with a command and come back with its completion, no allocation per I/O.
//! * [`Client`]: a blocking wrapper around it for tools and tests: `connect`, `inquiry`, `read`, `write`, any CDB.
//! * [`discover`] asks a portal for its targets (SendTargets).
//! * [`raw`]: arbitrary bytes and PDUs, before or after a login, to see what a target makes of them.
//! * [`perf`]: the benchmark behind `isere perf`.
//!
//! URLs begin with `iscsi://` for TCP and with `iser://` for iSER. What carries the PDUs is behind
//! [`transport::Transport`], the initiator's half of RFC 5047.

mod arena;
pub mod cdb;
mod client;
mod discovery;
mod error;
pub mod limits;
pub mod login;
mod options;
pub mod perf;
pub mod raw;
pub mod session;
pub mod transport;
pub mod url;
mod wait;

pub use arena::Arena;
pub use client::{Capacity, Client, Inquiry, Reply, Transfer};
pub use discovery::{Discovered, discover};
pub use error::{Error, Violation};
pub use options::{Carrier, Chap, Digest, Options, RdmaProvider};
pub use session::Session;
pub use url::Url;
