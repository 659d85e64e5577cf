//! A logical unit that decides commands, as the target's does.

use bdev::{Bdev, Op};
use scsi::{BlockKind, Identity, LogicalUnit, Lun, Nexus, NexusId, Plan, View};
use target::unit::medium;

/// READ(10) and WRITE(10), SBC-3.
const READ_10: u8 = 0x28;
const WRITE_10: u8 = 0x2A;

/// One unit and one nexus.
pub struct Unit {
    lu: LogicalUnit,
    luns: [Lun; 1],
    nexus: Nexus,
    reply: Box<[u8]>,
}

impl Unit {
    /// A unit of this device's shape.
    pub fn new(bdev: &dyn Bdev) -> Result<Self, String> {
        let identity = Identity {
            vendor: *b"ISERE   ",
            product: *b"Ladder          ",
            revision: *b"0001",
            serial: "1".into(),
            naa: [0x30, 0, 0, 0, 0, 0, 0, 1],
            uuid: [0; 16],
            target_name: "iqn.2016-06.io.spdk:ladder".into(),
            relative_target_port: 1,
            portal_group_tag: 1,
        };
        let lu = LogicalUnit::new(identity, medium(bdev)).map_err(|error| format!("{error:?}"))?;
        let reply = vec![0; scsi::limits::REPLY].into();
        Ok(Self { lu, luns: [Lun::from_number(0)], nexus: Nexus::new(NexusId(1)), reply })
    }

    /// Makes a CDB and decides it; the first block and the number of blocks that are to be moved. `None` when it is
    /// refused.
    pub fn decide(&mut self, op: Op, lba: u64, blocks: u64) -> Option<(u64, u64)> {
        let mut cdb = [0; 16];
        cdb[0] = if op == Op::Read { READ_10 } else { WRITE_10 };
        cdb[2..6].copy_from_slice(&u32::try_from(lba).ok()?.to_be_bytes());
        cdb[7..9].copy_from_slice(&u16::try_from(blocks).ok()?.to_be_bytes());
        // The compiler must not see through the bytes: a target gets them from elsewhere.
        let cdb = std::hint::black_box(cdb);
        let view = View { lu: &self.lu, luns: &self.luns };
        match scsi::execute(view, &mut self.nexus, &cdb, &mut self.reply) {
            Plan::Block(op) if matches!(op.kind, BlockKind::Read | BlockKind::Write) => Some((op.lba, op.blocks)),
            _ => None,
        }
    }
}
