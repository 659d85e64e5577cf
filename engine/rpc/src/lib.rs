//! JSON-RPC 2.0 over a unix socket, framed and answered the way SPDK's clients expect.
//!
//! The crate knows the protocol and no method: a [`MethodTable`] maps names to typed handlers over a context type that
//! the caller chooses, [`Listener`] owns the socket file, [`Server`] runs one thread per connection, and [`Client`] is
//! the other end.
//!
//! * Framing: back-to-back JSON values with no delimiter ([`frame`]).
//! * Envelope: `jsonrpc` may be absent but must be `"2.0"`; unknown keys are refused; batches are arrays; a request
//!   without an id is a notification, answered only if it fails ([`envelope`]).
//! * Parameters: objects, decoded strictly; an error names the field and what was expected ([`table`]).
//!
//! Handlers are plain synchronous functions and may block: every connection has a thread of its own.

pub mod client;
pub mod envelope;
pub mod error;
pub mod frame;
pub mod limits;
pub mod server;
pub mod socket;
pub mod table;

pub use client::{Client, ClientError};
pub use error::RpcError;
pub use server::Server;
pub use socket::{ListenError, Listener};
pub use table::{Context, MethodInfo, MethodTable, Phase};
