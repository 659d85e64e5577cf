//! The PDUs of the driving side: made once, then patched. None of the engine's code runs for them.

use iscsi::wire::{Bhs, LoginRequest};
use primitives::Serial;

use crate::house::TARGET;

/// Bytes of a basic header segment.
pub const BHS: usize = 48;
/// Bytes of every read and write.
pub const IO_BYTES: u32 = 4096;

const SCSI_COMMAND: u8 = 0x01;
const SCSI_RESPONSE: u8 = 0x21;
const DATA_IN: u8 = 0x25;
const SIMPLE: u8 = 1;

/// Which way the data of the commands goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Direction {
    /// READ(10).
    Read,
    /// WRITE(10).
    Write,
}

/// A SCSI command that is patched for every use (RFC 7143 §11.3).
#[derive(Debug)]
pub struct Commands {
    header: [u8; BHS],
    cmd_sn: u32,
    exp_stat_sn: u32,
    blocks: u32,
    seed: u64,
}

impl Commands {
    /// Commands of [`IO_BYTES`] to LUN 0, a disk of so many blocks of 512 bytes. `immediate` of the data ride along.
    pub fn new(direction: Direction, blocks: u32, immediate: u32) -> Self {
        let mut header = [0; BHS];
        let (flag, opcode) = match direction {
            Direction::Read => (0x40, 0x28),
            Direction::Write => (0x20, 0x2A),
        };
        header[0] = SCSI_COMMAND;
        header[1] = 0x80 | flag | SIMPLE;
        header[5..8].copy_from_slice(&immediate.to_be_bytes()[1..]);
        header[20..24].copy_from_slice(&IO_BYTES.to_be_bytes());
        header[32] = opcode;
        header[39..41].copy_from_slice(&((IO_BYTES / 512) as u16).to_be_bytes());
        Self { header, cmd_sn: 1, exp_stat_sn: 0, blocks, seed: 1 }
    }

    /// The next command, to an address that looks random.
    pub fn next(&mut self, itt: u32) -> &[u8; BHS] {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let step = IO_BYTES / 512;
        let lba = (self.seed >> 33) as u32 % (self.blocks / step) * step;
        self.header[16..20].copy_from_slice(&itt.to_be_bytes());
        self.header[24..28].copy_from_slice(&self.cmd_sn.to_be_bytes());
        self.header[28..32].copy_from_slice(&self.exp_stat_sn.to_be_bytes());
        self.header[34..38].copy_from_slice(&lba.to_be_bytes());
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        &self.header
    }

    /// What a PDU of the target means.
    pub fn hear(&mut self, bhs: &[u8]) -> Heard {
        let (opcode, flags, status) = (bhs[0] & 0x3F, bhs[1], bhs[3]);
        let ends = opcode == SCSI_RESPONSE || (opcode == DATA_IN && flags & 1 != 0);
        assert!(opcode == SCSI_RESPONSE || opcode == DATA_IN, "opcode {opcode:#x} in answer to a command");
        if !ends {
            return Heard::Data;
        }
        self.exp_stat_sn = word(bhs, 24).wrapping_add(1);
        Heard::Status { itt: word(bhs, 16), status }
    }
}

/// What the target said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Data of a command that goes on.
    Data,
    /// The end of a command.
    Status {
        /// Which.
        itt: u32,
        /// SCSI status.
        status: u8,
    },
}

/// A big-endian word of a header.
pub fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// DataSegmentLength of a header.
pub fn segment_length(bhs: &[u8]) -> usize {
    (word(bhs, 4) & 0x00FF_FFFF) as usize
}

/// A login request that goes to full-feature phase at once, as header and padded text (RFC 7143 §11.12).
pub fn login(number: u16, keys: &str) -> (Bhs, Vec<u8>) {
    let name = format!("iqn.2025-01.isere:driver-{number}");
    let mut text = format!("InitiatorName={name}\0SessionType=Normal\0TargetName={TARGET}\0{keys}").into_bytes();
    let [high, low] = number.to_be_bytes();
    let isid = [0x80, 0, 0, 0, high, low];
    let request =
        LoginRequest { transit: true, csg: 1, nsg: 3, isid, itt: 1, cmd_sn: Serial(1), ..LoginRequest::default() };
    let bhs = request.encode().with_data_segment_length(text.len() as u32);
    text.resize(text.len().next_multiple_of(4), 0);
    (bhs, text)
}

/// Ends the program unless a login response says that full-feature phase is reached.
pub fn expect_logged_in(bhs: &[u8]) {
    let (opcode, flags, status) = (bhs[0] & 0x3F, bhs[1], u16::from_be_bytes([bhs[36], bhs[37]]));
    assert!(opcode == 0x23 && status == 0 && flags & 0x80 != 0, "the login is refused: status {status:#06x}");
}
