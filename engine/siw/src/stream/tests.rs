//! FPDUs over a pair of sockets, cut in every place.

use super::outbox::Sent;
use super::*;
use crate::limits::MAX_FPDU;
use crate::stats::Stats;
use crate::wire::{CRC, Fault, Header, LENGTH, Opcode, Place, ddp};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

fn pair() -> (Socket, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (Socket::new(one).unwrap(), listener.accept().unwrap().0)
}

fn header(len: usize) -> Header {
    Header { last: true, opcode: Opcode::Write, place: Place::Tagged { stag: len as u32, to: 7 } }
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + len) as u8).collect()
}

/// One FPDU for each length, as an outbox makes them.
fn fpdus(lengths: &[usize], crc: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for &len in lengths {
        let (mut outbox, bytes) = (Outbox::new(), payload(len));
        outbox.set_crc(crc);
        outbox.open(&header(len), len);
        // SAFETY: the payload outlives the outbox.
        unsafe { outbox.payload(bytes.as_ptr(), len) };
        outbox.close(ddp::TAGGED_LEN + len);
        outbox.copy_out(&mut out);
        assert!(outbox.is_empty() && outbox.has_room());
    }
    out
}

/// Takes whatever is there; payloads go to memory, or are shown if their length is odd.
struct Taker {
    receiver: Receiver,
    stats: Stats,
    taken: Vec<Vec<u8>>,
    placing: Option<Vec<u8>>,
    /// The memory is said to be cold.
    cold: bool,
}

impl Taker {
    fn new(crc: bool) -> Self {
        let mut receiver = Receiver::new();
        receiver.set_crc(crc);
        Self { receiver, stats: Stats::default(), taken: vec![], placing: None, cold: false }
    }

    /// Steps as far as it goes; the fault, if there is one.
    fn take(&mut self) -> Option<Fault> {
        loop {
            match self.receiver.step(&mut self.stats) {
                Step::Starved => return None,
                Step::Broken(fault) => return Some(fault),
                Step::Empty => self.taken.push(b"empty".to_vec()),
                Step::Segment(found, len) => {
                    assert_eq!(found, header(len));
                    if len % 2 == 1 {
                        self.receiver.stage();
                    } else {
                        let memory = self.placing.insert(vec![0xDB; len]);
                        // SAFETY: the memory is this taker's until the payload is placed.
                        let there = unsafe { self.receiver.place(memory.as_mut_ptr(), self.cold, &mut self.stats) };
                        if there {
                            self.taken.extend(self.placing.take());
                        }
                    }
                }
                Step::Placed => {
                    let placed = self.placing.take().unwrap_or_else(|| self.receiver.shown().to_vec());
                    self.taken.push(placed);
                }
            }
        }
    }

    fn receive(&mut self, socket: &Socket) -> (Received, Option<Fault>) {
        let received = self.receiver.receive(socket, &mut self.stats);
        (received, self.take())
    }

    fn until(&mut self, socket: &Socket, count: usize) {
        while self.taken.len() < count || !self.receiver.is_at_rest() {
            assert_eq!(self.receive(socket).1, None);
        }
    }
}

#[test]
fn cut_in_every_place() {
    let lengths = [0, 1, 2, 3, 4, 40, 41];
    for crc in [false, true] {
        let bytes = fpdus(&lengths, crc);
        for cut in 0..=bytes.len() {
            let (socket, peer) = pair();
            let peer = Socket::new(peer).unwrap();
            let mut taker = Taker::new(crc);
            for part in [&bytes[..cut], &bytes[cut..]] {
                assert_eq!(peer.write(part), Ok(part.len()));
                while taker.stats.bytes_in < if part.len() == cut { cut } else { bytes.len() } as u64 {
                    assert_eq!(taker.receive(&socket).1, None);
                }
            }
            taker.until(&socket, lengths.len());
            assert_eq!(taker.taken, lengths.map(payload), "cut at {cut}");
            assert_eq!(taker.stats.fpdus_in, lengths.len() as u64);
        }
    }
}

