//! What [`Verbs`] does beyond the seam.

use crate::preload::ADDRESS;
use primitives::{Buf, Tag};
use rdma::{
    Completion, CompletionBatch, CompletionQueue, Event, Memory, Op, Parameters, Peer, PrivateData, Provider,
    QueuePair, QueueSetup, ReadDepth, ReceiveQueue, ReceiveRequest, Refused, Request, Sge, Sgl, Status, WorkRequest,
};
use rdma_verbs::{Config, Error, Verbs, VerbsCompletions, VerbsQueue, VerbsReceives, devices, route, serves};
use reactors::{Arena, Hugepages, Pools};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// Time after which something that should happen is missed.
const PATIENCE: Duration = Duration::from_secs(20);

fn address() -> IpAddr {
    std::env::var(ADDRESS).expect("the address of a device").parse().expect("an address")
}

/// A core with a device, memory and a completion queue.
struct Core {
    pools: Pools,
    completions: VerbsCompletions,
    batch: CompletionBatch,
    verbs: Verbs,
}

impl Core {
    fn new(number: u16) -> Self {
        let mut verbs = Verbs::open(address(), Config::default()).expect("a device");
        let region = Arena::new(Hugepages::Off).region(2 << 20).unwrap();
        verbs.add_memory(Memory { addr: region.extent().addr, len: region.extent().len }).unwrap();
        let pools = Pools::with_counts(number, region.split(1).pop().unwrap(), 200, 0);
        let completions = verbs.completion_queue(1024).unwrap();
        Self { pools, completions, batch: CompletionBatch::new(64), verbs }
    }

    fn prepare(&mut self, peer: Peer, receives: Option<&VerbsReceives>) -> Result<VerbsQueue, Refused> {
        let setup = QueueSetup {
            name: Tag::new(1, 0, 0, 0),
            completions: &self.completions,
            receives,
            send_depth: 160,
            receive_depth: if receives.is_some() { 0 } else { 160 },
            windows: 0,
        };
        self.verbs.prepare(peer, setup)
    }

    fn buf(&mut self, bytes: &[u8]) -> Buf {
        let mut buf = self.pools.take(bytes.len().max(1)).expect("a buffer");
        buf.copy_in(0, bytes);
        buf
    }

    fn event(&mut self, began: Instant) -> Option<Event> {
        self.verbs.progress(began.elapsed().as_nanos() as u64);
        self.verbs.poll()
    }

    /// What has completed; its memory goes back.
    fn reap(&mut self) -> Vec<Completion> {
        self.completions.poll(&mut self.batch);
        let mut done: Vec<Completion> = self.batch.drain().collect();
        for buf in done.iter_mut().filter_map(|completion| completion.sgl.take_buf()) {
            self.pools.give(buf);
        }
        done
    }
}

