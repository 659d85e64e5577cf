//! A harness with memory, completion queues, and any number of connections, keeping account of every request.

use super::{Harness, Options, Side};
use primitives::{Buf, Tag};
use rdma::{
    Access, Completion, CompletionBatch, CompletionQueue, Ended, Event, Memory, Op, Parameters, Peer, PrivateData,
    Provider, QueuePair, QueueSetup, ReadDepth, ReceiveRequest, Remote, Request, Sge, Sgl, Stag, Status, Transport,
    WorkRequest,
};
use reactors::{Arena, Hugepages, Pools};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

/// Turns after which something that should happen is missed.
const PATIENCE: usize = 20_000;

/// How deep a connection of a clause is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub send: u16,
    pub receive: u16,
    pub windows: u16,
    pub depth: [ReadDepth; 2],
}

impl Default for Shape {
    fn default() -> Self {
        let depth = ReadDepth { ird: 4, ord: 4 };
        Self { send: 16, receive: 16, windows: 4, depth: [depth, depth] }
    }
}

type Queue<H> = <<H as Harness>::P as Provider>::Queue;
type Completions<H> = <<H as Harness>::P as Provider>::Completions;

pub struct End<H: Harness> {
    pub pools: Pools,
    pub memory: Memory,
    pub completions: Completions<H>,
    pub batch: CompletionBatch,
    pub done: Vec<Completion>,
    pub events: Vec<Event>,
    /// Requests that were taken and have not completed.
    pub out: HashMap<u64, ()>,
    pub next: u32,
}

pub struct Link<H: Harness> {
    pub ends: [End<H>; 2],
    pub queues: [Vec<Option<Queue<H>>>; 2],
    pub listening: SocketAddr,
    pub shape: Shape,
    pub harness: H,
}

/// The name of connection `n` at `side`.
pub fn name(side: Side, n: usize) -> Tag {
    Tag::new(0x51, side as u16, n as u16, 7)
}

fn end<H: Harness>(harness: &mut H, side: Side) -> End<H> {
    let region = Arena::new(Hugepages::Off).region(2 << 20).unwrap();
    let memory = Memory { addr: region.extent().addr, len: region.extent().len };
    let mut pools = Pools::with_counts(side as u16, region.split(1).pop().unwrap(), 96, 4);
    pools.poison();
    let provider = harness.provider(side);
    provider.add_memory(memory).unwrap();
    let completions = provider.completion_queue(512).unwrap();
    let (done, events) = (Vec::with_capacity(1024), Vec::with_capacity(64));
    let out = HashMap::with_capacity(4096);
    End { pools, memory, completions, batch: CompletionBatch::new(8), done, events, out, next: 0 }
}

impl<H: Harness> Link<H> {
    /// A listening server and a client that knows it.
    pub fn listening(options: Options, shape: Shape, backlog: u16) -> Self {
        let mut harness = H::new(options);
        let ends = Side::BOTH.map(|side| end(&mut harness, side));
        let address = harness.address();
        let listening = harness.provider(Side::Server).listen(address, backlog).unwrap();
        Self { ends, queues: [vec![], vec![]], listening, shape, harness }
    }

    /// One connection, established, of this shape.
    pub fn shaped(shape: Shape) -> Self {
        Self::connected_with(Options::default(), shape)
    }

    /// One connection, established.
    pub fn connected() -> Self {
        Self::shaped(Shape::default())
    }

    pub fn connected_with(options: Options, shape: Shape) -> Self {
        let mut link = Self::listening(options, shape, 8);
        link.connect();
        link
    }

    /// One more connection; its number.
    pub fn connect(&mut self) -> usize {
        let client = self.prepare(Side::Client, Peer::At(self.listening));
        self.start(Side::Client, client, &[]).unwrap();
        let request = self.request();
        let server = self.prepare(Side::Server, Peer::Of(request.id));
        self.start(Side::Server, server, &[]).unwrap();
        self.established(Side::Client, client);
        self.established(Side::Server, server);
        assert_eq!(server, client);
        server
    }

