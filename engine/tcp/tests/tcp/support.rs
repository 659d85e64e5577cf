//! A scripted transport, a counting pool, a peer that frames by its own code, and a rig that turns a `Tcp` on them.
use iscsi::datamover::{
    Advertised, Arrival, DataStatus, Datamover, Ended, GetData, Numbers, PutData, TaskName, Upcall, Violation,
};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, DataOut, ScsiCommand};
use iscsi_tcp::stream::Stream;
use iscsi_tcp::{Limits, Tcp};
use primitives::{Buf, Home, Serial, Tag};
use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::ptr::NonNull;
use std::rc::Rc;

pub const LUN: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];
pub const POISON: u8 = 0xDB;

/// What the transport does. Sizes are used in turn, the last for ever.
#[derive(Debug, Default)]
pub struct Wire {
    pub inbound: VecDeque<u8>,
    pub outbound: Vec<u8>,
    pub read_sizes: VecDeque<usize>,
    pub write_sizes: VecDeque<usize>,
    /// No more than this is taken in all before it blocks.
    pub write_room: Option<usize>,
    pub closed: bool,
    pub read_error: Option<i32>,
    pub write_error: Option<i32>,
    pub shut: Option<bool>,
    pub reads: usize,
    pub writes: usize,
    /// iovec lengths of the last read.
    pub last_read: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
pub struct Pipe(pub Rc<RefCell<Wire>>);

fn next_size(sizes: &mut VecDeque<usize>) -> usize {
    if sizes.len() > 1 { sizes.pop_front().unwrap() } else { sizes.front().copied().unwrap_or(usize::MAX) }
}

impl Stream for Pipe {
    unsafe fn readv(&mut self, iov: &[libc::iovec]) -> Result<usize, i32> {
        let mut wire = self.0.borrow_mut();
        wire.reads += 1;
        wire.last_read = iov.iter().map(|v| v.iov_len).collect();
        assert!(wire.last_read.iter().all(|len| *len > 0), "a read into nothing looks like the end");
        if wire.inbound.is_empty() {
            return match wire.read_error {
                Some(errno) => Err(errno),
                None if wire.closed => Ok(0),
                None => Err(libc::EAGAIN),
            };
        }
        let most = next_size(&mut wire.read_sizes).max(1);
        let mut n = 0;
        for v in iov {
            let len = v.iov_len.min(most - n).min(wire.inbound.len());
            let bytes: Vec<u8> = wire.inbound.drain(..len).collect();
            // SAFETY: the caller vouches for the entry, and `len` is within it.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), v.iov_base.cast(), len) };
            n += len;
        }
        Ok(n)
    }

    unsafe fn writev(&mut self, iov: &[libc::iovec]) -> Result<usize, i32> {
        let mut wire = self.0.borrow_mut();
        wire.writes += 1;
        if let Some(errno) = wire.write_error {
            return Err(errno);
        }
        let most = next_size(&mut wire.write_sizes).min(wire.write_room.unwrap_or(usize::MAX));
        if most == 0 {
            return Err(libc::EAGAIN);
        }
        let mut n = 0;
        for v in iov {
            let len = v.iov_len.min(most - n);
            // SAFETY: the caller vouches for the entry, and `len` is within it.
            wire.outbound.extend_from_slice(unsafe { std::slice::from_raw_parts(v.iov_base.cast(), len) });
            n += len;
        }
        if let Some(room) = &mut wire.write_room {
            *room -= n;
        }
        Ok(n)
    }

    fn shutdown(&mut self, both: bool) {
        let mut wire = self.0.borrow_mut();
        wire.shut = Some(both || wire.shut == Some(true));
    }
}

/// Buffers that are counted, and poisoned when handed out.
#[derive(Debug, Default)]
pub struct Pool {
    out: HashSet<u32>,
    next: u32,
}

impl Pool {
    pub fn take(&mut self, capacity: usize) -> Buf {
        let memory: &'static mut [u8] = vec![POISON; capacity.max(1)].leak();
        let ptr = NonNull::new(memory.as_mut_ptr()).unwrap();
        self.next += 1;
        self.out.insert(self.next);
        // SAFETY: leaked memory, covered by this handle alone.
        unsafe { Buf::from_raw(ptr, capacity as u32, Home::Pool { pool: 1, index: self.next }) }
    }

    pub fn filled(&mut self, bytes: &[u8]) -> Buf {
        let mut buf = self.take(bytes.len());
        buf.copy_in(0, bytes);
        buf
    }

