//! The gets of a connection: which Data-Out belongs to which, and whether it is in order (RFC 7143 §4.2.5.2, §11.7).
use crate::itt_map::IttMap;
use crate::limits::{DIRECT_MIN, Limits, MAX_GETS};
use iscsi::datamover::{DataStatus, GetData, TaskName, Violation};
use iscsi::wire::{Bhs, DataOut, RESERVED_TAG, ScsiCommand};
use primitives::{Buf, Key, Serial, Slab, Tag};

/// What is to become of a Data-Out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Its data goes into the sink of this get.
    Place(Key),
    /// It breaks the rules of this get, which ends; its data is discarded.
    Break(Key),
    /// It may be late data of a task that is gone; it is discarded.
    Late,
    /// Its task is announced, but nothing has been said about its data yet.
    Hold,
    /// It can belong to nothing.
    Never(Violation),
}

/// A get that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub tag: Tag,
    pub buf: Buf,
    pub status: DataStatus,
}

#[derive(Debug)]
struct Get {
    tag: Tag,
    task: TaskName,
    sink: Buf,
    start: u32,
    len: u32,
    offset: u32,
    unsolicited: bool,
    /// Counted in `Transfers::large`.
    large: bool,
    /// Bytes in the sink.
    got: u32,
    /// DataSN of the next PDU; that of unsolicited data is kept with the task.
    data_sn: Serial,
    /// The PDU being placed is the last of its sequence.
    last: bool,
}

/// A task whose command said that unsolicited Data-Out follows (F = 0).
#[derive(Debug)]
struct Owing {
    state: OwingState,
    data_sn: Serial,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OwingState {
    /// No get has been made for the next of its data.
    Announced,
    /// This get takes it.
    Active(Key),
}

/// Active gets, and the tasks that owe unsolicited data.
#[derive(Debug)]
pub(crate) struct Transfers {
    gets: Slab<Get>,
    owing: IttMap<Owing>,
    /// Solicited gets whose payloads may be worth reading straight into their sinks.
    large: usize,
    /// The longest data segment the initiator may send.
    pub segment: u32,
    /// Bytes a task may send unasked, immediate data included; `None` when it may send none but immediate data.
    pub first_burst: Option<u32>,
}

const INDEX_BITS: u32 = MAX_GETS.trailing_zeros();
/// One less than fits, so that no tag is the reserved one.
const GENERATIONS: u32 = (1 << (32 - INDEX_BITS)) - 1;

/// The Target Transfer Tag of a get: its slot, and how often that had been used.
fn transfer_tag(key: Key) -> u32 {
    ((key.generation % GENERATIONS) << INDEX_BITS) | key.index
}

impl Transfers {
    pub fn new(limits: &Limits) -> Self {
        Self {
            gets: Slab::new(limits.gets.min(MAX_GETS)),
            owing: IttMap::new(limits.unsolicited),
            large: 0,
            segment: 0,
            first_burst: None,
        }
    }

    pub fn expects_large(&self) -> bool {
        self.large > 0
    }

    pub fn is_full(&self) -> bool {
        self.gets.len() == self.gets.capacity()
    }

    /// A SCSI Command came in: notes whether unsolicited Data-Out will follow it.
    pub fn announced(&mut self, command: &ScsiCommand) {
        let owes = command.write && !command.final_bit && self.first_burst.is_some();
        // A tag in use keeps its owner: the layer above refuses the command. Where there is no room the data is taken
        // for late, and a get for it is told that none comes.
        if owes && self.owing.get_mut(command.itt).is_none() {
            let _ = self.owing.insert(command.itt, Owing { state: OwingState::Announced, data_sn: Serial(0) });
        }
    }

    /// The task was answered: what it still owes is not wanted.
    pub fn answered(&mut self, itt: u32) {
        if self.owing.get_mut(itt).is_some_and(|owing| owing.state == OwingState::Announced) {
            self.owing.remove(itt);
        }
    }

    /// Task management was answered: a task it ended is not answered itself, so what is not fetched yet is not
    /// waited for. A get that still comes for it is told that nothing does, and its owner can solicit.
    pub fn management_answered(&mut self) {
        while let Some(itt) = self.owing.find_key(|owing| owing.state == OwingState::Announced) {
            self.owing.remove(itt);
        }
    }

    /// Adds a get whose data will be solicited; returns the TTT for its R2T. There must be room.
    pub fn solicit(&mut self, get: GetData) -> Result<u32, GetData> {
        if self.is_full() {
            return Err(get);
        }
        let key = self.insert(get);
        self.large += usize::from(self.gets.get(key).is_some_and(|get| get.large));
        Ok(transfer_tag(key))
    }

    /// Adds a get for unsolicited data; ends it at once when none will come.
    pub fn expect(&mut self, get: GetData) -> Result<Option<Ended>, GetData> {
        if self.is_full() {
            return Err(get);
        }
        let itt = get.task.itt;
        if self.owing.get_mut(itt).is_none_or(|owing| owing.state != OwingState::Announced) {
            return Ok(Some(Ended { tag: get.tag, buf: get.sink, status: DataStatus::Short(0) }));
        }
        let key = self.insert(get);
        if let Some(owing) = self.owing.get_mut(itt) {
            owing.state = OwingState::Active(key);
        }
        Ok(None)
    }

