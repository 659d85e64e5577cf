//! One connection to the engine, for saying anything and hearing everything.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use initiator::raw::{Connection, Pdu, Received};
use initiator::{Options, Url};
use iscsi::wire::{
    Bhs, DataIn, DataOut, NopOut, Opcode, R2t, RESERVED_TAG, Reject, ScsiCommand, ScsiResponse, TmfRequest, TmfResponse,
};
use primitives::Serial;

use super::PATIENCE;

/// A raw connection whose received bytes are all watched for poison.
pub struct Peer(Connection);

impl Deref for Peer {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

/// Sense key, additional sense code and qualifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sense(pub u8, pub u8, pub u8);

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: u8,
    pub sense: Option<Sense>,
    /// The sense data, as it came.
    pub raw_sense: Vec<u8>,
    pub data: Vec<u8>,
    /// Positive for what did not fit (overflow), negative for what is missing (underflow).
    pub residual: i64,
}

impl Answer {
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!((self.status, self.sense), (0, None), "{self:?}");
        self
    }

    #[track_caller]
    pub fn fails_with(&self, key: u8, asc: u8, ascq: u8) {
        assert_eq!((self.status, self.sense), (2, Some(Sense(key, asc, ascq))), "{self:?}");
    }
}

impl Peer {
    pub fn connect(address: SocketAddr) -> Self {
        Self(Connection::open(address).unwrap())
    }

    pub fn log_in(url: &Url, options: &Options) -> Self {
        Self(Connection::log_in(url, options).unwrap())
    }

    /// The connection ends as if the host had crashed.
    pub fn crash(self) {
        self.0.reset().unwrap();
    }

    /// The next PDU, whatever it is.
    #[track_caller]
    pub fn hear(&mut self) -> Pdu {
        match self.hear_within(PATIENCE) {
            Received::Pdu(pdu) => pdu,
            other => panic!("{other:?} where a PDU was due"),
        }
    }

    pub fn hear_within(&mut self, time: Duration) -> Received {
        let received = self.0.receive(time).unwrap();
        if let Received::Pdu(pdu) = &received {
            assert_clean(pdu.bhs.as_bytes());
            assert_clean(&pdu.data);
        }
        received
    }

    #[track_caller]
    pub fn hear_a(&mut self, opcode: Opcode) -> Pdu {
        let pdu = self.hear();
        assert_eq!(pdu.bhs.opcode(), opcode, "{pdu:02x?}");
        pdu
    }

    #[track_caller]
    pub fn hear_reject(&mut self) -> u8 {
        Reject::decode(&self.hear_a(Opcode::REJECT).bhs).reason
    }

    #[track_caller]
    pub fn hear_r2t(&mut self) -> R2t {
        R2t::decode(&self.hear_a(Opcode::R2T).bhs)
    }

    #[track_caller]
    pub fn hears_the_end(&mut self) {
        assert!(self.0.expect_closed(PATIENCE).unwrap(), "the target keeps the connection");
    }

    /// Everything sent before has been dealt with, and nothing but this ping is answered.
    #[track_caller]
    pub fn hears_only_a_ping(&mut self) {
        let itt = self.send_ping(b"marco");
        let pdu = self.hear_a(Opcode::NOP_IN);
        assert_eq!((pdu.bhs.itt(), &pdu.data[..]), (itt, &b"marco"[..]));
    }

    /// An immediate NOP-Out.
    pub fn send_ping(&mut self, data: &[u8]) -> u32 {
        let itt = self.new_itt();
        let nop = NopOut {
            immediate: true,
            itt,
            ttt: RESERVED_TAG,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ..NopOut::default()
        };
        self.send(&nop.encode(), data).unwrap();
        itt
    }

    /// Sends a command with `immediate` data.
    pub fn issue(&mut self, command: &ScsiCommand, immediate: &[u8]) -> u32 {
        self.send(&command.encode(), immediate).unwrap();
        command.itt
    }

    /// Issues a read and does not wait.
    pub fn begin_read(&mut self, cdb: &[u8], edtl: usize) -> u32 {
        let command = self.read_command(cdb, edtl as u32);
        self.issue(&command, &[])
    }

    /// Issues a write whose data is all solicited, and does not wait.
    pub fn begin_write(&mut self, cdb: &[u8], edtl: usize) -> u32 {
        let command = self.write_command(cdb, edtl as u32);
        self.issue(&command, &[])
    }

    pub fn read(&mut self, cdb: &[u8], edtl: usize) -> Answer {
        let itt = self.begin_read(cdb, edtl);
        self.finish(itt, &[])
    }

    pub fn write(&mut self, cdb: &[u8], data: &[u8]) -> Answer {
        let itt = self.begin_write(cdb, data.len());
        self.finish(itt, data)
    }

    pub fn no_data(&mut self, cdb: &[u8]) -> Answer {
        let command = self.command(cdb);
        let itt = self.issue(&command, &[]);
        self.finish(itt, &[])
    }

    /// TEST UNIT READY until there is nothing to tell any more; what was told.
    pub fn unit_attentions(&mut self) -> Vec<Sense> {
        let mut told = Vec::new();
        loop {
            let answer = self.no_data(&[0; 6]);
            match answer.sense {
                Some(sense @ Sense(6, ..)) => told.push(sense),
                _ => {
                    answer.good();
                    return told;
                }
            }
        }
    }

