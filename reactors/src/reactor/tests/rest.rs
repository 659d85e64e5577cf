//! Pollers that rest are left out of turns, but never of what happens on their core.

use super::*;

/// Rests, unless told otherwise, and notes how many turns it was left out of before each poll.
struct Sleepy {
    polls: Polls,
    answer: Rc<Cell<Progress>>,
    deadline: Option<Nanos>,
}

impl Poller for Sleepy {
    fn poll(&mut self, turn: &mut Turn<'_>) -> Progress {
        self.polls.borrow_mut().push(turn.rested);
        self.answer.get()
    }

    fn name(&self) -> &'static str {
        "sleepy"
    }

    fn deadline(&self) -> Option<Nanos> {
        self.deadline
    }
}

type Polls = Rc<RefCell<Vec<u32>>>;

/// A world of one core with one such poller; what it noted, and what it answers from now on.
fn world(deadline: Option<Nanos>) -> (World, Polls, Rc<Cell<Progress>>) {
    let mut world = World::new(1);
    let (polls, answer) = (Polls::default(), Rc::new(Cell::new(Progress::Rest)));
    let poller = Sleepy { polls: Rc::clone(&polls), answer: answer.clone(), deadline };
    world.reactors[0].core().add_poller(Box::new(poller)).unwrap();
    (world, polls, answer)
}

fn turns(world: &mut World, count: u32) {
    (0..count).for_each(|_| assert_eq!(world.turn(0), Progress::Idle));
}

#[test]
fn a_rest_has_its_length_and_every_turn_counts() {
    let (mut world, polls, _) = world(None);
    turns(&mut world, 2 * (1 + REST_TURNS) + 1);
    assert_eq!(*polls.borrow(), [0, REST_TURNS, REST_TURNS]);
    assert_eq!(world.reactors[0].stats().snapshot().turns, 2 * (1 + u64::from(REST_TURNS)) + 1);
    assert_eq!(world.reactors[0].stats().now.get(), world.now.get());
    assert_eq!(world.reactors[0].executor.spawner().now(), world.now);
}

#[test]
fn who_is_only_idle_keeps_the_others_awake() {
    let (mut world, polls, answer) = world(None);
    add(&mut world, 0, Puppet::default());
    turns(&mut world, 5);
    assert_eq!(*polls.borrow(), [0; 5]);
    answer.set(Progress::Idle);
    turns(&mut world, 3);
    assert_eq!(*polls.borrow(), [0; 8]);
}

#[test]
fn a_job_a_task_and_a_change_of_the_core_end_a_rest() {
    let (mut world, polls, _) = world(None);
    turns(&mut world, 4);
    world.mail.post(CoreId(0), Box::new(|_: &mut Core| ())).unwrap();
    assert_eq!(world.turn(0), Progress::Busy);
    assert_eq!(*polls.borrow(), [0, 3]);
    turns(&mut world, 2);
    let spawner = world.reactors[0].core().spawner().clone();
    turns(&mut world, 2);
    assert_eq!(*polls.borrow(), [0, 3, 0, 1], "whoever had the core may have changed anything");
    spawner.spawn(async {}).unwrap();
    assert_eq!(world.turn(0), Progress::Busy);
    assert_eq!(*polls.borrow(), [0, 3, 0, 1, 1]);
}

#[test]
fn a_deadline_ends_a_rest() {
    // Turns are a microsecond apart.
    let (mut world, polls, _) = world(Some(Nanos::new(4_000)));
    turns(&mut world, 6);
    assert_eq!(*polls.borrow(), [0, 2, 0, 0], "at 1, 4, 5 and 6");
}

#[test]
fn the_turn_before_a_sleep_sees_everybody() {
    let (mut world, polls, _) = world(None);
    turns(&mut world, 3);
    world.reactors[0].arm();
    turns(&mut world, 1);
    world.reactors[0].disarm();
    turns(&mut world, 1);
    assert_eq!(*polls.borrow(), [0, 2, 0]);
}

#[test]
fn a_core_that_drains_does_not_rest() {
    let (mut world, polls, _) = world(None);
    turns(&mut world, 3);
    world.mail.post(CoreId(0), Box::new(Core::begin_drain)).unwrap();
    let _ = world.turn(0);
    turns(&mut world, 3);
    assert_eq!(*polls.borrow(), [0, 2, 0, 0, 0]);
}
