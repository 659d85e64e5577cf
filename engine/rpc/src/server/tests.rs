use super::*;
use crate::client::{Client, ClientError};
use crate::limits::{MAX_DEPTH, MAX_REQUEST_BYTES};
use crate::table::Phase;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;

struct Ctx;

impl Context for Ctx {
    fn is_running(&self) -> bool {
        true
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Echo {
    text: String,
}

struct Running {
    server: Option<Server>,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Running {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc.sock");
        let mut table = MethodTable::default();
        table.add("echo", Phase::Both, |_: &Ctx, p: Echo| Ok(json!(p.text)));
        table.add_bare("seven", Phase::Both, |_: &Ctx| Ok(json!(7)));
        let listener = Listener::bind(&path).unwrap();
        let server = Server::start(listener, Arc::new(table), Arc::new(Ctx)).unwrap();
        Self { server: Some(server), path, _dir: dir }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).unwrap()
    }

    /// Sends bytes, half-closes, and returns all that comes back.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may close before it has read everything; what it wrote is still there to read.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(got @ 1..) = stream.read(&mut chunk) {
            text.extend_from_slice(&chunk[..got]);
        }
        String::from_utf8(text).unwrap()
    }

    fn code_of(&self, bytes: &[u8]) -> i64 {
        let text = self.exchange(bytes);
        let reply: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("one response, got {text:?}"));
        reply["error"]["code"].as_i64().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.take().unwrap().stop();
        assert!(!self.path.exists());
    }
}

#[test]
fn the_client_gets_results_and_errors() {
    let running = Running::start();
    let mut client = Client::connect(&running.path).unwrap();
    assert_eq!(client.call("echo", Some(&json!({"text": "hi"}))).unwrap(), json!("hi"));
    assert_eq!(client.call("seven", None).unwrap(), json!(7));
    match client.call("nope", None) {
        Err(ClientError::Rpc(error)) => assert_eq!(error.code, -32601),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.call("seven", None).unwrap(), json!(7), "the connection lives on");
}

#[test]
fn pretty_printed_back_to_back_and_split_requests() {
    let running = Running::start();
    let request = serde_json::to_string_pretty(&json!({"jsonrpc": "2.0", "method": "seven", "id": 1})).unwrap();
    let text = running.exchange(format!("{request}{request}").as_bytes());
    assert_eq!(text, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}\n".repeat(2));

    let mut stream = running.connect();
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut reply = [0; 128];
    let got = stream.read(&mut reply).unwrap();
    assert_eq!(&reply[..got], b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":7}\n");
}

#[test]
fn what_cannot_be_followed_is_answered_and_closed() {
    let running = Running::start();
    assert_eq!(running.code_of(b"{\"a\":NaN}{\"method\":\"seven\",\"id\":1}"), -32700);
    assert_eq!(running.code_of(&vec![b'['; 100_000]), -32700);
    assert_eq!(running.code_of(&[vec![b'['; MAX_DEPTH + 1], vec![b']'; MAX_DEPTH + 1]].concat()), -32700);
    let huge = [b"{\"method\":\"".to_vec(), vec![b'a'; MAX_REQUEST_BYTES * 4]].concat();
    assert_eq!(running.code_of(&huge), -32600);
}

#[test]
fn a_partial_request_then_close_is_silent() {
    let running = Running::start();
    assert_eq!(running.exchange(b"{\"method\":\"se"), "");
    assert_eq!(running.exchange(b""), "");
}

#[test]
fn duplicate_ids_are_the_callers_business() {
    let running = Running::start();
    let text = running.exchange(br#"[{"method":"seven","id":1},{"method":"seven","id":1}]"#);
    assert_eq!(text.matches("\"id\":1").count(), 2);
}

#[test]
fn connections_are_bounded() {
    let running = Running::start();
    let mut held: Vec<_> = (0..MAX_CONNECTIONS).map(|_| Client::connect(&running.path).unwrap()).collect();
    for client in &mut held {
        client.call("seven", None).unwrap();
    }
    let refused = running.exchange(b"");
    assert!(refused.contains("too many connections"), "{refused}");
    drop(held);
    // A place is free as soon as the server has noticed one of the closings.
    while running.exchange(b"").contains("too many") {
        std::thread::yield_now();
    }
    assert_eq!(Client::connect(&running.path).unwrap().call("seven", None).unwrap(), json!(7));
}

#[test]
fn stopping_does_not_wait_for_idle_clients() {
    let running = Running::start();
    let mut idle = Client::connect(&running.path).unwrap();
    idle.call("seven", None).unwrap();
    let begun = Instant::now();
    drop(running);
    assert!(begun.elapsed() < STOP_GRACE);
    assert!(matches!(idle.call("seven", None), Err(ClientError::Io(_) | ClientError::Closed)));
}
