//! PDUs and bytes of any kind, for tests of how a target bears them.
//!
//! ```no_run
//! use std::time::Duration;
//! use initiator::{Options, raw::Connection};
//! use iscsi::wire::{Opcode, ScsiResponse};
//!
//! # fn main() -> Result<(), initiator::Error> {
//! let url = "iscsi://127.0.0.1/iqn.2025-01.example:disk/0".parse()?;
//! let mut raw = Connection::log_in(&url, &Options::default())?;
//! let mut read = raw.read_command(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1], 512);
//! read.edtl = u32::MAX; // a lie
//! raw.send(&read.encode(), &[])?;
//! let answer = raw.expect(Opcode::SCSI_RESPONSE, Duration::from_secs(2))?;
//! assert_ne!(ScsiResponse::decode(&answer.bhs).status, 0);
//! # Ok(())
//! # }
//! ```

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use iscsi::wire::{BHS_LEN, Bhs, Opcode, RESERVED_TAG, ScsiCommand, attribute};
use iscsi_tcp::digest::{DIGEST_LEN, crc32c};
use primitives::{Serial, span};

use crate::error::{Error, Violation};
use crate::login::{Login, Step};
use crate::options::{Carrier, Options};
use crate::transport::{Agreed, Protocol};
use crate::url::Url;

/// Which digests a PDU has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Digests {
    /// After the header and its additional segments.
    pub header: bool,
    /// After a data segment that is not empty.
    pub data: bool,
}

/// A PDU as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pdu {
    /// Its header.
    pub bhs: Bhs,
    /// Additional header segments.
    pub ahs: Vec<u8>,
    /// The data segment, without padding.
    pub data: Vec<u8>,
}

/// What came of waiting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// A PDU.
    Pdu(Pdu),
    /// Nothing, or only a part of a PDU, in time.
    Silence,
    /// The target closed or reset the connection.
    Closed,
}

/// The bytes of a PDU, header as it is: neither lengths nor reserved fields are touched. Padding and correct digests
/// are added; corrupt the result at will.
#[must_use]
pub fn encode(bhs: &Bhs, ahs: &[u8], data: &[u8], digests: Digests) -> Vec<u8> {
    let mut bytes = bhs.as_bytes().to_vec();
    bytes.extend_from_slice(ahs);
    if digests.header {
        let digest = crc32c(&bytes);
        bytes.extend_from_slice(&digest);
    }
    let start = bytes.len();
    bytes.extend_from_slice(data);
    bytes.resize(start + span::padded(data.len()).unwrap_or(data.len()), 0);
    if digests.data && !data.is_empty() {
        let digest = crc32c(&bytes[start..]);
        bytes.extend_from_slice(&digest);
    }
    bytes
}

/// A TCP connection to a target, with the numbers a well-behaved initiator would use kept at hand.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    buffered: Vec<u8>,
    agreed: Agreed,
    lun: [u8; 8],
    next_itt: u32,
    /// CmdSN of the next command; [`Self::command`] advances it. Set it to anything.
    pub cmd_sn: Serial,
    /// The StatSN expected next; receiving advances it. Set it to anything.
    pub exp_stat_sn: Serial,
}

