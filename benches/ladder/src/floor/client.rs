//! The end that asks: a fixed number of requests in flight, sent and received in batches.

use std::collections::VecDeque;
use std::net::TcpStream;

use super::gather::Gather;
use super::{Args, Counts, HEADER, MAX_DEPTH, Stage, spin};
use crate::Result;

/// Bytes taken in by one call.
const RECEIVE_BYTES: usize = 256 << 10;

/// Asks until told to stop.
pub fn load(stream: TcpStream, args: &Args, qd: usize, stage: &Stage) -> Result<Counts> {
    let reading = args.rw.is_read();
    let header = [0u8; HEADER];
    let block = vec![0x5Au8; if reading { 0 } else { args.bs }];
    let mut answers = vec![0u8; RECEIVE_BYTES];
    let answer = if reading { HEADER + args.bs } else { HEADER };
    let (mut requests, mut got, mut due) = (Gather::new(2 * MAX_DEPTH), 0, qd);
    let mut sent_at = VecDeque::with_capacity(qd);
    spin(stage, |now, counts| {
        let mut receive = Gather::new(1);
        // SAFETY: `answers` outlives the gather.
        unsafe { receive.push(answers.as_mut_ptr(), answers.len()) };
        let came = receive.receive(&stream)?;
        got += came.unwrap_or(0);
        for sent in sent_at.drain(..(got / answer).min(sent_at.len())) {
            counts.latencies.record(now.since(sent).as_nanos() as u64);
            counts.ios += 1;
            due += 1;
        }
        got %= answer;
        sent_at.extend((0..due).map(|_| now));
        for _ in 0..due {
            // SAFETY: header and block outlive the gather.
            unsafe { requests.push(header.as_ptr(), HEADER) };
            if !reading {
                // SAFETY: the same.
                unsafe { requests.push(block.as_ptr(), block.len()) };
            }
        }
        due = 0;
        let sent = if requests.len() > 0 { requests.send(&stream)? } else { None };
        Ok(came.is_some() || sent.is_some())
    })
}
