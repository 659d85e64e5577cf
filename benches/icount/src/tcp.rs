//! An iSCSI initiator over a socket of this process.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::parts::BLOCKS;
use crate::pdu::{self, BHS, Commands, Direction, Heard, IO_BYTES};
use crate::{Ended, Load, Stage};

/// Rounds within which a login is answered.
const PATIENCE: u32 = 1000;
const KEYS: &str = "HeaderDigest=None\0DataDigest=None\0MaxRecvDataSegmentLength=262144\0InitialR2T=No\0\
                    ImmediateData=Yes\0MaxBurstLength=1048576\0FirstBurstLength=65536\0";

/// One connection and its commands.
#[derive(Debug)]
pub struct Initiator {
    stream: TcpStream,
    inbox: Vec<u8>,
    /// Bytes of `inbox` that were read, and of those the ones looked at.
    read: usize,
    seen: usize,
    outbox: Vec<u8>,
    idle: Vec<u32>,
    commands: Commands,
    /// What rides in every command.
    data: Vec<u8>,
    finished: Ended,
}

impl Initiator {
    /// Connects and logs in. `number` must be unlike those of others.
    ///
    /// # Errors
    /// The kernel's.
    pub fn log_in(rig: &mut dyn Stage, number: u16, direction: Direction, depth: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(rig.portal().ok_or(io::ErrorKind::NotConnected)?)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let data = vec![0x5A; if direction == Direction::Write { IO_BYTES as usize } else { 0 }];
        let mut this = Self {
            stream,
            inbox: vec![0; 1 << 20],
            read: 0,
            seen: 0,
            outbox: Vec::with_capacity(1 << 20),
            idle: (0..depth as u32).collect(),
            commands: Commands::new(direction, BLOCKS, data.len() as u32),
            data,
            finished: Ended::default(),
        };
        let (bhs, text) = pdu::login(number, KEYS);
        this.outbox.extend_from_slice(bhs.as_bytes());
        this.outbox.extend_from_slice(&text);
        for _ in 0..PATIENCE {
            this.send()?;
            rig.turn();
            this.receive()?;
            if let Some(bhs) = this.next_pdu() {
                pdu::expect_logged_in(&bhs);
                return Ok(this);
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Gives the kernel what it takes.
    fn send(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(taken) => drop(self.outbox.drain(..taken)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        self.inbox.copy_within(self.seen..self.read, 0);
        (self.read, self.seen) = (self.read - self.seen, 0);
        loop {
            match self.stream.read(&mut self.inbox[self.read..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => self.read += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The header of the next PDU that is there as a whole.
    fn next_pdu(&mut self) -> Option<[u8; BHS]> {
        let bhs: [u8; BHS] = *self.inbox[self.seen..self.read].first_chunk()?;
        let end = self.seen + BHS + pdu::segment_length(&bhs).next_multiple_of(4);
        (end <= self.read).then(|| {
            self.seen = end;
            bhs
        })
    }
}

impl Load for Initiator {
    fn round(&mut self, rig: &mut dyn Stage) -> Ended {
        while let Some(itt) = self.idle.pop() {
            self.outbox.extend_from_slice(self.commands.next(itt));
            self.outbox.extend_from_slice(&self.data);
        }
        self.send().expect("the connection stands");
        rig.turn();
        self.receive().expect("the connection stands");
        while let Some(bhs) = self.next_pdu() {
            if let Heard::Status { itt, status } = self.commands.hear(&bhs) {
                self.idle.push(itt);
                self.finished.note(status);
            }
        }
        core::mem::take(&mut self.finished)
    }
}
