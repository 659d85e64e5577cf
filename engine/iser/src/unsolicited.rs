//! Data that initiators send unasked: Data-Out in Sends, put together in the sink of a get (RFC 7145 §7.3.4).

use crate::done::{Done, Outcome};
use iscsi::connection::TaskMap;
use iscsi::datamover::{GetData, Violation};
use iscsi::wire::{DataOut, RESERVED_TAG, ScsiCommand};
use primitives::{Buf, Key, Serial, Slab, Tag};

/// What became of a Data-Out.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Its data is in the sink of a get.
    Placed,
    /// It ended a get, which has so many bytes.
    Ended(Done, u32),
    /// It may be late data of a task that is gone, and is discarded.
    Late,
    /// Its task is announced, but nothing has been said about its data yet: it waits.
    Hold,
    /// It can belong to nothing.
    Never(Violation),
}

/// A task whose command said that unsolicited Data-Out follows (F = 0).
#[derive(Debug)]
struct Owing {
    itt: u32,
    /// DataSN of the next PDU.
    data_sn: Serial,
    /// The get that takes it in, once made.
    get: Option<Get>,
}

#[derive(Debug)]
struct Get {
    tag: Tag,
    sink: Buf,
    start: u32,
    len: u32,
    offset: u32,
    /// Bytes in the sink.
    got: u32,
}

/// The tasks that owe unsolicited data.
#[derive(Debug)]
pub(crate) struct Unsolicited {
    owing: Slab<Owing>,
    by_itt: TaskMap,
    /// Gets among them.
    gets: usize,
    /// Bytes a task may send unasked, immediate data included; `None` when it may send none but immediate data.
    first_burst: Option<u32>,
}

impl Unsolicited {
    pub fn new(limit: usize) -> Self {
        let limit = limit.min(usize::from(u16::MAX));
        Self { owing: Slab::new(limit), by_itt: TaskMap::new(limit), gets: 0, first_burst: None }
    }

    /// What was negotiated: FirstBurstLength, if InitialR2T=No.
    pub fn enable(&mut self, first_burst: Option<u32>) {
        self.first_burst = first_burst;
    }

    /// A task may send more unasked than immediate data.
    #[inline]
    pub fn is_possible(&self) -> bool {
        self.first_burst.is_some()
    }

    /// A SCSI Command came in: notes whether unsolicited Data-Out will follow it.
    pub fn announced(&mut self, command: &ScsiCommand) {
        let owes = command.write && !command.final_bit && self.is_possible();
        // A tag in use keeps its owner: the layer above refuses the command. Where there is no room the data is taken
        // for late, and a get for it is told that none comes.
        if !owes || command.itt == RESERVED_TAG || self.by_itt.get(command.itt).is_some() {
            return;
        }
        if let Ok(key) = self.owing.insert(Owing { itt: command.itt, data_sn: Serial(0), get: None })
            && !self.by_itt.insert(command.itt, key.index as u16)
        {
            self.owing.remove(key);
        }
    }

    /// Some task owes data.
    #[inline]
    pub fn is_any(&self) -> bool {
        !self.owing.is_empty()
    }

    /// The task was answered, or will never ask: what it still owes is not wanted.
    pub fn answered(&mut self, itt: u32) {
        if let Some((key, owing)) = self.find(itt)
            && owing.get.is_none()
        {
            self.forget(key);
        }
    }

    /// Adds a get; ends it at once when no data will come.
    pub fn expect(&mut self, get: GetData) -> Option<Done> {
        let GetData { tag, sink, start, len, offset, .. } = get;
        match self.find(get.task.itt) {
            Some((_, owing)) if owing.get.is_none() => {
                owing.get = Some(Get { tag, sink, start, len, offset, got: 0 });
                self.gets += 1;
                None
            }
            _ => Some(Done { tag, buf: sink, outcome: Outcome::Short(0) }),
        }
    }

    /// Judges a Data-Out, and takes its data in.
    pub fn take_in(&mut self, pdu: &DataOut, data: &[u8]) -> Verdict {
        // No R2T is ever sent, so no Target Transfer Tag exists (RFC 7145 §7.1).
        let end = u32::try_from(data.len()).ok().and_then(|len| pdu.buffer_offset.checked_add(len));
        let in_burst = end.is_some_and(|end| self.first_burst.is_some_and(|most| end <= most));
        if pdu.ttt != RESERVED_TAG || !in_burst {
            return Verdict::Never(Violation::UnexpectedData);
        }
        let Some((key, owing)) = self.find(pdu.itt) else { return Verdict::Late };
        let Some(get) = &mut owing.get else {
            if !data.is_empty() {
                return Verdict::Hold;
            }
            // There is nothing to place: an F bit sent after the last data.
            owing.data_sn.take();
            if pdu.final_bit {
                self.forget(key);
            }
            return Verdict::Late;
        };
        if pdu.data_sn != owing.data_sn || !get.takes(pdu.buffer_offset, data.len()) {
            return self.ended(key, Outcome::SequenceError, true);
        }
        owing.data_sn.take();
        get.place(data);
        match (get.len - get.got, pdu.final_bit) {
            // What the task owes beyond a get that went well is for the next get.
            (0, last) => self.ended(key, Outcome::Ok, last),
            (_, true) => {
                let got = get.got;
                self.ended(key, Outcome::Short(got), true)
            }
            (_, false) => Verdict::Placed,
        }
    }

    fn ended(&mut self, key: Key, outcome: Outcome, last: bool) -> Verdict {
        self.end(key, outcome, last).map_or(Verdict::Placed, |(done, bytes)| Verdict::Ended(done, bytes))
    }

    /// Releases one get of those that `is_of_task` names. To be called until it returns nothing.
    pub fn release(&mut self, is_of_task: impl Fn(Tag) -> bool) -> Option<Done> {
        if self.gets == 0 {
            return None;
        }
        let key = self.any(|owing| owing.get.as_ref().is_some_and(|get| is_of_task(get.tag)))?;
        self.end(key, Outcome::Released, true).map(|(done, _)| done)
    }

    /// Ends a get, and what its task owes if that was the `last` of it. Also says how many bytes it has.
    fn end(&mut self, key: Key, outcome: Outcome, last: bool) -> Option<(Done, u32)> {
        let get = self.owing.get_mut(key)?.get.take()?;
        self.gets -= 1;
        if last {
            self.forget(key);
        }
        Some((Done { tag: get.tag, buf: get.sink, outcome }, get.got))
    }

    fn find(&mut self, itt: u32) -> Option<(Key, &mut Owing)> {
        let index = self.by_itt.get(itt)?;
        self.owing.at(u32::from(index))
    }

    fn any(&self, wanted: impl Fn(&Owing) -> bool) -> Option<Key> {
        self.owing.iter().find(|(_, owing)| wanted(owing)).map(|(key, _)| key)
    }

    fn forget(&mut self, key: Key) {
        if let Some(owing) = self.owing.remove(key) {
            self.by_itt.remove(owing.itt);
        }
    }
}

impl Get {
    /// Data at `offset` is what comes next and does not exceed what was asked for.
    fn takes(&self, offset: u32, len: usize) -> bool {
        self.offset.checked_add(self.got) == Some(offset) && len <= (self.len - self.got) as usize
    }

    fn place(&mut self, data: &[u8]) {
        // Within the sink: `got + len` ≤ `self.len` (see `takes`), and `start + self.len` was checked with the get.
        self.sink.copy_in(self.start as usize + self.got as usize, data);
        self.got += data.len() as u32;
    }
}
