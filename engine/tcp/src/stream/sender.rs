//! The sending half: a fixed queue of framed PDUs, given to the kernel many at a time.
//!
//! A [`Frame`] holds its header and digests; its data is either copied into a ring of this sender or gathered from
//! where it lies. What the kernel did not take is resumed at exactly the next byte.
use super::arena::{Arena, Piece};
use super::{Digests, Stream};
use crate::digest::{self, Crc32c, DIGEST_LEN};
use crate::limits::{FRAMES, PREFETCH};
use iscsi::wire::{BHS_LEN, Bhs};
use primitives::prefetch;
use std::collections::VecDeque;
use std::mem::MaybeUninit;

const HEAD: usize = BHS_LEN + DIGEST_LEN;
const TAIL: usize = 3 + DIGEST_LEN;
const IOVECS: usize = FRAMES * 3;

#[derive(Clone, Copy, Debug)]
enum Payload {
    Copied { piece: Piece, len: usize },
    Memory { from: *const u8, len: usize },
}

/// One PDU, ready for the wire. A frame that is made must be pushed, or the sender cleared: its data may occupy the
/// sender's ring.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Frame {
    head: [u8; HEAD],
    head_len: u8,
    tail: [u8; TAIL],
    tail_len: u8,
    payload: Payload,
    token: Option<u32>,
    last: bool,
}

// SAFETY: the one thing bound to nothing but an address is `Payload::Memory::from`, which is only ever read, and whose
// validity is not tied to a thread (`Sender::gather`).
unsafe impl Send for Frame {}

impl Frame {
    fn payload_len(&self) -> usize {
        match self.payload {
            Payload::Copied { len, .. } | Payload::Memory { len, .. } => len,
        }
    }

    fn len(&self) -> usize {
        usize::from(self.head_len) + self.payload_len() + usize::from(self.tail_len)
    }

    /// Nothing of it is sent any more; it keeps its place and its share of the ring.
    fn hollow_out(&mut self) {
        (self.head_len, self.tail_len, self.last) = (0, 0, false);
        match &mut self.payload {
            Payload::Copied { len, .. } | Payload::Memory { len, .. } => *len = 0,
        }
    }
}

/// What [`Sender::send`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// The queue is empty.
    All,
    /// The transport takes no more now.
    Blocked,
}

/// Plain counters of the sending half.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Calls into the transport.
    pub calls: u64,
    /// Bytes the transport took.
    pub bytes: u64,
    /// PDUs it took the last byte of.
    pub pdus: u64,
    /// Data bytes gathered from where they lay.
    pub direct: u64,
    /// Data bytes copied into the ring.
    pub copied: u64,
}

/// The sending half of a connection.
#[derive(Debug)]
pub struct Sender {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that the transport has.
    taken: usize,
    arena: Arena,
    digests: Digests,
    counts: Counts,
}

impl Sender {
    /// A sender without digests, with room for `arena` bytes of copied data.
    #[must_use]
    pub fn new(arena: usize) -> Self {
        Self {
            frames: VecDeque::with_capacity(FRAMES),
            taken: 0,
            arena: Arena::new(arena),
            digests: Digests::default(),
            counts: Counts::default(),
        }
    }

    /// Which digests frames made from now on have.
    pub fn set_digests(&mut self, digests: Digests) {
        self.digests = digests;
    }

    /// Counters since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many frames can be pushed.
    #[must_use]
    pub fn room(&self) -> usize {
        FRAMES - self.frames.len()
    }

    /// Whether a PDU with `len` bytes of data can be copied now.
    #[must_use]
    pub fn has_room_for_copy(&self, len: usize) -> bool {
        self.arena.has_room(len + DIGEST_LEN)
    }

