//! Finds out whether a device can be polled for completions.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::time::{Duration, Instant};

use io_uring::{opcode, types};

use super::backing::Backing;
use super::ring::Ring;
use crate::limits;

/// Reads one block with a polled ring. Some kernels accept the read on a device without poll queues and never
/// complete it, so the wait is bounded.
pub(super) fn works(backing: &Backing, block_size: u32) -> bool {
    let answer = match (backing.is_direct(), backing.has_poll_queues()) {
        (false, _) => Err("it has no direct I/O".to_owned()),
        // Asked first: a read of a hole in a file succeeds without reaching the device.
        (_, false) => Err("the device has no poll queues".to_owned()),
        _ => probe(backing, block_size),
    };
    if let Err(reason) = &answer {
        tracing::warn!(path = %backing.path.display(), %reason, "cannot poll for completions, taking interrupts");
    }
    answer.is_ok()
}

fn probe(backing: &Backing, block_size: u32) -> Result<(), String> {
    let mut ring = Ring::polled().map_err(|e| e.to_string())?;
    ring.register_files(&backing.descriptors()).map_err(|e| e.to_string())?;
    let layout = Layout::from_size_align(block_size as usize, 4096).map_err(|e| e.to_string())?;
    // SAFETY: the layout is not empty.
    let block = unsafe { alloc_zeroed(layout) };
    if block.is_null() {
        return Err("out of memory".to_owned());
    }
    let read = opcode::Read::new(types::Fixed(0), block, block_size).build();
    // SAFETY: the block is freed only after the completion was seen, else leaked.
    if !unsafe { ring.push(&read) } {
        return Err("its ring takes nothing".to_owned());
    }
    ring.submit();
    let result = wait(&mut ring);
    if result.is_some() {
        ring.release_files();
        // SAFETY: allocated above with this layout; the kernel is done with it.
        unsafe { dealloc(block, layout) };
    }
    match result {
        Some(n) if u32::try_from(n) == Ok(block_size) => Ok(()),
        Some(n) if n < 0 => Err(std::io::Error::from_raw_os_error(-n).to_string()),
        Some(n) => Err(format!("it read {n} of {block_size} bytes")),
        None => Err(format!("a read did not complete within {} ms", limits::IOPOLL_PROBE_MS)),
    }
}

fn wait(ring: &mut Ring) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_millis(limits::IOPOLL_PROBE_MS);
    loop {
        ring.run_completions(true);
        if let Some((_, result)) = ring.next() {
            return Some(result);
        }
        if Instant::now() >= deadline {
            return None;
        }
    }
}
