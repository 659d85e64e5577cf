//! Unit attention conditions (SAM-5; their codes are in SPC-4).

use crate::sense::{Sense, SenseKey};

/// Something the initiator must hear about before its next command runs. The order is the order of reporting: resets
/// come first, the stronger before the weaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum UnitAttention {
    /// 29h/00h: the target was started; volatile state is gone.
    PowerOn,
    /// 29h/02h: the whole target was reset.
    BusReset,
    /// 29h/03h: the logical unit was reset.
    DeviceReset,
    /// 29h/07h: the I_T nexus was lost and its state with it.
    NexusLoss,
    /// 2Fh/00h: another I_T nexus cleared this one's commands.
    CommandsCleared,
    /// 2Ah/01h: another I_T nexus changed mode pages.
    ModeParametersChanged,
    /// 2Ah/09h: READ CAPACITY reports something else now.
    CapacityChanged,
    /// 3Fh/03h: INQUIRY reports something else now.
    InquiryChanged,
    /// 3Fh/0Eh: REPORT LUNS reports something else now.
    ReportedLunsChanged,
}

impl UnitAttention {
    /// All of them, in the order of reporting.
    pub const ALL: [Self; 9] = [
        Self::PowerOn,
        Self::BusReset,
        Self::DeviceReset,
        Self::NexusLoss,
        Self::CommandsCleared,
        Self::ModeParametersChanged,
        Self::CapacityChanged,
        Self::InquiryChanged,
        Self::ReportedLunsChanged,
    ];

    /// The sense that reports it.
    #[must_use]
    pub const fn sense(self) -> Sense {
        let (asc, ascq) = match self {
            Self::PowerOn => (0x29, 0x00),
            Self::BusReset => (0x29, 0x02),
            Self::DeviceReset => (0x29, 0x03),
            Self::NexusLoss => (0x29, 0x07),
            Self::CommandsCleared => (0x2F, 0x00),
            Self::ModeParametersChanged => (0x2A, 0x01),
            Self::CapacityChanged => (0x2A, 0x09),
            Self::InquiryChanged => (0x3F, 0x03),
            Self::ReportedLunsChanged => (0x3F, 0x0E),
        };
        Sense::new(SenseKey::UnitAttention, asc, ascq)
    }

    /// Belongs to the 29h family, where the stronger says everything the weaker would.
    pub(crate) const fn is_reset(self) -> bool {
        matches!(self, Self::PowerOn | Self::BusReset | Self::DeviceReset | Self::NexusLoss)
    }

    pub(crate) const fn mask(self) -> u16 {
        1 << self as u8
    }
}
