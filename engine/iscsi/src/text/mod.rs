//! Login and text parameters: `key=value` pairs, each ended by a NUL (RFC 7143 §6.1).
use crate::limits;
use alloc::vec::Vec;
use core::fmt::{Display, Write};

mod gather;
mod value;

pub use gather::{Gather, Outgoing};
pub use value::{Base16, binary, boolean, number, yes_no};

#[cfg(test)]
mod tests;

/// The reserved answers (RFC 7143 §6.2). None of them may be proposed.
pub mod answer {
    pub const NOT_UNDERSTOOD: &str = "NotUnderstood";
    pub const IRRELEVANT: &str = "Irrelevant";
    pub const REJECT: &str = "Reject";
}

/// Why a text is not a sequence of pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextError {
    /// A pair without `=`.
    NoEquals,
    /// The last pair has no NUL.
    NoNul,
    /// A key that is empty, or longer than [`limits::KEY_MAX`].
    KeyLength,
    /// A key that is not a standard-label.
    KeyCharacter,
    /// A value longer than [`limits::VALUE_MAX`].
    ValueLength,
    /// A value that is not UTF-8.
    ValueCharacter,
    /// More than [`limits::PAIRS_MAX`] pairs.
    TooManyPairs,
    /// More text than the limit in force.
    TooLong,
}

/// One `key=value`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair<'a> {
    pub key: &'a str,
    pub value: &'a str,
}

/// The pairs of one logical text data segment. Stops for good at the first error.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
    count: usize,
}

impl<'a> Pairs<'a> {
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        Self { rest: text, count: 0 }
    }

    /// All pairs, or the first error.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn collect_all(text: &'a [u8]) -> Result<Vec<Pair<'a>>, TextError> {
        Self::new(text).collect()
    }

    fn pair(&mut self) -> Result<Option<Pair<'a>>, TextError> {
        // Some initiators count padding in DataSegmentLength: NULs and nothing else after the last pair are no error.
        if self.rest.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        if self.count == limits::PAIRS_MAX {
            return Err(TextError::TooManyPairs);
        }
        self.count += 1;
        let end = self.rest.iter().position(|&b| b == 0).ok_or(TextError::NoNul)?;
        let (pair, tail) = self.rest.split_at(end);
        self.rest = tail.get(1..).unwrap_or_default();
        let equals = pair.iter().position(|&b| b == b'=').ok_or(TextError::NoEquals)?;
        let (key, value) = pair.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        if value.len() > limits::VALUE_MAX {
            return Err(TextError::ValueLength);
        }
        let value = core::str::from_utf8(value).map_err(|_| TextError::ValueCharacter)?;
        Ok(Some(Pair { key: standard_label(key)?, value }))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<Pair<'a>, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        let pair = self.pair();
        if pair.is_err() {
            self.rest = &[];
        }
        pair.transpose()
    }
}

/// Checks a key name. Wider than the RFC's standard-label by what its own keys need: iSCSIProtocolLevel begins with a
/// small letter, and X#NodeArchitecture has a `#`.
fn standard_label(key: &[u8]) -> Result<&str, TextError> {
    if key.is_empty() || key.len() > limits::KEY_MAX {
        return Err(TextError::KeyLength);
    }
    let legal = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'@' | b'_' | b'#');
    if !key.first().is_some_and(u8::is_ascii_alphabetic) || !key.iter().all(legal) {
        return Err(TextError::KeyCharacter);
    }
    core::str::from_utf8(key).map_err(|_| TextError::KeyCharacter)
}

/// The limit of a [`TextWriter`] was reached; nothing of the pair was kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overflow;

/// Writes pairs, up to a limit.
#[derive(Debug)]
pub struct TextWriter {
    bytes: Vec<u8>,
    limit: usize,
}

impl TextWriter {
    /// An empty text that may grow to `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }

    /// Adds `key=value` and its NUL.
    ///
    /// # Errors
    /// [`Overflow`] when the limit would be passed.
    pub fn push(&mut self, key: &str, value: impl Display) -> Result<(), Overflow> {
        let before = self.bytes.len();
        if write!(self, "{key}={value}\0").is_err() {
            self.bytes.truncate(before);
            return Err(Overflow);
        }
        Ok(())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The text written so far.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Write for TextWriter {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        match self.bytes.len().checked_add(s.len()) {
            Some(len) if len <= self.limit => {
                self.bytes.extend_from_slice(s.as_bytes());
                Ok(())
            }
            _ => Err(core::fmt::Error),
        }
    }
}
