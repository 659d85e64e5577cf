//! Posting: what is checked before a request is taken.

use super::send_queue::Entry;
use super::{Pair, State};
use crate::device::Core;
use crate::memory::Regions;
use primitives::Tag;
use rdma::limits::MAX_MESSAGE;
use rdma::{Access, Op, ReceiveRequest, Refusal, Remote, SendBatch, Sge, Sgl, Why, WorkRequest};

/// Most elements of a request; what an [`Sgl`] holds.
pub(crate) const MAX_SGE: u8 = rdma::limits::MAX_SGE as u8;

/// A receive's buffer is in a known region.
pub(crate) fn check_receive(regions: &Regions, request: &ReceiveRequest) -> Result<(), Why> {
    let known = regions.knows(request.buf.as_ptr().addr(), request.buf.capacity());
    if known { Ok(()) } else { Err(Why::Unregistered) }
}

/// All elements are in known regions, as they should be in their buffers, and no more than `most` bytes together.
#[inline]
fn check_memory<'a>(
    regions: &Regions,
    sges: impl Iterator<Item = &'a Sge>,
    fits: impl Fn(&Sge) -> bool,
    most: u32,
) -> Result<(), Why> {
    let (mut len, mut in_range, mut known) = (0u32, true, true);
    for sge in sges {
        len = len.saturating_add(sge.len);
        in_range &= fits(sge);
        known &= regions.knows(sge.addr(), sge.len as usize);
    }
    match (in_range && len <= most, known) {
        (false, _) => Err(Why::Range),
        (true, false) => Err(Why::Unregistered),
        (true, true) => Ok(()),
    }
}

/// The same for all elements of a list: nearly always one.
#[inline]
fn check_list(regions: &Regions, sgl: &Sgl, fits: impl Fn(&Sge) -> bool) -> Result<(), Why> {
    match sgl.single() {
        Some(only) if !fits(only) || only.len > MAX_MESSAGE => Err(Why::Range),
        Some(only) if !regions.knows(only.addr(), only.len as usize) => Err(Why::Unregistered),
        Some(_) => Ok(()),
        None => check_memory(regions, sgl.iter(), fits, MAX_MESSAGE),
    }
}

impl Pair {
    pub fn post_receive(&mut self, core: &Core, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>> {
        if let Err(why) = self.may_receive(core, &request) {
            self.counters.refused += 1;
            return Err(Refusal { request, why });
        }
        self.counters.receives += 1;
        let pushed = self.receive.ring.push(request);
        debug_assert!(pushed.is_ok(), "there was no room");
        Ok(())
    }

    pub fn post_send(&mut self, core: &Core, request: WorkRequest) -> Result<(), Refusal<WorkRequest>> {
        if let Err(why) = self.may_post(core, &request) {
            self.counters.refused += 1;
            return Err(Refusal { request, why });
        }
        self.take(request);
        Ok(())
    }

    pub fn post_sends(&mut self, core: &Core, requests: &mut SendBatch) -> Result<(), Why> {
        while let Some(request) = requests.first_mut() {
            if let Err(why) = self.may_post(core, request) {
                self.counters.refused += 1;
                return Err(why);
            }
            let WorkRequest { tag, op, signalled, .. } = *request;
            self.take(WorkRequest { tag, op, sgl: std::mem::take(&mut request.sgl), signalled });
            requests.discard_first();
        }
        Ok(())
    }

    #[inline]
    fn take(&mut self, request: WorkRequest) {
        self.counters.signalled += u64::from(request.signalled);
        match request.op {
            Op::Send { invalidate, .. } => {
                self.counters.sends += 1;
                self.counters.send_invalidates += u64::from(invalidate.is_some());
            }
            Op::Write { .. } => self.counters.writes += 1,
            Op::Read { .. } => self.counters.reads += 1,
            Op::Invalidate(_) => self.counters.invalidates += 1,
        }
        self.send.push(Entry::new(request));
    }

    pub fn bind(&mut self, core: &mut Core, tag: Tag, sge: Sge, access: Access) -> Result<Remote, Refusal<Sge>> {
        let fits = if access == Access::RemoteRead { Sge::is_source } else { Sge::is_sink };
        let allowed = self.may_send();
        let allowed = allowed.and_then(|()| check_memory(&core.regions, std::iter::once(&sge), fits, u32::MAX));
        let opened = match allowed {
            Ok(()) => self.windows.open(sge, access, core.random.next()).map_err(|sge| (sge, Why::Windows)),
            Err(why) => Err((sge, why)),
        };
        match opened {
            Ok(remote) => {
                self.counters.binds += 1;
                self.send.push(Entry::bind(tag, remote.stag));
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
        if self.receives_out() >= self.receive.depth { Err(Why::Full) } else { check_receive(&core.regions, request) }
    }

    #[inline]
    fn may_send(&self) -> Result<(), Why> {
        match self.state {
            State::Error => Err(Why::Closed),
            State::Established if self.send.room() == 0 => Err(Why::Full),
            State::Established => Ok(()),
            _ => Err(Why::NotConnected),
        }
    }

    #[inline(always)] // Of two callers, one for every request.
    fn may_post(&self, core: &Core, request: &WorkRequest) -> Result<(), Why> {
        self.may_send()?;
        let sgl = &request.sgl;
        match request.op {
            Op::Send { .. } | Op::Write { .. } => check_list(&core.regions, sgl, Sge::is_source),
            Op::Read { .. } if sgl.count() > 1 => Err(Why::Unsupported),
            Op::Read { .. } => {
                check_list(&core.regions, sgl, Sge::is_sink)?;
                if self.send.reads() >= self.depth.ord { Err(Why::ReadDepth) } else { Ok(()) }
            }
            Op::Invalidate(_) => {
                if sgl.count() == 0 {
                    Ok(())
                } else {
                    Err(Why::Unsupported)
                }
            }
        }
    }
}
