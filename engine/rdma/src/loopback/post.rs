//! Posting: what is checked before a request is taken.

use super::inner::{Inner, Node};
use super::queue::{Entry, Queue, State, Task};
use crate::completion::Opcode;
use crate::limits::MAX_MESSAGE;
use crate::memory::{Access, Remote, Sge, Sgl};
use crate::provider::Room;
use crate::work::{Op, ReceiveRequest, Refusal, Why, WorkRequest};
use primitives::{Key, Tag};

impl Inner {
    pub(super) fn post_receive(&mut self, key: Key, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>> {
        let check = |queue: &Queue, node: &Node| {
            if queue.state == State::Error {
                return Err(Why::Closed);
            }
            if queue.shared.is_some() {
                return Err(Why::Unsupported);
            }
            if queue.receives_out >= queue.receive_depth { Err(Why::Full) } else { check_receive(node, &request) }
        };
        if let Err(why) = self.checked(key, check) {
            return Err(Refusal { request, why });
        }
        self.tally(key, |c| c.receives += 1);
        if let Some(queue) = self.queues.get_mut(key) {
            queue.receives_out += 1;
            queue.receive.push_back(request);
        }
        Ok(())
    }

    pub(super) fn post_send(&mut self, key: Key, request: WorkRequest) -> Result<(), Refusal<WorkRequest>> {
        if let Err(why) = self.checked(key, |queue, node| check_send(queue, node, &request)) {
            return Err(Refusal { request, why });
        }
        let WorkRequest { tag, op, sgl, signalled } = request;
        self.tally(key, |c| {
            c.signalled += u64::from(signalled);
            match op {
                Op::Send { invalidate, .. } => {
                    c.sends += 1;
                    c.send_invalidates += u64::from(invalidate.is_some());
                }
                Op::Write { .. } => c.writes += 1,
                Op::Read { .. } => c.reads += 1,
                Op::Invalidate(_) => c.invalidates += 1,
            }
        });
        self.enqueue(key, tag, Task::Op(op), sgl, signalled);
        Ok(())
    }

    pub(super) fn bind(&mut self, key: Key, tag: Tag, sge: Sge, access: Access) -> Result<Remote, Refusal<Sge>> {
        let check = |queue: &Queue, node: &Node| {
            queue.may_send()?;
            let fits = if access == Access::RemoteRead { sge.is_source() } else { sge.is_sink() };
            check_memory(node, core::iter::once(&sge), fits)
        };
        if let Err(why) = self.checked(key, check) {
            return Err(Refusal { request: sge, why });
        }
        let Some(queue) = self.queues.get_mut(key) else { return Err(Refusal { request: sge, why: Why::Closed }) };
        match queue.windows.open(sge, access, &mut self.rng) {
            Ok(remote) => {
                self.audit.reopened(queue.name, remote.stag);
                self.tally(key, |c| c.binds += 1);
                self.enqueue(key, tag, Task::Bind(remote.stag), Sgl::NONE, false);
                Ok(remote)
            }
            Err(request) => {
                self.tally(key, |c| c.refused += 1);
                Err(Refusal { request, why: Why::Windows })
            }
        }
    }

    fn checked(&mut self, key: Key, check: impl FnOnce(&Queue, &Node) -> Result<(), Why>) -> Result<(), Why> {
        let Some(queue) = self.queues.get(key) else { return Err(Why::Closed) };
        let result = check(queue, &self.nodes[queue.node]);
        if result.is_err() {
            self.tally(key, |c| c.refused += 1);
        }
        result
    }

    fn enqueue(&mut self, key: Key, tag: Tag, task: Task, sgl: Sgl, signalled: bool) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        queue.sends_out += 1;
        queue.reads += u16::from(task.opcode() == Opcode::Read);
        let entry = Entry { tag, task, sgl, signalled, arrives: 0, done: 0, status: None, bytes: 0 };
        queue.send.push_back(entry);
    }

