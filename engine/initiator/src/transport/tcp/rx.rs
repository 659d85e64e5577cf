//! The byte stream cut into PDUs. Small ones are parsed from a staging buffer, many to a read; the rest of a large
//! Data-In is read straight into its command's buffer.

use std::io::{self, IoSliceMut, Read};
use std::ops::Range;

use iscsi::wire::{BHS_LEN, Bhs, DataIn, Opcode, R2t};
use iscsi_tcp::digest::{Crc32c, DIGEST_LEN, crc32c};
use primitives::{Buf, span};

use super::transfers::Transfers;
use crate::error::Violation;
use crate::limits::{BEHIND_DIRECT_BYTES, DIRECT_BYTES, MAX_CONTROL_SEGMENT, STAGING_BYTES};
use crate::transport::{Agreed, Broken};

/// Padding of a data segment.
const PAD_MAX: usize = 3;

/// A Data-In of which a part is still to be read.
#[derive(Clone, Copy, Debug)]
struct Direct {
    bhs: Bhs,
    /// Where in the command's buffer its data begins and ends, and how far it has come.
    start: usize,
    next: usize,
    end: usize,
}

#[derive(Debug)]
pub(super) struct Receiver {
    staging: Box<[u8]>,
    head: usize,
    tail: usize,
    direct: Option<Direct>,
    /// The last Data-In was large, so expect another.
    large: bool,
    segment: Range<usize>,
}

impl Receiver {
    pub fn new() -> Self {
        let staging = vec![0; STAGING_BYTES].into_boxed_slice();
        Self { staging, head: 0, tail: 0, direct: None, large: false, segment: 0..0 }
    }

    /// The data segment of the PDU last returned.
    pub fn segment(&self) -> &[u8] {
        &self.staging[self.segment.clone()]
    }

