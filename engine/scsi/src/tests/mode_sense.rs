//! MODE SENSE: headers, descriptors, pages.

use super::*;

const RECOVERY: [u8; 12] = [0x01, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const CACHING: [u8; 20] = [0x08, 18, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0];
const CONTROL: [u8; 12] = [0x0A, 10, 0x20, 0x10, 0, 0x40, 0, 0, 0, 0, 0, 0];
const EXCEPTIONS: [u8; 12] = [0x1C, 10, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn extension() -> Vec<u8> {
    [&[0x4A, 0x01, 0, 28][..], &[0; 28]].concat()
}

/// The pages only: six bytes, no block descriptor.
fn pages(host: &mut Host, control: u8, page: u8, subpage: u8) -> Vec<u8> {
    let data = host.data(&[0x1A, 0x08, control << 6 | page, subpage, 255, 0]);
    assert_eq!(data[..4], [data.len() as u8 - 1, 0, 0x10, 0]);
    data[4..].to_vec()
}

#[test]
fn each_page_has_its_values() {
    let mut host = Host::new();
    for (page, values) in [(0x01, &RECOVERY[..]), (0x08, &CACHING), (0x0A, &CONTROL), (0x1C, &EXCEPTIONS)] {
        assert_eq!(pages(&mut host, 0, page, 0), values);
    }
    assert_eq!(pages(&mut host, 0, 0x0A, 1), extension());
    assert_eq!(pages(&mut host, 0, 0x0A, 0xFF), [&CONTROL[..], &extension()].concat());
    let all = [&RECOVERY[..], &CACHING, &CONTROL, &EXCEPTIONS].concat();
    assert_eq!(pages(&mut host, 0, 0x3F, 0), all);
    let every = [&RECOVERY[..], &CACHING, &CONTROL, &extension(), &EXCEPTIONS].concat();
    assert_eq!(pages(&mut host, 0, 0x3F, 0xFF), every);
}

#[test]
fn current_changeable_default_and_saved_values() {
    let mut host = Host::new();
    host.lu.modes = ModePages { d_sense: true, swp: false, tas: false, wce: false };
    assert_eq!(pages(&mut host, 0, 0x0A, 0)[2..6], [0x24, 0x10, 0x00, 0x00]);
    assert_eq!(pages(&mut host, 1, 0x0A, 0), [0x0A, 10, 0x04, 0, 0x08, 0x40, 0, 0, 0, 0, 0, 0]);
    assert_eq!(pages(&mut host, 2, 0x0A, 0), CONTROL);
    assert_eq!(pages(&mut host, 0, 0x08, 0)[2], 0);
    assert_eq!(pages(&mut host, 1, 0x08, 0)[2..], [&[0x04][..], &[0; 17]].concat());
    assert_eq!(pages(&mut host, 2, 0x08, 0), CACHING);
    for page in 0..=0x3F {
        let cdb = [0x1A, 0, 0xC0 | page, 0, 255, 0];
        assert_eq!(host.sense(&cdb), Sense::SAVING_PARAMETERS_NOT_SUPPORTED);
    }
    host.lu.medium.write_cache = false;
    assert!(pages(&mut host, 1, 0x08, 0)[2..].iter().all(|&byte| byte == 0));
}

#[test]
fn the_descriptor_tells_the_capacity() {
    let mut host = Host::new();
    let short = [0, 0, 0x27, 0x10, 0, 0, 2, 0];
    let six = host.data(&[0x1A, 0, 0x0A, 0, 255, 0]);
    assert_eq!(six, [&[23, 0, 0x10, 8][..], &short, &CONTROL].concat());
    let ten = host.data(&[0x5A, 0, 0x0A, 0, 0, 0, 0, 0, 255, 0]);
    assert_eq!(ten, [&[0, 26, 0, 0x10, 0, 0, 0, 8][..], &short, &CONTROL].concat());
    let long = host.data(&[0x5A, 0x10, 0x0A, 0, 0, 0, 0, 0, 255, 0]);
    let descriptor = [0, 0, 0, 0, 0, 0, 0x27, 0x10, 0, 0, 0, 0, 0, 0, 2, 0];
    assert_eq!(long, [&[0, 34, 0, 0x10, 1, 0, 0, 16][..], &descriptor, &CONTROL].concat());
    let none = host.data(&[0x5A, 0x18, 0x0A, 0, 0, 0, 0, 0, 255, 0]);
    assert_eq!(none, [&[0, 18, 0, 0x10, 0, 0, 0, 0][..], &CONTROL].concat());
    host.lu.medium.blocks = 1 << 32;
    assert_eq!(host.data(&[0x1A, 0, 0x0A, 0, 255, 0])[4..8], [0xFF; 4]);
}

#[test]
fn write_protection_shows_in_the_header() {
    let mut host = Host::new();
    for (read_only, swp) in [(true, false), (false, true)] {
        (host.lu.medium.read_only, host.lu.modes.swp) = (read_only, swp);
        assert_eq!(host.data(&[0x1A, 8, 0x01, 0, 255, 0])[2], 0x90);
        assert_eq!(host.data(&[0x5A, 8, 0x01, 0, 0, 0, 0, 0, 255, 0])[3], 0x90);
    }
}

#[test]
fn every_other_page_and_subpage_is_refused() {
    let mut host = Host::new();
    for page in 0..=0x3F {
        for subpage in 0..=255 {
            let known = match page {
                0x01 | 0x08 | 0x1C | 0x3F => matches!(subpage, 0 | 0xFF),
                0x0A => matches!(subpage, 0 | 1 | 0xFF),
                _ => false,
            };
            match host.run(&[0x1A, 0, page, subpage, 255, 0]) {
                Plan::Reply { .. } => assert!(known, "{page:#x}/{subpage:#x}"),
                plan => {
                    let sense = failure(plan);
                    assert!(!known && sense.asc == 0x24, "{page:#x}/{subpage:#x}");
                    let byte = if [0x01, 0x08, 0x0A, 0x1C, 0x3F].contains(&page) { 3 } else { 2 };
                    assert_eq!(sense.field.unwrap().byte, byte);
                }
            }
        }
    }
}
