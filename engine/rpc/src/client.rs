//! A small blocking client.

use crate::error::RpcError;
use crate::limits::MAX_RESPONSE_BYTES;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with an error.
    #[error("{0}")]
    Rpc(RpcError),
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server closed the connection before it answered.
    #[error("the server closed the connection before it answered")]
    Closed,
    /// The answer was no JSON-RPC response to the call.
    #[error("not a JSON-RPC response: {0}")]
    Malformed(String),
}

/// One connection to a server; calls are made one at a time.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    next_id: u64,
}

#[derive(Deserialize)]
struct Response {
    id: Value,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i32,
    message: String,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::connect(path)?, next_id: 1 })
    }

    /// Gives up on an answer after `timeout`; none by default.
    ///
    /// # Errors
    /// A zero timeout.
    pub fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)
    }

    /// Calls a method and waits for its answer.
    ///
    /// # Errors
    /// See [`ClientError`]. After anything but [`ClientError::Rpc`] the connection is of no further use.
    pub fn call(&mut self, method: &str, params: Option<&Value>) -> Result<Value, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        let mut request = json!({"jsonrpc": "2.0", "method": method, "id": id});
        if let Some(params) = params {
            request["params"] = params.clone();
        }
        self.stream.write_all(format!("{request}\n").as_bytes())?;
        let reply = self.read_value()?;
        let malformed = |reason: String| ClientError::Malformed(reason);
        let response: Response = serde_json::from_slice(&reply).map_err(|e| malformed(e.to_string()))?;
        match response {
            Response { error: Some(error), .. } => Err(ClientError::Rpc(RpcError::new(error.code, error.message))),
            Response { id: got, .. } if got != id => Err(malformed(format!("id {got} where {id} was expected"))),
            // A null result decodes as an absent one.
            Response { result, .. } => Ok(result.unwrap_or(Value::Null)),
        }
    }

    /// Reads to the end of one value. Responses are longer than requests may be, so the server's framer, which
    /// enforces the limits of requests, does not serve here.
    fn read_value(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut reply = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        // Our server ends every response with a newline and has none within it.
        while reply.last() != Some(&b'\n') {
            match self.stream.read(&mut chunk)? {
                0 => return Err(ClientError::Closed),
                got => reply.extend_from_slice(&chunk[..got]),
            }
            if reply.len() > MAX_RESPONSE_BYTES {
                return Err(ClientError::Malformed(format!("longer than {MAX_RESPONSE_BYTES} bytes")));
            }
        }
        Ok(reply)
    }
}
