//! A session that blocks: for tools and tests.

use std::time::Instant;

use primitives::{Buf, span};

use crate::arena::Arena;
use crate::cdb::{self, Cdb};
use crate::error::Error;
use crate::limits::MAX_REDIRECTS;
use crate::options::Options;
use crate::session::{Command, Completion, Event, Outcome, Session, TaskId, status};
use crate::transport::Data;
use crate::url::{Portal, Url, lun_field};
use crate::wait::Patience;

/// Bytes of one READ or WRITE; longer ones are split.
const CHUNK: usize = 256 << 10;

/// Unit attentions (a reset, a new LUN) a command is repeated after.
const UNIT_ATTENTIONS: u32 = 8;

const UNIT_ATTENTION: u8 = 6;

/// The data of one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Transfer<'a> {
    /// None.
    #[default]
    None,
    /// Up to so many bytes from the target.
    Read(usize),
    /// These to the target.
    Write(&'a [u8]),
}

/// How a command ended, with what came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Status and residual.
    pub outcome: Outcome,
    /// Sense data.
    pub sense: Vec<u8>,
    /// What the target sent.
    pub data: Vec<u8>,
}

/// Standard INQUIRY data (SPC-4 §6.6.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inquiry {
    /// PERIPHERAL DEVICE TYPE; 0 is a disk.
    pub device_type: u8,
    /// PERIPHERAL QUALIFIER; 0 is "there", 3 is "no such logical unit".
    pub qualifier: u8,
    /// T10 VENDOR IDENTIFICATION, trimmed.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION, trimmed.
    pub product: String,
    /// PRODUCT REVISION LEVEL, trimmed.
    pub revision: String,
    /// All of it.
    pub raw: Vec<u8>,
}

/// The size of a logical unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Logical blocks.
    pub blocks: u64,
    /// Bytes of one.
    pub block_bytes: u32,
}

/// A logged-in session to one logical unit, one command at a time.
#[derive(Debug)]
pub struct Client {
    session: Session,
    /// The buffer of the last command, [registered](Session::register) with the session and used again if it is large
    /// enough.
    arena: Option<Arena>,
    lun: [u8; 8],
    capacity: Option<Capacity>,
}

impl Client {
    /// Connects and logs in, following redirections. CHAP credentials in the URL go before those in `options`.
    ///
    /// # Errors
    /// Whatever keeps the session from coming about.
    pub fn connect(url: &Url, options: &Options) -> Result<Self, Error> {
        let mut options = options.clone();
        options.chap = url.chap.clone().or(options.chap);
        options.carrier = url.carrier;
        let session = log_in(&url.portal, Some(&url.target), &options)?;
        Ok(Self { session, arena: None, lun: url.lun_field(), capacity: None })
    }

    /// The session beneath, for what has no blocking call.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The session, to be polled from now on.
    #[must_use]
    pub fn into_session(mut self) -> Session {
        self.forget_arena();
        self.session
    }

    /// TEST UNIT READY, until no unit attention is left.
    ///
    /// # Errors
    /// Of the session, or [`Error::Scsi`].
    pub fn await_ready(&mut self) -> Result<(), Error> {
        self.good("TEST UNIT READY", cdb::test_unit_ready(), Transfer::None).map(|_| ())
    }

    /// The logical unit that commands go to from now on.
    pub fn set_lun(&mut self, lun: u16) {
        self.lun = lun_field(lun);
        self.capacity = None;
    }

