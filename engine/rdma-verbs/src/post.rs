//! Posting: what is checked before a request is taken, and how it is handed to the device.
#![allow(unsafe_code)]

use crate::attributes::WindowKind;
use crate::ident::{Ident, Owner};
use crate::inner::{Chains, Inner};
use crate::memory::{Regions, Registered, extent};
use crate::queue::{Queue, Receive, Send, Stage, Task};
use crate::shared::Shared;
use crate::sys::{ReceiveChain, Receives, Wire, WireOp, WireSge};
use crate::window::Binding;
use primitives::{Key, Tag};
use rdma::limits::{MAX_MESSAGE, MAX_SGE};
use rdma::{Access, Attributes, Ended, Op, Opcode, ReceiveRequest, Refusal, Remote, Sge, Sgl, Stag, Why, WorkRequest};

impl Inner {
    pub fn post_receive(&mut self, key: Key, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>> {
        let regions = &mut self.regions;
        let checked = self.queues.get(key).ok_or(Why::Closed).and_then(|queue| {
            match queue.stage {
                Stage::Error => return Err(Why::Closed),
                _ if queue.shared.is_some() => return Err(Why::Unsupported),
                _ if queue.receives_out >= queue.receive_depth => return Err(Why::Full),
                _ => {}
            }
            regions.hold(request.buf.as_ptr().addr(), request.buf.capacity())
        });
        let region = match checked {
            Ok(region) => region,
            Err(why) => return Err(self.refuse(key, request, why)),
        };
        self.tally(key, |c| c.receives += 1);
        if let Some(queue) = self.queues.get_mut(key) {
            let domain = queue.domain.as_ref().unwrap_or(&self.domain);
            let local = domain.region(region).local_key();
            queue.receives_out += 1;
            // The ring is as deep as the queue.
            let _ = queue.receives.push(Receive { request, key: local });
        }
        Ok(())
    }

    pub fn post_send(&mut self, key: Key, request: WorkRequest) -> Result<(), Refusal<WorkRequest>> {
        let checked = match self.queues.get(key) {
            Some(queue) => check(queue, &self.device.attributes, &request)
                .and_then(|()| hold(&mut self.regions, queue.domain.as_ref().unwrap_or(&self.domain), &request.sgl)),
            None => Err(Why::Closed),
        };
        let keys = match checked {
            Ok(keys) => keys,
            Err(why) => return Err(self.refuse(key, request, why)),
        };
        let WorkRequest { tag, op, sgl, signalled } = request;
        self.tally(key, |c| {
            c.signalled += u64::from(signalled);
            match op {
                Op::Send { invalidate, .. } => {
                    c.sends += 1;
                    c.send_invalidates += u64::from(invalidate.is_some());
                }
                Op::Write { .. } => c.writes += 1,
                Op::Read { .. } => c.reads += 1,
                Op::Invalidate(_) => c.invalidates += 1,
            }
        });
        if let Some(queue) = self.queues.get_mut(key) {
            let task = match op {
                Op::Invalidate(stag) if !queue.windows.knows(stag) => Task::Nonsense,
                op => Task::Op(op),
            };
            let bytes = sgl.len();
            take(queue, Send { tag, task, sgl, keys, signalled, bytes, hardware: task != Task::Nonsense, done: None });
        }
        Ok(())
    }

    pub fn bind(&mut self, key: Key, tag: Tag, sge: Sge, access: Access) -> Result<Remote, Refusal<Sge>> {
        let Some(queue) = self.queues.get_mut(key) else { return Err(Refusal { request: sge, why: Why::Closed }) };
        let (addr, len) = extent(&sge);
        let fits = if access == Access::RemoteRead { sge.is_source() } else { sge.is_sink() };
        let checked = match queue.may_send() {
            Ok(()) if !fits || sge.len > MAX_MESSAGE => Err(Why::Range),
            Ok(()) if self.regions.number(addr, len).is_none() => Err(Why::Unregistered),
            Ok(()) if !queue.windows.is_free() => Err(Why::Windows),
            checked => checked,
        };
        if let Err(why) = checked.and_then(|()| self.regions.hold(addr, len).map(drop)) {
            return Err(self.refuse(key, sge, why));
        }
        let domain = queue.domain.as_ref().unwrap_or(&self.domain);
        match queue.windows.open(sge, access, domain.domain()) {
            Ok((window, remote)) => {
                let hardware = queue.windows.kind() == WindowKind::Bound;
                let (task, sgl, keys) = (Task::Bind(window), Sgl::NONE, [0; MAX_SGE]);
                take(queue, Send { tag, task, sgl, keys, signalled: false, bytes: 0, hardware, done: None });
                self.tally(key, |c| c.binds += 1);
                Ok(remote)
            }
            Err((sge, why)) => {
                self.regions.release(addr, len);
                Err(self.refuse(key, sge, why))
            }
        }
    }

    fn refuse<T>(&mut self, key: Key, request: T, why: Why) -> Refusal<T> {
        self.tally(key, |c| c.refused += 1);
        Refusal { request, why }
    }

    /// One doorbell for everything posted.
    pub fn ring(&mut self, key: Key) {
        let Some(queue) = self.queues.get_mut(key).filter(|queue| queue.stage != Stage::Error) else { return };
        if queue.receives.unrung().is_empty() && queue.sends.unrung().is_empty() {
            return;
        }
        let max_inline = self.device.attributes.max_inline;
        let known = Known { domain: &self.domain, regions: &self.regions, max_inline, is_siw: self.device.is_siw };
        let result =
            ring_receives(queue, key, &mut self.chains).and_then(|()| ring_sends(queue, key, &known, &mut self.chains));
        self.tally(key, |c| c.doorbells += 1);
        match result {
            Ok(None) => {}
            Ok(Some(ended)) => self.fail(key, ended),
            Err(errno) => {
                tracing::debug!("verbs: a queue pair takes nothing any more: errno {errno}");
                self.fail(key, Ended::Lost);
            }
        }
    }
}

/// Appends a checked request; the ring is as deep as the queue.
fn take(queue: &mut Queue, send: Send) {
    queue.sends_out += 1;
    queue.reads += u16::from(send.task.opcode() == Opcode::Read);
    let _ = queue.sends.push(send);
}

fn check(queue: &Queue, attributes: &Attributes, request: &WorkRequest) -> Result<(), Why> {
    queue.may_send()?;
    let sgl = &request.sgl;
    let (possible, in_range) = match request.op {
        Op::Send { invalidate, .. } => {
            (invalidate.is_none() || attributes.send_invalidate, sgl.iter().all(Sge::is_source))
        }
        Op::Write { .. } => (true, sgl.iter().all(Sge::is_source)),
        Op::Read { .. } => (sgl.count() <= 1, sgl.iter().all(Sge::is_sink)),
        Op::Invalidate(_) => (sgl.count() == 0, true),
    };
    if !possible || sgl.count() > usize::from(attributes.max_sge) {
        return Err(Why::Unsupported);
    }
    if !in_range || sgl.len() > MAX_MESSAGE {
        return Err(Why::Range);
    }
    let read = request.op.opcode() == Opcode::Read;
    if read && queue.reads >= queue.depth.ord { Err(Why::ReadDepth) } else { Ok(()) }
}

/// Marks the memory as in use, all of it or nothing; the local keys.
fn hold(regions: &mut Regions, domain: &Registered, sgl: &Sgl) -> Result<[u32; MAX_SGE], Why> {
    let mut keys = [0; MAX_SGE];
    for (n, sge) in sgl.iter().enumerate() {
        let (addr, len) = extent(sge);
        match regions.hold(addr, len) {
            Ok(region) => keys[n] = domain.region(region).local_key(),
            Err(why) => {
                regions.release_all(sgl.iter().take(n));
                return Err(why);
            }
        }
    }
    Ok(keys)
}

/// Hands receives to a shared queue.
///
/// # Errors
/// How many were taken before one was not, and the error number.
pub fn receives_shared(chain: &mut ReceiveChain, receives: &Receives) -> Result<(), (usize, i32)> {
    // SAFETY: the buffers are in the queue's slots, and leave them by completion or after the queue is destroyed.
    unsafe { chain.post_shared(receives) }
}

fn ring_receives(queue: &mut Queue, key: Key, chains: &mut Chains) -> Result<(), i32> {
    let owner = Owner::of(key);
    while !queue.receives.unrung().is_empty() {
        let first = queue.receives.unrung().start;
        for number in queue.receives.unrung() {
            let Some(receive) = queue.receives.get(number).filter(|_| !chains.receives.is_full()) else { break };
            chains.receives.push(Ident::Receive(owner, number as u32).to_bits(), Shared::element(receive));
        }
        let count = chains.receives.len();
        // SAFETY: the buffers are in the ring, and leave it by completion or after the queue pair is destroyed.
        let result = unsafe { chains.receives.post(queue.pair) };
        let taken = result.map_or_else(|(taken, _)| taken, |()| count);
        queue.receives.rung_to(first + taken as u64);
        queue.receives_in_device += taken as u32;
        result.map_err(|(_, errno)| errno)?;
    }
    Ok(())
}

/// What requests are put into the device's form with.
struct Known<'a> {
    /// Unless the queue pair has its own.
    domain: &'a Registered,
    regions: &'a Regions,
    max_inline: u32,
    is_siw: bool,
}

