//! From the wire to memory.

use super::reads::{InboundRead, OutboundReads};
use super::{End, Pair, State};
use crate::device::Core;
use crate::limits::RECEIVE_CALLS;
use crate::stream::{Interest, Received, Step};
use crate::timer::Timer;
use crate::window::Denied;
use crate::wire::{Fault, Header, Opcode, Place, ReadRequest, Terminate};
use rdma::{Access, ReceiveRequest, Stag, Status};

/// A message that is on its way into a receive.
#[derive(Debug)]
struct Arriving {
    request: ReceiveRequest,
    opcode: Opcode,
    at: usize,
}

/// What the payload of the present segment is for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Current {
    /// Nothing, as far as this side is concerned.
    #[default]
    Nothing,
    /// A buffer of this side, by this STag.
    Write(u32),
    /// The sink of the oldest Read.
    Response { len: u32, last: bool },
    /// The receive in use; with the STag to invalidate.
    Send { len: usize, last: bool, ulp: u32 },
    /// To be looked at.
    ReadRequest,
    /// To be looked at, as the last thing.
    Terminate,
}

/// What is received, apart from the receive queue itself.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    current: Current,
    arriving: Option<Arriving>,
    /// Reads of this side that wait for their response.
    pub reads: OutboundReads,
    /// Messages that came on the queues of Sends and of Read Requests: the last sequence number of each.
    send_msn: u32,
    read_msn: u32,
    /// The first message, if it is an empty Send, only says that the peer is ready (RFC 6581 §9.2).
    pub ready_by_send: bool,
}

impl Inbound {
    /// The receive a message is on its way into.
    pub fn arriving(&self) -> Option<&ReceiveRequest> {
        self.arriving.as_ref().map(|a| &a.request)
    }

    pub fn take_arriving(&mut self) -> Option<ReceiveRequest> {
        self.arriving.take().map(|a| a.request)
    }

    /// The present segment is a Write to `stag`.
    pub fn writes_to(&self, stag: u32) -> bool {
        self.current == Current::Write(stag)
    }
}

/// Why a segment is not taken.
enum Halt {
    /// There is no shared receive for it now.
    Wait,
    Fault(Fault),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Where a payload goes.
enum To {
    Memory(*mut u8),
    /// Memory that is in no cache.
    Cold(*mut u8),
    Staging,
}

const NOWHERE: To = To::Memory(std::ptr::null_mut());

impl Pair {
    /// Receives what there is; whether there was anything.
    pub fn receive(&mut self, core: &mut Core) -> bool {
        let mut heard = false;
        for _ in 0..RECEIVE_CALLS {
            let Some(stream) = self.stream.as_mut().filter(|_| self.state != State::Connecting) else { break };
            match stream.receiver.receive(&stream.socket, &mut core.stats) {
                Received::Nothing => break,
                Received::Closed => {
                    // A peer that breaks off in the middle, or whose reset has shown before, did not just close.
                    let orderly = stream.receiver.is_at_rest() && !stream.broken;
                    self.end(core, if orderly { End::Peer } else { End::Lost });
                    return true;
                }
                Received::Broken => {
                    self.end(core, End::Lost);
                    return true;
                }
                received => {
                    heard = true;
                    self.consume(core);
                    if received == Received::Some || self.is_paused() {
                        break;
                    }
                }
            }
        }
        heard
    }

