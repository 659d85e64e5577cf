//! What is to be sent: headers from a small buffer, payload from where it lies, all in one call.
//!
//! Both the buffer of headers and the list of pieces are used from front to back and begin anew when everything was
//! taken, which is nearly always. If the kernel takes only part, the rest waits and is resumed at exactly the next
//! byte; what does not fit behind it waits with the pair.

use super::socket::{AGAIN, Socket};
use crate::limits::{HEADERS, INLINE, MAX_FPDU, OUTBOX, PIECES, PREFETCH};
use crate::wire::crc::Crc32c;
use crate::wire::{CRC, Header, LENGTH, ddp, mpa, padding};
use libc::iovec;
use primitives::prefetch;
use rdma::limits::MAX_SGE;

/// Bytes of the buffer of headers that one FPDU takes at the most: length, DDP header, payload that is copied (that of
/// a Read Request or a Terminate, or short pieces), padding and CRC.
const FRAMING: usize = 64 + MAX_SGE * INLINE;

/// How much of foreign memory is looked at in one piece.
const CHUNK: usize = 2_048;

/// What [`Outbox::send`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sent {
    /// Nothing is left.
    All,
    /// The kernel takes no more now.
    Blocked,
    /// The connection is gone.
    Broken,
}

/// Bytes on their way to a peer.
#[derive(Debug)]
pub(crate) struct Outbox {
    headers: Box<[u8]>,
    used: usize,
    /// Where in it the bytes begin that are in no piece yet: they become one when other memory follows them.
    run: usize,
    /// All since the last time nothing was left; those from `first` on are not sent, or not all of it.
    pieces: Vec<iovec>,
    first: usize,
    /// Where in the stream each FPDU among them ends.
    ends: Vec<u64>,
    /// Positions in the stream: where the list begins, what is queued, what is sent.
    base: u64,
    queued: u64,
    sent: u64,
    /// Of the FPDU being made, with CRCs on.
    crc: Option<Crc32c>,
    fpdus: u64,
}

// SAFETY: the pieces name this box's own bytes, or memory that `payload`'s caller vouches for and that is only read;
// neither is bound to a thread.
unsafe impl Send for Outbox {}

impl Outbox {
    pub fn new() -> Self {
        Self {
            headers: vec![0; HEADERS].into_boxed_slice(),
            used: 0,
            run: 0,
            pieces: Vec::with_capacity(PIECES),
            first: 0,
            ends: Vec::with_capacity(PIECES),
            base: 0,
            queued: 0,
            sent: 0,
            crc: None,
            fpdus: 0,
        }
    }

    /// From the next FPDU on: with or without CRC.
    pub fn set_crc(&mut self, on: bool) {
        self.crc = on.then(Crc32c::new);
    }

    /// One more FPDU fits.
    #[inline]
    pub fn has_room(&self) -> bool {
        // An FPDU has at most two pieces of payload, one in front, one behind and one between them.
        self.used + FRAMING <= HEADERS
            && self.pieces.len() + 5 <= PIECES
            && self.ends.len() < PIECES
            && self.queued - self.sent < OUTBOX
    }

