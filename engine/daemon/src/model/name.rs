//! iSCSI names (RFC 7143 §4.2.7).

use super::ModelError;
use crate::limits::MAX_ISCSI_NAME_BYTES;

/// Turns what a user gave as a target's name into the full, normalised name: `node_base` and a colon are put before a
/// name without `iqn.`, `eui.` or `naa.`, and letters become lower case (the normal form of RFC 3722).
///
/// # Errors
/// The name is not one that RFC 7143 allows.
pub fn target_name(node_base: &str, name: &str) -> Result<String, ModelError> {
    let full = if has_type(name) { name.to_owned() } else { format!("{node_base}:{name}") };
    let full = full.to_lowercase();
    check("name", &full)?;
    Ok(full)
}

/// Checks a full name.
///
/// # Errors
/// Names `field` and what is wrong.
pub fn check(field: &str, name: &str) -> Result<(), ModelError> {
    let refuse = |what: &str| Err(ModelError::invalid(field, format!("{what}, got {name:?}")));
    if name.len() > MAX_ISCSI_NAME_BYTES {
        let expected = format!("expected at most {MAX_ISCSI_NAME_BYTES} bytes, got {}", name.len());
        return Err(ModelError::invalid(field, expected));
    }
    if !name.chars().all(is_name_char) {
        return refuse("expected letters, digits, '-', '.' and ':' only");
    }
    let lower = name.to_ascii_lowercase();
    let well_formed = match lower.get(..4) {
        Some("iqn.") => is_iqn_tail(&lower[4..]),
        Some("eui.") => is_hex(&lower[4..], &[16]),
        Some("naa.") => is_hex(&lower[4..], &[16, 32]),
        _ => false,
    };
    if well_formed {
        return Ok(());
    }
    refuse("expected iqn.YYYY-MM.reversed.domain[:text], eui. and 16 hexadecimal digits, or naa. and 16 or 32")
}

fn has_type(name: &str) -> bool {
    name.get(..4).is_some_and(|kind| ["iqn.", "eui.", "naa."].iter().any(|known| known.eq_ignore_ascii_case(kind)))
}

/// ASCII letters, digits, dash, dot and colon; beyond ASCII any letter or digit (RFC 3722 §6 allows no other).
fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '.' | ':')
}

/// `YYYY-MM.` and a naming authority.
fn is_iqn_tail(tail: &str) -> bool {
    let bytes = tail.as_bytes();
    let digits = |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|b| b.iter().all(u8::is_ascii_digit));
    let month = tail.get(5..7).and_then(|month| month.parse::<u8>().ok());
    digits(0..4)
        && bytes.get(4) == Some(&b'-')
        && matches!(month, Some(1..=12))
        && bytes.get(7) == Some(&b'.')
        && bytes.get(8).is_some_and(|first| !matches!(first, b'.' | b':'))
}

fn is_hex(text: &str, lengths: &[usize]) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "iqn.2016-06.io.spdk";

    #[test]
    fn short_names_get_the_base() {
        assert_eq!(target_name(BASE, "disk1").unwrap(), "iqn.2016-06.io.spdk:disk1");
        assert_eq!(target_name(BASE, "IQN.2020-01.com.Example:A").unwrap(), "iqn.2020-01.com.example:a");
        assert_eq!(target_name(BASE, "eui.02004567A425678D").unwrap(), "eui.02004567a425678d");
        assert!(target_name(BASE, "naa.52004567BA64678D").is_ok());
    }

    #[test]
    fn what_rfc_7143_does_not_allow_is_refused() {
        for name in [
            "a b",
            "a/b",
            "a_b",
            "a%n",
            "a\0b",
            "a\nb",
            "iqn.",
            "iqn.2016-6.io",
            "iqn.2016-13.io.x",
            "iqn.2016-06.",
            "iqn.2016-06.:x",
            "iqn.20é-06.io",
            "eui.123",
            "eui.02004567A425678G",
            "naa.123",
        ] {
            let error = target_name(BASE, name).expect_err(name).to_string();
            assert!(error.starts_with("name: expected"), "{error}");
        }
        assert!(target_name(BASE, &"x".repeat(224)).is_err());
        let longest = "x".repeat(MAX_ISCSI_NAME_BYTES - BASE.len() - 1);
        assert!(target_name(BASE, &longest).is_ok());
        assert!(target_name(BASE, &(longest + "x")).is_err());
    }
}
