//! The receiving half: finds PDUs in a byte stream and puts their data where it is wanted.
//!
//! Every [`Receiver::receive`] is one `readv`: first the rest of the payload being placed, straight into its memory,
//! then the staging buffer. So large payloads are not copied here and small PDUs arrive many to a call. Only what is
//! bound for memory out of the cache is always staged and copied, past the cache (decision 16).
use super::{Digests, Fault, Stream};
use crate::digest::{self, Crc32c, DIGEST_LEN};
use crate::limits::{COLD_WINDOW, DIRECT_MIN, DIRECT_WINDOW, LARGE_MEMORY, STAGING};
use iscsi::wire::{BHS_LEN, Bhs, Opcode};
use primitives::{copy_past_cache, span};

/// The longest additional header segments: 255 words.
const AHS_MAX: usize = 255 * 4;

/// What [`Receiver::step`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// A header is complete: [`Receiver::bhs`], [`Receiver::ahs`]. Say where its data goes with [`Receiver::stage`],
    /// [`Receiver::place`] or [`Receiver::discard`], even if it has none; until then every step says this again.
    Header,
    /// The data segment is complete where it was asked to go. `intact` is false when its digest was wrong.
    Payload {
        /// The data digest matched, or there is none.
        intact: bool,
    },
    /// More has to be received first.
    Starved,
    /// The stream cannot be followed any further.
    Broken(Fault),
}

/// What [`Receiver::receive`] came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// Bytes arrived.
    Some,
    /// Nothing is there now.
    Nothing,
    /// The peer has closed its direction.
    Closed,
    /// The transport failed with this errno.
    Failed(i32),
}

/// Plain counters of the receiving half.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Calls into the transport.
    pub calls: u64,
    /// Bytes received.
    pub bytes: u64,
    /// PDU headers.
    pub pdus: u64,
    /// Payload bytes the transport wrote straight to their place.
    pub direct: u64,
    /// Payload bytes copied from staging to their place.
    pub copied: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Waits for a header.
    Header,
    /// A header is complete; nobody has said where its data goes.
    Deciding,
    /// Waits until the whole data segment is staged.
    Staging,
    /// The data segment is shown at the front of staging, with this much to be skipped after it was looked at.
    Shown {
        skip: usize,
        intact: bool,
    },
    /// The next `left` bytes go to `to`, which is `cold` or may be written by the transport.
    Placing {
        to: *mut u8,
        left: usize,
        cold: bool,
    },
    /// Waits for padding and digest of a placed payload.
    Trailer,
    /// The next bytes are of no interest.
    Discarding {
        left: usize,
    },
    Broken(Fault),
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct Receiver {
    staging: Box<[u8]>,
    head: usize,
    tail: usize,
    state: State,
    bhs: Bhs,
    ahs: Box<[u8; AHS_MAX]>,
    digests: Digests,
    max_data: u32,
    crc: Crc32c,
    /// Counts down the PDUs for which another large payload is expected, and how much may be read ahead until then.
    large: u8,
    ahead: usize,
    counts: Counts,
}

// SAFETY: the one thing bound to nothing but an address is `Placing::to`, memory that belongs to this receiver alone
// until the placement ends (`place`); which thread drives it is immaterial.
unsafe impl Send for Receiver {}

impl Receiver {
    /// A receiver without digests that takes data segments of up to `max_data` bytes.
    #[must_use]
    pub fn new(max_data: u32) -> Self {
        Self {
            staging: vec![0; STAGING].into_boxed_slice(),
            head: 0,
            tail: 0,
            state: State::Header,
            bhs: Bhs::new(Opcode::NOP_OUT),
            ahs: Box::new([0; AHS_MAX]),
            digests: Digests::default(),
            max_data,
            crc: Crc32c::new(),
            large: 0,
            ahead: DIRECT_WINDOW,
            counts: Counts::default(),
        }
    }

    /// From the next header on: these digests, and data segments of up to `max_data` bytes.
    pub fn set_framing(&mut self, digests: Digests, max_data: u32) {
        self.digests = digests;
        self.max_data = max_data;
    }

    /// The header last reported.
    #[must_use]
    pub fn bhs(&self) -> &Bhs {
        &self.bhs
    }

    /// The additional header segments of the header last reported.
    #[must_use]
    pub fn ahs(&self) -> &[u8] {
        &self.ahs[..self.bhs.ahs_bytes()]
    }

    /// The data segment that was staged, from its [`Step::Payload`] to the next step; empty at any other time.
    #[must_use]
    pub fn segment(&self) -> &[u8] {
        match self.state {
            State::Shown { intact: true, .. } => &self.staging[self.head..self.head + self.data_len()],
            _ => &[],
        }
    }

