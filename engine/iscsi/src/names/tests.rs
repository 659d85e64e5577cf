use super::*;
use alloc::format;
use alloc::string::ToString;

#[test]
fn names_are_folded() {
    let name = IscsiName::parse("IQN.2016-06.io.SPDK:Disk1").unwrap();
    assert_eq!(name.as_str(), "iqn.2016-06.io.spdk:disk1");
    assert_eq!(IscsiName::parse("eui.02004567A425678D").unwrap().as_str(), "eui.02004567a425678d");
    assert!(IscsiName::parse("naa.52004567BA64678D").is_ok());
    assert!(IscsiName::parse("naa.62004567BA64678D0123456789ABCDEF").is_ok());
    assert!(IscsiName::parse("iqn.2001-04.com.example:größe").is_ok());
}

#[test]
fn length_is_223_bytes() {
    let name = |n: usize| format!("iqn.2001-04.com.example:{}", "a".repeat(n - 24));
    assert!(IscsiName::parse(&name(223)).is_ok());
    for n in [224, 2000] {
        assert_eq!(IscsiName::parse(&name(n)), Err(NameError::Length));
    }
    assert_eq!(IscsiName::parse(""), Err(NameError::Length));
    // İ is two bytes and folds to three.
    let grows = format!("iqn.2001-04.com.example:{}", "İ".repeat(99));
    assert_eq!((grows.len(), IscsiName::parse(&grows)), (222, Err(NameError::Length)));
}

#[test]
fn prohibited_characters() {
    for c in ['\0', '\n', ' ', '_', '/', ',', '%', '"', '~', '\u{7f}', '\u{85}', '\u{a0}', '\u{3000}'] {
        assert_eq!(IscsiName::parse(&format!("iqn.2001-04.com.example:a{c}b")), Err(NameError::Character), "{c:?}");
    }
}

#[test]
fn formats() {
    for bad in [
        "disk1",
        "iqn.",
        "iqn.2001-04",
        "iqn.2001-04.",
        "iqn.200-04.com",
        "iqn.2001.04.com",
        "iqn.x001-04.com.example",
        "eui.02004567A425678",
        "eui.02004567A425678DD",
        "eui.02004567A425678G",
        "naa.52004567BA64678D00",
        "iq",
        "é",
        "ééé",
    ] {
        assert_eq!(IscsiName::parse(bad), Err(NameError::Format), "{bad}");
    }
}

#[test]
fn k3_strings_are_shown_safely() {
    let shown = Printable("a\u{1b}[31m\n\0%n\u{202e}").to_string();
    assert_eq!(shown, "a\\u{1b}[31m\\n\\0%n\\u{202e}");
    let long = "x".repeat(limits::PRINTABLE_MAX + 1);
    assert_eq!(Printable(&long).to_string().chars().count(), limits::PRINTABLE_MAX + 1);
    assert!(Printable(&long).to_string().ends_with('…'));
}