#[test]
fn byte_by_byte() {
    for crc in [false, true] {
        let bytes = fpdus(&[10, 11, 0], crc);
        let (socket, peer) = pair();
        let (peer, mut taker) = (Socket::new(peer).unwrap(), Taker::new(crc));
        for (i, byte) in bytes.iter().enumerate() {
            assert_eq!(peer.write(&[*byte]), Ok(1));
            while taker.stats.bytes_in == i as u64 {
                assert_eq!(taker.receive(&socket).1, None);
            }
        }
        assert_eq!(taker.taken, [10, 11, 0].map(payload));
    }
}

#[test]
fn large_payloads_go_straight_to_their_place_and_small_ones_arrive_together() {
    let (socket, peer) = pair();
    let small = fpdus(&[100; 50], false);
    let peer = Socket::new(peer).unwrap();
    assert_eq!(peer.write(&small), Ok(small.len()));
    let mut taker = Taker::new(false);
    taker.until(&socket, 50);
    assert!(taker.stats.reads <= 3, "{} reads for 50 FPDUs", taker.stats.reads);
    assert_eq!((taker.stats.copied, taker.stats.direct), (5_000, 0));
    let large = fpdus(&[60_000; 8], false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut at = 0;
            while at < large.len() {
                at += peer.write(&large[at..]).unwrap_or(0);
            }
        });
        taker.until(&socket, 58);
    });
    assert!(taker.taken[50..].iter().all(|p| *p == payload(60_000)));
    let stats = taker.stats;
    assert_eq!(stats.copied + stats.direct, 5_000 + 480_000);
    assert!(stats.direct > 480_000 * 3 / 4, "{stats:?}");
}

#[test]
fn what_is_bound_for_cold_memory_is_staged() {
    let (socket, peer) = pair();
    let large = fpdus(&[60_000; 8], false);
    let peer = Socket::new(peer).unwrap();
    let mut taker = Taker { cold: true, ..Taker::new(false) };
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut at = 0;
            while at < large.len() {
                at += peer.write(&large[at..]).unwrap_or(0);
            }
        });
        taker.until(&socket, 8);
    });
    assert!(taker.taken.iter().all(|p| *p == payload(60_000)));
    assert_eq!((taker.stats.copied, taker.stats.direct), (480_000, 0));
}

#[test]
fn the_longest_fpdu_fits() {
    let longest = MAX_FPDU - LENGTH - ddp::TAGGED_LEN - 3 - CRC;
    for crc in [false, true] {
        let (socket, peer) = pair();
        let bytes = fpdus(&[7, longest, longest, 8], crc);
        let mut taker = Taker::new(crc);
        let peer = Socket::new(peer).unwrap();
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut at = 0;
                while at < bytes.len() {
                    at += peer.write(&bytes[at..]).unwrap_or(0);
                }
            });
            taker.until(&socket, 4);
        });
        assert_eq!(taker.taken, [7, longest, longest, 8].map(payload));
    }
}

#[test]
fn nothing_of_a_damaged_fpdu_is_believed() {
    let good = fpdus(&[20], true);
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        let (socket, peer) = pair();
        // Enough behind it for a length that was damaged.
        bytes.resize(MAX_FPDU, 0);
        let peer = Socket::new(peer).unwrap();
        let mut taker = Taker::new(true);
        let mut sent = 0;
        let fault = loop {
            sent += peer.write(&bytes[sent..]).unwrap_or(0);
            if let (_, Some(fault)) = taker.receive(&socket) {
                break fault;
            }
        };
        assert_eq!(fault, Fault::CRC, "byte {at}");
        assert!(taker.taken.is_empty());
        assert_eq!(taker.take(), Some(Fault::CRC), "it stays broken");
    }
}