    fn insert(&mut self, get: GetData) -> Key {
        assert!(get.len > 0 && get.start as usize + get.len as usize <= get.sink.capacity(), "a get without room");
        let get = Get {
            large: !get.unsolicited && !get.sink.is_cold() && get.len.min(self.segment) >= DIRECT_MIN,
            tag: get.tag,
            task: get.task,
            sink: get.sink,
            start: get.start,
            len: get.len,
            offset: get.offset,
            unsolicited: get.unsolicited,
            got: 0,
            data_sn: Serial(0),
            last: false,
        };
        self.gets.insert(get).expect("fullness was checked")
    }

    /// Judges a Data-Out of `len` bytes.
    pub fn judge(&mut self, pdu: &DataOut, len: u32) -> Verdict {
        if pdu.ttt == RESERVED_TAG { self.judge_unsolicited(pdu, len) } else { self.judge_solicited(pdu, len) }
    }

    fn judge_solicited(&mut self, pdu: &DataOut, len: u32) -> Verdict {
        let index = pdu.ttt & (MAX_GETS as u32 - 1);
        if index as usize >= self.gets.capacity() {
            return Verdict::Never(Violation::UnexpectedData);
        }
        let Some((key, get)) = self.gets.at(index).filter(|(key, _)| transfer_tag(*key) == pdu.ttt) else {
            return Verdict::Late;
        };
        if get.unsolicited {
            return Verdict::Late;
        }
        // Data-Out with a TTT carries the LUN of its command (§11.7.2), and F exactly at the end of what the R2T
        // asked for (§11.7.1).
        let in_order = pdu.itt == get.task.itt
            && pdu.lun == get.task.lun
            && pdu.data_sn == get.data_sn
            && get.takes(pdu.buffer_offset, len)
            && pdu.final_bit == (get.got + len == get.len);
        if !in_order {
            return Verdict::Break(key);
        }
        get.data_sn.take();
        Verdict::Place(key)
    }

    fn judge_unsolicited(&mut self, pdu: &DataOut, len: u32) -> Verdict {
        let end = pdu.buffer_offset.checked_add(len);
        if end.is_none_or(|end| self.first_burst.is_none_or(|most| end > most)) {
            return Verdict::Never(Violation::UnexpectedData);
        }
        let Some(owing) = self.owing.get_mut(pdu.itt) else { return Verdict::Late };
        let verdict = match owing.state {
            OwingState::Announced if len > 0 => return Verdict::Hold,
            // There is nothing to place: an F bit sent after the last data.
            OwingState::Announced => {
                owing.data_sn.take();
                Verdict::Late
            }
            OwingState::Active(key) => match self.gets.get_mut(key) {
                Some(get) if pdu.data_sn == owing.data_sn && get.takes(pdu.buffer_offset, len) => {
                    owing.data_sn.take();
                    get.last = pdu.final_bit;
                    Verdict::Place(key)
                }
                _ => Verdict::Break(key),
            },
        };
        if pdu.final_bit {
            self.owing.remove(pdu.itt);
        }
        verdict
    }

    /// Where the next bytes of a get go, and whether little of that is in a cache.
    pub fn place_of(&mut self, key: Key) -> Option<(*mut u8, bool)> {
        let get = self.gets.get_mut(key)?;
        // Within the sink: `got` < `len` or nothing is placed, and `start + len` was checked.
        Some((get.sink.as_ptr().wrapping_add((get.start + get.got) as usize), get.sink.is_cold()))
    }

    /// `len` bytes are in the sink, unless those of the PDU `damaged` are wrong; the get, if that ends it.
    pub fn placed(&mut self, key: Key, len: u32, damaged: Option<Bhs>) -> Option<Ended> {
        let get = self.gets.get_mut(key)?;
        if let Some(bhs) = damaged {
            return self.end(key, DataStatus::DigestError(bhs));
        }
        get.got += len;
        let filled = (get.start + get.got) as usize;
        get.sink.set_len(filled.max(get.sink.len()));
        if get.got == get.len {
            self.end(key, DataStatus::Ok)
        } else if get.last {
            let got = get.got;
            self.end(key, DataStatus::Short(got))
        } else {
            None
        }
    }

    /// Ends a get.
    pub fn end(&mut self, key: Key, status: DataStatus) -> Option<Ended> {
        let get = self.gets.remove(key)?;
        self.large -= usize::from(get.large);
        if get.unsolicited
            && let Some(owing) = self.owing.get_mut(get.task.itt).filter(|o| o.state == OwingState::Active(key))
        {
            if status == DataStatus::Ok {
                // What the task owes beyond a get that went well is for the next get.
                owing.state = OwingState::Announced;
            } else {
                self.owing.remove(get.task.itt);
            }
        }
        Some(Ended { tag: get.tag, buf: get.sink, status })
    }

    /// The first get at or behind slot `from` whose tag is wanted, for taking several out in turn.
    pub fn find(&mut self, from: u32, wanted: impl Fn(Tag) -> bool) -> Option<Key> {
        if self.gets.is_empty() {
            return None;
        }
        (from..self.gets.capacity() as u32)
            .find_map(|i| self.gets.at(i).filter(|(_, get)| wanted(get.tag)).map(|(key, _)| key))
    }
}

impl Get {
    /// Data at `offset` is what comes next and does not exceed what was asked for.
    fn takes(&self, offset: u32, len: u32) -> bool {
        offset == self.offset.wrapping_add(self.got) && len <= self.len - self.got
    }
}
