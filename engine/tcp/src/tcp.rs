//! [`Tcp`]: the datamover over a byte stream (RFC 5047 §8, §9; RFC 7143 §11).
//!
//! PDUs are framed by [`stream`](crate::stream); Data-Out, R2T and Data-In belong to this layer.
use crate::data_in::Split;
use crate::limits::{CONTROL_SEGMENT, DIRECT_MIN, LOGIN_RECEIVE_SEGMENT, LOGIN_SEND_SEGMENT, Limits};
use crate::outbound::Outbound;
use crate::stream::{Digests, Fault, ReceiveCounts, Received, Receiver, SendCounts, Socket, Step, Stream};
use crate::transfers::{Ended as EndedGet, Transfers, Verdict};
use iscsi::datamover::{Arrival, Control, DataStatus, Datamover, Ended, GetData, Later, PutData, Upcall, Violation};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, DataOut, Opcode, R2t, ScsiCommand};
use primitives::{Buf, Home, Key, Serial, Tag};
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
/// [`Datamover::terminate`] with `graceful` needs further turns (receive, poll, flush) until
/// [`Upcall::Terminated`]; it waits for the peer without bound, so the caller times it and terminates at once.
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
    /// Parsing waits for the layer above, see [`Verdict::Hold`].
    held: bool,
    /// Something may be parsed without receiving.
    more: bool,
    data_digest: bool,
    /// FirstBurstLength; `None` until [`Datamover::enable`].
    first_burst: Option<u32>,
    late: u64,
}

