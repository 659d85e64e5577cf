//! A device with memory, and a peer made of a socket and the codec.

use primitives::{Buf, Tag};
use rdma::{
    Access, Completion, CompletionBatch, CompletionQueue, Ended, Event, Memory, Op, Parameters, Peer, PrivateData,
    Provider, QueuePair, QueueSetup, ReadDepth, ReceiveRequest, Remote, Request, Sge, Sgl, Status, WorkRequest,
};
use reactors::{Arena, Hugepages, Pools};
use siw::wire::{CRC, Depths, Fault, Frame, Header, LENGTH, Opcode, Place, Role, ddp, mpa, padding};
use siw::{Config, Siw, SiwCompletions, SiwQueue, SiwReceives};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// Turns after which something that should happen is missed.
const PATIENCE: usize = 20_000;

/// Time passes by this much a turn, so that no timer is ever due by accident.
const TICK: u64 = 1_000;

pub const SECOND: u64 = 1_000_000_000;

pub struct Rig {
    pub device: Siw,
    pub pools: Pools,
    pub memory: Memory,
    pub completions: SiwCompletions,
    pub at: SocketAddr,
    pub now: u64,
    pub done: Vec<Completion>,
    pub events: Vec<Event>,
    batch: CompletionBatch,
    next: u32,
}

pub const DEPTH: ReadDepth = ReadDepth { ird: 4, ord: 4 };