/// Hands over what was posted. How the connection is to end, if a request is one that ends it.
fn ring_sends(queue: &mut Queue, key: Key, known: &Known<'_>, chains: &mut Chains) -> Result<Option<Ended>, i32> {
    while !queue.sends.unrung().is_empty() {
        let first = queue.sends.unrung().start;
        let mut next = first;
        let mut nonsense = false;
        while let Some(send) = queue.sends.get(next).filter(|_| !chains.sends.is_full()) {
            if send.task == Task::Nonsense {
                nonsense = true;
                chains.sends.signal_last();
                break;
            }
            if send.hardware {
                chains.sends.push(&wire(queue, send, Ident::Send(Owner::of(key), next as u32), known));
            }
            next += 1;
        }
        let count = chains.sends.len();
        // SAFETY: memory and windows are in the ring and in `queue.windows`, and leave them by completion or after the
        // queue pair is destroyed; regions in use are not removed.
        match unsafe { chains.sends.post(queue.pair) } {
            Ok(()) => {
                for number in first..next {
                    if let Some(Task::Bind(window)) = queue.sends.get(number).map(|send| send.task) {
                        queue.windows.posted(window);
                    }
                }
                queue.sends.rung_to(next);
                queue.sends_in_device += count as u32;
            }
            Err((taken, errno)) => {
                let behind = (first..next)
                    .filter(|n| queue.sends.get(*n).is_some_and(|send| send.hardware))
                    .nth(taken)
                    .unwrap_or(next);
                queue.sends.rung_to(behind);
                queue.sends_in_device += taken as u32;
                return Err(errno);
            }
        }
        if nonsense {
            queue.nonsense = true;
            return Ok(Some(Ended::Failed(rdma::Status::Window)));
        }
    }
    Ok(None)
}

