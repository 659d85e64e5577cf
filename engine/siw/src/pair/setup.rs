//! How a connection comes about: TCP, then one MPA frame each way (RFC 5044 §7.1, RFC 6581).

use super::{End, Pair, State, Stream, Target};
use crate::config::{Crc, Fpdu};
use crate::device::{Core, Requested};
use crate::limits::{MAX_SENT_FPDU, MIN_FPDU, READ_DEPTH};
use crate::stream::epoll::{Kind, Ready};
use crate::stream::{Interest, Outbox, Receiver, Socket};
use crate::wire::mpa::{REVISION, UNNEGOTIATED};
use crate::wire::{Depths, Fault, Frame, Header, Opcode, Place, Role, Terminate, ddp};
use rdma::attributes::PrivateRoom;
use rdma::{Event, Parameters, PrivateData, ReadDepth, Refused, RejectReason};

const INCOMPATIBLE: End = End::Rejected(RejectReason::Incompatible, PrivateData::EMPTY, None);

/// What may be agreed on at most.
pub(crate) fn max_depth(config: &crate::Config) -> ReadDepth {
    ReadDepth { ird: config.max_depth.ird.min(READ_DEPTH), ord: config.max_depth.ord.min(READ_DEPTH) }
}

impl Stream {
    fn new(socket: Socket, interest: Interest) -> Box<Self> {
        let (receiver, outbox) = (Receiver::new(), Outbox::new());
        Box::new(Self { socket, receiver, outbox, interest, fpdu: MIN_FPDU, broken: false })
    }

    fn set_crc(&mut self, on: bool) {
        self.receiver.set_crc(on);
        self.outbox.set_crc(on);
    }
}

impl Pair {
    /// [`rdma::QueuePair::start`].
    pub fn start(&mut self, core: &mut Core, parameters: &Parameters) -> Result<(), Refused> {
        if self.state != State::Idle {
            return Err(Refused::State);
        }
        let max = max_depth(&core.config);
        let own = ReadDepth { ird: parameters.depth.ird.min(max.ird), ord: parameters.depth.ord.min(max.ord) };
        let parameters = Parameters { depth: own, private: parameters.private };
        let room = match self.plan.target {
            Target::At(_) => PrivateRoom::IWARP.connect,
            Target::Of(_) => PrivateRoom::IWARP.accept,
        };
        if parameters.private.len() > usize::from(room) {
            return Err(Refused::PrivateData { room: usize::from(room) });
        }
        match self.plan.target {
            Target::At(to) => self.connect(core, to, parameters),
            Target::Of(request) => {
                let requested = core.take_request(request).ok_or(Refused::Gone)?;
                self.accept(core, requested, parameters);
                Ok(())
            }
        }
    }

    fn connect(&mut self, core: &mut Core, to: std::net::SocketAddr, parameters: Parameters) -> Result<(), Refused> {
        let connected = Socket::connect(to);
        let added = connected.and_then(|socket| {
            core.epoll.add(&socket, Kind::Pair, self.key, Interest::WRITE)?;
            Ok(socket)
        });
        match added {
            Ok(socket) => {
                self.stream = Some(Stream::new(socket, Interest::WRITE));
                self.parameters = Some(Box::new(parameters));
                self.state = State::Connecting;
                let nanos = core.config.connect_timeout;
                self.set_timer(core, nanos);
                Ok(())
            }
            // Known at once, and told as it would be later.
            Err(error) if is_about_the_peer(error.raw_os_error()) => {
                self.state = State::Connecting;
                self.end(core, End::Rejected(reason(error.raw_os_error()), PrivateData::EMPTY, None));
                Ok(())
            }
            Err(error) => Err(crate::stream::socket::refused(&error)),
        }
    }

    /// Its socket is ready.
    pub fn ready(&mut self, core: &mut Core, ready: Ready, read: bool) -> bool {
        if self.state == State::Connecting {
            self.connected(core);
            return false;
        }
        if ready.dead && self.is_paused() {
            // What is still to be read would wait for a receive, and for nobody to answer it.
            self.end(core, End::Lost);
            return false;
        }
        if ready.writable {
            self.transmit(core, true);
        }
        read && ready.readable && !self.is_paused() && self.receive(core)
    }

    /// The attempt to connect is decided.
    fn connected(&mut self, core: &mut Core) {
        let (Some(stream), Some(parameters)) = (&mut self.stream, &self.parameters) else { return };
        if let Some(errno) = stream.socket.take_error() {
            return self.end(core, End::Rejected(reason(Some(errno)), PrivateData::EMPTY, None));
        }
        let peer_to_peer = core.config.peer_to_peer;
        let depths = Depths { depth: parameters.depth, peer_to_peer, by_write: peer_to_peer, ..Depths::default() };
        stream.outbox.frame(&Frame {
            role: Role::Request,
            markers: false,
            crc: core.config.crc == Crc::Always,
            reject: false,
            revision: REVISION,
            enhanced: Some(depths),
            private: parameters.private,
        });
        self.state = State::Requesting;
        let nanos = core.config.reply_timeout;
        self.set_timer(core, nanos);
        self.set_interest(core, Interest::READ);
        self.transmit(core, true);
    }

