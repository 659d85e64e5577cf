use super::map::{HUGE, PAGE};
use super::region::part_size;
use super::*;
use crate::cpu::usable;
use crate::limits::MEMORY_HEADROOM;
use std::sync::{Arc, Mutex};

fn bytes(region: &Region) -> &[u8] {
    // SAFETY: the test owns the region and nobody writes to it meanwhile.
    unsafe { std::slice::from_raw_parts(region.as_ptr().as_ptr(), region.len()) }
}

#[test]
fn regions_are_zeroed_aligned_and_rounded_up() {
    let arena = Arena::new(Hugepages::Off);
    let region = arena.region(3 << 20).unwrap();
    assert_eq!(region.len(), 4 << 20);
    assert_eq!(region.as_ptr().as_ptr().addr() % HUGE, 0);
    assert!(!region.is_huge());
    assert!(bytes(&region).iter().all(|b| *b == 0));
    for odd in [0, usize::MAX, isize::MAX as usize + 1] {
        assert!(matches!(arena.region(odd), Err(MemoryError::Size { .. })));
    }
}

#[test]
fn memory_is_backed_from_every_cpu() {
    let cpus = usable();
    let region = Arena::new(Hugepages::Auto).region_near(cpus.len() * HUGE + 1, &cpus).unwrap();
    let mut resident = vec![0u8; region.len() / PAGE];
    // SAFETY: one byte per page of the region.
    let result = unsafe { libc::mincore(region.as_ptr().as_ptr().cast(), region.len(), resident.as_mut_ptr()) };
    assert_eq!(result, 0);
    assert!(resident.iter().all(|r| r & 1 == 1), "every page is there before the first I/O");
}

#[test]
fn parts_are_exclusive_and_keep_the_region() {
    let arena = Arena::new(Hugepages::Off);
    let parts = arena.region(6 << 20).unwrap().split(2);
    let start = arena.regions()[0].addr;
    let spans: Vec<_> = parts.iter().map(|p| (p.as_ptr().as_ptr().addr() - start, p.len())).collect();
    assert_eq!(spans, [(0, 2 << 20), (2 << 20, 2 << 20)], "whole huge pages");
    let mut parts = parts.into_iter();
    drop(parts.next());
    assert_eq!(arena.regions().len(), 1);
    drop(parts);
    assert!(arena.regions().is_empty());
    assert_eq!(part_size(2 << 20, 3), (2 << 20) / 3 / PAGE * PAGE);
    assert_eq!(part_size(PAGE, 2), 0);
    assert_eq!(part_size(5 << 20, 1), 4 << 20);
}

#[derive(Default)]
struct Diary(Mutex<Vec<(&'static str, RegionId)>>);

impl Registrar for Diary {
    fn added(&self, region: &Extent) {
        self.0.lock().unwrap().push(("added", region.id));
    }

    fn removed(&self, region: &Extent) {
        self.0.lock().unwrap().push(("removed", region.id));
    }
}

#[test]
fn registrars_learn_of_every_region() {
    let arena = Arena::new(Hugepages::Off);
    let early = arena.region(1).unwrap();
    let diary = Arc::new(Diary::default());
    arena.register(diary.clone());
    let late = arena.region(1).unwrap();
    let (first, second) = (early.id(), late.id());
    assert_ne!(first, second);
    drop(early);
    // The arena itself may go before its regions.
    drop(arena);
    drop(late);
    let expected = [("added", first), ("added", second), ("removed", first), ("removed", second)];
    assert_eq!(*diary.0.lock().unwrap(), expected);
}

#[test]
fn a_registrar_that_panics_does_not_cost_the_region() {
    struct Bad;
    impl Registrar for Bad {
        fn added(&self, _: &Extent) {
            panic!("in added");
        }
        fn removed(&self, _: &Extent) {
            panic!("in removed");
        }
    }
    let arena = Arena::new(Hugepages::Off);
    arena.register(Arc::new(Bad));
    let region = arena.region(1).unwrap();
    assert_eq!(*arena.regions(), [region.extent()]);
    drop(region);
    assert!(arena.regions().is_empty());
}

#[test]
fn addresses_are_found_exactly() {
    let extent = Extent { id: RegionId(0), addr: 100, len: 10 };
    assert!(extent.contains(100, 10) && extent.contains(109, 1) && extent.contains(110, 0));
    assert!(!extent.contains(99, 1) && !extent.contains(109, 2) && !extent.contains(111, 0));
    assert!(!extent.contains(105, usize::MAX) && !extent.contains(usize::MAX, 2));

    let arena = Arena::new(Hugepages::Off);
    let mut cache = arena.cache();
    assert!(cache.find(4096, 1).is_none());
    let regions: Vec<_> = (0..3).map(|_| arena.region(1).unwrap()).collect();
    for _ in 0..2 {
        for extent in regions.iter().map(Region::extent) {
            assert_eq!(cache.find(extent.addr, extent.len), Some(extent));
            assert_eq!(cache.find(extent.addr + extent.len - 1, 1), Some(extent));
            assert!(cache.find(extent.addr, extent.len + 1).is_none());
        }
    }
    let gone = regions[1].extent();
    drop(regions);
    assert!(cache.find(gone.addr, 1).is_none(), "the copy is refreshed");
}

#[test]
fn more_than_there_is_is_refused_before_touching_it() {
    let message = Arena::new(Hugepages::Off).region(1 << 46).unwrap_err().to_string();
    assert!(message.contains("64 TiB are asked for") && message.contains("to spare"), "{message}");
    let info = available::MemInfo::read();
    let available = info.available.unwrap();
    assert!(available::room(&info).unwrap().bytes <= available - MEMORY_HEADROOM);
}

#[test]
fn required_huge_pages_are_had_or_refused_with_the_remedy() {
    let arena = Arena::new(Hugepages::Require);
    match arena.region(1 << 40) {
        Err(e @ MemoryError::NoHugePages { pages, .. }) => {
            let message = e.to_string();
            assert!(message.contains("1 TiB of huge pages are required"), "{message}");
            assert!(message.contains(&format!("vm.nr_hugepages={pages}")), "{message}");
            assert!(pages >= 1 << 10);
        }
        Err(e @ MemoryError::Unsupported) => assert!(e.to_string().contains("--hugepages auto")),
        other => panic!("{other:?}"),
    }
    assert!("maybe".parse::<Hugepages>().unwrap_err().contains("auto, require or off"));
    assert_eq!("require".parse(), Ok(Hugepages::Require));
}

#[test]
fn a_cache_tells_what_came_and_went_once() {
    let arena = Arena::new(Hugepages::Off);
    let first = arena.region(4096).unwrap();
    let mut cache = arena.cache();
    let told = cache.changes().expect("the region that was there");
    assert_eq!((told.added, told.removed), (vec![first.extent()], vec![]));
    assert!(cache.changes().is_none());
    let old = first.extent();
    drop(first);
    let second = arena.region(8192).unwrap();
    assert!(cache.find(second.extent().addr, 1).is_some(), "a look-up in between takes nothing away");
    let told = cache.changes().expect("one went, one came");
    assert_eq!((told.added, told.removed), (vec![second.extent()], vec![old]));
    assert!(cache.changes().is_none());
}