    /// Takes a buffer back; each comes once.
    pub fn give(&mut self, buf: Buf) {
        let Home::Pool { index, .. } = buf.home() else { panic!("not a buffer of this pool") };
        assert!(self.out.remove(&index), "a buffer came back twice");
    }

    pub fn outstanding(&self) -> usize {
        self.out.len()
    }
}

/// What the rig saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Control { bhs: Bhs, ahs: Vec<u8>, data: Vec<u8>, arrival: Arrival },
    Done { tag: Tag, bytes: Vec<u8>, status: DataStatus },
    Violation(Violation),
    Terminated(Ended),
}

/// A `Tcp` on a scripted wire.
pub struct Rig {
    pub tcp: Tcp<Pipe>,
    pub pipe: Pipe,
    pub pool: Pool,
    pub peer: Peer,
    /// Claim large immediate data under this tag.
    pub claim: Option<Tag>,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let pipe = Pipe::default();
        let tcp = Tcp::over(pipe.clone(), limits);
        Self { tcp, pipe, pool: Pool::default(), peer: Peer::default(), claim: None }
    }

    /// In full-feature phase.
    pub fn enabled(parameters: &Parameters) -> Self {
        let mut rig = Self::new();
        rig.enable(parameters);
        rig
    }

    pub fn enable(&mut self, parameters: &Parameters) {
        self.tcp.enable(parameters);
        self.peer = Peer { header_digest: parameters.header_digest, data_digest: parameters.data_digest };
    }

    pub fn arrive(&mut self, bytes: &[u8]) {
        self.pipe.0.borrow_mut().inbound.extend(bytes);
    }

    pub fn arrive_pdu(&mut self, bhs: &Bhs, data: &[u8]) {
        let bytes = self.peer.frame(bhs, &[], data);
        self.arrive(&bytes);
    }

    /// One turn: receive, poll until there is nothing, flush.
    pub fn turn(&mut self) -> Vec<Event> {
        self.tcp.receive();
        let events = self.drain();
        self.tcp.flush();
        events
    }

    /// Turns until nothing moves any more.
    pub fn settle(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let (before, seen) = (self.progress(), events.len());
            events.extend(self.turn());
            events.extend(self.drain());
            if self.progress() == before && events.len() == seen {
                return events;
            }
        }
    }

    fn progress(&self) -> (usize, usize) {
        let wire = self.pipe.0.borrow();
        (wire.inbound.len(), wire.outbound.len())
    }

    pub fn drain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(upcall) = self.tcp.poll() {
            let event = self.note(upcall);
            events.push(event);
        }
        assert!(!self.tcp.has_more(), "poll said there is nothing");
        events
    }

    fn note(&mut self, upcall: Upcall) -> Event {
        match upcall {
            Upcall::Control(control) => {
                let (data, ahs) = (self.tcp.segment().to_vec(), self.tcp.ahs().to_vec());
                let here = control.arrival == Arrival::Here;
                assert_eq!(data.len(), if here { control.len as usize } else { 0 });
                if let Some(tag) = self.claim.filter(|_| control.arrival == Arrival::Coming) {
                    let sink = self.pool.take(control.len as usize);
                    self.tcp.accept_immediate(tag, sink, 0);
                }
                Event::Control { bhs: control.bhs, ahs, data, arrival: control.arrival }
            }
            Upcall::DataDone { tag, buf, status } => {
                let bytes = buf.filled().to_vec();
                self.pool.give(buf);
                Event::Done { tag, bytes, status }
            }
            Upcall::Violation(violation) => Event::Violation(violation),
            Upcall::Terminated(ended) => Event::Terminated(ended),
        }
    }

    /// What was sent and not looked at yet.
    pub fn sent(&mut self) -> Vec<Pdu> {
        let bytes = std::mem::take(&mut self.pipe.0.borrow_mut().outbound);
        self.peer.parse(&bytes)
    }

    pub fn get(&mut self, tag: Tag, itt: u32, offset: u32, len: u32) -> GetData {
        GetData {
            tag,
            task: TaskName { itt, lun: LUN },
            remote: Advertised::default(),
            sink: self.pool.take(len as usize),
            start: 0,
            len,
            offset,
            solicited_from: 0,
            unsolicited: false,
            r2t_sn: 0,
            numbers: numbers(),
        }
    }

    /// Begins a solicited get; returns the TTT of its R2T.
    pub fn solicit(&mut self, tag: Tag, itt: u32, offset: u32, len: u32) -> u32 {
        let get = self.get(tag, itt, offset, len);
        self.tcp.get_data(get).expect("room for a get");
        self.tcp.flush();
        self.sent().last().expect("an R2T").bhs.ttt()
    }

    pub fn expect(&mut self, tag: Tag, itt: u32, offset: u32, len: u32) {
        let get = GetData { unsolicited: true, ..self.get(tag, itt, offset, len) };
        self.tcp.get_data(get).expect("room for a get");
    }

    pub fn put(&mut self, tag: Tag, itt: u32, bytes: &[u8]) -> PutData {
        PutData {
            tag,
            task: TaskName { itt, lun: LUN },
            remote: Advertised::default(),
            data: self.pool.filled(bytes),
            start: 0,
            len: bytes.len() as u32,
            offset: 0,
            data_sn: 0,
            last: true,
            status: None,
            numbers: numbers(),
        }
    }

    /// Ends the connection at once and checks that every buffer came back, and the end last and once.
    pub fn finish(mut self) {
        self.tcp.terminate(false);
        let events = self.drain();
        assert!(matches!(events.last(), Some(Event::Terminated(_))), "{events:?}");
        self.finished();
    }

    /// The end was seen: nothing comes after it, and every buffer is back.
    pub fn finished(mut self) {
        for graceful in [true, false] {
            self.tcp.terminate(graceful);
            assert_eq!(self.settle(), [], "nothing follows the last upcall");
        }
        assert_eq!(self.pool.outstanding(), 0, "every buffer comes back");
    }
}

