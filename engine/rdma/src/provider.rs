//! The traits.

use crate::attributes::Attributes;
use crate::batch::SendBatch;
use crate::completion::CompletionBatch;
use crate::connection::{Event, Parameters, PrivateData, RequestId};
use crate::counters::Counters;
use crate::memory::{Access, Memory, Remote, Sge, Stag};
use crate::work::{ReceiveRequest, Refusal, Refused, Why, WorkRequest};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use primitives::Tag;

/// Who a queue pair is to be connected with.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// Whoever listens there.
    At(SocketAddr),
    /// Whoever made this request.
    Of(RequestId),
}

/// What a queue pair is made of.
#[derive(Debug)]
pub struct QueueSetup<'a, P: Provider + ?Sized> {
    /// Comes back in every event and completion of the queue pair; unique among those that live.
    pub name: Tag,
    /// Where its completions go. The completion queue must have room for everything it can have outstanding.
    pub completions: &'a P::Completions,
    /// Where its receives come from, if not from its own queue; made for the same completion queue.
    pub receives: Option<&'a P::Receives>,
    /// Requests the send queue holds, windows being bound included.
    pub send_depth: u16,
    /// Requests its own receive queue holds. Zero with a shared one.
    pub receive_depth: u16,
    /// Remote access windows at once.
    pub windows: u16,
}

/// Requests that fit now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Into the send queue.
    pub send: u16,
    /// RDMA Reads among them.
    pub reads: u16,
    /// Into the queue pair's own receive queue.
    pub receive: u16,
}

/// One RDMA device as one core uses it. Everything made from it belongs to that core.
pub trait Provider {
    /// Its queue pairs.
    type Queue: QueuePair;
    /// Its completion queues.
    type Completions: CompletionQueue;
    /// Its shared receive queues.
    type Receives: ReceiveQueue;

    /// What the device can do.
    fn attributes(&self) -> Attributes;

    /// Makes a region of the arena known, once, for all local use. Peers reach none of it by that.
    ///
    /// # Errors
    /// [`Refused::Limit`], [`Refused::InUse`] if it overlaps another, or what the system says.
    fn add_memory(&mut self, memory: Memory) -> Result<(), Refused>;

    /// Forgets a region, given exactly as it was added.
    ///
    /// # Errors
    /// [`Refused::InUse`] while a request or a window uses it; [`Refused::Gone`] if it is not known.
    fn remove_memory(&mut self, memory: Memory) -> Result<(), Refused>;

    /// A completion queue with room for `depth` completions.
    ///
    /// # Errors
    /// [`Refused`].
    fn completion_queue(&mut self, depth: u32) -> Result<Self::Completions, Refused>;

    /// A shared receive queue with room for `depth` receives, whose completions go to `completions`.
    ///
    /// # Errors
    /// [`Refused::Unsupported`] without [`Attributes::shared_receive`], or another [`Refused`].
    fn receive_queue(&mut self, completions: &Self::Completions, depth: u16) -> Result<Self::Receives, Refused>;

    /// Listens at `at`; up to `backlog` requests wait for an answer, more are refused. Returns the address it listens
    /// at, with the port filled in if it was zero.
    ///
    /// # Errors
    /// [`Refused::InUse`], or another [`Refused`].
    fn listen(&mut self, at: SocketAddr, backlog: u16) -> Result<SocketAddr, Refused>;

    /// Listens there no more. Requests not answered yet are rejected; connections stay.
    fn unlisten(&mut self, at: SocketAddr);

    /// A queue pair for a connection with `peer`, that nobody hears of yet. Post the first receives, then
    /// [`QueuePair::start`]: a peer may send as soon as it is accepted.
    ///
    /// # Errors
    /// [`Refused::Gone`] if the request was withdrawn; [`Refused::Limit`], also for a completion queue too small.
    fn prepare(&mut self, peer: Peer, setup: QueueSetup<'_, Self>) -> Result<Self::Queue, Refused>;

    /// Says no to a request.
    ///
    /// # Errors
    /// [`Refused::PrivateData`], and the request still waits; [`Refused::Gone`].
    fn reject(&mut self, request: RequestId, private: PrivateData) -> Result<(), Refused>;

    /// Does what the device itself wants done once a turn (sockets, timers, connection management). `now` is the
    /// nanoseconds of a monotonic clock.
    fn progress(&mut self, now: u64);

    /// The next event.
    fn poll(&mut self) -> Option<Event>;

    /// Counts of all queue pairs, past and present.
    fn counters(&self) -> Counters;
}

/// One end of a connection (RC queue pair, RDMAP stream).
///
/// Requests start in the order they were posted and complete in that order. A Send is delivered after the Writes before
/// it are placed. Reads are not waited for by what follows them.
///
/// A queue pair that is dropped is taken to the error state first; its completions still come, and its windows close,
/// but their memory is lost: reclaim it before.
pub trait QueuePair: fmt::Debug {
    /// Sends the connection request or the acceptance. The peer hears of this side now.
    ///
    /// # Errors
    /// [`Refused::State`] if it was started already; [`Refused::PrivateData`]; [`Refused::Gone`] if the requester gave
    /// up meanwhile.
    fn start(&mut self, parameters: &Parameters) -> Result<(), Refused>;

