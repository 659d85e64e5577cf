//! The engine end to end: in this process, over loopback sockets, against peers that mean no good.
//!
//! Every test is named after what must hold. When it ends, [`support::World`] checks that no buffer, connection,
//! session or memory was lost and that a well-behaved client is still served.

mod access;
mod basics;
mod changes;
mod disclosure;
mod integrity;
mod iser;
mod keys;
mod lengths;
mod management;
mod medium;
mod mutants;
mod numbers;
mod phases;
mod resources;
mod support;
mod teardown;
