use super::*;

fn all(framer: &mut Framer) -> Vec<String> {
    let mut out = Vec::new();
    while let Some(value) = framer.next_value().expect("valid stream") {
        out.push(String::from_utf8(value).expect("utf-8"));
    }
    out
}

fn error_of(bytes: &[u8]) -> FrameError {
    let mut framer = Framer::default();
    framer.push(bytes);
    framer.next_value().expect_err("must be refused")
}

#[test]
fn back_to_back_values_need_no_delimiter() {
    let mut framer = Framer::default();
    framer.push(br#" {"a":1}{"b":[2]}["x"] "s" 12 true "#);
    assert_eq!(all(&mut framer), [r#"{"a":1}"#, r#"{"b":[2]}"#, r#"["x"]"#, r#""s""#, "12", "true"]);
    assert!(!framer.is_partial());
}

#[test]
fn every_split_gives_the_same_values() {
    let text = br#"{"m":"a\"}{\\","p":[{},"]"]} [1,2]"#;
    for cut in 0..text.len() {
        let mut framer = Framer::default();
        framer.push(&text[..cut]);
        let mut got = all(&mut framer);
        framer.push(&text[cut..]);
        got.extend(all(&mut framer));
        assert_eq!(got, [r#"{"m":"a\"}{\\","p":[{},"]"]}"#, "[1,2]"], "cut at {cut}");
    }
}

#[test]
fn one_byte_at_a_time() {
    let mut framer = Framer::default();
    let mut got = Vec::new();
    for byte in br#"{"method":"x","id":"\u00e9"}"# {
        framer.push(&[*byte]);
        got.extend(all(&mut framer));
    }
    assert_eq!(got, [r#"{"method":"x","id":"\u00e9"}"#]);
}

#[test]
fn garbage_is_refused_without_waiting_for_its_end() {
    assert_eq!(error_of(b"{hello"), FrameError::Syntax);
    assert_eq!(error_of(b"{]"), FrameError::Syntax);
    assert_eq!(error_of(b"}"), FrameError::Syntax);
    assert_eq!(error_of(b"\x00"), FrameError::Syntax);
    assert_eq!(error_of(b"{\"a\":NaN"), FrameError::Syntax);
    assert_eq!(error_of(b"\xff\xfe"), FrameError::Syntax);
}

#[test]
fn depth_is_limited() {
    let deep = |n: usize| [vec![b'['; n], vec![b']'; n]].concat();
    let mut framer = Framer::default();
    framer.push(&deep(MAX_DEPTH));
    assert_eq!(all(&mut framer).len(), 1);
    assert_eq!(error_of(&deep(MAX_DEPTH + 1)), FrameError::Depth);
    assert_eq!(error_of(&vec![b'['; 100_000]), FrameError::Depth);
}

#[test]
fn length_is_limited() {
    let of_len = |n: usize| format!("[\"{}\"]", "a".repeat(n - 4)).into_bytes();
    let mut framer = Framer::default();
    framer.push(&of_len(MAX_REQUEST_BYTES));
    assert_eq!(all(&mut framer).len(), 1);
    assert_eq!(error_of(&of_len(MAX_REQUEST_BYTES + 1)), FrameError::TooLong);
    let unfinished = [b"[\"".to_vec(), vec![b'a'; MAX_REQUEST_BYTES]].concat();
    assert_eq!(error_of(&unfinished), FrameError::TooLong);
    assert_eq!(error_of(&[b'1'; MAX_SCALAR_BYTES + 1]), FrameError::Syntax);
}
