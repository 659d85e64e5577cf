//! Solicited gets as RDMA Reads (RFC 7145 §7.3.6), no more at once than the read depth allows.

use crate::iser::{Done, Outcome};
use iscsi::datamover::GetData;
use primitives::{Buf, IndexQueue, Key, Slab, Tag};
use rdma::{Remote, Sge};

#[derive(Debug)]
struct Get {
    tag: Tag,
    /// While it waits; the read itself holds it later.
    sink: Option<Buf>,
    start: u32,
    len: u32,
    from: Remote,
    /// Its task was released while its read was under way.
    released: bool,
}

/// The gets of a connection.
#[derive(Debug)]
pub(crate) struct Gets {
    gets: Slab<Get>,
    /// Those whose read is not posted yet, oldest first.
    waiting: IndexQueue,
    reading: usize,
    /// iSER-ORD.
    pub ord: u16,
}

impl Gets {
    pub fn new(limit: usize, ord: u16) -> Self {
        // An index must fit a tag.
        let limit = limit.min(usize::from(u16::MAX));
        Self { gets: Slab::new(limit), waiting: IndexQueue::new(limit), reading: 0, ord }
    }

    pub fn is_full(&self) -> bool {
        self.gets.len() == self.gets.capacity()
    }

    /// Some wait for their read to be posted.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// As many reads as may be are under way.
    pub fn is_saturated(&self) -> bool {
        self.reading >= usize::from(self.ord)
    }

    /// Adds one that reads from `from`; it waits. The table must not be full.
    pub fn add(&mut self, get: GetData, from: Remote) {
        let GetData { tag, sink, start, len, .. } = get;
        let entry = Get { tag, sink: Some(sink), start, len, from, released: false };
        let key = self.gets.insert(entry).expect("fullness was checked");
        self.waiting.push(key.index).expect("as long as the table");
    }

    /// Takes out the oldest that waits, for its read to be queued: the key, whence, and the sink.
    #[inline]
    pub fn next(&mut self) -> Option<(Key, Remote, Sge)> {
        if self.is_saturated() {
            return None;
        }
        let (key, get) = self.gets.at(self.waiting.pop()?)?;
        let sink = get.sink.take()?;
        self.reading += 1;
        Some((key, get.from, Sge::new(sink, get.start, get.len)))
    }

    /// A read has completed: its get, which is over. `None` for a tag that no read under way has.
    pub fn completed(&mut self, tag: Tag, mut sink: Buf, ok: bool) -> Option<Done> {
        let (key, _) = self
            .gets
            .at(u32::from(tag.index()))
            .filter(|(key, get)| get.sink.is_none() && key.generation % Tag::GENERATIONS == tag.generation())?;
        let get = self.gets.remove(key)?;
        self.reading -= 1;
        let outcome = if ok && !get.released { Outcome::Ok } else { Outcome::Released };
        if ok {
            let end = get.start as usize + get.len as usize;
            sink.set_len(end.max(sink.len()));
        }
        Some(Done { tag: get.tag, buf: sink, outcome, bytes: get.len })
    }

    /// Releases one get of those that `is_of_task` names: it comes back if it waits, and is marked if its read is under
    /// way. To be called until it returns nothing.
    pub fn release(&mut self, is_of_task: impl Fn(Tag) -> bool) -> Option<Done> {
        while let Some(key) = self.find(|get| is_of_task(get.tag) && !get.released) {
            let get = self.gets.get_mut(key)?;
            if get.sink.is_none() {
                get.released = true;
                continue;
            }
            self.waiting.remove(key.index);
            let get = self.gets.remove(key)?;
            let (tag, bytes) = (get.tag, get.len);
            return get.sink.map(|buf| Done { tag, buf, outcome: Outcome::Released, bytes });
        }
        None
    }

    fn find(&self, wanted: impl Fn(&Get) -> bool) -> Option<Key> {
        self.gets.iter().find(|(_, get)| wanted(get)).map(|(key, _)| key)
    }
}
