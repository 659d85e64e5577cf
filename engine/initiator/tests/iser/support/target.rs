//! The target's end of one connection: messages as they come, and whatever a test makes of them.

use initiator::Arena;
use iscsi::negotiate::{Offer, Policy, Responder, Transport};
use iscsi::text::{Pairs, TextWriter};
use iscsi::wire::{Bhs, LoginRequest, LoginResponse, Opcode, ScsiCommand, ScsiResponse};
use iser::wire::{Advertisement, HEADER, HEADERS, Header};
use primitives::{Buf, Serial, Tag};
use rdma::{
    Completion, CompletionBatch, CompletionQueue, Ended, Event, Op, Parameters, Peer, PrivateData, Provider, QueuePair,
    QueueSetup, ReadDepth, ReceiveRequest, Remote, Sge, Sgl, Stag, WorkRequest,
};
use std::collections::VecDeque;
use std::net::SocketAddr;

const NAME: Tag = Tag::new(9, 9, 9, 9);
const TAG: Tag = Tag::new(0, 0, 0, 0);
const RECEIVES: u16 = 96;
const SENDS: u16 = 256;

/// Bytes of a buffer: a message, or the data of one RDMA operation.
pub const BUFFER: usize = 32 << 10;

/// A PDU as it came.
#[derive(Debug)]
pub struct Message {
    pub write: Option<Advertisement>,
    pub read: Option<Advertisement>,
    pub bhs: Bhs,
    pub data: Vec<u8>,
}

pub struct Target<P: Provider> {
    pub queue: Option<P::Queue>,
    completions: P::Completions,
    pub provider: P,
    pub at: SocketAddr,
    /// What is answered with the connection.
    pub private: PrivateData,
    /// What the initiator said.
    pub asked: Option<rdma::Request>,
    /// The next connection request is refused.
    pub refuse: bool,
    pub established: bool,
    pub ended: Option<Ended>,
    arena: Arena,
    batch: CompletionBatch,
    pub inbox: VecDeque<Message>,
    /// Bytes that RDMA Reads brought, in order.
    pub fetched: VecDeque<Vec<u8>>,
    pub stat_sn: u32,
    pub exp_cmd_sn: u32,
    pub max_cmd_sn: u32,
    pub policy: Policy,
    responder: Option<Responder>,
}

impl<P: Provider> Target<P> {
    /// One that listens at `at`.
    pub fn new(mut provider: P, at: SocketAddr) -> Self {
        let at = provider.listen(at, 4).unwrap();
        Self::for_requests(provider, at)
    }

    /// One for a connection that was asked for at `at`.
    pub fn for_requests(mut provider: P, at: SocketAddr) -> Self {
        let arena = Arena::new(usize::from(RECEIVES) + 64, BUFFER);
        provider.add_memory(arena.memory()).unwrap();
        let completions = provider.completion_queue(u32::from(RECEIVES + SENDS)).unwrap();
        Self {
            queue: None,
            completions,
            provider,
            at,
            private: PrivateData::new(&[0x80, 0, 0, 0]).unwrap(),
            asked: None,
            refuse: false,
            established: false,
            ended: None,
            arena,
            batch: CompletionBatch::new(16),
            inbox: VecDeque::with_capacity(256),
            fetched: VecDeque::with_capacity(256),
            stat_sn: 0xffff_fffe,
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
            policy: Policy { command_window: 32, ..Policy::default() },
            responder: None,
        }
    }

    /// One turn.
    pub fn turn(&mut self, now: u64) {
        self.provider.progress(now);
        while let Some(event) = self.provider.poll() {
            self.event(event);
        }
        // A receive may complete before that, but nothing can be answered.
        while self.established {
            self.completions.poll(&mut self.batch);
            let done: Vec<Completion> = self.batch.drain().collect();
            if done.is_empty() {
                break;
            }
            done.into_iter().for_each(|completion| self.complete(completion));
        }
        if let Some(queue) = &mut self.queue {
            queue.ring();
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Request(request) if self.refuse => self.provider.reject(request.id, PrivateData::EMPTY).unwrap(),
            Event::Request(request) => {
                self.asked = Some(request);
                let setup = QueueSetup {
                    name: NAME,
                    completions: &self.completions,
                    receives: None,
                    send_depth: SENDS,
                    receive_depth: RECEIVES,
                    windows: 0,
                };
                self.queue = Some(self.provider.prepare(Peer::Of(request.id), setup).unwrap());
                (0..RECEIVES).for_each(|_| self.receive());
                let depth = ReadDepth { ird: 0, ord: 16 };
                let queue = self.queue.as_mut().unwrap();
                queue.start(&Parameters { depth, private: self.private }).unwrap();
                queue.ring();
            }
            Event::Established { .. } => self.established = true,
            Event::Disconnected { how, .. } => self.ended = Some(how),
            other => panic!("{other:?}"),
        }
    }

    fn receive(&mut self) {
        let buf = self.arena.take().expect("buffers are left");
        if let Err(refusal) = self.queue.as_mut().unwrap().post_receive(ReceiveRequest { tag: TAG, buf }) {
            self.arena.give(refusal.request.buf);
        }
    }