    /// Position in the stream behind everything queued.
    #[inline]
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Position in the stream up to which the kernel has taken everything.
    #[inline]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn is_empty(&self) -> bool {
        self.queued == self.sent
    }

    /// FPDUs made.
    pub fn fpdus(&self) -> u64 {
        self.fpdus
    }

    /// Queues a set-up frame. There is always room for the first and only one.
    pub fn frame(&mut self, frame: &mpa::Frame) {
        let mut bytes = [0; mpa::MAX_FRAME];
        let len = frame.encode(&mut bytes);
        self.own(&bytes[..len]);
        self.ends.push(self.queued);
    }

    /// Begins an FPDU with `payload` bytes behind its header. There must be [room](Self::has_room). What follows is
    /// exactly that many bytes by [`Outbox::payload`] and [`Outbox::inline`], and [`Outbox::close`].
    #[inline(always)] // So that no header is made only to be taken apart again.
    pub fn open(&mut self, header: &Header, payload: usize) {
        let [high, low, ddp @ ..] = self.next::<{ LENGTH + ddp::UNTAGGED_LEN }>();
        let len = header.encode(ddp);
        debug_assert!(LENGTH + len + payload <= MAX_FPDU);
        [*high, *low] = ((len + payload) as u16).to_be_bytes();
        if let Some(crc) = &mut self.crc {
            *crc = Crc32c::new();
            crc.update(&self.headers[self.used..self.used + LENGTH + len]);
        }
        self.took(LENGTH + len);
    }

    /// Adds an FPDU whose payload, `len` bytes, is in one piece.
    ///
    /// # Safety
    /// As for [`Outbox::payload`].
    #[inline]
    pub unsafe fn fpdu(&mut self, header: &Header, from: *const u8, len: usize) {
        self.open(header, len);
        // SAFETY: the caller's.
        unsafe { self.payload(from, len) };
        self.close(header.encoded_len() + len);
    }

    /// Adds bytes that are copied: few.
    pub fn inline(&mut self, bytes: &[u8]) {
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        self.own(bytes);
    }

    /// Adds bytes that stay where they are until they are sent; few are copied all the same, because a piece of its
    /// own costs the kernel more than that.
    ///
    /// # Safety
    /// `from` must be valid for reads of `len` bytes until [`Outbox::sent`] has reached what [`Outbox::queued`] is
    /// then, or the outbox is dropped.
    #[inline(always)] // With `fpdu`.
    pub unsafe fn payload(&mut self, from: *const u8, len: usize) {
        if len == 0 {
            return;
        }
        if let Some(crc) = &mut self.crc {
            // SAFETY: valid for reads (above).
            unsafe { cover(crc, from, len) };
        }
        if len <= INLINE {
            let to = &mut self.headers[self.used..self.used + len];
            // SAFETY: `len` bytes are readable (above), and `to` is as long and this box's own.
            unsafe { std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), len) };
            return self.took(len);
        }
        self.queued += len as u64;
        self.end_run();
        self.push(from, len);
    }

    /// Ends the FPDU whose ULPDU had `ulpdu` bytes.
    #[inline(always)] // With `fpdu`.
    pub fn close(&mut self, ulpdu: usize) {
        let padding = padding(ulpdu);
        *self.next() = [0; 3 + CRC];
        if let Some(crc) = &mut self.crc {
            let tail = &mut self.headers[self.used..self.used + padding + CRC];
            crc.update(&tail[..padding]);
            tail[padding..].copy_from_slice(&crc.to_wire());
        }
        self.took(padding + CRC);
        self.ends.push(self.queued);
        self.fpdus += 1;
    }

    /// Gives everything queued to the kernel in one call.
    pub fn send(&mut self, socket: &Socket) -> Sent {
        if self.is_empty() {
            return Sent::All;
        }
        self.end_run();
        for piece in &self.pieces[self.first..] {
            prefetch(piece.iov_base.cast::<u8>().cast_const(), piece.iov_len.min(PREFETCH));
        }
        // SAFETY: the pieces name this box's own bytes and memory that is valid by the contract of `payload`.
        let mut n = match unsafe { socket.writev(&self.pieces[self.first..]) } {
            Ok(n) => n,
            Err(AGAIN) => return Sent::Blocked,
            Err(_) => return Sent::Broken,
        };
        self.sent += n as u64;
        if self.is_empty() {
            self.rewind();
            return Sent::All;
        }
        while let Some(piece) = self.pieces.get_mut(self.first) {
            if piece.iov_len > n {
                piece.iov_base = piece.iov_base.wrapping_byte_add(n);
                piece.iov_len -= n;
                break;
            }
            n -= piece.iov_len;
            self.first += 1;
        }
        Sent::Blocked
    }

    /// Copies everything that is not sent to `out`, and counts it as sent: no memory is needed any more.
    pub fn copy_out(&mut self, out: &mut Vec<u8>) {
        self.copy_until(self.queued, out);
    }

    /// The same for the rest of the FPDU that was sent in part, if one was; what is behind it is forgotten.
    pub fn copy_out_begun(&mut self, out: &mut Vec<u8>) {
        let next = self.ends.partition_point(|end| *end <= self.sent);
        let begin = next.checked_sub(1).and_then(|i| self.ends.get(i)).copied().unwrap_or(self.base);
        let end = if begin == self.sent { None } else { self.ends.get(next).copied() };
        self.copy_until(end.unwrap_or(self.sent), out);
    }

    fn copy_until(&mut self, end: u64, out: &mut Vec<u8>) {
        self.end_run();
        let mut left = (end - self.sent) as usize;
        out.reserve(left);
        for piece in &self.pieces[self.first..] {
            let n = piece.iov_len.min(left);
            let from = piece.iov_base.cast::<u8>().cast_const();
            // SAFETY: as for `send`; the vector has room for `n` more, and is not among the pieces.
            unsafe {
                std::ptr::copy_nonoverlapping(from, out.as_mut_ptr().add(out.len()), n);
                out.set_len(out.len() + n);
            }
            left -= n;
        }
        self.sent = self.queued;
        self.rewind();
    }

    fn rewind(&mut self) {
        self.pieces.clear();
        self.ends.clear();
        (self.first, self.used, self.run, self.base) = (0, 0, 0, self.sent);
    }

    /// Copies bytes into the buffer of headers.
    fn own(&mut self, bytes: &[u8]) {
        self.headers[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.took(bytes.len());
    }

    /// The next bytes of the buffer of headers. They are there: see [`Outbox::has_room`].
    #[inline]
    fn next<const N: usize>(&mut self) -> &mut [u8; N] {
        const { assert!(N <= FRAMING) };
        self.headers[self.used..].first_chunk_mut().expect("an FPDU was begun without room for it")
    }

    /// The next bytes of the buffer of headers are written.
    #[inline]
    fn took(&mut self, len: usize) {
        self.used += len;
        self.queued += len as u64;
    }

    /// Makes a piece of what was written to the buffer of headers since the last.
    #[inline]
    fn end_run(&mut self) {
        if self.run < self.used {
            let from = self.headers.as_mut_ptr().wrapping_add(self.run).cast_const();
            self.push(from, self.used - self.run);
            self.run = self.used;
        }
    }

    #[inline]
    fn push(&mut self, from: *const u8, len: usize) {
        debug_assert!(self.pieces.len() < PIECES);
        self.pieces.push(iovec { iov_base: from.cast_mut().cast(), iov_len: len });
    }
}

/// Covers memory to which no reference may be formed, because others may write to it: through a copy.
///
/// # Safety
/// `from` must be valid for reads of `len` bytes.
unsafe fn cover(crc: &mut Crc32c, from: *const u8, len: usize) {
    let mut chunk = [0u8; CHUNK];
    let mut at = 0;
    while at < len {
        let n = (len - at).min(CHUNK);
        // SAFETY: `at + n` ≤ `len` bytes are readable (above), and the chunk is our own.
        unsafe { std::ptr::copy_nonoverlapping(from.add(at), chunk.as_mut_ptr(), n) };
        crc.update(&chunk[..n]);
        at += n;
    }
}
