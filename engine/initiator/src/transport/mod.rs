//! What carries a session's PDUs and moves its commands' data: the initiator's half of RFC 5047.
//!
//! [`tcp::Tcp`] does it over a stream, [`iser::Iser`] over RDMA; [`Any`] is whichever a URL asks for.
//!
//! The session says what is sent and keeps the numbers; the transport owns the data buffers of outstanding commands
//! and moves their bytes: Data-In, R2T and Data-Out over TCP, RDMA by the target over iSER. Nothing calls back: a turn
//! is [`Transport::flush`], [`Transport::receive`], then [`Transport::next_pdu`] until there is nothing more.
mod any;
pub mod iser;
pub mod tcp;

use std::fmt;
use std::io;

use iscsi::wire::{Bhs, ScsiCommand};
use primitives::{Buf, Serial};
use rdma::{Counters, Memory, Refused};

use crate::error::Violation;
pub use any::{Any, RdmaDevices};
pub use iscsi::negotiate::Transport as Protocol;

/// The data of one command.
#[derive(Debug, Default)]
#[must_use = "it may carry a buffer"]
pub enum Data {
    /// No data phase.
    #[default]
    None,
    /// Up to `len` bytes from the target into `buf`, whose meaningful length then says how many came.
    Read {
        /// Where they go; at least `len` bytes of capacity.
        buf: Buf,
        /// The Expected Data Transfer Length.
        len: u32,
    },
    /// The meaningful bytes of `buf` to the target.
    Write {
        /// What is sent.
        buf: Buf,
    },
}

impl Data {
    /// The Expected Data Transfer Length.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Read { len, .. } => *len as usize,
            Self::Write { buf } => buf.len(),
        }
    }

    /// No bytes are to move.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer.
    #[must_use]
    pub fn into_buf(self) -> Option<Buf> {
        match self {
            Self::None => None,
            Self::Read { buf, .. } | Self::Write { buf } => Some(buf),
        }
    }
}

/// What the login agreed on, as far as the transport needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// HeaderDigest=CRC32C.
    pub header_digest: bool,
    /// DataDigest=CRC32C.
    pub data_digest: bool,
    /// InitialR2T=Yes.
    pub initial_r2t: bool,
    /// ImmediateData=Yes.
    pub immediate_data: bool,
    /// The target's MaxRecvDataSegmentLength.
    pub max_send_segment: u32,
    /// Ours.
    pub max_recv_segment: u32,
    /// MaxBurstLength.
    pub max_burst: u32,
    /// FirstBurstLength.
    pub first_burst: u32,
    /// MaxOutstandingR2T.
    pub max_outstanding_r2t: u16,
}

impl Agreed {
    /// The defaults of RFC 7143 §13, which hold until a login has ended.
    pub const DURING_LOGIN: Self = Self {
        header_digest: false,
        data_digest: false,
        initial_r2t: true,
        immediate_data: false,
        max_send_segment: 8192,
        max_recv_segment: 8192,
        max_burst: 262_144,
        first_burst: 65_536,
        max_outstanding_r2t: 1,
    };
}

/// Why the connection cannot go on.
#[derive(Debug)]
pub enum Broken {
    /// The operating system reports an error.
    Io(io::Error),
    /// The peer closed it.
    Closed,
    /// The peer broke the protocol.
    Violation(Violation),
}

impl From<Violation> for Broken {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// How far a task's memory is out of use.
#[derive(Debug)]
#[must_use = "it may carry a buffer"]
pub enum Finished {
    /// Now; here it is, if the command had data.
    Free(Option<Buf>),
    /// Not yet: ask again after the next flush and receive, or [`Transport::drain`] once it is terminated.
    InUse,
}

/// The wall between a session and its transport.
pub trait Transport: fmt::Debug {
    /// By which rules the login negotiates.
    fn protocol(&self) -> Protocol;

    /// What carries it, in a word or two: `tcp`, `iser/siw`.
    fn name(&self) -> &'static str;

    /// Makes memory known that commands' buffers lie in. Over RDMA a command is taken only with a buffer in such memory
    /// ([`Self::reaches`]); over TCP it is all the same.
    ///
    /// # Errors
    /// [`Refused`].
    fn add_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        let _ = memory;
        Ok(())
    }

    /// Forgets memory, given exactly as it was added.
    ///
    /// # Errors
    /// [`Refused::InUse`] while a command uses it.
    fn remove_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        let _ = memory;
        Ok(())
    }

    /// The data lies in memory that was added, if that matters.
    fn reaches(&self, data: &Data) -> bool {
        let _ = data;
        true
    }

    /// What the RDMA provider has counted; `None` where there is none.
    fn rdma_counters(&self) -> Option<Counters> {
        None
    }

    /// Brings the connection's establishment on; `true` when it stands.
    ///
    /// # Errors
    /// [`Broken`].
    fn connected(&mut self) -> Result<bool, Broken>;

    /// Takes in what has come, with at most one system call. Returns `true` when there was anything.
    ///
    /// # Errors
    /// [`Broken`], after everything that came before has been returned by [`Self::next_pdu`].
    fn receive(&mut self) -> Result<bool, Broken>;

    /// The header of the next PDU, its data already placed (Data-In) or its request already noted (R2T).
    ///
    /// # Errors
    /// [`Broken`].
    fn next_pdu(&mut self) -> Result<Option<Bhs>, Broken>;

    /// The data segment of the PDU last returned, unless it was a Data-In.
    fn segment(&self) -> &[u8];

    /// Queues a PDU other than a command; its lengths are set here and `data` is copied. `false` when there is no
    /// room.
    #[must_use]
    fn send_control(&mut self, bhs: &Bhs, data: &[u8]) -> bool;

    /// There is room for a command now.
    fn has_room(&self) -> bool;

    /// Queues a command and takes its data. Sets the F bit and EDTL. Call only with room, and with an ITT whose low
    /// 16 bits name a slot that has no task.
    fn send_command(&mut self, command: &ScsiCommand, data: Data);

    /// Ends a task: no further byte of its buffer will be moved.
    fn finish_task(&mut self, itt: u32) -> Finished;

    /// What was negotiated holds from the next PDU on, both ways.
    fn enable(&mut self, agreed: &Agreed);

    /// Sends what is queued, with at most one system call; `exp_stat_sn` goes into the Data-Out made meanwhile.
    ///
    /// # Errors
    /// [`Broken`].
    fn flush(&mut self, exp_stat_sn: Serial) -> Result<(), Broken>;

    /// Gives the connection up: nothing is sent or received any more. Tasks' memory is out of use as
    /// [`Self::finish_task`] says, at once or after some turns of [`Self::drain`].
    fn terminate(&mut self);

    /// After [`Self::terminate`]: brings on the moment when all memory is out of use.
    fn drain(&mut self) {}
}