pub fn numbers() -> Numbers {
    Numbers { stat_sn: Serial(100), exp_cmd_sn: Serial(10), max_cmd_sn: Serial(41) }
}

pub fn tag(index: u16) -> Tag {
    Tag::new(1, 7, index, 0)
}

pub fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 256) as u8).collect()
}

/// A write command; `final_bit` = false announces unsolicited Data-Out.
pub fn write_command(itt: u32, final_bit: bool) -> Bhs {
    ScsiCommand { final_bit, write: true, lun: LUN, itt, edtl: 1 << 20, ..ScsiCommand::default() }.encode()
}

pub fn data_out(itt: u32, ttt: u32, data_sn: u32, offset: u32, last: bool) -> Bhs {
    let data_sn = Serial(data_sn);
    let lun = if ttt == u32::MAX { [0; 8] } else { LUN };
    DataOut { final_bit: last, lun, itt, ttt, exp_stat_sn: Serial(0), data_sn, buffer_offset: offset }.encode()
}

pub fn parameters() -> Parameters {
    Parameters { initial_r2t: false, target_max_recv: 256 * 1024, ..Parameters::default() }
}

/// A PDU as the peer got it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pdu {
    pub bhs: Bhs,
    pub data: Vec<u8>,
}

/// The other end's framing, written on its own, bit by bit, so as not to share a mistake.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    pub header_digest: bool,
    pub data_digest: bool,
}

/// CRC32C, the slow way.
pub fn slow_crc(bytes: &[u8]) -> [u8; 4] {
    let crc = bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 })
    });
    (!crc).to_le_bytes()
}

impl Peer {
    pub fn frame(&self, bhs: &Bhs, ahs: &[u8], data: &[u8]) -> Vec<u8> {
        let mut out = bhs.0.to_vec();
        out[4] = (ahs.len() / 4) as u8;
        out[5..8].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
        out.extend(ahs);
        if self.header_digest {
            out.extend(slow_crc(&out));
        }
        let mut segment = data.to_vec();
        segment.resize(data.len().div_ceil(4) * 4, 0xA5);
        out.extend(&segment);
        if self.data_digest && !data.is_empty() {
            out.extend(slow_crc(&segment));
        }
        out
    }

    /// Whole PDUs only; what is left over is a fault.
    pub fn parse(&self, mut bytes: &[u8]) -> Vec<Pdu> {
        let mut pdus = Vec::new();
        while !bytes.is_empty() {
            let bhs = Bhs::from_slice(bytes).expect("a whole header");
            let digest = if self.header_digest { 4 } else { 0 };
            if self.header_digest {
                assert_eq!(bytes[48..52], slow_crc(&bytes[..48]), "header digest");
            }
            bytes = &bytes[48 + digest..];
            let len = bhs.data_segment_length() as usize;
            let padded = len.div_ceil(4) * 4;
            assert!(bytes[len..padded].iter().all(|b| *b == 0), "padding is zero");
            let digest = if self.data_digest && len > 0 { 4 } else { 0 };
            if digest > 0 {
                assert_eq!(bytes[padded..padded + 4], slow_crc(&bytes[..padded]), "data digest");
            }
            pdus.push(Pdu { bhs, data: bytes[..len].to_vec() });
            bytes = &bytes[padded + digest..];
        }
        pdus
    }
}
