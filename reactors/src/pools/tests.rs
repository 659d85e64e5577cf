use super::*;
use crate::memory::{Arena, Hugepages};

#[test]
fn a_part_is_cut_a_quarter_to_three_and_aligned() {
    let part = Arena::new(Hugepages::Off).region(8 << 20).unwrap().split(2).remove(1);
    let (start, end) = (part.as_ptr().as_ptr().addr(), part.as_ptr().as_ptr().addr() + part.len());
    let mut pools = Pools::new(1, part);
    let (small, large) = (pools.stats(Class::Small), pools.stats(Class::Large));
    assert_eq!((small.capacity, large.capacity), (127, 24));
    let mut bufs: Vec<Buf> = Vec::new();
    while let Some(buf) = pools.take_class(Class::Small).or_else(|| pools.take_class(Class::Large)) {
        bufs.push(buf);
    }
    assert_eq!(bufs.len(), 151);
    let mut spans: Vec<_> = bufs.iter().map(|b| (b.as_ptr().addr(), b.capacity())).collect();
    spans.sort_unstable();
    assert!(spans.iter().all(|(addr, _)| addr % BUFFER_ALIGN == 0));
    assert!(spans.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "no two overlap");
    assert!(spans[0].0 >= start && spans.last().map(|(a, c)| a + c).unwrap() <= end, "all lie in the part");
    bufs.into_iter().for_each(|b| pools.give(b));
    assert_eq!(pools.outstanding(), 0);
}

#[test]
fn small_requests_prefer_small_buffers_and_fall_back_to_large_ones() {
    let mut pools = Pools::for_tests(0, 1, 1);
    assert!(pools.can_take(SMALL_BUFFER) && pools.can_take(LARGE_BUFFER) && !pools.can_take(LARGE_BUFFER + 1));
    let first = pools.take(SMALL_BUFFER).unwrap();
    assert_eq!((first.capacity(), first.len()), (SMALL_BUFFER, 0));
    let second = pools.take(0).unwrap();
    assert_eq!(second.capacity(), LARGE_BUFFER);
    assert!(pools.take(1).is_none() && !pools.can_take(1));
    assert_eq!(pools.outstanding(), 2);
    pools.give(first);
    assert!(!pools.can_take(SMALL_BUFFER + 1));
    assert!(pools.take(SMALL_BUFFER + 1).is_none());
    pools.give(second);
    let large = pools.take(SMALL_BUFFER + 1).unwrap();
    assert_eq!(large.capacity(), LARGE_BUFFER);
    assert!(pools.take(LARGE_BUFFER + 1).is_none());
    pools.give(large);
    assert_eq!(pools.outstanding(), 0);
}

#[test]
fn counts_balance() {
    let mut pools = Pools::for_tests(0, 2, 1);
    let (a, b) = (pools.take(1).unwrap(), pools.take(1).unwrap());
    pools.give(a);
    let c = pools.take(1).unwrap();
    assert!(pools.take_class(Class::Small).is_none());
    let stats = pools.stats(Class::Small);
    let expected = ClassStats { capacity: 2, free: 0, high_water: 2, taken: 3, exhausted: 1 };
    assert_eq!(stats, expected);
    pools.give(b);
    pools.give(c);
    assert_eq!(pools.stats(Class::Small), ClassStats { free: 2, ..expected });
    assert_eq!(pools.stats(Class::Large), ClassStats { capacity: 1, free: 1, ..ClassStats::default() });
}

#[test]
fn poison_covers_what_nobody_wrote() {
    let mut pools = Pools::for_tests(0, 1, 0);
    let mut buf = pools.take(8).unwrap();
    assert!(buf.storage().iter().all(|b| *b == POISON), "fresh memory is poisoned");
    buf.copy_in(0, b"secret");
    pools.give(buf);
    let mut buf = pools.take(8).unwrap();
    assert!(buf.storage().iter().all(|b| *b == POISON), "what was written is gone");
    pools.give(buf);
}

#[test]
fn buffers_of_other_pools_are_refused() {
    let (mut mine, mut yours) = (Pools::for_tests(1, 1, 0), Pools::for_tests(2, 1, 0));
    let buf = yours.take(1).unwrap();
    if cfg!(debug_assertions) {
        let refused = crate::panics::guarded(|| mine.give(buf));
        assert!(refused.unwrap_err().contains("pool 1 was given a buffer of Pool { pool: 2"));
    } else {
        mine.give(buf);
        assert_eq!(mine.foreign(), 1);
    }
    assert_eq!((mine.outstanding(), yours.outstanding()), (0, 1));
}

#[test]
fn memory_of_lent_buffers_survives_their_pool() {
    let arena = Arena::new(Hugepages::Off);
    let mut pools = Pools::with_counts(0, arena.region(SMALL_BUFFER).unwrap().split(1).remove(0), 1, 0);
    let mut buf = pools.take(1).unwrap();
    drop(pools);
    buf.copy_in(0, b"still mapped");
    assert_eq!(buf.filled(), b"still mapped");
    assert_eq!(arena.regions().len(), 1);
}

#[test]
fn empty_pools_have_nothing() {
    let mut pools = Pools::empty(3);
    assert!(pools.take(1).is_none() && pools.take_class(Class::Large).is_none());
    assert_eq!((pools.number(), pools.outstanding()), (3, 0));
    pools.poison();
}

#[test]
fn waiters_are_served_in_order_and_nobody_overtakes() {
    let mut pools = Pools::for_tests(0, 1, 0);
    let mut queue = WaitQueue::new(3);
    let held = queue.take_or_wait(&mut pools, 1, 'a').unwrap().unwrap();
    assert!(queue.take_or_wait(&mut pools, 1, 'b').unwrap().is_none());
    assert!(queue.take_or_wait(&mut pools, 1, 'c').unwrap().is_none());
    assert!(queue.serve(&mut pools).is_none());
    pools.give(held);
    assert!(queue.take_or_wait(&mut pools, 1, 'd').unwrap().is_none(), "there is one, but others wait for it");
    assert_eq!(queue.take_or_wait(&mut pools, 1, 'e').unwrap_err(), NoRoom::Full { limit: 3 });
    assert!(queue.forget('c') && !queue.forget('c'));
    for expected in ['b', 'd'] {
        let (key, buf) = queue.serve(&mut pools).unwrap();
        assert_eq!(key, expected);
        pools.give(buf);
    }
    assert!(queue.serve(&mut pools).is_none() && queue.is_empty());
    assert_eq!(pools.outstanding(), 0);
}

#[test]
fn small_waiters_leave_large_buffers_to_large_ones() {
    let mut pools = Pools::for_tests(0, 0, 1);
    let mut queue = WaitQueue::new(8);
    let held = queue.take_or_wait(&mut pools, 1, 'a').unwrap().unwrap();
    assert_eq!(held.capacity(), LARGE_BUFFER, "nobody needs it more");
    assert!(queue.take_or_wait(&mut pools, 1, 's').unwrap().is_none());
    assert!(queue.take_or_wait(&mut pools, LARGE_BUFFER, 'l').unwrap().is_none());
    pools.give(held);
    let (key, held) = queue.serve(&mut pools).unwrap();
    assert_eq!(key, 'l');
    assert!(queue.serve(&mut pools).is_none());
    pools.give(held);
    let (key, held) = queue.serve(&mut pools).unwrap();
    assert_eq!(key, 's', "no large one waits any more");
    pools.give(held);
    let refused = queue.take_or_wait(&mut pools, LARGE_BUFFER + 1, 'x').unwrap_err();
    assert!(refused.to_string().contains("131073 bytes"));
}
