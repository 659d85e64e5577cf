//! From the queues to the wire.

use super::reads::{InboundReads, OutboundRead};
use super::send_queue::Entry;
use super::{Pair, State};
use crate::device::Core;
use crate::limits::{OUTBOX, SEND_CALLS};
use crate::random::Random;
use crate::stream::outbox::Sent;
use crate::stream::{Interest, Outbox};
use crate::wire::{CRC, Header, LENGTH, Opcode, Place, ReadRequest, ddp};
use rdma::{Op, Sgl, Stag, Status};

/// What is sent, apart from the send queue itself.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    /// Reads of the peer to be answered.
    pub reads: InboundReads,
    /// Message sequence numbers of the last Send and the last Read Request.
    send_msn: u32,
    read_msn: u32,
    /// Whose turn it is, when a response and a request are waiting.
    response_next: bool,
    /// The peer has spoken, so that nothing can arrive before it expects it (RFC 5044 §7.1.2).
    pub open: bool,
}

/// Why [`Pair::frame`] ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framed {
    /// There is nothing more.
    All,
    /// What is next has to wait for something else than room.
    Stalled,
    /// There may be more, and there is no room.
    Full,
    /// A request has failed.
    Failed(Status),
}

/// How requests are framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// As they are.
    Usual,
    /// For the last time: what asks for an answer is left out, and nothing is waited for.
    Last,
}

impl Pair {
    /// The doorbell.
    pub fn ring(&mut self, core: &mut Core) {
        let receives = self.receive.ring.len();
        let news = self.receive.rung < receives;
        self.receive.rung = receives;
        let sends = self.send.ring();
        self.counters.doorbells += u64::from(news || sends);
        if sends {
            self.transmit(core, false);
        }
    }

    /// There is something to be framed, as far as one can tell.
    pub(super) fn has_work(&self) -> bool {
        self.outbound.open && (self.outbound.reads.is_waiting() || self.send.next().is_some())
    }

    /// Sends what there is. A socket that was full is only tried again if it is `writable`.
    pub(super) fn transmit(&mut self, core: &mut Core, writable: bool) {
        let mut more = false;
        for _ in 0..SEND_CALLS {
            let framed = self.frame(core, OUTBOX, Mode::Usual);
            if let Framed::Failed(status) = framed {
                return self.end(core, super::End::Failed(status));
            }
            let Some(stream) = &mut self.stream else { return };
            if stream.broken || (stream.interest.write && !writable) {
                break;
            }
            core.stats.writes += u64::from(!stream.outbox.is_empty());
            let before = stream.outbox.sent();
            let sent = stream.outbox.send(&stream.socket);
            core.stats.bytes_out += stream.outbox.sent() - before;
            stream.broken = sent == Sent::Broken;
            // A response that is sent may be what a request has waited for.
            let retired = self.outbound.reads.retire(stream.outbox.sent());
            let again = framed == Framed::Full || (framed == Framed::Stalled && retired);
            more = sent == Sent::Blocked || again;
            if sent != Sent::All || !again {
                break;
            }
        }
        if let Some(stream) = &mut self.stream
            && (writable || !stream.interest.write)
        {
            let interest = Interest { write: more && !stream.broken, ..stream.interest };
            self.set_interest(core, interest);
        }
        self.settle(core);
    }

    pub(super) fn set_interest(&mut self, core: &mut Core, interest: Interest) {
        let Some(stream) = &mut self.stream else { return };
        if stream.interest != interest {
            stream.interest = interest;
            core.epoll.change(&stream.socket, crate::stream::epoll::Kind::Pair, self.key, interest);
        }
    }

    /// Completes what the kernel has, or what is answered.
    pub(super) fn settle(&mut self, core: &mut Core) {
        let Some(stream) = &self.stream else { return };
        let (sent, all) = (stream.outbox.sent(), stream.outbox.is_empty());
        self.outbound.reads.retire(sent);
        self.send.advance(sent);
        self.list(core);
        if self.state == State::Replying && all {
            self.establish(core, rdma::PrivateData::EMPTY);
        }
    }

