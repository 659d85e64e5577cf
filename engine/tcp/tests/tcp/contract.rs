//! What any datamover promises, whatever carries it: run over each by a [`Harness`].
//!
//! Nothing here knows a transport; another datamover includes this file and brings its own harness.
use iscsi::datamover::{Advertised, DataStatus, Datamover, Ended, GetData, Numbers, PutData, TaskName, Upcall};
use iscsi::wire::{Bhs, NopIn, NopOut};
use primitives::{Buf, Serial, Tag};

/// A datamover in full-feature phase, and an initiator that behaves.
pub trait Harness: Sized {
    type Mover: Datamover;

    fn new() -> Self;
    fn mover(&mut self) -> &mut Self::Mover;

    /// The initiator sends a PDU.
    fn send(&mut self, bhs: &Bhs, data: &[u8]);
    /// The initiator issues a write of these bytes, all of it solicited; its task has this ITT.
    fn command_write(&mut self, itt: u32, bytes: &[u8]);
    /// The initiator issues a read into a buffer of `len` bytes.
    fn command_read(&mut self, itt: u32, len: usize);
    /// Everything in flight arrives, and the initiator does its part: answers solicitations, takes data.
    fn deliver(&mut self);
    /// The control PDUs the initiator got since the last call, R2Ts and data aside.
    fn received(&mut self) -> Vec<(Bhs, Vec<u8>)>;
    /// The read buffer of a command.
    fn read_buffer(&self, itt: u32) -> Vec<u8>;
    /// The initiator stops taking anything in (`false`), or goes on.
    fn reads(&mut self, reads: bool);
    /// The initiator goes away.
    fn hang_up(&mut self);

    fn buffer(&mut self, bytes: &[u8]) -> Buf;
    fn empty_buffer(&mut self, capacity: usize) -> Buf;
    fn give(&mut self, buf: Buf);
    fn outstanding(&self) -> usize;
}

/// Upcalls, with the buffers' bytes instead of the buffers.
#[derive(Debug)]
enum Seen {
    Control(Bhs, Vec<u8>, Advertised),
    Done(Tag, Vec<u8>, DataStatus),
    Terminated(Ended),
}

struct World<H: Harness> {
    harness: H,
}

const LUN: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

fn tag(index: u16) -> Tag {
    Tag::new(2, 3, index, 1)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 13 + i / 251) as u8).collect()
}

fn numbers() -> Numbers {
    Numbers { stat_sn: Serial(1), exp_cmd_sn: Serial(2), max_cmd_sn: Serial(33) }
}

impl<H: Harness> World<H> {
    fn new() -> Self {
        Self { harness: H::new() }
    }

    /// Turns both sides until a few turns brought nothing at all.
    fn run(&mut self) -> Vec<Seen> {
        let (mut seen, mut quiet) = (Vec::new(), 0);
        while quiet < 3 {
            let arrived = self.harness.mover().receive();
            let before = seen.len();
            while let Some(upcall) = self.harness.mover().poll() {
                seen.push(match upcall {
                    Upcall::Control(c) => Seen::Control(c.bhs, self.harness.mover().segment().to_vec(), c.remote),
                    Upcall::DataDone { tag, buf, status } => {
                        let bytes = buf.filled().to_vec();
                        self.harness.give(buf);
                        Seen::Done(tag, bytes, status)
                    }
                    Upcall::Violation(violation) => panic!("{violation}"),
                    Upcall::Terminated(ended) => Seen::Terminated(ended),
                });
            }
            self.harness.mover().flush();
            self.harness.deliver();
            quiet = if arrived || seen.len() > before { 0 } else { quiet + 1 };
        }
        seen
    }

    fn write(&mut self, itt: u32, bytes: &[u8]) -> Advertised {
        self.harness.command_write(itt, bytes);
        self.command(itt)
    }

    fn read(&mut self, itt: u32, len: usize) -> Advertised {
        self.harness.command_read(itt, len);
        self.command(itt)
    }

    fn command(&mut self, itt: u32) -> Advertised {
        match &self.run()[..] {
            [Seen::Control(bhs, _, remote)] if bhs.itt() == itt => *remote,
            other => panic!("not the command: {other:?}"),
        }
    }

    fn get(&mut self, index: u16, itt: u32, remote: Advertised, offset: u32, len: u32) -> GetData {
        GetData {
            tag: tag(index),
            task: TaskName { itt, lun: LUN },
            remote,
            sink: self.harness.empty_buffer(len as usize),
            start: 0,
            len,
            offset,
            solicited_from: 0,
            unsolicited: false,
            r2t_sn: 0,
            numbers: numbers(),
        }
    }

    fn put(&mut self, index: u16, itt: u32, remote: Advertised, bytes: &[u8]) -> PutData {
        PutData {
            tag: tag(index),
            task: TaskName { itt, lun: LUN },
            remote,
            data: self.harness.buffer(bytes),
            start: 0,
            len: bytes.len() as u32,
            offset: 0,
            data_sn: 0,
            last: true,
            status: None,
            numbers: numbers(),
        }
    }

    /// Ends at once; all that was outstanding comes back before the one last upcall.
    fn end(mut self) {
        self.harness.mover().terminate(false);
        let seen = self.run();
        assert!(matches!(seen.last(), Some(Seen::Terminated(Ended::Local))), "{seen:?}");
        self.ended();
    }

    fn ended(mut self) {
        self.harness.mover().terminate(false);
        assert!(self.run().is_empty(), "nothing follows the last upcall");
        assert_eq!(self.harness.outstanding(), 0, "every buffer comes back once");
    }
}

