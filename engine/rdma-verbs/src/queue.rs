//! What is known of one queue pair.

use crate::memory::Registered;
use crate::ring::Ring;
use crate::sys::{CmId, Pair};
use crate::window::Windows;
use primitives::{Key, Tag};
use rdma::limits::MAX_SGE;
use rdma::{Counters, Op, Opcode, Parameters, ReadDepth, ReceiveRequest, Room, Sgl, Status, Why};
use std::net::SocketAddr;

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Nobody has heard of it.
    Prepared,
    /// Address and route are being looked for.
    Resolving,
    /// The request is out.
    Connecting,
    /// The acceptance is out.
    Accepting,
    Established,
    /// It is over.
    Error,
}

/// Which end it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Requester(SocketAddr),
    Acceptor,
}

/// What a send request does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    Op(Op),
    /// The window of this number.
    Bind(u16),
    /// To close what is no window of this queue pair. It never reaches the device, which might know the key.
    Nonsense,
}

impl Task {
    pub const fn opcode(self) -> Opcode {
        match self {
            Self::Op(op) => op.opcode(),
            Self::Bind(_) => Opcode::Bind,
            Self::Nonsense => Opcode::Invalidate,
        }
    }
}

/// A send request, from the moment it is taken.
#[derive(Debug)]
pub struct Send {
    pub tag: Tag,
    pub task: Task,
    pub sgl: Sgl,
    /// Local keys of the elements.
    pub keys: [u32; MAX_SGE],
    pub signalled: bool,
    pub bytes: u32,
    /// The device is, or was, asked to do something.
    pub hardware: bool,
    /// What the device said of it, while something before it is still under way.
    pub done: Option<Status>,
}

/// A receive request, from the moment it is taken.
#[derive(Debug)]
pub struct Receive {
    pub request: ReceiveRequest,
    pub key: u32,
}

/// What is left to do about a queue pair that is over.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ending {
    /// When it ended, in nanoseconds.
    pub since: u64,
    /// Requests completed as flushed before anybody said why: since when.
    pub suspicious_since: Option<u64>,
    /// The peer is to be told as soon as the connection stands.
    pub farewell: bool,
    /// The device has taken the last shared receive it will.
    pub last_receive: bool,
    /// Its handle was dropped.
    pub abandoned: bool,
}

/// One queue pair. What is made of others comes before them.
#[derive(Debug)]
pub struct Queue {
    /// Before the queue pair: rxe waits for windows that are bound to one it is to destroy.
    pub windows: Windows,
    /// Owns the queue pair as well; `None` when both are gone.
    pub id: Option<CmId>,
    pub pair: Pair,
    /// Of a queue pair whose windows are registrations.
    pub domain: Option<Registered>,
    pub name: Tag,
    pub completions: Key,
    pub shared: Option<Key>,
    pub role: Role,
    pub stage: Stage,
    pub started: bool,
    /// The request it was to answer is gone.
    pub withdrawn: bool,
    /// The device came as far as a [`Task::Nonsense`].
    pub nonsense: bool,
    pub parameters: Parameters,
    pub depth: ReadDepth,
    pub sends: Ring<Send>,
    /// Number of the first send behind the last of which the device said that it is done.
    pub told: u64,
    pub receives: Ring<Receive>,
    /// Requests that the device has.
    pub sends_in_device: u32,
    pub receives_in_device: u32,
    /// Taken, and not polled yet.
    pub sends_out: u16,
    pub receives_out: u16,
    /// RDMA Reads among the sends.
    pub reads: u16,
    pub send_depth: u16,
    pub receive_depth: u16,
    pub counters: Counters,
    pub ending: Ending,
}

impl Queue {
    pub fn may_send(&self) -> Result<(), Why> {
        match self.stage {
            Stage::Error => Err(Why::Closed),
            Stage::Established if self.sends_out >= self.send_depth => Err(Why::Full),
            Stage::Established => Ok(()),
            _ => Err(Why::NotConnected),
        }
    }

    pub fn room(&self) -> Room {
        if self.stage == Stage::Error {
            return Room { send: 0, reads: 0, receive: 0 };
        }
        let receive = self.receive_depth - self.receives_out;
        if self.stage != Stage::Established {
            return Room { send: 0, reads: 0, receive };
        }
        let send = self.send_depth - self.sends_out;
        Room { send, reads: self.depth.ord.saturating_sub(self.reads).min(send), receive }
    }

