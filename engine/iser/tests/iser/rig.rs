//! An [`Iser`] and an initiator in a loopback world, and what turns them.
use crate::memory::Buffers;
use crate::peer::Peer;
use iscsi::datamover::{
    Advertised, Control, DataStatus, Datamover, Ended, GetData, Numbers, PutData, TaskName, Upcall, Violation,
};
use iscsi::negotiate::Parameters;
use iscsi::wire::Bhs;
use iser::limits::{CONTROL, MESSAGE};
use iser::{Iser, Limits, Setup, Supplies};
use primitives::{Serial, Tag};
use rdma::loopback::{
    Config, Fault, Latency, LoopbackCompletions, LoopbackNode, LoopbackReceives, NodeConfig, What, When, World,
};
use rdma::{
    CompletionBatch, CompletionQueue, Counters, Event, Parameters as Connect, Peer as At, PrivateData, Provider,
    QueuePair, QueueSetup, ReadDepth, ReceiveQueue, ReceiveRequest,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub const LUN: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
pub const TARGET: Tag = Tag::new(0x51, 0, 0, 7);
pub const INITIATOR: Tag = Tag::new(0x52, 0, 0, 7);
pub const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))];

/// How the two sides are made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub iwarp: bool,
    pub shared: bool,
    pub seed: u64,
    pub latency: Latency,
    pub limits: Limits,
    pub invalidates: bool,
    /// Of the target's send queue.
    pub send_depth: u16,
    /// Receives of the target.
    pub receives: u16,
    /// Receives of the initiator.
    pub peer_receives: usize,
    /// RDMA Reads the initiator serves.
    pub ird: u16,
    pub control: usize,
    pub messages: usize,
    /// Bytes of memory at each side.
    pub memory: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            iwarp: false,
            shared: false,
            seed: 1,
            latency: Latency { min: 0, max: 3 },
            limits: Limits { receives: 24, reserve: 4, ..Limits::default() },
            invalidates: true,
            send_depth: 64,
            receives: 24,
            peer_receives: 24,
            ird: 4,
            control: 24,
            messages: 1,
            memory: 3 << 20,
        }
    }
}

impl Options {
    /// Both families, with receives of its own and with shared ones.
    pub fn kinds() -> [Self; 4] {
        let kind = |iwarp, shared| Self { iwarp, shared, ..Self::default() };
        [kind(false, false), kind(false, true), kind(true, false), kind(true, true)]
    }
}

pub struct Rig {
    pub world: World,
    pub nodes: [LoopbackNode; 2],
    pub mover: Iser<Box<dyn QueuePair>>,
    pub peer: Peer,
    pub buffers: Buffers,
    completions: [LoopbackCompletions; 2],
    batch: CompletionBatch,
    receives: Option<LoopbackReceives>,
    pub options: Options,
    pub ended: Option<Ended>,
}

/// Upcalls, with the bytes of buffers instead of the buffers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    Control { bhs: Bhs, data: Vec<u8>, ahs: Vec<u8>, remote: Advertised },
    Done { tag: Tag, bytes: Vec<u8>, status: DataStatus },
    Violation(Violation),
    Terminated(Ended),
}

pub fn tag(index: u16) -> Tag {
    Tag::new(2, 3, index, 1)
}

pub fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 253) as u8).collect()
}

pub fn numbers() -> Numbers {
    Numbers { stat_sn: Serial(1), exp_cmd_sn: Serial(2), max_cmd_sn: Serial(33) }
}

/// What Linux's initiator negotiates.
pub fn parameters() -> Parameters {
    Parameters { rdma_extensions: true, initiator_max_recv: 262_144, ..Parameters::default() }
}

impl Rig {
    /// Connected, in the login phase.
    pub fn new(options: Options) -> Self {
        let mut rig = Self::unconnected(options);
        rig.turns(40);
        rig
    }

    /// In full-feature phase.
    pub fn enabled(options: Options) -> Self {
        let mut rig = Self::new(options);
        rig.mover.enable(&parameters());
        rig
    }

