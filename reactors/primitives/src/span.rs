//! Checked big-endian reads and writes of wire bytes. A length that does not fit is a value, never a panic.

macro_rules! be {
    ($get:ident, $put:ident, $t:ty, $n:literal) => {
        /// The big-endian number at byte `at`, unless it runs past the end.
        #[must_use]
        #[inline]
        pub fn $get(bytes: &[u8], at: usize) -> Option<$t> {
            let end = at.checked_add($n)?;
            bytes.get(at..end)?.try_into().ok().map(<$t>::from_be_bytes)
        }

        /// Writes a big-endian number at byte `at`; `None` (and nothing written) when it runs past the end.
        #[inline]
        pub fn $put(bytes: &mut [u8], at: usize, value: $t) -> Option<()> {
            let end = at.checked_add($n)?;
            bytes.get_mut(at..end)?.copy_from_slice(&value.to_be_bytes());
            Some(())
        }
    };
}

be!(be16, put_be16, u16, 2);
be!(be32, put_be32, u32, 4);
be!(be64, put_be64, u64, 8);

/// The 24-bit big-endian number at byte `at`.
#[must_use]
#[inline]
pub fn be24(bytes: &[u8], at: usize) -> Option<u32> {
    let b = bytes.get(at..at.checked_add(3)?)?;
    Some(u32::from(b[0]) << 16 | u32::from(b[1]) << 8 | u32::from(b[2]))
}

/// Writes the low 24 bits of `value` at byte `at`; `None` when it runs past the end.
#[inline]
pub fn put_be24(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    bytes.get_mut(at..at.checked_add(3)?)?.copy_from_slice(&value.to_be_bytes()[1..]);
    Some(())
}

/// `len` rounded up to a multiple of four (iSCSI segments, RFC 7143 §11.1; MPA FPDUs); `None` on overflow.
#[must_use]
#[inline]
pub const fn padded(len: usize) -> Option<usize> {
    match len.checked_add(3) {
        Some(n) => Some(n & !3),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_stay_in_bounds() {
        let mut b = [0u8; 9];
        assert!(put_be64(&mut b, 1, 0x0102_0304_0506_0708).is_some());
        assert_eq!(
            (be64(&b, 1), be32(&b, 1), be24(&b, 1), be16(&b, 7)),
            (Some(0x0102_0304_0506_0708), Some(0x0102_0304), Some(0x01_0203), Some(0x0708))
        );
        assert!(be64(&b, 2).is_none() && be32(&b, 6).is_none() && be24(&b, 7).is_none() && be16(&b, 8).is_none());
        assert!(be16(&b, usize::MAX).is_none() && be24(&b, usize::MAX).is_none());
        let before = b;
        assert!(put_be32(&mut b, 6, 1).is_none() && put_be24(&mut b, 7, 1).is_none());
        assert_eq!(b, before);
        put_be24(&mut b, 0, 0xFFAB_CDEF).unwrap();
        assert_eq!(b[..3], [0xAB, 0xCD, 0xEF]);
    }

    #[test]
    fn padding_never_wraps() {
        assert_eq!([0, 1, 3, 4, 5].map(|n| padded(n).unwrap()), [0, 4, 4, 4, 8]);
        assert!(padded(usize::MAX).is_none());
    }
}
