//! What a channel does while its device is being removed or is under a rate limit.

use primitives::Tag;

use super::{Counted, Started};
use crate::channel::{Channel, DoneBatch};
use crate::io::{Io, Status};
use crate::limits;
use crate::qos::Gate;

impl Counted {
    /// [`Channel::submit`] to a device that is not in plain service.
    pub(super) fn submit_specially(&mut self, mut io: Io) -> Result<(), Io> {
        let removed = self.lifeline.is_removed();
        // Lent memory goes home in any case; what it was lent for has happened.
        if removed && !io.is_lent() {
            if self.outstanding() >= limits::CHANNEL_DEPTH {
                return Err(io);
            }
            // Room was just seen.
            let _ = self.refused.push(io.done(Status::Removed, self.block_size));
            return Ok(());
        }
        let tag = io.tag;
        let started = Started { op: io.op, at: self.clock.now(), blocks: io.blocks };
        if removed {
            return self.tracker.submit(&mut *self.below, io, started);
        }
        let Ok(own) = self.tracker.enter(tag, started) else { return Err(io) };
        io.tag = own;
        let gate = self
            .gate
            .get_or_insert_with(|| Box::new(Gate::new(self.lifeline.qos.clone(), self.clock.clone(), self.block_size)));
        gate.submit(&mut *self.below, io).map_err(|mut io| {
            self.tracker.leave(own);
            io.tag = tag;
            io
        })
    }

    /// Lets operations through the gate, and takes it down once it is of no more use.
    pub(super) fn turn_gate(&mut self, done: &mut DoneBatch) {
        let Some(gate) = &mut self.gate else { return };
        gate.turn(&mut *self.below, self.lifeline.is_removed(), done);
        if gate.is_empty() && !self.lifeline.is_limited() {
            self.gate = None;
        }
    }

    /// Aborts an operation that is in the gate; `false` if it is not.
    pub(super) fn abort_in_gate(&mut self, own: Tag) -> bool {
        self.gate.as_mut().is_some_and(|gate| gate.abort(&mut *self.below, own))
    }

    /// [`Channel::arm`] with a gate.
    pub(super) fn arm_gate(&mut self) -> bool {
        let Some(gate) = &mut self.gate else { return self.below.arm() };
        // What happens after this look rings the gate's bell, which is armed before it.
        gate.arm(&mut *self.below) && !self.lifeline.is_removed()
    }
}
