//! The two halves against each other: what either end of a connection uses of them.
use super::*;
use iscsi::wire::{Bhs, Opcode};
use proptest::prelude::*;
use std::collections::VecDeque;

/// Bytes in transit; the writer's and the reader's sizes in turn, the last for ever.
#[derive(Debug)]
struct Loop {
    bytes: VecDeque<u8>,
    sizes: VecDeque<usize>,
}

impl Loop {
    fn next_size(&mut self) -> usize {
        if self.sizes.len() > 1 { self.sizes.pop_front().unwrap_or(1) } else { self.sizes[0] }
    }
}

impl Stream for Loop {
    unsafe fn readv(&mut self, iov: &[libc::iovec]) -> Result<usize, i32> {
        let most = self.next_size();
        let mut n = 0;
        for v in iov {
            for i in 0..v.iov_len.min(most - n) {
                let Some(byte) = self.bytes.pop_front() else { break };
                // SAFETY: the caller vouches for `iov_len` bytes.
                unsafe { v.iov_base.cast::<u8>().add(i).write(byte) };
                n += 1;
            }
        }
        if n == 0 { Err(libc::EAGAIN) } else { Ok(n) }
    }

    unsafe fn writev(&mut self, iov: &[libc::iovec]) -> Result<usize, i32> {
        let most = self.next_size();
        let mut n = 0;
        for v in iov {
            let len = v.iov_len.min(most - n);
            // SAFETY: the caller vouches for `iov_len` bytes.
            self.bytes.extend(unsafe { std::slice::from_raw_parts(v.iov_base.cast::<u8>(), len) });
            n += len;
        }
        Ok(n)
    }

    fn shutdown(&mut self, _both: bool) {}
}

/// How a PDU is sent and received: its AHS words, its data, gathered or copied, placed, staged or skipped.
#[derive(Clone, Copy, Debug)]
struct Case {
    words: usize,
    len: usize,
    gathered: bool,
    how: u8,
}

fn case() -> impl Strategy<Value = Case> {
    (0usize..66, 0usize..3000, any::<bool>(), 0u8..3).prop_map(|(words, len, gathered, how)| {
        // Only what is copied can have additional header segments.
        Case { words: if gathered { 0 } else { words }, len, gathered, how }
    })
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + seed) as u8).collect()
}

fn header(index: usize) -> Bhs {
    let mut bhs = Bhs::new(Opcode::DATA_IN);
    bhs.0[47] = index as u8;
    bhs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sent_is_received(
        cases in prop::collection::vec(case(), 1..20),
        sizes in prop::collection::vec(1usize..200, 0..100),
        header_digest: bool,
        data_digest: bool,
    ) {
        let digests = Digests { header: header_digest, data: data_digest };
        let mut stream = Loop { bytes: VecDeque::new(), sizes: sizes.into_iter().chain([1009]).collect() };
        let mut sender = Sender::new(64 * 1024);
        sender.set_digests(digests);
        let payloads: Vec<Vec<u8>> = cases.iter().enumerate().map(|(i, c)| pattern(c.len, i)).collect();
        for (i, (case, data)) in cases.iter().zip(&payloads).enumerate() {
            let frame = if case.gathered {
                // SAFETY: `payloads` lives, unchanged, to the end of the test.
                unsafe { sender.gather(&header(i), data.as_ptr(), data.len() as u32, i as u32, true) }
            } else {
                sender.copy(&header(i), &pattern(case.words * 4, 1), data).expect("room for twenty")
            };
            sender.push(frame);
        }
        let mut through = Vec::new();
        while !sender.is_empty() {
            sender.send(&mut stream, |token| through.push(token as usize)).unwrap();
        }
        let gathered: Vec<usize> = (0..cases.len()).filter(|i| cases[*i].gathered).collect();
        prop_assert_eq!(through, gathered);

        let mut receiver = Receiver::new(3000);
        receiver.set_framing(digests, 3000);
        let mut places: Vec<Vec<u8>> = cases.iter().map(|c| vec![0; c.len]).collect();
        let (mut current, mut complete) = (usize::MAX, 0);
        loop {
            match receiver.step() {
                Step::Header => {
                    current = usize::from(receiver.bhs().0[47]);
                    let case = cases[current];
                    prop_assert_eq!(receiver.ahs(), pattern(case.words * 4, 1));
                    let cold = current % 3 == 0 && !data_digest;
                    match case.how {
                        0 => receiver.stage(),
                        // SAFETY: the place is as long as the segment and untouched until the payload is there.
                        1 => unsafe { receiver.place(places[current].as_mut_ptr(), cold) },
                        _ => receiver.discard(),
                    }
                }
                Step::Payload { intact } => {
                    prop_assert!(intact);
                    complete += 1;
                    let got = if cases[current].how == 0 { receiver.segment() } else { &places[current] };
                    prop_assert_eq!(got, &payloads[current]);
                }
                Step::Starved => {
                    if receiver.receive(&mut stream, current % 2 == 0) != Received::Some {
                        break;
                    }
                }
                Step::Broken(fault) => panic!("{fault:?}"),
            }
        }
        prop_assert_eq!(current, cases.len() - 1);
        prop_assert_eq!(complete, cases.iter().filter(|c| c.how < 2).count());
        prop_assert_eq!(receiver.counts().pdus as usize, cases.len());
    }
}
