//! The SCSI device server of a direct-access block device: SAM-5 task attributes, SPC-4 and SBC-3 commands.
//!
//! CDBs go in, block operations and responses come out. The crate knows no block device, no iSCSI, no clock, no thread
//! and allocates nothing on the way of a command, so the same code runs on hardware and in a simulation.
//!
//! The connections (I_T nexuses) of one logical unit live on different cores, so its state is split:
//! * [`LogicalUnit`]: what all nexuses share and what changes rarely. One truth on a home core; every core serving the
//!   unit holds a clone, told apart by `generation`.
//! * [`Nexus`]: what belongs to one I_T nexus and this unit, living only on its connection's core.
//!
//! The life of a command: [`execute`] decides it against the core's copy and returns a [`Plan`]. A plan may ask for
//! Data-Out parameters ([`parameters`]), for a block operation ([`BlockOp`]; a failure becomes sense with
//! [`block_failure`]), or for a change of the unit on its home core ([`at_home`]).
//!
//! One declarative table (`table`) says which commands exist; dispatch and REPORT SUPPORTED OPERATION CODES both read
//! it. A new command is a row there and a handler in the file of its subject.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// Outside input must not be able to panic: CDB bytes are read through `cdb` and `primitives::span` only.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic))]

extern crate alloc;

mod absent;
mod attention;
mod block;
mod cache;
mod capacity;
mod cdb;
mod dispatch;
mod inquiry;
pub mod limits;
mod lun;
mod mode;
mod nexus;
pub mod opcodes;
mod plan;
mod prevent;
mod read_write;
mod reply;
mod report_luns;
mod report_opcodes;
mod report_tmf;
mod request_sense;
mod reserve;
pub mod sense;
mod start_stop;
mod status;
mod table;
mod task_set;
mod unit;
mod unmap;
mod verify;
mod vpd;
mod write_same;

#[cfg(test)]
mod tests;

pub use absent::execute_without_lu;
pub use attention::UnitAttention;
pub use block::{BlockFailure, BlockKind, BlockOp, block_failure};
pub use dispatch::{at_home, direction, execute, name, parameters};
pub use lun::Lun;
pub use mode::ModePages;
pub use nexus::{Nexus, NexusId};
pub use plan::{Direction, HomeOutcome, Plan};
pub use sense::{FieldPointer, Sense, SenseFormat, SenseKey};
pub use status::{Outcome, Status};
pub use task_set::{Admission, TaskAttribute, TaskSet};
pub use unit::{Identity, LogicalUnit, Medium, UnitError, View};
pub use unmap::{UnmapRange, UnmapRanges};
