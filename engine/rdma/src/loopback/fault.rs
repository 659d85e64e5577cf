//! Faults by plan.

use crate::completion::{Opcode, Status};
use core::net::IpAddr;
use primitives::Tag;

/// When a fault strikes. Each strikes once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// At this tick, or the next if it has passed.
    At(u64),
    /// When the queue pair of this name executes its `n`-th request from now on of this opcode (from 1; any opcode with
    /// `None`), in place of the request's effect.
    Request {
        /// The requester.
        queue: Tag,
        /// What it must be; not [`Opcode::Receive`], which executes nothing.
        opcode: Option<Opcode>,
        /// Which.
        n: u32,
    },
}

/// What a fault does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The request completes with this status. With [`When::Request`] only.
    Fail(Status),
    /// The request, and all behind it, wait for this many ticks. With [`When::Request`] only.
    Hold(u64),
    /// The connection of the queue pair of this name is lost at both ends.
    Lose(Tag),
    /// The device at this address is removed.
    Remove(IpAddr),
}

/// One fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// When.
    pub when: When,
    /// What.
    pub what: What,
}

impl Fault {
    /// Whether it strikes this request; counts down to it.
    pub(super) fn meets(&mut self, name: Tag, executed: Opcode) -> bool {
        let When::Request { queue, opcode, n } = &mut self.when else { return false };
        if *queue != name || opcode.is_some_and(|opcode| opcode != executed) {
            return false;
        }
        *n = n.saturating_sub(1);
        *n == 0
    }

    pub(super) fn is_due(&self, now: u64) -> bool {
        matches!(self.when, When::At(at) if at <= now)
    }
}
