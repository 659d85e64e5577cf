//! Logical unit numbers on the wire (SAM-5): eight bytes with an addressing method.

/// A LUN as it stands in a command or a REPORT LUNS list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lun(pub [u8; 8]);

impl Lun {
    /// The REPORT LUNS well known logical unit (SAM-5).
    pub const REPORT_LUNS: Self = Self([0xC1, 0x01, 0, 0, 0, 0, 0, 0]);

    /// The LUN of `number` in the shortest single-level method: peripheral below 256, flat below 16,384, extended flat.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        let [a, b, c, d] = number.to_be_bytes();
        Self(match number {
            0..=0xFF => [0, d, 0, 0, 0, 0, 0, 0],
            0x100..=0x3FFF => [0x40 | c, d, 0, 0, 0, 0, 0, 0],
            0x4000..=0xFF_FFFF => [0xD2, b, c, d, 0, 0, 0, 0],
            _ => [0xE2, 0, a, b, c, d, 0, 0],
        })
    }

    /// The number a single-level LUN means, whichever method says it. `None` for well known units, further levels,
    /// other buses or targets, and methods that do not exist: no such LUN has a unit behind it.
    #[must_use]
    #[inline]
    pub const fn number(self) -> Option<u64> {
        let bits = u64::from_be_bytes(self.0);
        if bits & !(0xFF << 48) == 0 {
            // Peripheral device addressing, bus 0: what nearly every command has.
            return Some(bits >> 48);
        }
        self.number_otherwise()
    }

    const fn number_otherwise(self) -> Option<u64> {
        match self.0 {
            // Flat space addressing.
            [m, n, 0, 0, 0, 0, 0, 0] if m >> 6 == 0b01 => Some(((m & 0x3F) as u64) << 8 | n as u64),
            // Logical unit addressing, target 0 and bus 0.
            [0x80, n, 0, 0, 0, 0, 0, 0] if n >> 5 == 0 => Some(n as u64),
            // Extended flat space addressing, three and five bytes.
            [0xD2, a, b, c, 0, 0, 0, 0] => Some(u64::from_be_bytes([0, 0, 0, 0, 0, a, b, c])),
            [0xE2, a, b, c, d, e, 0, 0] => Some(u64::from_be_bytes([0, 0, 0, a, b, c, d, e])),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_in_every_method() {
        for number in [0, 1, 255, 256, 257, 0x3FFF, 0x4000, 0xFF_FFFF, 0x100_0000, u32::MAX] {
            assert_eq!(Lun::from_number(number).number(), Some(u64::from(number)), "{number:#x}");
        }
    }

    #[test]
    fn one_number_has_several_spellings() {
        let spellings = [
            [0x00, 5, 0, 0, 0, 0, 0, 0],
            [0x40, 5, 0, 0, 0, 0, 0, 0],
            [0x80, 5, 0, 0, 0, 0, 0, 0],
            [0xD2, 0, 0, 5, 0, 0, 0, 0],
            [0xE2, 0, 0, 0, 0, 5, 0, 0],
        ];
        assert!(spellings.into_iter().all(|bytes| Lun(bytes).number() == Some(5)));
    }

    #[test]
    fn what_is_not_single_level_is_no_number() {
        let foreign = [
            [0x01, 5, 0, 0, 0, 0, 0, 0],
            [0x00, 5, 0, 1, 0, 0, 0, 0],
            [0x40, 5, 0, 0, 0, 0, 0, 1],
            [0x81, 5, 0, 0, 0, 0, 0, 0],
            [0x80, 0x25, 0, 0, 0, 0, 0, 0],
            [0xC2, 5, 0, 0, 0, 0, 0, 0],
            [0xD2, 0, 0, 5, 1, 0, 0, 0],
            [0xE2, 0, 0, 0, 0, 5, 1, 0],
            [0xFF; 8],
            Lun::REPORT_LUNS.0,
        ];
        assert!(foreign.into_iter().all(|bytes| Lun(bytes).number().is_none()));
    }
}
