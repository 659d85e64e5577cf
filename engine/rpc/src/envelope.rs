//! The JSON-RPC 2.0 envelope: what a request may contain, what a response looks like.

use crate::error::{INVALID_REQUEST, PARSE_ERROR, RpcError};
use serde::Deserialize;
use serde_json::value::{RawValue, Value};
use std::borrow::Cow;

/// One call, still pointing into the request text.
#[derive(Debug)]
pub struct Call<'a> {
    /// Method name.
    pub method: Cow<'a, str>,
    /// Parameters: an object or array as sent; absent and `null` are the same.
    pub params: Option<&'a RawValue>,
    /// The id as sent; a request without one (or with `null`) is a notification.
    pub id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// Reads one envelope.
///
/// # Errors
/// "Invalid request" for anything that is no JSON-RPC 2.0 call; its response carries a null id.
pub fn parse_call(text: &str) -> Result<Call<'_>, RpcError> {
    let invalid = || RpcError::new(INVALID_REQUEST, "Invalid request");
    // A derived structure would also take an array of its fields in order.
    if !text.starts_with('{') {
        return Err(invalid());
    }
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| invalid())?;
    if envelope.jsonrpc.is_some_and(|version| version != "2.0") {
        return Err(invalid());
    }
    if envelope.id.is_some_and(|id| !matches!(id.get().as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'))) {
        return Err(invalid());
    }
    if envelope.params.is_some_and(|params| !params.get().starts_with(['{', '['])) {
        return Err(invalid());
    }
    Ok(Call { method: envelope.method, params: envelope.params, id: envelope.id })
}

/// A top-level value: one call or a batch.
#[derive(Debug)]
pub enum Message<'a> {
    /// A single request, not yet read as an envelope.
    Single(&'a str),
    /// A batch; the elements may be anything.
    Batch(Vec<&'a RawValue>),
}

/// Splits a whole JSON value into the calls it holds.
///
/// # Errors
/// A parse error if the text is not JSON (close the connection), "Invalid request" for an empty batch.
pub fn parse_message(bytes: &[u8]) -> Result<Message<'_>, RpcError> {
    let parse_error = || RpcError::new(PARSE_ERROR, "Parse error");
    let whole: &RawValue = serde_json::from_slice(bytes).map_err(|_| parse_error())?;
    let text = whole.get();
    if !text.starts_with('[') {
        return Ok(Message::Single(text));
    }
    let batch: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| parse_error())?;
    if batch.is_empty() {
        return Err(RpcError::new(INVALID_REQUEST, "Invalid request"));
    }
    Ok(Message::Batch(batch))
}

/// The response text for one call, without a trailing newline. `id: None` is written as null.
pub fn response(id: Option<&RawValue>, outcome: &Result<Value, RpcError>) -> String {
    let id = id.map_or("null", RawValue::get);
    match outcome {
        Ok(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        Err(RpcError { code, message }) => {
            let message = Value::from(message.as_str());
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_clients_send() {
        let call = parse_call(r#"{"jsonrpc":"2.0","method":"a","id":7,"params":{"x":1}}"#).unwrap();
        assert_eq!(
            (call.method.as_ref(), call.id.unwrap().get(), call.params.unwrap().get()),
            ("a", "7", r#"{"x":1}"#)
        );
        let call = parse_call(r#"{"method":"\u0061","params":null,"id":null}"#).unwrap();
        assert!(call.method == "a" && call.params.is_none() && call.id.is_none());
        assert!(parse_call(r#"{"method":"a","id":"s"}"#).is_ok());
        assert!(parse_call(r#"{"method":"a","id":-1.5,"params":[]}"#).is_ok());
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            r#"{}"#,
            r#"{"method":1}"#,
            r#"{"method":null}"#,
            r#"{"method":"a","jsonrpc":"1.0"}"#,
            r#"{"method":"a","jsonrpc":2.0}"#,
            r#"{"method":"a","id":{}}"#,
            r#"{"method":"a","id":[1]}"#,
            r#"{"method":"a","id":true}"#,
            r#"{"method":"a","params":1}"#,
            r#"{"method":"a","params":"x"}"#,
            r#"{"method":"a","extra":1}"#,
            r#"{"method":"a","method":"b"}"#,
            r#"["2.0","a"]"#,
            "12",
            "null",
        ] {
            assert_eq!(parse_call(text).expect_err(text).code, INVALID_REQUEST, "{text}");
        }
    }

    #[test]
    fn responses_echo_the_id_as_sent() {
        let call = parse_call(r#"{"method":"a","id":1.50}"#).unwrap();
        assert_eq!(response(call.id, &Ok(Value::Bool(true))), r#"{"jsonrpc":"2.0","id":1.50,"result":true}"#);
        let text = response(None, &Err(RpcError::new(-17, "say \"no\"")));
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-17,"message":"say \"no\""}}"#);
    }

    #[test]
    fn a_batch_must_hold_something() {
        assert!(matches!(parse_message(b"[1,{}]"), Ok(Message::Batch(b)) if b.len() == 2));
        assert_eq!(parse_message(b"[]").unwrap_err().code, INVALID_REQUEST);
        assert_eq!(parse_message(b"{\"a\":}").unwrap_err().code, PARSE_ERROR);
        assert_eq!(parse_message(b"{\"a\":\"\xff\"}").unwrap_err().code, PARSE_ERROR);
    }
}
