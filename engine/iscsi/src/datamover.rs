//! The seam between iSCSI and what carries it (RFC 5047).
//!
//! iSCSI decides what is said; a [`Datamover`] decides how bytes travel: PDUs over a byte stream, or Sends with RDMA
//! Write and RDMA Read. Down-calls are methods (RFC 5047 §8). Up-calls (§9) are returned events, taken one at a time
//! with [`Datamover::poll`]; nothing ever calls back. Back-pressure is a value: a refused operation comes back to its
//! caller, who tries again in a later turn.
//!
//! A turn of one connection: [`Datamover::receive`] (one call into the transport), [`Datamover::poll`] until it has
//! nothing more, the work that follows from it, and one [`Datamover::flush`] (one doorbell).

use core::fmt;

use primitives::{Buf, Serial, Tag};

use crate::negotiate::Parameters;
use crate::wire::Bhs;

/// The numbers every PDU of the target carries (RFC 7143 §4.2.2), as they are when it is queued.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// The next StatSN; a PDU that takes one has advanced it already.
    pub stat_sn: Serial,
    /// ExpCmdSN.
    pub exp_cmd_sn: Serial,
    /// MaxCmdSN.
    pub max_cmd_sn: Serial,
}

/// The task that data belongs to, as the wire names it.
#[derive(Clone, Copy, Debug)]
pub struct TaskName {
    /// Initiator Task Tag, in wire order as a number.
    pub itt: u32,
    /// Logical unit number field.
    pub lun: [u8; 8],
}

/// One buffer of an initiator, as it advertised it (RFC 7145 §9.2). From the wire: nothing about it is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Advertisement {
    /// Steering tag.
    pub stag: u32,
    /// Base offset; with Linux the virtual address.
    pub va: u64,
}

/// What an initiator advertised of a task's buffers: nothing over a byte stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Advertised {
    /// The buffer that write data is read from.
    pub write: Option<Advertisement>,
    /// The buffer that read data is written to.
    pub read: Option<Advertisement>,
}

/// SCSI status that rides the last Data-In PDU (RFC 7143 §11.7.3). Only with [`Datamover::phase_collapse`].
#[derive(Clone, Copy, Debug)]
pub struct FinalStatus {
    /// SCSI status byte; always one without sense data.
    pub status: u8,
    /// The StatSN this status takes.
    pub stat_sn: Serial,
    /// Flags O and U of the Data-In PDU, in place (0x04 overflow, 0x02 underflow).
    pub residual_flags: u8,
    /// Residual count in bytes.
    pub residual: u32,
}

/// Put_Data (RFC 5047 §8.2): bytes of `data` to the initiator's read buffer.
#[derive(Debug)]
#[must_use = "a PutData carries its buffer"]
pub struct PutData {
    /// Comes back in [`Upcall::DataDone`].
    pub tag: Tag,
    /// The task.
    pub task: TaskName,
    /// Where the initiator said its buffers are.
    pub remote: Advertised,
    /// The memory; bytes `start..start + len` of it are sent.
    pub data: Buf,
    /// First byte of `data`.
    pub start: u32,
    /// Bytes to send; zero only to carry a status.
    pub len: u32,
    /// Offset in the task's read buffer (RFC 7143 §11.7.6).
    pub offset: u32,
    /// DataSN of the first PDU, where the transport numbers them.
    pub data_sn: u32,
    /// The last bytes of the task's data.
    pub last: bool,
    /// Status in the same PDU; requires `last`.
    pub status: Option<FinalStatus>,
    /// ExpCmdSN and MaxCmdSN.
    pub numbers: Numbers,
}

/// Get_Data (RFC 5047 §8.3): bytes of the initiator's write buffer into `sink`.
#[derive(Debug)]
#[must_use = "a GetData carries its buffer"]
pub struct GetData {
    /// Comes back in [`Upcall::DataDone`].
    pub tag: Tag,
    /// The task.
    pub task: TaskName,
    /// Where the initiator said its buffers are, past its unsolicited bytes.
    pub remote: Advertised,
    /// Where the bytes go: from byte `start` of it.
    pub sink: Buf,
    /// First byte of `sink`.
    pub start: u32,
    /// Bytes to fetch; never zero.
    pub len: u32,
    /// Offset in the task's write buffer.
    pub offset: u32,
    /// Offset at which solicited data begins: what an RDMA address counts from (ib_iser's convention).
    pub solicited_from: u32,
    /// The initiator sends these bytes unasked (RFC 7143 §4.2.5.2): await them, send no R2T.
    pub unsolicited: bool,
    /// R2TSN, for a solicited fetch.
    pub r2t_sn: u32,
    /// StatSN (next, not consumed), ExpCmdSN and MaxCmdSN of the R2T.
    pub numbers: Numbers,
}

/// How a put or a get ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataStatus {
    /// All bytes moved; for a put the memory is no longer in use.
    Ok,
    /// The task was released or the connection ended first; the memory is no longer in use, its content undefined.
    Released,
    /// The data digest of the PDU with this header did not match (RFC 7143 §7.8). The bytes were discarded.
    DigestError(Bhs),
    /// The peer broke the order, the numbering or the bounds of the transfer (RFC 7143 §7.9, §11.7). What follows is
    /// discarded.
    SequenceError,
    /// The peer ended its unsolicited data early (F bit, RFC 7143 §11.7.2) after this many bytes of the get.
    Short(u32),
}

/// Where the data segment of an incoming PDU is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// Complete, [`Datamover::segment`] shows it until the next [`Datamover::poll`].
    Here,
    /// A large immediate segment is still in the stream. Before the next poll say where it goes with
    /// [`Datamover::accept_immediate`] (a [`Upcall::DataDone`] follows) or it is discarded.
    Coming,
    /// Complete, but the data digest was wrong and the bytes are gone.
    BadDigest,
}

