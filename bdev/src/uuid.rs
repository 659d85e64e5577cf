//! UUIDs of devices (RFC 9562).

/// Draws a random (version 4) UUID.
///
/// # Errors
/// When the system has no randomness to give.
pub fn random() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Ok(bytes)
}

/// The usual 36-character form, in lower case.
#[must_use]
pub fn format(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.extend([byte >> 4, byte & 0xF].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')));
    }
    text
}

/// Reads the 36-character form, in either case.
#[must_use]
pub fn parse(text: &str) -> Option<[u8; 16]> {
    let hyphens = [8, 13, 18, 23];
    if text.len() != 36 || !text.bytes().enumerate().all(|(i, b)| (b == b'-') == hyphens.contains(&i)) {
        return None;
    }
    let mut digits = text.chars().filter(|c| *c != '-').map(|c| c.to_digit(16));
    let mut uuid = [0u8; 16];
    for byte in &mut uuid {
        // Two digits of four bits each fit a byte.
        *byte = (digits.next()?? << 4 | digits.next()??) as u8;
    }
    Some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_uuids_are_version_4_and_differ() {
        let (a, b) = (random().unwrap(), random().unwrap());
        assert_ne!(a, b);
        assert_eq!((a[6] >> 4, a[8] >> 6), (4, 2));
        assert_eq!(parse(&format(&a)), Some(a));
    }

    #[test]
    fn only_the_usual_form_is_read() {
        let text = "0123ABCD-4567-89ef-0011-223344556677";
        let uuid = parse(text).unwrap();
        assert_eq!(format(&uuid), text.to_lowercase());
        for bad in ["", "0123abcd4567-89ef-0011-2233445566777", &text[..35], "0123abcd-4567-89ef-0011-22334455667g"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse("é123abc-4567-89ef-0011-223344556677"), None);
    }
}
