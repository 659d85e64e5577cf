//! Completions, from the device's form to their owners.

use crate::completions::Origin;
use crate::ident::Ident;
use crate::inner::Inner;
use crate::limits::POLL_BATCH;
use crate::map;
use crate::memory::Regions;
use crate::queue::{Queue, Receive, Send, Stage, Task};
use crate::shared;
use crate::sys::Work;
use primitives::{Key, Tag};
use rdma::{Completion, CompletionBatch, Op, Opcode, Sge, Sgl, Stag, Status};

/// A send request's completion; what it held is let go.
pub fn send_completion(queue: &mut Queue, regions: &mut Regions, send: Send, status: Status) -> Completion {
    regions.release_all(send.sgl.iter());
    let opcode = send.task.opcode();
    queue.reads -= u16::from(opcode == Opcode::Read);
    if let (Task::Op(Op::Invalidate(stag)), Status::Success) = (send.task, status) {
        queue.windows.close(stag);
    }
    let byte_len = if status.is_ok() { send.bytes } else { 0 };
    let Send { tag, sgl, .. } = send;
    Completion { queue: queue.name, tag, opcode, status, byte_len, invalidated: None, sgl }
}

/// A receive's completion; what it held is let go.
pub fn receive_completion(
    queue: Tag,
    regions: &mut Regions,
    receive: Receive,
    status: Status,
    byte_len: u32,
    invalidated: Option<Stag>,
) -> Completion {
    shared::release(regions, &receive);
    let (tag, mut buf) = (receive.request.tag, receive.request.buf);
    // The device keeps to the buffer, so this only guards against its lies.
    let byte_len = (byte_len as usize).min(buf.capacity());
    buf.set_len(byte_len);
    let sgl = Sgl::one(Sge::filled(buf));
    Completion { queue, tag, opcode: Opcode::Receive, status, byte_len: byte_len as u32, invalidated, sgl }
}

impl Inner {
    /// Moves what has completed into `batch`, as far as it has room.
    pub fn poll(&mut self, key: Key, batch: &mut CompletionBatch) -> usize {
        let before = batch.len();
        self.unstage(key, batch);
        let room = batch.room();
        if room > 0 {
            self.reap(key, batch, room);
        }
        let got = batch.len() - before;
        if got > 0 {
            self.pace.busy();
        }
        got
    }

    /// Takes all completions that the device has, and stages them.
    pub fn reap_all(&mut self, key: Key) {
        self.reap(key, &mut CompletionBatch::new(0), usize::MAX);
    }

    /// Takes up to `want` completions from the device. What finds no room in `batch` is staged.
    pub fn reap(&mut self, key: Key, batch: &mut CompletionBatch, want: usize) {
        // A completion may end a connection, which reaps, too: that has room of its own.
        let mut works = self.works.take().unwrap_or_default();
        let mut left = want;
        while left > 0 {
            let Some(queue) = self.completions.get(key) else { break };
            let want = left.min(POLL_BATCH);
            let got = match queue.device.poll(want, &mut works) {
                Ok(got) => got,
                Err(errno) => {
                    tracing::error!(device = self.device.name, "a completion queue is broken: errno {errno}");
                    self.remove();
                    break;
                }
            };
            for work in works.iter(self.device.invalidated_flags) {
                self.completed(key, &work, batch);
            }
            left -= got;
            if got < want {
                break;
            }
        }
        self.works = Some(works);
    }

    fn completed(&mut self, completions: Key, work: &Work, batch: &mut CompletionBatch) {
        match Ident::from_bits(work.id) {
            Some(Ident::Send(owner, low)) => {
                if let Some((key, _)) = self.queues.at(owner.index).filter(|(key, _)| owner.is(*key)) {
                    self.sent(key, completions, low, work, batch);
                }
            }
            Some(Ident::Receive(owner, low)) => {
                if let Some((key, _)) = self.queues.at(owner.index).filter(|(key, _)| owner.is(*key)) {
                    self.received(key, completions, low, work, batch);
                }
            }
            Some(Ident::Shared(owner, slot)) => {
                if let Some((key, _)) = self.shared.at(owner.index).filter(|(key, _)| owner.is(*key)) {
                    self.received_shared(key, completions, slot, work, batch);
                }
            }
            None => tracing::debug!("verbs: a completion of nothing that was posted"),
        }
    }

