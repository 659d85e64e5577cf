//! `Full`: a connection in full-feature phase. Owns the task slots; the jobs in `crate::job` work on them.

use iscsi::connection::FullFeature;
use iscsi::datamover::{Control, Upcall};
use iscsi::discovery::TextExchange;
use iscsi::limits::IMMEDIATE_COMMANDS;
use iscsi::wire::{Opcode, reject_reason};
use primitives::{IndexQueue, Tag};

use super::manage::Management;
use super::units::SessionUnits;
use crate::context::Context;
use crate::session::{ConnId, Session};
use crate::slot::{Phase, Slot};
use crate::target::Entrance;
use crate::unit::LocalUnits;
use crate::wire::Wire;

/// Why a connection has to be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// After a logout: when the peer closes, or has had a moment to do so. Linux's initiator takes an RDMA connection
    /// that ends before it has looked at the response for one that failed, and says so.
    LoggedOut,
    /// After what is queued has been sent.
    Graceful,
    /// At once: the peer broke the protocol or is gone.
    Now,
}

/// A connection in full-feature phase.
#[expect(missing_debug_implementations, reason = "datamovers need none")]
pub struct Full {
    /// Numbering.
    pub(crate) proto: FullFeature,
    /// Who it serves.
    pub(crate) session: Session,
    /// The session's logical units.
    pub(crate) units: SessionUnits,
    pub(super) management: Management,
    pub(super) text: TextExchange,
    pub(super) held: u16,
    slots: Box<[Slot]>,
    /// Slots without a task. The one freed last is taken first: it is still in the cache.
    free: Vec<u16>,
    stalled: IndexQueue,
    pub(super) id: ConnId,
    pub(super) entrance: Entrance,
}

impl Full {
    /// Slots a connection with this command window has.
    pub(crate) fn slots_for(depth: u16) -> usize {
        usize::from(depth) + usize::from(IMMEDIATE_COMMANDS) + SPARE_SLOTS
    }

    /// Enters full-feature phase with a command window of `depth`.
    pub(crate) fn new(
        proto: FullFeature,
        session: Session,
        units: SessionUnits,
        id: ConnId,
        entrance: Entrance,
        depth: u16,
    ) -> Self {
        let count = Self::slots_for(depth);
        Self {
            proto,
            text: TextExchange::new(session.is_discovery()),
            session,
            units,
            management: Management::default(),
            held: 0,
            slots: (0..count).map(|_| Slot::default()).collect(),
            free: (0..count as u16).rev().collect(),
            stalled: IndexQueue::new(count),
            id,
            entrance,
        }
    }

    /// Handles one event. An error closes the connection.
    ///
    /// # Errors
    /// How it has to be closed.
    pub(crate) fn upcall(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, upcall: Upcall) -> Result<(), Close> {
        match upcall {
            Upcall::Control(control) => self.control(dm, ctx, &control),
            Upcall::DataDone { tag, buf, status } => {
                self.data_done(dm, ctx, tag, buf, status);
                Ok(())
            }
            Upcall::Violation(violation) => {
                tracing::warn!(session = %self.session, "{violation}; closing the connection");
                Err(Close::Now)
            }
            // The owner of the connection looks for the end first.
            Upcall::Terminated(_) => Ok(()),
        }
    }

    /// Handles a PDU. An error closes the connection.
    pub(super) fn control(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, control: &Control) -> Result<(), Close> {
        self.proto.keepalive.heard(ctx.now.get());
        if control.bhs.opcode() == Opcode::SCSI_COMMAND && !self.session.is_discovery() {
            self.scsi_command(dm, ctx, control)?;
        } else {
            self.dispatch(dm, ctx, control)?;
        }
        if self.held > 0 {
            // Whatever it was, its CmdSN may have closed a gap.
            self.deliver_held(dm, ctx);
        }
        Ok(())
    }

