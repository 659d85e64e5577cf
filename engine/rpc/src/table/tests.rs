use super::*;
use serde::Deserialize;
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};

struct Ctx {
    running: bool,
    calls: AtomicU32,
}

impl Context for Ctx {
    fn is_running(&self) -> bool {
        self.running
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sum {
    a: u32,
    #[serde(default)]
    b: u32,
    #[serde(default)]
    more: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    n: u32,
}

fn table() -> MethodTable<Ctx> {
    let mut table = MethodTable::default();
    table.add("sum", Phase::Runtime, |ctx: &Ctx, p: Sum| {
        ctx.calls.fetch_add(1, Ordering::Relaxed);
        Ok(json!(p.a + p.b + p.more.iter().map(|i| i.n).sum::<u32>()))
    });
    table.add_bare("early", Phase::Startup, |_| Ok(json!(true)));
    table.add_bare("panics", Phase::Both, |_| panic!("a defect"));
    table.add_bare("big", Phase::Both, |_| Ok(json!("x".repeat(MAX_RESPONSE_BYTES / 4))));
    table
}

fn answer(request: &str) -> String {
    let ctx = Ctx { running: true, calls: AtomicU32::new(0) };
    table().answer(&ctx, request.as_bytes()).text
}

fn error(request: &str) -> (i64, String) {
    let reply: Value = serde_json::from_str(&answer(request)).expect("a response");
    (reply["error"]["code"].as_i64().expect("a code"), reply["error"]["message"].as_str().unwrap().to_owned())
}

#[test]
fn calls_and_answers() {
    assert_eq!(
        answer(r#"{"jsonrpc":"2.0","method":"sum","id":3,"params":{"a":1,"b":2}}"#),
        "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":3}\n"
    );
}

#[test]
fn strict_parameters_name_the_field() {
    let call = |params: &str| error(&format!(r#"{{"method":"sum","id":1,"params":{params}}}"#));
    for (params, text) in [
        ("{}", "Invalid parameters: missing field `a`"),
        (r#"{"a":"1"}"#, "Invalid parameters: a: invalid type: string \"1\", expected u32"),
        (r#"{"a":-1}"#, "Invalid parameters: a: invalid value: integer `-1`, expected u32"),
        (r#"{"a":1,"more":[{"n":1},{"n":null}]}"#, "Invalid parameters: more[1].n: invalid type: null, expected u32"),
        ("[1,2]", "Invalid parameters: expected an object of named parameters"),
    ] {
        assert_eq!(call(params), (-32602, text.to_owned()));
    }
    let (code, text) = call(r#"{"a":1,"c":2}"#);
    assert!(code == -32602 && text.contains("unknown field `c`"), "{text}");
    let (code, text) = call(r#"{"a":1,"a":2}"#);
    assert!(code == -32602 && text.contains("duplicate field `a`"), "{text}");
    assert_eq!(error(r#"{"method":"sum","id":1}"#).0, -32602);
}

#[test]
fn bare_methods_refuse_even_an_empty_object() {
    let ctx = Ctx { running: false, calls: AtomicU32::new(0) };
    let empty = RawValue::from_string("{}".into()).unwrap();
    let refused = table().call(&ctx, "early", Some(&empty)).unwrap_err();
    assert_eq!(refused, RpcError::new(INVALID_PARAMS, "early method requires no parameters"));
    assert_eq!(table().call(&ctx, "early", None), Ok(json!(true)));
}

#[test]
fn phases_are_enforced() {
    assert_eq!(error(r#"{"method":"early","id":1}"#).0, -1);
    let ctx = Ctx { running: false, calls: AtomicU32::new(0) };
    assert_eq!(table().call(&ctx, "sum", None).unwrap_err().code, -1);
    assert_eq!(error(r#"{"method":"nope","id":1}"#), (-32601, "Method not found".into()));
}

#[test]
fn notifications_are_answered_only_when_they_fail() {
    assert_eq!(answer(r#"{"method":"sum","params":{"a":1}}"#), "");
    assert_eq!(answer(r#"{"method":"sum","params":{"a":1},"id":null}"#), "");
    let failed = answer(r#"{"method":"nope"}"#);
    assert!(failed.starts_with(r#"{"jsonrpc":"2.0","id":null,"error""#), "{failed}");
}

#[test]
fn batches() {
    let reply = answer(
        r#"[{"method":"sum","id":1,"params":{"a":1}},{"method":"sum","params":{"a":9}},7,{"method":"x","id":1}]"#,
    );
    let reply: Value = serde_json::from_str(&reply).unwrap();
    let codes: Vec<_> = reply.as_array().unwrap().iter().map(|r| r["error"]["code"].as_i64()).collect();
    assert_eq!(codes, [None, Some(-32600), Some(-32601)]);
    assert_eq!(answer(r#"[{"method":"sum","params":{"a":9}}]"#), "", "only notifications");
    assert_eq!(error("[]").0, -32600);
}

#[test]
fn only_a_parse_error_closes() {
    let ctx = Ctx { running: true, calls: AtomicU32::new(0) };
    assert!(table().answer(&ctx, b"{\"a\" 1}").close);
    assert!(!table().answer(&ctx, b"12").close);
    assert!(!table().answer(&ctx, b"[]").close);
}

#[test]
fn a_panic_costs_one_call() {
    let (code, text) = error(r#"{"method":"panics","id":1}"#);
    assert_eq!((code, text.as_str()), (-32603, "Internal error: method panics panicked"));
}

#[test]
fn responses_are_bounded() {
    let batch = format!("[{}]", [r#"{"method":"big","id":1}"#; 6].join(","));
    assert_eq!(error(&batch).0, -32603);
}
