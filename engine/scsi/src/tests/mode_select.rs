//! MODE SELECT: what may change, lists that lie, lists that end early.

use super::*;

fn six(list: &[u8]) -> Vec<u8> {
    vec![0x15, 0x10, 0, 0, list.len() as u8, 0]
}

fn ten(list: &[u8]) -> Vec<u8> {
    let [hi, lo] = (list.len() as u16).to_be_bytes();
    vec![0x55, 0x10, 0, 0, 0, 0, 0, hi, lo, 0]
}

fn control(byte_2: u8, byte_4: u8, byte_5: u8) -> [u8; 12] {
    [0x0A, 10, byte_2, 0x10, byte_4, byte_5, 0, 0, 0, 0, 0, 0]
}

fn caching(byte_2: u8) -> [u8; 20] {
    [0x08, 18, byte_2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0]
}

/// Sends the list to the core's copy and then, as the plan says, home.
fn select(host: &mut Host, cdb: &[u8], list: &[u8]) -> Result<HomeOutcome, Sense> {
    match host.with_list(cdb, list) {
        Plan::Home => Ok(host.home(ME, cdb, list)),
        Plan::Done(outcome) if outcome.is_good() => {
            Ok(HomeOutcome { outcome, changed: false, attention: None, flush: false })
        }
        plan => Err(failure(plan)),
    }
}

#[test]
fn swp_and_d_sense_change_and_others_hear_of_it() {
    let mut host = Host::new();
    let list = [&[0; 4][..], &control(0x24, 0x08, 0x40)].concat();
    let home = select(&mut host, &six(&list), &list).unwrap();
    assert!(home.changed && !home.flush);
    assert_eq!(home.attention, Some(UnitAttention::ModeParametersChanged));
    assert_eq!(host.lu.modes, ModePages { d_sense: true, swp: true, tas: true, wce: true });
    assert_eq!((host.lu.generation, host.lu.sense_format()), (2, SenseFormat::Descriptor));
    assert_eq!(host.sense(&on_blocks(0x2A, 0, 0, 1)), Sense::SOFTWARE_WRITE_PROTECTED);
    // The same again changes nothing and goes nowhere.
    assert_eq!(host.with_list(&six(&list), &list), Plan::Done(Outcome::GOOD));
}

#[test]
fn what_mode_sense_returns_can_be_sent_back() {
    let mut host = Host::new();
    for flags in [0x00, 0x08] {
        let mut list = host.data(&[0x1A, flags, 0x3F, 0xFF, 255, 0]);
        list[0] = 0;
        assert_eq!(host.with_list(&six(&list), &list), Plan::Done(Outcome::GOOD));
    }
    for flags in [0x00, 0x08, 0x10] {
        let mut list = host.data(&[0x5A, flags, 0x3F, 0xFF, 0, 0, 0, 1, 0, 0]);
        list[..2].fill(0);
        assert_eq!(host.with_list(&ten(&list), &list), Plan::Done(Outcome::GOOD));
    }
}

#[test]
fn turning_the_cache_off_flushes_it() {
    let mut host = Host::new();
    let off = [&[0; 8][..], &caching(0x00)].concat();
    let home = select(&mut host, &ten(&off), &off).unwrap();
    assert!(home.changed && home.flush && !host.lu.modes.wce);
    let on = [&[0; 8][..], &caching(0x04)].concat();
    let home = select(&mut host, &ten(&on), &on).unwrap();
    assert!(home.changed && !home.flush && host.lu.modes.wce);
    // A device without one cannot pretend to have it.
    let mut host = Host::with(|medium| medium.write_cache = false);
    assert_eq!(select(&mut host, &ten(&on), &on), Err(Sense::list_byte(10)));
}

