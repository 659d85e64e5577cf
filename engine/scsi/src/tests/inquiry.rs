//! INQUIRY: standard data and vital product data.

use super::*;

fn standard(allocation: u16) -> [u8; 6] {
    let [hi, lo] = allocation.to_be_bytes();
    [0x12, 0, 0, hi, lo, 0]
}

fn vpd(page: u8) -> [u8; 6] {
    [0x12, 1, page, 0x10, 0, 0]
}

#[test]
fn standard_data_names_device_and_standards() {
    let mut host = Host::new();
    let data = host.data(&standard(512));
    assert_eq!(data[..8], [0x00, 0x00, 0x06, 0x02, data.len() as u8 - 5, 0, 0, 0x02]);
    assert_eq!(&data[8..36], b"ISERE   malloc disk     0001");
    let descriptors: Vec<_> = data[58..].chunks(2).map(|d| u16::from_be_bytes([d[0], d[1]])).collect();
    assert_eq!(descriptors, [0x00A0, 0x0960, 0x0460, 0x04C0, 0, 0, 0, 0]);
}

#[test]
fn pages_of_the_past_are_refused() {
    let mut host = Host::new();
    assert_eq!(host.sense(&[0x12, 0, 1, 0, 255, 0]), Sense::cdb_byte(2));
    assert_eq!(host.sense(&[0x12, 2, 0, 0, 255, 0]), Sense::cdb_bit(1, 1));
    assert_eq!(host.sense(&[0x12, 3, 0, 0, 255, 0]), Sense::cdb_bit(1, 1));
}

#[test]
fn page_00_lists_exactly_the_pages_there_are() {
    let mut host = Host::new();
    let list = host.data(&vpd(0x00));
    assert_eq!(list[..4], [0, 0, 0, list.len() as u8 - 4]);
    assert_eq!(list[4..], [0x00, 0x80, 0x83, 0x86, 0xB0, 0xB1, 0xB2]);
    for page in 0..=255 {
        if list[4..].contains(&page) {
            let data = host.data(&vpd(page));
            assert_eq!(data[..2], [0, page]);
            assert_eq!(usize::from(u16::from_be_bytes([data[2], data[3]])), data.len() - 4);
        } else {
            assert_eq!(host.sense(&vpd(page)), Sense::cdb_byte(2));
        }
    }
}

#[test]
fn serial_number_and_extended_data() {
    let mut host = Host::new();
    assert_eq!(host.data(&vpd(0x80))[4..], *b"S0123456789");
    let data = host.data(&vpd(0x86));
    assert_eq!((data.len(), data[5], data[6]), (64, 0x07, 0x01));
    host.lu.medium.write_cache = false;
    assert_eq!(host.data(&vpd(0x86))[6], 0);
}

/// The designators of page 83h as (code set, type with association, bytes).
fn designators(data: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
    let (mut rest, mut all) = (&data[4..], Vec::new());
    while let [code_set, kind, reserved, length, tail @ ..] = rest {
        assert_eq!(*reserved, 0);
        let (value, next) = tail.split_at(usize::from(*length));
        all.push((*code_set, *kind, value.to_vec()));
        rest = next;
    }
    assert!(rest.is_empty());
    all
}

#[test]
fn identification_tells_unit_port_and_device() {
    let mut host = Host::new();
    let all = designators(&host.data(&vpd(0x83)));
    assert_eq!(all[0], (0x01, 0x03, identity().naa.to_vec()));
    assert_eq!(all[1], (0x02, 0x01, b"ISERE   S0123456789".to_vec()));
    assert_eq!(all[2], (0x01, 0x0A, [&[0x10, 0][..], &[0xA5; 16]].concat()));
    assert_eq!(all[3], (0x51, 0x94, vec![0, 0, 0, 3]));
    assert_eq!(all[4], (0x53, 0x98, b"iqn.2024-01.org.example:disk0,t,0x01AF\0\0".to_vec()));
    assert_eq!(all[5], (0x53, 0xA8, b"iqn.2024-01.org.example:disk0\0\0\0".to_vec()));
    assert_eq!(all.len(), 6);
}

#[test]
fn name_strings_are_terminated_and_aligned_for_any_length() {
    for length in 1..=limits::TARGET_NAME {
        for serial in [1, 2, 3, limits::SERIAL] {
            let mut host = Host::new();
            host.lu.identity.target_name = "n".repeat(length);
            host.lu.identity.serial = "s".repeat(serial);
            for (code_set, _, value) in designators(&host.data(&vpd(0x83))).into_iter().skip(3) {
                assert_eq!(value.len() % 4, 0);
                assert!(code_set == 0x51 || value.ends_with(&[0]));
            }
        }
    }
}

#[test]
fn block_limits_follow_the_medium() {
    let mut host = Host::new();
    let data = host.data(&vpd(0xB0));
    let word = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
    assert_eq!((data.len(), data[4], data[5], u16::from_be_bytes([data[6], data[7]])), (64, 0, 0, 8));
    assert_eq!([8, 12, 16, 20, 24, 28, 32, 36, 40].map(word), [2048, 128, 0, 5000, 16, 8, 0x8000_0000, 0, 4096]);
    assert!(data[44..].iter().all(|&byte| byte == 0));
    host.lu.medium.thin = false;
    assert!(host.data(&vpd(0xB0))[20..36].iter().all(|&byte| byte == 0));
}

#[test]
fn characteristics_and_provisioning() {
    let mut host = Host::new();
    let data = host.data(&vpd(0xB1));
    assert_eq!((data.len(), &data[4..6]), (64, &[0, 1][..]));
    assert_eq!(host.data(&vpd(0xB2)), [0, 0xB2, 0, 4, 0, 0xE4, 2, 0]);
    host.lu.medium.unmap_zeroes = false;
    assert_eq!(host.data(&vpd(0xB2))[4..], [0, 0xE0, 2, 0]);
    host.lu.medium.thin = false;
    assert_eq!(host.data(&vpd(0xB2))[4..], [0, 0, 0, 0]);
}