    pub fn outstanding(&self) -> u32 {
        u32::from(self.sends_out) + u32::from(self.receives_out)
    }

    /// Completions it can have outstanding.
    pub fn reserves(&self) -> u32 {
        u32::from(self.send_depth) + u32::from(self.receive_depth)
    }

    /// Takes the oldest send if it is done, with its status; see [`pop_done`].
    pub fn pop_done(&mut self, overtakes: bool, last: Status) -> Option<(Send, Status)> {
        pop_done(&mut self.sends, self.told, overtakes, last)
    }

    /// It is over and every request is back with its owner.
    pub fn is_drained(&self) -> bool {
        self.stage == Stage::Error && self.outstanding() == 0
    }

    /// The device has nothing of it any more.
    pub const fn is_idle(&self) -> bool {
        self.id.is_none() || (self.sends_in_device == 0 && self.receives_in_device == 0)
    }
}

/// Takes the oldest send if it is done, with its status. The device has told of some before number `told`, and so, in a
/// way, of those between. Where later requests overtake Reads, a Read is done only when the device says so itself;
/// elsewhere `last` is what it said last.
fn pop_done(sends: &mut Ring<Send>, told: u64, overtakes: bool, last: Status) -> Option<(Send, Status)> {
    let head = sends.head();
    let send = sends.get(head).filter(|_| head < told)?;
    let behind = match send.done {
        None if overtakes && send.task.opcode() == Opcode::Read => return None,
        None if overtakes => (head..told).find_map(|number| sends.get(number)?.done),
        None => Some(last),
        Some(_) => None,
    };
    // Of a request that says nothing before one that was flushed, nobody knows whether it was done.
    let before = if behind == Some(Status::Flushed) { Status::Flushed } else { Status::Success };
    let status = send.done.unwrap_or(before);
    sends.pop().map(|send| (send, status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdma::Remote;

    const READ: Op = Op::Read { from: Remote { stag: rdma::Stag(0), va: 0 } };

    /// What comes out when the device has said these things of these requests, in the order of posting.
    fn popped(overtakes: bool, last: Status, requests: &[(Op, Option<Status>)]) -> Vec<Status> {
        let mut sends = Ring::new(8);
        for (op, done) in requests {
            let send = Send {
                tag: Tag::default(),
                task: Task::Op(*op),
                sgl: Sgl::NONE,
                keys: [0; MAX_SGE],
                signalled: done.is_some(),
                bytes: 0,
                hardware: true,
                done: *done,
            };
            sends.push(send).unwrap();
        }
        let told = requests.iter().rposition(|(_, done)| done.is_some()).map_or(0, |at| at as u64 + 1);
        std::iter::from_fn(|| pop_done(&mut sends, told, overtakes, last)).map(|(_, status)| status).collect()
    }

    #[test]
    fn a_completion_brings_what_is_before_it() {
        use Status::{Flushed, Success};
        let requests = |last| [(READ, None), (Op::SEND, None), (Op::SEND, Some(last)), (Op::SEND, None)];
        assert_eq!(popped(false, Success, &requests(Success)), [Success; 3]);
        assert_eq!(popped(false, Flushed, &requests(Flushed)), [Flushed; 3]);
        let refused = Status::RemoteAccess;
        assert_eq!(popped(false, refused, &requests(refused)), [Success, Success, refused]);
        assert!(popped(false, Success, &[(Op::SEND, None)]).is_empty());
    }

    #[test]
    fn a_read_that_was_overtaken_is_waited_for() {
        use Status::{Flushed, Success};
        assert!(popped(true, Success, &[(READ, None), (Op::SEND, Some(Success))]).is_empty());
        let overtaken = [(Op::SEND, None), (READ, None), (Op::SEND, Some(Success))];
        assert_eq!(popped(true, Success, &overtaken), [Success], "what is before it is done");
        // Its own end, however late, does not change what was done before.
        let late = [(READ, Some(Flushed)), (Op::SEND, None), (Op::SEND, Some(Success)), (Op::SEND, Some(Flushed))];
        assert_eq!(popped(true, Flushed, &late), [Flushed, Success, Success, Flushed]);
    }
}