#[test]
fn several_pages_change_together_or_not_at_all() {
    let mut host = Host::new();
    let good = [&[0; 4][..], &caching(0x00), &control(0x24, 0, 0x40)].concat();
    assert!(select(&mut host, &six(&good), &good).unwrap().changed);
    assert!(host.lu.modes.d_sense && !host.lu.modes.wce);
    let before = host.lu.clone();
    let bad = [&[0; 4][..], &control(0x20, 0, 0x40), &caching(0x05)].concat();
    assert_eq!(select(&mut host, &six(&bad), &bad), Err(Sense::list_byte(4 + 12 + 2)));
    assert_eq!(host.lu, before);
}

#[test]
fn unchangeable_bits_are_refused_where_they_are() {
    let mut host = Host::new();
    for (at, current, changeable) in
        [(2, 0x20, 0x04), (3, 0x10, 0x00), (4, 0x00, 0x08), (5, 0x40, 0x40), (6, 0, 0), (11, 0, 0)]
    {
        for bit in 0..8 {
            let mut list = [&[0; 4][..], &control(0x20, 0, 0x40)].concat();
            list[4 + at] = current ^ 1 << bit;
            let refused = match host.with_list(&six(&list), &list) {
                Plan::Home => false,
                plan => failure(plan) == Sense::list_byte(4 + at),
            };
            assert_eq!(refused, changeable >> bit & 1 == 0, "byte {at} bit {bit}");
        }
    }
}

#[test]
fn the_cdb_must_ask_for_what_there_is() {
    let mut host = Host::new();
    let ask = |opcode, flags, length: u8| match opcode {
        0x15 => vec![0x15, flags, 0, 0, length, 0],
        _ => vec![0x55, flags, 0, 0, 0, 0, 0, 0, length, 0],
    };
    for opcode in [0x15, 0x55] {
        assert_eq!(host.sense(&ask(opcode, 0x11, 24)), Sense::cdb_bit(1, 0));
        assert_eq!(host.sense(&ask(opcode, 0x12, 24)), Sense::cdb_bit(1, 1));
        assert_eq!(host.sense(&ask(opcode, 0x00, 24)), Sense::cdb_bit(1, 4));
        assert_eq!(host.run(&ask(opcode, 0x10, 0)), Plan::Done(Outcome::GOOD));
        assert_eq!(host.run(&ask(opcode, 0x10, 24)), Plan::Parameters { len: 24 });
        let header = if opcode == 0x15 { 4 } else { 8 };
        for length in 1..header {
            assert_eq!(host.sense(&ask(opcode, 0x10, length)), Sense::PARAMETER_LIST_LENGTH_ERROR);
        }
    }
    assert_eq!(host.sense(&[0x55, 0x10, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0]), Sense::cdb_byte(7));
}

/// Cutting a good list anywhere makes it either a shorter good one or a length error; never anything else.
#[test]
fn every_truncated_list_is_seen() {
    let mut host = Host::new();
    let descriptor = [0, 0, 0x27, 0x10, 0, 0, 2, 0];
    let extension = [&[0x4A, 1, 0, 28][..], &[0; 28]].concat();
    let list = [&[0, 0, 0, 8][..], &descriptor, &control(0x24, 0, 0x40), &extension, &caching(0)].concat();
    let ends = [12, 24, 24 + 32, list.len()];
    for length in 1..=list.len() {
        let plan = host.with_list(&six(&list[..length]), &list[..length]);
        if ends.contains(&length) {
            assert!(matches!(plan, Plan::Home | Plan::Done(Outcome::GOOD)), "{length}: {plan:?}");
        } else {
            assert_eq!(failure(plan), Sense::PARAMETER_LIST_LENGTH_ERROR, "{length}");
        }
        // The transport brought less than the CDB says.
        let short = parameters(&host.lu, &six(&list), &list[..length - 1]);
        assert_eq!(failure(short), Sense::PARAMETER_LIST_LENGTH_ERROR);
    }
}

