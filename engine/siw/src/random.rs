//! Random numbers no peer can guess, from the kernel.

use crate::limits::RANDOM;

/// A supply of random numbers.
pub(crate) struct Random {
    pool: Box<[u8; RANDOM]>,
    at: usize,
}

impl Random {
    pub fn new() -> Self {
        Self { pool: Box::new([0; RANDOM]), at: RANDOM }
    }

    /// The next one.
    pub fn next(&mut self) -> u32 {
        if self.at + 4 > RANDOM {
            self.refill();
        }
        let word = self.pool[self.at..].first_chunk().copied().unwrap_or_default();
        self.at += 4;
        u32::from_ne_bytes(word)
    }

    fn refill(&mut self) {
        let mut filled = 0;
        while filled < RANDOM {
            let rest = &mut self.pool[filled..];
            // SAFETY: the kernel writes at most `rest.len()` bytes into a slice of that length.
            let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
            if n > 0 {
                filled += n as usize;
            } else {
                // It can be interrupted; a kernel that has no randomness at all cannot be served from safely.
                let error = std::io::Error::last_os_error();
                assert!(error.kind() == std::io::ErrorKind::Interrupted, "no random numbers: {error}");
            }
        }
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Random;
    use std::collections::HashSet;

    #[test]
    fn numbers_do_not_repeat_across_refills() {
        let mut random = Random::new();
        let seen: HashSet<u32> = (0..5_000).map(|_| random.next()).collect();
        // Birthdays: 5,000 of 2^32 have about 0.003 pairs.
        assert!(seen.len() > 4_995);
    }
}
