//! iSCSI names (RFC 7143 §4.2.7; RFC 3722 as far as ASCII goes) and peer strings made safe to show.
use crate::limits;
use alloc::string::String;
use core::fmt;

/// A valid iSCSI name in its normal form: lower case, one of the types `iqn.`, `eui.`, `naa.`, at most 223 bytes.
/// Two names are the same name exactly when these are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IscsiName(String);

/// Why a string is not an iSCSI name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameError {
    /// Empty, or longer than [`limits::NAME_MAX`] bytes.
    Length,
    /// A character RFC 3722 prohibits: of ASCII, all but letters, digits, `-`, `.` and `:`.
    Character,
    /// Not of a known type, or not formed as its type asks for.
    Format,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "an iSCSI name has 1 to 223 bytes",
            Self::Character => "an iSCSI name has only letters, digits, '-', '.' and ':'",
            Self::Format => "an iSCSI name is iqn.YYYY-MM.domain[:name], eui. and 16, or naa. and 16 or 32 hex digits",
        })
    }
}

impl core::error::Error for NameError {}

impl IscsiName {
    /// Checks and normalises a name.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn parse(name: &str) -> Result<Self, NameError> {
        // Checked before folding too: lower case of a hostile string must not be built first.
        if name.is_empty() || name.len() > limits::NAME_MAX {
            return Err(NameError::Length);
        }
        if !name.chars().all(is_permitted) {
            return Err(NameError::Character);
        }
        let name = name.to_lowercase();
        if name.len() > limits::NAME_MAX {
            return Err(NameError::Length);
        }
        let formed = match name.split_at_checked(4) {
            Some(("iqn.", rest)) => is_iqn(rest.as_bytes()),
            Some(("eui.", rest)) => is_hex(rest, &[16]),
            Some(("naa.", rest)) => is_hex(rest, &[16, 32]),
            _ => false,
        };
        if formed { Ok(Self(name)) } else { Err(NameError::Format) }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Printable(&self.0), f)
    }
}

impl AsRef<str> for IscsiName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// RFC 3722 leaves of ASCII the letters, digits, `-`, `.` and `:`; beyond ASCII, what is neither space nor control.
fn is_permitted(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':')
    } else {
        !c.is_control() && !c.is_whitespace()
    }
}

/// `YYYY-MM.` and a naming authority that is not empty.
fn is_iqn(rest: &[u8]) -> bool {
    let digits = |range: &[u8]| range.iter().all(u8::is_ascii_digit);
    match rest.split_at_checked(8) {
        Some((date, authority)) => {
            digits(&date[..4]) && date[4] == b'-' && digits(&date[5..7]) && date[7] == b'.' && !authority.is_empty()
        }
        None => false,
    }
}

fn is_hex(digits: &str, lengths: &[usize]) -> bool {
    lengths.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Shows a string from a peer in a log: control and other unprintable characters escaped, the length bounded.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(limits::PRINTABLE_MAX) {
            write!(f, "{}", c.escape_debug())?;
        }
        if chars.next().is_some() { f.write_str("…") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
