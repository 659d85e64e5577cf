//! What one I_T nexus holds for one logical unit.

use crate::attention::UnitAttention;

/// Identifies an I_T nexus; unique per session in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NexusId(pub u64);

/// The state of one I_T nexus and logical unit. It lives on the core of its connection and is shared with nobody.
///
/// A new nexus has no unit attention pending. Logging in resets nothing, and neither LIO nor SPDK reports an attention
/// for it; every first command of a session would otherwise fail once for no news. Where there is news (the process
/// was restarted and volatile state is gone, a session was reinstated after its loss) the caller raises it.
#[derive(Clone, Debug)]
pub struct Nexus {
    id: NexusId,
    /// One bit per [`UnitAttention`]: bounded, without duplicates and ordered by construction.
    pending: u16,
    prevents_removal: bool,
}

impl Nexus {
    /// A nexus that has just been established.
    #[must_use]
    pub const fn new(id: NexusId) -> Self {
        Self { id, pending: 0, prevents_removal: false }
    }

    /// Who it is.
    #[must_use]
    pub const fn id(&self) -> NexusId {
        self.id
    }

    /// Establishes a unit attention condition. One that is pending already is not repeated, and of the resets only the
    /// strongest stays: it tells everything the others would.
    pub fn raise(&mut self, attention: UnitAttention) {
        if attention.is_reset() {
            let resets = UnitAttention::ALL.into_iter().filter(|other| other.is_reset());
            if resets.clone().any(|other| other < attention && self.is_pending(other)) {
                return;
            }
            resets.for_each(|other| self.clear(other));
        }
        self.pending |= attention.mask();
    }

    /// The attention that will be reported next.
    #[must_use]
    #[inline]
    pub fn pending(&self) -> Option<UnitAttention> {
        if self.pending == 0 {
            return None;
        }
        UnitAttention::ALL.into_iter().find(|&attention| self.is_pending(attention))
    }

    /// Takes the attention to report now; reporting clears it (UA_INTLCK_CTRL is 00b).
    pub fn take(&mut self) -> Option<UnitAttention> {
        let attention = self.pending()?;
        self.clear(attention);
        Some(attention)
    }

    /// Forgets `attention`, for instance because the initiator has just read what it would point at.
    pub fn clear(&mut self, attention: UnitAttention) {
        self.pending &= !attention.mask();
    }

    /// A logical unit or target reset reached this nexus: its state returns to the beginning and `attention` tells it.
    pub fn reset(&mut self, attention: UnitAttention) {
        self.prevents_removal = false;
        self.raise(attention);
    }

    /// PREVENT ALLOW MEDIUM REMOVAL asked for the medium to stay.
    #[must_use]
    pub const fn prevents_removal(&self) -> bool {
        self.prevents_removal
    }

    pub(crate) const fn set_prevents_removal(&mut self, prevent: bool) {
        self.prevents_removal = prevent;
    }

    const fn is_pending(&self, attention: UnitAttention) -> bool {
        self.pending & attention.mask() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use UnitAttention::*;

    fn drained(nexus: &mut Nexus) -> alloc::vec::Vec<UnitAttention> {
        core::iter::from_fn(|| nexus.take()).collect()
    }

    #[test]
    fn a_new_nexus_has_nothing_to_tell() {
        let mut nexus = Nexus::new(NexusId(7));
        assert_eq!((nexus.id(), nexus.pending(), nexus.take()), (NexusId(7), None, None));
    }

    #[test]
    fn attentions_are_told_once_and_in_order() {
        let mut nexus = Nexus::new(NexusId(1));
        for attention in UnitAttention::ALL.into_iter().rev() {
            nexus.raise(attention);
            nexus.raise(attention);
        }
        assert_eq!(
            drained(&mut nexus),
            [PowerOn, CommandsCleared, ModeParametersChanged, CapacityChanged, InquiryChanged, ReportedLunsChanged]
        );
        assert_eq!(nexus.pending(), None);
    }

    #[test]
    fn of_the_resets_the_strongest_stays() {
        let mut nexus = Nexus::new(NexusId(1));
        nexus.raise(DeviceReset);
        nexus.raise(NexusLoss);
        assert_eq!(drained(&mut nexus), [DeviceReset]);
        nexus.raise(NexusLoss);
        nexus.raise(BusReset);
        nexus.raise(CapacityChanged);
        assert_eq!(drained(&mut nexus), [BusReset, CapacityChanged]);
    }

    #[test]
    fn a_reset_allows_removal_again() {
        let mut nexus = Nexus::new(NexusId(1));
        nexus.set_prevents_removal(true);
        nexus.reset(DeviceReset);
        assert!(!nexus.prevents_removal());
        assert_eq!(nexus.take(), Some(DeviceReset));
    }

    #[test]
    fn every_attention_has_its_own_code() {
        let codes = UnitAttention::ALL.map(|a| (a.sense().asc, a.sense().ascq));
        for (i, code) in codes.iter().enumerate() {
            assert!(!codes[..i].contains(code));
        }
    }
}
