//! The datamover over the loopback provider.
mod budget;
#[path = "../../../tcp/tests/tcp/contract.rs"]
mod contract;
mod data;
mod hello;
mod keeps_contract;
mod lengths;
mod memory;
mod peer;
mod random;
mod responses;
mod rig;
mod rooms;
mod server;
mod teardown;
mod unexpected;
mod unsolicited;

#[global_allocator]
static ALLOCATOR: reactors::guard::Counting = reactors::guard::Counting;
