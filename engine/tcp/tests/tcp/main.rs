//! The datamover over scripted streams, and over real sockets on the loopback interface.
mod allocations;
mod contract;
mod data_out;
mod framing;
mod keeps_contract;
mod random;
mod sending;
mod socket;
mod support;
mod teardown;
mod unsolicited;