    pub fn setup(&mut self, side: Side, peer: Peer, n: usize) -> Result<Queue<H>, rdma::Refused> {
        let setup = QueueSetup {
            name: name(side, n),
            completions: &self.ends[side as usize].completions,
            receives: None,
            send_depth: self.shape.send,
            receive_depth: self.shape.receive,
            windows: self.shape.windows,
        };
        self.harness.provider(side).prepare(peer, setup)
    }

    pub fn prepare(&mut self, side: Side, peer: Peer) -> usize {
        let n = self.queues[side as usize].len();
        let queue = self.setup(side, peer, n).unwrap();
        self.queues[side as usize].push(Some(queue));
        n
    }

    pub fn parameters(&self, side: Side, private: &[u8]) -> Parameters {
        Parameters { depth: self.shape.depth[side as usize], private: PrivateData::new(private).unwrap() }
    }

    pub fn start(&mut self, side: Side, n: usize, private: &[u8]) -> Result<(), rdma::Refused> {
        let parameters = self.parameters(side, private);
        self.queue(side, n).start(&parameters)
    }

    pub fn queue(&mut self, side: Side, n: usize) -> &mut Queue<H> {
        self.queues[side as usize][n].as_mut().expect("the queue pair lives")
    }

    pub fn end(&mut self, side: Side) -> &mut End<H> {
        &mut self.ends[side as usize]
    }

    pub fn iwarp(&mut self) -> bool {
        self.harness.provider(Side::Server).attributes().transport == Transport::Iwarp
    }

    /// A turn of both ends.
    pub fn turn(&mut self) {
        let now = self.harness.pause();
        for side in Side::BOTH {
            let provider = self.harness.provider(side);
            provider.progress(now);
            let end = &mut self.ends[side as usize];
            while let Some(event) = provider.poll() {
                end.events.push(event);
            }
            end.completions.poll(&mut end.batch);
            for completion in end.batch.drain() {
                let key = completion.tag.to_bits();
                assert!(end.out.remove(&key).is_some(), "{side:?}: {completion:?} completes nothing outstanding");
                end.done.push(completion);
            }
        }
    }

    pub fn turns(&mut self, n: usize) {
        for _ in 0..n {
            self.turn();
        }
    }

