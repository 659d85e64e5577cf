//! The processor's caches: memory to be fetched early, and memory to be left out of them.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::{_MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm_sfence, _mm_stream_si128};

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

/// Begins to bring `bytes` bytes from `start` on into the cache, for somebody who is about to read them. Any address
/// may be given: nothing is read that a program could see, and a page that is not there is no fault.
///
/// For memory that nobody touched lately, the processor waits for the address to be translated, a few hundred
/// nanoseconds under a hypervisor; of calls that follow each other closely, it waits for all at once.
#[inline]
pub fn prefetch(start: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..bytes).step_by(LINE) {
        // SAFETY: a prefetch has no effect on memory or registers, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at).cast()) };
    }
    // Elsewhere there is no stable way to say so, and the processor finds out by itself.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, bytes);
}

/// Copies `len` bytes to memory that is not in the cache and will not be read soon, without fetching it first: less
/// than half the time of an ordinary copy, but twice as much if it was in the cache.
///
/// # Safety
/// As for [`copy_nonoverlapping`](core::ptr::copy_nonoverlapping). And before this thread tells another in any way
/// that the bytes are there, it calls [`settle_copies`]; a message of the `reactors` crate does that by itself.
#[inline]
pub unsafe fn copy_past_cache(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's word; SSE2 is part of every x86-64.
    unsafe {
        stream(from, to, len);
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller's word.
    unsafe {
        core::ptr::copy_nonoverlapping(from, to, len);
    }
}

/// Orders all copies that went past the cache before whatever this thread stores next. It waits for them, so one call
/// after many costs less than one after each.
#[inline]
pub fn settle_copies() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a fence; SSE is part of every x86-64.
    unsafe {
        _mm_sfence();
    }
}

/// Whole lines go past the cache, what lies around them takes the ordinary way.
#[cfg(target_arch = "x86_64")]
unsafe fn stream(from: *const u8, to: *mut u8, len: usize) {
    const WORD: usize = 16;
    let head = to.align_offset(LINE).min(len);
    let tail = head + (len - head) / LINE * LINE;
    // SAFETY: the three ranges are the whole, which the caller vouches for, and `to + head` is aligned to a line.
    unsafe {
        core::ptr::copy_nonoverlapping(from, to, head);
        for at in (head..tail).step_by(WORD) {
            _mm_stream_si128(to.add(at).cast(), _mm_loadu_si128(from.add(at).cast()));
        }
        core::ptr::copy_nonoverlapping(from.add(tail), to.add(tail), len - tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever a copy begins and ends, it has these bytes and no others.
    #[test]
    fn copies_past_the_cache_are_exact() {
        const ROOM: usize = 4 * 64;
        let from: [u8; ROOM] = core::array::from_fn(|i| i as u8 ^ 0x5a);
        for begin in [0, 1, 15, 16, 63, 64] {
            for source in [0, 1, 8] {
                for len in (0..=130).chain([ROOM - begin.max(source)]) {
                    let mut to = [0xdb; ROOM];
                    // SAFETY: both ranges end within their arrays.
                    unsafe { copy_past_cache(from.as_ptr().add(source), to.as_mut_ptr().add(begin), len) };
                    settle_copies();
                    assert_eq!(to[begin..begin + len], from[source..source + len]);
                    assert!(to[..begin].iter().chain(&to[begin + len..]).all(|byte| *byte == 0xdb), "{begin} {len}");
                }
            }
        }
    }

    #[test]
    fn any_address_may_be_prefetched() {
        prefetch(core::ptr::null(), 4096);
        prefetch(core::ptr::without_provenance(usize::MAX - 64), 4096);
    }
}