/// A request in the device's form.
fn wire<'a>(queue: &'a Queue, send: &Send, ident: Ident, known: &Known<'a>) -> Wire<'a> {
    let mut sges = [WireSge::default(); MAX_SGE];
    let mut count = 0;
    // Elements without bytes are left out: some devices take a length of zero for 2 GiB.
    for (sge, key) in send.sgl.iter().zip(send.keys).filter(|(sge, _)| sge.len > 0) {
        sges[count] = WireSge { addr: sge.addr() as u64, len: sge.len, key };
        count += 1;
    }
    let read = send.task.opcode() == Opcode::Read;
    let sourced = match send.task {
        Task::Op(Op::Send { invalidate, .. }) => invalidate.is_none() || !known.is_siw,
        task => task.opcode() == Opcode::Write,
    };
    let mut wire = Wire {
        id: ident.to_bits(),
        op: WireOp::Send,
        sges,
        count,
        signalled: send.signalled || (read && known.is_siw),
        solicited: false,
        inline: sourced && send.bytes > 0 && send.bytes <= known.max_inline,
    };
    wire.op = match send.task {
        Task::Op(Op::Send { solicited, invalidate }) => {
            wire.solicited = solicited;
            invalidate.map_or(WireOp::Send, |Stag(key)| WireOp::SendInvalidate(key))
        }
        Task::Op(Op::Write { to }) => WireOp::Write { va: to.va, key: to.stag.0 },
        Task::Op(Op::Read { from }) => WireOp::Read { va: from.va, key: from.stag.0 },
        Task::Op(Op::Invalidate(Stag(key))) if queue.windows.kind() == WindowKind::Bound => WireOp::Invalidate(key),
        Task::Bind(window) => bind(queue, window, known).unwrap_or(EMPTY_WRITE),
        // A registration closes when its turn has come, which an empty Write tells: it reaches no memory.
        Task::Op(Op::Invalidate(_)) | Task::Nonsense => EMPTY_WRITE,
    };
    wire
}

fn bind<'a>(queue: &'a Queue, window: u16, known: &Known<'a>) -> Option<WireOp<'a>> {
    let Binding { window, key, addr, len, access } = queue.windows.binding(window)?;
    let domain = queue.domain.as_ref().unwrap_or(known.domain);
    let region = domain.region(known.regions.number(addr as usize, len as usize)?);
    Some(WireOp::Bind { window, key, region, addr, len, access })
}

const EMPTY_WRITE: WireOp<'static> = WireOp::Write { va: 0, key: 0 };
