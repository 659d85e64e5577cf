//! UNMAP: parameter lists good, bad and lying.

use super::*;

fn cdb(length: usize) -> [u8; 10] {
    let [hi, lo] = (length as u16).to_be_bytes();
    [0x42, 0, 0, 0, 0, 0, 0, hi, lo, 0]
}

fn list(ranges: &[(u64, u32)]) -> Vec<u8> {
    let length = 16 * ranges.len() as u16;
    let mut list = [&(length + 6).to_be_bytes()[..], &length.to_be_bytes(), &[0; 4]].concat();
    for (lba, blocks) in ranges {
        list.extend([&lba.to_be_bytes()[..], &blocks.to_be_bytes(), &[0; 4]].concat());
    }
    list
}

fn unmap(host: &mut Host, list: &[u8]) -> Plan {
    host.with_list(&cdb(list.len()), list)
}

#[test]
fn ranges_are_counted_and_read_in_place() {
    let mut host = Host::new();
    let ranges = [(0, 8), (4, 8), (BLOCKS - 1, 1), (BLOCKS, 0)];
    let list = list(&ranges);
    let op = BlockOp { kind: BlockKind::Unmap { descriptors: 4 }, lba: 0, blocks: 17, fua: false };
    assert_eq!(unmap(&mut host, &list), Plan::Block(op));
    assert_eq!((op.data_in(512), op.data_out(512)), (0, 0));
    let read: Vec<_> = UnmapRanges::new(&list).map(|range| (range.lba, range.blocks)).collect();
    assert_eq!(read, ranges);
}

#[test]
fn nothing_to_unmap_is_not_an_error() {
    let mut host = Host::new();
    assert_eq!(host.run(&cdb(0)), Plan::Done(Outcome::GOOD));
    for list in [list(&[]), list(&[(0, 0)]), list(&[(5, 0), (BLOCKS, 0)])] {
        assert_eq!(unmap(&mut host, &list), Plan::Done(Outcome::GOOD));
    }
}

#[test]
fn anchors_and_silly_lengths_are_refused() {
    let mut host = Host::new();
    let mut anchored = cdb(24);
    anchored[1] = 1;
    assert_eq!(host.sense(&anchored), Sense::cdb_bit(1, 0));
    for length in 1..8 {
        assert_eq!(host.sense(&cdb(length)), Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
    assert_eq!(host.run(&cdb(limits::PARAMETERS)), Plan::Parameters { len: limits::PARAMETERS });
    assert_eq!(host.sense(&cdb(limits::PARAMETERS + 1)), Sense::cdb_byte(7));
    assert_eq!(host.sense(&cdb(0xFFFF)), Sense::cdb_byte(7));
}

#[test]
fn limits_hold() {
    let mut host = Host::new();
    assert!(matches!(unmap(&mut host, &list(&[(0, 1); 16])), Plan::Block(op) if op.blocks == 16));
    assert_eq!(failure(unmap(&mut host, &list(&[(0, 1); 17]))), Sense::list_byte(2));
    assert_eq!(failure(unmap(&mut host, &list(&[(0, 0); 17]))), Sense::list_byte(2));
    assert!(matches!(unmap(&mut host, &list(&[(0, 2500), (0, 2500)])), Plan::Block(_)));
    let too_many = Sense::INVALID_FIELD_IN_PARAMETER_LIST;
    assert_eq!(failure(unmap(&mut host, &list(&[(0, 2500), (0, 2501)]))), too_many);
    host.lu.medium.max_unmap_blocks = u32::MAX;
    assert!(matches!(unmap(&mut host, &list(&[(0, 10_000); 16])), Plan::Block(op) if op.blocks == 160_000));
    host.lu.medium.max_unmap_descriptors = limits::UNMAP_DESCRIPTORS;
    let full = list(&[(0, 1); limits::UNMAP_DESCRIPTORS as usize]);
    assert!(matches!(unmap(&mut host, &full), Plan::Block(op) if op.blocks == 255));
}

#[test]
fn ranges_beyond_the_medium_are_refused_before_anything_is_unmapped() {
    let mut host = Host::new();
    for bad in [(BLOCKS, 1), (BLOCKS - 1, 2), (BLOCKS + 1, 0), (u64::MAX, 1), (u64::MAX, 0), (0, u32::MAX)] {
        assert_eq!(failure(unmap(&mut host, &list(&[(0, 1), bad]))), Sense::LBA_OUT_OF_RANGE, "{bad:?}");
    }
}

/// Both lengths with every value that could matter, against a list of three descriptors.
#[test]
fn lying_lengths_are_seen() {
    let mut host = Host::new();
    let good = list(&[(0, 1), (8, 1), (16, 1)]);
    for data_length in (0..80).chain([0x7FFF, 0xFFFF]) {
        for descriptor_length in (0..80).chain([0x7FFF, 0xFFF0, 0xFFFF]) {
            let mut list = good.clone();
            list[..2].copy_from_slice(&u16::to_be_bytes(data_length));
            list[2..4].copy_from_slice(&u16::to_be_bytes(descriptor_length));
            let plan = unmap(&mut host, &list);
            if descriptor_length > 48 {
                assert_eq!(failure(plan), Sense::PARAMETER_LIST_LENGTH_ERROR);
            } else if data_length < descriptor_length + 6 {
                assert_eq!(failure(plan), Sense::list_byte(0));
            } else if descriptor_length < 16 {
                assert_eq!(plan, Plan::Done(Outcome::GOOD));
            } else {
                // An incomplete last descriptor is ignored.
                let Plan::Block(op) = plan else { panic!("{plan:?}") };
                assert_eq!(op.blocks, u64::from(descriptor_length / 16));
                assert_eq!(UnmapRanges::new(&list).count(), usize::from(descriptor_length / 16));
            }
        }
    }
}

#[test]
fn every_truncated_list_is_seen() {
    let mut host = Host::new();
    let good = list(&[(0, 1), (8, 1), (16, 1)]);
    for length in 0..good.len() {
        // The CDB says less than the list does.
        if length >= 8 {
            let plan = host.with_list(&cdb(length), &good);
            assert_eq!(failure(plan), Sense::PARAMETER_LIST_LENGTH_ERROR);
        }
        // The transport brought less than the CDB says.
        let plan = parameters(&host.lu, &cdb(good.len()), &good[..length]);
        assert_eq!(failure(plan), Sense::PARAMETER_LIST_LENGTH_ERROR);
        assert!(UnmapRanges::new(&good[..length]).count() <= length.saturating_sub(8) / 16);
    }
    // The transport brought more: what the CDB does not name is not read.
    let longer = [&good[..], &[0xFF; 64]].concat();
    assert!(matches!(parameters(&host.lu, &cdb(good.len()), &longer), Plan::Block(op) if op.blocks == 3));
}

#[test]
fn write_through_reaches_unmap() {
    let mut host = Host::new();
    host.lu.modes.wce = false;
    assert!(matches!(unmap(&mut host, &list(&[(0, 1)])), Plan::Block(op) if op.fua));
}