    /// Reads the MPA reply, once all of it is there.
    pub(super) fn take_reply(&mut self, core: &mut Core) {
        let (Some(stream), Some(parameters)) = (&mut self.stream, &self.parameters) else { return };
        let own = parameters.depth;
        let (reply, len) = match Frame::decode(Role::Reply, stream.receiver.staged()) {
            Ok(Some(reply)) => reply,
            Ok(None) => return,
            Err(_) => return self.end(core, INCOMPATIBLE),
        };
        stream.receiver.skip(len);
        if reply.reject {
            return self.end(core, End::Rejected(RejectReason::Consumer, reply.private, None));
        }
        // An enhanced request gets an enhanced reply (RFC 6581 §10).
        let Some(depths) = reply.enhanced.filter(|_| !reply.markers) else { return self.end(core, INCOMPATIBLE) };
        if reply.crc && core.config.crc == Crc::Never {
            return self.end(core, INCOMPATIBLE);
        }
        stream.set_crc(reply.crc || core.config.crc == Crc::Always);
        let refuse = |fault| End::Rejected(RejectReason::Incompatible, PrivateData::EMPTY, Some(Terminate::new(fault)));
        let peer = depths.depth;
        let ird = if peer.ord == UNNEGOTIATED { own.ird } else { own.ird.max(peer.ord) };
        if ird > max_depth(&core.config).ird {
            return self.end(core, refuse(Fault::DEPTH));
        }
        if depths.peer_to_peer && !depths.by_write {
            return self.end(core, refuse(Fault::READY));
        }
        self.depth = ReadDepth { ird, ord: if peer.ird == UNNEGOTIATED { own.ord } else { own.ord.min(peer.ird) } };
        if depths.peer_to_peer {
            ready_to_receive(&mut stream.outbox);
        }
        self.outbound.open = true;
        self.establish(core, reply.private);
        self.transmit(core, false);
    }

    /// Answers a request.
    fn accept(&mut self, core: &mut Core, requested: Requested, parameters: Parameters) {
        let Requested { socket, frame } = requested;
        let mut stream = Stream::new(socket, Interest::READ);
        core.epoll.change(&stream.socket, Kind::Pair, self.key, Interest::READ);
        let crc = frame.crc || core.config.crc == Crc::Always;
        let (depth, enhanced) = agree(parameters.depth, frame.enhanced);
        self.depth = depth;
        self.inbound.ready_by_send = enhanced.is_some_and(|d| d.by_send);
        stream.outbox.frame(&Frame {
            role: Role::Reply,
            markers: false,
            crc,
            reject: false,
            revision: frame.revision,
            enhanced,
            private: parameters.private,
        });
        stream.set_crc(crc);
        self.stream = Some(stream);
        self.state = State::Replying;
        self.transmit(core, true);
    }

    /// The connection stands.
    pub(super) fn establish(&mut self, core: &mut Core, private: PrivateData) {
        self.state = State::Established;
        self.timer = None;
        self.parameters = None;
        self.outbound.reads.set_depth(self.depth.ird);
        self.inbound.reads.set_depth(self.depth.ord);
        if let Some(stream) = &mut self.stream {
            stream.socket.bound_send_buffer();
            let wanted = match core.config.fpdu {
                Fpdu::Segment => stream.socket.segment().unwrap_or(MIN_FPDU),
                Fpdu::UpTo(bytes) => bytes as usize,
            };
            // Whole words of eight, as the kernel's siw has them.
            stream.fpdu = wanted.clamp(MIN_FPDU, MAX_SENT_FPDU) & !7;
        }
        core.events.push_back(Event::Established { queue: self.plan.name, depth: self.depth, private });
    }
}

/// What holds for the accepting side, and what it answers (RFC 6581 §9).
fn agree(own: ReadDepth, asked: Option<Depths>) -> (ReadDepth, Option<Depths>) {
    // Without an enhanced request nothing is said of depths: the consumers know what they do.
    let Some(asked) = asked else { return (own, None) };
    let ord = if asked.depth.ird == UNNEGOTIATED { own.ord } else { own.ord.min(asked.depth.ird) };
    let depth = ReadDepth { ird: own.ird, ord };
    let answer = ReadDepth {
        ird: if asked.depth.ord == UNNEGOTIATED { UNNEGOTIATED } else { depth.ird },
        ord: if asked.depth.ird == UNNEGOTIATED { UNNEGOTIATED } else { depth.ord },
    };
    let mut reply = Depths { depth: answer, ..Depths::default() };
    if asked.peer_to_peer {
        reply.peer_to_peer = true;
        reply.by_send = asked.by_send;
        // A Read has to be served, which a depth of zero forbids.
        reply.by_read = asked.by_read && own.ird > 0;
        reply.by_write = asked.by_write || !(reply.by_send || reply.by_read);
    }
    (depth, Some(reply))
}

/// Says by an empty RDMA Write that this side is ready to receive.
fn ready_to_receive(outbox: &mut Outbox) {
    let place = Place::Tagged { stag: 0, to: 0 };
    outbox.open(&Header { last: true, opcode: Opcode::Write, place }, 0);
    outbox.close(ddp::TAGGED_LEN);
}

fn is_about_the_peer(errno: Option<i32>) -> bool {
    let about_this_side = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::ENOSPC];
    errno.is_some_and(|e| !about_this_side.contains(&e))
}

fn reason(errno: Option<i32>) -> RejectReason {
    if errno == Some(libc::ECONNREFUSED) { RejectReason::NoListener } else { RejectReason::Unreachable }
}