    /// Goes on with what is staged, and answers it.
    pub(super) fn consume(&mut self, core: &mut Core) {
        if self.state == State::Requesting {
            self.take_reply(core);
        }
        while matches!(self.state, State::Established | State::Replying)
            && let Some(stream) = &mut self.stream
        {
            let done = match stream.receiver.step(&mut core.stats) {
                Step::Segment(header, len) => match self.begin(core, header, len) {
                    Ok(true) => self.finish(core).map_err(Halt::Fault),
                    Ok(false) => Ok(()),
                    Err(halt) => Err(halt),
                },
                Step::Placed => self.finish(core).map_err(Halt::Fault),
                Step::Empty if self.outbound.open => Err(Halt::Fault(Fault::FPDU)),
                Step::Broken(fault) => Err(Halt::Fault(fault)),
                Step::Empty => Ok(()),
                Step::Starved => break,
            };
            match done {
                Ok(()) => {}
                Err(Halt::Wait) => self.pause(core),
                Err(Halt::Fault(fault)) => return self.violated(core, fault),
            }
            // Whatever came first, the peer is ready to receive.
            self.outbound.open = true;
            if self.is_paused() {
                break;
            }
        }
        if self.has_work() { self.transmit(core, false) } else { self.settle(core) }
    }

    /// It is not read from, for want of a shared receive.
    pub fn is_paused(&self) -> bool {
        self.stream.as_ref().is_some_and(|s| !s.interest.read)
    }

    /// Reads no more until there are shared receives. Others draw on the same queue: this connection is not to blame,
    /// and its peer is held up by TCP.
    fn pause(&mut self, core: &mut Core) {
        self.counters.rnr_waits += 1;
        core.stats.pauses += 1;
        if let Some(shared) = self.plan.shared.and_then(|s| core.receives.get_mut(s)) {
            shared.awaited = true;
        }
        // This happens in a turn, so what time it is is known.
        let due = core.now.saturating_add(core.config.receive_timeout);
        self.timer = Some(Timer::at(due));
        core.note_due(due);
        core.paused.push_back(self.key);
        if let Some(interest) = self.stream.as_ref().map(|s| Interest { read: false, ..s.interest }) {
            self.set_interest(core, interest);
        }
    }

    /// There are shared receives again.
    pub fn resume(&mut self, core: &mut Core) {
        if self.is_paused() && self.state == State::Established {
            self.timer = None;
            if let Some(interest) = self.stream.as_ref().map(|s| Interest { read: true, ..s.interest }) {
                self.set_interest(core, interest);
            }
            self.consume(core);
        }
    }

    /// Judges the header of a segment, and says where its payload goes; `true` if it is there already.
    #[inline]
    fn begin(&mut self, core: &mut Core, header: Header, len: usize) -> Result<bool, Halt> {
        let to = match header.place {
            Place::Tagged { stag, to } => self.begin_tagged(core, header, (stag, to), len)?,
            Place::Untagged { queue, .. } if queue != header.opcode.queue() => return Err(Fault::QUEUE.into()),
            Place::Untagged { ulp, msn, mo, .. } => match header.opcode {
                Opcode::ReadRequest => self.begin_read_request(header, msn, mo, len)?,
                Opcode::Terminate => {
                    self.inbound.current = Current::Terminate;
                    To::Staging
                }
                _ => self.begin_send(core, header, (ulp, msn, mo), len)?,
            },
        };
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let cold = matches!(to, To::Cold(_));
        Ok(match to {
            // SAFETY: the memory was just checked to hold `len` bytes and to be out of its owner's hands: a receive,
            // the sink of a Read, a window that does not close meanwhile (`is_in_use`), or an exposure whose end ends
            // this connection (`Device::conceal`). All of them outlive the stream, which ends first (`end`).
            To::Memory(to) | To::Cold(to) => unsafe { stream.receiver.place(to, cold, &mut core.stats) },
            To::Staging => {
                stream.receiver.stage();
                false
            }
        })
    }

