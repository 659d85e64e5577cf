//! Connection management: requests, answers, failures, each under way for a while.

use super::inner::{Appointment, Errand, Inner};
use super::queue::{Asked, State, Target};
use crate::connection::{Ended, Event, Parameters, PrivateData, ReadDepth, RejectReason, Request, RequestId};
use crate::work::Refused;
use core::net::SocketAddr;
use primitives::Key;

impl RequestId {
    pub(super) fn of(key: Key) -> Self {
        Self(u64::from(key.generation) << 32 | u64::from(key.index))
    }

    pub(super) fn key(self) -> Key {
        Key { index: self.0 as u32, generation: (self.0 >> 32) as u32 }
    }
}

impl Inner {
    pub(super) fn keep_appointments(&mut self) {
        let mut i = 0;
        while i < self.agenda.len() {
            if self.agenda[i].at <= self.now {
                let errand = self.agenda.remove(i).errand;
                self.run_errand(errand);
            } else {
                i += 1;
            }
        }
    }

    fn run_errand(&mut self, errand: Errand) {
        match errand {
            Errand::Ask(request) => self.ask(request),
            Errand::Accepted { client, server, private } => self.accepted(client, server, private),
            Errand::Refuse { client, why, private } => self.refused_client(client, why, private),
            Errand::Ready(server) => {
                if self.queues.get(server).is_some_and(|q| q.state == State::Accepting) {
                    self.establish(server, PrivateData::EMPTY);
                }
            }
            Errand::Over { queue, how } => self.fail(queue, how, None),
        }
    }

    /// Sends word to the owner of `queue`; word to one owner arrives in the order it was sent.
    fn send_word(&mut self, queue: Key, errand: Errand) {
        let at = self.arrival();
        let Some(q) = self.queues.get_mut(queue) else { return };
        q.last_control = q.last_control.max(at);
        self.agenda.push(Appointment { at: q.last_control, errand });
    }

    /// [`crate::QueuePair::start`].
    pub(super) fn start(&mut self, key: Key, parameters: &Parameters) -> Result<(), Refused> {
        let queue = self.queues.get(key).filter(|q| q.state == State::Idle).ok_or(Refused::State)?;
        let node = &self.nodes[queue.node];
        if node.removed {
            return Err(Refused::Removed);
        }
        let attributes = node.config.attributes;
        let own = ReadDepth {
            ird: parameters.depth.ird.min(attributes.max_depth.ird),
            ord: parameters.depth.ord.min(attributes.max_depth.ord),
        };
        let room = attributes.private_data;
        match queue.target {
            Target::At(to) => {
                fits(&parameters.private, room.connect)?;
                self.request(key, to, own, parameters.private)
            }
            Target::Of(request) => {
                fits(&parameters.private, room.accept)?;
                self.accept(key, request, own, parameters.private)
            }
        }
    }

    fn request(&mut self, key: Key, to: SocketAddr, own: ReadDepth, private: PrivateData) -> Result<(), Refused> {
        let limit = self.asked.capacity();
        let Some(queue) = self.queues.get(key) else { return Err(Refused::State) };
        let node = &mut self.nodes[queue.node];
        // Ports of connecting sides come round; nothing depends on them.
        node.next_port = node.next_port.checked_add(1).unwrap_or(49_152);
        let from = SocketAddr::new(node.config.addr, node.next_port);
        let asked = Asked { client: key, to, from, depth: own, private, node: None, claimed: false };
        let request = self.asked.insert(asked).map_err(|_| Refused::Limit { what: "connection requests", limit })?;
        if let Some(queue) = self.queues.get_mut(key) {
            (queue.state, queue.depth, queue.request) = (State::Connecting, own, Some(request));
        }
        let at = self.arrival();
        self.agenda.push(Appointment { at, errand: Errand::Ask(request) });
        Ok(())
    }

    fn ask(&mut self, key: Key) {
        let Some(asked) = self.asked.get(key) else { return };
        let (to, from, depth, private) = (asked.to, asked.from, asked.depth, asked.private);
        let Some(node) = self.nodes.iter().position(|n| !n.removed && n.config.addr == to.ip()) else {
            return self.refuse(key, RejectReason::Unreachable, PrivateData::EMPTY);
        };
        // An owner who does not poll is asked nothing more.
        let asleep = self.nodes[node].events.len() >= 2 * self.queues.capacity();
        let listener = self.nodes[node].listeners.iter_mut().find(|l| l.at == to && l.waiting < l.backlog);
        let Some(listener) = listener.filter(|_| !asleep) else {
            return self.refuse(key, RejectReason::NoListener, PrivateData::EMPTY);
        };
        listener.waiting += 1;
        let id = RequestId::of(key);
        self.nodes[node].events.push_back(Event::Request(Request { id, to, from, depth, private }));
        if let Some(asked) = self.asked.get_mut(key) {
            asked.node = Some(node);
        }
    }