    /// Standard INQUIRY data.
    ///
    /// # Errors
    /// Of the session, or [`Error::Scsi`].
    pub fn inquiry(&mut self) -> Result<Inquiry, Error> {
        let raw = self.good("INQUIRY", cdb::inquiry(None, 255), Transfer::Read(255))?;
        let (Some(&first), Some(fixed)) = (raw.first(), raw.get(8..36)) else {
            return Err(Error::Short { command: "INQUIRY", got: raw.len(), wanted: 36 });
        };
        let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&fixed[range]).trim().to_owned();
        let (vendor, product, revision) = (text(0..8), text(8..24), text(24..28));
        Ok(Inquiry { device_type: first & 0x1f, qualifier: first >> 5, vendor, product, revision, raw })
    }

    /// A vital product data page.
    ///
    /// # Errors
    /// Of the session, or [`Error::Scsi`].
    pub fn vital_product_data(&mut self, page: u8) -> Result<Vec<u8>, Error> {
        self.good("INQUIRY", cdb::inquiry(Some(page), 4096), Transfer::Read(4096))
    }

    /// The logical units the target reports, as LUN fields.
    ///
    /// # Errors
    /// Of the session, or [`Error::Scsi`].
    pub fn report_luns(&mut self) -> Result<Vec<[u8; 8]>, Error> {
        let data = self.good("REPORT LUNS", cdb::report_luns(65_536), Transfer::Read(65_536))?;
        let list = data.get(8..).unwrap_or_default();
        let len = span::be32(&data, 0).map_or(0, |n| n as usize).min(list.len());
        Ok(list[..len].as_chunks().0.to_vec())
    }

    /// The size of the logical unit.
    ///
    /// # Errors
    /// Of the session, [`Error::Scsi`] or [`Error::Short`].
    pub fn read_capacity(&mut self) -> Result<Capacity, Error> {
        let data = self.good("READ CAPACITY(16)", cdb::read_capacity_16(32), Transfer::Read(32))?;
        let (Some(last), Some(block_bytes)) = (span::be64(&data, 0), span::be32(&data, 8)) else {
            return Err(Error::Short { command: "READ CAPACITY(16)", got: data.len(), wanted: 12 });
        };
        let capacity = Capacity { blocks: last.saturating_add(1), block_bytes };
        self.capacity = Some(capacity);
        Ok(capacity)
    }

    /// Reads `blocks` logical blocks from `lba` on.
    ///
    /// # Errors
    /// Of the session, [`Error::Scsi`] or [`Error::Short`].
    pub fn read(&mut self, lba: u64, blocks: u32) -> Result<Vec<u8>, Error> {
        let (size, step) = self.chunk()?;
        let mut data = Vec::new();
        let mut done = 0;
        while done < blocks {
            let n = (blocks - done).min(step);
            let wanted = n as usize * size;
            let part = self.good("READ", cdb::read(lba + u64::from(done), n), Transfer::Read(wanted))?;
            if part.len() != wanted {
                return Err(Error::Short { command: "READ", got: part.len(), wanted });
            }
            data.extend_from_slice(&part);
            done += n;
        }
        Ok(data)
    }

    /// Writes whole logical blocks from `lba` on.
    ///
    /// # Errors
    /// Of the session, [`Error::Scsi`], or [`Error::Option`] when `data` is no multiple of the block size.
    pub fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), Error> {
        let (size, step) = self.chunk()?;
        if !data.len().is_multiple_of(size) {
            return Err(Error::Option {
                option: "data",
                why: format!("is not a multiple of {size} bytes, the block size"),
            });
        }
        let mut at = lba;
        for part in data.chunks(step as usize * size) {
            let blocks = (part.len() / size) as u32;
            self.good("WRITE", cdb::write(at, blocks), Transfer::Write(part))?;
            at += u64::from(blocks);
        }
        Ok(())
    }

    /// SYNCHRONIZE CACHE.
    ///
    /// # Errors
    /// Of the session, or [`Error::Scsi`].
    pub fn flush(&mut self) -> Result<(), Error> {
        self.good("SYNCHRONIZE CACHE", cdb::synchronize_cache(), Transfer::None).map(|_| ())
    }

    /// Issues any CDB of up to 16 bytes and waits for its end, whatever it is.
    ///
    /// # Errors
    /// Of the session; [`Error::Rejected`] when the target rejects the command.
    pub fn command(&mut self, cdb: &[u8], transfer: Transfer<'_>) -> Result<Reply, Error> {
        let id = self.submit(cdb, transfer)?;
        self.finish(id)
    }

    /// Asks for a task management function (`iscsi::wire::function`) on this client's logical unit and returns the
    /// response code. ABORT TASK takes the task it refers to.
    ///
    /// # Errors
    /// Of the session.
    pub fn manage(&mut self, function: u8, referenced: Option<TaskId>) -> Result<u8, Error> {
        let lun = self.lun;
        self.ask(|s, now| s.manage(function, lun, referenced, 0, now))?;
        self.wait(|_, event| match event {
            Event::Managed { response, .. } => Some(response),
            _ => None,
        })
    }

    /// Pings the target and returns the echo.
    ///
    /// # Errors
    /// Of the session.
    pub fn ping(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        self.ask(|s, now| s.ping(data, 0, now))?;
        self.wait(|session, event| match event {
            Event::Pong { .. } => Some(session.segment().to_vec()),
            _ => None,
        })
    }

    /// Sends `text` (pairs, each with its NUL) and returns the whole answer.
    ///
    /// # Errors
    /// Of the session.
    pub fn text(&mut self, text: &[u8]) -> Result<Vec<u8>, Error> {
        ask_text(&mut self.session, text)
    }

    /// Logs out and returns the response code (0: closed).
    ///
    /// # Errors
    /// Of the session.
    pub fn log_out(mut self) -> Result<u8, Error> {
        log_out(&mut self.session)
    }

    /// Issues a CDB and repeats it after unit attentions; returns the data of status GOOD.
    fn good(&mut self, name: &'static str, cdb: Cdb, transfer: Transfer<'_>) -> Result<Vec<u8>, Error> {
        let mut attempts = 0;
        loop {
            let reply = self.command(&cdb, transfer)?;
            attempts += 1;
            match reply.outcome {
                Outcome::Status { status: status::GOOD, .. } => return Ok(reply.data),
                Outcome::Status { sense: Some(sense), .. }
                    if sense.key == UNIT_ATTENTION && attempts <= UNIT_ATTENTIONS => {}
                _ => return Err(Error::Scsi { command: name, reply: reply.outcome, sense: reply.sense }),
            }
        }
    }

    /// The block size, and how many blocks go into one command.
    fn chunk(&mut self) -> Result<(usize, u32), Error> {
        let capacity = match self.capacity {
            Some(capacity) => capacity,
            None => self.read_capacity()?,
        };
        let size = capacity.block_bytes as usize;
        if size == 0 {
            return Err(Error::Short { command: "READ CAPACITY(16): the block size", got: 0, wanted: 512 });
        }
        Ok((size, (CHUNK / size).max(1) as u32))
    }

    /// A buffer of at least `len` bytes.
    fn buffer(&mut self, len: usize) -> Result<Option<Buf>, Error> {
        let fits = |arena: &Arena| arena.outstanding() == 0 && arena.buffer_bytes() >= len;
        if !self.arena.as_ref().is_some_and(fits) {
            self.forget_arena();
            let arena = Arena::new(1, len);
            self.session.register(&arena)?;
            self.arena = Some(arena);
        }
        Ok(self.arena.as_mut().and_then(Arena::take))
    }

    fn forget_arena(&mut self) {
        // With a buffer that is still in use somewhere, the session keeps it in mind and its memory stays.
        if let Some(arena) = self.arena.take() {
            let _ = self.session.unregister(&arena);
        }
    }

    fn submit(&mut self, cdb: &[u8], transfer: Transfer<'_>) -> Result<TaskId, Error> {
        let mut field = [0; 16];
        match field.get_mut(..cdb.len()) {
            Some(head) if !cdb.is_empty() => head.copy_from_slice(cdb),
            _ => return Err(Error::Option { option: "cdb", why: "must have 1 to 16 bytes".to_owned() }),
        }
        let len = match transfer {
            Transfer::None => 0,
            Transfer::Read(len) => len,
            Transfer::Write(data) => data.len(),
        };
        let too_long = || Error::Option { option: "data", why: format!("{len} bytes exceed one command's limit") };
        if len > crate::limits::MAX_TRANSFER {
            return Err(too_long());
        }
        let mut command = Command { lun: self.lun, cdb: field, data: Data::None, user: 0 };
        let buf = if len > 0 { self.buffer(len)? } else { None };
        if let Some(mut buf) = buf {
            command.data = match transfer {
                Transfer::Write(data) => {
                    buf.copy_in(0, data);
                    Data::Write { buf }
                }
                _ => Data::Read { buf, len: len as u32 },
            };
        }
        let started = Instant::now();
        let mut patience = Patience::default();
        loop {
            match self.session.submit(command, Instant::now()) {
                Ok(id) => return Ok(id),
                Err(refused) => command = refused.command,
            }
            // The window of an idle session is closed only for a moment, if the target is well.
            match next(&mut self.session, &mut patience) {
                Some(Event::Failed(error)) => return Err(error),
                Some(_) | None if self.session.has_ended() => return Err(Error::Ended),
                _ if started.elapsed() > std::time::Duration::from_secs(30) => {
                    return Err(Error::Timeout { what: "waiting for the command window", after: started.elapsed() });
                }
                _ => {}
            }
        }
    }

    fn finish(&mut self, id: TaskId) -> Result<Reply, Error> {
        let Self { session, arena, .. } = self;
        wait(session, |session, event| match event {
            Event::Completed(Completion { id: done, buf, outcome, .. }) if done == id => {
                let data = buf.as_ref().map(|b| b.filled().to_vec()).unwrap_or_default();
                if let (Some(buf), Some(arena)) = (buf, arena.as_mut()) {
                    arena.give(buf);
                }
                let sense =
                    if matches!(outcome, Outcome::Status { sense: Some(_), .. }) { session.sense() } else { &[] };
                Some(Ok(Reply { outcome, sense: sense.to_vec(), data }))
            }
            Event::Rejected { reason, header: Some(header) } if header.itt() == id.itt() => {
                Some(Err(Error::Rejected { opcode: header.opcode(), reason }))
            }
            _ => None,
        })?
    }

    fn ask(
        &mut self,
        request: impl FnOnce(&mut Session, Instant) -> Result<(), crate::session::Why>,
    ) -> Result<(), Error> {
        request(&mut self.session, Instant::now())
            .map_err(|why| Error::Option { option: "request", why: format!("{why:?}") })
    }

    fn wait<R>(&mut self, wanted: impl FnMut(&Session, Event) -> Option<R>) -> Result<R, Error> {
        wait(&mut self.session, wanted)
    }
}

