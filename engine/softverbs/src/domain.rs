//! Protection domains, each with a soft-iWARP device of its own, and memory regions.

use crate::world::{World, lock};
use crate::{code, free, object, pointer};
use rdma::{Memory, Provider, Stag};
use rdma_sys::{ibv_access_flags, ibv_context, ibv_mr, ibv_pd};
use siw::{Config, Siw, SiwCompletions, Use};
use std::collections::HashMap;
use std::ffi::{c_int, c_void};

/// Completions of all queue pairs of a domain that wait to be handed out: never many.
const COMPLETIONS: u32 = 1 << 17;

/// A memory region.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub memory: Memory,
    /// What peers know it by, if they may use it.
    stag: Option<Stag>,
}

/// A protection domain.
#[derive(Debug)]
pub struct Domain {
    pub completions: SiwCompletions,
    pub siw: Siw,
    /// Regions by local key.
    regions: HashMap<u32, Region>,
    next_key: u32,
}

/// The error number that says what the device says.
pub fn errno(refused: rdma::Refused) -> c_int {
    use rdma::Refused;
    match refused {
        Refused::Limit { .. } => libc::ENOMEM,
        Refused::InUse => libc::EADDRINUSE,
        Refused::Unsupported => libc::EOPNOTSUPP,
        Refused::Removed => libc::ENODEV,
        Refused::Gone => libc::ENOTCONN,
        Refused::PrivateData { .. } | Refused::State => libc::EINVAL,
        Refused::System(errno) => errno,
    }
}

/// A soft-iWARP device for which all memory is local: what a program may use is checked by its keys.
pub fn device() -> Result<Siw, c_int> {
    let mut siw = Siw::new(Config { used_by: Use::Locked, ..Config::default() }).map_err(errno)?;
    siw.add_memory(Memory { addr: 1, len: isize::MAX as usize }).map_err(errno)?;
    Ok(siw)
}

impl Domain {
    fn new() -> Result<Self, c_int> {
        let mut siw = device()?;
        let completions = siw.completion_queue(COMPLETIONS).map_err(errno)?;
        Ok(Self { completions, siw, regions: HashMap::new(), next_key: 1 })
    }

    /// Whether these bytes are in the region of this key.
    pub fn holds(&self, key: u32, addr: usize, len: usize) -> bool {
        self.regions.get(&key).is_some_and(|region| region.memory.contains(addr, len))
    }

    fn register(&mut self, memory: Memory, access: u32) -> Result<(u32, u32), c_int> {
        let may = |flag: ibv_access_flags| access & flag.0 != 0;
        let (read, write) =
            (may(ibv_access_flags::IBV_ACCESS_REMOTE_READ), may(ibv_access_flags::IBV_ACCESS_REMOTE_WRITE));
        if write && !may(ibv_access_flags::IBV_ACCESS_LOCAL_WRITE) {
            return Err(libc::EINVAL);
        }
        let exposed = (read || write) && memory.len > 0;
        let stag = exposed.then(|| self.siw.expose(memory, read, write).map_err(errno)).transpose()?;
        // STags have the highest bit, these keys never come so far.
        let key = stag.map_or(self.next_key, |stag| stag.0);
        self.next_key += u32::from(stag.is_none());
        self.regions.insert(key, Region { memory, stag });
        Ok((key, key))
    }
}

/// Makes a protection domain.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_alloc_pd(context: *mut ibv_context) -> *mut ibv_pd {
    pointer(lock().and_then(|mut world| {
        let domain = Domain::new()?;
        let pd = object::<ibv_pd>(|pd| pd.context = context);
        world.domains.insert(pd.expose_provenance(), domain);
        world.alarm.ring();
        Ok(pd)
    }))
}

/// Frees a protection domain.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_dealloc_pd(pd: *mut ibv_pd) -> c_int {
    let result = lock().and_then(|mut world| {
        let at = pd.addr();
        let used = world.pairs.values().any(|pair| pair.domain == at)
            || world.regions.values().any(|domain| *domain == at)
            || world.receives.values().any(|receives| receives.domain == at);
        if used {
            return Err(libc::EBUSY);
        }
        world.domains.remove(&at).map(drop).ok_or(libc::EINVAL)
    });
    if result.is_ok() {
        // SAFETY: it was known, so it was made above, and now it is forgotten.
        unsafe { free(pd) };
    }
    code(result)
}

fn register(pd: *mut ibv_pd, addr: *mut c_void, len: usize, access: u32) -> Result<*mut ibv_mr, c_int> {
    let memory = Memory { addr: addr.expose_provenance(), len };
    if len > 0 && (addr.is_null() || memory.addr.checked_add(len).is_none()) {
        return Err(libc::EFAULT);
    }
    let mut world = lock()?;
    let domain = world.domains.get_mut(&pd.addr()).ok_or(libc::EINVAL)?;
    let (local, remote) = domain.register(memory, access)?;
    let mr = object::<ibv_mr>(|mr| {
        // SAFETY: the domain is known, so it lives.
        mr.context = unsafe { (*pd).context };
        (mr.pd, mr.addr, mr.length, mr.lkey, mr.rkey) = (pd, addr, len, local, remote);
    });
    world.regions.insert(mr.addr(), pd.addr());
    Ok(mr)
}

/// Registers memory.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr(pd: *mut ibv_pd, addr: *mut c_void, len: usize, access: c_int) -> *mut ibv_mr {
    pointer(register(pd, addr, len, access as u32))
}

/// Registers memory whose addresses on the wire are given: here, its own.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr_iova2(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    len: usize,
    iova: u64,
    access: std::ffi::c_uint,
) -> *mut ibv_mr {
    if iova != addr.addr() as u64 {
        return pointer(Err(libc::EOPNOTSUPP));
    }
    pointer(register(pd, addr, len, access))
}

/// Ends a registration. Connections in the middle of using it end, too.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_dereg_mr(mr: *mut ibv_mr) -> c_int {
    let result = lock().and_then(|mut world| {
        let pd = world.regions.remove(&mr.addr()).ok_or(libc::EINVAL)?;
        // SAFETY: it was known, so it lives.
        let key = unsafe { (*mr).lkey };
        world.unregister(pd, key);
        Ok(())
    });
    if result.is_ok() {
        // SAFETY: as above, and now it is forgotten.
        unsafe { free(mr) };
    }
    code(result)
}

impl World {
    fn unregister(&mut self, pd: usize, key: u32) {
        let Some(domain) = self.domains.get_mut(&pd) else { return };
        if let Some(stag) = domain.regions.remove(&key).and_then(|region| region.stag) {
            // A peer may have invalidated it before.
            let _ = domain.siw.conceal(stag);
            self.settle();
        }
    }
}
