//! 32-bit serial numbers (RFC 7143 §4.2.2.1, RFC 1982): CmdSN, StatSN, DataSN, R2TSN.

/// A serial number modulo 2³². Comparison is `precedes`/`within`, never `<`: the order is not total.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Serial(pub u32);

impl Serial {
    /// This number advanced by `n`.
    #[must_use]
    pub const fn plus(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// This number moved back by `n`.
    #[must_use]
    pub const fn minus(self, n: u32) -> Self {
        Self(self.0.wrapping_sub(n))
    }

    /// Returns the number and advances this one: the next StatSN, DataSN, …
    pub fn take(&mut self) -> Self {
        let now = *self;
        *self = self.plus(1);
        now
    }

    /// How many steps lead from `self` to `later`, modulo 2³².
    #[must_use]
    pub const fn distance_to(self, later: Self) -> u32 {
        later.0.wrapping_sub(self.0)
    }

    /// `self` comes before `other` (RFC 1982 §3.2). Two numbers exactly 2³¹ apart precede each other in neither
    /// direction.
    #[must_use]
    pub const fn precedes(self, other: Self) -> bool {
        let d = self.distance_to(other);
        d != 0 && d < 1 << 31
    }

    /// `self` lies in the closed window `first..=last`. An empty window (`last` = `first` − 1) holds nothing.
    #[must_use]
    pub const fn within(self, first: Self, last: Self) -> bool {
        let size = first.distance_to(last.plus(1));
        first.distance_to(self) < size && size <= 1 << 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        let (a, b) = (Serial(u32::MAX), Serial(1));
        assert!(a.precedes(b));
        assert!(!b.precedes(a));
        assert!(!a.precedes(a));
        assert_eq!(a.distance_to(b), 2);
    }

    #[test]
    fn opposite_numbers_are_unordered() {
        let (a, b) = (Serial(0), Serial(1 << 31));
        assert!(!a.precedes(b) && !b.precedes(a));
    }

    #[test]
    fn window_may_be_empty_and_may_wrap() {
        let first = Serial(u32::MAX);
        assert!(!first.within(first, first.minus(1)));
        assert!(first.within(first, first));
        assert!(Serial(0).within(first, Serial(3)));
        assert!(!Serial(4).within(first, Serial(3)));
        assert!(!first.minus(1).within(first, Serial(3)));
    }

    #[test]
    fn take_returns_then_advances() {
        let mut sn = Serial(u32::MAX);
        assert_eq!(sn.take(), Serial(u32::MAX));
        assert_eq!(sn, Serial(0));
    }
}
