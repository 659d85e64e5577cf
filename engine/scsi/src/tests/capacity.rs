//! READ CAPACITY, and units that cannot be.

use super::*;

fn read_16(allocation: u8) -> [u8; 16] {
    [0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, allocation, 0, 0]
}

#[test]
fn capacity_is_the_last_block() {
    let mut host = Host::new();
    assert_eq!(host.data(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]), [0, 0, 0x27, 0x0F, 0, 0, 2, 0]);
    let data = host.data(&read_16(32));
    assert_eq!(data.len(), 32);
    assert_eq!(data[..16], [0, 0, 0, 0, 0, 0, 0x27, 0x0F, 0, 0, 2, 0, 0, 3, 0xC0, 0]);
    assert!(data[16..].iter().all(|&byte| byte == 0));
}

#[test]
fn provisioning_is_told() {
    for (thin, zeroes, bits) in [(false, false, 0), (false, true, 0), (true, false, 0x80), (true, true, 0xC0)] {
        let mut host = Host::with(|medium| (medium.thin, medium.unmap_zeroes) = (thin, zeroes));
        assert_eq!(host.data(&read_16(32))[14], bits);
    }
}

#[test]
fn a_large_medium_overflows_the_short_form() {
    for (blocks, last) in [(0xFFFF_FFFF, 0xFFFF_FFFE), (0x1_0000_0000, u32::MAX), (0x1_0000_0001, u32::MAX)] {
        let mut host = Host::with(|medium| medium.blocks = blocks);
        assert_eq!(host.data(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0])[..4], last.to_be_bytes());
        assert_eq!(host.data(&read_16(32))[..8], (blocks - 1).to_be_bytes());
    }
}

#[test]
fn an_address_needs_pmi_and_the_medium() {
    let mut host = Host::new();
    assert_eq!(host.sense(&[0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0]), Sense::cdb_byte(2));
    assert_eq!(host.data(&[0x25, 0, 0, 0, 0, 1, 0, 0, 1, 0])[..4], [0, 0, 0x27, 0x0F]);
    assert_eq!(host.sense(&[0x25, 0, 0, 0, 0x27, 0x10, 0, 0, 1, 0]), Sense::LBA_OUT_OF_RANGE);
    let mut cdb = read_16(32);
    cdb[2] = 1;
    assert_eq!(host.sense(&cdb), Sense::cdb_byte(2));
    cdb[14] = 1;
    assert_eq!(host.sense(&cdb), Sense::LBA_OUT_OF_RANGE);
}

#[test]
fn growing_is_news() {
    let mut host = Host::new();
    assert_eq!(host.lu.resize(BLOCKS), Ok(None));
    assert_eq!(host.lu.resize(BLOCKS * 2), Ok(Some(UnitAttention::CapacityChanged)));
    assert_eq!((host.lu.generation, host.lu.medium.blocks), (2, BLOCKS * 2));
    assert_eq!(host.lu.resize(0), Err(UnitError::Capacity));
    assert_eq!(host.lu.medium.blocks, BLOCKS * 2);
}

#[test]
fn impossible_units_are_refused() {
    type Wrong = (fn(&mut Identity, &mut Medium), UnitError);
    let wrongs: [Wrong; 14] = [
        (|_, medium| medium.block_size = 520, UnitError::BlockSize),
        (|_, medium| medium.block_size = 0, UnitError::BlockSize),
        (|_, medium| medium.blocks = 0, UnitError::Capacity),
        (|_, medium| medium.blocks = 1 << 55, UnitError::Capacity),
        (|_, medium| medium.physical_block_exponent = 16, UnitError::PhysicalBlock),
        (|_, medium| medium.max_unmap_descriptors = 0, UnitError::Unmap),
        (|_, medium| medium.max_unmap_descriptors = limits::UNMAP_DESCRIPTORS + 1, UnitError::Unmap),
        (|_, medium| medium.max_unmap_blocks = 0, UnitError::Unmap),
        (|_, medium| medium.unmap_alignment = 1 << 31, UnitError::Unmap),
        (|identity, _| identity.serial.clear(), UnitError::Serial),
        (|identity, _| identity.serial = "x".repeat(limits::SERIAL + 1), UnitError::Serial),
        (|identity, _| identity.serial.push('é'), UnitError::Serial),
        (|identity, _| identity.target_name = "x".repeat(limits::TARGET_NAME + 1), UnitError::TargetName),
        (|identity, _| identity.target_name.push('\0'), UnitError::TargetName),
    ];
    for (change, error) in wrongs {
        let (mut identity, mut medium) = (identity(), medium());
        change(&mut identity, &mut medium);
        assert_eq!(LogicalUnit::new(identity, medium), Err(error));
        assert!(!error.to_string().is_empty());
    }
}
