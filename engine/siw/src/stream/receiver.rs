//! Finds FPDUs in what is received and puts their payload where it belongs.
//!
//! Every [`Receiver::receive`] is one `readv`: first the rest of the payload being placed, straight into its memory,
//! then the staging buffer. So large payloads are never copied here, and small FPDUs arrive many to a call. With CRCs
//! on, nothing of an FPDU is looked at before all of it is staged and its CRC is right.

use super::socket::{AGAIN, Socket};
use crate::limits::{DIRECT_MEMORY, DIRECT_MIN, DIRECT_WINDOW, STAGING};
use crate::stats::Stats;
use crate::wire::{CRC, Fault, Header, LENGTH, crc, ddp, padding};
use primitives::copy_past_cache;

/// What [`Receiver::step`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Step {
    /// The header of a segment with this many bytes of payload. Say where they go with [`Receiver::place`] or
    /// [`Receiver::stage`], even if there are none; until then every step says this again.
    Segment(Header, usize),
    /// The payload is where it was asked to go.
    Placed,
    /// An FPDU without a ULPDU.
    Empty,
    /// More has to be received first.
    Starved,
    /// The stream cannot be followed any further.
    Broken(Fault),
}

/// What [`Receiver::receive`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Received {
    /// Bytes arrived, and may be all there are.
    Some,
    /// Bytes arrived, as many as there was room for.
    Full,
    /// Nothing is there now.
    Nothing,
    /// The peer has closed its direction.
    Closed,
    /// The connection is lost.
    Broken,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Waits for a header.
    Header,
    /// Nobody has said where the payload of this segment goes.
    Deciding { header: Header },
    /// Waits until the payload is staged.
    Staging,
    /// The payload is at the front of staging.
    Shown,
    /// The next `left` bytes go to `to`, which is `cold` or may be written by the kernel.
    Placing { to: *mut u8, left: usize, cold: bool },
    /// Waits for padding and CRC.
    Trailer,
    /// Nothing more is looked at.
    Broken(Fault),
}

/// The receiving half of a connection.
#[derive(Debug)]
pub(crate) struct Receiver {
    staging: Box<[u8]>,
    head: usize,
    tail: usize,
    state: State,
    /// The DDP header as it came, for a Terminate message.
    ddp: [u8; ddp::UNTAGGED_LEN],
    ddp_len: usize,
    /// Of the present FPDU.
    ulpdu: usize,
    payload: usize,
    crc: bool,
    /// Counts down the FPDUs for which another large payload is expected.
    large: u8,
}

// SAFETY: the one thing bound to nothing but an address is `Placing::to`, memory that is this receiver's to write until
// the placement ends (`place`); which thread drives it is immaterial.
unsafe impl Send for Receiver {}

impl Receiver {
    pub fn new() -> Self {
        Self {
            staging: vec![0; STAGING].into_boxed_slice(),
            head: 0,
            tail: 0,
            state: State::Header,
            ddp: [0; ddp::UNTAGGED_LEN],
            ddp_len: 0,
            ulpdu: 0,
            payload: 0,
            crc: false,
            large: 0,
        }
    }

    /// From the next FPDU on: CRCs are looked at, or not.
    pub fn set_crc(&mut self, on: bool) {
        self.crc = on;
    }

    /// What is staged and not looked at. For set-up frames, before the first step.
    pub fn staged(&self) -> &[u8] {
        &self.staging[self.head..self.tail]
    }

    /// Takes `n` bytes of what is staged away.
    pub fn skip(&mut self, n: usize) {
        self.head += n.min(self.tail - self.head);
    }

    /// The DDP header of the present segment, and the length of the segment.
    pub fn segment(&self) -> (&[u8], u16) {
        (&self.ddp[..self.ddp_len], self.ulpdu as u16)
    }

    /// The payload that was staged, from its [`Step::Placed`] to the next step.
    pub fn shown(&self) -> &[u8] {
        match self.state {
            State::Shown => &self.staging[self.head..self.head + self.payload],
            _ => &[],
        }
    }

