//! What must hold of placement, fairness and turns: the tables of docs/SCALE.md, on fewer cores.

use target::limits::PLACEMENT_SPREAD;

use crate::fairness::{self, CASES, Transport};
use crate::placement::{self, Plan};

const PLAN: Plan = Plan { cores: 16, connections: 48, changes: 24, seed: 1, blind: false };

#[test]
fn connections_come_leave_and_come_back() {
    let phases = placement::run(&PLAN).unwrap();
    for phase in &phases {
        assert!(phase.spread.1 <= PLACEMENT_SPREAD + 1, "{phase}");
        assert!(phase.ios > 0, "{phase}");
    }
}

#[test]
fn counting_alone_places_as_many_on_each() {
    let phases = placement::run(&Plan { blind: true, changes: 0, ..PLAN }).unwrap();
    // The worst moment of the last phase is while they leave.
    assert!(phases.iter().all(|phase| phase.spread.0 <= 1), "{phases:?}");
}

#[test]
fn the_same_seed_places_alike() {
    let plan = Plan { connections: 24, changes: 4, ..PLAN };
    let spreads = |plan| placement::run(plan).unwrap().iter().map(|phase| phase.spread).collect::<Vec<_>>();
    assert_eq!(spreads(&plan), spreads(&plan));
}

#[test]
fn connections_that_are_alike_get_alike() {
    // Over TCP the kernel has a say in what arrives when.
    for case in CASES.iter().filter(|case| case.transport == Transport::Iser) {
        let row = fairness::run(case).unwrap();
        assert!(row.unfairness() <= 1.25, "{row}");
        assert!(row.longest_turn <= row.budget(), "{row}");
        let alone = case.depths.last() == Some(&1);
        assert!(!alone || row.rounds_of_last() <= 2.0, "a single command waits behind deep queues: {row}");
    }
}