    /// The request is answered or withdrawn.
    fn forget_request(&mut self, key: Key) -> Option<Asked> {
        let asked = self.asked.remove(key)?;
        let listeners = asked.node.map(|n| &mut self.nodes[n].listeners);
        if let Some(listener) = listeners.and_then(|l| l.iter_mut().find(|l| l.at == asked.to)) {
            listener.waiting = listener.waiting.saturating_sub(1);
        }
        Some(asked)
    }

    fn accept(&mut self, server: Key, request: Key, own: ReadDepth, private: PrivateData) -> Result<(), Refused> {
        let asked = self.forget_request(request).ok_or(Refused::Gone)?;
        let Some(client) = self.queues.get_mut(asked.client) else { return Err(Refused::Gone) };
        (client.peer, client.request) = (Some(server), None);
        client.depth = asked.depth.against(own);
        if let Some(queue) = self.queues.get_mut(server) {
            (queue.state, queue.peer) = (State::Accepting, Some(asked.client));
            queue.depth = own.against(asked.depth);
        }
        self.send_word(asked.client, Errand::Accepted { client: asked.client, server, private });
        Ok(())
    }

    fn accepted(&mut self, client: Key, server: Key, private: PrivateData) {
        if self.queues.get(client).is_some_and(|q| q.state == State::Connecting) {
            self.establish(client, private);
            self.send_word(server, Errand::Ready(server));
        }
    }

    fn establish(&mut self, key: Key, private: PrivateData) {
        let Some(queue) = self.queues.get_mut(key) else { return };
        queue.state = State::Established;
        let event = Event::Established { queue: queue.name, depth: queue.depth, private };
        self.nodes[queue.node].events.push_back(event);
    }

    /// Answers a request with no.
    pub(super) fn refuse(&mut self, request: Key, why: RejectReason, private: PrivateData) {
        if let Some(asked) = self.forget_request(request) {
            let client = asked.client;
            if let Some(queue) = self.queues.get_mut(client) {
                queue.request = None;
            }
            self.send_word(client, Errand::Refuse { client, why, private });
        }
    }

    fn refused_client(&mut self, client: Key, why: RejectReason, private: PrivateData) {
        let Some(queue) = self.queues.get_mut(client).filter(|q| q.state == State::Connecting) else { return };
        let event = Event::Rejected { queue: queue.name, why, private };
        self.nodes[queue.node].events.push_back(event);
        self.begin_drain(client);
    }

    /// [`crate::Provider::reject`].
    pub(super) fn reject(&mut self, node: usize, id: RequestId, private: PrivateData) -> Result<(), Refused> {
        fits(&private, self.nodes[node].config.attributes.private_data.reject)?;
        let open = |a: &Asked| a.node == Some(node) && !a.claimed;
        if !self.asked.get(id.key()).is_some_and(open) {
            return Err(Refused::Gone);
        }
        self.refuse(id.key(), RejectReason::Consumer, private);
        Ok(())
    }

    /// Takes a queue pair to the error state, unless it is there. Its owner learns `how`, if it was started; the other
    /// end learns `word` after a while.
    pub(super) fn fail(&mut self, key: Key, how: Ended, word: Option<Ended>) {
        let Some(queue) = self.queues.get(key).filter(|q| q.state != State::Error) else { return };
        let (state, peer, request, target) = (queue.state, queue.peer, queue.request, queue.target);
        let (node, name) = (queue.node, queue.name);
        if state != State::Idle {
            self.nodes[node].events.push_back(Event::Disconnected { queue: name, how });
        } else if let Target::Of(request) = target {
            // Claimed and never answered.
            self.refuse(request, RejectReason::Consumer, PrivateData::EMPTY);
        }
        if let Some(request) = request {
            let _ = self.forget_request(request);
        }
        self.begin_drain(key);
        if let (Some(peer), Some(how)) = (peer, word) {
            self.send_word(peer, Errand::Over { queue: peer, how });
        }
    }

    fn begin_drain(&mut self, key: Key) {
        let (send, receive) = (self.arrival(), self.arrival());
        if let Some(queue) = self.queues.get_mut(key) {
            (queue.state, queue.halted) = (State::Error, true);
            (queue.flush_send, queue.flush_receive) = (send, receive);
        }
    }
}

fn fits(private: &PrivateData, room: u16) -> Result<(), Refused> {
    let room = usize::from(room);
    if private.len() > room { Err(Refused::PrivateData { room }) } else { Ok(()) }
}
