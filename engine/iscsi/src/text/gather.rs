//! Logical text data segments over several PDUs, joined by the C bit (RFC 7143 §6.1).
use super::TextError;
use alloc::vec::Vec;

/// Text of the peer that is still arriving.
#[derive(Debug, Default)]
pub struct Gather {
    bytes: Vec<u8>,
}

impl Gather {
    /// Adds one data segment.
    ///
    /// # Errors
    /// [`TextError::TooLong`] when there would be more than `limit` bytes; what was gathered is dropped.
    pub fn push(&mut self, segment: &[u8], limit: usize) -> Result<(), TextError> {
        match self.bytes.len().checked_add(segment.len()) {
            Some(len) if len <= limit => {
                self.bytes.extend_from_slice(segment);
                Ok(())
            }
            _ => {
                self.bytes = Vec::new();
                Err(TextError::TooLong)
            }
        }
    }

    /// The whole text; this is empty again.
    pub fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.bytes)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Text of ours that is sent in as many segments as the peer's MaxRecvDataSegmentLength asks for.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0 }
    }

    /// Everything has been taken.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.sent >= self.bytes.len()
    }

    /// The next segment, of at most `max` bytes (at least one, so that this ends).
    pub fn next_segment(&mut self, max: usize) -> Vec<u8> {
        let rest = self.bytes.get(self.sent..).unwrap_or_default();
        let len = rest.len().min(max.max(1));
        let segment = rest.get(..len).unwrap_or_default().to_vec();
        self.sent += len;
        if self.is_done() {
            *self = Self::default();
        }
        segment
    }
}
