//! A small target over the datamover: it serves reads and writes in pieces, honours aborts, and checks what it gets.
use crate::rig::{LUN, Rig, Seen, numbers};
use iscsi::datamover::{Advertised, DataStatus, Datamover, GetData, PutData, TaskName};
use iscsi::wire::{Bhs, NopIn, NopOut, Opcode, ScsiCommand, ScsiResponse, TmfRequest, TmfResponse};
use primitives::Tag;

/// Bytes of one put or get.
const PIECE: u32 = 3000;

/// The data of a task, in both directions: byte `i` of task `itt`.
pub fn data(itt: u32, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(31).wrapping_add(itt.wrapping_mul(97)) as u8).collect()
}

/// The CDB says how much unsolicited data follows and how much is read; EDTL, how much is written in all.
pub fn command(itt: u32, write: u32, unsolicited: u32, read: u32) -> ScsiCommand {
    let mut cdb = [0; 16];
    cdb[..4].copy_from_slice(&unsolicited.to_be_bytes());
    cdb[4..8].copy_from_slice(&read.to_be_bytes());
    let final_bit = unsolicited == 0;
    ScsiCommand {
        itt,
        write: write > 0,
        read: read > 0,
        final_bit,
        edtl: write,
        cdb,
        lun: LUN,
        ..ScsiCommand::default()
    }
}

#[derive(Debug)]
struct Task {
    itt: u32,
    remote: Advertised,
    write: u32,
    read: u32,
    /// Offsets reached.
    written: u32,
    put: u32,
    unsolicited_to: u32,
    immediate: u32,
    /// Gets under way: their numbers, offsets and lengths.
    gets: Vec<(u32, u32, u32)>,
    outstanding: usize,
    next: u32,
    /// The request that aborts it.
    aborted_by: Option<u32>,
}

#[derive(Debug, Default)]
pub struct Server {
    tasks: Vec<Option<Task>>,
    /// Pings to be answered.
    pings: Vec<u32>,
    /// Task management to be answered.
    managed: Vec<u32>,
    pub served: usize,
    pub aborted: usize,
}

impl Server {
    pub fn is_idle(&self) -> bool {
        self.tasks.iter().all(Option::is_none) && self.pings.is_empty() && self.managed.is_empty()
    }

    /// Takes upcalls in and does what can be done.
    pub fn act(&mut self, rig: &mut Rig, seen: &[Seen]) {
        for seen in seen {
            match seen {
                Seen::Control { bhs, data, remote, .. } => self.control(rig, bhs, data, *remote),
                Seen::Done { tag, bytes, status } => self.done(*tag, bytes, *status),
                Seen::Violation(_) => rig.mover.terminate(false),
                Seen::Terminated(_) => {
                    assert!(self.tasks.iter().flatten().all(|task| task.outstanding == 0), "all is back by now");
                    return self.tasks.clear();
                }
            }
        }
        if rig.ended.is_none() {
            self.advance(rig);
        }
    }

    fn control(&mut self, rig: &mut Rig, bhs: &Bhs, immediate: &[u8], remote: Advertised) {
        match bhs.opcode() {
            Opcode::NOP_OUT => self.pings.push(NopOut::decode(bhs).itt),
            Opcode::SCSI_COMMAND => self.command(&ScsiCommand::decode(bhs), immediate, remote),
            Opcode::TMF_REQUEST => self.abort(rig, &TmfRequest::decode(bhs)),
            other => panic!("{other:?}"),
        }
    }

    fn command(&mut self, command: &ScsiCommand, immediate: &[u8], remote: Advertised) {
        let word = |at: usize| u32::from_be_bytes(command.cdb[at..at + 4].try_into().unwrap());
        let len = immediate.len() as u32;
        assert_eq!(immediate, data(command.itt, immediate.len()));
        let task = Task {
            itt: command.itt,
            remote,
            write: command.edtl,
            read: word(4),
            written: len,
            put: 0,
            unsolicited_to: len + word(0),
            immediate: len,
            gets: Vec::new(),
            outstanding: 0,
            next: 0,
            aborted_by: None,
        };
        match self.tasks.iter_mut().find(|task| task.is_none()) {
            Some(free) => *free = Some(task),
            None => self.tasks.push(Some(task)),
        }
    }

    fn abort(&mut self, rig: &mut Rig, request: &TmfRequest) {
        let itt = request.referenced_task_tag;
        let found =
            self.tasks.iter_mut().enumerate().find(|(_, task)| task.as_ref().is_some_and(|task| task.itt == itt));
        match found {
            Some((index, Some(task))) => {
                task.aborted_by = Some(request.itt);
                rig.mover.release_task(Tag::new(0, 3, index as u16, 0));
                rig.mover.refuse_unsolicited(itt);
            }
            _ => self.managed.push(request.itt),
        }
    }