    fn begin_tagged(&mut self, core: &Core, header: Header, at: (u32, u64), len: usize) -> Result<To, Halt> {
        let (stag, to) = at;
        let len = len as u32;
        if header.opcode == Opcode::ReadResponse {
            let read = self.inbound.reads.next().filter(|r| r.stag == stag).ok_or(Fault::STAG)?;
            let left = read.len - read.got;
            let next = (read.to.addr() as u64).wrapping_add(u64::from(read.got));
            if to != next || len > left {
                return Err(Fault::BOUNDS.into());
            }
            if header.last && len < left {
                return Err(Fault::MALFORMED.into());
            }
            let place = read.to.wrapping_add(read.got as usize);
            self.inbound.current = Current::Response { len, last: header.last };
            return Ok(if read.cold { To::Cold(place) } else { To::Memory(place) });
        }
        if len == 0 {
            // Moves nothing, so its STag is not looked at (RFC 5041 §7.1).
            self.inbound.current = Current::Nothing;
            return Ok(NOWHERE);
        }
        let place = self.reach(core, stag, to, len, Access::RemoteWrite).map_err(|denied| match denied {
            Denied::Stag => Fault::STAG,
            Denied::Bounds => Fault::BOUNDS,
            Denied::Wrap => Fault::WRAP,
            Denied::Rights => Fault::RIGHTS,
        })?;
        self.inbound.current = Current::Write(stag);
        Ok(To::Memory(place))
    }

    /// These bytes, if the peer may have `access` to them by a window of this connection or an exposure of the device.
    fn reach(&self, core: &Core, stag: u32, to: u64, len: u32, access: Access) -> Result<*mut u8, Denied> {
        to.checked_add(u64::from(len)).ok_or(Denied::Wrap)?;
        match self.windows.reach(stag, to, len, access) {
            Err(Denied::Stag) => core.exposures.reach(stag, to, len, access),
            reached => reached,
        }
    }

    fn begin_read_request(&mut self, header: Header, msn: u32, mo: u32, len: usize) -> Result<To, Halt> {
        if msn != self.inbound.read_msn.wrapping_add(1) {
            return Err(Fault::MSN.into());
        }
        if mo != 0 {
            return Err(Fault::OFFSET.into());
        }
        if !header.last || len != ReadRequest::LEN {
            return Err(Fault::MALFORMED.into());
        }
        self.inbound.current = Current::ReadRequest;
        Ok(To::Staging)
    }

    fn begin_send(&mut self, core: &mut Core, header: Header, at: (u32, u32, u32), len: usize) -> Result<To, Halt> {
        let (ulp, msn, mo) = at;
        if msn != self.inbound.send_msn.wrapping_add(1) {
            return Err(Fault::MSN.into());
        }
        if self.inbound.arriving.is_none() {
            if mo != 0 {
                return Err(Fault::OFFSET.into());
            }
            if self.inbound.ready_by_send && !self.outbound.open && len == 0 && header.last {
                self.inbound.send_msn = msn;
                self.inbound.current = Current::Nothing;
                return Ok(NOWHERE);
            }
            let request = self.next_receive(core)?;
            self.inbound.arriving = Some(Arriving { request, opcode: header.opcode, at: 0 });
        }
        let Some(arriving) = &mut self.inbound.arriving else { return Err(Fault::NO_BUFFER.into()) };
        if arriving.opcode != header.opcode {
            return Err(Fault::OPCODE.into());
        }
        if mo as usize != arriving.at {
            return Err(Fault::OFFSET.into());
        }
        if len > arriving.request.buf.capacity() - arriving.at {
            return Err(Fault::TOO_LONG.into());
        }
        self.inbound.current = Current::Send { len, last: header.last, ulp };
        Ok(To::Memory(arriving.request.buf.as_ptr().wrapping_add(arriving.at)))
    }

    fn next_receive(&mut self, core: &mut Core) -> Result<ReceiveRequest, Halt> {
        if let Some(shared) = self.plan.shared {
            return core.receives.get_mut(shared).and_then(|s| s.take()).ok_or(Halt::Wait);
        }
        self.receive.rung = self.receive.rung.checked_sub(1).ok_or(Fault::NO_BUFFER)?;
        self.receive.ring.pop().ok_or(Fault::NO_BUFFER.into())
    }

