//! `GET /metrics`, and nothing else. One request at a time, one request per connection, with limits on its size and
//! duration: enough for a scraper, and too little to hurt the control plane.

use super::harvest::harvest;
use crate::context::Control;
use crate::limits::{HTTP_TIMEOUT, MAX_HTTP_HEAD_BYTES};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

/// The running endpoint; [`Endpoint::stop`] ends it.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Endpoint {
    /// Serves the metrics of `ctx` at `address`.
    ///
    /// # Errors
    /// The address cannot be had, or another recorder is installed in this process.
    pub fn start(address: SocketAddr, ctx: Arc<Control>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let exporter = PrometheusBuilder::new().install_recorder().map_err(io::Error::other)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = stopping.clone();
        let thread = std::thread::Builder::new().name("metrics".into()).spawn(move || {
            while let Some(stream) = next(&listener, &stop) {
                if let Err(error) = answer(stream, &ctx, &exporter) {
                    tracing::debug!(%error, "metrics request failed");
                }
            }
        })?;
        Ok(Self { address, stopping, thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends the endpoint after the request it is serving.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes accept(2). If even loopback fails, the thread ends with the process.
        let woken = TcpStream::connect_timeout(&wake_address(self.address), HTTP_TIMEOUT).is_ok();
        if woken && self.thread.join().is_err() {
            tracing::error!("the metrics thread panicked");
        }
    }
}

/// A wildcard address is no destination.
fn wake_address(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => {}
        ip if ip.is_ipv4() => address.set_ip(std::net::Ipv4Addr::LOCALHOST.into()),
        _ => address.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
    }
    address
}

fn next(listener: &TcpListener, stop: &AtomicBool) -> Option<TcpStream> {
    loop {
        let accepted = listener.accept();
        if stop.load(Ordering::Acquire) {
            return None;
        }
        match accepted {
            Ok((stream, _)) => return Some(stream),
            Err(error) => {
                tracing::warn!(%error, "metrics accept failed");
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }
}

fn answer(mut stream: TcpStream, ctx: &Control, exporter: &PrometheusHandle) -> io::Result<()> {
    stream.set_write_timeout(Some(HTTP_TIMEOUT))?;
    let (status, kind, body) = match read_head(&mut stream)? {
        Some(head) => respond(&head, || {
            harvest(ctx);
            exporter.run_upkeep();
            exporter.render()
        }),
        None => ("431 Request Header Fields Too Large", TEXT, "request too long\n".into()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.shutdown(Shutdown::Write)
}

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Status, content type and body for a request head.
fn respond(head: &str, render: impl FnOnce() -> String) -> (&'static str, &'static str, String) {
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some("GET"), Some("/metrics"), Some("HTTP/1.1" | "HTTP/1.0")) => ("200 OK", METRICS, render()),
        (Some("GET"), Some(path), Some(_)) if path.starts_with('/') => {
            ("404 Not Found", TEXT, "there is only /metrics\n".into())
        }
        (Some(_), Some(_), Some(version)) if version.starts_with("HTTP/") => {
            ("405 Method Not Allowed", TEXT, "there is only GET /metrics\n".into())
        }
        _ => ("400 Bad Request", TEXT, "not an HTTP request\n".into()),
    }
}

/// Reads up to the blank line that ends a request head; `None` if it is too long.
fn read_head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let deadline = Instant::now() + HTTP_TIMEOUT;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        // The timeout is for the head as a whole: one byte at a time must not last for ever.
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk)? {
            0 => break,
            got => head.extend_from_slice(&chunk[..got]),
        }
        if head.len() > MAX_HTTP_HEAD_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

#[cfg(test)]
mod tests;
