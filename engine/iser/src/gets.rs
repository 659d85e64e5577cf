//! Solicited gets as RDMA Reads (RFC 7145 §7.3.6), no more at once than the read depth allows.

use crate::done::{Done, Outcome};
use alloc::boxed::Box;
use alloc::vec;
use iscsi::datamover::GetData;
use primitives::{Buf, Ring, Tag};
use rdma::{Remote, Sge};

#[derive(Debug)]
struct Waiting {
    tag: Tag,
    from: Remote,
    /// `None` when it was released.
    sink: Option<Sge>,
}

/// The gets of a connection.
#[derive(Debug)]
pub(crate) struct Gets {
    /// Those whose read is not queued yet, oldest first; the first of them was not released.
    waiting: Ring<Waiting>,
    /// The tags of the reads under way, each at the place of its number; `None` for one that was released. Reads end in
    /// the order in which they began.
    reading: Box<[Option<Tag>]>,
    /// The number of the next read to begin.
    begun: usize,
    /// The number of the next read to end.
    ended: usize,
    limit: usize,
    /// iSER-ORD.
    pub ord: u16,
}

impl Gets {
    pub fn new(limit: usize, ord: u16) -> Self {
        let reading = vec![None; limit.next_power_of_two()].into();
        Self { waiting: Ring::new(limit), reading, begun: 0, ended: 0, limit, ord }
    }

    /// Reads under way.
    #[inline]
    fn reading(&self) -> usize {
        self.begun.wrapping_sub(self.ended)
    }

    #[inline]
    pub fn is_full(&self) -> bool {
        self.reading() + self.waiting.len() >= self.limit
    }

    /// Some wait for their read to be posted.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// As many reads as may be are under way.
    #[inline]
    pub fn is_saturated(&self) -> bool {
        self.reading() >= usize::from(self.ord)
    }

    /// A read may begin at once: none waits, and there is room.
    #[inline]
    pub fn may_begin(&self) -> bool {
        self.waiting.is_empty() && self.reading() < self.limit.min(usize::from(self.ord))
    }

    /// Adds one that reads from `from`; it waits. The table must not be full.
    pub fn add(&mut self, get: GetData, from: Remote) {
        let GetData { tag, sink, start, len, .. } = get;
        let sink = Some(Sge::new(sink, start, len));
        let added = self.waiting.push(Waiting { tag, from, sink });
        debug_assert!(added.is_ok(), "fullness was checked");
    }

    /// Takes out the oldest that waits, for its read to be queued and begun.
    pub fn next(&mut self) -> Option<(Tag, Remote, Sge)> {
        if self.is_saturated() {
            return None;
        }
        let Waiting { tag, from, sink } = self.waiting.pop()?;
        self.skip_released();
        Some((tag, from, sink?))
    }

    /// The first that waits is one that was not released.
    fn skip_released(&mut self) {
        while self.waiting.front().is_some_and(|first| first.sink.is_none()) {
            self.waiting.discard();
        }
    }

    #[inline]
    fn place(&self, number: usize) -> usize {
        number & (self.reading.len() - 1)
    }

    /// A read is queued. There must be room for it: it waited, or the table is not full.
    #[inline]
    pub fn begin(&mut self, tag: Tag) {
        let place = self.place(self.begun);
        if let Some(free) = self.reading.get_mut(place) {
            *free = Some(tag);
        }
        self.begun = self.begun.wrapping_add(1);
    }

    /// The read of this tag has ended; how, if it went well.
    #[inline]
    pub fn end(&mut self, tag: Tag) -> Outcome {
        debug_assert!(self.reading() > 0, "a read completes that was not under way");
        let place = self.place(self.ended);
        let released = self.reading.get(place) != Some(&Some(tag));
        self.ended = self.ended.wrapping_add(1);
        if released { Outcome::Released } else { Outcome::Ok }
    }

    /// The read that began last was not posted, and will not be.
    pub fn take_back(&mut self) {
        debug_assert!(self.reading() > 0, "a read comes back that was not under way");
        self.begun = self.begun.wrapping_sub(1);
    }

    /// Releases one get of those that `is_of_task` names: it comes back if it waits, and is marked if its read is under
    /// way. To be called until it returns nothing.
    pub fn release(&mut self, is_of_task: impl Fn(Tag) -> bool) -> Option<Done> {
        for n in 0..self.reading() {
            let place = self.place(self.ended.wrapping_add(n));
            if let Some(read) = self.reading.get_mut(place) {
                *read = read.filter(|tag| !is_of_task(*tag));
            }
        }
        let (tag, buf) = (0..self.waiting.len()).find_map(|n| self.take_waiting(n, &is_of_task))?;
        self.skip_released();
        Some(Done { tag, buf, outcome: Outcome::Released })
    }

    fn take_waiting(&mut self, n: usize, is_of_task: impl Fn(Tag) -> bool) -> Option<(Tag, Buf)> {
        let get = self.waiting.get_mut(n).filter(|get| is_of_task(get.tag))?;
        Some((get.tag, get.sink.take()?.buf))
    }
}
