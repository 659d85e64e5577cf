//! Programs written for libibverbs and librdmacm, on machines without RDMA.
//!
//! Preloaded (`LD_PRELOAD=libsoftverbs.so`), it takes the place of the two libraries' entry points and serves them by
//! [`siw`], soft-iWARP over TCP, so that it speaks with whatever speaks iWARP: this project's engine, the kernel's siw,
//! another program under it. There is one device, `softverbs0`, bound to every local address, the loopback's included.
//! It is for tests and for trying things out: there is one lock, and a thread that sleeps between two events.
//!
//! # Served
//!
//! * Reliable connections by the RDMA CM: everything between `rdma_create_event_channel` and `rdma_destroy_id` that is
//!   asynchronous, with private data, read depths, `rdma_reject`, `rdma_migrate_id`, `rdma_getaddrinfo`.
//! * Protection domains, memory regions, completion queues with completion channels, shared receive queues, queue pairs
//!   made by `rdma_create_qp` or `ibv_create_qp`, asynchronous events (`IBV_EVENT_QP_FATAL` for a Terminate message,
//!   `IBV_EVENT_QP_LAST_WQE_REACHED`).
//! * Send, Send with Invalidate, RDMA Write, RDMA Read, inline data, solicited events, selective signalling.
//!
//! Each protection domain is a soft-iWARP device of its own: no STag of one is worth anything in another.
//!
//! # Not served
//!
//! * Synchronous identifiers (without a channel) beyond address resolution, and the `rdma_create_ep` family.
//! * Unreliable and datagram transports, multicast, atomics, immediate data, memory windows, `ibv_*_ex`: what is
//!   not there fails with `EOPNOTSUPP`, `EINVAL`, or by the real library's own error.
//! * More than two elements in a send request, and more than one in a receive.
//!
//! # Differences from a device
//!
//! * A request that the device's queue would hold up, such as a Read beyond the negotiated depth, waits here.
//! * The sink of a Read needs no right to be written by the peer: each Read has an STag of its own on the wire.
//! * Every armed completion queue tells of every completion, solicited or not.
//! * Destroying objects waits for nothing, and acknowledging events frees them and nothing more.

mod asynchronous;
mod bell;
mod cm;
mod completions;
mod device;
mod domain;
mod pair;
mod receives;
#[cfg(test)]
mod tests;
mod thread;
mod translate;
mod world;

use std::ffi::c_int;

/// Sets `errno`.
fn set_errno(errno: c_int) {
    // SAFETY: the calling thread's own number.
    unsafe { *libc::__errno_location() = errno };
}

/// The result of a call that tells failure by -1 and `errno`.
fn result(result: Result<(), c_int>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(errno) => {
            set_errno(errno);
            -1
        }
    }
}

/// The result of a call that returns the error number.
fn code(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(0)
}

/// The result of a call that tells failure by NULL and `errno`.
fn pointer<T>(result: Result<*mut T, c_int>) -> *mut T {
    result.unwrap_or_else(|errno| {
        set_errno(errno);
        std::ptr::null_mut()
    })
}

/// A zeroed object of the libraries', for the program to hold.
fn object<T>(fill: impl FnOnce(&mut T)) -> *mut T {
    // SAFETY: only used for C structures of numbers, pointers, and functions that may be absent: all zeros are valid.
    let mut value: Box<T> = unsafe { Box::new(std::mem::zeroed()) };
    fill(&mut value);
    Box::into_raw(value)
}

/// Frees what [`object`] made.
///
/// # Safety
/// Once, and nobody uses it any more.
unsafe fn free<T>(object: *mut T) {
    // SAFETY: it came from Box::into_raw.
    drop(unsafe { Box::from_raw(object) });
}
