//! One thread that accepts, one thread per connection.

use crate::envelope;
use crate::error::{INVALID_REQUEST, PARSE_ERROR, RpcError};
use crate::frame::{FrameError, Framer};
use crate::limits::{MAX_CONNECTIONS, READ_CHUNK_BYTES, STOP_GRACE, WRITE_TIMEOUT};
use crate::socket::Listener;
use crate::table::{Context, MethodTable};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// A running server; [`Server::stop`] ends it.
#[derive(Debug)]
pub struct Server {
    listener: Arc<Listener>,
    connections: Arc<Connections>,
    acceptor: JoinHandle<()>,
}

impl Server {
    /// Serves `table` over `listener` until stopped.
    ///
    /// # Errors
    /// The system refused the accepting thread.
    pub fn start<C: Context>(listener: Listener, table: Arc<MethodTable<C>>, ctx: Arc<C>) -> io::Result<Self> {
        let listener = Arc::new(listener);
        let connections = Arc::new(Connections::default());
        let (accept_from, register_with) = (listener.clone(), connections.clone());
        let acceptor = Builder::new().name("rpc-accept".into()).spawn(move || {
            accept_all(&accept_from, &register_with, &table, &ctx);
        })?;
        Ok(Self { listener, connections, acceptor })
    }

    /// Accepts no more, lets calls in progress finish (for at most [`STOP_GRACE`]), and removes the socket file.
    pub fn stop(self) {
        self.connections.close();
        // SAFETY: the descriptor stays open as long as `self.listener`. Shutting it down makes accept(2) return.
        unsafe { libc::shutdown(self.listener.socket.as_raw_fd(), libc::SHUT_RDWR) };
        if self.acceptor.join().is_err() {
            tracing::error!("the rpc accept thread panicked");
        }
        self.connections.wait_empty();
    }
}

fn accept_all<C: Context>(
    listener: &Listener,
    connections: &Arc<Connections>,
    table: &Arc<MethodTable<C>>,
    ctx: &Arc<C>,
) {
    loop {
        match listener.socket.accept() {
            Ok((stream, _)) => serve_in_thread(stream, connections, table, ctx),
            Err(_) if connections.is_closed() => return,
            // The peer is gone already, or descriptors ran out: neither ends the server.
            Err(error) => {
                tracing::warn!(%error, "rpc accept failed");
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }
}

fn serve_in_thread<C: Context>(
    stream: UnixStream,
    connections: &Arc<Connections>,
    table: &Arc<MethodTable<C>>,
    ctx: &Arc<C>,
) {
    let Some(slot) = Connections::register(connections, &stream) else {
        refuse(stream);
        return;
    };
    let (table, ctx) = (table.clone(), ctx.clone());
    let spawned = Builder::new().name("rpc-conn".into()).spawn(move || {
        let _slot = slot;
        if let Err(error) = serve(stream, &table, &*ctx) {
            tracing::debug!(%error, "rpc connection lost");
        }
    });
    if let Err(error) = spawned {
        tracing::warn!(%error, "no thread for an rpc connection");
    }
}

fn refuse(mut stream: UnixStream) {
    tracing::warn!("rpc connection refused: {MAX_CONNECTIONS} are open");
    let error = RpcError::internal(format!("too many connections (at most {MAX_CONNECTIONS})"));
    let text = envelope::response(None, &Err(error)) + "\n";
    // A new socket's buffer takes a line without blocking; if it does not, closing says enough.
    let _ = stream.write_all(text.as_bytes());
}

/// Reads, answers and writes until the peer closes or the stream cannot be followed.
fn serve<C: Context>(mut stream: UnixStream, table: &MethodTable<C>, ctx: &C) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let mut framer = Framer::default();
    let mut chunk = vec![0; READ_CHUNK_BYTES];
    loop {
        let got = match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        framer.push(&chunk[..got]);
        loop {
            match framer.next_value() {
                Ok(None) => break,
                Ok(Some(message)) => {
                    let answer = table.answer(ctx, &message);
                    stream.write_all(answer.text.as_bytes())?;
                    if answer.close {
                        return Ok(());
                    }
                }
                Err(error) => return stream.write_all(frame_error_text(error).as_bytes()),
            }
        }
    }
}

fn frame_error_text(error: FrameError) -> String {
    let code = match error {
        FrameError::Syntax | FrameError::Depth => PARSE_ERROR,
        FrameError::TooLong => INVALID_REQUEST,
    };
    envelope::response(None, &Err(RpcError::new(code, error.to_string()))) + "\n"
}

/// The open connections, so that stopping can reach them.
#[derive(Debug, Default)]
struct Connections {
    state: Mutex<State>,
    gone: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    next: u64,
    open: HashMap<u64, UnixStream>,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a connection unless there are too many or the server is stopping.
    fn register(this: &Arc<Self>, stream: &UnixStream) -> Option<Slot> {
        let handle = stream.try_clone().ok()?;
        let mut state = this.lock();
        if state.closed || state.open.len() >= MAX_CONNECTIONS {
            return None;
        }
        let id = state.next;
        state.next += 1;
        state.open.insert(id, handle);
        Some(Slot { id, connections: this.clone() })
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ends reading on every connection: a call in progress can still be answered.
    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for stream in state.open.values() {
            // An error means that the peer is gone, which is what is wanted.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    fn wait_empty(&self) {
        let deadline = Instant::now() + STOP_GRACE;
        let mut state = self.lock();
        while !state.open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                tracing::warn!(connections = state.open.len(), "rpc calls still running were abandoned");
                return;
            }
            state = self.gone.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A place among the open connections, given back when dropped.
#[derive(Debug)]
struct Slot {
    id: u64,
    connections: Arc<Connections>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.id);
        self.connections.gone.notify_all();
    }
}

#[cfg(test)]
mod tests;