/// Drives the cores until one of them has the event.
fn wait<R>(cores: &mut [&mut Core], began: Instant, pick: impl Fn(usize, &Event) -> Option<R>) -> R {
    while began.elapsed() < PATIENCE {
        for (n, core) in cores.iter_mut().enumerate() {
            if let Some(found) = core.event(began).and_then(|event| pick(n, &event)) {
                return found;
            }
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    panic!("an event did not happen");
}

/// The request that comes to `server`, which `client` may still be about to make.
fn request(client: &mut Core, server: &mut Core, began: Instant) -> Request {
    let asked = |_, event: &Event| if let Event::Request(request) = event { Some(*request) } else { None };
    wait(&mut [client, server], began, asked)
}

fn parameters(private: &[u8]) -> Parameters {
    Parameters { depth: ReadDepth { ird: 1, ord: 1 }, private: PrivateData::new(private).unwrap() }
}

/// Somebody connects to `at`.
fn knock(client: &mut Core, at: SocketAddr) -> VerbsQueue {
    let mut queue = client.prepare(Peer::At(at), None).unwrap();
    queue.start(&parameters(b"knock")).unwrap();
    queue
}

/// Both ends are established.
fn established(client: &mut Core, server: &mut Core, began: Instant) {
    let up = |n: usize, event: &Event| matches!(event, Event::Established { .. }).then_some(n);
    let first = wait(&mut [client, server], began, up);
    let mut rest = [client, server];
    wait(&mut rest[1 - first..2 - first], began, up);
}

fn connection(client: &mut Core, server: &mut Core, began: Instant) -> (VerbsQueue, VerbsQueue) {
    let at = server.verbs.listen(SocketAddr::new(address(), 0), 4).unwrap();
    let near = knock(client, at);
    let asked = request(client, server, began);
    let mut far = server.prepare(Peer::Of(asked.id), None).unwrap();
    far.start(&parameters(b"")).unwrap();
    established(client, server, began);
    (near, far)
}

fn send(core: &mut Core, queue: &mut VerbsQueue, bytes: &[u8], signalled: bool) {
    let sgl = Sgl::one(Sge::filled(core.buf(bytes)));
    queue.post_send(WorkRequest { tag: Tag::default(), op: Op::SEND, sgl, signalled }).expect("room");
}

/// Receives until there were `count`.
fn received(core: &mut Core, count: usize, began: Instant) -> Vec<Completion> {
    let mut done = vec![];
    while done.len() < count && began.elapsed() < PATIENCE {
        core.event(began);
        done.extend(core.reap());
    }
    assert_eq!(done.len(), count);
    assert!(done.iter().all(|completion| completion.status == Status::Success), "{done:?}");
    done
}

#[test]
fn devices_are_found_by_name_and_by_address() {
    let device = serves(address()).expect("the device of the address");
    assert!(devices().contains(&device) && device.addresses.contains(&address()));
    assert_eq!(route(SocketAddr::new(address(), 9)).unwrap(), address());
    let verbs = Verbs::open_device(&device.name, Config::default()).expect("the device of the name");
    assert!(verbs.name() == device.name && device.addresses.contains(&verbs.address()) && verbs.has(address()));
    let nowhere = IpAddr::from([192, 0, 2, 1]);
    assert!(!verbs.has(nowhere) && serves(nowhere).is_none());
    let error = Verbs::open(nowhere, Config::default()).expect_err("an address of somebody else");
    assert_eq!(error, Error::NotServed { address: nowhere });
}

#[test]
fn only_addresses_of_the_device_are_listened_at() {
    let mut core = Core::new(0);
    assert_eq!(core.verbs.listen(SocketAddr::new(IpAddr::from([0, 0, 0, 0]), 0), 1), Err(Refused::Unsupported));
    assert!(core.verbs.listen(SocketAddr::new(IpAddr::from([192, 0, 2, 1]), 0), 1).is_err());
}

#[test]
fn a_request_moves_to_another_core() {
    let began = Instant::now();
    let (mut client, mut door, mut server) = (Core::new(0), Core::new(1), Core::new(2));
    let at = door.verbs.listen(SocketAddr::new(address(), 0), 4).unwrap();
    let mut near = knock(&mut client, at);
    let asked = request(&mut client, &mut door, began);
    let parcel = door.verbs.detach(asked.id).expect("the request waits");
    assert!(door.verbs.detach(asked.id).is_none(), "it is on its way");
    assert_eq!(door.verbs.reject(asked.id, PrivateData::EMPTY), Err(Refused::Gone));
    let parcel = std::thread::spawn(move || parcel).join().unwrap();
    server.verbs.attach(parcel).unwrap();
    let again = request(&mut client, &mut server, began);
    assert_eq!((again.to, again.from, again.depth), (at, asked.from, asked.depth));
    assert_eq!(again.private, asked.private);
    let mut far = server.prepare(Peer::Of(again.id), None).unwrap();
    let buf = server.buf(b"");
    far.post_receive(ReceiveRequest { tag: Tag::default(), buf }).unwrap();
    far.ring();
    far.start(&parameters(b"come in")).unwrap();
    established(&mut client, &mut server, began);
    send(&mut client, &mut near, b"here", true);
    near.ring();
    assert_eq!(received(&mut server, 1, began)[0].byte_len, 4);
}

#[test]
fn a_request_that_is_lost_on_its_way_is_rejected() {
    let began = Instant::now();
    let (mut client, mut door) = (Core::new(0), Core::new(1));
    let at = door.verbs.listen(SocketAddr::new(address(), 0), 4).unwrap();
    let _near = knock(&mut client, at);
    let asked = request(&mut client, &mut door, began);
    drop(door.verbs.detach(asked.id).expect("the request waits"));
    wait(&mut [&mut client, &mut door], began, |_, e| matches!(e, Event::Rejected { .. }).then_some(()));
}

/// Whether a descriptor becomes readable in so many milliseconds.
fn is_readable(fd: RawFd, millis: i32) -> bool {
    let mut polled = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one descriptor.
    unsafe { libc::poll(&raw mut polled, 1, millis) > 0 }
}

#[test]
fn an_armed_core_is_woken_by_the_next_completion() {
    let began = Instant::now();
    let (mut client, mut server) = (Core::new(0), Core::new(1));
    let (mut near, mut far) = connection(&mut client, &mut server, began);
    let [_, completions, _] = server.verbs.wake_fds();
    for round in 0..5 {
        for _ in 0..2 {
            let buf = server.buf(b"");
            far.post_receive(ReceiveRequest { tag: Tag::default(), buf }).unwrap();
        }
        far.ring();
        while !server.verbs.arm() {
            assert!(server.reap().is_empty(), "nothing was sent");
            server.event(began);
        }
        assert!(!is_readable(completions, 0), "round {round}: nothing has happened");
        send(&mut client, &mut near, b"wake up", true);
        near.ring();
        assert!(is_readable(completions, 10_000), "round {round}");
        received(&mut server, 1, began);
        // What came before it was armed is told at once, or wakes.
        send(&mut client, &mut near, b"again", true);
        near.ring();
        received(&mut client, 2, began);
        assert!(!server.verbs.arm() || is_readable(completions, 10_000), "round {round}");
        received(&mut server, 1, began);
    }
}

#[test]
fn a_long_chain_goes_out_in_order() {
    let began = Instant::now();
    let (mut client, mut server) = (Core::new(0), Core::new(1));
    let (mut near, mut far) = connection(&mut client, &mut server, began);
    const COUNT: usize = 150;
    for _ in 0..COUNT {
        let buf = server.buf(b"");
        far.post_receive(ReceiveRequest { tag: Tag::default(), buf }).unwrap();
    }
    far.ring();
    for n in 0..COUNT {
        send(&mut client, &mut near, &vec![7; n + 1], n == COUNT - 1);
    }
    near.ring();
    let lengths: Vec<u32> = received(&mut server, COUNT, began).iter().map(|completion| completion.byte_len).collect();
    assert_eq!(lengths, (1..=COUNT as u32).collect::<Vec<_>>());
    received(&mut client, COUNT, began);
}

#[test]
fn a_shared_queue_that_was_emptied_can_be_used_again() {
    let began = Instant::now();
    let (mut client, mut server) = (Core::new(0), Core::new(1));
    let Ok(mut receives) = server.verbs.receive_queue(&server.completions, 100) else { return };
    for round in 0..2 {
        for n in 0..100 {
            let (tag, buf) = (Tag::new(2, 0, n, 0), server.buf(b""));
            receives.post_receive(ReceiveRequest { tag, buf }).unwrap();
        }
        receives.ring();
        assert_eq!(receives.room(), 0, "round {round}");
        while let Some(request) = receives.take_back() {
            server.pools.give(request.buf);
        }
        assert_eq!(receives.room(), 100);
    }
    let buf = server.buf(b"");
    receives.post_receive(ReceiveRequest { tag: Tag::default(), buf }).unwrap();
    let at = server.verbs.listen(SocketAddr::new(address(), 0), 4).unwrap();
    let mut near = knock(&mut client, at);
    let asked = request(&mut client, &mut server, began);
    let mut far = server.prepare(Peer::Of(asked.id), Some(&receives)).unwrap();
    receives.ring();
    far.start(&parameters(b"")).unwrap();
    established(&mut client, &mut server, began);
    send(&mut client, &mut near, b"anew", true);
    near.ring();
    assert_eq!(received(&mut server, 1, began)[0].byte_len, 4);
}
