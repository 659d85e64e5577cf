//! What requests do when they arrive, and how they complete.

use super::audit::{Touch, Violation, Wrong};
use super::fault::What;
use super::inner::Inner;
use super::queue::{Queue, State, Task};
use crate::attributes::Transport;
use crate::completion::{Completion, Opcode, Status};
use crate::connection::Ended;
use crate::memory::{Access, Remote, Sge, Sgl, Stag};
use crate::work::{Op, ReceiveRequest};
use primitives::{Buf, Key};

/// What came of a request at the peer.
enum Outcome {
    /// Done; bytes moved.
    Done(u32),
    /// Nothing to do it with now: look again at this tick.
    Wait(u64),
    /// The peer does not execute any more; word of it is under way.
    Silence,
    /// It failed on this side alone.
    Local(Status),
    /// The peer refused it with this status, and fails too.
    Refused(Status),
}

impl Inner {
    /// Executes the next request that has arrived. `false` when there is none, or it has to wait.
    pub(super) fn execute(&mut self, key: Key) -> bool {
        let now = self.now;
        let Some(queue) = self.queues.get(key) else { return false };
        if queue.halted || queue.executed >= queue.rung {
            return false;
        }
        let Some(entry) = queue.send.get(queue.executed).filter(|e| e.arrives <= now) else { return false };
        let (task, name) = (entry.task, queue.name);
        let outcome = match self.fault_of(name, task.opcode()) {
            Some(What::Fail(status)) => Outcome::Local(status),
            Some(What::Hold(ticks)) => Outcome::Wait(now + ticks),
            Some(what) => {
                self.strike(what);
                Outcome::Silence
            }
            None => self.attempt(key, task),
        };
        self.settle(key, outcome)
    }

    fn fault_of(&mut self, name: primitives::Tag, opcode: Opcode) -> Option<What> {
        let i = self.faults.iter_mut().position(|f| f.meets(name, opcode))?;
        Some(self.faults.swap_remove(i).what)
    }

