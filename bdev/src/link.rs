//! A channel's operations on their way to another thread and back: two rings, exactly two messages an operation.
//!
//! Each side may go first. A client that is dropped leaves its operations to the server, which completes them into
//! the void (their buffers are lost to their pools, as with any channel dropped in mid-flight). A server that is
//! dropped answers what it still holds, and the client answers the rest, with [`Status::Removed`].

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use primitives::Tag;
use reactors::{Bell, Ring};

use crate::channel::{AbortOutcome, DoneBatch};
use crate::fifo::Fifo;
use crate::io::{Done, Io, Status};
use crate::limits;
use crate::track::Tracker;

/// What a client asks of the server.
#[derive(Debug)]
pub(crate) enum Request {
    /// Do this.
    Submit(Io),
    /// Cut short the operation of this tag. At most one for each operation, so that the ring has room for all.
    Abort(Tag),
}

#[derive(Debug)]
struct Shared {
    requests: Ring<Request>,
    replies: Ring<Done>,
    client_gone: AtomicBool,
    server_gone: AtomicBool,
}

/// Makes the two ends of a link whose server wakes on `server`.
pub(crate) fn link(server: Arc<Bell>) -> io::Result<(Client, Server)> {
    let bell = Arc::new(Bell::new()?);
    let shared = Arc::new(Shared {
        requests: Ring::new(2 * limits::CHANNEL_DEPTH, server),
        replies: Ring::new(limits::CHANNEL_DEPTH, bell.clone()),
        client_gone: AtomicBool::new(false),
        server_gone: AtomicBool::new(false),
    });
    let client = Client { shared: shared.clone(), bell, armed: false, tracker: Tracker::new(), unannounced: false };
    Ok((client, Server { shared, unannounced: false }))
}

/// What the client remembers of an operation.
#[derive(Debug, Default)]
struct Sent {
    abort_sent: bool,
}

/// The end that submits.
#[derive(Debug)]
pub(crate) struct Client {
    shared: Arc<Shared>,
    /// Rung by the server.
    bell: Arc<Bell>,
    armed: bool,
    tracker: Tracker<Sent>,
    unannounced: bool,
}

impl Client {
    /// Queues an operation; gives it back when as many as a channel holds are under way.
    pub fn submit(&mut self, mut io: Io) -> Result<(), Io> {
        let tag = io.tag;
        let Ok(own) = self.tracker.enter(tag, Sent::default()) else { return Err(io) };
        io.tag = own;
        if let Err(request) = self.shared.requests.push_quiet(Request::Submit(io)) {
            self.tracker.leave(own);
            let Request::Submit(mut io) = request else { unreachable!("the ring returns what it was given") };
            io.tag = tag;
            return Err(io);
        }
        self.unannounced = true;
        Ok(())
    }

    /// Wakes the server for what was queued since the last call.
    pub fn kick(&mut self) {
        if std::mem::take(&mut self.unannounced) {
            self.shared.requests.notify();
        }
    }

    /// Moves replies into `batch`.
    pub fn reap(&mut self, batch: &mut DoneBatch) {
        let before = batch.len();
        while batch.room() > 0
            && let Some(done) = self.shared.replies.pop()
        {
            self.deliver(done, batch);
        }
        if batch.room() > 0 && self.tracker.len() > 0 && self.shared.server_gone.load(Ordering::Acquire) {
            self.reap_orphans(batch);
        }
        if self.armed && batch.len() > before {
            self.armed = false;
            self.bell.disarm();
        }
    }

    /// The server is gone and answers no more: what it left in the rings is all there is.
    #[cold]
    fn reap_orphans(&mut self, batch: &mut DoneBatch) {
        while batch.room() > 0
            && let Some(done) = self.shared.replies.pop()
        {
            self.deliver(done, batch);
        }
        while batch.room() > 0
            && let Some(request) = self.shared.requests.pop()
        {
            if let Request::Submit(io) = request {
                self.deliver(refused(io), batch);
            }
        }
        // The server took these along, with their buffers.
        while batch.room() > 0
            && let Some((tag, _)) = self.tracker.leave_any()
        {
            let _ = batch.push(Done { tag, status: Status::Removed, data: None });
        }
    }

