//! libibverbs and librdmacm, as objects that free themselves, and values.
//!
//! Everything unsafe about them is here. Enumerations of the libraries are read as plain numbers, for a newer library
//! knows more of them; extended verbs (`ibv_*_ex`) are not used.
//!
//! Objects are freed in the order they are dropped: what is made of others must go first, and whoever holds them
//! declares them in that order.

mod address;
mod chain;
mod channel;
mod cm_id;
mod completions;
mod device;
mod pair;
mod resources;

pub use chain::{ReceiveChain, SendChain, Wire, WireOp, WireSge};
pub use channel::{Channel, CmEvent, Kind};
pub use cm_id::{CmId, ConnectionParameters};
pub use completions::{CompletionChannel, Completions, Work, Works};
pub use device::{Context, DeviceEvent, Facts, contexts, device_event, interface_addresses};
pub use pair::{Pair, PairSetup};
pub use resources::{Domain, Receives, Region, Rights, Window};

use std::ffi::c_int;

/// The calling thread's error number.
fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// The result of a call that returns -1 and sets `errno`.
fn checked(result: c_int) -> Result<(), i32> {
    if result == 0 { Ok(()) } else { Err(errno()) }
}

/// The result of a call that returns the error number itself (or, here and there, -1 and `errno`).
fn returned(result: c_int) -> Result<(), i32> {
    match result {
        0 => Ok(()),
        -1 => Err(errno()),
        code => Err(code.saturating_abs()),
    }
}

/// Makes reads of a descriptor return at once.
fn make_nonblocking(fd: c_int) -> Result<(), i32> {
    // SAFETY: F_GETFL and F_SETFL take and return numbers.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        if flags < 0 || libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) < 0 {
            return Err(errno());
        }
    }
    Ok(())
}