impl Rig {
    pub fn new(config: Config) -> Self {
        let region = Arena::new(Hugepages::Off).region(4 << 20).unwrap();
        let memory = Memory { addr: region.extent().addr, len: region.extent().len };
        let mut pools = Pools::with_counts(0, region.split(1).pop().unwrap(), 96, 8);
        pools.poison();
        let mut device = Siw::new(config).unwrap();
        device.add_memory(memory).unwrap();
        let completions = device.completion_queue(1024).unwrap();
        let at = device.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 16).unwrap();
        let (done, events, batch) = (vec![], vec![], CompletionBatch::new(16));
        Self { device, pools, memory, completions, at, now: 1, done, events, batch, next: 0 }
    }

    pub fn turn(&mut self) {
        self.now += TICK;
        self.device.progress(self.now);
        while let Some(event) = self.device.poll() {
            self.events.push(event);
        }
        while self.completions.poll(&mut self.batch) > 0 {
            self.done.extend(self.batch.drain());
        }
    }

    pub fn turns(&mut self, n: usize) {
        for _ in 0..n {
            self.turn();
            std::thread::yield_now();
        }
    }

    pub fn until<R>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<R>) -> R {
        for _ in 0..PATIENCE {
            if let Some(found) = look(self) {
                return found;
            }
            self.turn();
            std::thread::yield_now();
        }
        let done: Vec<_> = self.done.iter().map(|c| (c.opcode, c.status)).collect();
        panic!("{what} did not happen; events {:?}, completions {done:?}", self.events);
    }

    pub fn event<R>(&mut self, what: &str, pick: impl Fn(&Event) -> Option<R>) -> R {
        self.until(what, |rig| {
            let at = rig.events.iter().position(|e| pick(e).is_some())?;
            pick(&rig.events.remove(at))
        })
    }

    pub fn request(&mut self) -> Request {
        self.event("a request", |e| if let Event::Request(r) = e { Some(*r) } else { None })
    }

    pub fn ended(&mut self) -> Ended {
        self.event("the end", |e| if let Event::Disconnected { how, .. } = e { Some(*how) } else { None })
    }

    pub fn tag(&mut self) -> Tag {
        self.next += 1;
        Tag::new(1, 0, 0, self.next)
    }

    pub fn buf(&mut self, len: usize, byte: u8) -> Buf {
        let mut buf = self.pools.take(len.max(1)).expect("a buffer");
        buf.storage()[..len].fill(byte);
        buf.set_len(len);
        buf
    }

    pub fn prepare(&mut self, peer: Peer, receives: Option<&SiwReceives>) -> SiwQueue {
        self.next += 1;
        let setup = QueueSetup {
            name: Tag::new(9, 0, 0, self.next),
            completions: &self.completions,
            receives,
            send_depth: 64,
            receive_depth: if receives.is_some() { 0 } else { 32 },
            windows: 8,
        };
        self.device.prepare(peer, setup).unwrap()
    }

    pub fn start(&mut self, queue: &mut SiwQueue) {
        queue.start(&Parameters { depth: DEPTH, private: PrivateData::EMPTY }).unwrap();
    }

    pub fn receive(&mut self, queue: &mut SiwQueue) -> Tag {
        let (tag, buf) = (self.tag(), self.pools.take(1).expect("a buffer"));
        queue.post_receive(ReceiveRequest { tag, buf }).unwrap();
        queue.ring();
        tag
    }

    pub fn post(&mut self, queue: &mut SiwQueue, op: Op, sgl: Sgl) -> Tag {
        let tag = self.tag();
        queue.post_send(WorkRequest { tag, op, sgl, signalled: true }).map_err(|r| r.why).unwrap();
        tag
    }

    pub fn say(&mut self, queue: &mut SiwQueue, len: usize, byte: u8) -> Tag {
        let buf = self.buf(len, byte);
        let tag = self.post(queue, Op::SEND, Sgl::one(Sge::filled(buf)));
        queue.ring();
        tag
    }

    /// A window on bytes 1024.. of a buffer full of this byte.
    pub fn window(&mut self, queue: &mut SiwQueue, len: u32, byte: u8, access: Access) -> Remote {
        let (tag, buf) = (self.tag(), self.buf(8192, byte));
        let remote = queue.bind(tag, Sge::new(buf, 1024, len), access).map_err(|r| r.why).unwrap();
        queue.ring();
        remote
    }

    pub fn completion(&mut self, tag: Tag) -> Completion {
        self.until("a completion", |rig| {
            let at = rig.done.iter().position(|c| c.tag == tag)?;
            Some(rig.done.remove(at))
        })
    }

    pub fn give(&mut self, mut completion: Completion) {
        while let Some(buf) = completion.sgl.take_buf() {
            self.pools.give(buf);
        }
    }

    pub fn succeeds(&mut self, tag: Tag) {
        let completion = self.completion(tag);
        assert_eq!(completion.status, Status::Success);
        self.give(completion);
    }

    /// The bytes of a receive or a Read that succeeded.
    pub fn bytes(&mut self, tag: Tag) -> Vec<u8> {
        let mut completion = self.completion(tag);
        assert_eq!(completion.status, Status::Success, "{completion:?}");
        let Sge { mut buf, start, .. } = completion.sgl.take().unwrap();
        let (start, end) = (start as usize, start as usize + completion.byte_len as usize);
        buf.set_len(end);
        let bytes = buf.filled()[start..end].to_vec();
        self.pools.give(buf);
        bytes
    }

    /// Says so much that the sockets are full, for the peer does not read; how many messages of 8 KiB that was.
    pub fn fill(&mut self, queue: &mut SiwQueue) -> usize {
        let (mut said, mut stuck) = (0, 0);
        while stuck < 3 {
            if queue.outstanding() < 20 {
                self.say(queue, 8192, said as u8);
                (said, stuck) = (said + 1, 0);
            } else {
                stuck += 1;
            }
            self.turn();
            for completion in std::mem::take(&mut self.done) {
                assert!(completion.status.is_ok());
                self.give(completion);
            }
        }
        said
    }

    /// The queue pair is over, everything of it completed, and all memory is back but that of windows.
    pub fn drained(&mut self, queue: &SiwQueue) {
        self.until("the drain", |_| (queue.outstanding() == 0).then_some(()));
        for completion in std::mem::take(&mut self.done) {
            self.give(completion);
        }
    }

    /// An established connection with a peer that asked for it like the kernel's siw does.
    pub fn accepted(&mut self) -> (SiwQueue, Raw) {
        self.accepted_with(|_| {}, None)
    }

    pub fn accepted_with(&mut self, ask: impl FnOnce(&mut Frame), receives: Option<&SiwReceives>) -> (SiwQueue, Raw) {
        let mut frame = siw_request();
        ask(&mut frame);
        let mut raw = Raw::connect(self.at);
        raw.frame(&frame);
        let request = self.request();
        let mut queue = self.prepare(Peer::Of(request.id), receives);
        self.start(&mut queue);
        let reply = raw.reply(self);
        assert!(!reply.reject);
        raw.crc = reply.crc;
        self.event("the connection", |e| matches!(e, Event::Established { .. }).then_some(()));
        (queue, raw)
    }

    /// An established connection that this side asked for.
    pub fn connected(&mut self) -> (SiwQueue, Raw) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut queue = self.prepare(Peer::At(listener.local_addr().unwrap()), None);
        self.start(&mut queue);
        let mut raw = Raw::new(listener.accept().unwrap().0);
        let request = raw.request(self);
        let enhanced = request.enhanced.map(|d| Depths { depth: ReadDepth { ird: 4, ord: 4 }, ..d });
        raw.frame(&Frame { role: Role::Reply, enhanced, ..request });
        self.event("the connection", |e| matches!(e, Event::Established { .. }).then_some(()));
        let (ready, payload) = raw.fpdu(self);
        assert_eq!((ready.opcode, payload.len()), (Opcode::Write, 0), "it says that it is ready to receive");
        (queue, raw)
    }
}

