//! An initiator over soft-iWARP that sends whatever it is told to, or stops doing anything.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use iscsi::wire::{Bhs, LoginRequest, LoginResponse, ScsiCommand};
use iser::wire::{Advertisement, HEADER, HEADERS, Header};
use primitives::{Buf, Serial, Tag};
use rdma::{
    Access, CompletionBatch, CompletionQueue, Event, Memory, Op, Opcode, Parameters, Peer as Whom, PrivateData,
    Provider, QueuePair, QueueSetup, ReadDepth, ReceiveRequest, Remote, Sge, Sgl, WorkRequest,
};
use reactors::{Arena, Class, Hugepages, Pools};
use siw::{Config, Siw, SiwCompletions, SiwQueue};

use super::{ADMIN, PATIENCE, ROOMS};

/// Receives posted at once.
const RECEIVES: u16 = 32;

/// A connection over soft-iWARP. The queue pair goes before what it was made from.
pub struct RdmaPeer {
    pub queue: SiwQueue,
    completions: SiwCompletions,
    siw: Siw,
    pools: Pools,
    batch: CompletionBatch,
    inbox: VecDeque<Vec<u8>>,
    /// Windows the target closed.
    pub invalidated: Vec<u32>,
    established: Option<PrivateData>,
    over: bool,
    began: Instant,
}

impl RdmaPeer {
    /// Begins to connect.
    pub fn begin(to: SocketAddr, private: &[u8], depth: ReadDepth) -> Self {
        let region = Arena::new(Hugepages::Off).region(16 << 20).unwrap();
        let memory = Memory { addr: region.extent().addr, len: region.extent().len };
        let pools = Pools::with_counts(9, region.split(1).pop().unwrap(), 64, 64);
        let mut siw = Siw::new(Config::default()).unwrap();
        siw.add_memory(memory).unwrap();
        let completions = siw.completion_queue(2048).unwrap();
        let setup = QueueSetup {
            name: Tag::default(),
            completions: &completions,
            receives: None,
            send_depth: 256,
            receive_depth: RECEIVES,
            windows: 64,
        };
        let queue = siw.prepare(Whom::At(to), setup).unwrap();
        let batch = CompletionBatch::new(64);
        let (inbox, invalidated, began) = (VecDeque::new(), Vec::new(), Instant::now());
        let mut peer =
            Self { queue, completions, siw, pools, batch, inbox, invalidated, established: None, over: false, began };
        for _ in 0..RECEIVES {
            let buf = peer.pools.take_class(Class::Large).unwrap();
            peer.receive_into(buf);
        }
        let private = PrivateData::new(private).unwrap();
        peer.queue.start(&Parameters { depth, private }).unwrap();
        peer.queue.ring();
        peer
    }

    /// Connects; `None` if the target will not have it.
    pub fn connect(to: SocketAddr, private: &[u8]) -> Option<Self> {
        let mut peer = Self::begin(to, private, ReadDepth { ird: 16, ord: 1 });
        peer.until(|peer| peer.is_established() || peer.over);
        (!peer.over).then_some(peer)
    }

    /// Connects as Linux's initiator does, and logs in.
    pub fn log_in(to: SocketAddr) -> Self {
        let mut peer = Self::connect(to, &[0x80, 0, 0, 0]).expect("the target accepts");
        let response = peer.try_log_in(ROOMS[0], "RDMAExtensions=Yes\0").expect("an answer");
        assert_eq!((response.status_class, response.status_detail), (0, 0), "the login is refused");
        peer
    }

    /// The header of the answer to a login request that wants full-feature phase at once.
    pub fn try_log_in(&mut self, target: &str, keys: &str) -> Option<LoginResponse> {
        let answer = self.request_login(target, keys)?;
        Some(LoginResponse::decode(&Bhs::from_slice(&answer[HEADER..]).unwrap()))
    }

    /// The text of such an answer.
    pub fn login_text(&mut self, target: &str, keys: &str) -> Option<String> {
        let answer = self.request_login(target, keys)?;
        Some(String::from_utf8(answer[HEADERS..].to_vec()).unwrap())
    }

    fn request_login(&mut self, target: &str, keys: &str) -> Option<Vec<u8>> {
        let text = format!("InitiatorName={ADMIN}\0SessionType=Normal\0TargetName={target}\0{keys}");
        let isid = [0x80, 0, 0, 0, 0, 77];
        let request =
            LoginRequest { transit: true, csg: 1, nsg: 3, isid, itt: 1, cmd_sn: Serial(1), ..LoginRequest::default() };
        self.send_pdu(Header::PLAIN, &request.encode(), text.as_bytes());
        self.hear()
    }

