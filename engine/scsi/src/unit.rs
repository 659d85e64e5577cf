//! The logical unit: who it is, what medium it has, and the state its nexuses share.

use crate::attention::UnitAttention;
use crate::limits;
use crate::lun::Lun;
use crate::mode::ModePages;
use crate::nexus::NexusId;
use crate::sense::{Sense, SenseFormat};
use alloc::string::String;

/// Who the logical unit and its target port are (INQUIRY and its vital product data).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// T10 vendor identification, ASCII, padded with spaces.
    pub vendor: [u8; 8],
    /// Product identification, ASCII, padded with spaces.
    pub product: [u8; 16],
    /// Product revision level, ASCII, padded with spaces.
    pub revision: [u8; 4],
    /// Unit serial number, printable ASCII, at most [`limits::SERIAL`] bytes.
    pub serial: String,
    /// NAA identifier of the unit (format 3h, locally assigned).
    pub naa: [u8; 8],
    /// RFC 4122 UUID of the unit.
    pub uuid: [u8; 16],
    /// iSCSI name of the target, at most [`limits::TARGET_NAME`] bytes.
    pub target_name: String,
    /// Relative port identifier of the target port.
    pub relative_target_port: u16,
    /// Target portal group tag; with the name it names the target port.
    pub portal_group_tag: u16,
}

/// Geometry, limits and abilities of the medium. A limit of zero means that there is none, as in VPD page B0h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// Bytes of a logical block: 512 or 4096.
    pub block_size: u32,
    /// Logical blocks; at least one.
    pub blocks: u64,
    /// Logical blocks of a physical block, as a power of two.
    pub physical_block_exponent: u8,
    /// The device has a volatile write cache.
    pub write_cache: bool,
    /// The device refuses writes.
    pub read_only: bool,
    /// Thin provisioned: UNMAP works (LBPME, LBPU, LBPWS).
    pub thin: bool,
    /// Unmapped blocks read as zero (LBPRZ).
    pub unmap_zeroes: bool,
    /// Optimal unmap granularity, in blocks; 0 if not known.
    pub unmap_granularity: u32,
    /// Alignment of the unmap granularity, in blocks.
    pub unmap_alignment: u32,
    /// Optimal transfer length, in blocks; 0 if not known.
    pub optimal_transfer: u32,
    /// Longest data transfer of one command, in blocks.
    pub max_transfer: u32,
    /// Most blocks one UNMAP may name; `u32::MAX` for no limit.
    pub max_unmap_blocks: u32,
    /// Most block descriptors one UNMAP may carry, at most [`limits::UNMAP_DESCRIPTORS`].
    pub max_unmap_descriptors: u32,
    /// Most blocks one WRITE SAME may write.
    pub max_write_same: u64,
    /// Medium rotation rate; 1 for a medium that does not rotate.
    pub rotation_rate: u16,
}

/// Why a logical unit cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitError {
    /// The block size is neither 512 nor 4096.
    BlockSize,
    /// No blocks, or more bytes than 64 bits count.
    Capacity,
    /// A physical block exponent above 15 cannot be reported.
    PhysicalBlock,
    /// A thin medium must allow at least one block and one descriptor in an UNMAP, and not more descriptors than
    /// [`limits::UNMAP_DESCRIPTORS`]; the alignment has 31 bits.
    Unmap,
    /// The serial number is empty, too long or not printable ASCII.
    Serial,
    /// The target name is empty, too long or has a NUL in it.
    TargetName,
}

impl core::fmt::Display for UnitError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::BlockSize => "block size is neither 512 nor 4096",
            Self::Capacity => "capacity is zero or too large",
            Self::PhysicalBlock => "physical block exponent is above 15",
            Self::Unmap => "unmap limits are out of range",
            Self::Serial => "serial number is empty, too long or not printable ASCII",
            Self::TargetName => "target name is empty, too long or contains NUL",
        })
    }
}

impl core::error::Error for UnitError {}

/// What all nexuses of one logical unit share. The truth lives on the unit's home core; the others hold clones, and
/// only [`crate::at_home`] and the methods here change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalUnit {
    /// Counts changes; a clone with a smaller number is older.
    pub generation: u64,
    /// Who it is.
    pub identity: Identity,
    /// Its medium.
    pub medium: Medium,
    /// Changeable mode parameters.
    pub modes: ModePages,
    /// The nexus that holds the SPC-2 reservation (RESERVE).
    pub reservation: Option<NexusId>,
    /// START STOP UNIT stopped it: commands that access the medium are refused.
    pub stopped: bool,
}

