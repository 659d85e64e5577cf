//! The end that answers.

use std::net::TcpStream;

use reactors::Region;

use super::gather::Gather;
use super::{Args, Counts, HEADER, MAX_DEPTH, Stage, spin};
use crate::Result;
use crate::pattern::{Places, Rw};

/// Requests one receive call has room for.
const AT_ONCE: usize = MAX_DEPTH;

/// Answers until told to stop.
pub fn serve(stream: TcpStream, args: &Args, store: &Region, stage: &Stage) -> Result<Counts> {
    let places = Places::new(Rw::Randread, (store.len() / args.bs) as u64);
    if args.rw.is_read() {
        reads(&stream, args, store, places, stage)
    } else {
        writes(&stream, args, store, places, stage)
    }
}

fn block(store: &Region, places: &mut Places, bytes: usize) -> *mut u8 {
    store.as_ptr().as_ptr().wrapping_add(places.next() as usize * bytes)
}

fn reads(stream: &TcpStream, args: &Args, store: &Region, mut places: Places, stage: &Stage) -> Result<Counts> {
    let header = [0u8; HEADER];
    let mut requests = vec![0u8; AT_ONCE * HEADER];
    let (mut answers, mut got) = (Gather::new(2 * MAX_DEPTH), 0);
    spin(stage, |_, counts| {
        let mut receive = Gather::new(1);
        // SAFETY: `requests` outlives the gather.
        unsafe { receive.push(requests.as_mut_ptr(), requests.len()) };
        let came = receive.receive(stream)?;
        got += came.unwrap_or(0);
        counts.calls += u64::from(came.is_some());
        for _ in 0..got / HEADER {
            // SAFETY: the header and the store outlive the gather; the place is inside the store.
            unsafe {
                answers.push(header.as_ptr(), HEADER);
                answers.push(block(store, &mut places, args.bs), args.bs);
            }
            counts.ios += 1;
        }
        got %= HEADER;
        let sent = if answers.len() > 0 { answers.send(stream)? } else { None };
        counts.calls += u64::from(sent.is_some());
        Ok(came.is_some() || sent.is_some())
    })
}

fn writes(stream: &TcpStream, args: &Args, store: &Region, mut places: Places, stage: &Stage) -> Result<Counts> {
    let mut header = [0u8; HEADER];
    let statuses = vec![0u8; AT_ONCE * HEADER];
    let whole = HEADER + args.bs;
    let (mut requests, mut answers, mut got) = (Gather::new(2 * AT_ONCE), Gather::new(MAX_DEPTH), 0);
    spin(stage, |_, counts| {
        while requests.len() < 2 * AT_ONCE - 1 {
            // SAFETY: the header and the store outlive the gather; the place is inside the store.
            unsafe {
                requests.push(header.as_mut_ptr(), HEADER);
                requests.push(block(store, &mut places, args.bs), args.bs);
            }
        }
        let came = requests.receive(stream)?;
        got += came.unwrap_or(0);
        counts.calls += u64::from(came.is_some());
        let complete = got / whole;
        if complete > 0 {
            // SAFETY: the statuses outlive the gather; there are never more than MAX_DEPTH requests.
            unsafe { answers.push(statuses.as_ptr(), complete * HEADER) };
            counts.ios += complete as u64;
            got %= whole;
        }
        let sent = if answers.len() > 0 { answers.send(stream)? } else { None };
        counts.calls += u64::from(sent.is_some());
        Ok(came.is_some() || sent.is_some())
    })
}
