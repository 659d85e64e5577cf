//! The iSCSI target engine: binds connections (`iscsi`), the SCSI device server (`scsi`) and block devices (`bdev`)
//! into run-to-completion workers, one per core.
//!
//! A command's way: [`worker`] receives it, [`conn`] gives it a slot and has `scsi` decide it, `job` moves its data
//! between datamover and device, [`conn`] answers it. What reaches beyond one connection is in [`control`].

pub mod conn;
pub mod context;
pub mod control;
pub mod device;
mod epoll;
mod job;
pub mod limits;
pub mod portal;
mod sense;
pub mod service;
pub mod session;
pub mod shared;
mod slot;
pub mod stats;
pub mod target;
pub mod unit;
mod wire;
pub mod worker;
