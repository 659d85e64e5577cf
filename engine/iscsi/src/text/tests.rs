use super::*;
use alloc::string::{String, ToString};
use alloc::vec;
use proptest::prelude::*;

fn pairs(text: &[u8]) -> Result<Vec<(&str, &str)>, TextError> {
    Pairs::collect_all(text).map(|pairs| pairs.iter().map(|p| (p.key, p.value)).collect())
}

#[test]
fn pairs_are_split_at_the_first_equals() {
    assert_eq!(pairs(b""), Ok(vec![]));
    assert_eq!(pairs(b"A=1\0Bb=\0C=x=y\0"), Ok(vec![("A", "1"), ("Bb", ""), ("C", "x=y")]));
    assert_eq!(pairs("TargetAlias=Größe\0".as_bytes()), Ok(vec![("TargetAlias", "Größe")]));
    assert_eq!(pairs(b"X#NodeArchitecture=a\0iSCSIProtocolLevel=1\0").map(|p| p.len()), Ok(2));
}

#[test]
fn padding_counted_as_text_is_tolerated() {
    assert_eq!(pairs(b"A=1\0\0\0\0"), Ok(vec![("A", "1")]));
    assert_eq!(pairs(b"\0\0"), Ok(vec![]));
    assert_eq!(pairs(b"A=1\0\0B=2\0"), Err(TextError::NoEquals), "an empty pair in the middle is none");
}

#[test]
fn k2_malformed_text() {
    let key = |n| [vec![b'K'; n], b"=v\0".to_vec()].concat();
    assert!(pairs(&key(63)).is_ok());
    for (text, error) in [
        (b"NoEquals\0".to_vec(), TextError::NoEquals),
        (b"A=1\0B=2".to_vec(), TextError::NoNul),
        (b"A".to_vec(), TextError::NoNul),
        (b"=1\0".to_vec(), TextError::KeyLength),
        (key(64), TextError::KeyLength),
        (key(4096), TextError::KeyLength),
        (b"A b=1\0".to_vec(), TextError::KeyCharacter),
        (b"9A=1\0".to_vec(), TextError::KeyCharacter),
        (b"A\xFF=1\0".to_vec(), TextError::KeyCharacter),
        (b"A=\xC3\0".to_vec(), TextError::ValueCharacter),
        ([b"A=".to_vec(), vec![b'x'; 8192], vec![0]].concat(), TextError::ValueLength),
        (b"A=1\0".repeat(limits::PAIRS_MAX + 1), TextError::TooManyPairs),
    ] {
        assert_eq!(pairs(&text), Err(error), "{:?}", String::from_utf8_lossy(&text[..text.len().min(40)]));
    }
}

#[test]
fn the_iterator_stops_at_the_first_error() {
    let mut iter = Pairs::new(b"A=1\0bad\0C=3\0");
    assert!(iter.next().unwrap().is_ok());
    assert!(iter.next().unwrap().is_err());
    assert!(iter.next().is_none());
}

#[test]
fn writer_keeps_whole_pairs_only() {
    let mut out = TextWriter::new(12);
    assert_eq!(out.push("Abc", 12), Ok(()));
    assert_eq!(out.push("Toolong", "value"), Err(Overflow));
    assert_eq!(out.push("D", "1"), Ok(()));
    assert_eq!(out.into_bytes(), b"Abc=12\0D=1\0");
}

#[test]
fn gather_has_a_limit() {
    let mut gather = Gather::default();
    assert_eq!(gather.push(b"A=", 4), Ok(()));
    assert_eq!(gather.push(b"1\0", 4), Ok(()));
    assert_eq!(gather.take(), b"A=1\0");
    assert_eq!(gather.push(b"12345", 4), Err(TextError::TooLong));
    assert!(gather.is_empty());
}

#[test]
fn outgoing_comes_in_segments() {
    let mut out = Outgoing::new(b"abcdefg".to_vec());
    assert_eq!((out.next_segment(3), out.is_done()), (b"abc".to_vec(), false));
    assert_eq!((out.next_segment(4), out.is_done()), (b"defg".to_vec(), true));
    assert_eq!((out.next_segment(4), out.is_done()), (vec![], true));
    let mut hopeless = Outgoing::new(b"ab".to_vec());
    assert_eq!(hopeless.next_segment(0), b"a", "it ends whatever the peer declares");
}

#[test]
fn numbers() {
    for (text, value) in [
        ("0", Some(0)),
        ("8192", Some(8192)),
        ("0x10", Some(16)),
        ("0XfF", Some(255)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("0xFFFFFFFFFFFFFFFFF", None),
        ("-1", None),
        ("+1", None),
        ("0x-1", None),
        ("0x", None),
        ("", None),
        ("1 ", None),
        ("1e3", None),
        ("2~1", None),
        ("Yes", None),
    ] {
        assert_eq!(number(text), value, "{text}");
    }
    assert_eq!((boolean("Yes"), boolean("No"), boolean("yes"), boolean("")), (Some(true), Some(false), None, None));
}

#[test]
fn k1_binary_values() {
    let ok = |text: &str, bytes: &[u8]| assert_eq!(binary(text, 8).as_deref(), Some(bytes), "{text}");
    ok("0x00ff", &[0, 0xFF]);
    ok("0X0Ff", &[0, 0xFF]);
    ok("0xabc", &[0x0A, 0xBC]);
    ok("0bAP8=", &[0, 0xFF]);
    ok("0bTWFu", b"Man");
    ok("0BTQ==", b"M");
    for bad in [
        "",
        "0",
        "0b",
        "0x",
        "0xg0",
        "0x0 ",
        "255",
        "0bTWF",
        "0bT===",
        "0bTQ=a",
        "0bTR==",
        "0b====",
        "0x112233445566778899",
    ] {
        assert_eq!(binary(bad, 8), None, "{bad}");
    }
    assert_eq!(binary(&alloc::format!("0x{}", "ab".repeat(1025)), 1024), None);
    assert_eq!(binary(&alloc::format!("0x{}", "ab".repeat(1024)), 1024).map(|b| b.len()), Some(1024));
    assert_eq!(binary("0é", 8), None, "no character is cut in two");
}

proptest! {
    #[test]
    fn any_bytes_are_pairs_or_an_error(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let read: Vec<_> = Pairs::new(&text).collect();
        prop_assert!(read.len() <= text.len() + 1);
        prop_assert!(read.iter().rev().skip(1).all(Result::is_ok), "only the last may be an error");
    }

    #[test]
    fn what_is_written_is_read(
        list in proptest::collection::vec(("[A-Za-z][A-Za-z0-9.+@_-]{0,62}", "[ -~]{0,80}"), 0..20),
    ) {
        let mut out = TextWriter::new(1 << 20);
        for (key, value) in &list {
            out.push(key, value).unwrap();
        }
        let bytes = out.into_bytes();
        let expected: Vec<_> = list.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        prop_assert_eq!(pairs(&bytes), Ok(expected));
    }

    #[test]
    fn hex_and_base64_round_trip(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        prop_assert_eq!(binary(&Base16(&bytes).to_string(), 1024), Some(bytes));
    }

    #[test]
    fn no_value_panics(text in "\\PC{0,60}") {
        let _ = (number(&text), boolean(&text), binary(&text, 16));
        let _ = (binary(&alloc::format!("0x{text}"), 16), binary(&alloc::format!("0b{text}"), 16));
    }
}
