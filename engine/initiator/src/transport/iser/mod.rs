//! PDUs over RDMA: the initiator's side of iSER (RFC 7145), as Linux's ib_iser plays it.
//!
//! Every PDU is a Send, an iSER header before it. The bytes a command reads or writes never pass through here: their
//! buffer goes into a window that the command advertises, the target writes or reads it, and its response, which should
//! close the window, says that it is done. What the response leaves open is closed from this side before the buffer
//! goes back.
mod buffers;
mod link;
mod messages;
mod siw;
mod tasks;
mod transmit;

pub use siw::over_siw;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use iscsi::wire::{self, Bhs, ScsiCommand, ScsiResponse};
use primitives::{Buf, Serial};
use rdma::{
    Completion, CompletionBatch, Counters, Memory, Opcode, Provider, QueuePair, ReceiveRequest, Refused, Stag, Status,
};

use super::{Agreed, Broken, Data, Finished, Protocol, Transport};
use crate::error::{Error, Violation};
use crate::limits::{CONTROL_SLOTS, ISER_BATCH, ISER_DROP_PATIENCE, ISER_SEGMENT};
use crate::options::Options;
use buffers::{Buffers, Counts};
use link::Link;
use messages::{Arrived, Messages};
use tasks::Tasks;

/// What a session needs of its transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Commands outstanding at once.
    pub commands: usize,
    /// Slots of tasks, commands and others.
    pub slots: usize,
}

impl Setup {
    /// For a session of these options.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        Self { commands: options.queue_depth, slots: options.queue_depth + CONTROL_SLOTS }
    }
}

/// What requests are, by the kind of their tags. Buffers say themselves where they belong.
mod tag {
    use primitives::Tag;

    pub const RECEIVE: Tag = Tag::new(1, 0, 0, 0);
    pub const SEND: Tag = Tag::new(2, 0, 0, 0);
    pub const BIND: Tag = Tag::new(3, 0, 0, 0);
    pub const INVALIDATE: Tag = Tag::new(4, 0, 0, 0);
}

/// An RDMA connection that carries PDUs, over a provider of its own.
pub struct Iser<P: Provider> {
    name: &'static str,
    agreed: Agreed,
    tasks: Tasks,
    messages: Messages,
    batch: CompletionBatch,
    /// Before the buffers, which it may still refer to.
    link: Link<P>,
    buffers: Buffers,
    /// Data-Out PDUs made before the memory they are copied from goes into a window.
    data_out: VecDeque<Buf>,
    /// What commands' buffers may lie in.
    memory: Vec<Memory>,
    signal_every: usize,
    unsignalled: usize,
}

impl<P: Provider> Iser<P> {
    /// Begins to connect to `peer` over `provider`, which has no other user; `name` is what reports call it.
    ///
    /// # Errors
    /// [`Error::Rdma`], or [`Error::Option`] when the provider's queues are too short for the session.
    pub fn connect(provider: P, name: &'static str, peer: SocketAddr, setup: Setup) -> Result<Self, Error> {
        let refused = |what| move |source| Error::Rdma { provider: name, what, peer, source };
        let counts = Counts::of(setup);
        let link = Link::prepare(provider, name, peer, setup)?;
        let mut iser = Self {
            signal_every: counts.signal_every(link.send_depth),
            name,
            agreed: Agreed::DURING_LOGIN,
            tasks: Tasks::new(setup.slots),
            messages: Messages::new(counts.receives()),
            batch: CompletionBatch::new(ISER_BATCH),
            link,
            buffers: Buffers::new(counts),
            data_out: VecDeque::with_capacity(counts.large_sends),
            memory: Vec::new(),
            unsignalled: 0,
        };
        for memory in iser.buffers.memory() {
            iser.link.add_memory(memory).map_err(refused("register message buffers"))?;
        }
        while let Some(buf) = iser.buffers.large_receive() {
            post_receive(&mut iser.link, &mut iser.buffers, buf);
        }
        iser.link.start().map_err(refused("ask for a connection"))?;
        iser.link.queue.ring();
        Ok(iser)
    }

    /// Takes in events and completions.
    fn collect(&mut self) {
        self.link.progress();
        let Self { link, batch, buffers, messages, .. } = self;
        loop {
            let more = link.poll(batch);
            for done in batch.drain() {
                link.failed(done.status);
                match (done.opcode, done.status) {
                    (Opcode::Receive, Status::Success) => {
                        let Completion { mut sgl, invalidated, .. } = done;
                        if let Some(buf) = sgl.take_buf() {
                            messages.push(Arrived { buf, invalidated });
                        }
                    }
                    (Opcode::Receive, _) => {
                        let mut sgl = done.sgl;
                        if let Some(buf) = sgl.take_buf() {
                            buffers.retire(buf);
                        }
                    }
                    // Binds and invalidations have no memory.
                    _ => buffers.sent(done.sgl),
                }
            }
            if !more {
                return;
            }
        }
    }

