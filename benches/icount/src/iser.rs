//! An iSER initiator (RFC 7145) with verbs of the loopback provider in its own hands.

use std::net::{IpAddr, Ipv4Addr};

use primitives::{Buf, Tag};
use rdma::loopback::{LoopbackCompletions, LoopbackNode, LoopbackQueue, NodeConfig};
use rdma::{
    Access, CompletionBatch, CompletionQueue, Event, Memory, Op, Opcode, Parameters, Peer, PrivateData, Provider,
    QueuePair, QueueSetup, ReadDepth, ReceiveRequest, Remote, Sge, Sgl, Stag, WorkRequest,
};
use reactors::{Arena, Class, Hugepages, Pools};

use crate::parts::{ADDRESS, BLOCKS};
use crate::pdu::{self, BHS, Commands, Direction, Heard, IO_BYTES};
use crate::{Ended, Load, Stage};

/// Bytes of an iSER header (RFC 7145 §9.2).
const HEADER: usize = 28;
/// Ticks in which everything that was rung is executed, and acknowledged.
const TICKS: u64 = 2;
/// Receives beyond one for every command.
const SPARE: usize = 8;
/// Rounds within which a connection stands, or a login is answered.
const PATIENCE: u32 = 64;
/// No zero-based addresses, and Send with Invalidate is welcome: what Linux's initiator says.
const PRIVATE: [u8; 4] = [0x80, 0, 0, 0];
const KEYS: &str = "RDMAExtensions=Yes\0InitialR2T=Yes\0ImmediateData=No\0InitiatorRecvDataSegmentLength=8192\0\
                    TargetRecvDataSegmentLength=8192\0MaxOutstandingUnexpectedPDUs=0\0";

/// A command's data buffer: in a window while the command is under way.
#[derive(Debug, Default)]
struct Slot {
    open: Option<Stag>,
    data: Option<Buf>,
}

/// One connection and its commands.
#[derive(Debug)]
pub struct Initiator {
    queue: LoopbackQueue,
    completions: LoopbackCompletions,
    node: LoopbackNode,
    pools: Pools,
    batch: CompletionBatch,
    slots: Vec<Slot>,
    /// Slots whose command is over.
    idle: Vec<u32>,
    commands: Commands,
    access: Access,
    finished: Ended,
    established: bool,
    login: Option<Vec<u8>>,
}

impl Initiator {
    /// Connects and logs in. `number` must be unlike those of others.
    pub fn log_in(rig: &mut dyn Stage, number: u16, direction: Direction, depth: usize) -> Self {
        let mut this = Self::connect(rig, number, direction, depth);
        for _ in 0..PATIENCE {
            this.exchange(rig);
            if this.established {
                break;
            }
        }
        assert!(this.established, "no connection");
        let (bhs, text) = pdu::login(number, KEYS);
        this.send(&[bhs.as_bytes(), &text], None);
        this.queue.ring();
        for _ in 0..PATIENCE {
            this.exchange(rig);
            if let Some(answer) = this.login.take() {
                pdu::expect_logged_in(&answer);
                return this;
            }
        }
        panic!("no answer to the login");
    }

    fn connect(rig: &mut dyn Stage, number: u16, direction: Direction, depth: usize) -> Self {
        let [high, low] = number.to_be_bytes();
        let mut node = rig.world().node(NodeConfig::infiniband(IpAddr::V4(Ipv4Addr::new(10, 1, high, low))));
        let (receives, sends) = (depth + SPARE, 2 * depth + SPARE);
        let buffers = receives + sends + depth;
        // Buffers of both classes are cut from it, and some of it is lost to alignment.
        let region = Arena::new(Hugepages::Off).region((buffers + 64) * Class::Small.size()).expect("memory");
        let extent = region.extent();
        node.add_memory(Memory { addr: extent.addr, len: extent.len }).expect("a node knows no region yet");
        let mut pools = Pools::with_counts(1000 + number, region.split(1).remove(0), buffers, 0);
        let completions = node.completion_queue((receives + 2 * sends) as u32).expect("a completion queue");
        let setup = QueueSetup {
            name: Tag::new(1, 0, number, 1),
            completions: &completions,
            receives: None,
            send_depth: 2 * sends as u16,
            receive_depth: receives as u16,
            windows: depth as u16,
        };
        let mut queue = node.prepare(Peer::At(ADDRESS), setup).expect("a queue pair");
        for _ in 0..receives {
            let buf = pools.take_class(Class::Small).expect("counted above");
            queue.post_receive(ReceiveRequest { tag: Tag::default(), buf }).expect("counted above");
        }
        let depths = ReadDepth { ird: 16, ord: 16 };
        let private = PrivateData::new(&PRIVATE).expect("four bytes");
        queue.start(&Parameters { depth: depths, private }).expect("not started yet");
        queue.ring();
        let slots = (0..depth).map(|_| Slot { open: None, data: pools.take_class(Class::Small) }).collect();
        Self {
            queue,
            completions,
            node,
            pools,
            batch: CompletionBatch::new(64),
            slots,
            idle: (0..depth as u32).collect(),
            commands: Commands::new(direction, BLOCKS, 0),
            access: if direction == Direction::Read { Access::RemoteWrite } else { Access::RemoteRead },
            finished: Ended::default(),
            established: false,
            login: None,
        }
    }