    /// Frames what there is, until `limit` bytes are not sent. A message that has begun is finished first: siw has one
    /// place for each class of messages being received. After that, responses and requests take turns.
    pub(super) fn frame(&mut self, core: &mut Core, limit: u64, mode: Mode) -> Framed {
        if !self.outbound.open {
            return Framed::All;
        }
        loop {
            let respond_first = self.outbound.reads.is_waiting() && self.is_response_first(mode);
            let Some(stream) = &mut self.stream else { return Framed::All };
            if !stream.outbox.has_room() || stream.outbox.queued() - stream.outbox.sent() >= limit {
                return Framed::Full;
            }
            if respond_first {
                respond(&mut stream.outbox, &mut self.outbound.reads, stream.fpdu);
                self.outbound.response_next = false;
                continue;
            }
            match self.frame_request(core, mode) {
                Framed::Full => self.outbound.response_next = true,
                // A response may still go out while a request has to wait for it.
                Framed::Stalled if self.outbound.reads.is_waiting() && !self.outbound.response_next => {
                    self.outbound.response_next = true;
                }
                framed => return framed,
            }
        }
    }

    /// Of a response and a request, the response goes on or begins.
    fn is_response_first(&self, mode: Mode) -> bool {
        let begun = (self.outbound.reads.offset > 0, self.send.offset > 0);
        let may_begin = mode == Mode::Usual && !begun.1;
        begun.0 || (may_begin && (self.outbound.response_next || self.send.next().is_none()))
    }

    /// Frames the next piece of the next request; `Full` when that is done.
    fn frame_request(&mut self, core: &mut Core, mode: Mode) -> Framed {
        let Some(entry) = self.send.next() else { return Framed::All };
        let Some(stream) = &mut self.stream else { return Framed::All };
        let outbox = &mut stream.outbox;
        match entry.request.op {
            Op::Invalidate(stag) if entry.binds => {
                self.windows.bound(stag);
                self.send.framed(0);
            }
            Op::Invalidate(stag) => return self.invalidate(stag, mode),
            Op::Read { from } => {
                if mode == Mode::Usual {
                    self.outbound.read_msn = self.outbound.read_msn.wrapping_add(1);
                    let read = ask(outbox, entry, from, self.outbound.read_msn, &mut core.random);
                    self.inbound.reads.push(read);
                }
                self.send.framed(outbox.queued());
            }
            Op::Send { solicited, invalidate } => {
                let (offset, msn) = (self.send.offset, self.outbound.send_msn.wrapping_add(1));
                let ulp = invalidate.map_or(0, |stag| stag.0);
                let place = Place::Untagged { ulp, queue: 0, msn, mo: offset };
                let segment = Segment { opcode: Opcode::send(solicited, invalidate.is_some()), place, offset };
                let total = entry.request.sgl.len();
                let end = segment.frame(outbox, &entry.request.sgl, total, stream.fpdu);
                if end == total {
                    self.outbound.send_msn = msn;
                }
                self.send.framed_to(end, total, outbox.queued());
            }
            Op::Write { to } => {
                let offset = self.send.offset;
                // An offset that wraps is for the peer to refuse: it knows its buffers.
                let place = Place::Tagged { stag: to.stag.0, to: to.va.wrapping_add(u64::from(offset)) };
                let segment = Segment { opcode: Opcode::Write, place, offset };
                let total = entry.request.sgl.len();
                let end = segment.frame(outbox, &entry.request.sgl, total, stream.fpdu);
                self.send.framed_to(end, total, outbox.queued());
            }
        }
        Framed::Full
    }

    fn invalidate(&mut self, stag: Stag, mode: Mode) -> Framed {
        if !self.windows.is_live(stag) {
            if mode == Mode::Last {
                return Framed::All;
            }
            self.send.failed(Status::Window);
            return Framed::Failed(Status::Window);
        }
        // Its memory is its owner's again after this: what the peer is in the middle of comes first.
        if mode == Mode::Usual && self.is_in_use(stag) {
            return Framed::Stalled;
        }
        self.windows.close(stag);
        self.send.framed(0);
        Framed::Full
    }