    /// The payload of the present segment is where it belongs.
    fn finish(&mut self, core: &mut Core) -> Result<(), Fault> {
        match std::mem::take(&mut self.inbound.current) {
            Current::Nothing | Current::Write(_) => Ok(()),
            Current::Response { len, last } => {
                if let Some(read) = self.inbound.reads.next() {
                    read.got += len;
                }
                if last {
                    self.inbound.reads.done();
                    self.send.answered();
                }
                Ok(())
            }
            Current::Send { len, last, ulp } => self.finish_send(core, len, last, Stag(ulp)),
            Current::ReadRequest => self.finish_read_request(core),
            Current::Terminate => {
                let shown = self.stream.as_ref().map_or(&[][..], |s| s.receiver.shown());
                core.stats.terminates_in += 1;
                core.stats.last_terminate = Some(Terminate::decode(shown));
                self.end(core, End::Terminated);
                Ok(())
            }
        }
    }

    fn finish_send(&mut self, core: &mut Core, len: usize, last: bool, stag: Stag) -> Result<(), Fault> {
        let Some(arriving) = &mut self.inbound.arriving else { return Ok(()) };
        arriving.at += len;
        if !last {
            return Ok(());
        }
        let invalidates = arriving.opcode.invalidates();
        // A peer that still reads from the window it closes is not to be helped.
        if invalidates && (self.is_in_use(stag) || !self.close_for_peer(core, stag)) {
            return Err(Fault::INVALIDATE);
        }
        self.inbound.send_msn = self.inbound.send_msn.wrapping_add(1);
        if let Some(Arriving { request, at, .. }) = self.inbound.arriving.take() {
            // A message is no longer than its receive, which 32 bits hold.
            self.complete_receive(core, request, Status::Success, at as u32, invalidates.then_some(stag));
        }
        Ok(())
    }

    /// Closes what the peer names: a window of this connection, or an exposure of the device.
    fn close_for_peer(&mut self, core: &mut Core, stag: Stag) -> bool {
        self.windows.invalidate(stag) || core.exposures.invalidate(stag)
    }

    fn finish_read_request(&mut self, core: &Core) -> Result<(), Fault> {
        let shown = self.stream.as_ref().map_or(&[][..], |s| s.receiver.shown());
        let request = ReadRequest::decode(shown).ok_or(Fault::MALFORMED)?;
        let sink = (request.sink_stag, request.sink_to);
        let read = if request.len == 0 {
            InboundRead::new(sink, None, std::ptr::null(), 0)
        } else {
            let (stag, from) = (request.source_stag, request.source_to);
            let from =
                self.reach(core, stag, from, request.len, Access::RemoteRead).map_err(|denied| match denied {
                    Denied::Stag => Fault::READ_STAG,
                    Denied::Bounds => Fault::READ_BOUNDS,
                    Denied::Wrap => Fault::READ_WRAP,
                    Denied::Rights => Fault::RIGHTS,
                })?;
            InboundRead::new(sink, Some(stag), from, request.len)
        };
        self.inbound.read_msn = self.inbound.read_msn.wrapping_add(1);
        if self.outbound.reads.push(read) { Ok(()) } else { Err(Fault::NO_BUFFER) }
    }

    /// The peer has broken a rule: it is told which, and the connection ends.
    fn violated(&mut self, core: &mut Core, fault: Fault) {
        let mut terminate = Terminate::new(fault);
        if let Some(stream) = &self.stream {
            let (header, segment) = stream.receiver.segment();
            terminate = terminate.with_segment(header, segment);
            // A fault of RDMAP says which Read Request it was, if it was one (RFC 5040 §4.8, figure 10).
            if fault.layer == 0
                && let Some(request) = ReadRequest::decode(stream.receiver.shown())
            {
                terminate = terminate.with_read(request.encode());
            }
        }
        if let Some(request) = self.inbound.take_arriving() {
            let status = match fault {
                Fault::TOO_LONG => Status::LocalLength,
                Fault::INVALIDATE => Status::LocalAccess,
                _ => Status::Flushed,
            };
            self.complete_receive(core, request, status, 0, None);
        }
        self.end(core, End::Fault(terminate));
    }
}