    fn settle(&mut self, key: Key, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Done(bytes) => self.conclude(key, Status::Success, bytes),
            Outcome::Local(status) => self.conclude(key, status, 0),
            Outcome::Refused(status) => self.refused(key, status),
            Outcome::Silence => false,
            Outcome::Wait(until) => {
                if let Some(queue) = self.queues.get_mut(key)
                    && let Some(entry) = queue.send.get_mut(queue.executed)
                {
                    entry.arrives = until;
                }
                false
            }
        }
    }

    /// Marks the request executed; its completion follows when the acknowledgement is back.
    fn conclude(&mut self, key: Key, status: Status, bytes: u32) -> bool {
        let back = self.arrival();
        let (now, iwarp) = (self.now, self.is_iwarp(key));
        let Some(queue) = self.queues.get_mut(key) else { return false };
        let Some(entry) = queue.send.get_mut(queue.executed) else { return false };
        // iWARP acknowledges nothing: what has left is done. Reads wait for their response everywhere.
        let alone = iwarp && entry.task.opcode() != Opcode::Read;
        entry.done = queue.last_done.max(if alone { now } else { back });
        (entry.status, entry.bytes) = (Some(status), bytes);
        queue.last_done = entry.done;
        queue.executed += 1;
        queue.rnr = 0;
        queue.halted = !status.is_ok();
        status.is_ok()
    }

    /// The peer refuses a request: it fails, and tells this side in its transport's way.
    fn refused(&mut self, key: Key, status: Status) -> bool {
        let peer = self.queues.get(key).and_then(|q| q.peer);
        if !self.is_iwarp(key) {
            // The NAK is the word of it.
            self.conclude(key, status, 0);
            if let Some(peer) = peer {
                self.fail(peer, Ended::Terminated, None);
            }
            return false;
        }
        // The request left long ago; a Terminate message says later that something was wrong with some request.
        if self.queues.get(key).and_then(|q| q.send.get(q.executed)).is_some_and(|e| e.task.opcode() != Opcode::Read) {
            self.conclude(key, Status::Success, 0);
        }
        if let Some(queue) = self.queues.get_mut(key) {
            queue.halted = true;
        }
        if let Some(peer) = peer {
            self.fail(peer, Ended::Terminated, Some(Ended::Terminated));
        }
        false
    }

    fn attempt(&mut self, key: Key, task: Task) -> Outcome {
        let Some(queue) = self.queues.get_mut(key) else { return Outcome::Silence };
        match task {
            Task::Bind(stag) => {
                queue.windows.bound(stag);
                Outcome::Done(0)
            }
            Task::Op(Op::Invalidate(stag)) => match queue.windows.invalidate(stag) {
                Ok(()) => Outcome::Done(0),
                Err(_) => Outcome::Local(Status::Window),
            },
            Task::Op(op) => {
                let Some(peer) = queue.peer.filter(|p| self.hears(*p)) else { return Outcome::Silence };
                // Taken out so that both ends can be held at once.
                let mut sgl = self.swap_sgl(key, Sgl::NONE);
                let outcome = match op {
                    Op::Send { invalidate, .. } => self.deliver(key, peer, &sgl, invalidate),
                    Op::Write { to } => self.write(key, peer, &sgl, to),
                    Op::Read { from } => self.read(key, peer, &mut sgl, from),
                    Op::Invalidate(_) => Outcome::Done(0),
                };
                let _ = self.swap_sgl(key, sgl);
                outcome
            }
        }
    }

    fn swap_sgl(&mut self, key: Key, sgl: Sgl) -> Sgl {
        let entry = self.queues.get_mut(key).and_then(|q| q.send.get_mut(q.executed));
        entry.map_or(Sgl::NONE, |entry| core::mem::replace(&mut entry.sgl, sgl))
    }

    fn hears(&self, key: Key) -> bool {
        self.queues.get(key).is_some_and(|q| matches!(q.state, State::Established | State::Accepting))
    }

    fn deliver(&mut self, from: Key, to: Key, sgl: &Sgl, invalidate: Option<Stag>) -> Outcome {
        let Some((mut receive, shared)) = self.next_receive(to) else { return self.not_ready(from) };
        let len = sgl.len();
        if len as usize > receive.buf.capacity() {
            self.received(to, receive, shared, Status::LocalLength, None);
            return Outcome::Refused(Status::RemoteInvalidRequest);
        }
        if let Some(stag) = invalidate
            && let Err(wrong) = self.invalidate_of(to, stag)
        {
            let touch = self.touch(from, to, Access::RemoteWrite, Remote { stag, va: 0 }, 0);
            self.audit.violation(Violation { wrong, touch });
            self.received(to, receive, shared, Status::LocalAccess, None);
            return Outcome::Refused(Status::RemoteAccess);
        }
        receive.buf.set_len(0);
        let mut at = 0;
        for sge in sgl.iter() {
            copy(&sge.buf, sge.start as usize, &mut receive.buf, at, sge.len as usize);
            at += sge.len as usize;
        }
        receive.buf.set_len(at);
        self.received(to, receive, shared, Status::Success, invalidate);
        Outcome::Done(len)
    }

    fn invalidate_of(&mut self, to: Key, stag: Stag) -> Result<(), Wrong> {
        self.queues.get_mut(to).map_or(Err(Wrong::Unknown), |q| q.windows.invalidate(stag))
    }

    fn not_ready(&mut self, key: Key) -> Outcome {
        if self.is_iwarp(key) {
            return Outcome::Refused(Status::RemoteOperation);
        }
        let Some(queue) = self.queues.get_mut(key) else { return Outcome::Silence };
        let config = self.nodes[queue.node].config;
        queue.rnr += 1;
        if config.rnr_tries > 0 && queue.rnr >= config.rnr_tries {
            return Outcome::Local(Status::RnrRetryExceeded);
        }
        self.tally(key, |c| c.rnr_waits += 1);
        Outcome::Wait(self.now + config.rnr_wait.max(1))
    }

    fn next_receive(&mut self, key: Key) -> Option<(ReceiveRequest, bool)> {
        let queue = self.queues.get_mut(key)?;
        let Some(shared) = queue.shared else {
            queue.receive_rung = queue.receive_rung.checked_sub(1)?;
            return Some((queue.receive.pop_front()?, false));
        };
        let shared = self.shared.get_mut(shared)?;
        shared.rung = shared.rung.checked_sub(1)?;
        shared.unpolled += 1;
        Some((shared.ring.pop_front()?, true))
    }

    fn received(&mut self, to: Key, request: ReceiveRequest, shared: bool, status: Status, invalidated: Option<Stag>) {
        let Some(queue) = self.queues.get(to) else { return };
        let ReceiveRequest { tag, mut buf } = request;
        if !status.is_ok() {
            buf.set_len(0);
        }
        let byte_len = buf.len() as u32;
        let (name, sgl) = (queue.name, Sgl::one(Sge::filled(buf)));
        let completion = Completion { queue: name, tag, opcode: Opcode::Receive, status, byte_len, invalidated, sgl };
        self.tally(to, |c| {
            c.completions += 1;
            c.flushed += u64::from(status == Status::Flushed);
            c.bytes_in += u64::from(byte_len);
        });
        self.report(to, shared, completion);
    }

    fn write(&mut self, from: Key, to: Key, sgl: &Sgl, remote: Remote) -> Outcome {
        let len = sgl.len();
        if len == 0 {
            // Moves nothing, so its STag is not looked at (RFC 5040 §5.4, InfiniBand C9-88).
            return Outcome::Done(0);
        }
        let touch = self.touch(from, to, Access::RemoteWrite, remote, len);
        let Some(peer) = self.queues.get_mut(to) else { return Outcome::Silence };
        match peer.windows.reach(remote, len, Access::RemoteWrite) {
            Ok((window, mut at)) => {
                for sge in sgl.iter() {
                    copy(&sge.buf, sge.start as usize, &mut window.buf, at, sge.len as usize);
                    at += sge.len as usize;
                }
                self.audit.touched(touch, None);
                Outcome::Done(len)
            }
            Err(wrong) => {
                self.audit.touched(touch, Some(wrong));
                Outcome::Refused(Status::RemoteAccess)
            }
        }
    }

    fn read(&mut self, from: Key, to: Key, sgl: &mut Sgl, remote: Remote) -> Outcome {
        let served = self.queues.get(from).map_or(0, |q| q.reads_served(self.now));
        let touch = self.touch(from, to, Access::RemoteRead, remote, sgl.len());
        let Some(peer) = self.queues.get_mut(to) else { return Outcome::Silence };
        if served >= usize::from(peer.depth.ird) {
            return Outcome::Refused(Status::RemoteInvalidRequest);
        }
        let Some(sink) = sgl.iter_mut().next().filter(|sink| sink.len > 0) else { return Outcome::Done(0) };
        match peer.windows.reach(remote, sink.len, Access::RemoteRead) {
            Ok((window, at)) => {
                copy(&window.buf, at, &mut sink.buf, sink.start as usize, sink.len as usize);
                self.audit.touched(touch, None);
                Outcome::Done(sink.len)
            }
            Err(wrong) => {
                self.audit.touched(touch, Some(wrong));
                Outcome::Refused(Status::RemoteAccess)
            }
        }
    }

    fn touch(&self, from: Key, to: Key, access: Access, remote: Remote, len: u32) -> Touch {
        let name = |key| self.queues.get(key).map(|q: &Queue| q.name).unwrap_or_default();
        Touch { at: self.now, queue: name(to), by: name(from), access, remote, len }
    }

    pub(super) fn is_iwarp(&self, key: Key) -> bool {
        let node = self.queues.get(key).map_or(0, |q| q.node);
        self.nodes[node].config.attributes.transport == Transport::Iwarp
    }

    /// Completes what is acknowledged, up to the last signalled request or to a failure.
    pub(super) fn retire(&mut self, key: Key) {
        let now = self.now;
        let Some(queue) = self.queues.get(key) else { return };
        let (mut upto, mut failed) = (0, None);
        for (i, entry) in queue.send.iter().take(queue.executed).enumerate() {
            let Some(status) = entry.status.filter(|_| entry.done <= now) else { break };
            if entry.signalled || !status.is_ok() {
                upto = i + 1;
            }
            if !status.is_ok() {
                failed = Some(status);
            }
        }
        for _ in 0..upto {
            self.complete_oldest(key, None);
        }
        if let Some(status) = failed {
            self.fail(key, Ended::Failed(status), Some(Ended::Lost));
        }
    }

    /// Reports the oldest request of the send queue; with `status` if it was not executed.
    fn complete_oldest(&mut self, key: Key, status: Option<Status>) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        let Some(entry) = queue.send.pop_front() else { return };
        queue.rung = queue.rung.saturating_sub(1);
        queue.executed = queue.executed.saturating_sub(1);
        let (opcode, name) = (entry.task.opcode(), queue.name);
        queue.reads -= u16::from(opcode == Opcode::Read);
        let status = status.or(entry.status).unwrap_or(Status::Flushed);
        let byte_len = if status.is_ok() { entry.bytes } else { 0 };
        let completion =
            Completion { queue: name, tag: entry.tag, opcode, status, byte_len, invalidated: None, sgl: entry.sgl };
        self.tally(key, |c| {
            c.completions += 1;
            c.flushed += u64::from(status == Status::Flushed);
            let bytes = if opcode == Opcode::Read { &mut c.bytes_in } else { &mut c.bytes_out };
            *bytes += u64::from(byte_len);
        });
        self.report(key, false, completion);
    }

    /// Flushes the queues of a failed queue pair when their time has come.
    pub(super) fn flush_due(&mut self, key: Key) {
        let now = self.now;
        let Some(queue) = self.queues.get(key).filter(|q| q.state == State::Error) else { return };
        let (sends, receives) = (now >= queue.flush_send, now >= queue.flush_receive);
        while sends && let Some(entry) = self.queues.get(key).and_then(|q| q.send.front()) {
            // What was acknowledged in time is done; nobody knows of the rest.
            let known = entry.status.is_some_and(|s| !s.is_ok() || entry.done <= now);
            self.complete_oldest(key, (!known).then_some(Status::Flushed));
        }
        while receives && let Some(request) = self.queues.get_mut(key).and_then(|q| q.receive.pop_front()) {
            self.received(key, request, false, Status::Flushed, None);
        }
    }
}

/// Copies as an adapter does: without a reference to either memory, and without declaring anything meaningful.
fn copy(from: &Buf, mut start: usize, to: &mut Buf, mut at: usize, mut len: usize) {
    let mut bounce = [0u8; 4096];
    let meaningful = to.len();
    while len > 0 {
        let n = len.min(bounce.len());
        let got = from.copy_out(start, &mut bounce[..n]);
        assert_eq!(got, n, "the source was checked when it was posted");
        to.copy_in(at, &bounce[..n]);
        (start, at, len) = (start + n, at + n, len - n);
    }
    to.set_len(meaningful);
}