    /// Turns until `look` finds something.
    pub fn until<R>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<R>) -> R {
        let (begun, mut turns) = (Instant::now(), 0);
        while turns < PATIENCE || begun.elapsed() < self.harness.patience() {
            if let Some(found) = look(self) {
                return found;
            }
            self.turn();
            turns += 1;
        }
        panic!("{what} did not happen; events {:?} and {:?}", self.ends[0].events, self.ends[1].events);
    }

    pub fn event<R>(&mut self, side: Side, what: &str, mut pick: impl FnMut(&Event) -> Option<R>) -> R {
        self.until(what, |link| {
            let events = &mut link.end(side).events;
            let at = events.iter().position(|e| pick(e).is_some())?;
            pick(&events.remove(at))
        })
    }

    pub fn request(&mut self) -> Request {
        self.event(Side::Server, "a request", |e| if let Event::Request(r) = e { Some(*r) } else { None })
    }

    pub fn established(&mut self, side: Side, n: usize) -> (ReadDepth, PrivateData) {
        self.event(side, "the connection", |e| match e {
            Event::Established { queue, depth, private } if *queue == name(side, n) => Some((*depth, *private)),
            _ => None,
        })
    }

    pub fn disconnected(&mut self, side: Side, n: usize) -> Ended {
        self.event(side, "the end of the connection", |e| match e {
            Event::Disconnected { queue, how } if *queue == name(side, n) => Some(*how),
            _ => None,
        })
    }

    pub fn tag(&mut self, side: Side) -> Tag {
        let end = self.end(side);
        end.next += 1;
        Tag::new(1, side as u16, 0, end.next)
    }

    /// A buffer with these bytes.
    pub fn filled(&mut self, side: Side, bytes: &[u8]) -> Buf {
        let mut buf = self.end(side).pools.take(bytes.len()).expect("a buffer");
        buf.copy_in(0, bytes);
        buf
    }

    /// A buffer of `len` bytes, meaningful and all alike.
    pub fn plain(&mut self, side: Side, len: usize, byte: u8) -> Buf {
        let mut buf = self.end(side).pools.take(len).expect("a buffer");
        buf.storage()[..len].fill(byte);
        buf.set_len(len);
        buf
    }

    /// Posts and rings a receive of a small buffer.
    pub fn receive(&mut self, side: Side, n: usize) -> Tag {
        let tag = self.post_receive(side, n);
        self.queue(side, n).ring();
        tag
    }

    pub fn post_receive(&mut self, side: Side, n: usize) -> Tag {
        let tag = self.tag(side);
        let buf = self.end(side).pools.take(1).expect("a buffer");
        self.queue(side, n).post_receive(ReceiveRequest { tag, buf }).expect("room for a receive");
        self.taken(side, tag);
        tag
    }

    pub fn taken(&mut self, side: Side, tag: Tag) {
        assert!(self.end(side).out.insert(tag.to_bits(), ()).is_none(), "{tag:?} is used twice");
    }

    /// Posts, without ringing.
    pub fn post(&mut self, side: Side, n: usize, op: Op, sgl: Sgl, signalled: bool) -> Tag {
        let tag = self.tag(side);
        let request = WorkRequest { tag, op, sgl, signalled };
        if let Err(refusal) = self.queue(side, n).post_send(request) {
            panic!("{op:?} is refused: {}", refusal.why);
        }
        self.taken(side, tag);
        tag
    }

    /// Posts a signalled request and rings.
    pub fn send(&mut self, side: Side, n: usize, op: Op, sgl: Sgl) -> Tag {
        let tag = self.post(side, n, op, sgl, true);
        self.queue(side, n).ring();
        tag
    }

    pub fn say(&mut self, side: Side, n: usize, bytes: &[u8]) -> Tag {
        let buf = self.filled(side, bytes);
        self.send(side, n, Op::SEND, Sgl::one(Sge::filled(buf)))
    }

    /// The completion of a request.
    pub fn completion(&mut self, side: Side, tag: Tag) -> Completion {
        self.until("a completion", |link| {
            let done = &mut link.end(side).done;
            let at = done.iter().position(|c| c.tag == tag)?;
            Some(done.remove(at))
        })
    }

    /// A completion that must be a success; its memory goes back.
    pub fn succeeds(&mut self, side: Side, tag: Tag) {
        let completion = self.completion(side, tag);
        assert_eq!(completion.status, Status::Success, "{completion:?}");
        self.give(side, completion);
    }

    /// The bytes of a successful receive or Read; its memory goes back.
    pub fn bytes(&mut self, side: Side, tag: Tag) -> Vec<u8> {
        let mut completion = self.completion(side, tag);
        assert_eq!(completion.status, Status::Success, "{completion:?}");
        let sge = completion.sgl.take().expect("a buffer");
        let bytes = copied(&sge.buf, sge.start as usize, completion.byte_len as usize);
        self.end(side).pools.give(sge.buf);
        bytes
    }

    pub fn give(&mut self, side: Side, mut completion: Completion) {
        while let Some(buf) = completion.sgl.take_buf() {
            self.end(side).pools.give(buf);
        }
    }

    /// Opens a window on `len` bytes in the middle of a buffer filled with `byte`, posted and rung.
    pub fn window(&mut self, side: Side, n: usize, len: u32, byte: u8, access: Access) -> Remote {
        let buf = self.plain(side, 8192, byte);
        let tag = self.tag(side);
        let remote = self.queue(side, n).bind(tag, Sge::new(buf, 1024, len), access).expect("a window");
        self.taken(side, tag);
        self.queue(side, n).ring();
        remote
    }

    /// Takes a closed window's memory; all bytes of its buffer.
    pub fn reclaim(&mut self, side: Side, n: usize, stag: Stag) -> Vec<u8> {
        let sge = self.queue(side, n).reclaim(stag).expect("a closed window");
        let bytes = copied(&sge.buf, 0, sge.buf.len());
        self.end(side).pools.give(sge.buf);
        bytes
    }

    /// Closes a window from its own side and takes its memory.
    pub fn close(&mut self, side: Side, n: usize, stag: Stag) -> Vec<u8> {
        let tag = self.send(side, n, Op::Invalidate(stag), Sgl::NONE);
        self.succeeds(side, tag);
        self.reclaim(side, n, stag)
    }

    /// Waits until nothing of connection `n` is outstanding at `side`.
    pub fn drained(&mut self, side: Side, n: usize) {
        self.until("the drain", |link| (link.queue(side, n).outstanding() == 0).then_some(()));
    }

    /// Waits for the message with which the peer closes a window; whether its receive says so.
    pub fn told(&mut self, side: Side, receive: Tag, stag: Stag) -> bool {
        let got = self.completion(side, receive);
        assert_eq!(got.status, Status::Success, "{got:?}");
        let told = got.invalidated.is_some() || !self.harness.leeway().silent_invalidation;
        assert_eq!(got.invalidated, told.then_some(stag));
        self.give(side, got);
        told
    }

    /// As [`Link::told`]; what was not told is done once more from this side, so that the memory can be taken.
    pub fn closed_by_peer(&mut self, side: Side, n: usize, receive: Tag, stag: Stag) {
        if !self.told(side, receive, stag) {
            let tag = self.send(side, n, Op::Invalidate(stag), Sgl::NONE);
            self.succeeds(side, tag);
        }
    }

    /// `tag` of the client was refused by the server with `status`, and both ends fail.
    pub fn refused(&mut self, n: usize, tag: Tag, status: Status) {
        let (client, _) = (self.disconnected(Side::Client, n), self.disconnected(Side::Server, n));
        let completion = self.completion(Side::Client, tag);
        if self.iwarp() {
            // A Write has left before it is refused.
            let possible = [Status::Success, Status::Flushed, status];
            assert!(possible.contains(&completion.status), "{completion:?}");
            let silent = self.harness.leeway().silent_terminate && matches!(client, Ended::Peer | Ended::Lost);
            assert!(silent || client == Ended::Terminated, "{client:?}");
        } else {
            assert_eq!((completion.status, client), (status, Ended::Failed(status)));
        }
        self.give(Side::Client, completion);
    }

    /// Ends every connection, waits for the drain, and checks that everything is back.
    pub fn finish(mut self) {
        for side in Side::BOTH {
            for queue in self.queues[side as usize].iter_mut().flatten() {
                queue.to_error();
            }
        }
        for side in Side::BOTH {
            for n in 0..self.queues[side as usize].len() {
                if self.queues[side as usize][n].is_some() {
                    self.drained(side, n);
                }
            }
        }
        self.queues = [vec![], vec![]];
        self.turns(20);
        for side in Side::BOTH {
            let done = core::mem::take(&mut self.end(side).done);
            for completion in done {
                self.give(side, completion);
            }
            let (out, buffers) = (self.end(side).out.len(), self.end(side).pools.outstanding());
            assert_eq!((out, buffers), (0, 0), "{side:?}: requests and buffers that never came back");
            let memory = self.end(side).memory;
            if !self.end(side).events.iter().any(|e| matches!(e, Event::Removed)) {
                self.harness.provider(side).remove_memory(memory).expect("memory that nothing uses");
            }
        }
        self.harness.finish();
    }
}

pub fn copied(buf: &Buf, start: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let got = buf.copy_out(start, &mut bytes);
    assert_eq!(got, len, "the buffer's length covers what was moved");
    bytes
}