    /// Queues a receive, for the next [`QueuePair::ring`]. Possible from the beginning.
    ///
    /// # Errors
    /// The request; [`Why::Unsupported`] with a shared receive queue.
    fn post_receive(&mut self, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>>;

    /// Queues a request, for the next [`QueuePair::ring`]. Possible once established.
    ///
    /// # Errors
    /// The request.
    fn post_send(&mut self, request: WorkRequest) -> Result<(), Refusal<WorkRequest>>;

    /// Queues several receives like [`QueuePair::post_receive`], in any order. Those that are not taken stay.
    ///
    /// # Errors
    /// Why the rest was not taken.
    fn post_receives(&mut self, requests: &mut Vec<ReceiveRequest>) -> Result<(), Why> {
        post_all(requests, |request| self.post_receive(request))
    }

    /// Queues several requests like [`QueuePair::post_send`], in their order. Those that are not taken stay.
    ///
    /// # Errors
    /// Why the first of the rest was not taken.
    fn post_sends(&mut self, requests: &mut SendBatch) -> Result<(), Why> {
        while let Some(first) = requests.first_mut() {
            if let Err(Refusal { request, why }) = self.post_send(first.take()) {
                *first = request;
                return Err(why);
            }
            requests.discard_first();
        }
        Ok(())
    }

    /// Opens a window on exactly the bytes of `sge` to this connection's peer, in order before everything posted after
    /// it, so that the advertisement can be posted at once. Takes a place in the send queue and completes, unsignalled,
    /// as [`Opcode::Bind`](crate::Opcode::Bind) with `tag`. The memory stays in the window until
    /// [`QueuePair::reclaim`], its buffer's length as it was, whatever the peer writes. Each use of a window has
    /// another STag.
    ///
    /// # Errors
    /// The memory; [`Why::Windows`] when none is free.
    fn bind(&mut self, tag: Tag, sge: Sge, access: Access) -> Result<Remote, Refusal<Sge>>;

    /// Takes the memory of a window back that is closed: by a completed [`Op::Invalidate`](crate::Op::Invalidate), by
    /// the peer ([`Completion::invalidated`](crate::Completion::invalidated)), or because the queue pair is in the
    /// error state and nothing is outstanding. `None` while it is not, and for an STag that is none of ours.
    fn reclaim(&mut self, stag: Stag) -> Option<Sge>;

    /// Hands everything posted since the last ring to the device: one doorbell, none if there is nothing.
    fn ring(&mut self);

    /// Ends the connection and begins the drain: every request that was taken completes, as what it was if it was
    /// done, as flushed if not. The peer is told where the transport can. Nothing is taken any more.
    fn to_error(&mut self);

    /// Requests that fit now.
    fn room(&self) -> Room;

    /// Requests taken (those posted to its own queues) whose completions have not been polled yet. In the error state,
    /// zero means drained: no memory of this queue pair is in use any more. Receives of a shared queue are not counted.
    fn outstanding(&self) -> u32;

    /// Counts of this queue pair.
    fn counters(&self) -> Counters;
}

impl<Q: QueuePair + ?Sized> QueuePair for Box<Q> {
    fn start(&mut self, parameters: &Parameters) -> Result<(), Refused> {
        (**self).start(parameters)
    }

    fn post_receive(&mut self, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>> {
        (**self).post_receive(request)
    }

    fn post_send(&mut self, request: WorkRequest) -> Result<(), Refusal<WorkRequest>> {
        (**self).post_send(request)
    }

    fn post_receives(&mut self, requests: &mut Vec<ReceiveRequest>) -> Result<(), Why> {
        (**self).post_receives(requests)
    }

    fn post_sends(&mut self, requests: &mut SendBatch) -> Result<(), Why> {
        (**self).post_sends(requests)
    }

    fn bind(&mut self, tag: Tag, sge: Sge, access: Access) -> Result<Remote, Refusal<Sge>> {
        (**self).bind(tag, sge, access)
    }

    fn reclaim(&mut self, stag: Stag) -> Option<Sge> {
        (**self).reclaim(stag)
    }

    fn ring(&mut self) {
        (**self).ring();
    }

    fn to_error(&mut self) {
        (**self).to_error();
    }

    fn room(&self) -> Room {
        (**self).room()
    }

    fn outstanding(&self) -> u32 {
        (**self).outstanding()
    }

    fn counters(&self) -> Counters {
        (**self).counters()
    }
}

/// Receives that several queue pairs draw from (SRQ).
pub trait ReceiveQueue: fmt::Debug {
    /// Queues a receive, for the next [`ReceiveQueue::ring`].
    ///
    /// # Errors
    /// The request.
    fn post_receive(&mut self, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>>;

    /// Queues several receives like [`ReceiveQueue::post_receive`], in any order. Those that are not taken stay.
    ///
    /// # Errors
    /// Why the rest was not taken.
    fn post_receives(&mut self, requests: &mut Vec<ReceiveRequest>) -> Result<(), Why> {
        post_all(requests, |request| self.post_receive(request))
    }

    /// Hands what was posted to the device: one doorbell.
    fn ring(&mut self);

    /// Requests that fit now.
    fn room(&self) -> u16;

    /// Takes a receive back that no message has used: to empty the queue when no queue pair draws from it any more.
    /// `None` while one does, and when it is empty.
    fn take_back(&mut self) -> Option<ReceiveRequest>;
}

/// Posts one after the other until one is not taken, which goes back.
fn post_all(
    requests: &mut Vec<ReceiveRequest>,
    mut post: impl FnMut(ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>>,
) -> Result<(), Why> {
    while let Some(request) = requests.pop() {
        if let Err(Refusal { request, why }) = post(request) {
            requests.push(request);
            return Err(why);
        }
    }
    Ok(())
}

/// Where completions come from.
pub trait CompletionQueue: fmt::Debug {
    /// Appends what has completed to `batch`, as far as it has room; returns how many. Completions of one queue pair's
    /// send queue come in the order of posting, those of its receives likewise; nothing else is ordered.
    fn poll(&mut self, batch: &mut CompletionBatch) -> usize;
}
