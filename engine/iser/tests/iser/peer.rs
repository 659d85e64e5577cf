//! An initiator by its own code: it knows the wire and what it advertised, and no more.
use crate::memory::Buffers;
use iscsi::datamover::{Advertised, Advertisement};
use iscsi::wire::{BHS_LEN, Bhs, Opcode};
use iser::wire::{HEADER, HEADERS, Header};
use primitives::{Buf, Tag};
use rdma::loopback::{LoopbackQueue, World};
use rdma::{
    Access, Completion, Event, Op, Opcode as Work, QueuePair, ReceiveRequest, Remote, Sge, Sgl, Stag, WorkRequest,
};
use std::collections::HashMap;

/// A message the initiator got.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Got {
    pub header: Header,
    pub bhs: Bhs,
    pub data: Vec<u8>,
    pub invalidated: Option<u32>,
    pub len: usize,
}

#[derive(Debug)]
pub struct Window {
    pub remote: Remote,
    pub len: usize,
    /// Closed by us or by the peer.
    pub closed: bool,
}

#[derive(Debug)]
pub struct Peer {
    pub queue: LoopbackQueue,
    pub buffers: Buffers,
    /// Windows by the ITT of their task and their direction.
    pub windows: HashMap<(u32, Access2), Window>,
    pub got: Vec<Got>,
    pub events: Vec<Event>,
    /// Receives are posted again.
    pub reads: bool,
    /// Tasks to be aborted, by the tags of the requests that ask for it.
    pub aborting: HashMap<u32, u32>,
    world: World,
    spare: Vec<Buf>,
}

/// [`Access`], as part of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access2 {
    Read,
    Write,
}

impl Peer {
    pub fn new(world: World, queue: LoopbackQueue, buffers: Buffers, receives: usize) -> Self {
        let mut peer = Self {
            queue,
            buffers,
            windows: HashMap::new(),
            got: Vec::with_capacity(256),
            events: Vec::with_capacity(16),
            reads: true,
            aborting: HashMap::new(),
            world,
            spare: Vec::with_capacity(64),
        };
        for _ in 0..receives {
            let buf = peer.buffers.take(8320);
            peer.post_receive(buf);
        }
        peer
    }

    fn post_receive(&mut self, buf: Buf) {
        if let Err(refusal) = self.queue.post_receive(ReceiveRequest { tag: Tag::new(1, 0, 0, 0), buf }) {
            self.buffers.give(refusal.request.buf);
        }
    }

    /// Sends these bytes as a message.
    pub fn say(&mut self, bytes: &[u8]) {
        let buf = self.buffers.filled(bytes);
        let request =
            WorkRequest { tag: Tag::default(), op: Op::SEND, sgl: Sgl::one(Sge::filled(buf)), signalled: true };
        match self.queue.post_send(request) {
            Ok(()) => {}
            Err(mut refusal) => self.buffers.give(refusal.request.sgl.take_buf().unwrap()),
        }
    }

    /// Sends a PDU.
    pub fn send(&mut self, bhs: &Bhs, data: &[u8], remote: Advertised) {
        self.say(&message(bhs, data, remote));
    }

    /// It is connected, and something can be sent.
    pub fn queue_has_room(&self) -> bool {
        self.queue.room().send > 0
    }

    /// Opens a window for a task.
    pub fn open(&mut self, itt: u32, bytes: &[u8], access: Access) -> Advertisement {
        let sge = Sge::filled(self.buffers.filled(bytes));
        let remote = self.queue.bind(Tag::new(2, 0, 0, 0), sge, access).expect("a window");
        self.windows.insert((itt, key(access)), Window { remote, len: bytes.len(), closed: false });
        Advertisement { stag: remote.stag.0, va: remote.va }
    }

    /// Closes a window of a task and takes its memory, once the invalidation is through.
    pub fn close(&mut self, itt: u32, access: Access) {
        let Some(window) = self.windows.get_mut(&(itt, key(access))) else { return };
        if !window.closed {
            window.closed = true;
            let op = Op::Invalidate(window.remote.stag);
            let _ = self.queue.post_send(WorkRequest { tag: Tag::default(), op, sgl: Sgl::NONE, signalled: true });
        }
    }

    pub fn reclaim(&mut self, itt: u32, access: Access) -> Option<Vec<u8>> {
        let window = self.windows.get(&(itt, key(access)))?;
        let sge = self.queue.reclaim(window.remote.stag)?;
        self.windows.remove(&(itt, key(access)));
        let bytes = sge.buf.filled().to_vec();
        self.buffers.give(sge.buf);
        Some(bytes)
    }

    /// What is in the read buffer of a task now.
    pub fn peek(&self, itt: u32) -> Vec<u8> {
        let window = &self.windows[&(itt, Access2::Write)];
        self.buffers.peek(window.remote.va as usize, window.len)
    }