impl Connection {
    /// Connects, and no more.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn open(peer: SocketAddr) -> Result<Self, Error> {
        let fail = |source| Error::Connect { address: peer, source };
        let stream = TcpStream::connect_timeout(&peer, Duration::from_secs(5)).map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        Ok(Self {
            stream,
            peer,
            buffered: Vec::new(),
            agreed: Agreed::DURING_LOGIN,
            lun: [0; 8],
            next_itt: 1,
            cmd_sn: Serial(1),
            exp_stat_sn: Serial(0),
        })
    }

    /// Connects and logs in properly: what follows is in full-feature phase.
    ///
    /// # Errors
    /// Whatever keeps the login from succeeding.
    pub fn log_in(url: &Url, options: &Options) -> Result<Self, Error> {
        if url.carrier != Carrier::Tcp {
            return Err(Error::NoIser { url: url.to_string() });
        }
        let mut options = options.clone();
        options.chap = url.chap.clone().or(options.chap);
        let mut connection = Self::open(url.portal.resolve()?)?;
        connection.lun = url.lun_field();
        connection.complete_login(Some(&url.target), &options)?;
        Ok(connection)
    }

    /// Logs in properly on this connection; `None` is a discovery session.
    ///
    /// # Errors
    /// Whatever keeps the login from succeeding.
    pub fn complete_login(&mut self, target: Option<&str>, options: &Options) -> Result<(), Error> {
        options.check()?;
        let mut login = Login::new(self.peer, Protocol::Tcp, target, options)?;
        loop {
            let (bhs, text) = login.request();
            self.send(&bhs, &text)?;
            let answer = match self.receive(options.login_timeout)? {
                Received::Pdu(pdu) => pdu,
                Received::Closed => return Err(Error::Closed { peer: self.peer, during: "during login" }),
                Received::Silence => return Err(Error::Timeout { what: "the login", after: options.login_timeout }),
            };
            if let Step::Done(done) = login.response(&answer.bhs, &answer.data)? {
                (self.agreed, self.cmd_sn, self.exp_stat_sn) = (done.agreed, done.cmd_sn, done.exp_stat_sn);
                return Ok(());
            }
        }
    }

    /// What the login agreed on.
    #[must_use]
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// The digests in force.
    #[must_use]
    pub fn digests(&self) -> Digests {
        Digests { header: self.agreed.header_digest, data: self.agreed.data_digest }
    }

    /// An Initiator Task Tag that this connection has not used.
    pub fn new_itt(&mut self) -> u32 {
        let itt = self.next_itt;
        self.next_itt = if itt + 1 == RESERVED_TAG { 1 } else { itt + 1 };
        itt
    }

    /// A proper command without data: fresh ITT, next CmdSN, F bit. Change what should be wrong, then
    /// `send(&command.encode(), …)`.
    pub fn command(&mut self, cdb: &[u8]) -> ScsiCommand {
        let mut field = [0; 16];
        let len = cdb.len().min(field.len());
        field[..len].copy_from_slice(&cdb[..len]);
        ScsiCommand {
            final_bit: true,
            attribute: attribute::SIMPLE,
            lun: self.lun,
            itt: self.new_itt(),
            cmd_sn: self.cmd_sn.take(),
            exp_stat_sn: self.exp_stat_sn,
            cdb: field,
            ..ScsiCommand::default()
        }
    }

    /// [`Self::command`] that reads `edtl` bytes.
    pub fn read_command(&mut self, cdb: &[u8], edtl: u32) -> ScsiCommand {
        ScsiCommand { read: true, edtl, ..self.command(cdb) }
    }

    /// [`Self::command`] that writes `edtl` bytes.
    pub fn write_command(&mut self, cdb: &[u8], edtl: u32) -> ScsiCommand {
        ScsiCommand { write: true, edtl, ..self.command(cdb) }
    }

    /// Sends a PDU properly: DataSegmentLength set, padding and the digests in force added.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn send(&mut self, bhs: &Bhs, data: &[u8]) -> Result<(), Error> {
        let bhs = bhs.with_data_segment_length(data.len() as u32);
        self.send_bytes(&encode(&bhs, &[], data, self.digests()))
    }

    /// Sends a PDU with its header untouched, so that its lengths may lie; padding and digests as in [`encode`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn send_as_is(&mut self, bhs: &Bhs, ahs: &[u8], data: &[u8]) -> Result<(), Error> {
        self.send_bytes(&encode(bhs, ahs, data, self.digests()))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).map_err(|source| Error::Io { peer: self.peer, source })
    }

    /// Ends the sending direction: the target sees the end of the stream.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish_sending(&mut self) -> Result<(), Error> {
        self.stream.shutdown(Shutdown::Write).map_err(|source| Error::Io { peer: self.peer, source })
    }

    /// Resets the connection instead of closing it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn reset(self) -> Result<(), Error> {
        let linger = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        linger.map_err(|source| Error::Io { peer: self.peer, source })
    }

    /// The stream itself.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Waits up to `timeout` for a PDU and checks its digests.
    ///
    /// # Errors
    /// [`Error::Protocol`] for a wrong digest; a reset or the end of the stream is [`Received::Closed`].
    pub fn receive(&mut self, timeout: Duration) -> Result<Received, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(pdu) = self.take_pdu().map_err(|violation| Error::Protocol { peer: self.peer, violation })? {
                self.note_numbers(&pdu.bhs);
                return Ok(Received::Pdu(pdu));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Received::Silence);
            }
            match self.read_some(left) {
                Ok(0) => return Ok(Received::Closed),
                Ok(_) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(Received::Closed),
                Err(source) => return Err(Error::Io { peer: self.peer, source }),
            }
        }
    }

    /// Waits for a PDU of this opcode. Pings and asynchronous messages of the target are passed over.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Timeout`], or [`Error::Protocol`] for another opcode.
    pub fn expect(&mut self, opcode: Opcode, timeout: Duration) -> Result<Pdu, Error> {
        loop {
            match self.receive(timeout)? {
                Received::Pdu(pdu) if pdu.bhs.opcode() == opcode => return Ok(pdu),
                Received::Pdu(pdu) if is_chatter(&pdu.bhs) => {}
                Received::Pdu(pdu) => {
                    return Err(Error::Protocol { peer: self.peer, violation: Violation::Opcode(pdu.bhs.opcode().0) });
                }
                Received::Closed => return Err(Error::Closed { peer: self.peer, during: "while an answer was due" }),
                Received::Silence => return Err(Error::Timeout { what: "an answer", after: timeout }),
            }
        }
    }

    /// Waits for the target to close the connection; what it sends before is passed over. `false`: it did not in time.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn expect_closed(&mut self, timeout: Duration) -> Result<bool, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.receive(deadline.saturating_duration_since(Instant::now()))? {
                Received::Pdu(_) => {}
                Received::Closed => return Ok(true),
                Received::Silence => return Ok(false),
            }
        }
    }

    fn read_some(&mut self, timeout: Duration) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(timeout))?;
        let mut chunk = [0; 16 << 10];
        let n = self.stream.read(&mut chunk)?;
        self.buffered.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    /// Cuts the next whole PDU off what has been read.
    fn take_pdu(&mut self) -> Result<Option<Pdu>, Violation> {
        let Some(bhs) = Bhs::from_slice(&self.buffered) else { return Ok(None) };
        let digests = self.digests();
        let len = bhs.data_segment_length() as usize;
        let header = BHS_LEN + bhs.ahs_bytes();
        let data_at = header + if digests.header { DIGEST_LEN } else { 0 };
        let data_end = data_at + span::padded(len).unwrap_or(len);
        let total = data_end + if digests.data && len > 0 { DIGEST_LEN } else { 0 };
        let Some(bytes) = self.buffered.get(..total) else { return Ok(None) };
        if digests.header && bytes[header..data_at] != crc32c(&bytes[..header]) {
            return Err(Violation::HeaderDigest);
        }
        if digests.data && len > 0 && bytes[data_end..] != crc32c(&bytes[data_at..data_end]) {
            return Err(Violation::DataDigest);
        }
        let pdu = Pdu { bhs, ahs: bytes[BHS_LEN..header].to_vec(), data: bytes[data_at..data_at + len].to_vec() };
        self.buffered.drain(..total);
        Ok(Some(pdu))
    }

    /// Advances ExpStatSN over PDUs that take a StatSN.
    fn note_numbers(&mut self, bhs: &Bhs) {
        let takes = match bhs.opcode() {
            Opcode::NOP_IN => bhs.itt() != RESERVED_TAG,
            Opcode::DATA_IN => bhs.0[1] & 0x01 != 0,
            Opcode::R2T => false,
            opcode => opcode.is_target(),
        };
        if takes {
            self.exp_stat_sn = bhs.stat_sn().plus(1);
        }
    }
}

/// A PDU that a target may send at any time.
fn is_chatter(bhs: &Bhs) -> bool {
    bhs.opcode() == Opcode::ASYNC_MESSAGE || (bhs.opcode() == Opcode::NOP_IN && bhs.itt() == RESERVED_TAG)
}