    /// Accepted; the confirmation is under way.
    pub fn unconnected(options: Options) -> Self {
        let world = World::new(Config { seed: options.seed, latency: options.latency, queues: 4 });
        let mut nodes = ADDRESSES.map(|addr| {
            let config = if options.iwarp { NodeConfig::iwarp(addr) } else { NodeConfig::infiniband(addr) };
            world.node(config)
        });
        let (mut buffers, theirs) = (Buffers::new(options.memory), Buffers::new(options.memory));
        nodes[0].add_memory(buffers.memory()).unwrap();
        nodes[1].add_memory(theirs.memory()).unwrap();
        let completions = [nodes[0].completion_queue(2048).unwrap(), nodes[1].completion_queue(2048).unwrap()];
        let at = nodes[0].listen(SocketAddr::new(ADDRESSES[0], 0), 4).unwrap();
        let setup = QueueSetup {
            name: INITIATOR,
            completions: &completions[1],
            receives: None,
            send_depth: 512,
            receive_depth: 128,
            windows: 128,
        };
        let queue = nodes[1].prepare(At::At(at), setup).unwrap();
        let mut peer = Peer::new(world.clone(), queue, theirs, options.peer_receives);
        let ours = ReadDepth { ird: options.ird, ord: 0 };
        peer.queue.start(&Connect { depth: ours, private: PrivateData::EMPTY }).unwrap();
        peer.queue.ring();
        let request = loop {
            world.advance(1);
            if let Some(Event::Request(request)) = nodes[0].poll() {
                break request;
            }
        };
        let mut receives = options.shared.then(|| nodes[0].receive_queue(&completions[0], options.receives).unwrap());
        let setup = QueueSetup {
            name: TARGET,
            completions: &completions[0],
            receives: receives.as_ref(),
            send_depth: options.send_depth,
            receive_depth: if options.shared { 0 } else { options.receives },
            windows: 0,
        };
        let queue: Box<dyn QueuePair> = Box::new(nodes[0].prepare(At::Of(request.id), setup).unwrap());
        let depth = ReadDepth { ird: 0, ord: 8 };
        let mut supply = |n, len| (0..n).map(|_| buffers.take(len)).collect();
        let supplies =
            Supplies { control: supply(options.control, CONTROL), messages: supply(options.messages, MESSAGE) };
        let setup = Setup {
            name: TARGET,
            limits: options.limits,
            peer_invalidates: options.invalidates,
            depth,
            shared_receive: options.shared,
        };
        let mut mover = Iser::new(queue, setup, supplies);
        for i in 0..options.receives {
            let request = ReceiveRequest { tag: Tag::new(3, 0, i, 0), buf: buffers.take(MESSAGE) };
            match &mut receives {
                Some(queue) => queue.post_receive(request).unwrap(),
                None => mover.queue().post_receive(request).unwrap(),
            }
        }
        if let Some(queue) = &mut receives {
            queue.ring();
        }
        mover.queue().start(&Connect { depth, private: PrivateData::EMPTY }).unwrap();
        mover.queue().ring();
        let batch = CompletionBatch::new(16);
        Self { world, nodes, mover, peer, buffers, completions, batch, receives, options, ended: None }
    }

    /// Time passes, and both sides hear what happened; nobody acts on it.
    pub fn turn(&mut self) {
        self.pass();
        self.reap();
        while self.completions[1].poll(&mut self.batch) > 0 {
            for completion in self.batch.drain() {
                self.peer.complete(completion);
            }
        }
        self.peer.queue.ring();
    }

    /// A tick, and the word of connections.
    fn pass(&mut self) {
        self.peer.queue.ring();
        self.world.advance(1);
        while let Some(event) = self.nodes[0].poll() {
            self.mover.event(&event);
        }
        while let Some(event) = self.nodes[1].poll() {
            self.peer.events.push(event);
        }
    }

    /// The target's completions, all of them.
    pub fn reap(&mut self) {
        while self.completions[0].poll(&mut self.batch) > 0 {
            self.mover.complete(self.batch.as_mut_slice());
            self.batch.clear();
        }
        self.restock();
    }

    /// Ticks with which only the initiator does anything.
    pub fn peer_turns(&mut self, n: usize) {
        for _ in 0..n {
            self.pass();
            while self.completions[1].poll(&mut self.batch) > 0 {
                for completion in self.batch.drain() {
                    self.peer.complete(completion);
                }
            }
            self.peer.queue.ring();
        }
    }

    /// All completions of the target, polled and not handed over.
    pub fn hold_completions(&mut self) -> CompletionBatch {
        let mut batch = CompletionBatch::new(256);
        self.completions[0].poll(&mut batch);
        batch
    }

    pub fn turns(&mut self, n: usize) {
        for _ in 0..n {
            self.turn();
        }
    }

    /// Receives of the shared queue that came back are posted again.
    fn restock(&mut self) {
        let Some(receives) = &mut self.receives else { return };
        receives.post_receives(self.mover.free_receives()).expect("room for what was there");
        receives.ring();
    }

    /// All upcalls there are now.
    pub fn drain(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(upcall) = self.mover.poll() {
            seen.push(self.see(upcall));
        }
        seen
    }

