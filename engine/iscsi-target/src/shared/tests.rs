//! Placement with cores whose load is made up.

use super::placement::{Placement, Worked};
use super::*;
use crate::limits::PLACEMENT_SPREAD;

/// Nanoseconds between two events: longer than a sample holds.
const STEP: u64 = 20_000_000;

/// A generator of numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// Cores with connections, each of which keeps its core busy for some parts of a thousand.
struct Simulation {
    placement: Placement,
    worked: Vec<Worked>,
    connections: Vec<Vec<u64>>,
}

impl Simulation {
    fn new(cores: usize) -> Self {
        let (worked, connections) = (vec![Worked::default(); cores], vec![Vec::new(); cores]);
        Self { placement: Placement::new(cores), worked, connections }
    }

    fn pass(&mut self, time: u64) {
        for (core, worked) in self.worked.iter_mut().enumerate() {
            worked.all += time;
            worked.busy += time * self.connections[core].iter().sum::<u64>().min(1000) / 1000;
        }
    }

    fn counts(&self) -> Vec<u32> {
        self.connections.iter().map(|core| core.len() as u32).collect()
    }

    fn arrive(&mut self, load: u64) -> usize {
        self.placement.sample(self.worked.iter().copied());
        let core = self.placement.pick(&self.counts());
        self.connections[core].push(load);
        core
    }

    fn leave(&mut self, number: usize) -> u64 {
        let (mut number, mut core) = (number, 0);
        while number >= self.connections[core].len() {
            number -= self.connections[core].len();
            core += 1;
        }
        self.connections[core].swap_remove(number)
    }

    fn spread(&self) -> u32 {
        let counts = self.counts();
        counts.iter().max().unwrap() - counts.iter().min().unwrap()
    }

    fn busiest(&self) -> u64 {
        self.connections.iter().map(|core| core.iter().sum()).max().unwrap()
    }
}

#[test]
fn connections_spread_over_all_cores() {
    let shared = Shared::new(3);
    let mut placed = [0; 3];
    for _ in 0..9 {
        placed[shared.place().index()] += 1;
    }
    assert_eq!(placed, [3, 3, 3]);
    shared.unplace(CoreId(1));
    assert_eq!(shared.place(), CoreId(1));
    assert_eq!(shared.connections(), [3, 3, 3]);
}

#[test]
fn who_comes_alone_goes_to_one_core_after_the_other() {
    let shared = Shared::new(3);
    let visited: Vec<_> = (0..4)
        .map(|_| {
            let core = shared.place();
            shared.unplace(core);
            core.0
        })
        .collect();
    assert_eq!(visited, [0, 1, 2, 0]);
}

#[test]
fn a_busy_core_is_spared() {
    let mut cores = Simulation::new(2);
    assert_eq!((cores.arrive(600), cores.arrive(0)), (0, 1));
    for _ in 0..3 {
        cores.pass(STEP);
        assert_eq!(cores.arrive(0), 1);
    }
}

#[test]
fn differences_within_a_band_are_noise() {
    let mut cores = Simulation::new(2);
    assert_eq!((cores.arrive(40), cores.arrive(10)), (0, 1));
    cores.pass(STEP);
    assert_eq!((cores.arrive(0), cores.arrive(0)), (0, 1), "both are hardly busy: they take turns");
}

#[test]
fn no_core_gets_many_more_connections_than_another() {
    let mut cores = Simulation::new(2);
    cores.arrive(900);
    for _ in 0..100 {
        cores.pass(STEP);
        cores.arrive(0);
        assert!(cores.spread() <= PLACEMENT_SPREAD + 1);
    }
}

/// The least busy core of a moment ago must not get all who come at once.
#[test]
fn a_storm_does_not_go_to_one_core() {
    let mut cores = Simulation::new(64);
    for _ in 0..64 {
        cores.arrive(500);
    }
    cores.leave(7);
    cores.pass(STEP);
    let first: Vec<_> = (0..64).map(|_| cores.arrive(500)).collect();
    assert_eq!(first[0], 7);
    assert!(first.iter().filter(|core| **core == 7).count() <= 2, "{first:?}");
    assert!(cores.spread() <= 1, "{:?}", cores.counts());
}

/// Sleeping cores have no time of their own, and are not busy.
#[test]
fn a_core_that_sleeps_is_idle() {
    let mut placement = Placement::new(2);
    let awake = |busy| Worked { busy, all: STEP };
    placement.sample([awake(STEP), awake(STEP / 2)].into_iter());
    let later = [Worked { busy: STEP, all: STEP }, Worked { busy: STEP, all: 2 * STEP }];
    placement.sample(later.into_iter());
    assert_eq!(placement.pick(&[1, 1]), 0, "it did nothing since; the other was half busy");
}

#[test]
fn equal_connections_stay_even_as_they_come_and_go() {
    let (mut cores, mut random) = (Simulation::new(64), Random(1));
    for _ in 0..640 {
        cores.pass(STEP);
        cores.arrive(20);
        assert!(cores.spread() <= 1, "{:?}", cores.counts());
    }
    for _ in 0..5_000 {
        let load = cores.leave(random.below(640));
        cores.pass(STEP);
        cores.arrive(load);
        assert!(cores.spread() <= 4, "{:?}", cores.counts());
    }
}

/// One connection in twenty does most of the work (docs/decisions/0013-placement.md).
#[test]
fn skewed_loads_are_spread_better_than_by_counting() {
    let (mut cores, mut random) = (Simulation::new(64), Random(2));
    let (mut sum, mut average) = (0, 0);
    for event in 0..6_000 {
        let load = match random.below(20) {
            0 => 300,
            1..4 => 20,
            _ => 2,
        };
        if event >= 300 {
            cores.leave(random.below(300));
        }
        cores.pass(STEP);
        cores.arrive(load);
        if event >= 1_000 {
            sum += cores.busiest() * 64;
            average += cores.connections.iter().flatten().sum::<u64>();
        }
    }
    assert!(sum * 10 < average * 45, "the busiest core has {:.2} times the average", sum as f64 / average as f64);
}