    /// One read. `Ok(0)` when nothing has come.
    pub fn fill(&mut self, socket: &mut impl Read, transfers: &mut Transfers) -> Result<usize, Broken> {
        self.segment = 0..0;
        self.staging.copy_within(self.head..self.tail, 0);
        (self.head, self.tail) = (0, self.tail - self.head);
        let behind = if self.large { BEHIND_DIRECT_BYTES } else { STAGING_BYTES };
        let room = (self.tail + behind).min(STAGING_BYTES);
        let staging = &mut self.staging[self.tail..room];
        let rest = match self.direct {
            Some(d) => {
                transfers.sink(d.bhs.itt()).and_then(|buf| buf.storage().get_mut(d.next..d.end)).unwrap_or_default()
            }
            None => &mut [],
        };
        let wanted = rest.len();
        let read = if wanted > 0 {
            socket.read_vectored(&mut [IoSliceMut::new(rest), IoSliceMut::new(staging)])
        } else {
            socket.read(staging)
        };
        match read {
            Ok(0) => Err(Broken::Closed),
            Ok(n) => {
                let direct = n.min(wanted);
                if let Some(d) = &mut self.direct {
                    d.next += direct;
                }
                self.tail += n - direct;
                Ok(n)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            Err(e) => Err(Broken::Io(e)),
        }
    }

    /// The next whole PDU.
    pub fn next(&mut self, transfers: &mut Transfers, agreed: &Agreed) -> Result<Option<Bhs>, Broken> {
        if let Some(direct) = self.direct {
            return self.end_direct(direct, transfers, agreed);
        }
        let header_len = BHS_LEN + if agreed.header_digest { DIGEST_LEN } else { 0 };
        let Some(header) = self.staging[self.head..self.tail].get(..header_len) else { return Ok(None) };
        if agreed.header_digest && header[BHS_LEN..] != crc32c(&header[..BHS_LEN]) {
            return Err(Violation::HeaderDigest.into());
        }
        let Some(bhs) = Bhs::from_slice(header) else { return Ok(None) };
        if bhs.total_ahs_length() != 0 {
            return Err(Violation::Field("an additional header segment from a target").into());
        }
        let is_data = bhs.opcode() == Opcode::DATA_IN;
        let len = bhs.data_segment_length() as usize;
        let limit = agreed.max_recv_segment as usize;
        if len > if is_data { limit } else { limit.clamp(8192, MAX_CONTROL_SEGMENT) } {
            return Err(Violation::SegmentLength(len as u32).into());
        }
        let start = self.head + header_len;
        let total = segment_len(len, agreed);
        let complete = self.tail - start >= total;
        if is_data {
            return self.data_in(bhs, start, complete, transfers, agreed);
        }
        if !complete {
            return Ok(None);
        }
        check_digest(&self.staging[start..start + total], len, agreed)?;
        if bhs.opcode() == Opcode::R2T {
            transfers.r2t(&R2t::decode(&bhs), agreed)?;
        }
        self.segment = start..start + len;
        self.head = start + total;
        Ok(Some(bhs))
    }

    /// Places a Data-In: whole from the staging buffer, or begins to read it directly.
    fn data_in(
        &mut self,
        bhs: Bhs,
        at: usize,
        complete: bool,
        transfers: &mut Transfers,
        agreed: &Agreed,
    ) -> Result<Option<Bhs>, Broken> {
        let len = bhs.data_segment_length() as usize;
        if !complete && len < DIRECT_BYTES {
            return Ok(None);
        }
        let pdu = DataIn::decode(&bhs);
        transfers.data_in(&pdu, len as u32)?;
        self.large = len >= DIRECT_BYTES;
        let start = pdu.buffer_offset as usize;
        let buf = sink(transfers, &bhs)?;
        if complete {
            let total = segment_len(len, agreed);
            check_digest(&self.staging[at..at + total], len, agreed)?;
            buf.copy_in(start, &self.staging[at..at + len]);
            self.segment = 0..0;
            self.head = at + total;
            return Ok(Some(bhs));
        }
        let here = (self.tail - at).min(len);
        buf.copy_in(start, &self.staging[at..at + here]);
        self.head = at + here;
        self.direct = Some(Direct { bhs, start, next: start + here, end: start + len });
        Ok(None)
    }

    /// Ends a directly read Data-In once its bytes, padding and digest are there.
    fn end_direct(&mut self, d: Direct, transfers: &mut Transfers, agreed: &Agreed) -> Result<Option<Bhs>, Broken> {
        let len = d.end - d.start;
        let trailer = segment_len(len, agreed) - len;
        if d.next < d.end || self.tail - self.head < trailer {
            return Ok(None);
        }
        let buf = sink(transfers, &d.bhs)?;
        buf.set_len(d.end);
        let trailer = &self.staging[self.head..self.head + trailer];
        if agreed.data_digest {
            let (pad, digest) = trailer.split_at(trailer.len() - DIGEST_LEN);
            let mut crc = Crc32c::new();
            crc.update(&buf.filled()[d.start..d.end]);
            crc.update(pad);
            if crc.to_wire() != digest {
                return Err(Violation::DataDigest.into());
            }
        }
        self.head += trailer.len();
        self.direct = None;
        self.segment = 0..0;
        Ok(Some(d.bhs))
    }
}

/// The buffer of a Data-In's task, which is there since the PDU was accepted.
fn sink<'a>(transfers: &'a mut Transfers, bhs: &Bhs) -> Result<&'a mut Buf, Violation> {
    transfers.sink(bhs.itt()).ok_or(Violation::TaskTag(bhs.itt()))
}

/// A data segment with its padding and digest; there is no digest without data (RFC 7143 §11.2.3).
fn segment_len(len: usize, agreed: &Agreed) -> usize {
    let digest = if agreed.data_digest && len > 0 { DIGEST_LEN } else { 0 };
    // At most 2²⁴: the addition cannot overflow.
    span::padded(len).unwrap_or(len + PAD_MAX) + digest
}

/// Checks the digest at the end of a whole segment of `len` data bytes.
fn check_digest(segment: &[u8], len: usize, agreed: &Agreed) -> Result<(), Violation> {
    if agreed.data_digest && len > 0 {
        let (covered, digest) = segment.split_at(segment.len() - DIGEST_LEN);
        if crc32c(covered) != digest {
            return Err(Violation::DataDigest);
        }
    }
    Ok(())
}