    pub fn see(&mut self, upcall: Upcall) -> Seen {
        match upcall {
            Upcall::Control(Control { bhs, len, remote, .. }) => {
                let (data, ahs) = (self.mover.segment().to_vec(), self.mover.ahs().to_vec());
                assert_eq!(data.len(), len as usize);
                Seen::Control { bhs, data, ahs, remote }
            }
            Upcall::DataDone { tag, buf, status } => {
                let bytes = buf.filled().to_vec();
                self.buffers.give(buf);
                Seen::Done { tag, bytes, status }
            }
            Upcall::Violation(violation) => Seen::Violation(violation),
            Upcall::Terminated(ended) => {
                assert!(self.ended.replace(ended).is_none(), "the last upcall comes once");
                assert_eq!(self.mover.queue().outstanding(), 0, "nothing is under way after it");
                Seen::Terminated(ended)
            }
        }
    }

    /// Turns both sides until nothing has happened for long.
    pub fn settle(&mut self) -> Vec<Seen> {
        let (mut seen, mut quiet) = (Vec::new(), 0);
        while quiet < 40 {
            self.turn();
            let arrived = self.mover.receive();
            let more = self.mover.has_more();
            let now = self.drain();
            assert!(more || now.is_empty(), "has_more announced nothing, and poll returned {now:?}");
            assert!(!self.mover.has_more(), "there is no more than poll returned");
            self.mover.flush();
            quiet = if arrived || !now.is_empty() { 0 } else { quiet + 1 };
            seen.extend(now);
        }
        seen
    }

    pub fn counters(&mut self) -> Counters {
        self.mover.queue().counters()
    }

    /// A put of these bytes, into a buffer of an initiator.
    pub fn put(&mut self, tag: Tag, remote: Advertised, offset: u32, bytes: &[u8]) -> PutData {
        PutData {
            tag,
            task: TaskName { itt: 1, lun: LUN },
            remote,
            data: self.buffers.filled(bytes),
            start: 0,
            len: bytes.len() as u32,
            offset,
            data_sn: 0,
            last: true,
            status: None,
            numbers: numbers(),
        }
    }

    /// A solicited get.
    pub fn get(&mut self, tag: Tag, remote: Advertised, offset: u32, len: u32) -> GetData {
        GetData {
            tag,
            task: TaskName { itt: 1, lun: LUN },
            remote,
            sink: self.buffers.take(len as usize),
            start: 0,
            len,
            offset,
            solicited_from: 0,
            unsolicited: false,
            r2t_sn: 0,
            numbers: numbers(),
        }
    }

    /// A get for unsolicited data of task `itt`.
    pub fn expect(&mut self, tag: Tag, itt: u32, offset: u32, len: u32) {
        let get = GetData {
            task: TaskName { itt, lun: LUN },
            unsolicited: true,
            ..self.get(tag, Advertised::default(), offset, len)
        };
        self.mover.get_data(get).expect("room for a get");
    }

    /// Plans a fault for the next tick.
    pub fn inject(&mut self, what: What) {
        self.world.inject(Fault { when: When::At(0), what }).unwrap();
    }

    /// Ends the connection if it lives, and checks that everything is back and in order.
    pub fn finish(mut self) {
        self.peer.queue.to_error();
        self.mover.terminate(false);
        self.settle();
        self.finished();
    }

    /// The connection has ended: checks that everything is back and in order.
    pub fn finished(mut self) {
        assert!(self.ended.is_some(), "the last upcall was made");
        self.peer.queue.to_error();
        self.turns(60);
        assert!(!self.mover.has_more() && self.mover.poll().is_none(), "nothing follows the last upcall");
        let supplies = self.mover.take_supplies().expect("the connection has ended");
        assert_eq!((supplies.control.len(), supplies.messages.len()), (self.options.control, self.options.messages));
        for buf in supplies.control.into_iter().chain(supplies.messages) {
            self.buffers.give(buf);
        }
        for receive in self.mover.free_receives().drain(..) {
            self.buffers.give(receive.buf);
        }
        assert_eq!(self.mover.queue().outstanding(), 0);
        drop(self.mover);
        self.world.advance(20);
        if let Some(receives) = &mut self.receives {
            while let Some(request) = receives.take_back() {
                self.buffers.give(request.buf);
            }
        }
        assert_eq!(self.buffers.outstanding(), 0, "buffers of the target that never came back");
        self.peer.finish();
        self.world.finish();
    }
}

/// Statuses of operations, by the index of their tags, in order of their ends.
pub fn statuses(seen: &[Seen]) -> Vec<(u16, DataStatus)> {
    let of = |seen: &Seen| match seen {
        Seen::Done { tag, status, .. } => Some((tag.index(), *status)),
        _ => None,
    };
    seen.iter().filter_map(of).collect()
}