/// What ib_iser asks for over the kernel's siw.
pub fn siw_request() -> Frame {
    Frame {
        role: Role::Request,
        markers: false,
        crc: false,
        reject: false,
        revision: 2,
        enhanced: Some(Depths { depth: ReadDepth { ird: 128, ord: 1 }, ..Depths::default() }),
        private: PrivateData::new(&[0x80, 0, 0, 0]).unwrap(),
    }
}

pub struct Raw {
    pub socket: TcpStream,
    pub crc: bool,
    got: Vec<u8>,
    eof: bool,
}

/// What is wrong with an FPDU on purpose.
#[derive(Clone, Copy, Default)]
pub struct Twist {
    pub length: Option<u16>,
    pub control: Option<u8>,
    pub rdmap: Option<u8>,
    pub bad_crc: bool,
}

impl Raw {
    pub fn connect(at: SocketAddr) -> Self {
        Self::new(TcpStream::connect(at).unwrap())
    }

    pub fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, crc: false, got: vec![], eof: false }
    }

    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock, "{e}"),
            }
        }
    }

    pub fn frame(&mut self, frame: &Frame) {
        let mut bytes = [0; mpa::MAX_FRAME];
        let len = frame.encode(&mut bytes);
        self.write(&bytes[..len]);
    }

    fn read(&mut self) {
        let mut some = [0; 65_536];
        match self.socket.read(&mut some) {
            Ok(0) => self.eof = true,
            Ok(n) => self.got.extend_from_slice(&some[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.eof = true,
        }
    }

    fn any_frame(&mut self, rig: &mut Rig, role: Role) -> Frame {
        let (frame, len) = rig.until("a set-up frame", |_| {
            self.read();
            Frame::decode(role, &self.got).unwrap()
        });
        self.got.drain(..len);
        frame
    }

    pub fn reply(&mut self, rig: &mut Rig) -> Frame {
        self.any_frame(rig, Role::Reply)
    }

    pub fn request(&mut self, rig: &mut Rig) -> Frame {
        self.any_frame(rig, Role::Request)
    }

    pub fn bytes_of(&self, header: &Header, payload: &[u8], twist: Twist) -> Vec<u8> {
        let mut ddp = [0; ddp::UNTAGGED_LEN];
        let len = header.encode(&mut ddp);
        ddp[0] = twist.control.unwrap_or(ddp[0]);
        ddp[1] = twist.rdmap.unwrap_or(ddp[1]);
        let ulpdu = len + payload.len();
        let mut bytes = twist.length.unwrap_or(ulpdu as u16).to_be_bytes().to_vec();
        bytes.extend_from_slice(&ddp[..len]);
        bytes.extend_from_slice(payload);
        bytes.resize(LENGTH + ulpdu + padding(ulpdu), 0);
        let mut sum = if self.crc { siw::wire::crc::crc32c(&bytes) } else { [0; CRC] };
        sum[0] ^= u8::from(twist.bad_crc);
        bytes.extend_from_slice(&sum);
        bytes
    }

    pub fn segment(&mut self, header: &Header, payload: &[u8]) {
        let bytes = self.bytes_of(header, payload, Twist::default());
        self.write(&bytes);
    }

    pub fn send(&mut self, msn: u32, payload: &[u8]) {
        self.segment(&send_header(msn, 0, true), payload);
    }

    pub fn rdma_write(&mut self, stag: u32, to: u64, payload: &[u8]) {
        self.segment(&Header { last: true, opcode: Opcode::Write, place: Place::Tagged { stag, to } }, payload);
    }

    pub fn read_request(&mut self, msn: u32, request: siw::wire::ReadRequest) {
        let place = Place::Untagged { ulp: 0, queue: 1, msn, mo: 0 };
        self.segment(&Header { last: true, opcode: Opcode::ReadRequest, place }, &request.encode());
    }

    /// The next FPDU, if it is there.
    fn take_fpdu(&mut self) -> Option<(Header, Vec<u8>)> {
        let ulpdu = usize::from(u16::from_be_bytes(*self.got.first_chunk()?));
        let total = LENGTH + ulpdu + padding(ulpdu) + CRC;
        let fpdu: Vec<u8> = self.got.get(..total)?.to_vec();
        self.got.drain(..total);
        let sum = if self.crc { siw::wire::crc::crc32c(&fpdu[..total - CRC]) } else { [0; CRC] };
        assert_eq!(fpdu[total - CRC..], sum, "the CRC is right, or zero");
        assert!(fpdu[LENGTH + ulpdu..total - CRC].iter().all(|b| *b == 0), "padding is zero");
        let len = ddp::len_of(fpdu[LENGTH]);
        let header = Header::decode(&fpdu[LENGTH..]).unwrap();
        Some((header, fpdu[LENGTH + len..LENGTH + ulpdu].to_vec()))
    }

    pub fn fpdu(&mut self, rig: &mut Rig) -> (Header, Vec<u8>) {
        rig.until("an FPDU", |_| {
            self.read();
            self.take_fpdu()
        })
    }

    /// A whole message, however it is cut.
    pub fn message(&mut self, rig: &mut Rig) -> (Header, Vec<u8>) {
        let (first, mut payload) = self.fpdu(rig);
        let mut last = first.last;
        while !last {
            let (header, more) = self.fpdu(rig);
            assert_eq!(header.opcode, first.opcode, "messages do not interleave");
            payload.extend(more);
            last = header.last;
        }
        (first, payload)
    }

    /// Nothing has come, and nothing does.
    pub fn is_silent(&mut self, rig: &mut Rig) -> bool {
        rig.turns(20);
        self.read();
        self.got.is_empty() && !self.eof
    }

    /// The Terminate message and the end of the stream; what came before it is passed over.
    pub fn terminated(&mut self, rig: &mut Rig) -> Fault {
        let fault = loop {
            let (header, payload) = self.fpdu(rig);
            if header.opcode == Opcode::Terminate {
                assert!(header.last && matches!(header.place, Place::Untagged { queue: 2, msn: 1, mo: 0, .. }));
                break siw::wire::Terminate::decode(&payload).fault;
            }
        };
        self.closed(rig);
        fault
    }

    /// The end of the stream, with nothing before it.
    pub fn closed(&mut self, rig: &mut Rig) {
        rig.until("the peer's end", |_| {
            self.read();
            self.eof.then_some(())
        });
        assert!(self.got.is_empty(), "{:02x?}", self.got);
    }

    /// The stream ends, whatever comes before that.
    pub fn gone(&mut self, rig: &mut Rig) {
        rig.until("the peer's end", |_| {
            self.read();
            self.eof.then_some(())
        });
    }
}

pub fn send_header(msn: u32, mo: u32, last: bool) -> Header {
    Header { last, opcode: Opcode::Send, place: Place::Untagged { ulp: 0, queue: 0, msn, mo } }
}