    pub fn stag(&self, itt: u32, access: Access) -> Option<Stag> {
        self.windows.get(&(itt, key(access))).map(|window| window.remote.stag)
    }

    pub fn complete(&mut self, completion: Completion) {
        let Completion { opcode, status, invalidated, mut sgl, .. } = completion;
        let Some(buf) = sgl.take_buf() else { return };
        if opcode != Work::Receive || !status.is_ok() {
            return self.buffers.give(buf);
        }
        let got = read_message(buf.filled(), invalidated);
        if let Some(stag) = invalidated {
            self.invalidated(&got, stag);
        }
        match got.bhs.opcode() {
            Opcode::SCSI_RESPONSE => self.task_over(got.bhs.itt()),
            Opcode::TMF_RESPONSE => {
                if let Some(itt) = self.aborting.remove(&got.bhs.itt()) {
                    self.task_over(itt);
                }
            }
            _ => {}
        }
        self.got.push(got);
        if self.reads { self.post_receive(buf) } else { self.spare.push(buf) }
    }

    /// The target closed a window: it must be the right one (RFC 7145 §7.3.2).
    fn invalidated(&mut self, got: &Got, stag: Stag) {
        assert_eq!(got.bhs.opcode(), Opcode::SCSI_RESPONSE, "only responses invalidate");
        let itt = got.bhs.itt();
        let own = |way| self.windows.get(&(itt, way)).map(|window| window.remote.stag);
        assert_eq!(own(Access2::Write).or(own(Access2::Read)), Some(stag), "not the task's STag");
        let window = self.windows.values_mut().find(|w| w.remote.stag == stag).expect("a window of ours");
        assert!(!std::mem::replace(&mut window.closed, true), "invalidated twice");
    }

    /// The task has ended: whoever touches its windows from now on is at fault.
    fn task_over(&mut self, itt: u32) {
        for access in [Access::RemoteRead, Access::RemoteWrite] {
            if let Some(stag) = self.stag(itt, access) {
                self.world.task_over(crate::rig::INITIATOR, stag);
                self.close(itt, access);
            }
        }
    }

    /// Goes on receiving.
    pub fn resume(&mut self) {
        self.reads = true;
        while let Some(buf) = self.spare.pop() {
            self.post_receive(buf);
        }
    }

    /// Closes what it opened and returns all memory; the queue pair has been drained.
    pub fn finish(&mut self) {
        self.resume();
        for (_, window) in self.windows.drain() {
            let sge = self.queue.reclaim(window.remote.stag).expect("a window of a drained queue pair");
            self.buffers.give(sge.buf);
        }
        assert_eq!(self.buffers.outstanding(), 0, "buffers of the initiator that never came back");
    }
}

fn key(access: Access) -> Access2 {
    if access == Access::RemoteRead { Access2::Read } else { Access2::Write }
}

/// A control-type PDU as a message.
pub fn message(bhs: &Bhs, data: &[u8], remote: Advertised) -> Vec<u8> {
    let header = Header::Control { write: remote.write, read: remote.read }.encode();
    let bhs = bhs.with_data_segment_length(data.len() as u32);
    let padding = &[0; 3][..(4 - data.len() % 4) % 4];
    [&header[..], bhs.as_bytes(), data, padding].concat()
}

/// Takes a message of the target apart, as strictly as an initiator may.
fn read_message(bytes: &[u8], invalidated: Option<Stag>) -> Got {
    assert!(!bytes.windows(8).any(|run| run == [crate::memory::POISON; 8]), "bytes that were never written");
    let header = Header::decode(bytes).expect("an iSER header");
    let invalidated = invalidated.map(|stag| stag.0);
    if matches!(header, Header::HelloReply { .. }) {
        assert_eq!(bytes.len(), HEADER, "nothing but the header");
        return Got { header, bhs: Bhs([0; BHS_LEN]), data: vec![], invalidated, len: bytes.len() };
    }
    assert_eq!(header, Header::PLAIN, "a target advertises nothing");
    let bhs = Bhs::from_slice(&bytes[HEADER..]).expect("a header segment");
    assert!(bhs.opcode().is_target() && bhs.opcode() != Opcode::R2T && bhs.opcode() != Opcode::DATA_IN);
    let end = HEADERS + bhs.data_segment_length() as usize;
    assert!(bytes.len() >= end && bytes.len() - end <= 3, "no more than padding follows the data segment");
    assert_eq!(bytes.len() % 4, 0, "PDUs are padded");
    assert!(bytes[end..].iter().all(|byte| *byte == 0), "padding is zero");
    Got { header, bhs, data: bytes[HEADERS..end].to_vec(), invalidated, len: bytes.len() }
}