    /// Answers what an R2T asks for, in segments as long as the target takes.
    pub fn answer_r2t(&mut self, r2t: &R2t, data: &[u8]) {
        let whole = &data[r2t.buffer_offset as usize..][..r2t.desired_length as usize];
        let segment = self.agreed().max_send_segment as usize;
        let count = whole.chunks(segment).count();
        for (n, part) in whole.chunks(segment).enumerate() {
            let out = DataOut {
                final_bit: n + 1 == count,
                lun: r2t.lun,
                itt: r2t.itt,
                ttt: r2t.ttt,
                exp_stat_sn: self.exp_stat_sn,
                data_sn: Serial(n as u32),
                buffer_offset: r2t.buffer_offset + (n * segment) as u32,
            };
            // Whoever is owed an answer finds out whether the target is still there.
            let _ = self.send(&out.encode(), part);
        }
    }

    /// Sends unsolicited Data-Out for bytes `range` of a command's data, in one PDU.
    pub fn volunteer(&mut self, itt: u32, data_sn: u32, offset: usize, bytes: &[u8], last: bool) {
        let out = DataOut {
            final_bit: last,
            itt,
            ttt: RESERVED_TAG,
            exp_stat_sn: self.exp_stat_sn,
            data_sn: Serial(data_sn),
            buffer_offset: offset as u32,
            ..DataOut::default()
        };
        self.send(&out.encode(), bytes).unwrap();
    }

    /// Follows a command to its end. Nothing may arrive that is not about it.
    #[track_caller]
    pub fn finish(&mut self, itt: u32, out: &[u8]) -> Answer {
        let mut data = Vec::new();
        loop {
            let pdu = self.hear();
            assert_eq!(pdu.bhs.itt(), itt, "about another task: {pdu:02x?}");
            match pdu.bhs.opcode() {
                Opcode::R2T => self.answer_r2t(&R2t::decode(&pdu.bhs), out),
                Opcode::DATA_IN => {
                    let part = DataIn::decode(&pdu.bhs);
                    assert_eq!(part.buffer_offset as usize, data.len(), "Data-In out of order");
                    data.extend_from_slice(&pdu.data);
                    if part.has_status {
                        let residual = residual(part.overflow, part.underflow, part.residual);
                        return Answer { status: part.status, sense: None, raw_sense: Vec::new(), data, residual };
                    }
                }
                Opcode::SCSI_RESPONSE => return answer(&pdu, data),
                other => panic!("{other:?} where a command should go on"),
            }
        }
    }

    /// An immediate task management request; its tag.
    pub fn request(&mut self, function: u8, lun: u16, referenced: u32) -> u32 {
        let itt = self.new_itt();
        let request = TmfRequest {
            immediate: true,
            function,
            lun: lun_field(lun),
            itt,
            referenced_task_tag: referenced,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            ref_cmd_sn: self.cmd_sn,
            ..TmfRequest::default()
        };
        self.send(&request.encode(), &[]).unwrap();
        itt
    }

    /// The response code of a request; it must be what comes next.
    #[track_caller]
    pub fn hear_managed(&mut self, itt: u32) -> u8 {
        let pdu = self.hear_a(Opcode::TMF_RESPONSE);
        assert_eq!(pdu.bhs.itt(), itt);
        TmfResponse::decode(&pdu.bhs).response
    }

    #[track_caller]
    pub fn manage(&mut self, function: u8, lun: u16, referenced: u32) -> u8 {
        let itt = self.request(function, lun, referenced);
        self.hear_managed(itt)
    }
}

/// The end of a command, from its SCSI Response.
pub fn answer(pdu: &Pdu, data: Vec<u8>) -> Answer {
    let response = ScsiResponse::decode(&pdu.bhs);
    let raw_sense = pdu.data.get(2..).unwrap_or_default().to_vec();
    let sense = match raw_sense.first().map(|code| code & 0x7F) {
        Some(0x70) => Some(Sense(raw_sense[2] & 0x0F, raw_sense[12], raw_sense[13])),
        Some(0x72) => Some(Sense(raw_sense[1] & 0x0F, raw_sense[2], raw_sense[3])),
        _ => None,
    };
    let residual = residual(response.overflow, response.underflow, response.residual);
    Answer { status: response.status, sense, raw_sense, data, residual }
}

fn residual(overflow: bool, underflow: bool, count: u32) -> i64 {
    assert!(!(overflow && underflow), "overflow and underflow at once");
    match (overflow, underflow) {
        (true, _) => i64::from(count),
        (_, true) => -i64::from(count),
        _ => {
            assert_eq!(count, 0, "a residual without a direction");
            0
        }
    }
}

/// Peripheral device addressing of a small LUN.
pub fn lun_field(lun: u16) -> [u8; 8] {
    let [high, low] = lun.to_be_bytes();
    [high, low, 0, 0, 0, 0, 0, 0]
}

/// Pool buffers are full of 0xDB until somebody writes: a run of it on the wire is a disclosure.
#[track_caller]
fn assert_clean(bytes: &[u8]) {
    assert!(!bytes.windows(8).any(|run| run == [reactors::pools::POISON; 8]), "unwritten memory left the engine");
}

/// A header with an opcode and nothing else.
pub fn bare(opcode: u8) -> Bhs {
    Bhs::new(Opcode(opcode))
}
