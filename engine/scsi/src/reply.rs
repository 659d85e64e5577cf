//! Building parameter data in the caller's buffer. Every byte counted was written; nothing is written past its end.

use crate::plan::Plan;
use crate::status::Outcome;
use primitives::span;

pub(crate) struct Reply<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Reply<'a> {
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends `bytes`, or nothing when they do not fit: a buffer of `limits::REPLY` has room for every reply.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(room) = self.buffer.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
            self.len = end;
        }
    }

    pub fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn zeros(&mut self, count: usize) {
        (0..count).for_each(|_| self.u8(0));
    }

    /// Appends zeros until the reply has `len` bytes.
    pub fn pad_to(&mut self, len: usize) {
        self.zeros(len.saturating_sub(self.len));
    }

    /// Overwrites the byte at `at` with a length that is known only now.
    pub fn patch_u8(&mut self, at: usize, value: usize) {
        if let Some(byte) = self.buffer.get_mut(at) {
            *byte = u8::try_from(value).unwrap_or(u8::MAX);
        }
    }

    /// Overwrites the 16-bit field at `at` with a length that is known only now.
    pub fn patch_u16(&mut self, at: usize, value: usize) {
        // Every caller has written the field before.
        let _ = span::put_be16(self.buffer, at, u16::try_from(value).unwrap_or(u16::MAX));
    }

    /// Overwrites the 32-bit field at `at` with a length that is known only now.
    pub fn patch_u32(&mut self, at: usize, value: usize) {
        // Every caller has written the field before.
        let _ = span::put_be32(self.buffer, at, u32::try_from(value).unwrap_or(u32::MAX));
    }

    /// The end of the command: GOOD, with what the ALLOCATION LENGTH leaves of the data (SPC-4).
    pub fn finish(self, allocation_length: usize) -> Plan {
        Plan::Reply { len: self.len.min(allocation_length), outcome: Outcome::GOOD }
    }
}