    /// No frame is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames a PDU whose additional header segments (whole words) and data are copied. The lengths in `bhs` are set
    /// here. `None` when the ring has no room now.
    pub fn copy(&mut self, bhs: &Bhs, ahs: &[u8], data: &[u8]) -> Option<Frame> {
        debug_assert!(ahs.len().is_multiple_of(4) && ahs.len() / 4 < 256);
        let bhs = bhs.with_data_segment_length(data.len() as u32).with_total_ahs_length((ahs.len() / 4) as u8);
        let mut frame = self.head(&bhs, ahs);
        let digest_at = ahs.len();
        let data_at = digest_at + if !ahs.is_empty() && self.digests.header { DIGEST_LEN } else { 0 };
        let piece = self.arena.take(data_at + data.len())?;
        let copy = self.arena.bytes(piece.start, data_at + data.len());
        copy[..digest_at].copy_from_slice(ahs);
        if data_at > digest_at {
            // The header digest follows the additional segments, so it moves out of the head with them.
            frame.head_len = BHS_LEN as u8;
            copy[digest_at..data_at].copy_from_slice(&frame.head[BHS_LEN..]);
        }
        copy[data_at..].copy_from_slice(data);
        self.counts.copied += data.len() as u64;
        frame.payload = Payload::Copied { piece, len: data_at + data.len() };
        self.trail(&mut frame, data);
        Some(frame)
    }

    /// Frames a PDU whose data is gathered from memory. [`Sender::send`] reports `token` when the transport has taken
    /// the last byte of a frame that is the `last` of its token.
    ///
    /// # Safety
    /// `from` must be valid for reads of `len` bytes until the token was reported, or cancelled or cleared. With data
    /// digests on nobody may write to it meanwhile.
    pub unsafe fn gather(&mut self, bhs: &Bhs, from: *const u8, len: u32, token: u32, last: bool) -> Frame {
        let mut frame = self.head(&bhs.with_data_segment_length(len), &[]);
        (frame.token, frame.last) = (Some(token), last);
        frame.payload = Payload::Memory { from, len: len as usize };
        if self.digests.data && len > 0 {
            // SAFETY: valid for reads and, as digests are on, not written to by anybody (above).
            self.trail(&mut frame, unsafe { std::slice::from_raw_parts(from, len as usize) });
        } else {
            frame.tail_len = (len.wrapping_neg() % 4) as u8;
        }
        self.counts.direct += u64::from(len);
        frame
    }

    /// Queues a frame. There must be [`room`](Self::room).
    pub fn push(&mut self, frame: Frame) {
        assert!(self.room() > 0, "a frame without room");
        self.frames.push_back(frame);
    }

    /// Takes back what `token` has queued: memory of it is no longer read. A frame that was sent in part is finished
    /// first, or the peer would lose its place in the stream: then this returns `true`, and `token` is reported once
    /// that frame is through.
    #[must_use]
    pub fn cancel(&mut self, token: u32) -> bool {
        let begun = self.taken > 0;
        let mut finishing = false;
        for (i, frame) in self.frames.iter_mut().enumerate().filter(|(_, f)| f.token == Some(token)) {
            if i == 0 && begun {
                frame.last = true;
                finishing = true;
            } else {
                frame.hollow_out();
            }
        }
        finishing
    }

