//! [`Tcp`]: the datamover over a byte stream (RFC 5047 §8, §9; RFC 7143 §11).
//!
//! PDUs are framed by [`stream`](crate::stream); Data-Out, R2T and Data-In belong to this layer.
mod inbound;
mod seam;

use crate::data_in::Split;
use crate::limits::{CONTROL_SEGMENT, LOGIN_RECEIVE_SEGMENT, LOGIN_SEND_SEGMENT, Limits};
use crate::outbound::Outbound;
use crate::stream::{ReceiveCounts, Receiver, SendCounts, Socket, Stream};
use crate::transfers::Transfers;
use iscsi::datamover::{DataStatus, Ended};
use iscsi::negotiate::Parameters;
use primitives::{Buf, Key, Tag};
use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

/// Counters of one connection, since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// The receiving half.
    pub received: ReceiveCounts,
    /// The sending half.
    pub sent: SendCounts,
    /// Data-Out that came too late for a task that was released, discarded.
    pub late: u64,
}

/// Where a connection is between its first byte and its last upcall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// The peer broke the protocol: nothing is received any more; sending goes on until `terminate`.
    Violated,
    /// Terminated gracefully: what is queued is sent, what arrives is discarded.
    Closing,
    /// All is sent and the sending direction closed. The peer's close is awaited: closing first, with data unread,
    /// would make the kernel reset the connection and the peer lose the last PDUs.
    Lingering,
    /// Everything came back; the last upcall is due.
    Over(Ended),
    /// The last upcall was made.
    Gone,
}

/// What the payload being placed is for.
#[derive(Debug)]
enum Placing {
    Get(Key, u32),
    Immediate { tag: Tag, sink: Buf, filled: usize },
}

#[derive(Debug)]
struct Done {
    tag: Tag,
    buf: Buf,
    status: DataStatus,
}

/// A connection's datamover over a byte stream: a TCP socket, or in tests anything.
///
/// A graceful [`terminate`](iscsi::datamover::Datamover::terminate) needs further turns (receive, poll, flush) until
/// [`Terminated`](iscsi::datamover::Upcall::Terminated). It waits for the peer without bound: the caller sets a time
/// and then terminates at once.
///
/// Unsolicited data waits, with all that is behind it in the stream, until a get is made for it or its task is
/// answered or released.
#[derive(Debug)]
pub struct Tcp<S = Socket> {
    stream: S,
    receiver: Receiver,
    out: Outbound,
    transfers: Transfers,
    placing: Option<Placing>,
    /// The control PDU last polled has data in the stream that nobody has claimed.
    unclaimed: bool,
    done: VecDeque<Done>,
    /// From this many ended operations on no new ones are taken, so that `done` never grows.
    done_limit: usize,
    phase: Phase,
    /// The peer has closed its direction.
    closed: bool,
    /// Parsing waits for the layer above to say what becomes of unsolicited data.
    held: bool,
    /// Something may be parsed without receiving.
    more: bool,
    data_digest: bool,
    /// FirstBurstLength; `None` until `enable`.
    first_burst: Option<u32>,
    late: u64,
}

impl Tcp<Socket> {
    /// Takes a connected socket (`OwnedFd` converts into one) and makes it non-blocking, without Nagle's delay, and
    /// with a bounded send buffer if the peer is near.
    ///
    /// # Errors
    /// What the kernel says to that.
    pub fn new(socket: TcpStream, limits: Limits) -> io::Result<Self> {
        let socket = Socket::new(socket)?;
        socket.bound_send_buffer()?;
        Ok(Self::over(socket, limits))
    }

    /// The socket, for addresses.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.stream
    }
}

impl AsRawFd for Tcp<Socket> {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl<S: Stream> Tcp<S> {
    /// A connection over any stream.
    ///
    /// # Panics
    /// When `limits` leave no room for one control PDU: a bug of the caller.
    #[must_use]
    pub fn over(stream: S, limits: Limits) -> Self {
        assert!(limits.arena >= CONTROL_SEGMENT as usize, "the arena must hold a control segment");
        assert!(limits.jobs > limits.control_reserve, "no room for data beside the reserve");
        let operations = limits.puts + limits.gets;
        let split = Split { segment: LOGIN_SEND_SEGMENT, burst: Parameters::default().max_burst };
        Self {
            stream,
            receiver: Receiver::new(LOGIN_RECEIVE_SEGMENT),
            out: Outbound::new(limits, split),
            transfers: Transfers::new(&limits),
            placing: None,
            unclaimed: false,
            // As many as may be pending when another is taken, as many as may then be active, an immediate one.
            done: VecDeque::with_capacity(2 * operations + 1),
            done_limit: operations,
            phase: Phase::Open,
            closed: false,
            held: false,
            more: false,
            data_digest: false,
            first_burst: None,
            late: 0,
        }
    }

    /// The last flush left bytes behind: flush again when the socket is writable (EPOLLOUT).
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.out.is_blocked()
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { received: self.receiver.counts(), sent: self.out.sender.counts(), late: self.late }
    }

    /// Ends the connection: every operation comes back now.
    fn finish(&mut self, ended: Ended) {
        if matches!(self.phase, Phase::Over(_) | Phase::Gone) {
            return;
        }
        let done = &mut self.done;
        self.out.clear(|tag, buf, status| push_done(done, tag, buf, status));
        self.release_gets(|_| true);
        self.stream.shutdown(true);
        self.phase = Phase::Over(ended);
    }

    /// The peer has closed its direction.
    fn on_close(&mut self) {
        self.closed = true;
        if self.phase == Phase::Lingering {
            self.finish(Ended::Local);
        }
    }

    fn on_failure(&mut self, errno: i32) {
        let ended = if self.phase == Phase::Lingering { Ended::Local } else { Ended::Failed(errno) };
        self.finish(ended);
    }

    /// A graceful end goes on as soon as all is sent.
    fn linger(&mut self) {
        if self.phase != Phase::Closing || !self.out.is_empty() {
            return;
        }
        if self.closed {
            self.finish(Ended::Local);
        } else {
            self.stream.shutdown(false);
            self.phase = Phase::Lingering;
        }
    }

    fn release_hold(&mut self) {
        self.more |= self.held;
        self.held = false;
    }

    /// An operation that comes too late to be begun comes back at once.
    fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Lingering | Phase::Over(_))
    }

    fn refuses_operations(&self) -> bool {
        self.phase == Phase::Gone || self.done.len() >= self.done_limit
    }
}

fn push_done(done: &mut VecDeque<Done>, tag: Tag, buf: Buf, status: DataStatus) {
    debug_assert!(done.len() < done.capacity(), "more operations ended than were taken");
    done.push_back(Done { tag, buf, status });
}
