//! The thread that looks after connections while the program does something else.

use crate::world::{self, now};
use std::mem::MaybeUninit;
use std::ptr;

/// Longest sleep, in milliseconds: what wakes it is not forgotten, so this is for nothing but peace of mind.
const NAP: i32 = 1_000;

/// Starts it. Signals are for the program's own threads: one that is taken here could end a program that reads its
/// signals from a descriptor.
pub fn start() {
    let (mut all, mut old) = (MaybeUninit::<libc::sigset_t>::zeroed(), MaybeUninit::<libc::sigset_t>::zeroed());
    // SAFETY: both sets are written by the calls; all zeros are valid, too.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
    }
    let started = std::thread::Builder::new().name(String::from("softverbs")).spawn(run);
    // SAFETY: the old set was written above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), ptr::null_mut()) };
    if let Err(error) = started {
        eprintln!("softverbs: its thread cannot be started: {error}");
    }
}

fn run() {
    loop {
        let Ok(mut world) = world::lock() else { return };
        world.alarm.unring();
        world.turn();
        let (fds, deadline) = world.sleep();
        drop(world);
        let millis =
            deadline.map_or(NAP, |at| i32::try_from(at.saturating_sub(now()).div_ceil(1_000_000)).unwrap_or(NAP));
        let mut polled: Vec<_> =
            fds.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
        // SAFETY: as many descriptors as the array has.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, millis.min(NAP)) };
    }
}
