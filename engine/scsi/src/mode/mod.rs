//! Mode parameters (SPC-4, SBC-3): the pages, MODE SENSE and MODE SELECT.

mod pages;
pub(crate) mod select;
pub(crate) mod sense;

use crate::cdb::Cdb;
use crate::opcodes;
use crate::unit::Medium;

/// The mode parameters an initiator can change. They are not saved: a reset returns them to the defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModePages {
    /// D_SENSE, Control page: sense data comes in descriptor format.
    pub d_sense: bool,
    /// SWP, Control page: writes are refused.
    pub swp: bool,
    /// TAS, Control page: a command aborted by another nexus ends with TASK ABORTED instead of silently.
    pub tas: bool,
    /// WCE, Caching page: writes may end before they are durable. Changeable if the device has a volatile cache.
    pub wce: bool,
}

impl ModePages {
    /// The values after a reset.
    #[must_use]
    pub const fn defaults(medium: &Medium) -> Self {
        Self { d_sense: false, swp: false, tas: true, wce: medium.write_cache }
    }
}

/// MODE SENSE and MODE SELECT come with six and ten bytes; the latter has room for longer headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Six,
    Ten,
}

impl Size {
    fn of(cdb: Cdb<'_>) -> Self {
        match cdb.opcode() {
            opcodes::MODE_SENSE_6 | opcodes::MODE_SELECT_6 => Self::Six,
            _ => Self::Ten,
        }
    }

    /// ALLOCATION LENGTH or PARAMETER LIST LENGTH.
    fn length(self, cdb: Cdb<'_>) -> usize {
        match self {
            Self::Six => cdb.byte(4).into(),
            Self::Ten => cdb.length16(7),
        }
    }

    /// Bytes of the mode parameter header.
    const fn header(self) -> usize {
        match self {
            Self::Six => 4,
            Self::Ten => 8,
        }
    }
}

/// Bytes of the short and the long block descriptor (SBC-3).
const SHORT_DESCRIPTOR: usize = 8;
const LONG_DESCRIPTOR: usize = 16;
