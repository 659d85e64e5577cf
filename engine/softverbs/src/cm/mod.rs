//! The connection manager.

mod address;
mod channel;
mod connect;
mod events;
mod id;
mod info;
mod listen;

pub use channel::Channel;
pub use id::Id;
