use super::*;
use crate::engine::Rehearsal;
use crate::log::{Level, LogControl};

fn status(head: &str) -> &'static str {
    respond(head, || "body".into()).0
}

#[test]
fn only_get_metrics() {
    assert_eq!(
        respond("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", || "body".into()),
        ("200 OK", METRICS, "body".into())
    );
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), "404 Not Found");
    assert_eq!(status("GET /metrics/../x HTTP/1.1\r\n\r\n"), "404 Not Found");
    assert_eq!(status("POST /metrics HTTP/1.1\r\n\r\n"), "405 Method Not Allowed");
    for head in ["", "GET", "GET /metrics", "\0\0\0", "GET metrics HTTP/1.1 x"] {
        assert!(matches!(status(head), "400 Bad Request" | "405 Method Not Allowed"), "{head:?}");
    }
}

/// One test, because a process has one recorder.
#[test]
fn serves_and_limits() {
    let ctx = Control::new(Box::new(Rehearsal::default()), LogControl::detached(Level::Notice));
    let endpoint = Endpoint::start("127.0.0.1:0".parse().unwrap(), Arc::new(ctx)).unwrap();
    let address = endpoint.address();
    let ask = |request: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(request);
        let _ = stream.shutdown(Shutdown::Write);
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8(reply).unwrap()
    };
    let reply = ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(
        reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.contains("isere_connections{state=\"running\"} 0"),
        "{reply}"
    );
    let reply = ask(&[b'a'; MAX_HTTP_HEAD_BYTES + 1]);
    assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 431"), "{reply}");
    assert!(ask(b"GET /other HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    endpoint.stop();
    assert!(TcpStream::connect(address).is_err());
}