impl Tcp<Socket> {
    /// Takes a connected socket (`OwnedFd` converts into one) and makes it non-blocking, without Nagle's delay.
    ///
    /// # Errors
    /// What the kernel says to that.
    pub fn new(socket: TcpStream, limits: Limits) -> io::Result<Self> {
        Ok(Self::over(Socket::new(socket)?, limits))
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

    /// Takes events out of staging until there is one to report.
    fn parse(&mut self) -> Option<Upcall<()>> {
        loop {
            let upcall = match self.receiver.step() {
                Step::Header => self.on_header(),
                Step::Payload { intact } => self.on_payload(intact),
                Step::Broken(Fault::HeaderDigest) => Some(self.violated(Violation::HeaderDigest)),
                Step::Broken(Fault::Length(n)) => Some(self.violated(Violation::Length(n))),
                Step::Starved => {
                    self.more = false;
                    return None;
                }
            };
            if upcall.is_some() || self.held {
                return upcall;
            }
        }
    }

    fn on_header(&mut self) -> Option<Upcall<()>> {
        let bhs = *self.receiver.bhs();
        match bhs.opcode() {
            Opcode::DATA_OUT => return self.on_data_out(&bhs),
            Opcode::SCSI_COMMAND => {
                // Immediate data counts towards the first burst (RFC 7143 §13.14).
                if self.first_burst.is_some_and(|most| bhs.data_segment_length() > most) {
                    return Some(self.violated(Violation::Length(bhs.data_segment_length())));
                }
                self.transfers.announced(&ScsiCommand::decode(&bhs));
                if bhs.data_segment_length() >= DIRECT_MIN {
                    return Some(self.coming(bhs));
                }
            }
            _ => {}
        }
        if !self.receiver.fits() {
            return Some(self.coming(bhs));
        }
        self.receiver.stage();
        None
    }

    /// A control PDU whose data is still in the stream.
    fn coming(&mut self, bhs: Bhs) -> Upcall<()> {
        self.unclaimed = true;
        Upcall::Control(Control { bhs, len: bhs.data_segment_length(), arrival: Arrival::Coming, remote: () })
    }

    fn on_data_out(&mut self, bhs: &Bhs) -> Option<Upcall<()>> {
        let len = bhs.data_segment_length();
        if self.first_burst.is_none() {
            return Some(self.violated(Violation::UnexpectedData));
        }
        match self.transfers.judge(&DataOut::decode(bhs), len) {
            Verdict::Place(key) => match self.transfers.place_of(key) {
                Some(to) => {
                    self.placing = Some(Placing::Get(key, len));
                    // SAFETY: the sink belongs to the get, which has room for `len` more bytes (`judge`); whatever
                    // ends it first abandons the placement (`release_gets`, `finish`). With digests on sinks are
                    // not lent (`get_data`), so nobody else touches them.
                    unsafe { self.receiver.place(to) };
                }
                None => self.receiver.discard(),
            },
            Verdict::Break(key) => {
                self.receiver.discard();
                return self.transfers.end(key, DataStatus::SequenceError).map(data_done);
            }
            Verdict::Late => {
                self.late += 1;
                self.receiver.discard();
            }
            Verdict::Hold => self.held = true,
            Verdict::Never(violation) => return Some(self.violated(violation)),
        }
        None
    }

    /// The data of the current PDU is complete.
    fn on_payload(&mut self, intact: bool) -> Option<Upcall<()>> {
        match self.placing.take() {
            Some(Placing::Get(key, len)) => self.transfers.placed(key, len, intact).map(data_done),
            Some(Placing::Immediate { tag, mut sink, filled }) => {
                let status = if intact { DataStatus::Ok } else { DataStatus::DigestError };
                if intact {
                    sink.set_len(filled.max(sink.len()));
                }
                Some(Upcall::DataDone { tag, buf: sink, status })
            }
            None => {
                let bhs = *self.receiver.bhs();
                let arrival = if intact { Arrival::Here } else { Arrival::BadDigest };
                Some(Upcall::Control(Control { bhs, len: bhs.data_segment_length(), arrival, remote: () }))
            }
        }
    }

    fn violated(&mut self, violation: Violation) -> Upcall<()> {
        self.phase = Phase::Violated;
        Upcall::Violation(violation)
    }

    /// Takes the gets (and accepted immediate data) of a task back.
    fn release_gets(&mut self, is_of_task: impl Fn(Tag) -> bool) {
        let mut from = 0;
        while let Some(key) = self.transfers.find(from, &is_of_task) {
            from = key.index + 1;
            if matches!(self.placing, Some(Placing::Get(placing, _)) if placing == key) {
                self.placing = None;
                self.receiver.abandon();
            }
            if let Some(EndedGet { tag, buf, status }) = self.transfers.end(key, DataStatus::Released) {
                push_done(&mut self.done, tag, buf, status);
            }
        }
        self.placing = match self.placing.take() {
            Some(Placing::Immediate { tag, sink, .. }) if is_of_task(tag) => {
                self.receiver.abandon();
                push_done(&mut self.done, tag, sink, DataStatus::Released);
                None
            }
            other => other,
        };
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

    /// A PDU of the layer above may settle what was undecided about unsolicited data.
    fn note_answer(&mut self, bhs: &Bhs, data: &[u8]) {
        match bhs.opcode() {
            Opcode::SCSI_RESPONSE => self.transfers.answered(bhs.itt()),
            Opcode::TMF_RESPONSE => self.transfers.management_answered(),
            Opcode::REJECT => match Bhs::from_slice(data) {
                Some(rejected) if rejected.opcode() == Opcode::SCSI_COMMAND => {
                    self.transfers.answered(rejected.itt());
                }
                _ => return,
            },
            _ => return,
        }
        self.release_hold();
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

fn data_done(ended: EndedGet) -> Upcall<()> {
    Upcall::DataDone { tag: ended.tag, buf: ended.buf, status: ended.status }
}

impl<S: Stream> Datamover for Tcp<S> {
    type Remote = ();

    const PHASE_COLLAPSE: bool = true;

    fn control_segment_limit(&self) -> usize {
        self.out.split.segment.min(CONTROL_SEGMENT) as usize
    }

    fn receive(&mut self) -> bool {
        if self.closed || matches!(self.phase, Phase::Violated | Phase::Over(_) | Phase::Gone) {
            return false;
        }
        match self.receiver.receive(&mut self.stream, self.transfers.expects_large()) {
            Received::Some => {
                self.more = true;
                true
            }
            Received::Nothing => false,
            Received::Closed => {
                self.on_close();
                true
            }
            Received::Failed(errno) => {
                self.on_failure(errno);
                true
            }
        }
    }

    fn poll(&mut self) -> Option<Upcall<()>> {
        if std::mem::take(&mut self.unclaimed) {
            self.receiver.discard();
        }
        loop {
            if let Some(Done { tag, buf, status }) = self.done.pop_front() {
                return Some(Upcall::DataDone { tag, buf, status });
            }
            match self.phase {
                Phase::Over(ended) => {
                    self.phase = Phase::Gone;
                    return Some(Upcall::Terminated(ended));
                }
                Phase::Gone | Phase::Violated => return None,
                Phase::Closing | Phase::Lingering => {
                    self.receiver.skip_all();
                    self.more = false;
                    return None;
                }
                Phase::Open => {}
            }
            if !self.held
                && let Some(upcall) = self.parse()
            {
                return Some(upcall);
            }
            if !self.closed {
                return None;
            }
            // All that was sent before the close has been seen to.
            self.finish(Ended::Peer);
        }
    }

    fn segment(&self) -> &[u8] {
        self.receiver.segment()
    }

    fn ahs(&self) -> &[u8] {
        self.receiver.ahs()
    }

    fn has_more(&self) -> bool {
        let parses = self.phase == Phase::Open && (self.closed || self.more && !self.held);
        parses || !self.done.is_empty() || matches!(self.phase, Phase::Over(_))
    }

    fn accept_immediate(&mut self, tag: Tag, sink: Buf, start: u32) {
        if self.phase != Phase::Open {
            self.unclaimed = false;
            return push_done(&mut self.done, tag, sink, DataStatus::Released);
        }
        let filled = start as usize + self.receiver.bhs().data_segment_length() as usize;
        assert!(std::mem::take(&mut self.unclaimed), "no immediate data is to be claimed");
        assert!(filled <= sink.capacity(), "immediate data does not fit its sink");
        let to = sink.as_ptr().wrapping_add(start as usize);
        self.placing = Some(Placing::Immediate { tag, sink, filled });
        // SAFETY: the sink has room (above) and stays in `placing` until the payload is complete or was abandoned.
        unsafe { self.receiver.place(to) };
        self.more = true;
    }

    fn enable(&mut self, parameters: &Parameters) {
        let digests = Digests { header: parameters.header_digest, data: parameters.data_digest };
        self.data_digest = digests.data;
        self.receiver.set_framing(digests, parameters.target_max_recv);
        self.out.sender.set_digests(digests);
        self.out.split = Split { segment: parameters.initiator_max_recv, burst: parameters.max_burst };
        self.first_burst = Some(parameters.first_burst);
        self.transfers.first_burst = (!parameters.initial_r2t).then_some(parameters.first_burst);
    }

    fn send_control(&mut self, bhs: &Bhs, data: &[u8]) -> Result<(), Later> {
        if self.is_ending() {
            return Ok(());
        }
        self.out.control(bhs, data)?;
        self.note_answer(bhs, data);
        Ok(())
    }

    fn put_data(&mut self, put: PutData<()>) -> Result<u32, PutData<()>> {
        let end = put.start as usize + put.len as usize;
        assert!(end <= put.data.len(), "a put beyond the meaningful bytes");
        assert!(!self.data_digest || put.data.home() != Home::Lent, "lent memory may change under its digest");
        if self.refuses_operations() {
            return Err(put);
        }
        if self.is_ending() {
            push_done(&mut self.done, put.tag, put.data, DataStatus::Released);
            return Ok(put.data_sn);
        }
        let answers = put.status.is_some().then_some(put.task.itt);
        let next = self.out.put(put)?;
        if let Some(itt) = answers {
            self.transfers.answered(itt);
            self.release_hold();
        }
        Ok(next)
    }

    fn get_data(&mut self, get: GetData<()>) -> Result<(), GetData<()>> {
        assert!(!self.data_digest || get.sink.home() != Home::Lent, "lent memory may change under its digest");
        if self.refuses_operations() {
            return Err(get);
        }
        if self.is_ending() {
            push_done(&mut self.done, get.tag, get.sink, DataStatus::Released);
            return Ok(());
        }
        if get.unsolicited {
            if let Some(EndedGet { tag, buf, status }) = self.transfers.expect(get)? {
                push_done(&mut self.done, tag, buf, status);
            }
            self.release_hold();
            return Ok(());
        }
        if !self.out.has_room_for_data() || self.transfers.is_full() {
            return Err(get);
        }
        let mut r2t = R2t {
            lun: get.task.lun,
            itt: get.task.itt,
            stat_sn: get.numbers.stat_sn,
            exp_cmd_sn: get.numbers.exp_cmd_sn,
            max_cmd_sn: get.numbers.max_cmd_sn,
            r2t_sn: Serial(get.r2t_sn),
            buffer_offset: get.offset,
            desired_length: get.len,
            ..R2t::default()
        };
        r2t.ttt = self.transfers.solicit(get)?;
        self.out.control(&r2t.encode(), &[]).expect("room for a PDU without data was checked");
        Ok(())
    }

    fn release_task(&mut self, tag: Tag) {
        let is_of_task = |other: Tag| (other.owner(), other.index()) == (tag.owner(), tag.index());
        let done = &mut self.done;
        self.out.release(is_of_task, |tag, buf, status| push_done(done, tag, buf, status));
        self.release_gets(is_of_task);
        self.release_hold();
    }

    fn flush(&mut self) {
        let done = &mut self.done;
        if let Err(errno) = self.out.flush(&mut self.stream, |tag, buf, status| push_done(done, tag, buf, status)) {
            self.on_failure(errno);
        }
        self.linger();
    }

    fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    fn terminate(&mut self, graceful: bool) {
        match self.phase {
            Phase::Over(_) | Phase::Gone => {}
            Phase::Open | Phase::Violated if graceful => {
                self.release_gets(|_| true);
                self.receiver.skip_all();
                self.unclaimed = false;
                self.phase = Phase::Closing;
                self.linger();
            }
            Phase::Closing | Phase::Lingering if graceful => {}
            _ => self.finish(Ended::Local),
        }
    }
}