    /// Checks a PDU against the tasks and windows it speaks of.
    fn judge(&mut self, bhs: &Bhs, invalidated: Option<Stag>) -> Result<(), Violation> {
        if let Some(stag) = invalidated.filter(|_| !self.link.invalidates) {
            return Err(Violation::Invalidated(stag.0));
        }
        match (bhs.opcode(), invalidated) {
            (wire::Opcode::SCSI_RESPONSE, _) => self.tasks.responded(&ScsiResponse::decode(bhs), invalidated),
            (_, Some(stag)) => Err(Violation::Invalidated(stag.0)),
            (_, None) => Ok(()),
        }
    }
}

impl<P: Provider> fmt::Debug for Iser<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iser").field("name", &self.name).field("queue", &self.link.queue).finish_non_exhaustive()
    }
}

/// Posts a receive; it leaves with the next flush.
fn post_receive<P: Provider>(link: &mut Link<P>, buffers: &mut Buffers, buf: Buf) {
    if let Err(refusal) = link.queue.post_receive(ReceiveRequest { tag: tag::RECEIVE, buf }) {
        link.refused(refusal.why);
        buffers.retire(refusal.request.buf);
    }
}

impl<P: Provider> Transport for Iser<P> {
    fn protocol(&self) -> Protocol {
        Protocol::Iser
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn add_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        self.link.add_memory(memory)?;
        self.memory.push(memory);
        Ok(())
    }

    fn remove_memory(&mut self, memory: Memory) -> Result<(), Refused> {
        let at = self.memory.iter().position(|known| *known == memory).ok_or(Refused::Gone)?;
        self.link.remove_memory(memory)?;
        self.memory.swap_remove(at);
        Ok(())
    }

    fn reaches(&self, data: &Data) -> bool {
        let (Data::Read { buf, .. } | Data::Write { buf }) = data else { return true };
        self.memory.iter().any(|memory| memory.contains(buf.as_ptr().addr(), buf.capacity()))
    }

    fn rdma_counters(&self) -> Option<Counters> {
        Some(self.link.counters())
    }

    fn connected(&mut self) -> Result<bool, Broken> {
        self.collect();
        self.link.broken().map_or_else(|| Ok(self.link.is_established()), Err)
    }

    fn receive(&mut self) -> Result<bool, Broken> {
        self.collect();
        if !self.messages.is_empty() {
            return Ok(true);
        }
        self.link.broken().map_or(Ok(false), Err)
    }

    fn next_pdu(&mut self) -> Result<Option<Bhs>, Broken> {
        if let Some(buf) = self.messages.release() {
            post_receive(&mut self.link, &mut self.buffers, buf);
        }
        match self.messages.next(self.agreed.max_recv_segment) {
            None => Ok(None),
            Some(parsed) => {
                let (bhs, invalidated) = parsed?;
                self.judge(&bhs, invalidated)?;
                Ok(Some(bhs))
            }
        }
    }

    fn segment(&self) -> &[u8] {
        self.messages.segment()
    }

    fn send_control(&mut self, bhs: &Bhs, data: &[u8]) -> bool {
        self.transmit_control(bhs, data)
    }

    fn has_room(&self) -> bool {
        self.has_room_for_command()
    }

    fn send_command(&mut self, command: &ScsiCommand, data: Data) {
        self.transmit_command(command, data);
    }

    fn finish_task(&mut self, itt: u32) -> Finished {
        self.tasks.finish(itt, &mut self.link.queue)
    }

    /// Of a normal session, posts the receives of full-feature phase: the target says nothing unasked until it has got
    /// a PDU (RFC 7145 §5.1.3), which leaves together with them. A discovery session goes on as the login did.
    fn enable(&mut self, agreed: &Agreed) {
        self.agreed = *agreed;
        if agreed.max_recv_segment <= ISER_SEGMENT {
            while let Some(buf) = self.buffers.small_receive() {
                post_receive(&mut self.link, &mut self.buffers, buf);
            }
        }
    }

    fn flush(&mut self, _exp_stat_sn: Serial) -> Result<(), Broken> {
        self.link.queue.ring();
        Ok(())
    }

    fn terminate(&mut self) {
        self.link.terminate();
        self.drain();
    }

    fn drain(&mut self) {
        self.collect();
        while let Some(buf) = self.messages.release_any() {
            self.buffers.retire(buf);
        }
    }
}

impl<P: Provider> Drop for Iser<P> {
    /// Waits a little for the device to let go of the message buffers. If it does not, they are leaked.
    fn drop(&mut self) {
        self.link.terminate();
        let deadline = Instant::now() + ISER_DROP_PATIENCE;
        self.drain();
        while self.link.queue.outstanding() > 0 && Instant::now() < deadline {
            std::thread::yield_now();
            self.drain();
        }
        self.buffers.retire_all();
    }
}
