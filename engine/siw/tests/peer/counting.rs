//! How often the kernel is called.

use super::support::Rig;
use primitives::Tag;
use rdma::{
    Completion, CompletionBatch, CompletionQueue, Event, Op, Opcode, Parameters, Peer, PrivateData, Provider,
    QueuePair, QueueSetup, ReceiveRequest, Sge, Sgl, WorkRequest,
};
use siw::{Config, Siw, SiwCompletions, SiwQueue};

const DEPTH: usize = 16;
const ROUNDS: u64 = 100;

/// One end of a ping-pong.
struct End {
    device: Siw,
    completions: SiwCompletions,
    queue: Option<SiwQueue>,
    batch: CompletionBatch,
}

impl End {
    fn new(rig: &mut Rig) -> Self {
        let mut device = Siw::new(Config::default()).unwrap();
        device.add_memory(rig.memory).unwrap();
        let completions = device.completion_queue(512).unwrap();
        Self { device, completions, queue: None, batch: CompletionBatch::new(64) }
    }

    fn prepare(&mut self, peer: Peer) {
        let setup = QueueSetup {
            name: Tag::new(1, 0, 0, 0),
            completions: &self.completions,
            receives: None,
            send_depth: 64,
            receive_depth: 64,
            windows: 0,
        };
        let mut queue = self.device.prepare(peer, setup).unwrap();
        queue.start(&Parameters { depth: super::support::DEPTH, private: PrivateData::EMPTY }).unwrap();
        self.queue = Some(queue);
    }

    fn queue(&mut self) -> &mut SiwQueue {
        self.queue.as_mut().unwrap()
    }

    fn post(&mut self, rig: &mut Rig, send: bool) {
        let (tag, buf) = (rig.tag(), rig.buf(76, 3));
        if send {
            let request = WorkRequest { tag, op: Op::SEND, sgl: Sgl::one(Sge::filled(buf)), signalled: true };
            self.queue().post_send(request).map_err(|r| r.why).unwrap();
        } else {
            self.queue().post_receive(ReceiveRequest { tag, buf }).map_err(|r| r.why).unwrap();
        }
    }

    /// A turn: everything that came is answered, with one doorbell. How many that was.
    fn turn(&mut self, rig: &mut Rig) -> u64 {
        rig.now += 1;
        self.device.progress(rig.now);
        self.completions.poll(&mut self.batch);
        let done: Vec<Completion> = self.batch.drain().collect();
        let mut answered = 0;
        for completion in done {
            assert!(completion.status.is_ok());
            let answers = completion.opcode == Opcode::Receive;
            rig.give(completion);
            if answers {
                self.post(rig, false);
                self.post(rig, true);
                answered += 1;
            }
        }
        self.queue().ring();
        answered
    }
}

fn two(rig: &mut Rig) -> [End; 2] {
    let [mut server, mut client] = [End::new(rig), End::new(rig)];
    let at = server.device.listen("127.0.0.1:0".parse().unwrap(), 4).unwrap();
    client.prepare(Peer::At(at));
    let mut up = 0;
    while up < 2 {
        for end in [&mut server, &mut client] {
            rig.now += 1;
            end.device.progress(rig.now);
            while let Some(event) = end.device.poll() {
                match event {
                    Event::Request(request) => end.prepare(Peer::Of(request.id)),
                    Event::Established { .. } => up += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    [server, client]
}

#[test]
fn half_a_call_for_a_message_at_depth_sixteen() {
    let mut rig = Rig::new(Config::default());
    let [mut server, mut client] = two(&mut rig);
    for _ in 0..DEPTH {
        server.post(&mut rig, false);
        client.post(&mut rig, false);
        client.post(&mut rig, true);
    }
    server.queue().ring();
    client.queue().ring();
    // Warm up: the ways are known to be busy then.
    for _ in 0..10 {
        server.turn(&mut rig);
        client.turn(&mut rig);
    }
    let before = [server.device.stats(), client.device.stats()];
    let mut messages = [0; 2];
    for _ in 0..ROUNDS {
        messages[0] += server.turn(&mut rig);
        messages[1] += client.turn(&mut rig);
    }
    let after = [server.device.stats(), client.device.stats()];
    for end in 0..2 {
        let calls = after[end].calls() - before[end].calls();
        assert!(messages[end] >= ROUNDS * DEPTH as u64 / 2, "{messages:?}");
        // A receive and a send for sixteen messages, and a look for others now and then.
        let per_message = calls as f64 / messages[end] as f64;
        println!("{per_message} calls for a message received and answered");
        assert!(per_message <= 0.25, "{per_message} calls a message");
    }
}

#[test]
fn an_idle_turn_is_one_call() {
    let mut rig = Rig::new(Config::default());
    let [mut server, mut client] = two(&mut rig);
    for _ in 0..10 {
        server.turn(&mut rig);
        client.turn(&mut rig);
    }
    let before = server.device.stats();
    for _ in 0..ROUNDS {
        server.turn(&mut rig);
    }
    let after = server.device.stats();
    assert_eq!((after.calls() - before.calls(), after.looks - before.looks), (ROUNDS, ROUNDS));
    // A timer of the set-up may still be noted, once.
    rig.now = server.device.deadline().unwrap_or(rig.now);
    server.turn(&mut rig);
    assert!(server.device.deadline().is_none(), "it may sleep on its descriptor");
    drop(client);
    let mut alone = Siw::new(Config::default()).unwrap();
    alone.progress(1);
    assert_eq!(alone.stats().calls(), 0, "a device that nobody knows asks nothing");
}

#[test]
fn sixteen_requests_are_one_call() {
    let mut rig = Rig::new(Config::default());
    let [mut server, mut client] = two(&mut rig);
    server.turn(&mut rig);
    for _ in 0..DEPTH {
        server.post(&mut rig, false);
        client.post(&mut rig, true);
    }
    server.queue().ring();
    let before = client.device.stats();
    client.queue().ring();
    let after = client.device.stats();
    assert_eq!(after.writes - before.writes, 1);
    let before = server.device.stats();
    let answered = server.turn(&mut rig);
    assert_eq!((answered, server.device.stats().reads - before.reads), (16, 1));
}
