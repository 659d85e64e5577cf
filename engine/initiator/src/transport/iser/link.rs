//! The connection beneath: a provider with one queue pair and one completion queue.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use iser::private;
use primitives::Tag;
use rdma::{
    CompletionBatch, CompletionQueue, Ended, Event, Memory, Parameters, Peer, Provider, QueuePair, QueueSetup,
    ReadDepth, Refused, RejectReason, Status, Why,
};

use super::Setup;
use super::buffers::Counts;
use crate::error::{Error, Violation};
use crate::limits::{ISER_BATCH, ISER_RESERVE};
use crate::transport::Broken;

/// The one queue pair of its provider.
const NAME: Tag = Tag::new(0, 0, 0, 0);

/// Reads of our own, which there are none of. Linux says 1 as well: some targets take 0 amiss.
const ORD: u16 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Connecting,
    Established,
    Over,
}

/// The fields are dropped in this order: a queue pair goes before its completion queue, and both before their provider.
pub(super) struct Link<P: Provider> {
    pub queue: P::Queue,
    completions: P::Completions,
    provider: P,
    state: State,
    /// What ended the connection, until it is reported.
    fault: Option<Broken>,
    /// The target may invalidate windows.
    pub invalidates: bool,
    pub windows: usize,
    pub send_depth: u16,
    epoch: Instant,
}

impl<P: Provider> Link<P> {
    /// A connection that nobody hears of yet.
    pub fn prepare(mut provider: P, name: &'static str, peer: SocketAddr, setup: Setup) -> Result<Self, Error> {
        let refused = |what| move |source| Error::Rdma { provider: name, what, peer, source };
        let counts = Counts::of(setup);
        let attributes = provider.attributes();
        let limit = |most: usize| Error::Option { option: "queue_depth", why: too_deep(name, most) };
        let receives = u16::try_from(counts.receives()).ok().filter(|n| *n <= attributes.max_receive);
        let receive_depth = receives.ok_or_else(|| limit(usize::from(attributes.max_receive)))?;
        let send_depth = u16::try_from(counts.requests()).unwrap_or(u16::MAX).min(attributes.max_send);
        if usize::from(send_depth) < 2 * ISER_RESERVE {
            return Err(limit(usize::from(send_depth)));
        }
        let windows = u16::try_from(setup.commands).unwrap_or(u16::MAX).min(attributes.max_windows);
        let depth = u32::from(send_depth) + u32::from(receive_depth);
        let completions = provider.completion_queue(depth).map_err(refused("make a completion queue"))?;
        let queue_setup =
            QueueSetup { name: NAME, completions: &completions, receives: None, send_depth, receive_depth, windows };
        let queue = provider.prepare(Peer::At(peer), queue_setup).map_err(refused("make a queue pair"))?;
        Ok(Self {
            queue,
            completions,
            provider,
            state: State::Connecting,
            fault: None,
            invalidates: false,
            windows: usize::from(windows),
            send_depth,
            epoch: Instant::now(),
        })
    }

    pub fn add_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        self.provider.add_memory(memory)
    }

    pub fn remove_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        self.provider.remove_memory(memory)
    }

    /// Asks for the connection. First receives must have been posted.
    pub fn start(&mut self) -> Result<(), Refused> {
        let attributes = self.provider.attributes();
        let most = attributes.max_depth;
        let depth = ReadDepth { ird: most.ird, ord: most.ord.min(ORD) };
        self.queue.start(&Parameters { depth, private: private::flags(attributes.send_invalidate) })
    }

    /// Lets the provider work, and takes note of what happened to the connection.
    pub fn progress(&mut self) {
        self.provider.progress(self.epoch.elapsed().as_nanos() as u64);
        while let Some(event) = self.provider.poll() {
            self.note(&event);
        }
    }

    /// Takes completions; `true` when there may be more.
    pub fn poll(&mut self, batch: &mut CompletionBatch) -> bool {
        self.completions.poll(batch) >= ISER_BATCH
    }

    pub fn is_established(&self) -> bool {
        self.state == State::Established
    }

    /// Why the connection cannot go on, if it cannot.
    pub fn broken(&mut self) -> Option<Broken> {
        self.fault.take().or_else(|| (self.state == State::Over).then_some(Broken::Closed))
    }

    /// A request failed. Of what follows from one failure, the first word counts.
    pub fn failed(&mut self, status: Status) {
        if let Some(fault) = of_status(status) {
            self.fault.get_or_insert(fault);
        }
    }

    /// A request was not taken though there was room for it.
    pub fn refused(&mut self, why: Why) {
        // Of a closed queue pair an event tells more.
        if why != Why::Closed {
            self.fault.get_or_insert(Broken::Io(io::Error::other(why.to_string())));
        }
    }

    /// Ends the connection and begins to drain it.
    pub fn terminate(&mut self) {
        self.queue.to_error();
        self.state = State::Over;
    }

    fn note(&mut self, event: &Event) {
        let fault = match event {
            Event::Established { private, .. } => {
                if self.state == State::Connecting {
                    self.state = State::Established;
                    self.invalidates =
                        self.provider.attributes().send_invalidate && private::invites_invalidation(private.as_slice());
                }
                return;
            }
            Event::Rejected { why, .. } => rejected(*why),
            Event::Disconnected { how, .. } => of_end(*how),
            Event::Removed => of_end(Ended::Removed),
            // Nobody listens here.
            Event::Request(_) => return,
        };
        self.state = State::Over;
        self.fault.get_or_insert(fault);
    }

    pub fn counters(&self) -> rdma::Counters {
        self.provider.counters()
    }
}

fn too_deep(name: &str, most: usize) -> String {
    format!("is more than {name} can do, whose queues hold {most} requests")
}

fn rejected(why: RejectReason) -> Broken {
    let (kind, text) = match why {
        RejectReason::Consumer => (io::ErrorKind::ConnectionRefused, "the target rejects the RDMA connection"),
        RejectReason::NoListener => (io::ErrorKind::ConnectionRefused, "nobody accepts RDMA connections there"),
        RejectReason::Unreachable => (io::ErrorKind::HostUnreachable, "the address cannot be reached by RDMA"),
        RejectReason::Incompatible => (io::ErrorKind::Unsupported, "the two ends speak RDMA differently"),
    };
    Broken::Io(io::Error::new(kind, text))
}

fn of_end(how: Ended) -> Broken {
    match how {
        Ended::Local | Ended::Peer => Broken::Closed,
        Ended::Failed(status) => of_status(status).unwrap_or(Broken::Closed),
        Ended::Terminated => Violation::Terminated.into(),
        Ended::Lost => Broken::Io(io::Error::new(io::ErrorKind::ConnectionReset, "the RDMA connection was lost")),
        Ended::Removed => Broken::Io(io::Error::new(io::ErrorKind::NotConnected, "the RDMA device was removed")),
    }
}

fn of_status(status: Status) -> Option<Broken> {
    match status {
        Status::Success | Status::Flushed => None,
        // What the peer did to our memory or our receives.
        Status::LocalLength | Status::LocalAccess => Some(Violation::Rdma(status).into()),
        other => Some(Broken::Io(io::Error::other(format!("an RDMA request failed: {other}")))),
    }
}