    /// Forgets everything, including frames made but not pushed.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.taken = 0;
        self.arena.reset();
    }

    /// Gives everything queued to the transport in one call, and reports the tokens that are through.
    ///
    /// # Errors
    /// The errno; the stream is of no more use.
    pub fn send<S: Stream>(&mut self, stream: &mut S, mut through: impl FnMut(u32)) -> Result<Sent, i32> {
        if self.frames.is_empty() {
            return Ok(Sent::All);
        }
        // Not zeroed: that would cost more than filling in the few that are used.
        let mut iov = [const { MaybeUninit::uninit() }; IOVECS];
        let (count, total) = self.gather_iovecs(&mut iov);
        let mut n = 0;
        if total > 0 {
            self.counts.calls += 1;
            // SAFETY: `gather_iovecs` has written the first `count`.
            let iov = unsafe { std::slice::from_raw_parts(iov.as_ptr().cast::<libc::iovec>(), count) };
            // SAFETY: heads and tails lie in `frames` and copies in `arena`, neither of which is touched during the
            // call; gathered memory is valid by the contract of `gather`.
            n = match unsafe { stream.writev(iov) } {
                Ok(n) => n,
                Err(libc::EAGAIN) => return Ok(Sent::Blocked),
                Err(errno) => return Err(errno),
            };
            assert!(n <= total, "the transport took more than it was given");
            self.counts.bytes += n as u64;
        }
        self.advance(n, &mut through);
        Ok(if n == total { Sent::All } else { Sent::Blocked })
    }

    /// A frame with its header, the header digest behind it, and nothing else yet.
    fn head(&self, bhs: &Bhs, ahs: &[u8]) -> Frame {
        let mut head = [0; HEAD];
        head[..BHS_LEN].copy_from_slice(bhs.as_bytes());
        if self.digests.header {
            let mut crc = Crc32c::new();
            crc.update(bhs.as_bytes());
            crc.update(ahs);
            head[BHS_LEN..].copy_from_slice(&crc.to_wire());
        }
        let head_len = if self.digests.header { HEAD } else { BHS_LEN } as u8;
        let payload = Payload::Memory { from: std::ptr::null(), len: 0 };
        Frame { head, head_len, tail: [0; TAIL], tail_len: 0, payload, token: None, last: false }
    }

    /// Adds padding and data digest for `data`; the padding is zero (RFC 7143 §11.1).
    fn trail(&self, frame: &mut Frame, data: &[u8]) {
        let padding = data.len().wrapping_neg() % 4;
        frame.tail_len = padding as u8;
        if self.digests.data && !data.is_empty() {
            let digest = if padding == 0 {
                digest::crc32c(data)
            } else {
                let mut crc = Crc32c::new();
                crc.update(data);
                crc.update(&[0; 3][..padding]);
                crc.to_wire()
            };
            frame.tail[padding..padding + DIGEST_LEN].copy_from_slice(&digest);
            frame.tail_len += DIGEST_LEN as u8;
        }
    }

    /// Fills in iovecs for all that is queued; returns how many, and their bytes.
    fn gather_iovecs(&self, iov: &mut [MaybeUninit<libc::iovec>; IOVECS]) -> (usize, usize) {
        let (mut count, mut total, mut skip) = (0, 0, self.taken);
        for frame in &self.frames {
            let payload = match frame.payload {
                Payload::Copied { piece, .. } => self.arena.address(piece.start),
                Payload::Memory { from, len } => {
                    prefetch(from, len.min(PREFETCH));
                    from
                }
            };
            let parts = [
                (frame.head.as_ptr(), usize::from(frame.head_len)),
                (payload, frame.payload_len()),
                (frame.tail.as_ptr(), usize::from(frame.tail_len)),
            ];
            for (from, len) in parts {
                let done = skip.min(len);
                skip -= done;
                if done < len {
                    let iov_base = from.wrapping_add(done).cast_mut().cast();
                    iov[count].write(libc::iovec { iov_base, iov_len: len - done });
                    count += 1;
                    total += len - done;
                }
            }
        }
        (count, total)
    }

    /// The transport has taken `n` more bytes.
    fn advance(&mut self, mut n: usize, through: &mut impl FnMut(u32)) {
        while let Some(frame) = self.frames.front() {
            let left = frame.len() - self.taken;
            if left > n {
                self.taken += n;
                return;
            }
            n -= left;
            self.counts.pdus += u64::from(frame.head_len > 0);
            if let Payload::Copied { piece, .. } = frame.payload {
                self.arena.release(piece.taken);
            }
            if let Some(token) = frame.token.filter(|_| frame.last) {
                through(token);
            }
            self.frames.pop_front();
            self.taken = 0;
        }
    }
}