impl LogicalUnit {
    /// A unit in the state of power on.
    ///
    /// # Errors
    /// What is wrong with the identity or the medium.
    pub fn new(identity: Identity, medium: Medium) -> Result<Self, UnitError> {
        identity.check()?;
        medium.check()?;
        let modes = ModePages::defaults(&medium);
        Ok(Self { generation: 1, identity, medium, modes, reservation: None, stopped: false })
    }

    /// The sense format initiators get (D_SENSE of the Control mode page).
    #[must_use]
    pub const fn sense_format(&self) -> SenseFormat {
        if self.modes.d_sense { SenseFormat::Descriptor } else { SenseFormat::Fixed }
    }

    /// Logical unit or target reset: the reservation is gone, mode parameters are the defaults, the unit is started.
    /// The caller raises [`UnitAttention::DeviceReset`] (or `BusReset`) on every nexus.
    pub fn reset(&mut self) {
        self.reservation = None;
        self.modes = ModePages::defaults(&self.medium);
        self.stopped = false;
        self.touch();
    }

    /// A nexus is gone (logout, connection lost): its reservation goes with it. True if that changed the unit.
    #[must_use]
    pub fn nexus_lost(&mut self, nexus: NexusId) -> bool {
        let held = self.reservation == Some(nexus);
        if held {
            self.reservation = None;
            self.touch();
        }
        held
    }

    /// The medium has another number of blocks now. What to raise on every nexus if that is news.
    ///
    /// # Errors
    /// [`UnitError::Capacity`] if it cannot be; nothing changes then.
    pub fn resize(&mut self, blocks: u64) -> Result<Option<UnitAttention>, UnitError> {
        if blocks == self.medium.blocks {
            return Ok(None);
        }
        let medium = Medium { blocks, ..self.medium.clone() };
        medium.check()?;
        self.medium = medium;
        self.touch();
        Ok(Some(UnitAttention::CapacityChanged))
    }

    /// Writes must reach the medium before they end although it has a volatile cache (WCE=0).
    pub(crate) const fn write_through(&self) -> bool {
        self.medium.write_cache && !self.modes.wce
    }

    /// Another nexus than `nexus` holds the reservation.
    #[inline]
    pub(crate) fn reserved_by_other(&self, nexus: NexusId) -> bool {
        self.reservation.is_some_and(|holder| holder != nexus)
    }

    /// Why the medium cannot be written, if so.
    #[inline]
    pub(crate) const fn write_protect(&self) -> Option<Sense> {
        if self.medium.read_only {
            Some(Sense::WRITE_PROTECTED)
        } else if self.modes.swp {
            Some(Sense::SOFTWARE_WRITE_PROTECTED)
        } else {
            None
        }
    }

    pub(crate) const fn touch(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }
}

/// What a session sees of its target when it sends a command: the logical unit and, for REPORT LUNS, its LUNs.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// This core's copy of the addressed unit.
    pub lu: &'a LogicalUnit,
    /// The LUNs this session may see; those beyond [`limits::LUNS`] are not reported.
    pub luns: &'a [Lun],
}

impl Identity {
    fn check(&self) -> Result<(), UnitError> {
        let serial = self.serial.as_bytes();
        if serial.is_empty() || serial.len() > limits::SERIAL || !serial.iter().all(|b| (0x20..0x7F).contains(b)) {
            return Err(UnitError::Serial);
        }
        let name = self.target_name.as_bytes();
        if name.is_empty() || name.len() > limits::TARGET_NAME || name.contains(&0) {
            return Err(UnitError::TargetName);
        }
        Ok(())
    }
}

impl Medium {
    fn check(&self) -> Result<(), UnitError> {
        if !matches!(self.block_size, 512 | 4096) {
            return Err(UnitError::BlockSize);
        }
        if self.blocks == 0 || self.blocks.checked_mul(u64::from(self.block_size)).is_none() {
            return Err(UnitError::Capacity);
        }
        if self.physical_block_exponent > 15 {
            return Err(UnitError::PhysicalBlock);
        }
        let descriptors = 1..=limits::UNMAP_DESCRIPTORS;
        if self.thin && (self.max_unmap_blocks == 0 || !descriptors.contains(&self.max_unmap_descriptors))
            || self.unmap_alignment >= 1 << 31
        {
            return Err(UnitError::Unmap);
        }
        Ok(())
    }

    /// The last logical block address.
    pub(crate) const fn last_lba(&self) -> u64 {
        self.blocks.saturating_sub(1)
    }
}
