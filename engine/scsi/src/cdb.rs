//! Reading CDBs. A byte that is not there reads as zero; dispatch has refused CDBs shorter than their command.

use crate::sense::Sense;
use crate::unit::Medium;
use primitives::span;

/// The bytes of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cdb<'a>(pub &'a [u8]);

impl Cdb<'_> {
    #[inline]
    pub fn byte(self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    #[inline]
    pub fn u16(self, at: usize) -> u16 {
        span::be16(self.0, at).unwrap_or(0)
    }

    #[inline]
    pub fn u24(self, at: usize) -> u32 {
        span::be24(self.0, at).unwrap_or(0)
    }

    #[inline]
    pub fn u32(self, at: usize) -> u32 {
        span::be32(self.0, at).unwrap_or(0)
    }

    #[inline]
    pub fn u64(self, at: usize) -> u64 {
        span::be64(self.0, at).unwrap_or(0)
    }

    #[inline]
    pub fn bit(self, at: usize, bit: u8) -> bool {
        self.byte(at) >> bit & 1 == 1
    }

    #[inline]
    pub fn opcode(self) -> u8 {
        self.byte(0)
    }

    /// The service action of the commands that have one in byte 1.
    pub fn service_action(self) -> u16 {
        u16::from(self.byte(1) & 0x1F)
    }

    /// An allocation or parameter list length as an index.
    pub fn length16(self, at: usize) -> usize {
        usize::from(self.u16(at))
    }

    /// A 32-bit allocation length as an index.
    pub fn length32(self, at: usize) -> usize {
        usize::try_from(self.u32(at)).unwrap_or(usize::MAX)
    }

    /// Refuses protection information: the RDPROTECT, WRPROTECT or VRPROTECT field must be zero (PROT_EN is 0).
    #[inline]
    pub fn no_protection(self) -> Result<(), Sense> {
        if self.byte(1) & 0xE0 == 0 { Ok(()) } else { Err(Sense::cdb_bit(1, 7)) }
    }

    /// The blocks the command names. The field positions follow from the group of the operation code (SPC-4).
    #[inline]
    pub fn extent(self) -> Extent {
        let (lba, blocks, lba_byte, length_byte) = match self.opcode() >> 5 {
            0 => (u64::from(self.u24(1) & 0x1F_FFFF), self.length_6(), 1, 4),
            4 => (self.u64(2), self.u32(10).into(), 2, 10),
            5 => (self.u32(2).into(), self.u32(6).into(), 2, 6),
            _ => (self.u32(2).into(), self.u16(7).into(), 2, 7),
        };
        Extent { lba, blocks, lba_byte, length_byte }
    }

    /// The six-byte commands have no way to transfer nothing: a length of zero means 256 blocks.
    fn length_6(self) -> u64 {
        match self.byte(4) {
            0 => 256,
            blocks => blocks.into(),
        }
    }
}

/// A range of logical blocks as a CDB names it, not yet checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub lba: u64,
    pub blocks: u64,
    lba_byte: u16,
    length_byte: u16,
}

impl Extent {
    /// The range is on the medium. An empty range may start right behind the last block, not further.
    #[inline]
    pub fn on(self, medium: &Medium) -> Result<Self, Sense> {
        match self.lba.checked_add(self.blocks) {
            Some(end) if end <= medium.blocks => Ok(self),
            _ => Err(Sense::LBA_OUT_OF_RANGE.at(crate::sense::FieldPointer {
                in_cdb: true,
                byte: self.lba_byte,
                bit: None,
            })),
        }
    }

    /// Like [`Self::on`], where a length of zero means all blocks up to the last (WRITE SAME, SYNCHRONIZE CACHE, ...).
    pub fn to_end_of(self, medium: &Medium) -> Result<Self, Sense> {
        let extent = self.on(medium)?;
        let blocks = if self.blocks == 0 { medium.blocks.saturating_sub(self.lba) } else { self.blocks };
        Ok(Self { blocks, ..extent })
    }

    /// Not longer than `limit`; zero is no limit (SBC-3, block limits: INVALID FIELD IN CDB otherwise).
    #[inline]
    pub fn at_most(self, limit: u64) -> Result<Self, Sense> {
        if limit == 0 || self.blocks <= limit { Ok(self) } else { Err(Sense::cdb_byte(self.length_byte)) }
    }
}
