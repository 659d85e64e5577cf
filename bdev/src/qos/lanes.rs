//! Operations that wait for a limit: reads and writes apart, because each may have a limit of its own.

use primitives::Tag;
use reactors::Nanos;

use super::KINDS;
use super::account::{Cost, OF_EITHER};
use crate::channel::Channel;
use crate::fifo::Fifo;
use crate::io::{Io, Op};
use crate::limits;

/// An operation that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub io: Io,
    pub cost: Cost,
    pub since: Nanos,
    /// Its place in the order of arrival.
    number: u64,
}

impl Waiting {
    pub fn lane(&self) -> Lane {
        Lane::of(self.io.op)
    }

    /// Goes on to the device.
    ///
    /// # Errors
    /// Itself, when the device has no room.
    pub fn pass(self, below: &mut dyn Channel) -> Result<(), Self> {
        let Self { io, cost, since, number } = self;
        below.submit(io).map_err(|io| Self { io, cost, since, number })
    }
}

/// Which lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    Reads,
    Writes,
}

impl Lane {
    fn of(op: Op) -> Self {
        if op == Op::Read { Self::Reads } else { Self::Writes }
    }

    fn other(self) -> Self {
        if self == Self::Reads { Self::Writes } else { Self::Reads }
    }
}

#[derive(Debug)]
pub(super) struct Lanes {
    lanes: [Fifo<Waiting>; 2],
    next: u64,
    /// What everything that waits costs.
    demand: Cost,
}

impl Lanes {
    pub fn new() -> Self {
        let lane = || Fifo::new(limits::CHANNEL_DEPTH);
        Self { lanes: [lane(), lane()], next: 0, demand: [0; KINDS] }
    }

    pub fn len(&self) -> usize {
        self.lanes.iter().map(Fifo::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(Fifo::is_empty)
    }

    /// What everything that waits costs, and `more`.
    pub fn demand(&self, more: &Cost) -> Cost {
        std::array::from_fn(|kind| self.demand[kind].saturating_add(more[kind]))
    }

    /// Appends an operation; gives it back when its lane is full.
    pub fn push(&mut self, io: Io, cost: Cost, since: Nanos) -> Result<(), Io> {
        let lane = Lane::of(io.op);
        let waiting = Waiting { io, cost, since, number: self.next };
        self.lanes[lane as usize].push(waiting).map_err(|waiting| waiting.io)?;
        self.next += 1;
        self.demand = self.demand(&cost);
        Ok(())
    }

    /// The lane of the operation that has waited longest.
    pub fn oldest(&self) -> Option<Lane> {
        let head = |lane: Lane| self.front(lane).map(|waiting| (waiting.number, lane));
        let heads = [head(Lane::Reads), head(Lane::Writes)];
        heads.into_iter().flatten().min_by_key(|(number, _)| *number).map(|(_, lane)| lane)
    }

    /// The lane that may overtake `lane`, whose first operation is held up by limit `kind`: one that has nothing to
    /// do with that limit.
    pub fn passing(&self, lane: Lane, kind: usize) -> Option<Lane> {
        Some(lane.other()).filter(|other| kind >= OF_EITHER && self.front(*other).is_some())
    }

    pub fn front(&self, lane: Lane) -> Option<&Waiting> {
        self.lanes[lane as usize].iter().next()
    }

    pub fn pop(&mut self, lane: Lane) -> Option<Waiting> {
        let waiting = self.lanes[lane as usize].pop()?;
        self.forget(&waiting.cost);
        Some(waiting)
    }

    /// Puts back what was just popped.
    pub fn put_back(&mut self, lane: Lane, waiting: Waiting) {
        self.demand = self.demand(&waiting.cost);
        self.lanes[lane as usize].put_back(waiting);
    }

    /// Takes the operation of this tag out.
    pub fn take(&mut self, tag: Tag) -> Option<Waiting> {
        let waiting = self.lanes.iter_mut().find_map(|lane| lane.take(|waiting| waiting.io.tag == tag))?;
        self.forget(&waiting.cost);
        Some(waiting)
    }

    fn forget(&mut self, cost: &Cost) {
        self.demand.iter_mut().zip(cost).for_each(|(demand, cost)| *demand -= cost);
    }
}
