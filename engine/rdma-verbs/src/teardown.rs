//! The end of queue pairs and of the device.

use crate::completions::Origin;
use crate::inner::Inner;
use crate::limits::{FAREWELL_NANOS, FLUSH_NANOS, LAST_RECEIVE_NANOS, SILENCE_NANOS};
use crate::queue::{Queue, Stage, Task};
use crate::reap::{receive_completion, send_completion};
use crate::sys::CmId;
use primitives::Key;
use rdma::{Ended, Event, Status};

impl Inner {
    /// The connection is over.
    pub fn fail(&mut self, key: Key, how: Ended) {
        if let Some(queue) = self.queues.get(key) {
            let event = Event::Disconnected { queue: queue.name, how };
            self.end(key, event);
        }
    }

    /// The connection is over, of which `event` tells if anybody knew of it.
    pub fn end(&mut self, key: Key, event: Event) {
        let Some(queue) = self.queues.get_mut(key).filter(|queue| queue.stage != Stage::Error) else { return };
        let stage = std::mem::replace(&mut queue.stage, Stage::Error);
        queue.ending.since = self.now;
        if queue.started {
            self.events.push_back(event);
        }
        match stage {
            // Nothing was sent or received: the queue pair can go at once, and the peer is told by that.
            Stage::Prepared | Stage::Resolving | Stage::Connecting => self.destroy(key),
            Stage::Accepting | Stage::Established => {
                // Before the connection stands, InfiniBand's CM tells nobody, and does not say so.
                queue.ending.farewell = stage == Stage::Accepting;
                let _ = queue.id.as_mut().map(CmId::disconnect);
                let _ = queue.pair.to_error();
            }
            Stage::Error => {}
        }
        self.watch(key);
        self.settle(key);
    }

    /// Looks after a queue pair from now on.
    pub fn watch(&mut self, key: Key) {
        if !self.watched.contains(&key) {
            self.watched.push(key);
        }
        self.pace.urgent();
    }

    /// The device is gone, or as good as gone.
    pub fn remove(&mut self) {
        if std::mem::replace(&mut self.device.removed, true) {
            return;
        }
        let waiting: Vec<Key> = self.requests.iter().map(|(key, _)| key).collect();
        waiting.into_iter().for_each(|key| drop(self.answer(key)));
        let listeners: Vec<Key> = self.listeners.iter().map(|(key, _)| key).collect();
        listeners.into_iter().for_each(|key| drop(self.listeners.remove(key)));
        let queues: Vec<Key> = self.queues.iter().map(|(key, _)| key).collect();
        for key in queues {
            self.fail(key, Ended::Removed);
            self.destroy(key);
            self.settle(key);
        }
        self.events.push_back(Event::Removed);
    }

    /// Destroys a queue pair: the device touches none of its memory any more.
    pub fn destroy(&mut self, key: Key) {
        let Some(queue) = self.queues.get(key).filter(|queue| queue.id.is_some()) else { return };
        let (completions, number) = (queue.completions, queue.pair.number());
        if !queue.is_idle() || queue.shared.is_some() {
            // What completed must be read first: with the queue pair, the device may forget that, too.
            self.reap_all(completions);
        }
        if let Some(queue) = self.queues.get_mut(key) {
            queue.windows.unbind();
            queue.id = None;
            (queue.sends_in_device, queue.receives_in_device) = (0, 0);
        }
        self.numbers.remove(&number);
        self.device.notices.forget(number);
    }

    /// Flushes what the device never had, or no longer has, once it has nothing else.
    pub fn settle(&mut self, key: Key) {
        loop {
            let Some(queue) = self.queues.get_mut(key).filter(|q| q.stage == Stage::Error && q.is_idle()) else {
                return;
            };
            let completions = queue.completions;
            if let Some(send) = queue.sends.pop() {
                let reached = send.task == Task::Nonsense && std::mem::take(&mut queue.nonsense);
                let status = if reached { Status::Window } else { send.done.unwrap_or(Status::Flushed) };
                let completion = send_completion(queue, &mut self.regions, send, status);
                self.stage(completions, Origin::Send(key), completion);
            } else if let Some(receive) = queue.receives.pop() {
                let completion = receive_completion(queue.name, &mut self.regions, receive, Status::Flushed, 0, None);
                self.stage(completions, Origin::Receive(key), completion);
            } else {
                return;
            }
        }
    }

    /// Looks after queue pairs that are over, or may be.
    pub fn sweep(&mut self) {
        let mut at = 0;
        while let Some(key) = self.watched.get(at).copied() {
            if self.look_after(key) {
                at += 1;
            } else {
                self.watched.swap_remove(at);
            }
        }
    }

    /// Whether to look again.
    fn look_after(&mut self, key: Key) -> bool {
        let Some(queue) = self.queues.get(key) else { return false };
        if queue.stage != Stage::Error {
            let Some(since) = queue.ending.suspicious_since else { return false };
            if self.now.saturating_sub(since) >= SILENCE_NANOS {
                self.fail(key, Ended::Lost);
            }
            return true;
        }
        if !queue.is_idle() {
            if self.now.saturating_sub(queue.ending.since) >= FLUSH_NANOS {
                tracing::warn!("verbs: a queue pair did not flush its requests; it is destroyed");
                self.destroy(key);
                self.settle(key);
            }
            return true;
        }
        if queue.ending.abandoned && may_go(queue, self.now) {
            self.free(key);
            return false;
        }
        true
    }

    /// The handle was dropped.
    pub fn abandon(&mut self, key: Key) {
        self.fail(key, Ended::Local);
        let Some(queue) = self.queues.get_mut(key) else { return };
        queue.ending.abandoned = true;
        if may_go(queue, self.now) {
            self.free(key);
        } else {
            self.watch(key);
        }
    }

    /// Frees a queue pair that nothing is left of.
    fn free(&mut self, key: Key) {
        self.destroy(key);
        let Some(mut queue) = self.queues.remove(key) else { return };
        queue.windows.abandon(&mut self.regions);
        if let Some(completions) = self.completions.get_mut(queue.completions) {
            completions.reserved = completions.reserved.saturating_sub(queue.reserves());
        }
        if let Some(shared) = queue.shared.and_then(|key| self.shared.get_mut(key)) {
            shared.users -= 1;
        }
        let (completions, shared) = (queue.completions, queue.shared);
        drop(queue);
        if let Some(shared) = shared {
            self.free_shared_if_over(shared);
        }
        self.free_completions_if_over(completions);
    }
}

/// Whether nothing is left to wait for.
fn may_go(queue: &Queue, now: u64) -> bool {
    let since = now.saturating_sub(queue.ending.since);
    let connected = queue.id.is_some();
    let receiving = connected && queue.shared.is_some() && !queue.ending.last_receive && since < LAST_RECEIVE_NANOS;
    let leaving = connected && queue.ending.farewell && since < FAREWELL_NANOS;
    queue.is_drained() && !receiving && !leaving
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Queue pairs and requests go before what they are made of, which the order of the fields sees to; those that
        // are established tell their peers.
        for (_, queue) in self.queues.iter_mut() {
            if queue.stage == Stage::Established {
                let _ = queue.id.as_mut().map(CmId::disconnect);
            }
        }
    }
}