fn control_pdus_keep_order_and_content<H: Harness>() {
    let mut world = World::<H>::new();
    for i in 0..5u32 {
        world.harness.send(&NopOut { itt: i, ..NopOut::default() }.encode(), &pattern(i as usize * 33));
    }
    let seen = world.run();
    assert_eq!(seen.len(), 5);
    for (i, seen) in seen.iter().enumerate() {
        assert!(matches!(seen, Seen::Control(b, d, _) if b.itt() == i as u32 && *d == pattern(i * 33)), "{seen:?}");
    }
    for i in 0..5u32 {
        let bhs = NopIn { itt: i, ..NopIn::default() }.encode();
        world.harness.mover().send_control(&bhs, &pattern(i as usize * 33)).expect("room for five");
    }
    world.run();
    assert!(world.harness.mover().is_flushed());
    let received = world.harness.received();
    assert_eq!(received.len(), 5);
    assert!(received.iter().enumerate().all(|(i, (b, d))| b.itt() == i as u32 && *d == pattern(i * 33)));
    world.end();
}

fn gets_bring_the_parts_they_name<H: Harness>() {
    let mut world = World::<H>::new();
    let all = pattern(100_000);
    let remote = world.write(1, &all);
    for (i, (offset, len)) in [(0u32, 40_000u32), (40_000, 59_999), (99_999, 1)].into_iter().enumerate() {
        let get = GetData { r2t_sn: i as u32, ..world.get(i as u16, 1, remote, offset, len) };
        world.harness.mover().get_data(get).expect("room for three");
    }
    let seen = world.run();
    assert_eq!(seen.len(), 3, "{seen:?}");
    for seen in seen {
        let Seen::Done(tag, bytes, DataStatus::Ok) = seen else { panic!("{seen:?}") };
        let part = [0..40_000, 40_000..99_999, 99_999..100_000][usize::from(tag.index())].clone();
        assert_eq!(bytes, all[part]);
    }
    world.end();
}

fn puts_reach_their_place_before_the_status<H: Harness>() {
    let mut world = World::<H>::new();
    let all = pattern(70_001);
    let remote = world.read(1, all.len());
    let first = PutData { last: false, ..world.put(1, 1, remote, &all[..30_000]) };
    let next = world.harness.mover().put_data(first).expect("room");
    let second = PutData { offset: 30_000, data_sn: next, ..world.put(2, 1, remote, &all[30_000..]) };
    world.harness.mover().put_data(second).expect("room");
    world.harness.mover().send_control(&NopIn { itt: 9, ..NopIn::default() }.encode(), &[]).expect("room");
    let done: Vec<_> = world.run();
    assert!(done.iter().all(|s| matches!(s, Seen::Done(_, _, DataStatus::Ok))) && done.len() == 2, "{done:?}");
    assert_eq!(world.harness.received().len(), 1);
    assert_eq!(world.harness.read_buffer(1), all);
    world.end();
}

fn released_operations_come_back_once<H: Harness>() {
    let mut world = World::<H>::new();
    let remote = world.write(1, &pattern(5000));
    let get = world.get(1, 1, remote, 0, 5000);
    world.harness.mover().get_data(get).expect("room");
    world.harness.mover().release_task(tag(1));
    world.harness.mover().release_task(tag(1));
    let seen = world.run();
    assert!(matches!(seen[..], [Seen::Done(t, _, _)] if t == tag(1)), "{seen:?}");
    // What arrives late does no harm, and the connection goes on.
    world.harness.send(&NopOut::default().encode(), b"still here");
    assert!(matches!(&world.run()[..], [Seen::Control(_, data, _)] if data == b"still here"));
    world.end();
}

fn refused_operations_come_back_whole<H: Harness>() {
    let mut world = World::<H>::new();
    let remote = world.read(1, 100);
    world.harness.reads(false);
    let mut taken = 0usize;
    let refused = loop {
        let put = world.put(taken as u16, 1, remote, &pattern(100));
        match world.harness.mover().put_data(put) {
            Ok(_) => taken += 1,
            Err(put) => break put,
        }
        assert!(taken < 100_000, "a queue without end");
    };
    assert_eq!((refused.tag, refused.data.filled()), (tag(taken as u16), &pattern(100)[..]));
    world.harness.give(refused.data);
    world.harness.reads(true);
    assert_eq!(world.run().len(), taken, "what was taken is done");
    world.end();
}

fn an_end_returns_everything<H: Harness>() {
    for hang_up in [false, true] {
        let mut world = World::<H>::new();
        let remote = world.write(1, &pattern(5000));
        let buffer = world.read(2, 5000);
        world.harness.reads(false);
        let get = world.get(1, 1, remote, 0, 5000);
        world.harness.mover().get_data(get).expect("room");
        let put = world.put(2, 2, buffer, &pattern(5000));
        world.harness.mover().put_data(put).expect("room");
        if hang_up {
            world.harness.hang_up();
            let seen = world.run();
            assert!(matches!(seen.last(), Some(Seen::Terminated(Ended::Peer | Ended::Failed(_)))), "{seen:?}");
            world.ended();
        } else {
            world.end();
        }
    }
}

/// Every promise, over one datamover.
pub fn run<H: Harness>() {
    control_pdus_keep_order_and_content::<H>();
    gets_bring_the_parts_they_name::<H>();
    puts_reach_their_place_before_the_status::<H>();
    released_operations_come_back_once::<H>();
    refused_operations_come_back_whole::<H>();
    an_end_returns_everything::<H>();
}
