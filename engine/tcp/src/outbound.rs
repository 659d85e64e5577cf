//! What waits to be sent: control PDUs, framed when they are queued, and puts, framed as the sender has room.
use crate::data_in::Split;
use crate::limits::{CONTROL_SEGMENT, FLUSH_CALLS, Limits};
use crate::stream::{Frame, Sender, Sent, Stream};
use iscsi::datamover::{DataStatus, Later, PutData};
use iscsi::wire::Bhs;
use primitives::{Buf, Key, Slab, Tag};
use std::collections::VecDeque;

#[derive(Debug)]
enum Job {
    Control(Frame),
    /// A put of the slab; one that was released meanwhile is passed over.
    Put(Key),
}

#[derive(Debug)]
struct Put {
    data: PutData,
    /// Bytes and PDUs handed to the sender.
    framed: u32,
    pdus: u32,
    /// Its task is released; only the PDU that is partly sent is still finished.
    released: bool,
}

/// The sending side of a connection.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub sender: Sender,
    jobs: VecDeque<Job>,
    puts: Slab<Put>,
    limits: Limits,
    pub split: Split,
    blocked: bool,
}

impl Outbound {
    pub fn new(limits: Limits, split: Split) -> Self {
        Self {
            sender: Sender::new(limits.arena),
            jobs: VecDeque::with_capacity(limits.jobs),
            puts: Slab::new(limits.puts),
            limits,
            split,
            blocked: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.sender.is_empty()
    }

    /// The last send left something behind.
    pub fn is_blocked(&self) -> bool {
        self.blocked && !self.is_empty()
    }

    /// There is room for a PDU that is not owed to the peer.
    pub fn has_room_for_data(&self) -> bool {
        self.jobs.len() + self.limits.control_reserve < self.limits.jobs
    }

    /// There is room for the answer to one more PDU, as long as any, and for some that are owed for earlier ones.
    pub fn has_room_for_answer(&self) -> bool {
        self.jobs.len() + self.limits.control_reserve / 2 < self.limits.jobs
            && self.sender.has_room_for_copy(CONTROL_SEGMENT as usize)
    }

    pub fn control(&mut self, bhs: &Bhs, data: &[u8]) -> Result<(), Later> {
        if self.jobs.len() >= self.limits.jobs {
            return Err(Later);
        }
        let frame = self.sender.copy(bhs, &[], data).ok_or(Later)?;
        self.jobs.push_back(Job::Control(frame));
        Ok(())
    }

    pub fn put(&mut self, data: PutData) -> Result<u32, PutData> {
        if !self.has_room_for_data() {
            return Err(data);
        }
        let next = data.data_sn.wrapping_add(self.split.count(data.offset, data.len));
        let put = Put { data, framed: 0, pdus: 0, released: false };
        let key = self.puts.insert(put).map_err(|put| put.data)?;
        self.jobs.push_back(Job::Put(key));
        Ok(next)
    }

    /// Takes back the puts of a task that are not partly sent; the others follow when their PDU is through.
    pub fn release(&mut self, is_of_task: impl Fn(Tag) -> bool, mut done: impl FnMut(Tag, Buf, DataStatus)) {
        if self.puts.is_empty() {
            return;
        }
        for index in 0..self.puts.capacity() as u32 {
            let Some((key, put)) = self.puts.at(index).filter(|(_, put)| is_of_task(put.data.tag)) else { continue };
            put.released = true;
            if !self.sender.cancel(index)
                && let Some(put) = self.puts.remove(key)
            {
                done(put.data.tag, put.data.data, DataStatus::Released);
            }
        }
    }

    /// Forgets what is queued and takes every put back.
    pub fn clear(&mut self, mut done: impl FnMut(Tag, Buf, DataStatus)) {
        self.jobs.clear();
        self.sender.clear();
        for index in 0..self.puts.capacity() as u32 {
            if let Some(key) = self.puts.at(index).map(|(key, _)| key)
                && let Some(put) = self.puts.remove(key)
            {
                done(put.data.tag, put.data.data, DataStatus::Released);
            }
        }
    }

    /// Sends what there is; puts that are through are `done`.
    pub fn flush<S: Stream>(&mut self, stream: &mut S, mut done: impl FnMut(Tag, Buf, DataStatus)) -> Result<(), i32> {
        self.blocked = false;
        for _ in 0..FLUSH_CALLS {
            self.fill();
            if self.sender.is_empty() {
                break;
            }
            let puts = &mut self.puts;
            let sent = self.sender.send(stream, |token| {
                let key = puts.at(token).map(|(key, _)| key);
                if let Some(put) = key.and_then(|key| puts.remove(key)) {
                    let status = if put.released { DataStatus::Released } else { DataStatus::Ok };
                    done(put.data.tag, put.data.data, status);
                }
            })?;
            if sent == Sent::Blocked {
                self.blocked = true;
                break;
            }
        }
        Ok(())
    }

    /// Frames jobs while the sender has room.
    fn fill(&mut self) {
        while self.sender.room() > 0
            && let Some(job) = self.jobs.front()
        {
            let finished = match job {
                Job::Control(frame) => {
                    self.sender.push(*frame);
                    true
                }
                Job::Put(key) => match self.puts.get_mut(*key).filter(|put| !put.released) {
                    Some(put) => put.frame_next(key.index, self.split, &mut self.sender),
                    None => true,
                },
            };
            if finished {
                self.jobs.pop_front();
            }
        }
    }
}

impl Put {
    /// Hands the next PDU to the sender; `true` after the last.
    fn frame_next(&mut self, token: u32, split: Split, sender: &mut Sender) -> bool {
        let piece = split.piece(&self.data, self.framed, self.pdus);
        let from = self.data.data.as_ptr().wrapping_add((self.data.start + piece.at) as usize);
        // SAFETY: `start + len` lies within the buffer (checked when it was queued), which this put owns until the
        // sender reports or cancels `token`. Lent memory is never put with data digests on (see `Tcp::put_data`).
        let frame = unsafe { sender.gather(&piece.bhs, from, piece.len, token, piece.end) };
        sender.push(frame);
        self.framed += piece.len;
        self.pdus += 1;
        piece.end
    }
}
