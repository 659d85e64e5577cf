//! What a command costs: no allocation, one doorbell a turn, two work requests of which one is signalled.
use crate::rig::{Options, Rig, bytes, numbers, tag};
use iscsi::datamover::{Advertised, DataStatus, Datamover, GetData, PutData, TaskName, Upcall};
use iscsi::wire::{Opcode, ScsiCommand, ScsiResponse};
use primitives::Buf;
use rdma::{Access, Counters};

const BLOCK: usize = 4096;

/// A target that answers every read and write of one block, and keeps its buffers at hand.
struct Target {
    buffers: Vec<Buf>,
    /// Buffers of writes whose data has come, by task.
    answers: Vec<(u32, Advertised)>,
}

impl Target {
    fn new(rig: &mut Rig, buffers: usize) -> Self {
        let buffers = (0..buffers).map(|_| rig.buffers.filled(&bytes(BLOCK))).collect();
        Self { buffers, answers: Vec::with_capacity(64) }
    }

    /// One turn.
    fn turn(&mut self, rig: &mut Rig) {
        rig.reap();
        while let Some(upcall) = rig.mover.poll() {
            match upcall {
                Upcall::Control(control) => self.command(rig, &ScsiCommand::decode(&control.bhs), control.remote),
                Upcall::DataDone { tag, buf, status } => {
                    assert_eq!(status, DataStatus::Ok);
                    self.buffers.push(buf);
                    if let Some(at) = self.answers.iter().position(|(itt, _)| *itt == u32::from(tag.index())) {
                        let (itt, remote) = self.answers.swap_remove(at);
                        respond(rig, itt, &remote);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        rig.mover.flush();
    }

    fn command(&mut self, rig: &mut Rig, command: &ScsiCommand, remote: Advertised) {
        let (tag, task) = (tag(command.itt as u16), TaskName { itt: command.itt, lun: [0; 8] });
        let (buf, numbers) = (self.buffers.pop().expect("a buffer"), numbers());
        let (start, len, offset) = (0, BLOCK as u32, 0);
        if command.read {
            let (data_sn, last, status) = (0, true, None);
            let put = PutData { tag, task, remote, data: buf, start, len, offset, data_sn, last, status, numbers };
            assert!(rig.mover.put_data(put).is_ok());
            respond(rig, command.itt, &remote);
        } else {
            self.answers.push((command.itt, remote));
            let (solicited_from, unsolicited, r2t_sn) = (0, false, 0);
            let get = GetData {
                tag,
                task,
                remote,
                sink: buf,
                start,
                len,
                offset,
                solicited_from,
                unsolicited,
                r2t_sn,
                numbers,
            };
            assert!(rig.mover.get_data(get).is_ok());
        }
    }

    fn give_back(self, rig: &mut Rig) {
        assert!(self.answers.is_empty());
        self.buffers.into_iter().for_each(|buf| rig.buffers.give(buf));
    }
}

fn respond(rig: &mut Rig, itt: u32, remote: &Advertised) {
    let response = ScsiResponse { itt, ..ScsiResponse::default() };
    rig.mover.send_response(&response.encode(), &[], remote).expect("room for a response");
}

/// The initiator issues commands 0..n and everything of it arrives.
fn issue(rig: &mut Rig, n: u32, read: bool) {
    for itt in 0..n {
        let access = if read { Access::RemoteWrite } else { Access::RemoteRead };
        let buffer = rig.peer.open(itt, &bytes(BLOCK), access);
        let command =
            ScsiCommand { itt, read, write: !read, final_bit: true, edtl: BLOCK as u32, ..ScsiCommand::default() };
        let remote = Advertised { read: Some(buffer).filter(|_| read), write: Some(buffer).filter(|_| !read) };
        rig.peer.send(&command.encode(), &[], remote);
    }
    rig.peer_turns(20);
}

/// The initiator takes its answers in and closes its windows.
fn answered(rig: &mut Rig, n: u32, read: bool) {
    rig.peer_turns(20);
    assert_eq!(rig.peer.got.len(), n as usize);
    assert!(rig.peer.got.drain(..).all(|got| got.bhs.opcode() == Opcode::SCSI_RESPONSE));
    for itt in 0..n {
        let access = if read { Access::RemoteWrite } else { Access::RemoteRead };
        assert_eq!(rig.peer.reclaim(itt, access), Some(bytes(BLOCK)));
    }
}

struct Cost {
    before: Counters,
}

impl Cost {
    fn since(rig: &mut Rig) -> Self {
        Self { before: rig.counters() }
    }

    /// Writes, reads, sends, signalled, doorbells.
    fn of(&self, rig: &mut Rig) -> [u64; 5] {
        let (a, b) = (self.before, rig.counters());
        let all = [(b.writes, a.writes), (b.reads, a.reads), (b.sends, a.sends), (b.signalled, a.signalled)];
        let [writes, reads, sends, signalled] = all.map(|(after, before)| after - before);
        [writes, reads, sends, signalled, b.doorbells - a.doorbells]
    }
}

#[test]
fn a_read_is_two_work_requests_one_of_them_signalled_in_one_doorbell() {
    for options in Options::kinds() {
        let mut rig = Rig::enabled(options);
        let mut target = Target::new(&mut rig, 24);
        for n in [1, 2, 20] {
            issue(&mut rig, n, true);
            let cost = Cost::since(&mut rig);
            target.turn(&mut rig);
            let commands = u64::from(n);
            assert_eq!(cost.of(&mut rig), [commands, 0, commands, 1, 1], "{n} reads in a turn");
            answered(&mut rig, n, true);
            target.turn(&mut rig);
        }
        target.give_back(&mut rig);
        rig.finish();
    }
}

#[test]
fn a_write_is_two_work_requests_in_two_doorbells() {
    for options in Options::kinds() {
        let mut rig = Rig::enabled(Options { ird: 8, ..options });
        let mut target = Target::new(&mut rig, 24);
        for n in [1, 2, 8] {
            issue(&mut rig, n, false);
            let cost = Cost::since(&mut rig);
            target.turn(&mut rig);
            let commands = u64::from(n);
            assert_eq!(cost.of(&mut rig), [0, commands, 0, commands, 1], "{n} writes in a turn");
            rig.peer_turns(20);
            target.turn(&mut rig);
            assert_eq!(cost.of(&mut rig), [0, commands, commands, commands + 1, 2]);
            answered(&mut rig, n, false);
            target.turn(&mut rig);
        }
        target.give_back(&mut rig);
        rig.finish();
    }
}

#[test]
fn a_write_behind_a_read_is_signalled_by_it() {
    let mut rig = Rig::enabled(Options::default());
    let mut target = Target::new(&mut rig, 24);
    let (read, write) = (ScsiCommand { itt: 1, read: true, ..ScsiCommand::default() }, ScsiCommand::default());
    let remote = Advertised {
        read: Some(rig.peer.open(1, &bytes(BLOCK), Access::RemoteWrite)),
        write: Some(rig.peer.open(0, &bytes(BLOCK), Access::RemoteRead)),
    };
    rig.peer_turns(20);
    let cost = Cost::since(&mut rig);
    target.command(&mut rig, &read, Advertised { write: None, ..remote });
    target.command(&mut rig, &write, Advertised { read: None, ..remote });
    target.turn(&mut rig);
    assert_eq!(cost.of(&mut rig), [1, 1, 1, 1, 1], "the RDMA Read is the last of the turn");
    for _ in 0..4 {
        rig.peer_turns(20);
        target.turn(&mut rig);
    }
    target.give_back(&mut rig);
    rig.finish();
}

#[test]
fn the_data_path_allocates_nothing() {
    for options in Options::kinds() {
        // With a read depth of two, gets wait as well.
        let mut rig = Rig::enabled(Options { ird: 2, ..options });
        let mut target = Target::new(&mut rig, 24);
        for round in 0..60 {
            let read = round % 2 == 0;
            issue(&mut rig, 8, read);
            for _ in 0..8 {
                let ((), counts) = reactors::guard::count(|| target.turn(&mut rig));
                assert_eq!((counts.allocations, counts.deallocations), (0, 0), "round {round}");
                rig.peer_turns(20);
            }
            answered(&mut rig, 8, read);
        }
        assert_eq!(rig.mover.stats().puts + rig.mover.stats().gets, 480);
        target.give_back(&mut rig);
        rig.finish();
    }
}

#[test]
fn a_turn_without_work_rings_nothing() {
    let mut rig = Rig::enabled(Options::default());
    rig.settle();
    let cost = Cost::since(&mut rig);
    for _ in 0..100 {
        rig.reap();
        assert!(!rig.mover.receive() && rig.mover.poll().is_none() && !rig.mover.has_more());
        rig.mover.flush();
    }
    assert_eq!(cost.of(&mut rig), [0; 5]);
    rig.finish();
}
