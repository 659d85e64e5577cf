//! Shared receive queues.

use crate::ident::{Ident, Owner};
use crate::inner::Inner;
use crate::memory::Regions;
use crate::queue::Receive;
use crate::sys::{ReceiveChain, Receives, WireSge};
use primitives::{IndexQueue, Key, Slab};
use rdma::{ReceiveRequest, Refusal, Why};

/// A shared receive queue.
#[derive(Debug)]
pub struct Shared {
    /// `None` while it has been emptied: made again when it is used again.
    pub device: Option<Receives>,
    pub completions: Key,
    pub depth: u16,
    /// What was taken and not completed, by slot.
    pub slots: Slab<Receive>,
    /// Slots the device does not have yet.
    pub unrung: IndexQueue,
    /// Completed, and not polled yet.
    pub unpolled: u16,
    /// Queue pairs that draw from it.
    pub users: u32,
    pub abandoned: bool,
}

impl Shared {
    pub fn room(&self) -> u16 {
        self.depth.saturating_sub(self.slots.len() as u16).saturating_sub(self.unpolled)
    }

    /// A buffer as an element of the device.
    pub fn element(receive: &Receive) -> WireSge {
        let buf = &receive.request.buf;
        WireSge { addr: buf.as_ptr().addr() as u64, len: buf.capacity() as u32, key: receive.key }
    }

    /// Hands what waits to the device; whether there was anything.
    fn ring(&mut self, key: Key, chain: &mut ReceiveChain) -> bool {
        let Some(device) = &self.device else { return false };
        let mut any = false;
        while !self.unrung.is_empty() {
            let mut taken = [0u32; crate::limits::POST_BATCH];
            while !chain.is_full() {
                let Some(slot) = self.unrung.pop() else { break };
                taken[chain.len()] = slot;
                if let Some((_, receive)) = self.slots.at(slot) {
                    chain.push(Ident::Shared(Owner::of(key), slot).to_bits(), Self::element(receive));
                }
            }
            let count = chain.len();
            any |= count > 0;
            if let Err((posted, errno)) = crate::post::receives_shared(chain, device) {
                tracing::warn!("verbs: a shared receive queue takes no receives: errno {errno}");
                // Room is certain: they were just taken.
                for slot in &taken[posted..count] {
                    let _ = self.unrung.push(*slot);
                }
                break;
            }
        }
        any
    }
}

impl Inner {
    pub fn post_shared(&mut self, key: Key, request: ReceiveRequest) -> Result<(), Refusal<ReceiveRequest>> {
        let held = match self.shared.get(key) {
            None => Err(Why::Closed),
            Some(_) if self.device.removed => Err(Why::Closed),
            Some(shared) if shared.room() == 0 => Err(Why::Full),
            Some(_) => self.regions.hold(request.buf.as_ptr().addr(), request.buf.capacity()),
        };
        let region = match held {
            Ok(region) => region,
            Err(why) => {
                self.counters.refused += 1;
                return Err(Refusal { request, why });
            }
        };
        let local = self.domain.region(region).local_key();
        if let Some(shared) = self.shared.get_mut(key)
            && let Ok(slot) = shared.slots.insert(Receive { request, key: local })
        {
            let _ = shared.unrung.push(slot.index);
            self.counters.receives += 1;
        }
        Ok(())
    }

    pub fn ring_shared(&mut self, key: Key) {
        self.revive(key);
        if let Some(shared) = self.shared.get_mut(key) {
            let any = shared.ring(key, &mut self.chains.receives);
            self.counters.doorbells += u64::from(any);
        }
    }

    /// Makes the device's queue again after it was emptied.
    pub fn revive(&mut self, key: Key) {
        let Some(shared) = self.shared.get_mut(key) else { return };
        if shared.device.is_some() || self.device.removed {
            return;
        }
        match Receives::new(self.domain.domain(), shared.depth) {
            Ok(device) => shared.device = Some(device),
            Err(errno) => tracing::warn!("verbs: a shared receive queue cannot be made again: errno {errno}"),
        }
    }

    /// Takes back what no message has used, once no queue pair draws from the queue: destroying it is the only way to
    /// make the device let go.
    pub fn take_back(&mut self, key: Key) -> Option<ReceiveRequest> {
        let shared = self.shared.get_mut(key).filter(|shared| shared.users == 0)?;
        if shared.device.take().is_some() {
            // What the device had waits for it again, should it be used again.
            while shared.unrung.pop().is_some() {}
            for (slot, _) in shared.slots.iter() {
                let _ = shared.unrung.push(slot.index);
            }
        }
        let slot = shared.unrung.pop()?;
        let (slot, _) = shared.slots.at(slot)?;
        let receive = shared.slots.remove(slot)?;
        release(&mut self.regions, &receive);
        self.counters.receives = self.counters.receives.saturating_sub(1);
        Some(receive.request)
    }

    /// A shared receive queue whose handle was dropped goes when nobody draws from it.
    pub fn free_shared_if_over(&mut self, key: Key) {
        if self.shared.get(key).is_none_or(|shared| !shared.abandoned || shared.users > 0) {
            return;
        }
        if let Some(shared) = self.shared.remove(key) {
            shared.slots.iter().for_each(|(_, receive)| release(&mut self.regions, receive));
            if let Some(completions) = self.completions.get_mut(shared.completions) {
                completions.reserved -= u32::from(shared.depth);
            }
        }
    }
}

/// One use less of a receive's memory.
pub fn release(regions: &mut Regions, receive: &Receive) {
    let buf = &receive.request.buf;
    regions.release(buf.as_ptr().addr(), buf.capacity());
}
