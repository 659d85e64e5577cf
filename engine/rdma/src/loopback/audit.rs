//! The audit: every access of a peer to a window, held against what is live and what the test says is over.

use crate::limits::{LOOPBACK_ACCESS_LOG, LOOPBACK_AUDIT};
use crate::memory::{Access, Remote, Stag};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use primitives::Tag;

/// One RDMA Write or Read that arrived at a window's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Touch {
    /// The tick.
    pub at: u64,
    /// The queue pair whose memory was meant.
    pub queue: Tag,
    /// The queue pair that asked.
    pub by: Tag,
    /// What it asked for.
    pub access: Access,
    /// Where.
    pub remote: Remote,
    /// Bytes.
    pub len: u32,
}

/// What is wrong with an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// The connection has no such window.
    Unknown,
    /// The window was invalidated before, or the key byte is not the current one.
    Invalidated,
    /// It was live, but its task was over: see [`super::World::task_over`].
    TaskOver,
    /// Some of the bytes lie outside.
    Bounds,
    /// It was opened for the other direction.
    Rights,
}

/// An access that must not have been made. The device refused it, except for [`Wrong::TaskOver`], which no device sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// What is wrong.
    pub wrong: Wrong,
    /// The access; for a wrong Send with Invalidate, of no bytes at address 0.
    pub touch: Touch,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Touch { at, queue, by, access, remote, len } = self.touch;
        let wrong = self.wrong;
        write!(f, "tick {at}: {by:?} asked for {access:?} of {len} bytes at {remote:?} of {queue:?}: {wrong:?}")
    }
}

#[derive(Debug)]
pub(super) struct Audit {
    log: VecDeque<Touch>,
    over: VecDeque<(Tag, Stag)>,
    violations: Vec<Violation>,
    uncounted: u64,
    /// Windows whose memory was lost with their queue pair.
    pub(super) lost_windows: u64,
}

impl Audit {
    pub(super) fn new() -> Self {
        Self {
            log: VecDeque::with_capacity(LOOPBACK_ACCESS_LOG),
            over: VecDeque::with_capacity(LOOPBACK_AUDIT),
            violations: Vec::with_capacity(LOOPBACK_AUDIT),
            uncounted: 0,
            lost_windows: 0,
        }
    }

    pub(super) fn task_over(&mut self, queue: Tag, stag: Stag) {
        if self.over.len() == LOOPBACK_AUDIT {
            self.over.pop_front();
        }
        self.over.push_back((queue, stag));
    }

    /// The STag means another task from now on.
    pub(super) fn reopened(&mut self, queue: Tag, stag: Stag) {
        self.over.retain(|closed| *closed != (queue, stag));
    }

    pub(super) fn touched(&mut self, touch: Touch, wrong: Option<Wrong>) {
        if self.log.len() == LOOPBACK_ACCESS_LOG {
            self.log.pop_front();
        }
        self.log.push_back(touch);
        let over = self.over.contains(&(touch.queue, touch.remote.stag)).then_some(Wrong::TaskOver);
        if let Some(wrong) = wrong.or(over) {
            self.violation(Violation { wrong, touch });
        }
    }

    pub(super) fn violation(&mut self, violation: Violation) {
        if self.violations.len() == LOOPBACK_AUDIT {
            self.uncounted += 1;
        } else {
            self.violations.push(violation);
        }
    }

    pub(super) fn touches(&self) -> Vec<Touch> {
        self.log.iter().copied().collect()
    }

    pub(super) fn take_violations(&mut self) -> Vec<Violation> {
        self.uncounted = 0;
        core::mem::replace(&mut self.violations, Vec::with_capacity(LOOPBACK_AUDIT))
    }

    pub(super) fn violations(&self) -> (&[Violation], u64) {
        (&self.violations, self.uncounted)
    }
}
