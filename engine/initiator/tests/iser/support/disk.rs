//! A target that serves: a small disk, with commands as a benchmark and a client need them.

use super::target::BUFFER;
use super::{Message, Target};
use iscsi::wire::{
    DataOut, LogoutResponse, NopIn, NopOut, Opcode, RESERVED_TAG, ScsiCommand, ScsiResponse, TextResponse,
};
use iser::wire::Advertisement;
use rdma::Provider;
use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

const BLOCK: usize = 512;
pub const NAME: &str = "iqn.2025-01.io.isere:t";

/// A write whose data is not all here.
struct Pending {
    itt: u32,
    at: usize,
    edtl: usize,
    data: Vec<u8>,
    from: Option<Advertisement>,
    /// Bytes that RDMA Reads have brought.
    fetched: usize,
}

pub struct Disk {
    bytes: Rc<RefCell<Vec<u8>>>,
    /// Responses invalidate.
    pub invalidate: bool,
    /// Writes that wait for unsolicited data, and for RDMA Reads, in order.
    announced: VecDeque<Pending>,
    fetching: VecDeque<Pending>,
    /// The most bytes that came unasked with one write.
    pub unasked: usize,
    pub logged_out: bool,
}

impl Disk {
    pub fn new(bytes: usize, invalidate: bool) -> Self {
        let (announced, fetching) = (VecDeque::new(), VecDeque::new());
        let bytes = Rc::new(RefCell::new(vec![0; bytes]));
        Self { bytes, invalidate, announced, fetching, unasked: 0, logged_out: false }
    }

    /// The same disk, for another connection.
    pub fn again(&self) -> Self {
        Self { bytes: Rc::clone(&self.bytes), ..Self::new(0, self.invalidate) }
    }

    /// What is on it.
    pub fn bytes(&self) -> Ref<'_, Vec<u8>> {
        self.bytes.borrow()
    }

    /// Serves what has come.
    pub fn serve<P: Provider>(&mut self, target: &mut Target<P>) {
        while let Some(message) = target.inbox.pop_front() {
            match message.bhs.opcode() {
                Opcode::LOGIN_REQUEST => target.answer_login(&message),
                Opcode::SCSI_COMMAND => self.command(target, message),
                Opcode::DATA_OUT => self.data_out(target, &message),
                Opcode::NOP_OUT => {
                    let ping = NopOut::decode(&message.bhs);
                    let pong = NopIn { itt: ping.itt, ttt: RESERVED_TAG, ..NopIn::default() };
                    target.send(pong.encode(), &message.data, true, None);
                }
                Opcode::TEXT_REQUEST => {
                    let response = TextResponse {
                        final_bit: true,
                        itt: message.bhs.itt(),
                        ttt: RESERVED_TAG,
                        ..TextResponse::default()
                    };
                    let text = format!("TargetName={NAME}\0TargetAddress={},1\0", target.at);
                    target.send(response.encode(), text.as_bytes(), true, None);
                }
                Opcode::LOGOUT_REQUEST => {
                    let response = LogoutResponse { itt: message.bhs.itt(), ..LogoutResponse::default() };
                    target.send(response.encode(), &[], true, None);
                    self.logged_out = true;
                }
                other => panic!("{other:?}"),
            }
        }
        while let Some(data) = target.fetched.pop_front() {
            let mut write = self.fetching.pop_front().expect("a read is answered once");
            write.data.extend_from_slice(&data);
            write.fetched += data.len();
            self.go_on(target, write);
        }
    }

    fn command<P: Provider>(&mut self, target: &mut Target<P>, message: Message) {
        let command = ScsiCommand::decode(&message.bhs);
        target.exp_cmd_sn = target.exp_cmd_sn.wrapping_add(1);
        target.max_cmd_sn = target.max_cmd_sn.wrapping_add(1);
        let cdb = &command.cdb;
        let edtl = command.edtl as usize;
        let lba = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b));
        match cdb[0] {
            0x28 => {
                let at = lba(&cdb[2..6]) * BLOCK;
                let bytes = self.bytes()[at..at + edtl].to_vec();
                self.answer(target, &command, &message, &bytes);
            }
            0x2A => {
                self.unasked = self.unasked.max(message.data.len());
                let at = lba(&cdb[2..6]) * BLOCK;
                let write = Pending { itt: command.itt, at, edtl, data: message.data, from: message.write, fetched: 0 };
                if command.final_bit { self.go_on(target, write) } else { self.announced.push_back(write) }
            }
            0x12 => self.answer(target, &command, &message, &inquiry()),
            0x9E => {
                let last = (self.bytes().len() / BLOCK - 1) as u64;
                let data = [&last.to_be_bytes()[..], &(BLOCK as u32).to_be_bytes(), &[0; 20]].concat();
                self.answer(target, &command, &message, &data);
            }
            _ => target.good(command.itt, None),
        }
    }

    fn data_out<P: Provider>(&mut self, target: &mut Target<P>, message: &Message) {
        let pdu = DataOut::decode(&message.bhs);
        let index = self.announced.iter().position(|w| w.itt == pdu.itt).expect("a write announced it");
        let write = &mut self.announced[index];
        assert_eq!((pdu.ttt, pdu.buffer_offset as usize), (RESERVED_TAG, write.data.len()));
        write.data.extend_from_slice(&message.data);
        self.unasked = self.unasked.max(write.data.len());
        if pdu.final_bit
            && let Some(write) = self.announced.remove(index)
        {
            self.go_on(target, write);
        }
    }

    /// Fetches what is missing of a write, or ends it.
    fn go_on<P: Provider>(&mut self, target: &mut Target<P>, write: Pending) {
        let missing = write.edtl - write.data.len();
        if missing > 0 {
            // The address is past what came unasked.
            let from = write.from.expect("the rest is advertised");
            target.fetch(from, write.fetched as u64, missing.min(BUFFER));
            self.fetching.push_back(write);
            return;
        }
        self.bytes.borrow_mut()[write.at..write.at + write.edtl].copy_from_slice(&write.data);
        let invalidate = write.from.filter(|_| self.invalidate).map(|a| a.stag);
        target.good(write.itt, invalidate);
    }

    /// Answers a command that reads, with as many of `bytes` as it has room for.
    fn answer<P: Provider>(&self, target: &mut Target<P>, command: &ScsiCommand, message: &Message, bytes: &[u8]) {
        let edtl = command.edtl as usize;
        let len = bytes.len().min(edtl);
        let to = message.read.expect("a read advertises its buffer");
        for (n, part) in bytes[..len].chunks(BUFFER).enumerate() {
            target.write(to, (n * BUFFER) as u64, part);
        }
        let response = ScsiResponse {
            itt: command.itt,
            underflow: len < edtl,
            overflow: len < bytes.len(),
            residual: (bytes.len().abs_diff(edtl)) as u32,
            ..ScsiResponse::default()
        };
        target.respond(response, self.invalidate.then_some(to.stag));
    }
}

fn inquiry() -> Vec<u8> {
    let mut data = vec![0, 0, 6, 2, 31, 0, 0, 2];
    data.extend_from_slice(b"ISERE   TEST DISK       1   ");
    data
}