    /// The private data of the acceptance.
    pub fn accepted_with(&self) -> &[u8] {
        self.established.as_ref().map_or(&[], |private| private.as_slice())
    }

    /// One turn.
    pub fn turn(&mut self) {
        self.siw.progress(self.began.elapsed().as_nanos() as u64);
        while let Some(event) = self.siw.poll() {
            match event {
                Event::Established { private, .. } => self.established = Some(private),
                Event::Rejected { .. } | Event::Disconnected { .. } => self.over = true,
                Event::Request(_) | Event::Removed => {}
            }
        }
        self.completions.poll(&mut self.batch);
        let done: Vec<_> = self.batch.drain().collect();
        for mut completion in done {
            let Some(buf) = completion.sgl.take_buf() else { continue };
            if completion.opcode == Opcode::Receive && completion.status.is_ok() {
                self.inbox.push_back(buf.filled().to_vec());
                self.invalidated.extend(completion.invalidated.map(|stag| stag.0));
                self.receive_into(buf);
                self.queue.ring();
            } else {
                self.pools.give(buf);
            }
        }
    }

    fn receive_into(&mut self, buf: Buf) {
        let _ = self.queue.post_receive(ReceiveRequest { tag: Tag::default(), buf });
    }

    /// Turns until something holds.
    #[track_caller]
    pub fn until(&mut self, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "nothing happens");
            self.turn();
            std::thread::yield_now();
        }
    }

    /// The next message; `None` when the connection is over.
    #[track_caller]
    pub fn hear(&mut self) -> Option<Vec<u8>> {
        self.until(|peer| !peer.inbox.is_empty() || peer.over);
        self.inbox.pop_front()
    }

    /// The next PDU's header.
    #[track_caller]
    pub fn hear_pdu(&mut self) -> Option<Bhs> {
        self.hear().map(|message| Bhs::from_slice(&message[HEADER..]).expect("a whole header"))
    }

    /// The target ends the connection, whatever it says before.
    #[track_caller]
    pub fn hears_the_end(&mut self) {
        self.until(|peer| peer.over);
    }

    /// The connection stands.
    pub fn is_established(&self) -> bool {
        self.established.is_some()
    }

    /// It is over.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Sends a message of exactly these bytes.
    pub fn send(&mut self, message: &[u8]) {
        let mut buf = self.pools.take(message.len()).unwrap();
        buf.copy_in(0, message);
        buf.set_len(message.len());
        let request =
            WorkRequest { tag: Tag::default(), op: Op::SEND, sgl: Sgl::one(Sge::filled(buf)), signalled: true };
        if let Err(mut refusal) = self.queue.post_send(request) {
            refusal.request.sgl.take_buf().into_iter().for_each(|buf| self.pools.give(buf));
        }
        self.queue.ring();
    }

    /// Sends a PDU with this iSER header.
    pub fn send_pdu(&mut self, header: Header, bhs: &Bhs, data: &[u8]) {
        let mut message = header.encode().to_vec();
        message.extend_from_slice(bhs.with_data_segment_length(data.len() as u32).as_bytes());
        message.extend_from_slice(data);
        message.resize(HEADERS + data.len().next_multiple_of(4), 0);
        self.send(&message);
    }

    /// Opens a window of `len` bytes that hold `bytes`.
    pub fn window(&mut self, bytes: &[u8], len: u32, access: Access) -> Remote {
        let mut buf = self.pools.take_class(Class::Large).unwrap();
        buf.copy_in(0, bytes);
        buf.set_len(len as usize);
        self.queue.bind(Tag::default(), Sge::new(buf, 0, len), access).expect("a window is free")
    }

    /// A READ or WRITE of `edtl` bytes with this CDB and these buffers.
    pub fn command(&mut self, itt: u32, cmd_sn: u32, lun: u16, cdb: [u8; 16], edtl: u32, header: Header) {
        let (read, write) = match header {
            Header::Control { read, write } => (read.is_some(), write.is_some()),
            _ => (false, false),
        };
        let lun = [0, lun as u8, 0, 0, 0, 0, 0, 0];
        let write = write || !read;
        let command = ScsiCommand {
            itt,
            cmd_sn: Serial(cmd_sn),
            lun,
            cdb,
            edtl,
            read,
            write,
            final_bit: true,
            ..ScsiCommand::default()
        };
        self.send_pdu(header, &command.encode(), &[]);
    }
}

/// A header that advertises a buffer for reading into.
pub fn to_read(remote: Remote) -> Header {
    Header::Control { write: None, read: Some(Advertisement { stag: remote.stag.0, va: remote.va }) }
}

/// A header that advertises a buffer to be written from.
pub fn to_write(remote: Remote) -> Header {
    Header::Control { write: Some(Advertisement { stag: remote.stag.0, va: remote.va }), read: None }
}
