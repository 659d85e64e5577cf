//! Cutting a byte stream into JSON values.
//!
//! A small scanner follows strings and brackets and finds where a value ends, looking at each byte once however
//! slowly the bytes arrive; only whole values are given to the JSON parser. So that garbage is refused at once and
//! not when (if ever) its brackets close, the unfinished text is also tried against the parser each time its length
//! has doubled.

use crate::limits::{MAX_DEPTH, MAX_REQUEST_BYTES, MAX_SCALAR_BYTES};
use serde::de::IgnoredAny;

/// Why a stream cannot be cut further. There is no way to find the next value: the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not JSON.
    #[error("Parse error")]
    Syntax,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("Parse error: nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// Longer than [`MAX_REQUEST_BYTES`].
    #[error("Invalid request: longer than {MAX_REQUEST_BYTES} bytes")]
    TooLong,
}

/// Accumulates bytes and yields whole JSON values.
#[derive(Debug, Default)]
pub struct Framer {
    buf: Vec<u8>,
    scan: Scan,
    probe_at: usize,
}

impl Framer {
    /// Appends what was read. Call [`Framer::next_value`] until it yields nothing before pushing more: that bounds the
    /// buffer to one unfinished value and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// The next whole value, if one has arrived.
    ///
    /// # Errors
    /// The stream is beyond repair; see [`FrameError`].
    pub fn next_value(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        if self.scan.at == 0 {
            let blank = self.buf.iter().take_while(|b| b.is_ascii_whitespace()).count();
            self.buf.drain(..blank);
        }
        let end = match self.buf.first() {
            None => return Ok(None),
            Some(b'{' | b'[' | b'"') => self.scan.advance(&self.buf)?,
            Some(_) => scalar_end(&self.buf)?,
        };
        if end.unwrap_or(self.buf.len()) > MAX_REQUEST_BYTES {
            return Err(FrameError::TooLong);
        }
        match end {
            Some(end) => {
                let rest = self.buf.split_off(end);
                self.scan = Scan::default();
                self.probe_at = 0;
                Ok(Some(std::mem::replace(&mut self.buf, rest)))
            }
            None => self.probe().map(|()| None),
        }
    }

    /// Whether an unfinished value is waiting for more bytes.
    pub fn is_partial(&self) -> bool {
        !self.buf.is_empty()
    }

    fn probe(&mut self) -> Result<(), FrameError> {
        if self.buf.len() < self.probe_at {
            return Ok(());
        }
        self.probe_at = self.buf.len() * 2;
        match serde_json::from_slice::<IgnoredAny>(&self.buf) {
            Err(error) if !error.is_eof() => Err(FrameError::Syntax),
            _ => Ok(()),
        }
    }
}

/// Where the scanner stands in an object, array or string.
#[derive(Debug, Default)]
struct Scan {
    at: usize,
    /// The closing brackets still owed, innermost last; at most [`MAX_DEPTH`].
    owed: Vec<u8>,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    fn advance(&mut self, buf: &[u8]) -> Result<Option<usize>, FrameError> {
        while let Some(&byte) = buf.get(self.at) {
            self.at += 1;
            if self.step(byte)? {
                return Ok(Some(self.at));
            }
        }
        Ok(None)
    }

    /// Takes one byte; true when the value ends with it.
    fn step(&mut self, byte: u8) -> Result<bool, FrameError> {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return Ok(!self.in_string && self.owed.is_empty());
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' => self.open(b'}')?,
            b'[' => self.open(b']')?,
            b'}' | b']' => {
                if self.owed.pop() != Some(byte) {
                    return Err(FrameError::Syntax);
                }
                return Ok(self.owed.is_empty());
            }
            _ => {}
        }
        Ok(false)
    }

    fn open(&mut self, closer: u8) -> Result<(), FrameError> {
        if self.owed.len() == MAX_DEPTH {
            return Err(FrameError::Depth);
        }
        self.owed.push(closer);
        Ok(())
    }
}

/// The end of a number or literal at the start of `buf`: known only once something else follows it.
fn scalar_end(buf: &[u8]) -> Result<Option<usize>, FrameError> {
    let token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let len = buf.iter().take(MAX_SCALAR_BYTES + 1).take_while(|b| token(b)).count();
    if len == 0 || len > MAX_SCALAR_BYTES {
        return Err(FrameError::Syntax);
    }
    Ok((len < buf.len()).then_some(len))
}

#[cfg(test)]
mod tests;