    pub(super) fn ring(&mut self, key: Key) {
        let Some(queue) = self.queues.get(key) else { return };
        let (first, posted) = (queue.rung, queue.send.len());
        for i in first..posted {
            let at = self.arrival();
            let Some(queue) = self.queues.get_mut(key) else { return };
            queue.last_arrival = queue.last_arrival.max(at);
            if let Some(entry) = queue.send.get_mut(i) {
                entry.arrives = queue.last_arrival;
            }
        }
        let Some(queue) = self.queues.get_mut(key) else { return };
        let news = first < posted || queue.receive_rung < queue.receive.len();
        (queue.rung, queue.receive_rung) = (posted, queue.receive.len());
        self.tally(key, |c| c.doorbells += u64::from(news));
    }

    /// A completion has left its completion queue: its place is free.
    pub(super) fn polled(&mut self, key: Key, shared: bool, opcode: Opcode) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        if shared {
            queue.unpolled_shared -= 1;
            if let Some(shared) = queue.shared.and_then(|s| self.shared.get_mut(s)) {
                shared.unpolled -= 1;
            }
        } else if opcode == Opcode::Receive {
            queue.receives_out -= 1;
        } else {
            queue.sends_out -= 1;
        }
        self.free_if_over(key);
    }

    pub(super) fn room(&self, key: Key) -> Room {
        let Some(queue) = self.queues.get(key).filter(|q| q.state != State::Error) else {
            return Room { send: 0, reads: 0, receive: 0 };
        };
        let receive = queue.receive_depth - queue.receives_out;
        if queue.state != State::Established {
            return Room { send: 0, reads: 0, receive };
        }
        let send = queue.send_depth - queue.sends_out;
        Room { send, reads: queue.depth.ord.saturating_sub(queue.reads).min(send), receive }
    }
}

impl Queue {
    fn may_send(&self) -> Result<(), Why> {
        match self.state {
            State::Error => Err(Why::Closed),
            State::Established if self.sends_out >= self.send_depth => Err(Why::Full),
            State::Established => Ok(()),
            _ => Err(Why::NotConnected),
        }
    }
}

pub(super) fn check_receive(node: &Node, request: &ReceiveRequest) -> Result<(), Why> {
    let addr = request.buf.as_ptr().addr();
    let known = node.memory.iter().any(|m| m.contains(addr, request.buf.capacity()));
    if known { Ok(()) } else { Err(Why::Unregistered) }
}

fn check_send(queue: &Queue, node: &Node, request: &WorkRequest) -> Result<(), Why> {
    queue.may_send()?;
    let attributes = &node.config.attributes;
    let sgl = &request.sgl;
    let (possible, in_range) = match request.op {
        Op::Send { invalidate, .. } => {
            (invalidate.is_none() || attributes.send_invalidate, sgl.iter().all(Sge::is_source))
        }
        Op::Write { .. } => (true, sgl.iter().all(Sge::is_source)),
        Op::Read { .. } => (sgl.count() <= 1, sgl.iter().all(Sge::is_sink)),
        Op::Invalidate(_) => (sgl.count() == 0, true),
    };
    if !possible || sgl.count() > usize::from(attributes.max_sge) {
        return Err(Why::Unsupported);
    }
    check_memory(node, sgl.iter(), in_range && sgl.len() <= MAX_MESSAGE)?;
    let read = request.op.opcode() == Opcode::Read;
    if read && node.config.keeps_depth && queue.reads >= queue.depth.ord { Err(Why::ReadDepth) } else { Ok(()) }
}

fn check_memory<'a>(node: &Node, mut sges: impl Iterator<Item = &'a Sge>, in_range: bool) -> Result<(), Why> {
    if !in_range {
        return Err(Why::Range);
    }
    if sges.all(|sge| node.knows(sge)) { Ok(()) } else { Err(Why::Unregistered) }
}