/// Connects and logs in, following redirections.
pub(crate) fn log_in(portal: &Portal, target: Option<&str>, options: &Options) -> Result<Session, Error> {
    let mut portal = portal.clone();
    let mut hops = 0;
    loop {
        let mut session = Session::connect(portal.resolve()?, target, options, Instant::now())?;
        let outcome = wait(&mut session, |_, event| matches!(event, Event::LoggedIn(_)).then_some(()));
        match outcome {
            Ok(()) => return Ok(session),
            Err(Error::Redirected { target, address, .. }) if hops == MAX_REDIRECTS => {
                return Err(Error::Redirected { target, address, hops });
            }
            Err(Error::Redirected { address, .. }) => {
                // What carries it stays as it was.
                portal = Portal::parse(&address).map_err(|why| Error::Url { url: address, why })?;
                hops += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Sends a text request and waits for the whole answer.
pub(crate) fn ask_text(session: &mut Session, text: &[u8]) -> Result<Vec<u8>, Error> {
    let sent = session.send_text(text, 0, Instant::now());
    sent.map_err(|why| Error::Option { option: "text", why: format!("{why:?}") })?;
    wait(session, |session, event| match event {
        Event::Text { .. } => Some(Ok(session.text().to_vec())),
        Event::Rejected { reason, header: Some(header) } => {
            Some(Err(Error::Rejected { opcode: header.opcode(), reason }))
        }
        _ => None,
    })?
}

/// Logs out and waits for the answer.
pub(crate) fn log_out(session: &mut Session) -> Result<u8, Error> {
    session.log_out(Instant::now()).map_err(|_| Error::Ended)?;
    wait(session, |_, event| match event {
        Event::LoggedOut { response } => Some(response),
        _ => None,
    })
}

/// One turn.
fn next(session: &mut Session, patience: &mut Patience) -> Option<Event> {
    if let Some(event) = session.next_event() {
        return Some(event);
    }
    let progress = session.poll(Instant::now());
    patience.after(progress);
    session.next_event()
}

/// Polls until `wanted` finds what it looks for; the session's own timeouts bound it.
fn wait<R>(session: &mut Session, mut wanted: impl FnMut(&Session, Event) -> Option<R>) -> Result<R, Error> {
    let mut patience = Patience::default();
    loop {
        match next(session, &mut patience) {
            Some(Event::Failed(error)) => return Err(error),
            Some(event) => {
                if let Some(found) = wanted(session, event) {
                    return Ok(found);
                }
            }
            None if session.has_ended() => return Err(Error::Ended),
            None => {}
        }
    }
}
