//! [`Tcp`] under the contract of all datamovers.
use crate::contract::{self, Harness};
use crate::support::{Pipe, Rig, data_out, write_command};
use iscsi::datamover::Datamover;
use iscsi::wire::{Bhs, DataIn, Opcode, R2t, ScsiCommand};
use iscsi_tcp::Tcp;
use primitives::Buf;
use std::collections::HashMap;

struct OverPipe {
    rig: Rig,
    writes: HashMap<u32, Vec<u8>>,
    reads: HashMap<u32, Vec<u8>>,
    control: Vec<(Bhs, Vec<u8>)>,
}

impl OverPipe {
    fn take_in(&mut self, bhs: Bhs, data: Vec<u8>) {
        match bhs.opcode() {
            Opcode::R2T => {
                let r2t = R2t::decode(&bhs);
                let range = r2t.buffer_offset as usize..(r2t.buffer_offset + r2t.desired_length) as usize;
                let bytes = self.writes[&r2t.itt][range].to_vec();
                let pdus = bytes.chunks(8192).enumerate();
                for (i, chunk) in pdus {
                    let (at, end) = (i * 8192, i * 8192 + chunk.len() == bytes.len());
                    let pdu = data_out(r2t.itt, r2t.ttt, i as u32, r2t.buffer_offset + at as u32, end);
                    self.rig.arrive_pdu(&pdu, chunk);
                }
            }
            Opcode::DATA_IN => {
                let pdu = DataIn::decode(&bhs);
                let at = pdu.buffer_offset as usize;
                if let Some(buffer) = self.reads.get_mut(&pdu.itt) {
                    buffer[at..at + data.len()].copy_from_slice(&data);
                }
            }
            _ => self.control.push((bhs, data)),
        }
    }
}

impl Harness for OverPipe {
    type Mover = Tcp<Pipe>;

    fn new() -> Self {
        let rig = Rig::enabled(&crate::support::parameters());
        Self { rig, writes: HashMap::new(), reads: HashMap::new(), control: Vec::new() }
    }

    fn mover(&mut self) -> &mut Tcp<Pipe> {
        &mut self.rig.tcp
    }

    fn send(&mut self, bhs: &Bhs, data: &[u8]) {
        self.rig.arrive_pdu(bhs, data);
    }

    fn command_write(&mut self, itt: u32, bytes: &[u8]) {
        self.writes.insert(itt, bytes.to_vec());
        self.rig.arrive_pdu(&write_command(itt, true), &[]);
    }

    fn command_read(&mut self, itt: u32, len: usize) {
        self.reads.insert(itt, vec![0; len]);
        let command = ScsiCommand { itt, read: true, final_bit: true, edtl: len as u32, ..ScsiCommand::default() };
        self.rig.arrive_pdu(&command.encode(), &[]);
    }

    fn deliver(&mut self) {
        // With a window that closes anywhere, PDUs may be incomplete; then they are looked at later.
        if self.rig.pipe.0.borrow().write_room.is_none() && self.rig.tcp.is_flushed() {
            for pdu in self.rig.sent() {
                self.take_in(pdu.bhs, pdu.data);
            }
        }
    }

    fn received(&mut self) -> Vec<(Bhs, Vec<u8>)> {
        std::mem::take(&mut self.control)
    }

    fn read_buffer(&self, itt: u32) -> Vec<u8> {
        self.reads[&itt].clone()
    }

    fn reads(&mut self, reads: bool) {
        self.rig.pipe.0.borrow_mut().write_room = if reads { None } else { Some(77) };
    }

    fn hang_up(&mut self) {
        self.rig.pipe.0.borrow_mut().closed = true;
    }

    fn buffer(&mut self, bytes: &[u8]) -> Buf {
        self.rig.pool.filled(bytes)
    }

    fn empty_buffer(&mut self, capacity: usize) -> Buf {
        self.rig.pool.take(capacity)
    }

    fn give(&mut self, buf: Buf) {
        self.rig.pool.give(buf);
    }

    fn outstanding(&self) -> usize {
        self.rig.pool.outstanding()
    }
}

#[test]
fn tcp_keeps_the_contract() {
    contract::run::<OverPipe>();
}
