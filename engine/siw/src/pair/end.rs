//! The end of a connection, and what becomes of what is left.

use super::transmit::{Framed, Mode};
use super::{Pair, State, Stream, Target};
use crate::device::Core;
use crate::limits::TAIL;
use crate::wire::{Fault, Header, Opcode, Place, Terminate, ddp};
use rdma::{Ended, Event, PrivateData, RejectReason, Status};

/// How a connection ends, or fails to come about.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives for a call, once for a connection")]
pub(crate) enum End {
    /// By the owner.
    Local,
    /// The peer closed.
    Peer,
    /// The stream is lost.
    Lost,
    /// The peer sent a Terminate message.
    Terminated,
    /// The peer broke a rule, and is told.
    Fault(Terminate),
    /// A request of this side failed.
    Failed(Status),
    /// It does not come about, for this reason; the peer is told if that is news to it.
    Rejected(RejectReason, PrivateData, Option<Terminate>),
}

impl End {
    fn told(self) -> Ended {
        match self {
            Self::Local => Ended::Local,
            Self::Peer => Ended::Peer,
            Self::Lost | Self::Rejected(..) => Ended::Lost,
            Self::Terminated | Self::Fault(_) => Ended::Terminated,
            Self::Failed(status) => Ended::Failed(status),
        }
    }
}

impl Pair {
    /// [`rdma::QueuePair::to_error`], and every other way there: once.
    pub fn end(&mut self, core: &mut Core, end: End) {
        if self.state == State::Error {
            return;
        }
        let before = self.state;
        if self.is_paused() {
            core.paused.retain(|key| *key != self.key);
        }
        self.announce(core, before, end);
        self.hang_up(core, before, end);
        self.state = State::Error;
        self.timer = None;
        self.flush(core);
    }

    /// Set-up has taken too long, or a message has waited too long for a shared receive.
    pub(super) fn timed_out(&mut self, core: &mut Core) {
        let end = match self.state {
            State::Connecting | State::Requesting => End::Rejected(RejectReason::Unreachable, PrivateData::EMPTY, None),
            _ => End::Fault(Terminate::new(Fault::NO_BUFFER)),
        };
        self.end(core, end);
    }

    fn announce(&mut self, core: &mut Core, before: State, end: End) {
        let queue = self.plan.name;
        match (before, end) {
            (State::Idle, _) => {
                if let Target::Of(request) = self.plan.target {
                    core.turn_away(request);
                }
            }
            (State::Connecting | State::Requesting, End::Rejected(why, private, _)) => {
                core.events.push_back(Event::Rejected { queue, why, private });
            }
            (State::Connecting | State::Requesting, End::Peer | End::Lost) => {
                let (why, private) = (RejectReason::Unreachable, PrivateData::EMPTY);
                core.events.push_back(Event::Rejected { queue, why, private });
            }
            _ => core.events.push_back(Event::Disconnected { queue, how: end.told() }),
        }
    }

    /// Lets the socket go, with the last bytes for the peer if it is still to hear of this side.
    fn hang_up(&mut self, core: &mut Core, before: State, end: End) {
        let mut tail = Vec::new();
        if let Some(stream) = &self.stream {
            // What the kernel has by now is done; the rest is nobody's to judge.
            self.send.advance(stream.outbox.sent());
        }
        let linger = match (before, end) {
            (State::Replying | State::Established, End::Local) => {
                self.say_all(core, &mut tail);
                true
            }
            (State::Replying | State::Established, End::Failed(_)) => {
                self.say_last(core, None, &mut tail);
                true
            }
            (_, End::Fault(terminate) | End::Rejected(_, _, Some(terminate))) => {
                self.say_last(core, Some(terminate), &mut tail);
                true
            }
            _ => false,
        };
        let Some(stream) = self.stream.take() else { return };
        let Stream { socket, outbox, broken, .. } = *stream;
        core.stats.fpdus_out += outbox.fpdus();
        if linger && !broken { core.linger(socket, tail) } else { core.close(socket) }
    }

    /// Everything that was rung, unless that is too much: a peer that does not read is not waited for.
    fn say_all(&mut self, core: &mut Core, tail: &mut Vec<u8>) {
        let Some(stream) = &mut self.stream else { return };
        if stream.outbox.queued() - stream.outbox.sent() > TAIL {
            return stream.outbox.copy_out_begun(tail);
        }
        loop {
            let framed = self.frame(core, TAIL.saturating_sub(tail.len() as u64), Mode::Last);
            let Some(stream) = &mut self.stream else { return };
            let before = tail.len();
            stream.outbox.copy_out(tail);
            if framed != Framed::Full || tail.len() == before {
                return;
            }
        }
    }

    /// The rest of what is half said, and a Terminate message.
    fn say_last(&mut self, core: &mut Core, terminate: Option<Terminate>, tail: &mut Vec<u8>) {
        let Some(stream) = &mut self.stream else { return };
        stream.outbox.copy_out_begun(tail);
        if let Some(terminate) = terminate {
            let mut bytes = [0; Terminate::MAX];
            let len = terminate.encode(&mut bytes);
            let place = Place::Untagged { ulp: 0, queue: Opcode::Terminate.queue(), msn: 1, mo: 0 };
            stream.outbox.open(&Header { last: true, opcode: Opcode::Terminate, place }, len);
            stream.outbox.inline(&bytes[..len]);
            stream.outbox.close(ddp::UNTAGGED_LEN + len);
            stream.outbox.copy_out(tail);
            core.stats.terminates_out += 1;
        }
    }

    /// Completes everything that is left: no memory is in use any more. Windows stay until they are reclaimed.
    fn flush(&mut self, core: &mut Core) {
        self.send.flush();
        self.list(core);
        if let Some(request) = self.inbound.take_arriving() {
            self.complete_receive(core, request, Status::Flushed, 0, None);
        }
        while let Some(request) = self.receive.ring.pop() {
            self.complete_receive(core, request, Status::Flushed, 0, None);
        }
        self.receive.rung = 0;
        self.inbound.reads.clear();
        self.outbound.reads.clear();
        self.parameters = None;
    }
}