    fn complete(&mut self, completion: Completion) {
        let mut sgl = completion.sgl;
        while let Some(buf) = sgl.take_buf() {
            if completion.status.is_ok() {
                match completion.opcode {
                    rdma::Opcode::Receive => self.inbox.push_back(parse(buf.filled())),
                    rdma::Opcode::Read => self.fetched.push_back(buf.filled()[..completion.byte_len as usize].to_vec()),
                    _ => {}
                }
            }
            self.arena.give(buf);
        }
        if completion.opcode == rdma::Opcode::Receive && completion.status.is_ok() {
            self.receive();
        }
    }

    fn post(&mut self, op: Op, buf: Buf) {
        let request = WorkRequest { tag: TAG, op, sgl: Sgl::one(Sge::filled(buf)), signalled: true };
        let queue = self.queue.as_mut().expect("a connection");
        if let Err(refusal) = queue.post_send(request) {
            assert_eq!(refusal.why, rdma::Why::Closed);
            let mut sgl = refusal.request.sgl;
            self.arena.give(sgl.take_buf().unwrap());
        }
        queue.ring();
    }

    /// Sends any bytes.
    pub fn send_bytes(&mut self, bytes: &[u8], invalidate: Option<u32>) {
        let mut buf = self.arena.take().expect("buffers are left");
        buf.copy_in(0, bytes);
        self.post(Op::Send { solicited: false, invalidate: invalidate.map(Stag) }, buf);
    }

    /// Sends a PDU with the next numbers; `status`: it takes a StatSN.
    pub fn send(&mut self, mut bhs: Bhs, data: &[u8], status: bool, invalidate: Option<u32>) {
        bhs.stamp(Serial(self.stat_sn), Serial(self.exp_cmd_sn), Serial(self.max_cmd_sn));
        self.stat_sn = self.stat_sn.wrapping_add(u32::from(status));
        let bhs = bhs.with_data_segment_length(data.len() as u32);
        let bytes = [&Header::PLAIN.encode()[..], bhs.as_bytes(), data].concat();
        self.send_bytes(&bytes, invalidate);
    }

    pub fn good(&mut self, itt: u32, invalidate: Option<u32>) {
        self.respond(ScsiResponse { itt, ..ScsiResponse::default() }, invalidate);
    }

    pub fn respond(&mut self, response: ScsiResponse, invalidate: Option<u32>) {
        self.send(response.encode(), &[], true, invalidate);
    }

    /// RDMA Write into the initiator's memory.
    pub fn write(&mut self, to: Advertisement, offset: u64, bytes: &[u8]) {
        let mut buf = self.arena.take().expect("buffers are left");
        buf.copy_in(0, bytes);
        self.post(Op::Write { to: Remote { stag: Stag(to.stag), va: to.va + offset } }, buf);
    }

    /// RDMA Read from the initiator's memory; what comes is in `fetched`.
    pub fn fetch(&mut self, from: Advertisement, offset: u64, len: usize) {
        let mut buf = self.arena.take().expect("buffers are left");
        buf.set_len(len);
        self.post(Op::Read { from: Remote { stag: Stag(from.stag), va: from.va + offset } }, buf);
    }

    /// A command, whose CmdSN is counted.
    pub fn command(&mut self) -> Option<(ScsiCommand, Message)> {
        let message = self.inbox.pop_front()?;
        assert_eq!(message.bhs.opcode(), Opcode::SCSI_COMMAND, "{message:?}");
        self.exp_cmd_sn = self.exp_cmd_sn.wrapping_add(1);
        Some((ScsiCommand::decode(&message.bhs), message))
    }

    /// Answers a login request as most targets do.
    pub fn answer_login(&mut self, message: &Message) {
        let request = LoginRequest::decode(&message.bhs);
        let mut out = TextWriter::new(8192);
        if request.csg == 0 {
            let pairs = Pairs::collect_all(&message.data).unwrap();
            let discovery = pairs.iter().any(|p| p.value == "Discovery");
            self.responder = Some(Responder::new(Transport::Iser, discovery, self.policy));
            out.push("AuthMethod", "None").unwrap();
            if !discovery {
                out.push("TargetPortalGroupTag", 1).unwrap();
            }
        } else {
            let pairs = Pairs::collect_all(&message.data).unwrap();
            let offers: Vec<Offer<'_>> = pairs.iter().map(|p| (*p).into()).collect();
            self.responder.as_mut().unwrap().answer(&offers, &mut out).unwrap();
        }
        self.exp_cmd_sn = request.cmd_sn.0;
        self.max_cmd_sn = request.cmd_sn.0.wrapping_add(u32::from(self.policy.command_window)).wrapping_sub(1);
        let base = LoginResponse { isid: request.isid, itt: request.itt, ..LoginResponse::default() };
        let response = LoginResponse { transit: true, csg: request.csg, nsg: request.nsg, tsih: 1, ..base };
        self.send(response.encode(), &out.into_bytes(), true, None);
    }

    pub fn hang_up(&mut self) {
        self.queue.as_mut().expect("a connection").to_error();
    }

    /// The drain is over.
    pub fn is_drained(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.outstanding() == 0)
    }
}

fn parse(bytes: &[u8]) -> Message {
    let Ok(Header::Control { write, read }) = Header::decode(bytes) else { panic!("no iSER header: {bytes:02x?}") };
    let bhs = Bhs::from_slice(&bytes[HEADER..]).unwrap();
    let data = bytes[HEADERS..].to_vec();
    assert_eq!(bhs.data_segment_length() as usize, data.len(), "{bhs:?}");
    Message { write, read, bhs, data }
}
