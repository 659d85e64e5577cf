//! `Carving`: one pool buffer cut into smaller ones, for whoever needs many small pieces of registered memory.

use primitives::{Buf, Home};
use std::ptr::NonNull;

/// The pool number of pieces: they go back to their [`Carving`], never to a pool.
pub const PIECES: u16 = u16::MAX;

/// Pieces start at multiples of this: cache lines.
pub const PIECE_ALIGN: usize = 64;

/// A buffer that was cut up. It is whole again when all its pieces have come back.
#[derive(Debug)]
#[must_use = "the buffer goes back to its pool with `join`"]
pub struct Carving {
    whole: Buf,
    lent: u32,
}

impl Carving {
    /// Cuts `count` pieces of `size` bytes off `whole` for each `(size, count)`, as far as they fit, and hands them to
    /// `each`.
    ///
    /// # Panics
    /// On memory lent by a device, which is not ours to cut.
    pub fn new(whole: Buf, sizes: &[(usize, usize)], mut each: impl FnMut(Buf)) -> Self {
        assert!(!whole.is_lent(), "lent memory is not cut up");
        let (mut at, mut lent) = (0, 0);
        for &(size, count) in sizes {
            let step = size.next_multiple_of(PIECE_ALIGN);
            for _ in 0..count.min((whole.capacity() - at) / step.max(1)) {
                // SAFETY: `at + size` ≤ capacity, so the piece lies in the buffer, which is not null.
                let ptr = unsafe { NonNull::new_unchecked(whole.as_ptr().add(at)) };
                let home = Home::Pool { pool: PIECES, index: lent };
                // SAFETY: pool memory is valid and initialised for as long as its pool; `whole` is kept here untouched
                // and `at` only grows, so this piece is the only handle to its bytes.
                each(unsafe { Buf::from_raw(ptr, size as u32, home) });
                at += step;
                lent += 1;
            }
        }
        Self { whole, lent }
    }

    /// Takes a piece back.
    ///
    /// # Panics
    /// In debug builds, if it is none of this buffer's.
    pub fn give(&mut self, piece: &Buf) {
        let start = self.whole.as_ptr().addr();
        let ours = (start..start + self.whole.capacity()).contains(&piece.as_ptr().addr());
        debug_assert!(ours && self.lent > 0, "a piece was given to the wrong buffer");
        self.lent -= u32::from(ours);
    }

    /// Pieces that have not come back.
    #[must_use]
    pub const fn lent(&self) -> u32 {
        self.lent
    }

    /// The buffer, for its pool.
    ///
    /// # Errors
    /// Itself, while pieces are missing.
    pub fn join(self) -> Result<Buf, Self> {
        if self.lent == 0 { Ok(self.whole) } else { Err(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::Pools;

    #[test]
    fn pieces_fit_do_not_overlap_and_come_back() {
        let mut pools = Pools::for_tests(0, 1, 0);
        let whole = pools.take(8192).unwrap();
        let mut pieces = Vec::new();
        let carving = Carving::new(whole, &[(100, 3), (4096, 9), (64, 1)], |piece| pieces.push(piece));
        assert_eq!(pieces.len(), 3 + 1 + 1, "as many as fit");
        for (i, piece) in pieces.iter_mut().enumerate() {
            piece.storage().fill(i as u8);
            let len = piece.capacity();
            piece.set_len(len);
        }
        assert!(pieces.iter().enumerate().all(|(i, p)| p.filled().iter().all(|b| *b == i as u8)));
        assert!(pieces.iter().all(|p| p.as_ptr().addr() % PIECE_ALIGN == 0));
        let mut carving = carving.join().expect_err("pieces are out");
        pieces.iter().for_each(|piece| carving.give(piece));
        pools.give(carving.join().expect("whole again"));
        assert_eq!(pools.outstanding(), 0);
    }
}