    /// The data segment of the current header fits staging, so that it can be shown in one piece.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.data_len() + self.trailer_len() <= STAGING
    }

    /// Counters since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Shows the data in staging once all of it is there. Only when it [`fits`](Self::fits).
    pub fn stage(&mut self) {
        debug_assert!(matches!(self.state, State::Deciding) && self.fits());
        self.state = State::Staging;
    }

    /// Puts the data of the current header at `to`; past the cache if that is `cold`.
    ///
    /// # Safety
    /// `to` must be valid for writes of the header's data segment length until [`Step::Payload`] or
    /// [`Receiver::abandon`]; with data digests on, nobody else may touch that memory meanwhile, and it is not cold.
    /// What is cold is to be settled as [`copy_past_cache`] says.
    pub unsafe fn place(&mut self, to: *mut u8, cold: bool) {
        debug_assert!(matches!(self.state, State::Deciding) && !(cold && self.digests.data));
        if self.digests.data {
            self.crc = Crc32c::new();
        }
        let left = self.data_len();
        if left >= DIRECT_MIN as usize {
            self.large = LARGE_MEMORY;
            self.ahead = if cold { COLD_WINDOW } else { DIRECT_WINDOW };
        }
        self.state = State::Placing { to, left, cold };
        self.place_staged();
    }

    /// Skips the data of the current header.
    pub fn discard(&mut self) {
        debug_assert!(matches!(self.state, State::Deciding));
        self.state = State::Discarding { left: self.data_len() + self.trailer_len() };
    }

    /// Takes the memory of the payload being placed out of use; the rest of it is skipped.
    pub fn abandon(&mut self) {
        match self.state {
            State::Placing { left, .. } => self.state = State::Discarding { left: left + self.trailer_len() },
            State::Trailer => self.state = State::Discarding { left: self.trailer_len() },
            _ => {}
        }
    }

    /// Everything, staged or still to come, is of no interest any more. To be called again after each receive.
    pub fn skip_all(&mut self) {
        (self.head, self.tail) = (0, 0);
        self.state = State::Discarding { left: usize::MAX };
    }

    /// Goes on with what is staged, without a call into the transport.
    pub fn step(&mut self) -> Step {
        loop {
            match self.state {
                State::Header => {
                    if let Some(step) = self.take_header() {
                        return step;
                    }
                }
                State::Deciding => return Step::Header,
                State::Staging => return self.show_segment(),
                State::Shown { skip, .. } => {
                    self.head += skip;
                    self.state = State::Header;
                }
                State::Placing { .. } => {
                    if !self.place_staged() {
                        return Step::Starved;
                    }
                }
                State::Trailer => return self.take_trailer(),
                State::Discarding { left } => {
                    let n = left.min(self.staged());
                    self.head += n;
                    if n < left {
                        self.state = State::Discarding { left: left - n };
                        return Step::Starved;
                    }
                    self.state = State::Header;
                }
                State::Broken(fault) => return Step::Broken(fault),
            }
        }
    }

    /// One call into the transport, unless there is no room. With `expect_large` little is read past the current
    /// payload, so that the next one is not staged.
    pub fn receive<S: Stream>(&mut self, stream: &mut S, expect_large: bool) -> Received {
        let (to, left) = match self.state {
            State::Placing { to, left, cold: false } => (to, left),
            _ => (std::ptr::null_mut(), 0),
        };
        let window = self.window(expect_large);
        if left == 0 && window == 0 {
            return Received::Nothing;
        }
        let room = &mut self.staging[self.tail..self.tail + window];
        let iov = [
            libc::iovec { iov_base: to.cast(), iov_len: left },
            libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() },
        ];
        self.counts.calls += 1;
        // SAFETY: `to` is valid for `left` bytes by the contract of `place`; the other entry is `room`.
        let n = match unsafe { stream.readv(if left == 0 { &iov[1..] } else { &iov }) } {
            Ok(0) => return Received::Closed,
            Ok(n) => n,
            Err(libc::EAGAIN) => return Received::Nothing,
            Err(errno) => return Received::Failed(errno),
        };
        assert!(n <= left + window, "the transport returned more than it was given room for");
        self.counts.bytes += n as u64;
        let direct = n.min(left);
        self.landed(direct);
        self.counts.direct += direct as u64;
        self.tail += n - direct;
        Received::Some
    }

    fn data_len(&self) -> usize {
        self.bhs.data_segment_length() as usize
    }

    /// Padding and digest after the data of the current header.
    fn trailer_len(&self) -> usize {
        let len = self.data_len();
        let digest = if self.digests.data && len > 0 { DIGEST_LEN } else { 0 };
        len.wrapping_neg() % 4 + digest
    }

    fn staged(&self) -> usize {
        self.tail - self.head
    }

    /// How many bytes to read into staging, after making room for them.
    fn window(&mut self, expect_large: bool) -> usize {
        let missing = match self.state {
            State::Staging => (self.data_len() + self.trailer_len()).saturating_sub(self.staged()),
            State::Placing { left, cold: true, .. } => left.min(COLD_WINDOW),
            _ => DIRECT_WINDOW,
        };
        if self.staged() == 0 {
            (self.head, self.tail) = (0, 0);
        } else if self.staged() < DIRECT_WINDOW || STAGING - self.tail < missing.max(DIRECT_WINDOW) {
            // Either cheap, or the only way on.
            self.staging.copy_within(self.head..self.tail, 0);
            (self.head, self.tail) = (0, self.tail - self.head);
        }
        let room = STAGING - self.tail;
        match (expect_large, self.large) {
            (true, _) => room.min(missing.max(DIRECT_WINDOW)),
            (false, 0) => room,
            (false, _) => room.min(missing.max(self.ahead)),
        }
    }

    /// Takes a header out of staging; `None` is never returned twice in a row without progress.
    fn take_header(&mut self) -> Option<Step> {
        let front = &self.staging[self.head..self.tail];
        let Some(bhs) = Bhs::from_slice(front) else { return Some(Step::Starved) };
        // A length that is certain to be the peer's word is judged before anything else is waited for.
        if !self.digests.header && bhs.data_segment_length() > self.max_data {
            return Some(self.broken(Fault::Length(bhs.data_segment_length())));
        }
        let covered = BHS_LEN + bhs.ahs_bytes();
        let total = covered + if self.digests.header { DIGEST_LEN } else { 0 };
        let Some(header) = front.get(..total) else { return Some(Step::Starved) };
        if self.digests.header && digest::crc32c(&header[..covered]) != header[covered..] {
            return Some(self.broken(Fault::HeaderDigest));
        }
        if bhs.data_segment_length() > self.max_data {
            return Some(self.broken(Fault::Length(bhs.data_segment_length())));
        }
        self.ahs[..bhs.ahs_bytes()].copy_from_slice(&header[BHS_LEN..covered]);
        self.bhs = bhs;
        self.head += total;
        self.counts.pdus += 1;
        self.large = self.large.saturating_sub(1);
        self.state = State::Deciding;
        None
    }

    fn broken(&mut self, fault: Fault) -> Step {
        self.state = State::Broken(fault);
        Step::Broken(fault)
    }

    fn show_segment(&mut self) -> Step {
        let covered = span::padded(self.data_len()).unwrap_or(usize::MAX);
        let skip = self.data_len() + self.trailer_len();
        let Some(front) = self.staging[self.head..self.tail].get(..skip) else { return Step::Starved };
        let intact = skip == covered || digest::crc32c(&front[..covered]) == front[covered..];
        self.state = State::Shown { skip, intact };
        Step::Payload { intact }
    }

    /// Copies what is staged of the payload to its place; `false` when there is more to come.
    fn place_staged(&mut self) -> bool {
        let State::Placing { to, left, cold } = self.state else { return true };
        let n = left.min(self.staged());
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
            self.counts.copied += n as u64;
        }
        self.landed(n);
        n == left
    }

    /// `n` bytes of the payload have reached their place.
    fn landed(&mut self, n: usize) {
        let State::Placing { to, left, cold } = self.state else { return };
        if self.digests.data && n > 0 {
            // SAFETY: `n` bytes at `to` were just written, and with digests on nobody else touches them (`place`).
            self.crc.update(unsafe { std::slice::from_raw_parts(to, n) });
        }
        self.state = match left - n {
            0 => State::Trailer,
            left => State::Placing { to: to.wrapping_add(n), left, cold },
        };
    }

    fn take_trailer(&mut self) -> Step {
        let len = self.trailer_len();
        let Some(trailer) = self.staging[self.head..self.tail].get(..len) else { return Step::Starved };
        let (padding, digest) = trailer.split_at(self.data_len().wrapping_neg() % 4);
        let intact = digest.is_empty() || {
            self.crc.update(padding);
            self.crc.to_wire() == digest
        };
        self.head += len;
        self.state = State::Header;
        Step::Payload { intact }
    }
}
