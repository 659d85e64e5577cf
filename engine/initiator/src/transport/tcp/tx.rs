//! What waits to be sent: a run of copied bytes (headers, padding, digests, control data) and references to payload,
//! in order. Gathered into one `writev`.

use std::collections::VecDeque;
use std::io::IoSlice;

use super::transfers::Transfers;
use crate::limits::{IOVECS, TX_BYTES, TX_PAYLOAD_AHEAD, TX_PIECES, TX_PIECES_RESERVE, TX_RESERVE};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Piece {
    /// The next `len` of the copied bytes.
    Copied { len: u32 },
    /// Bytes of a command's buffer.
    Payload { slot: u16, at: u32, len: u32 },
}

impl Piece {
    fn len(self) -> u32 {
        match self {
            Self::Copied { len } | Self::Payload { len, .. } => len,
        }
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    bytes: Box<[u8]>,
    head: usize,
    tail: usize,
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are gone already.
    sent_of_first: u32,
    /// Payload bytes queued and not sent.
    payload: usize,
}

impl Queue {
    pub fn new() -> Self {
        Self {
            bytes: vec![0; TX_BYTES].into_boxed_slice(),
            head: 0,
            tail: 0,
            pieces: VecDeque::with_capacity(TX_PIECES),
            sent_of_first: 0,
            payload: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Room for a command or a Data-Out, with the reserve for answers left untouched.
    pub fn has_room(&self) -> bool {
        self.fits(TX_RESERVE, TX_PIECES_RESERVE) && self.payload < TX_PAYLOAD_AHEAD
    }

    /// Room for so many copied bytes and pieces.
    pub fn fits(&self, bytes: usize, pieces: usize) -> bool {
        TX_BYTES - (self.tail - self.head) >= bytes && TX_PIECES - self.pieces.len() >= pieces
    }

    /// Queues a copy of `bytes`, for which there is room.
    pub fn copy(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        assert!(self.fits(bytes.len(), 1), "transmit queue overrun");
        if TX_BYTES - self.tail < bytes.len() {
            self.bytes.copy_within(self.head..self.tail, 0);
            (self.head, self.tail) = (0, self.tail - self.head);
        }
        self.bytes[self.tail..][..bytes.len()].copy_from_slice(bytes);
        self.tail += bytes.len();
        match self.pieces.back_mut() {
            Some(Piece::Copied { len }) => *len += bytes.len() as u32,
            _ => self.pieces.push_back(Piece::Copied { len: bytes.len() as u32 }),
        }
    }

    /// Queues bytes of a command's buffer, for which there is room.
    pub fn refer(&mut self, slot: u16, at: u32, len: u32) {
        assert!(len > 0 && self.fits(0, 1), "transmit queue overrun");
        self.pieces.push_back(Piece::Payload { slot, at, len });
        self.payload += len as usize;
    }

    /// All that is queued, if it is one run of copied bytes: commands without data.
    pub fn one_run(&self) -> Option<&[u8]> {
        (self.pieces.len() == 1 && self.payload == 0).then(|| &self.bytes[self.head..self.tail])
    }

    /// Fills `slices` from the front of the queue; returns how many it used.
    pub fn gather<'a>(&'a self, transfers: &'a Transfers, slices: &mut [IoSlice<'a>; IOVECS]) -> usize {
        let (mut copied, mut skip) = (self.head, self.sent_of_first);
        let used = self.pieces.len().min(IOVECS);
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(match *piece {
                Piece::Copied { len } => {
                    let bytes = &self.bytes[copied..][..(len - skip) as usize];
                    copied += bytes.len();
                    bytes
                }
                Piece::Payload { slot, at, len } => transfers.payload(slot, at + skip, len - skip),
            });
            skip = 0;
        }
        used
    }

    /// The first `sent` bytes are gone.
    pub fn advance(&mut self, mut sent: usize, transfers: &mut Transfers) {
        while sent > 0 {
            let Some(&first) = self.pieces.front() else { break };
            let step = ((first.len() - self.sent_of_first) as usize).min(sent);
            sent -= step;
            self.sent_of_first += step as u32;
            match first {
                Piece::Copied { .. } => self.head += step,
                Piece::Payload { .. } => self.payload -= step,
            }
            if self.sent_of_first == first.len() {
                self.sent_of_first = 0;
                self.pieces.pop_front();
                if let Piece::Payload { slot, .. } = first {
                    transfers.payload_sent(slot);
                }
            }
        }
        if self.head == self.tail {
            (self.head, self.tail) = (0, 0);
        }
    }

    /// Forgets everything: the connection is gone.
    pub fn clear(&mut self) {
        self.pieces.clear();
        (self.head, self.tail, self.sent_of_first, self.payload) = (0, 0, 0, 0);
    }
}