    /// A send request is done, and with it those before it that asked for no completion.
    fn sent(&mut self, key: Key, completions: Key, low: u32, work: &Work, batch: &mut CompletionBatch) {
        let status = map::status(work.status);
        let Some(queue) = self.queues.get_mut(key) else { return };
        let Some(end) = queue.sends.behind(low) else { return };
        if let Some(send) = queue.sends.get_mut(end - 1) {
            send.done = Some(status);
        }
        queue.told = queue.told.max(end);
        let overtakes = self.device.is_siw;
        while let Some(queue) = self.queues.get_mut(key)
            && let Some((send, status)) = queue.pop_done(overtakes, status)
        {
            queue.sends_in_device -= u32::from(send.hardware);
            let completion = send_completion(queue, &mut self.regions, send, status);
            let (opcode, bytes) = (completion.opcode, u64::from(completion.byte_len));
            self.tally(key, |c| match opcode {
                Opcode::Send | Opcode::Write => c.bytes_out += bytes,
                _ => c.bytes_in += bytes,
            });
            self.hand(completions, Origin::Send(key), completion, batch);
        }
        self.judge(key, status);
    }

    /// The owner's receives complete in the order of posting.
    fn received(&mut self, key: Key, completions: Key, low: u32, work: &Work, batch: &mut CompletionBatch) {
        let status = map::status(work.status);
        let Some(end) = self.queues.get(key).and_then(|queue| queue.receives.behind(low)) else { return };
        while let Some(queue) = self.queues.get_mut(key).filter(|queue| queue.receives.head() < end) {
            let Some(receive) = queue.receives.pop() else { break };
            queue.receives_in_device = queue.receives_in_device.saturating_sub(1);
            let last = queue.receives.head() == end;
            let (status, work) = if last { (status, *work) } else { (Status::Flushed, Work::default()) };
            let invalidated = work.invalidated.map(Stag);
            if let Some(stag) = invalidated {
                queue.windows.close(stag);
            }
            let name = queue.name;
            let completion = receive_completion(name, &mut self.regions, receive, status, work.byte_len, invalidated);
            let bytes = u64::from(completion.byte_len);
            self.tally(key, |c| c.bytes_in += bytes);
            self.hand(completions, Origin::Receive(key), completion, batch);
        }
        self.judge(key, status);
    }

    fn received_shared(&mut self, key: Key, completions: Key, slot: u32, work: &Work, batch: &mut CompletionBatch) {
        let status = map::status(work.status);
        let owner = self.numbers.get(&work.pair).copied();
        let Some(shared) = self.shared.get_mut(key) else { return };
        let Some((slot, _)) = shared.slots.at(slot) else { return };
        let Some(queue) = owner.and_then(|owner| self.queues.get_mut(owner)) else {
            // Its queue pair is gone, and with it whoever the message was for: the receive is used again.
            let _ = shared.unrung.push(slot.index);
            return;
        };
        let Some(receive) = shared.slots.remove(slot) else { return };
        shared.unpolled += 1;
        let invalidated = work.invalidated.map(Stag);
        if let Some(stag) = invalidated {
            queue.windows.close(stag);
        }
        let name = queue.name;
        let completion = receive_completion(name, &mut self.regions, receive, status, work.byte_len, invalidated);
        let bytes = u64::from(completion.byte_len);
        if let Some(owner) = owner {
            self.tally(owner, |c| c.bytes_in += bytes);
        }
        self.hand(completions, Origin::Shared(key), completion, batch);
        if let Some(owner) = owner {
            self.judge(owner, status);
        }
    }

    /// What the status of a completion says about its queue pair.
    fn judge(&mut self, key: Key, status: Status) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        match (status, queue.stage) {
            (_, Stage::Error) => self.settle(key),
            (Status::Success, _) => {}
            (Status::Flushed, _) => {
                // Why, the connection manager or the device will say.
                if queue.ending.suspicious_since.is_none() {
                    queue.ending.suspicious_since = Some(self.now);
                    self.watch(key);
                }
            }
            (status, _) => self.fail(key, map::failure(self.device.attributes.transport, status)),
        }
    }
}