/// A Control_Notify (RFC 5047 §9.1): any PDU but Data-Out.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    /// The header as received.
    pub bhs: Bhs,
    /// Length of the data segment in bytes, without padding.
    pub len: u32,
    /// Where the data segment is. `Here` when `len` is zero.
    pub arrival: Arrival,
    /// The buffers the initiator advertised with it.
    pub remote: Advertised,
}

/// Events a datamover reports.
#[derive(Debug)]
#[must_use = "an upcall may carry a buffer"]
pub enum Upcall {
    /// A PDU arrived (§9.1).
    Control(Control),
    /// A put, a get or accepted immediate data ended (§9.3).
    DataDone {
        /// The operation's tag.
        tag: Tag,
        /// Its memory, back in the caller's hands.
        buf: Buf,
        /// How it ended.
        status: DataStatus,
    },
    /// The peer broke the protocol of this layer; the connection cannot go on. Close it.
    Violation(Violation),
    /// The connection is gone (§9.2) and every operation has been returned. Last upcall of a connection.
    Terminated(Ended),
}

/// Faults only the datamover can see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// The header digest was wrong: the stream cannot be followed any more (RFC 7143 §7.8).
    HeaderDigest,
    /// A length field exceeds what was negotiated or what exists; the value.
    Length(u32),
    /// A Data-Out names no transfer and never could have.
    UnexpectedData,
    /// An iSER or RDMA header is malformed (RFC 7145 §10.1.3.3).
    Header,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderDigest => write!(f, "header digest mismatch"),
            Self::Length(n) => write!(f, "a length of {n} bytes exceeds the negotiated limit"),
            Self::UnexpectedData => write!(f, "data for a transfer nobody asked for"),
            Self::Header => write!(f, "malformed transport header"),
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By [`Datamover::terminate`].
    Local,
    /// The peer closed it.
    Peer,
    /// The transport failed with this errno.
    Failed(i32),
}

/// A down-call that cannot be taken now; try again after a [`Datamover::flush`] made room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Later;

/// The wall between iSCSI and its transports (RFC 5047 §8, §9).
pub trait Datamover {
    /// The status may ride the last Data-In (RFC 7143 §11.7.3); forbidden by RFC 7145 §7.3.2.
    fn phase_collapse(&self) -> bool;

    /// The largest data segment a control PDU to the initiator may carry in full-feature phase.
    fn control_segment_limit(&self) -> usize;

    /// Takes in what the transport has, with at most one call into it. Returns `true` when it brought anything.
    fn receive(&mut self) -> bool;

    /// The next event, or `None` when more has to be received first.
    fn poll(&mut self) -> Option<Upcall>;

    /// The data segment of the [`Control`] last polled, if it was [`Arrival::Here`].
    fn segment(&self) -> &[u8];

    /// The additional header segments of the [`Control`] last polled (RFC 7143 §11.2.2).
    fn ahs(&self) -> &[u8];

    /// [`Datamover::poll`] would return something without receiving first.
    fn has_more(&self) -> bool;

    /// Takes the immediate data of the [`Control`] last polled, which was [`Arrival::Coming`], into `sink` from byte
    /// `start` on.
    fn accept_immediate(&mut self, tag: Tag, sink: Buf, start: u32);

    /// Notice_Key_Values (§8.8) and Enable_Datamover (§8.6): what was negotiated holds from the next PDU on, both
    /// ways. Called after the final login response was queued and before anything else is.
    fn enable(&mut self, parameters: &Parameters);

    /// Send_Control (§8.1): queues a PDU. `data` is copied.
    ///
    /// # Errors
    /// [`Later`] when the transmit queue is full; nothing was queued.
    fn send_control(&mut self, bhs: &Bhs, data: &[u8]) -> Result<(), Later>;

    /// Send_Control of a SCSI Response, which ends the task: over RDMA it may close the buffers the initiator
    /// advertised for it (RFC 7145 §7.3.2). No put or get of the task may be made afterwards, and its gets have ended.
    ///
    /// # Errors
    /// [`Later`] as [`Datamover::send_control`].
    fn send_response(&mut self, bhs: &Bhs, data: &[u8], buffers: &Advertised) -> Result<(), Later> {
        let _ = buffers;
        self.send_control(bhs, data)
    }

    /// Put_Data (§8.2). Returns the DataSN that follows.
    ///
    /// # Errors
    /// The operation, when the transmit queue is full.
    fn put_data(&mut self, put: PutData) -> Result<u32, PutData>;

    /// Get_Data (§8.3).
    ///
    /// # Errors
    /// The operation, when the transmit queue or the table of transfers is full.
    fn get_data(&mut self, get: GetData) -> Result<(), GetData>;

    /// Deallocate_Task_Resources (§8.9): every put, get and immediate segment whose tag has this owner and index
    /// comes back by [`Upcall::DataDone`] as soon as the transport is done with its memory; data that still arrives
    /// for them is discarded.
    fn release_task(&mut self, tag: Tag);

    /// The task `itt` will never ask for the unsolicited data it announced (its command was dropped or aborted): what
    /// arrives of it is discarded instead of waited for.
    fn refuse_unsolicited(&mut self, itt: u32);

    /// Sends what was queued since the last flush: one doorbell.
    fn flush(&mut self);

    /// Nothing is queued for sending.
    fn is_flushed(&self) -> bool;

    /// Connection_Terminate (§8.7): after what is queued has been sent when `graceful`, at once otherwise. All
    /// operations come back, then [`Upcall::Terminated`].
    fn terminate(&mut self, graceful: bool);
}
