//! Ways a connection ends. They all lead through the error state of the queue pair, where everything that was posted
//! comes back, to the last upcall.

use super::Iser;
use crate::done::{Done, Outcome};
use iscsi::datamover::{Ended, Violation};
use primitives::{Buf, Tag};
use rdma::{Opcode, QueuePair, Status, Why};

/// Where a connection is between its first message and its last upcall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Open,
    /// The peer broke the protocol: nothing is looked at any more; sending goes on until `terminate`.
    Violated,
    /// Terminated gracefully: what is queued is sent and completed, what arrives is discarded.
    Closing,
    /// The queue pair is in the error state; everything comes back.
    Draining {
        ended: Ended,
        /// Only flushed requests were seen: a connection event may tell why.
        guessed: bool,
    },
    /// The last upcall was made.
    Gone,
}

// Of Linux, for those who log them.
const EIO: i32 = 5;
const ENODEV: i32 = 19;
const EPROTO: i32 = 71;
const EMSGSIZE: i32 = 90;
const ENOBUFS: i32 = 105;
const ECONNRESET: i32 = 104;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;

/// What a failed request says about the end of the connection.
fn errno(status: Status) -> i32 {
    match status {
        Status::LocalLength => EMSGSIZE,
        Status::RetryExceeded | Status::RnrRetryExceeded => ETIMEDOUT,
        Status::RemoteInvalidRequest
        | Status::RemoteAccess
        | Status::RemoteOperation
        | Status::BadResponse
        | Status::LocalAccess => EPROTO,
        Status::Success | Status::Flushed => ECONNRESET,
        Status::LocalOperation | Status::LocalProtection | Status::Window | Status::Fatal(_) => EIO,
    }
}

fn ended(how: rdma::Ended) -> Ended {
    match how {
        rdma::Ended::Local => Ended::Local,
        rdma::Ended::Peer => Ended::Peer,
        rdma::Ended::Failed(status) => Ended::Failed(errno(status)),
        rdma::Ended::Terminated => Ended::Failed(EPROTO),
        rdma::Ended::Lost => Ended::Failed(ECONNRESET),
        rdma::Ended::Removed => Ended::Failed(ENODEV),
    }
}

impl<Q: QueuePair> Iser<Q> {
    /// Nothing has begun to end the connection.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// What comes too late to be begun comes back at once.
    #[inline]
    pub(super) fn is_ending(&self) -> bool {
        !self.is_open() && matches!(self.phase, Phase::Closing | Phase::Draining { .. })
    }

    /// The connection enters another phase.
    pub(super) fn change(&mut self, phase: Phase) {
        self.phase = phase;
        self.steady = false;
        self.out.revoke();
    }

    /// The peer broke the protocol.
    pub(super) fn violate(&mut self, violation: Violation) {
        if self.phase == Phase::Open {
            self.change(Phase::Violated);
            self.violation = Some((violation, false));
            self.forget_messages();
        }
    }

    /// The peer broke the protocol, and is told so by what was queued last: that is sent first.
    pub(super) fn violate_politely(&mut self, violation: Violation) {
        self.violate(violation);
        if let Some((_, when_sent)) = &mut self.violation {
            *when_sent = true;
        }
    }

    /// A request failed.
    #[cold]
    pub(super) fn on_failure(&mut self, status: Status) {
        let guessed = status == Status::Flushed;
        self.end(Ended::Failed(errno(status)), guessed);
    }

    pub(super) fn on_disconnect(&mut self, how: rdma::Ended) {
        self.end(ended(how), false);
    }

    pub(super) fn on_rejection(&mut self) {
        self.end(Ended::Failed(ECONNREFUSED), false);
    }

    /// The peer sent more than its window and its limits allow, of a shared receive queue.
    pub(super) fn on_flood(&mut self) {
        self.end(Ended::Failed(ENOBUFS), false);
    }

    /// An R2T is to be sent and no RDMA Read may be (RFC 7145 §7.3.6).
    pub(super) fn on_no_reads(&mut self) {
        self.end(Ended::Failed(EPROTO), false);
    }

    /// Looks whether the queue pair has refused something for good.
    #[inline]
    pub(super) fn check_broken(&mut self) {
        if let Some(why) = self.out.take_broken() {
            self.on_broken(why);
        }
    }

    #[cold]
    fn on_broken(&mut self, why: Why) {
        match why {
            Why::Closed => self.end(Ended::Failed(ECONNRESET), true),
            _ => self.end(Ended::Failed(EIO), false),
        }
    }

    /// Takes the queue pair to the error state, unless it is on its way already; the surer reason stays.
    pub(super) fn end(&mut self, ended: Ended, guessed: bool) {
        match self.phase {
            Phase::Gone => return,
            Phase::Draining { guessed: true, .. } if !guessed => {
                return self.change(Phase::Draining { ended, guessed });
            }
            Phase::Draining { .. } => return,
            // Whatever happens now, the end was asked for.
            Phase::Closing => self.change(Phase::Draining { ended: Ended::Local, guessed: false }),
            Phase::Open | Phase::Violated => self.change(Phase::Draining { ended, guessed }),
        }
        self.violation = None;
        self.out.queue.to_error();
        self.out.closed();
        while let Some(mut request) = self.out.take_unposted() {
            if let Some(buf) = request.sgl.take_buf() {
                self.take_back(request.op.opcode(), request.tag, buf);
            }
        }
        self.release_gets(|_| true);
        self.inbound.end();
        self.held = false;
    }

    /// A graceful end goes on if all is sent that was to be.
    #[cold]
    pub(super) fn close_when_sent(&mut self) {
        if self.out.is_idle() {
            self.end(Ended::Local, false);
        }
    }

    /// Nothing of the queue pair is under way any more, and everything that was is reported.
    pub(super) fn is_drained(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. })
            && self.done.len() == 0
            && self.out.is_idle()
            && self.out.queue.outstanding() == 0
    }

    /// A request that was never posted.
    fn take_back(&mut self, opcode: Opcode, tag: Tag, buf: Buf) {
        if opcode == Opcode::Read {
            self.gets.take_back();
            self.done.add(Done { tag, buf, outcome: Outcome::Released });
        } else {
            self.not_done(opcode, tag, buf);
        }
    }

    /// A request that has ended without success.
    pub(super) fn not_done(&mut self, opcode: Opcode, tag: Tag, buf: Buf) {
        match opcode {
            Opcode::Send => return self.out.sent(tag, buf),
            Opcode::Write => self.puts -= 1,
            Opcode::Read => drop(self.gets.end(tag)),
            Opcode::Receive | Opcode::Bind | Opcode::Invalidate => debug_assert!(false, "a target opens no windows"),
        }
        self.done.add(Done { tag, buf, outcome: Outcome::Released });
    }

    /// Discards what arrived and was not looked at.
    pub(super) fn forget_messages(&mut self) {
        self.held = false;
        self.inbound.forget();
    }

    /// Takes the gets of a task back: at once if nothing fills them, else when their reads have completed.
    pub(super) fn release_gets(&mut self, is_of_task: impl Fn(Tag) -> bool) {
        while let Some(done) = self.gets.release(&is_of_task) {
            self.done.add(done);
        }
        while let Some(done) = self.unsolicited.release(&is_of_task) {
            self.done.add(done);
        }
    }
}
