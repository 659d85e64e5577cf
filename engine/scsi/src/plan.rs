//! What is to be done about a command.

use crate::attention::UnitAttention;
use crate::block::BlockOp;
use crate::status::Outcome;

/// Which way a command may move data. A particular CDB may still move none (zero length, BYTCHK=0, NDOB=1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// No data.
    None,
    /// To the initiator (Data-In).
    In,
    /// From the initiator (Data-Out).
    Out,
}

/// The next step of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It has ended and moves no data.
    Done(Outcome),
    /// It has ended with parameter data: `reply[..len]`, already truncated to the ALLOCATION LENGTH.
    Reply {
        /// Bytes of `reply` to send.
        len: usize,
        /// How it ended.
        outcome: Outcome,
    },
    /// Fetch `len` Data-Out bytes (never more than [`crate::limits::PARAMETERS`]), then call [`crate::parameters`].
    Parameters {
        /// Bytes to fetch.
        len: usize,
    },
    /// Run this on the block device and answer with [`BlockOp::success`] or [`crate::block_failure`].
    Block(BlockOp),
    /// Run [`crate::at_home`] on the home core of the unit, with the Data-Out parameters if any were fetched.
    Home,
}

/// What [`crate::at_home`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeOutcome {
    /// How the command ended.
    pub outcome: Outcome,
    /// The unit changed and has a new generation: send it to every core serving it, and answer the initiator only when
    /// all have taken it.
    pub changed: bool,
    /// To be raised on every other nexus of the unit.
    pub attention: Option<UnitAttention>,
    /// Flush the device after every core has taken the new generation and before answering. Only then is it certain
    /// that no write still counts on the volatile cache (MODE SELECT clearing WCE; START STOP UNIT stopping).
    pub flush: bool,
}