    /// Lets what was rung happen, has the target turn, lets what it rang happen, and looks at it.
    fn exchange(&mut self, rig: &mut dyn Stage) {
        rig.world().advance(TICKS);
        rig.turn();
        rig.world().advance(TICKS);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(event) = self.node.poll() {
            match event {
                Event::Established { .. } => self.established = true,
                event => panic!("{event:?}"),
            }
        }
        while self.completions.poll(&mut self.batch) > 0 {
            let mut batch = core::mem::replace(&mut self.batch, CompletionBatch::new(0));
            for mut done in batch.drain() {
                assert!(done.status.is_ok(), "{done:?}");
                let Some(buf) = done.sgl.take_buf() else { continue };
                if done.opcode == Opcode::Receive {
                    self.hear(buf, done.invalidated);
                } else {
                    self.pools.give(buf);
                }
            }
            self.batch = batch;
        }
    }

    fn hear(&mut self, buf: Buf, invalidated: Option<Stag>) {
        let bhs = &buf.filled()[HEADER..HEADER + BHS];
        if bhs[0] & 0x3F == 0x23 {
            self.login = Some(bhs.to_vec());
        } else if let Heard::Status { itt, status } = self.commands.hear(bhs) {
            let slot = &mut self.slots[itt as usize];
            assert_eq!(invalidated, slot.open, "the response closes the command's window");
            let window = slot.open.take().and_then(|stag| self.queue.reclaim(stag)).expect("a closed window");
            slot.data = Some(window.buf);
            self.idle.push(itt);
            self.finished.note(status);
        }
        self.queue.post_receive(ReceiveRequest { tag: Tag::default(), buf }).expect("one has just been used");
    }

    /// Sends a PDU behind an iSER header that advertises `window`.
    fn send(&mut self, pdu: &[&[u8]], window: Option<Remote>) {
        let mut header = [0; HEADER];
        header[0] = 0x10;
        if let Some(Remote { stag, va }) = window {
            let (flag, at) = if self.access == Access::RemoteRead { (0x08, 4) } else { (0x04, 16) };
            header[0] |= flag;
            header[at..at + 4].copy_from_slice(&stag.0.to_be_bytes());
            header[at + 4..at + 12].copy_from_slice(&va.to_be_bytes());
        }
        let mut buf = self.pools.take_class(Class::Small).expect("as many as the queue holds");
        let mut at = 0;
        for piece in core::iter::once(&header[..]).chain(pdu.iter().copied()) {
            buf.copy_in(at, piece);
            at += piece.len();
        }
        buf.set_len(at);
        let sgl = Sgl::one(Sge::filled(buf));
        let request = WorkRequest { tag: Tag::default(), op: Op::SEND, sgl, signalled: true };
        self.queue.post_send(request).expect("the queue holds as many");
    }

    /// Begins a command in every slot that has none.
    fn begin(&mut self) {
        while let Some(itt) = self.idle.pop() {
            let slot = &mut self.slots[itt as usize];
            let mut buf = slot.data.take().expect("an idle slot has its buffer");
            buf.set_len(IO_BYTES as usize);
            let sge = Sge::new(buf, 0, IO_BYTES);
            let window = self.queue.bind(Tag::default(), sge, self.access).expect("a window for each slot");
            slot.open = Some(window.stag);
            let bhs = *self.commands.next(itt);
            self.send(&[&bhs], Some(window));
        }
        self.queue.ring();
    }
}

impl Load for Initiator {
    fn round(&mut self, rig: &mut dyn Stage) -> Ended {
        self.begin();
        self.exchange(rig);
        core::mem::take(&mut self.finished)
    }
}