    /// A PDU other than a command. Apart, so that a command does not pay for the buffers some of them take.
    #[inline(never)]
    fn dispatch(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, control: &Control) -> Result<(), Close> {
        let opcode = control.bhs.opcode();
        if self.session.is_discovery()
            && !matches!(opcode, Opcode::TEXT_REQUEST | Opcode::LOGOUT_REQUEST | Opcode::NOP_OUT)
        {
            // RFC 7143 §4.3: only text and logout; a ping does no harm.
            return self.reject(dm, ctx, control, reject_reason::PROTOCOL_ERROR);
        }
        match opcode {
            Opcode::NOP_OUT => self.nop_out(dm, ctx, control),
            Opcode::TMF_REQUEST => self.task_management_request(dm, ctx, control),
            Opcode::TEXT_REQUEST => self.text_request(dm, ctx, control),
            Opcode::LOGOUT_REQUEST => self.logout_request(dm, ctx, control),
            Opcode::SNACK_REQUEST | Opcode::LOGIN_REQUEST => {
                self.reject(dm, ctx, control, reject_reason::PROTOCOL_ERROR)
            }
            _ => self.reject(dm, ctx, control, reject_reason::COMMAND_NOT_SUPPORTED),
        }
    }

    /// Steps the tasks that could not go on in an earlier turn, each once.
    pub(crate) fn step_stalled(&mut self, dm: &mut Wire, ctx: &mut Context<'_>) {
        for _ in 0..self.stalled.len() {
            let Some(index) = self.stalled.pop() else { break };
            self.slots[index as usize].stalled = false;
            self.advance(dm, ctx, index as u16);
        }
    }

    /// Some task waits for a buffer, a device or the transmit queue.
    pub(crate) fn has_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }

    /// Enters a task in the queue of stalled ones.
    pub(crate) fn stall(&mut self, index: u16) {
        let slot = &mut self.slots[usize::from(index)];
        if !core::mem::replace(&mut slot.stalled, true) {
            // As many places as slots, and each stands in it once.
            let _ = self.stalled.push(u32::from(index));
        }
    }

    /// The slot of a task. Indices come from this connection's own queues and tags.
    pub(crate) fn slot(&mut self, index: u16) -> &mut Slot {
        &mut self.slots[usize::from(index)]
    }

    /// The slot of a task, to look at.
    pub(crate) fn peek(&self, index: u16) -> &Slot {
        &self.slots[usize::from(index)]
    }

    /// The slot of a task, and the numbering, both to be worked on.
    pub(crate) fn parts(&mut self, index: u16) -> (&mut FullFeature, &mut Slot) {
        (&mut self.proto, &mut self.slots[usize::from(index)])
    }

    /// The slot a completion belongs to, unless that task is over.
    pub(crate) fn current(&mut self, tag: Tag) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(tag.index())).filter(|slot| slot.is_current(tag))
    }

    /// The connection's number in tags.
    pub(crate) fn owner(&self) -> u16 {
        // limits::CONNECTIONS_PER_CORE fits 16 bits.
        self.id.index as u16
    }

    /// Slots in all.
    pub(crate) fn slot_count(&self) -> u16 {
        self.slots.len() as u16
    }

    /// Takes a free slot.
    pub(crate) fn take_slot(&mut self) -> Option<u16> {
        self.free.pop()
    }

    /// Every task in progress.
    pub(crate) fn live(&self) -> impl Iterator<Item = u16> + '_ {
        (0..self.slots.len() as u16).filter(|i| self.slots[usize::from(*i)].phase != Phase::Free)
    }

    /// No task is in progress.
    pub(crate) fn is_quiet(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Tasks in progress.
    pub(crate) fn task_count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Empties a slot for its next task. Nothing of the old one may be outstanding.
    pub(crate) fn free_slot(&mut self, ctx: &mut Context<'_>, index: u16) {
        self.drop_chunks(ctx, index);
        let slot = self.slot(index);
        debug_assert_eq!(slot.outstanding, 0);
        if let Some(buf) = slot.early.take() {
            ctx.give(buf, None);
        }
        let stalled = slot.stalled;
        slot.recycle();
        if stalled {
            self.stalled.remove(u32::from(index));
        }
        self.free.push(index);
    }

    /// Lets go of units that left the view once their tasks are gone.
    pub(crate) fn release_lost_units(&mut self, locals: &mut LocalUnits) {
        for entry in self.units.lost() {
            let used = self.live().any(|i| self.peek(i).unit == Some(entry));
            if !used && let Some(unit) = self.units.forget(entry) {
                locals.leave(unit.local);
            }
        }
    }
}

/// Slots beyond window and immediate commands: an answered task keeps its slot until its last bytes are out, while the
/// window is open for the next one.
const SPARE_SLOTS: usize = 16;
