//! REPORT LUNS and task management functions; and for all parameter data, every allocation length.

use super::*;

fn report_luns(select: u8, allocation: u32) -> Vec<u8> {
    [&[0xA0, 0, select, 0, 0, 0][..], &allocation.to_be_bytes(), &[0, 0]].concat()
}

#[test]
fn luns_are_reported_as_selected() {
    let mut host = Host::new();
    let (zero, far, known) = ([0; 8], [0x41, 44, 0, 0, 0, 0, 0, 0], Lun::REPORT_LUNS.0);
    let list = |luns: &[[u8; 8]]| [&(luns.len() as u32 * 8).to_be_bytes()[..], &[0; 4], &luns.concat()].concat();
    assert_eq!(host.data(&report_luns(0, 4096)), list(&[zero, far]));
    assert_eq!(host.data(&report_luns(1, 4096)), list(&[known]));
    assert_eq!(host.data(&report_luns(2, 4096)), list(&[zero, far, known]));
    for select in 3..=255 {
        assert_eq!(host.sense(&report_luns(select, 4096)), Sense::cdb_byte(2));
    }
}

#[test]
fn luns_beyond_the_limit_are_left_out() {
    let mut host = Host::new();
    host.luns = (0..limits::LUNS as u32 + 50).map(Lun::from_number).collect();
    let data = host.data(&report_luns(2, u32::MAX));
    assert_eq!(data.len(), 8 + 8 * (limits::LUNS + 1));
    assert_eq!(data[..4], (data.len() as u32 - 8).to_be_bytes());
}

#[test]
fn task_management_functions() {
    let mut host = Host::new();
    let cdb = |extended| [0xA3, 0x0D, extended, 0, 0, 0, 0, 0, 0, 255, 0, 0];
    assert_eq!(host.data(&cdb(0)), [0xDA, 0, 0, 0]);
    let extended = host.data(&cdb(0x80));
    assert_eq!((extended.len(), &extended[..4]), (16, &[0xDA, 0, 0, 12][..]));
}

/// Every command with parameter data, as its CDB without an allocation length, the place of that, and its bytes.
fn replying() -> Vec<(Vec<u8>, usize, usize)> {
    let mut all = vec![
        (vec![0x03, 0, 0, 0, 0, 0], 4, 1),
        (vec![0x03, 1, 0, 0, 0, 0], 4, 1),
        (vec![0x12, 0, 0, 0, 0, 0], 3, 2),
        (vec![0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 10, 4),
    ];
    for page in [0x00, 0x80, 0x83, 0x86, 0xB0, 0xB1, 0xB2] {
        all.push((vec![0x12, 1, page, 0, 0, 0], 3, 2));
    }
    for page_control in 0..3 {
        for page in [0x01, 0x08, 0x0A, 0x1C, 0x3F] {
            for subpage in [0, 0xFF] {
                for flags in [0x00, 0x08, 0x10] {
                    let page = page_control << 6 | page;
                    all.push((vec![0x1A, flags, page, subpage, 0, 0], 4, 1));
                    all.push((vec![0x5A, flags, page, subpage, 0, 0, 0, 0, 0, 0], 7, 2));
                }
            }
        }
    }
    for select in 0..3 {
        all.push((vec![0xA0, 0, select, 0, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4));
    }
    for options in [0x00, 0x80, 0x01, 0x81] {
        all.push((vec![0xA3, 0x0C, options, 0x28, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4));
    }
    for extended in [0x00, 0x80] {
        all.push((vec![0xA3, 0x0D, extended, 0, 0, 0, 0, 0, 0, 0, 0, 0], 6, 4));
    }
    all
}

/// Never more than was asked for, always the front of the same data, and no byte that was not written.
#[test]
fn every_allocation_length_gets_the_front_of_the_data() {
    let mut host = Host::new();
    for (mut cdb, at, bytes) in replying() {
        let mut allocate = |host: &mut Host, length: u32| {
            cdb[at..at + bytes].copy_from_slice(&length.to_be_bytes()[4 - bytes..]);
            host.data(&cdb)
        };
        let most = u32::MAX >> (32 - 8 * bytes);
        let whole = allocate(&mut host, most);
        assert!(!whole.is_empty());
        for length in 0..=whole.len() + 2 {
            if length as u32 <= most {
                let data = allocate(&mut host, length as u32);
                assert_eq!(data, whole[..length.min(whole.len())], "{cdb:02x?}");
            }
        }
        assert!(!whole.windows(2).any(|pair| pair == [POISON; 2]), "{cdb:02x?}: {whole:02x?}");
    }
}
