//! Sizes as people write them.

/// Why a text is no size.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{text}' is not a size; write bytes or a number with K, M, G or T, for example 256M")]
pub struct SizeError {
    /// The text.
    pub text: String,
}

const UNITS: [(&str, u32); 4] = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];

/// Bytes of `256M`, `256MiB`, `256MB` (all 2²⁸) or `268435456`.
///
/// # Errors
/// [`SizeError`].
pub fn parse_size(text: &str) -> Result<usize, SizeError> {
    let error = || SizeError { text: text.to_owned() };
    let upper = text.trim().to_ascii_uppercase();
    let stem = upper.strip_suffix("IB").or_else(|| upper.strip_suffix('B')).unwrap_or(&upper);
    let unit = UNITS.iter().find_map(|(unit, shift)| stem.strip_suffix(unit).map(|digits| (digits, *shift)));
    let (digits, shift) = unit.unwrap_or((stem, 0));
    // `12i` or `IB` alone are no sizes.
    if upper.ends_with("IB") && shift == 0 {
        return Err(error());
    }
    let digits = digits.trim_end();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(error());
    }
    let number: usize = digits.parse().map_err(|_| error())?;
    number.checked_mul(1 << shift).ok_or_else(error)
}

/// `bytes` with the largest unit that loses little: `256 MiB`, `1.5 GiB`, `4096 bytes` below 10 KiB.
#[must_use]
pub fn format_size(bytes: usize) -> String {
    if bytes < 10 << 10 {
        return format!("{bytes} bytes");
    }
    let (unit, shift) = UNITS.iter().find(|(_, shift)| bytes >> shift > 0).unwrap_or(&UNITS[3]);
    let tenths = (bytes as u128 * 10) >> shift;
    match tenths % 10 {
        0 => format!("{} {unit}iB", tenths / 10),
        rest => format!("{}.{rest} {unit}iB", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("1k", 1 << 10),
            ("256M", 256 << 20),
            (" 256 MiB ", 256 << 20),
            ("2gb", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for text in
            ["", "M", "-1", "+1", "1.5G", "1X", "12iB", "0x10", "1 2", "99999999999999999999", "99999999T", "iB"]
        {
            let message = parse_size(text).expect_err(text).to_string();
            assert!(message.contains("for example 256M"), "{message}");
        }
    }

    #[test]
    fn writes_sizes() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (4096, "4096 bytes"),
            (16 << 10, "16 KiB"),
            (256 << 20, "256 MiB"),
            (3 << 29, "1.5 GiB"),
            (usize::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(format_size(bytes), text);
        }
    }
}
