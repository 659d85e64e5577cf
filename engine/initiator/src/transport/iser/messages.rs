//! Messages that have arrived, and the PDUs in them.

use std::collections::VecDeque;
use std::ops::Range;

use iscsi::wire::{Bhs, Opcode};
use iser::wire::{HEADER, HEADERS, Header, Malformed};
use primitives::Buf;
use rdma::Stag;

use crate::error::Violation;

/// Bytes behind the data segment that are taken for its padding.
const PAD_MAX: usize = 3;

/// A message, and the window it closed.
#[derive(Debug)]
pub(super) struct Arrived {
    pub buf: Buf,
    pub invalidated: Option<Stag>,
}

/// Messages in the order of their arrival, and the one being looked at.
#[derive(Debug)]
pub(super) struct Messages {
    arrived: VecDeque<Arrived>,
    current: Option<Buf>,
    segment: Range<usize>,
}

impl Messages {
    /// Room for `count`, as many as there are receives.
    pub fn new(count: usize) -> Self {
        Self { arrived: VecDeque::with_capacity(count), current: None, segment: 0..0 }
    }

    pub fn push(&mut self, arrived: Arrived) {
        debug_assert!(self.arrived.len() < self.arrived.capacity(), "more messages than receives");
        self.arrived.push_back(arrived);
    }

    pub fn is_empty(&self) -> bool {
        self.arrived.is_empty()
    }

    /// The buffer of the message looked at last, not to be looked at again.
    pub fn release(&mut self) -> Option<Buf> {
        self.segment = 0..0;
        self.current.take()
    }

    /// Some buffer, of whichever message: for the end.
    pub fn release_any(&mut self) -> Option<Buf> {
        self.release().or_else(|| Some(self.arrived.pop_front()?.buf))
    }

    /// The header of the next PDU, whose data segment may have `limit` bytes, and the window its message closed. The
    /// message before must have been released.
    pub fn next(&mut self, limit: u32) -> Option<Result<(Bhs, Option<Stag>), Violation>> {
        let Arrived { buf, invalidated } = self.arrived.pop_front()?;
        let parsed = parse(buf.filled(), limit);
        self.current = Some(buf);
        Some(parsed.map(|(bhs, segment)| {
            self.segment = segment;
            (bhs, invalidated)
        }))
    }

    /// The data segment of the PDU returned last.
    pub fn segment(&self) -> &[u8] {
        self.current.as_ref().and_then(|buf| buf.filled().get(self.segment.clone())).unwrap_or_default()
    }
}

/// The PDU of a message, and where its data segment is.
fn parse(message: &[u8], limit: u32) -> Result<(Bhs, Range<usize>), Violation> {
    let short = || Violation::ShortMessage(message.len() as u32);
    match Header::decode(message) {
        // A target advertises nothing; if flags are set all the same there is nothing they could be good for.
        Ok(Header::Control { .. }) => {}
        Ok(_) => return Err(Violation::Field("an iSER Hello or HelloReply that was not negotiated")),
        Err(Malformed::Short(_)) => return Err(short()),
        Err(Malformed::Opcode(_)) => return Err(Violation::Field("an unknown iSER opcode")),
    }
    let bhs = message.get(HEADER..).and_then(Bhs::from_slice).ok_or_else(short)?;
    if bhs.total_ahs_length() != 0 {
        return Err(Violation::Field("additional header segments, which no target sends"));
    }
    // These become RDMA operations, never messages (RFC 7145 §7.3.5, §7.3.6).
    if matches!(bhs.opcode(), Opcode::DATA_IN | Opcode::R2T) {
        return Err(Violation::Opcode(bhs.opcode().0));
    }
    let len = bhs.data_segment_length();
    if len > limit {
        return Err(Violation::SegmentLength(len));
    }
    let came = message.len() - HEADERS;
    let padding = came.checked_sub(len as usize).filter(|padding| *padding <= PAD_MAX);
    padding.ok_or(Violation::MessageLength(message.len() as u32, len))?;
    Ok((bhs, HEADERS..HEADERS + len as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bhs: Bhs, data: usize) -> Vec<u8> {
        [&Header::PLAIN.encode()[..], bhs.as_bytes(), &vec![7; data]].concat()
    }

    fn response(len: u32) -> Bhs {
        Bhs::new(Opcode::SCSI_RESPONSE).with_data_segment_length(len)
    }

    #[test]
    fn every_short_message_is_refused() {
        let whole = message(response(4), 4);
        for len in 0..HEADERS {
            assert_eq!(parse(&whole[..len], 512), Err(Violation::ShortMessage(len as u32)));
        }
        for len in HEADERS..HEADERS + 4 {
            assert_eq!(parse(&whole[..len], 512), Err(Violation::MessageLength(len as u32, 4)));
        }
        assert_eq!(parse(&whole, 512).unwrap().1, HEADERS..HEADERS + 4);
    }

    #[test]
    fn lengths_that_lie_are_refused_and_padding_is_borne() {
        for (len, came, good) in [(0, 0, true), (0, 3, true), (0, 4, false), (5, 8, true), (5, 9, false), (5, 4, false)]
        {
            assert_eq!(parse(&message(response(len), came), 512).is_ok(), good, "{len} {came}");
        }
        let whole = message(response(513), 513);
        assert_eq!(parse(&whole, 512), Err(Violation::SegmentLength(513)));
        assert!(parse(&whole, 513).is_ok());
        let most = message(response(0xff_ffff), 0);
        assert_eq!(parse(&most, 8192), Err(Violation::SegmentLength(0xff_ffff)));
    }

    #[test]
    fn only_control_messages_without_data_pdus_are_taken() {
        let mut hello = message(response(0), 0);
        hello[0] = 0x20;
        assert!(matches!(parse(&hello, 512), Err(Violation::Field(_))));
        hello[0] = 0x30;
        assert!(matches!(parse(&hello, 512), Err(Violation::Field(_))));
        hello[0] = 0x40;
        assert!(matches!(parse(&hello, 512), Err(Violation::Field(_))));
        hello[0] = 0x1f;
        assert!(parse(&hello, 512).is_ok());
        for opcode in [Opcode::DATA_IN, Opcode::R2T] {
            assert_eq!(parse(&message(Bhs::new(opcode), 0), 512), Err(Violation::Opcode(opcode.0)));
        }
        let ahs = message(response(0).with_total_ahs_length(1), 0);
        assert!(matches!(parse(&ahs, 512), Err(Violation::Field(_))));
    }
}