#[test]
fn lying_page_lengths_and_unknown_pages_are_refused() {
    let mut host = Host::new();
    for length in (0..=255).filter(|&length| length != 10) {
        let mut list = [&[0; 4][..], &control(0x20, 0, 0x40), &[0; 64]].concat();
        list[5] = length;
        assert_eq!(failure(host.with_list(&six(&list), &list)), Sense::list_byte(5));
    }
    for length in (0..300u16).filter(|&length| length != 28) {
        let mut list = [&[0; 4][..], &[0x4A, 1, 0, 28], &[0; 100]].concat();
        list[6..8].copy_from_slice(&length.to_be_bytes());
        assert_eq!(failure(host.with_list(&six(&list), &list)), Sense::list_byte(6));
    }
    for byte_0 in 0..=255u8 {
        let (known, mut list) = (matches!(byte_0 & 0x7F, 0x01 | 0x08 | 0x0A | 0x1C), vec![0; 36]);
        list[4] = byte_0;
        let sense = failure(host.with_list(&six(&list), &list));
        assert_eq!(sense == Sense::list_byte(4), !known, "{byte_0:#x}");
    }
}

/// A list of nothing but smallest pages is read to its end in one loop.
#[test]
fn a_long_list_of_pages_is_read_to_its_end() {
    let mut host = Host::new();
    let count = (limits::PARAMETERS - 8) / 12;
    let mut list = vec![0; 8];
    (0..count).for_each(|i| list.extend(control(if i % 2 == 0 { 0x24 } else { 0x20 }, 0, 0x40)));
    let home = select(&mut host, &ten(&list), &list);
    assert_eq!(home.unwrap().changed, count % 2 == 1);
}

#[test]
fn descriptors_must_match_the_medium() {
    let mut host = Host::new();
    let short = |blocks: u32, size: u8| [&[0, 0, 0, 8][..], &blocks.to_be_bytes(), &[0, 0, size, 0]].concat();
    for (list, expected) in [
        (short(BLOCKS as u32, 2), None),
        (short(0, 2), None),
        (short(u32::MAX, 2), None),
        (short(1, 2), Some(Sense::list_byte(4))),
        (short(0, 4), Some(Sense::list_byte(4 + 5))),
        (vec![0, 0, 0, 16], Some(Sense::list_byte(3))),
        (vec![0, 0, 0, 1, 0], Some(Sense::list_byte(3))),
    ] {
        match host.with_list(&six(&list), &list) {
            Plan::Done(outcome) if outcome.is_good() => assert_eq!(expected, None),
            plan => assert_eq!(Some(failure(plan)), expected),
        }
    }
    let mut long = [&[0, 0, 0, 0, 1, 0, 0, 16][..], &BLOCKS.to_be_bytes(), &[0; 4], &[0, 0, 2, 0]].concat();
    assert_eq!(host.with_list(&ten(&long), &long), Plan::Done(Outcome::GOOD));
    long[4] = 0;
    assert_eq!(failure(host.with_list(&ten(&long), &long)), Sense::list_byte(6));
    (long[4], long[15]) = (1, 1);
    assert_eq!(failure(host.with_list(&ten(&long), &long)), Sense::list_byte(8));
}

/// Every byte of a good list with every value, on both cores: the copy and home agree, nothing panics.
#[test]
fn every_changed_byte_is_judged_alike_here_and_at_home() {
    let mut host = Host::new();
    let list = [&[0, 0, 0, 8, 0, 0, 0x27, 0x10, 0, 0, 2, 0][..], &control(0x20, 0, 0x40), &caching(0x04)].concat();
    let cdb = six(&list);
    for at in 0..list.len() {
        for value in 0..=255 {
            let mut list = list.clone();
            list[at] = value;
            let plan = host.with_list(&cdb, &list);
            let home = at_home(&mut host.lu.clone(), ME, &cdb, &list);
            assert_eq!(home.changed, plan == Plan::Home);
            if let Plan::Done(outcome) = plan {
                assert_eq!(home.outcome, outcome);
            }
        }
    }
}
