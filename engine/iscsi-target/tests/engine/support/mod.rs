//! An engine in this process, reached over real loopback sockets, and the peers that torment it.

mod house;
mod peer;
pub mod rdma_peer;
mod world;

use std::time::{Duration, Instant};

pub use house::{ADMIN, House, ROOMS};
pub use peer::{Peer, Sense, bare};
pub use world::{BIG, DELAYED, DISK, DISK_4K, GATED, World};

/// Longer than anything here takes, even on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(soon(condition), "in vain: {what}");
}

/// Waits until `condition` holds; `false` if it does not in time.
pub fn soon(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Bytes that are recognisable, differ from block to block and never hold a run of poison.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = vec![0; len];
    for word in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let fresh = state.to_le_bytes();
        word.copy_from_slice(&fresh[..word.len()]);
    }
    // Eight equal bytes in a row would be taken for poison if they were 0xDB.
    bytes.iter_mut().step_by(7).for_each(|byte| *byte &= 0x7F);
    bytes
}

/// A small generator of numbers, so that a failure can be repeated from its seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) | 1)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// READ(16).
pub fn read16(lba: u64, blocks: u32) -> [u8; 16] {
    lba_cdb(0x88, lba, blocks)
}

/// WRITE(16).
pub fn write16(lba: u64, blocks: u32) -> [u8; 16] {
    lba_cdb(0x8A, lba, blocks)
}

/// A 16-byte CDB with an LBA and a number of blocks in the usual places.
pub fn lba_cdb(opcode: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// UNMAP of one range: CDB and parameter list.
pub fn unmap(lba: u64, blocks: u32) -> ([u8; 16], Vec<u8>) {
    let mut cdb = [0; 16];
    (cdb[0], cdb[8]) = (0x42, 24);
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend_from_slice(&lba.to_be_bytes());
    list.extend_from_slice(&blocks.to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    (cdb, list)
}
