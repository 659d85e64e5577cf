//! iSCSI (RFC 7143), as values in and values out: PDU headers, text keys, negotiation, CHAP, login and discovery.
//!
//! No clock, socket, thread or randomness inside; what must be random or timed is passed in.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod chap;
pub mod connection;
pub mod datamover;
pub mod discovery;
pub mod keys;
pub mod limits;
pub mod login;
pub mod names;
pub mod negotiate;
pub mod text;
pub mod wire;