    /// Nothing is in the middle of anything.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.state, State::Header) && self.head == self.tail
    }

    /// Whether memory of somebody else is being written to.
    pub fn is_placing(&self) -> bool {
        matches!(self.state, State::Placing { .. })
    }

    /// Puts the payload of the present segment at `to`, past the cache if that is `cold`; `true` if all of it is there:
    /// then no [`Step::Placed`] follows.
    ///
    /// # Safety
    /// `to` must be valid for writes of that many bytes until [`Step::Placed`], or until the receiver is dropped. What
    /// is cold is to be settled as [`copy_past_cache`] says.
    #[inline]
    #[must_use]
    pub unsafe fn place(&mut self, to: *mut u8, cold: bool, stats: &mut Stats) -> bool {
        debug_assert!(matches!(self.state, State::Deciding { .. }));
        if cold {
            // All of it is staged, however large.
            self.large = 0;
        }
        self.state = State::Placing { to, left: self.payload, cold };
        self.place_staged(stats)
    }

    /// Shows the payload of the present segment once all of it is staged.
    pub fn stage(&mut self) {
        debug_assert!(matches!(self.state, State::Deciding { .. }));
        self.state = State::Staging;
    }

    /// Goes on with what is staged, without a call to the kernel.
    #[inline]
    pub fn step(&mut self, stats: &mut Stats) -> Step {
        loop {
            match self.state {
                State::Header => return self.take_header(stats),
                State::Deciding { header } => return Step::Segment(header, self.payload),
                State::Staging => {
                    if self.tail - self.head < self.payload {
                        return Step::Starved;
                    }
                    self.state = State::Shown;
                    return Step::Placed;
                }
                State::Shown => {
                    self.head += self.payload;
                    self.state = State::Trailer;
                    if !self.take_trailer() {
                        return Step::Starved;
                    }
                }
                State::Placing { .. } => {
                    return if self.place_staged(stats) { Step::Placed } else { Step::Starved };
                }
                State::Trailer => {
                    if !self.take_trailer() {
                        return Step::Starved;
                    }
                }
                State::Broken(fault) => return Step::Broken(fault),
            }
        }
    }

    /// One call to the kernel.
    pub fn receive(&mut self, socket: &Socket, stats: &mut Stats) -> Received {
        let (to, left) = match self.state {
            State::Placing { to, left, cold: false } => (to, left),
            _ => (std::ptr::null_mut(), 0),
        };
        let window = self.window();
        let room = &mut self.staging[self.tail..self.tail + window];
        let iov = [
            libc::iovec { iov_base: to.cast(), iov_len: left },
            libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() },
        ];
        stats.reads += 1;
        // SAFETY: `to` is valid for `left` bytes by the contract of `place`; the other entry is `room`.
        let n = match unsafe { socket.readv(if left == 0 { &iov[1..] } else { &iov }) } {
            Ok(0) => return Received::Closed,
            Ok(n) => n,
            Err(AGAIN) => {
                stats.empty_reads += 1;
                return Received::Nothing;
            }
            Err(_) => return Received::Broken,
        };
        stats.bytes_in += n as u64;
        let direct = n.min(left);
        if direct > 0 {
            self.state = State::Placing { to: to.wrapping_add(direct), left: left - direct, cold: false };
            stats.direct += direct as u64;
        }
        self.tail += n - direct;
        if n == left + window { Received::Full } else { Received::Some }
    }

    /// How many bytes to read into staging, after making room for them; never none.
    fn window(&mut self) -> usize {
        let staged = self.tail - self.head;
        // What the present FPDU still needs of staging.
        let missing = match self.state {
            State::Header if self.crc && self.ulpdu > 0 => LENGTH + self.ulpdu + padding(self.ulpdu) + CRC,
            State::Staging => self.payload + padding(self.ulpdu) + CRC,
            _ => 0,
        };
        let missing = missing.saturating_sub(staged).max(DIRECT_WINDOW);
        if staged == 0 {
            (self.head, self.tail) = (0, 0);
        } else if staged < DIRECT_WINDOW || STAGING - self.tail < missing {
            // Either cheap, or the only way on.
            self.staging.copy_within(self.head..self.tail, 0);
            (self.head, self.tail) = (0, staged);
        }
        let room = STAGING - self.tail;
        if self.large > 0 && !self.crc { room.min(missing) } else { room }
    }

    /// Takes the header of an FPDU out of staging.
    #[inline]
    fn take_header(&mut self, stats: &mut Stats) -> Step {
        let front = &self.staging[self.head..self.tail];
        let Some(&[high, low]) = front.first_chunk::<LENGTH>() else { return Step::Starved };
        let ulpdu = usize::from(u16::from_be_bytes([high, low]));
        let total = LENGTH + ulpdu + padding(ulpdu) + CRC;
        // Known to `window` even if the rest is not there yet.
        self.ulpdu = ulpdu;
        if self.crc || ulpdu == 0 {
            let Some(fpdu) = front.get(..total) else { return Step::Starved };
            let (covered, sum) = fpdu.split_at(total - CRC);
            if self.crc && crc::crc32c(covered) != sum {
                return self.broken(Fault::CRC);
            }
        }
        if ulpdu == 0 {
            self.head += total;
            stats.fpdus_in += 1;
            return Step::Empty;
        }
        let Some(&control) = front.get(LENGTH) else { return Step::Starved };
        let len = ddp::len_of(control);
        let Some(payload) = ulpdu.checked_sub(len) else { return self.broken(Fault::FPDU) };
        // A whole FPDU with a header has as many bytes behind its length, the CRC included: so more than that is never
        // waited for. Those that are not of the header are not looked at.
        let Some(bytes) = front[LENGTH..].first_chunk() else { return Step::Starved };
        self.ddp = *bytes;
        (self.ddp_len, self.payload) = (len, payload);
        self.head += LENGTH + len;
        stats.fpdus_in += 1;
        self.large = if payload >= DIRECT_MIN { DIRECT_MEMORY } else { self.large.saturating_sub(1) };
        match Header::decode_first(&self.ddp) {
            Ok(header) => {
                self.state = State::Deciding { header };
                Step::Segment(header, payload)
            }
            Err(fault) => self.broken(fault),
        }
    }

    fn broken(&mut self, fault: Fault) -> Step {
        self.state = State::Broken(fault);
        Step::Broken(fault)
    }

    /// Copies what is staged of the payload to its place, and goes on to the trailer if that is all; `false` when there
    /// is more to come.
    #[inline]
    fn place_staged(&mut self, stats: &mut Stats) -> bool {
        let State::Placing { to, left, cold } = self.state else { return true };
        let n = left.min(self.tail - self.head);
        if n > 0 {
            let from = &self.staging[self.head..self.head + n];
            // SAFETY: `to` is valid for `left` ≥ `n` bytes (`place`), and what is cold will be settled; staging is
            // private to this receiver.
            unsafe {
                if cold {
                    copy_past_cache(from.as_ptr(), to, n);
                } else {
                    std::ptr::copy_nonoverlapping(from.as_ptr(), to, n);
                }
            }
            self.head += n;
            stats.copied += n as u64;
            self.state = State::Placing { to: to.wrapping_add(n), left: left - n, cold };
        }
        if n == left {
            self.state = State::Trailer;
        }
        n == left
    }

    /// Takes padding and CRC away; `false` until they are there.
    #[inline]
    fn take_trailer(&mut self) -> bool {
        let len = padding(self.ulpdu) + CRC;
        let there = self.tail - self.head >= len;
        if there {
            self.head += len;
            self.ulpdu = 0;
            self.state = State::Header;
        }
        there
    }
}
