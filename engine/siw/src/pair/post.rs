//! Posting: what is checked before a request is taken.

use super::send_queue::Entry;
use super::{Pair, State, Task};
use crate::device::Core;
use crate::memory::Regions;
use primitives::Tag;
use rdma::limits::MAX_MESSAGE;
use rdma::{Access, Op, Opcode, ReceiveRequest, Refusal, Remote, Sge, Sgl, Why, WorkRequest};

/// Most elements of a request; what an [`Sgl`] holds.
pub(crate) const MAX_SGE: u8 = rdma::limits::MAX_SGE as u8;

/// A receive's buffer is in a known region.
pub(crate) fn check_receive(regions: &Regions, request: &ReceiveRequest) -> Result<(), Why> {
    let known = regions.knows(request.buf.as_ptr().addr(), request.buf.capacity());
    if known { Ok(()) } else { Err(Why::Unregistered) }
}

fn check_memory<'a>(regions: &Regions, mut sges: impl Iterator<Item = &'a Sge>, in_range: bool) -> Result<(), Why> {
    if !in_range {
        return Err(Why::Range);
    }
    let known = sges.all(|sge| regions.knows(sge.addr(), sge.len as usize));
    if known { Ok(()) } else { Err(Why::Unregistered) }
}

impl Pair {
    pub fn post_receive(&mut self, core: &Core, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>> {
        if let Err(why) = self.may_receive(core, &request) {
            self.counters.refused += 1;
            return Err(Refusal { request, why });
        }
        self.counters.receives += 1;
        self.receive.out += 1;
        self.receive.ring.push_back(request);
        Ok(())
    }

    pub fn post_send(&mut self, core: &Core, request: WorkRequest) -> Result<(), Refusal<WorkRequest>> {
        if let Err(why) = self.may_post(core, &request) {
            self.counters.refused += 1;
            return Err(Refusal { request, why });
        }
        let WorkRequest { tag, op, sgl, signalled } = request;
        self.counters.signalled += u64::from(signalled);
        match op {
            Op::Send { invalidate, .. } => {
                self.counters.sends += 1;
                self.counters.send_invalidates += u64::from(invalidate.is_some());
            }
            Op::Write { .. } => self.counters.writes += 1,
            Op::Read { .. } => self.counters.reads += 1,
            Op::Invalidate(_) => self.counters.invalidates += 1,
        }
        self.send.push(Entry::new(tag, Task::Op(op), sgl, signalled));
        Ok(())
    }

    pub fn bind(&mut self, core: &mut Core, tag: Tag, sge: Sge, access: Access) -> Result<Remote, Refusal<Sge>> {
        let fits = if access == Access::RemoteRead { sge.is_source() } else { sge.is_sink() };
        let allowed = self.may_send().and_then(|()| check_memory(&core.regions, std::iter::once(&sge), fits));
        let opened = match allowed {
            Ok(()) => self.windows.open(sge, access, core.random.next()).map_err(|sge| (sge, Why::Windows)),
            Err(why) => Err((sge, why)),
        };
        match opened {
            Ok(remote) => {
                self.counters.binds += 1;
                self.send.push(Entry::new(tag, Task::Bind(remote.stag), Sgl::NONE, false));
                Ok(remote)
            }
            Err((request, why)) => {
                self.counters.refused += 1;
                Err(Refusal { request, why })
            }
        }
    }

    fn may_receive(&self, core: &Core, request: &ReceiveRequest) -> Result<(), Why> {
        if self.state == State::Error {
            return Err(Why::Closed);
        }
        if self.plan.shared.is_some() {
            return Err(Why::Unsupported);
        }
        if self.receive.out >= self.receive.depth { Err(Why::Full) } else { check_receive(&core.regions, request) }
    }

    fn may_send(&self) -> Result<(), Why> {
        match self.state {
            State::Error => Err(Why::Closed),
            State::Established if self.send.room() == 0 => Err(Why::Full),
            State::Established => Ok(()),
            _ => Err(Why::NotConnected),
        }
    }

    fn may_post(&self, core: &Core, request: &WorkRequest) -> Result<(), Why> {
        self.may_send()?;
        let sgl = &request.sgl;
        let (possible, in_range) = match request.op {
            Op::Send { .. } | Op::Write { .. } => (true, sgl.iter().all(Sge::is_source)),
            Op::Read { .. } => (sgl.count() <= 1, sgl.iter().all(Sge::is_sink)),
            Op::Invalidate(_) => (sgl.count() == 0, true),
        };
        if !possible || sgl.count() > usize::from(MAX_SGE) {
            return Err(Why::Unsupported);
        }
        check_memory(&core.regions, sgl.iter(), in_range && sgl.len() <= MAX_MESSAGE)?;
        let read = request.op.opcode() == Opcode::Read;
        if read && self.send.reads() >= self.depth.ord { Err(Why::ReadDepth) } else { Ok(()) }
    }
}