#[test]
fn lengths_that_hold_no_header() {
    for (length, control) in [(1u16, 0xC1u8), (13, 0xC1), (17, 0x41), (2, 0x41)] {
        let (socket, peer) = pair();
        let peer = Socket::new(peer).unwrap();
        let mut bytes = vec![0; 64];
        bytes[..2].copy_from_slice(&length.to_be_bytes());
        bytes[2] = control;
        assert_eq!(peer.write(&bytes), Ok(64));
        let mut taker = Taker::new(false);
        assert_eq!(taker.receive(&socket), (Received::Some, Some(Fault::FPDU)), "{length}");
    }
    let (socket, peer) = pair();
    let peer = Socket::new(peer).unwrap();
    assert_eq!(peer.write(&[0; 16]), Ok(16));
    let mut taker = Taker::new(false);
    assert_eq!(taker.receive(&socket), (Received::Some, None));
    assert_eq!(taker.taken, [b"empty", b"empty"]);
    drop(peer);
    assert_eq!(taker.receive(&socket), (Received::Closed, None));
}

/// An outbox with FPDUs of this payload, as many as fit.
fn full(outbox: &mut Outbox, bytes: &[u8]) -> usize {
    let mut count = 0;
    while outbox.has_room() {
        outbox.open(&header(bytes.len()), bytes.len());
        // SAFETY: the caller's bytes outlive its outbox.
        unsafe { outbox.payload(bytes.as_ptr(), bytes.len()) };
        outbox.close(ddp::TAGGED_LEN + bytes.len());
        count += 1;
    }
    count
}

#[test]
fn what_the_kernel_takes_in_part_is_resumed_at_the_next_byte() {
    for len in [0, 1, 33, 5_000, 60_000] {
        let ((socket, mut peer), bytes) = (pair(), payload(len));
        let (mut outbox, mut got, mut expected) = (Outbox::new(), vec![], vec![]);
        let mut blocked = 0;
        for _ in 0..8 {
            let count = full(&mut outbox, &bytes);
            assert!(count > 0);
            (0..count).for_each(|_| expected.extend(fpdus(&[len], false)));
            while outbox.send(&socket) == Sent::Blocked {
                blocked += 1;
                let mut some = [0; 30_011];
                let n = peer.read(&mut some).unwrap();
                got.extend_from_slice(&some[..n]);
            }
        }
        drop(socket);
        peer.read_to_end(&mut got).unwrap();
        assert!(got == expected, "{len}");
        assert!(blocked > 0 || len < 5_000, "{len}: the socket was never full");
    }
}

#[test]
fn the_fpdu_that_was_begun_can_be_finished_from_a_copy() {
    let ((socket, mut peer), bytes) = (pair(), payload(60_000));
    let mut outbox = Outbox::new();
    let mut sent = 0;
    while outbox.send(&socket) != Sent::Blocked {
        sent += full(&mut outbox, &bytes);
    }
    let mut tail = vec![];
    outbox.copy_out_begun(&mut tail);
    assert!(outbox.is_empty() && tail.len() < MAX_FPDU);
    peer.set_nonblocking(true).unwrap();
    let mut got = vec![];
    let _ = peer.read_to_end(&mut got);
    while !tail.is_empty() {
        let n = socket.write(&tail).unwrap_or(0);
        tail.drain(..n);
        let _ = peer.read_to_end(&mut got);
    }
    drop(socket);
    peer.set_nonblocking(false).unwrap();
    peer.read_to_end(&mut got).unwrap();
    let one = fpdus(&[60_000], false);
    assert_eq!(got.len() % one.len(), 0, "it ends with an FPDU");
    assert!(got.len() / one.len() <= sent && got.chunks(one.len()).all(|fpdu| fpdu == one));

    // Nothing was begun: nothing is to be finished.
    let mut outbox = Outbox::new();
    full(&mut outbox, b"abc");
    let mut tail = vec![];
    outbox.copy_out_begun(&mut tail);
    assert!(tail.is_empty() && outbox.is_empty());
}