    fn done(&mut self, tag: Tag, bytes: &[u8], status: DataStatus) {
        let Some(task) = self.tasks[usize::from(tag.index())].as_mut() else { panic!("an operation of no task") };
        task.outstanding -= 1;
        if tag.kind() != 2 {
            return;
        }
        let at = task.gets.iter().position(|(number, ..)| *number == tag.generation()).expect("a get under way");
        let (_, offset, len) = task.gets.swap_remove(at);
        match status {
            DataStatus::Ok => {
                let whole = data(task.itt, task.write as usize);
                assert_eq!(bytes, &whole[offset as usize..][..len as usize], "the bytes of its place in the buffer");
            }
            DataStatus::Released => {}
            other => panic!("{other:?}"),
        }
    }

    fn advance(&mut self, rig: &mut Rig) {
        self.pings
            .retain(|itt| rig.mover.send_control(&NopIn { itt: *itt, ..NopIn::default() }.encode(), &[]).is_err());
        self.managed.retain(|itt| !tell_aborted(rig, *itt));
        for index in 0..self.tasks.len() {
            let Some(task) = &mut self.tasks[index] else { continue };
            if let Some(request) = task.aborted_by {
                if task.outstanding == 0 && tell_aborted(rig, request) {
                    self.tasks[index] = None;
                    self.aborted += 1;
                }
            } else if task.serve(rig, index as u16) && respond(rig, task.itt, &task.remote) {
                task.aborted_by = None;
                task.read = 0;
                self.served += 1;
                // Puts may still be under way; nothing else is.
                task.remote = Advertised::default();
                task.itt = u32::MAX;
            }
            if self.tasks[index].as_ref().is_some_and(|task| task.itt == u32::MAX && task.outstanding == 0) {
                self.tasks[index] = None;
            }
        }
    }
}

fn tell_aborted(rig: &mut Rig, itt: u32) -> bool {
    rig.mover.send_control(&TmfResponse { itt, ..TmfResponse::default() }.encode(), &[]).is_ok()
}

fn respond(rig: &mut Rig, itt: u32, remote: &Advertised) -> bool {
    let response = ScsiResponse { itt, ..ScsiResponse::default() };
    rig.mover.send_response(&response.encode(), b"good", remote).is_ok()
}

impl Task {
    /// Moves what can be moved. `true` when nothing is left but to respond.
    fn serve(&mut self, rig: &mut Rig, index: u16) -> bool {
        if self.itt == u32::MAX {
            return false;
        }
        while self.written < self.write && self.get(rig, index) {}
        if self.written < self.write || !self.gets.is_empty() {
            return false;
        }
        while self.put < self.read && self.put_next(rig, index) {}
        self.put == self.read
    }

    fn get(&mut self, rig: &mut Rig, index: u16) -> bool {
        let offset = self.written;
        let unsolicited = offset < self.unsolicited_to;
        if unsolicited && !self.gets.is_empty() {
            return false;
        }
        let len = if unsolicited { self.unsolicited_to - offset } else { PIECE.min(self.write - offset) };
        let Some(sink) = rig.buffers.try_take(len as usize) else { return false };
        self.next += 1;
        let get = GetData {
            tag: Tag::new(2, 3, index, self.next),
            task: TaskName { itt: self.itt, lun: LUN },
            remote: self.remote,
            sink,
            start: 0,
            len,
            offset,
            solicited_from: self.unsolicited_to.max(self.immediate),
            unsolicited,
            r2t_sn: 0,
            numbers: numbers(),
        };
        match rig.mover.get_data(get) {
            Ok(()) => {
                self.gets.push((self.next, offset, len));
                self.written += len;
                self.outstanding += 1;
                true
            }
            Err(get) => {
                rig.buffers.give(get.sink);
                false
            }
        }
    }

    fn put_next(&mut self, rig: &mut Rig, index: u16) -> bool {
        let len = PIECE.min(self.read - self.put);
        let Some(mut buf) = rig.buffers.try_take(len as usize) else { return false };
        buf.copy_in(0, &data(self.itt, self.read as usize)[self.put as usize..][..len as usize]);
        let put = PutData {
            tag: Tag::new(1, 3, index, 0),
            task: TaskName { itt: self.itt, lun: LUN },
            remote: self.remote,
            data: buf,
            start: 0,
            len,
            offset: self.put,
            data_sn: 0,
            last: self.put + len == self.read,
            status: None,
            numbers: numbers(),
        };
        match rig.mover.put_data(put) {
            Ok(_) => {
                self.put += len;
                self.outstanding += 1;
                true
            }
            Err(put) => {
                rig.buffers.give(put.data);
                false
            }
        }
    }
}
