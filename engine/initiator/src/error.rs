//! What can go wrong with a session: what happened, to what, and what to do about it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use iscsi::wire::{LoginStatus, Opcode};

/// A failure of a session or of a blocking call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL cannot be used.
    #[error("bad URL `{url}`: {why}; write {{iscsi,iser}}://[user[%password]@]host[:port]/target-iqn/lun")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something that only exists over TCP was asked for over iSER.
    #[error("`{url}`: this is possible over TCP only; use iscsi://")]
    NoIser {
        /// As given.
        url: String,
    },
    /// An option cannot be used.
    #[error("bad option {option}: {why}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The host's name has no address.
    #[error("cannot resolve `{host}`: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// No connection.
    #[error("cannot connect to {address}: {source}; is the target listening there?")]
    Connect {
        /// The portal.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The RDMA provider refuses something.
    #[error("{provider} cannot {what} for {peer}: {source}")]
    Rdma {
        /// Which provider.
        provider: &'static str,
        /// What was asked for.
        what: &'static str,
        /// The portal.
        peer: SocketAddr,
        /// Why.
        source: rdma::Refused,
    },
    /// The connection broke.
    #[error("connection to {peer} failed: {source}")]
    Io {
        /// The portal.
        peer: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The target closed the connection.
    #[error("{peer} closed the connection {during}")]
    Closed {
        /// The portal.
        peer: SocketAddr,
        /// What was going on.
        during: &'static str,
    },
    /// The target said no (RFC 7143 §11.13.5).
    #[error("login refused by {target}: {} ({:04x}); {}", login_status(*status).0, status.0, login_status(*status).1)]
    LoginRefused {
        /// Target name, or the portal of a discovery session.
        target: String,
        /// Status-Class and Status-Detail.
        status: LoginStatus,
    },
    /// The target asks for another portal (RFC 7143 §11.13.5), too often.
    #[error("{target} redirects to {address}, after {hops} redirections already; giving up")]
    Redirected {
        /// Target name.
        target: String,
        /// TargetAddress it named.
        address: String,
        /// Redirections followed.
        hops: u32,
    },
    /// Both sides could not agree.
    #[error("login to {target} failed: {why}")]
    Login {
        /// Target name, or the portal of a discovery session.
        target: String,
        /// What could not be agreed on.
        why: String,
    },
    /// The target broke the protocol.
    #[error("{peer} violated the protocol: {violation}; connection dropped (RFC 7143 §7.7)")]
    Protocol {
        /// The portal.
        peer: SocketAddr,
        /// What it did.
        violation: Violation,
    },
    /// Nothing came in time.
    #[error("{what} timed out after {after:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// A command ended with another status than GOOD.
    #[error("{command} failed: {reply}")]
    Scsi {
        /// Which.
        command: &'static str,
        /// Status and sense.
        reply: crate::session::Outcome,
        /// The sense data.
        sense: Vec<u8>,
    },
    /// A command ended GOOD with fewer bytes than it must carry.
    #[error("{command} returned {got} bytes where {wanted} are due")]
    Short {
        /// Which.
        command: &'static str,
        /// Bytes that came.
        got: usize,
        /// Bytes due.
        wanted: usize,
    },
    /// A Reject PDU (RFC 7143 §11.17).
    #[error("the target rejected a PDU of opcode {:#04x} with reason {reason:#04x}", opcode.0)]
    Rejected {
        /// The refused PDU's.
        opcode: Opcode,
        /// RFC 7143 §11.17.1.
        reason: u8,
    },
    /// The session is not in full-feature phase any more.
    #[error("the session has ended")]
    Ended,
}

/// How a target broke the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// RFC 7143 §7.8.
    #[error("header digest mismatch")]
    HeaderDigest,
    /// RFC 7143 §7.8; without recovery level 1 the data is lost.
    #[error("data digest mismatch")]
    DataDigest,
    /// A data segment above what we declared or can use.
    #[error("a data segment of {0} bytes exceeds the limit")]
    SegmentLength(u32),
    /// An opcode a target does not send, or not now.
    #[error("unexpected opcode {0:#04x}")]
    Opcode(u8),
    /// An Initiator Task Tag that names no task of the right kind.
    #[error("task tag {0:#010x} names no such task")]
    TaskTag(u32),
    /// Data-In for a task that reads nothing, or outside its buffer (offset, length).
    #[error("Data-In of {1} bytes at offset {0} is outside the command's buffer")]
    DataBounds(u32, u32),
    /// Data-In out of order (found, expected).
    #[error("Data-In at offset {0} where {1} was due")]
    DataOrder(u32, u32),
    /// DataSN or R2TSN out of order (found, expected).
    #[error("DataSN/R2TSN {0} where {1} was due")]
    DataSn(u32, u32),
    /// An R2T for nothing, for no bytes, or outside the command's buffer (offset, length).
    #[error("R2T for {1} bytes at offset {0} is outside what the command may send")]
    R2tBounds(u32, u32),
    /// More R2Ts than negotiated.
    #[error("more R2Ts outstanding than MaxOutstandingR2T")]
    TooManyR2t,
    /// StatSN out of order (found, expected).
    #[error("StatSN {0} where {1} was due")]
    StatSn(u32, u32),
    /// A message too short for the headers it must have.
    #[error("a message of {0} bytes is too short for an iSER header and a PDU")]
    ShortMessage(u32),
    /// A message and the data segment it announces differ in length (message, segment).
    #[error("a message of {0} bytes has a data segment of {1} bytes")]
    MessageLength(u32, u32),
    /// A remote invalidation of an STag that is not the task's, or that was not agreed on (RFC 7145 §7.3.2).
    #[error("the target invalidated STag {0:#010x}, which it may not")]
    Invalidated(u32),
    /// An RDMA operation of the target failed here.
    #[error("the target's RDMA operation failed: {0}")]
    Rdma(rdma::Status),
    /// It ended the connection with a Terminate message or a NAK, or made our side do so.
    #[error("the RDMA connection was terminated over a broken rule")]
    Terminated,
    /// A field that cannot be as it is.
    #[error("{0}")]
    Field(&'static str),
    /// It sends requests to be answered but does not read the answers.
    #[error("the target floods the connection and does not read")]
    Flood,
}

/// What a login status means, and what to do.
fn login_status(status: LoginStatus) -> (&'static str, &'static str) {
    match status {
        LoginStatus::AUTHENTICATION_FAILURE => {
            ("authentication failed", "check the CHAP user and secret (user%secret@host in the URL)")
        }
        LoginStatus::AUTHORIZATION_FAILURE => ("not authorised", "allow this initiator name on the target"),
        LoginStatus::NOT_FOUND => ("no such target", "check the target name, or discover what the portal offers"),
        LoginStatus::TARGET_REMOVED => ("the target was removed", "discover what the portal offers now"),
        LoginStatus::UNSUPPORTED_VERSION => ("unsupported iSCSI version", "the target speaks another protocol version"),
        LoginStatus::TOO_MANY_CONNECTIONS => ("too many connections", "use fewer connections per session"),
        LoginStatus::MISSING_PARAMETER => ("a parameter is missing", "the target wants a key that was not sent"),
        LoginStatus::CANNOT_INCLUDE_IN_SESSION => ("no such session here", "log in anew"),
        LoginStatus::SESSION_TYPE_NOT_SUPPORTED => ("session type not supported", "use a normal session"),
        LoginStatus::SESSION_DOES_NOT_EXIST => ("session does not exist", "log in anew"),
        LoginStatus::INVALID_DURING_LOGIN => ("invalid request during login", "this is a bug of one side"),
        LoginStatus::SERVICE_UNAVAILABLE => ("service unavailable", "try again later"),
        LoginStatus::OUT_OF_RESOURCES => ("target out of resources", "close other sessions or raise its limits"),
        other if other.class() == 2 => ("initiator error", "the target did not like a request; see its log"),
        other if other.class() == 3 => ("target error", "see the target's log"),
        _ => ("unknown status", "see the target's log"),
    }
}
