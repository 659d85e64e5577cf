//! The windows of one queue pair.

use crate::attributes::WindowKind;
use crate::memory::Regions;
use crate::sys::{Domain, Region, Rights, Window};
use primitives::IndexQueue;
use rdma::{Access, Memory, Remote, Sge, Stag, Why};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    Open,
    Closed,
}

#[derive(Debug)]
struct Slot {
    state: State,
    stag: Stag,
    memory: Option<Sge>,
    access: Access,
    /// Of [`WindowKind::Bound`].
    window: Option<Window>,
    /// Of [`WindowKind::Registered`], while open.
    registration: Option<Region>,
}

/// Windows, open and free.
#[derive(Debug)]
pub struct Windows {
    slots: Box<[Slot]>,
    free: IndexQueue,
    kind: WindowKind,
}

/// What a binding posts.
#[derive(Debug)]
pub struct Binding<'a> {
    pub window: &'a Window,
    pub key: u32,
    pub addr: u64,
    pub len: u32,
    pub access: Access,
}

impl Windows {
    /// `count` of them.
    ///
    /// # Errors
    /// The device's error number.
    pub fn new(count: u16, kind: WindowKind, domain: &Domain) -> Result<Self, i32> {
        let slot = |_| {
            let window = match kind {
                WindowKind::Bound => Some(Window::new(domain)?),
                WindowKind::Registered => None,
            };
            let (state, stag, access) = (State::Free, Stag(0), Access::RemoteRead);
            Ok(Slot { state, stag, memory: None, access, window, registration: None })
        };
        let slots: Box<[Slot]> = (0..count).map(slot).collect::<Result<_, i32>>()?;
        let mut free = IndexQueue::new(slots.len());
        (0..u32::from(count)).for_each(|i| {
            let _ = free.push(i);
        });
        Ok(Self { slots, free, kind })
    }

    pub const fn kind(&self) -> WindowKind {
        self.kind
    }

    /// Whether one is free.
    pub fn is_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// Opens one over checked memory; its number for [`Windows::binding`].
    ///
    /// # Errors
    /// The memory: [`Why::Windows`] when none is free, [`Why::Unsupported`] when the device refuses.
    pub fn open(&mut self, sge: Sge, access: Access, domain: &Domain) -> Result<(u16, Remote), (Sge, Why)> {
        let Some(at) = self.free.pop() else { return Err((sge, Why::Windows)) };
        let slot = &mut self.slots[at as usize];
        let stag = match &slot.window {
            Some(window) => window.next_key(),
            None => {
                let memory = Memory { addr: sge.addr(), len: sge.len as usize };
                match Region::new(domain, memory, Rights::Peer(access)) {
                    Ok(region) => slot.registration.insert(region).remote_key(),
                    Err(_) => {
                        // Room is certain: it was just taken.
                        let _ = self.free.push(at);
                        return Err((sge, Why::Unsupported));
                    }
                }
            }
        };
        let remote = Remote { stag: Stag(stag), va: sge.addr() as u64 };
        (slot.state, slot.stag, slot.access) = (State::Open, remote.stag, access);
        slot.memory = Some(sge);
        Ok((at as u16, remote))
    }

    /// What is to be posted to open it; `None` where opening needs no request.
    pub fn binding(&self, at: u16) -> Option<Binding<'_>> {
        let slot = self.slots.get(usize::from(at))?;
        let (window, memory) = (slot.window.as_ref()?, slot.memory.as_ref()?);
        let (addr, len) = (memory.addr() as u64, memory.len);
        Some(Binding { window, key: slot.stag.0, addr, len, access: slot.access })
    }

    /// The binding of this one is the device's now.
    pub fn posted(&mut self, at: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(at))
            && let Some(window) = &mut slot.window
        {
            window.set_key(slot.stag.0);
        }
    }

    fn find(&mut self, stag: Stag) -> Option<(u32, &mut Slot)> {
        let at = self.slots.iter().position(|slot| slot.stag == stag && slot.state != State::Free)?;
        Some((at as u32, &mut self.slots[at]))
    }

    /// Whether it is one of these.
    pub fn knows(&mut self, stag: Stag) -> bool {
        self.find(stag).is_some()
    }

    /// It was invalidated, by either side.
    pub fn close(&mut self, stag: Stag) {
        if let Some((_, slot)) = self.find(stag) {
            slot.state = State::Closed;
            slot.registration = None;
        }
    }

    /// Takes the memory of one that is closed, or can be reached by nobody any more.
    pub fn reclaim(&mut self, stag: Stag, unreachable: bool, regions: &mut Regions) -> Option<Sge> {
        let (at, slot) = self.find(stag)?;
        if slot.state == State::Open && !unreachable {
            return None;
        }
        slot.state = State::Free;
        slot.registration = None;
        let memory = slot.memory.take();
        // There is room for all of them.
        let _ = self.free.push(at);
        regions.release_all(memory.iter());
        memory
    }

    /// Lets the device forget all of them. Their memory stays until it is reclaimed.
    pub fn unbind(&mut self) {
        for slot in &mut self.slots {
            (slot.window, slot.registration) = (None, None);
        }
    }

    /// Gives up the memory of all that are open, for good.
    pub fn abandon(&mut self, regions: &mut Regions) {
        for slot in &mut self.slots {
            slot.registration = None;
            regions.release_all(slot.memory.take().iter());
        }
    }
}
