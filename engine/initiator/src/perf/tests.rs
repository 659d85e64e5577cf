use super::options::Pattern;
use super::pacing::Pacing;
use super::region::{Random, Region, part};
use super::tally::Tally;
use super::thread::{Cost, Schedule};
use super::verify::{Ledger, check, stamp};

/// A target that stalls for a second does not slow the clock: what was due meanwhile is issued with the time it was
/// due.
#[test]
fn an_open_loop_keeps_its_times_through_a_stall() {
    let mut pacing = Pacing::new(1000.0);
    assert_eq!(pacing.due(0), Some(0));
    pacing.issued();
    assert_eq!(pacing.due(999_999), None);
    let mut late = Vec::new();
    while let Some(due) = pacing.due(1_000_000_000) {
        late.push(1_000_000_000 - due);
        pacing.issued();
    }
    assert_eq!((late.len(), late[0], late[999]), (1000, 999_000_000, 0));
    assert_eq!(pacing.backlog(2_000_000_000), 999);
    assert_eq!(pacing.backlog(500_000_000), 0);
}

#[test]
fn parts_cover_the_region_without_overlap() {
    for (units, count) in [(10, 3), (7, 7), (1 << 40, 1000), (u64::MAX, 3)] {
        let mut next = 0;
        for index in 0..count {
            let (from, len) = part(units, index, count);
            assert_eq!(from, next);
            next = from + len;
        }
        assert_eq!(next, units);
    }
}

#[test]
fn sequential_wraps_and_random_stays_inside_and_reaches_all() {
    let mut random = Random::new(0);
    let mut region = Region::new(3, Pattern::Sequential);
    assert_eq!([0; 7].map(|_: u8| region.next(&mut random)), [0, 1, 2, 0, 1, 2, 0]);
    let mut region = Region::new(7, Pattern::Random);
    let mut seen = [0u32; 7];
    (0..7000).for_each(|_| seen[region.next(&mut random) as usize] += 1);
    assert!(seen.iter().all(|n| (800..1200).contains(n)), "{seen:?}");
    assert_ne!(Random::new(1).next(), Random::new(2).next());
}

#[test]
fn a_stamp_tells_every_kind_of_wrong_block() {
    let mut data = vec![0; 2 * 520];
    stamp(&mut data, 520, 7, 3, 100);
    assert_eq!(check(&data, 520, 7, 3, 100), Ok(()));
    for (seed, sequence, lba) in [(8, 3, 100), (7, 2, 100), (7, 3, 101)] {
        assert!(check(&data, 520, seed, sequence, lba).is_err());
    }
    let mut torn = data.clone();
    torn[520 + 517] ^= 1;
    let found = check(&torn, 520, 7, 3, 100).unwrap_err();
    assert_eq!((found.lba, found.offset), (101, 512));
    let stale = check(&data, 520, 7, 9, 100).unwrap_err();
    assert_eq!((stale.expected.sequence, stale.found.sequence), (9, 3));
    assert!(stale.to_string().contains("LBA 100 byte 0"), "{stale}");
    let mut shifted = data;
    shifted[..520].rotate_left(16);
    assert!(check(&shifted, 520, 7, 3, 100).is_err());
}

#[test]
fn a_unit_in_use_is_never_taken_twice_and_failures_are_forgotten() {
    let mut ledger = Ledger::new(3);
    assert_eq!((ledger.take(1), ledger.take(1), ledger.take(1), ledger.take(1)), (Some(1), Some(2), Some(0), None));
    let sequence = ledger.sequence();
    ledger.written(1, Some(sequence));
    assert_eq!((ledger.last(1), ledger.take(1)), (Some(sequence), Some(1)));
    assert_eq!(ledger.last(1), Some(sequence), "while it is being read");
    ledger.release(1);
    ledger.take(1);
    ledger.written(1, None);
    assert_eq!((ledger.last(1), ledger.last(0)), (None, None));
}

#[test]
fn what_ends_after_the_time_counts_as_latency_only() {
    let mut tally = Tally::new(100, 200);
    tally.record(true, 5, 99);
    tally.record(true, 6, 100);
    tally.record(true, 5_000_000, 200);
    assert_eq!((tally.total, tally.reads.ios, tally.reads.latencies.len()), (3, 1, 2));
    assert!(tally.reads.latencies.max() >= 5_000_000);
    tally.record(false, u64::MAX, 150);
    assert_eq!((tally.writes.ios, tally.writes.latencies.len()), (1, 1));
}

#[test]
fn only_turns_that_begin_in_the_measured_time_count_as_busy() {
    let epoch = std::time::Instant::now();
    let schedule = Schedule { epoch, measure_from_ns: 100, measure_to_ns: 200, give_up_ns: 300 };
    let mut cost = Cost::default();
    for (began, ended) in [(0, 99), (90, 110), (100, 107), (195, 225), (200, 250)] {
        cost.turn(began, ended, &schedule);
    }
    assert_eq!(cost.busy_ns, 7 + 30);
}