    fn deliver(&mut self, mut done: Done, batch: &mut DoneBatch) {
        if let Some((tag, _)) = self.tracker.leave(done.tag) {
            done.tag = tag;
            // The callers saw room.
            let _ = batch.push(done);
        }
    }

    /// Tells the server to cut an operation short.
    pub fn abort(&mut self, tag: Tag) -> AbortOutcome {
        let Some((own, sent)) = self.tracker.find(tag) else { return AbortOutcome::Unknown };
        if !sent.abort_sent {
            // There is room for one request and one abort of each operation, unless late aborts of finished ones are
            // in the way; then the caller may ask again.
            sent.abort_sent = self.shared.requests.push(Request::Abort(own)).is_ok();
        }
        AbortOutcome::WillComplete
    }

    pub fn outstanding(&self) -> usize {
        self.tracker.len()
    }

    pub fn wake_fd(&self) -> RawFd {
        self.bell.fd()
    }

    /// Asks to be woken by the next reply; `false` when there is one already.
    pub fn arm(&mut self) -> bool {
        self.kick();
        self.bell.arm();
        let ready = !self.shared.replies.is_empty() || self.shared.server_gone.load(Ordering::Acquire);
        if ready {
            self.bell.disarm();
        }
        self.armed = !ready;
        !ready
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.client_gone.store(true, Ordering::Release);
        self.shared.requests.notify();
    }
}

/// The end that executes.
#[derive(Debug)]
pub(crate) struct Server {
    shared: Arc<Shared>,
    unannounced: bool,
}

impl Server {
    fn next(&mut self) -> Option<Request> {
        self.shared.requests.pop()
    }

    /// Moves requests to `backlog`. Operations to be aborted that are still in it are answered; the tags of others
    /// go to `abort`.
    pub fn pull(&mut self, backlog: &mut Fifo<Io>, mut abort: impl FnMut(Tag)) {
        while let Some(request) = self.next() {
            match request {
                Request::Submit(io) => {
                    if let Err(io) = backlog.push(io) {
                        // A client has no more under way than a backlog holds.
                        debug_assert!(false, "a client exceeds its depth");
                        self.reply(refused(io));
                    }
                }
                Request::Abort(tag) => match backlog.take(|io| io.tag == tag) {
                    // Nothing was read: the block size does not matter.
                    Some(io) => self.reply(io.done(Status::Aborted, 0)),
                    None => abort(tag),
                },
            }
        }
    }

    /// No request waits in the ring.
    pub fn is_idle(&self) -> bool {
        self.shared.requests.is_empty()
    }

    /// Queues a reply; the client learns of it with [`Server::announce`].
    pub fn reply(&mut self, done: Done) {
        // There is room for as many as the client may have under way.
        let lost = self.shared.replies.push_quiet(done).is_err();
        debug_assert!(!lost, "more replies than requests");
        self.unannounced = true;
    }

    /// Wakes the client for what was queued since the last call.
    pub fn announce(&mut self) {
        if std::mem::take(&mut self.unannounced) {
            self.shared.replies.notify();
        }
    }

    /// Nobody waits for replies any more.
    pub fn client_gone(&self) -> bool {
        self.shared.client_gone.load(Ordering::Acquire)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        while let Some(request) = self.next() {
            if let Request::Submit(io) = request {
                self.reply(refused(io));
            }
        }
        // Requests that slip in between are answered by the client itself.
        self.shared.server_gone.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        self.shared.replies.notify();
    }
}

fn refused(io: Io) -> Done {
    // Nothing was read: the block size does not matter.
    io.done(Status::Removed, 0)
}

#[cfg(test)]
mod tests;
