//! Put_Data as Data-In PDUs (RFC 7143 §11.7): no longer than the initiator receives, sequences ending with an F bit
//! at every MaxBurstLength, and at the last PDU perhaps the status (§11.7.3).
use iscsi::datamover::PutData;
use iscsi::wire::{Bhs, DataIn, RESERVED_TAG};

/// How data is divided.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    /// MaxRecvDataSegmentLength of the initiator.
    pub segment: u32,
    /// MaxBurstLength.
    pub burst: u32,
}

/// One Data-In PDU of a put.
#[derive(Debug)]
pub(crate) struct Piece {
    pub bhs: Bhs,
    /// Where in the put its data begins.
    pub at: u32,
    pub len: u32,
    /// The put is complete with it.
    pub end: bool,
}

impl Split {
    /// How many PDUs carry `len` bytes from offset `offset` of the task's buffer on. At least one: a put without data
    /// carries a status.
    pub fn count(self, offset: u32, len: u32) -> u32 {
        let head = len.min(self.burst - offset % self.burst);
        let (full, tail) = ((len - head) / self.burst, (len - head) % self.burst);
        let per_burst = self.burst.div_ceil(self.segment);
        (head.div_ceil(self.segment) + full * per_burst + tail.div_ceil(self.segment)).max(1)
    }

    /// The PDU of `put` that begins `at` bytes into it and is number `index` of it.
    pub fn piece(self, put: &PutData, at: u32, index: u32) -> Piece {
        let offset = put.offset.wrapping_add(at);
        let left_of_burst = self.burst - offset % self.burst;
        let len = (put.len - at).min(self.segment).min(left_of_burst);
        let end = at + len == put.len;
        let mut pdu = DataIn {
            final_bit: len == left_of_burst || end && put.last,
            itt: put.task.itt,
            ttt: RESERVED_TAG,
            exp_cmd_sn: put.numbers.exp_cmd_sn,
            max_cmd_sn: put.numbers.max_cmd_sn,
            data_sn: primitives::Serial(put.data_sn).plus(index),
            buffer_offset: offset,
            ..DataIn::default()
        };
        if let Some(last) = put.status.filter(|_| end) {
            pdu.has_status = true;
            pdu.status = last.status;
            pdu.stat_sn = last.stat_sn;
            pdu.overflow = last.residual_flags & 0x04 != 0;
            pdu.underflow = last.residual_flags & 0x02 != 0;
            pdu.residual = last.residual;
        }
        Piece { bhs: pdu.encode(), at, len, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iscsi::datamover::{Advertised, FinalStatus, Numbers, TaskName};
    use primitives::{Buf, Home, Serial, Tag};
    use proptest::prelude::*;
    use std::ptr::NonNull;

    fn put(offset: u32, len: u32, last: bool) -> PutData {
        // SAFETY: a handle to nothing.
        let data = unsafe { Buf::from_raw(NonNull::dangling(), 0, Home::Lent) };
        let status = FinalStatus { status: 0, stat_sn: Serial(77), residual_flags: 2, residual: 5 };
        PutData {
            tag: Tag::default(),
            task: TaskName { itt: 9, lun: [0, 1, 0, 0, 0, 0, 0, 0] },
            remote: Advertised::default(),
            data,
            start: 0,
            len,
            offset,
            data_sn: u32::MAX,
            last,
            status: last.then_some(status),
            numbers: Numbers { stat_sn: Serial(78), exp_cmd_sn: Serial(3), max_cmd_sn: Serial(4) },
        }
    }

    fn pieces(split: Split, put: &PutData) -> Vec<(DataIn, u32)> {
        let (mut at, mut out) = (0, Vec::new());
        loop {
            let piece = split.piece(put, at, out.len() as u32);
            assert_eq!(piece.at, at);
            out.push((DataIn::decode(&piece.bhs), piece.len));
            at += piece.len;
            if piece.end {
                return out;
            }
        }
    }

    proptest! {
        #[test]
        fn pieces_cover_the_put(
            segment in 512u32..5000, burst in 512u32..9000, offset in 0u32..20_000, len in 0u32..30_000, last: bool,
        ) {
            let (split, put) = (Split { segment, burst }, put(offset, len, last));
            let pieces = pieces(split, &put);
            prop_assert_eq!(pieces.len() as u32, split.count(offset, len));
            let mut at = offset;
            for (i, (pdu, n)) in pieces.iter().enumerate() {
                let end = i + 1 == pieces.len();
                prop_assert_eq!(pdu.buffer_offset, at);
                prop_assert_eq!(pdu.data_sn, Serial(u32::MAX).plus(i as u32));
                prop_assert!(*n <= segment && at % burst + n <= burst);
                at += n;
                let boundary = *n > 0 && at.is_multiple_of(burst);
                prop_assert_eq!(pdu.final_bit, boundary || end && last);
                prop_assert_eq!(pdu.has_status, end && last);
                prop_assert_eq!(pdu.stat_sn.0, if end && last { 77 } else { 0 }, "StatSN only with S");
                prop_assert_eq!((pdu.ttt, pdu.lun), (RESERVED_TAG, [0; 8]));
            }
            prop_assert_eq!(at, offset + len);
        }
    }

    #[test]
    fn a_status_without_data_is_one_pdu() {
        let split = Split { segment: 8192, burst: 262_144 };
        let pieces = pieces(split, &put(4096, 0, true));
        assert_eq!((pieces.len(), split.count(4096, 0)), (1, 1));
        let (pdu, len) = pieces[0];
        assert!(len == 0 && pdu.final_bit && pdu.has_status && pdu.underflow && !pdu.overflow && pdu.residual == 5);
    }
}
