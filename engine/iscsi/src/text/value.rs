//! The forms values are written in (RFC 7143 §6.1).
use alloc::vec::Vec;
use core::fmt;

/// A numerical-value: decimal, or hexadecimal behind `0x`, below 2⁶⁴.
#[must_use]
pub fn number(value: &str) -> Option<u64> {
    let (digits, radix) = match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (value, 10),
    };
    // from_str_radix would also take a sign.
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// A boolean-value: exactly `Yes` or `No`.
#[must_use]
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// The text of a boolean-value.
#[must_use]
pub const fn yes_no(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

/// A binary-value in hexadecimal (`0x`) or base64 (`0b`) of 1 to `max` bytes. Decimal has no length of its own and
/// is refused.
#[must_use]
pub fn binary(value: &str, max: usize) -> Option<Vec<u8>> {
    let (prefix, digits) = value.split_at_checked(2)?;
    let bytes = match prefix {
        "0x" | "0X" => base16(digits.as_bytes(), max)?,
        "0b" | "0B" => base64(digits.as_bytes(), max)?,
        _ => return None,
    };
    (!bytes.is_empty()).then_some(bytes)
}

/// n digits are (n + 1) / 2 bytes: an odd first digit is a byte of its own.
fn base16(digits: &[u8], max: usize) -> Option<Vec<u8>> {
    let len = digits.len().div_ceil(2);
    if len > max {
        return None;
    }
    let mut bytes = Vec::with_capacity(len);
    let (first, pairs) = digits.split_at(digits.len() % 2);
    for &digit in first {
        bytes.push(nibble(digit)?);
    }
    for pair in pairs.chunks_exact(2) {
        bytes.push(nibble(pair[0])? << 4 | nibble(pair[1])?);
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// RFC 4648 §4, padded.
fn base64(digits: &[u8], max: usize) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(4) || digits.len() / 4 > max.div_ceil(3) {
        return None;
    }
    let body = digits.strip_suffix(b"==").or_else(|| digits.strip_suffix(b"=")).unwrap_or(digits);
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    for group in body.chunks(4) {
        let mut bits = 0u32;
        for &digit in group {
            bits = bits << 6 | u32::from(sextet(digit)?);
        }
        // A last group of 2 or 3 digits carries 4 or 2 bits that must be zero; of 1 digit cannot happen.
        let spare = (group.len() * 6) % 8;
        if group.len() == 1 || bits & ((1 << spare) - 1) != 0 {
            return None;
        }
        let whole = (bits >> spare).to_be_bytes();
        bytes.extend_from_slice(whole.get(4 - group.len() * 6 / 8..)?);
    }
    (bytes.len() <= max).then_some(bytes)
}

fn sextet(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Shows bytes as a hex-constant.
#[derive(Clone, Copy, Debug)]
pub struct Base16<'a>(pub &'a [u8]);

impl fmt::Display for Base16<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