    /// Whether bytes are on their way between the peer and a window.
    pub(super) fn is_in_use(&self, stag: Stag) -> bool {
        let placing = self.stream.as_ref().is_some_and(|s| s.receiver.is_placing());
        self.outbound.reads.uses(stag.0) || (placing && self.inbound.writes_to(stag.0))
    }
}

/// Part of a message.
struct Segment {
    opcode: Opcode,
    place: Place,
    /// First byte of the message in it.
    offset: u32,
}

/// Bytes of payload that fit an FPDU of `fpdu` bytes behind a header of `header`.
fn room(fpdu: usize, header: usize) -> u32 {
    (fpdu - LENGTH - CRC - header) as u32
}

impl Segment {
    /// Frames as much of `sgl`, of `total` bytes, as fits an FPDU; returns where in the message that ends.
    #[inline]
    fn frame(&self, outbox: &mut Outbox, sgl: &Sgl, total: u32, fpdu: usize) -> u32 {
        let header_len = if self.opcode.is_tagged() { ddp::TAGGED_LEN } else { ddp::UNTAGGED_LEN };
        let end = total.min(self.offset.saturating_add(room(fpdu, header_len)));
        let header = Header { last: end == total, opcode: self.opcode, place: self.place };
        let payload = (end - self.offset) as usize;
        if let Some(sge) = sgl.single() {
            let at = sge.buf.as_ptr().wrapping_add((sge.start + self.offset) as usize);
            // SAFETY: as below.
            unsafe { outbox.fpdu(&header, at, payload) };
            return end;
        }
        outbox.open(&header, payload);
        let (mut skip, mut left) = (self.offset, end - self.offset);
        for sge in sgl.iter() {
            let from = skip.min(sge.len);
            let len = left.min(sge.len - from);
            let at = sge.buf.as_ptr().wrapping_add((sge.start + from) as usize);
            // SAFETY: posting checked that the element lies in its buffer, whose memory is valid and out of its
            // owner's hands until the request completes: not before the kernel has these bytes, or with the outbox.
            unsafe { outbox.payload(at, len as usize) };
            (skip, left) = (skip - from, left - len);
        }
        outbox.close(header_len + payload);
        end
    }
}

/// Frames a Read Request, with a name for its sink that nobody had before.
fn ask(outbox: &mut Outbox, entry: &Entry, from: rdma::Remote, msn: u32, random: &mut Random) -> OutboundRead {
    let sink = entry.request.sgl.iter().next();
    let to = sink.map_or(std::ptr::null_mut(), |s| s.buf.as_ptr().wrapping_add(s.start as usize));
    let stag = (random.next() >> 1).max(1);
    let request = ReadRequest {
        sink_stag: stag,
        sink_to: to.addr() as u64,
        len: entry.request.sgl.len(),
        source_stag: from.stag.0,
        source_to: from.va,
    };
    let place = Place::Untagged { ulp: 0, queue: Opcode::ReadRequest.queue(), msn, mo: 0 };
    outbox.open(&Header { last: true, opcode: Opcode::ReadRequest, place }, ReadRequest::LEN);
    outbox.inline(&request.encode());
    outbox.close(ddp::UNTAGGED_LEN + ReadRequest::LEN);
    OutboundRead { stag, to, cold: sink.is_some_and(|sink| sink.buf.is_cold()), len: request.len, got: 0 }
}

/// Frames the next piece of the response to a Read.
fn respond(outbox: &mut Outbox, reads: &mut InboundReads, fpdu: usize) {
    let Some(read) = reads.next() else { return };
    let offset = reads.offset;
    let end = read.len.min(offset.saturating_add(room(fpdu, ddp::TAGGED_LEN)));
    let place = Place::Tagged { stag: read.sink_stag, to: read.sink_to.wrapping_add(u64::from(offset)) };
    let payload = (end - offset) as usize;
    let header = Header { last: end == read.len, opcode: Opcode::ReadResponse, place };
    // SAFETY: the bytes were checked to lie in a window or an exposure, which does not close while a Read uses it
    // (`is_in_use`, `Device::conceal`), or with the outbox.
    unsafe { outbox.fpdu(&header, read.from.wrapping_add(offset as usize), payload) };
    if end == read.len {
        reads.framed(outbox.queued());
    } else {
        reads.offset = end;
    }
}
