//! Task attributes (SAM-5): which commands of one I_T nexus and logical unit may run now and which must wait.
//!
//! The Control mode page says TST=001b, one task set per I_T nexus, so ordering is local to the connection's core.

use crate::sense::Sense;
use crate::status::Outcome;

/// How a command is ordered against the others of its task set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskAttribute {
    /// Runs beside others, after older ORDERED and HEAD OF QUEUE commands.
    #[default]
    Simple,
    /// Runs when all older commands have ended, and holds all younger ones back.
    Ordered,
    /// Runs at once, before everything that waits.
    HeadOfQueue,
    /// Meant for an auto contingent allegiance, which there never is (NormACA is 0).
    Aca,
}

/// What [`TaskSet::admit`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Run it; call [`TaskSet::done`] when it has ended.
    Run,
    /// Queue it behind those already held, and offer the oldest with [`TaskSet::release`] when something has ended.
    Hold,
    /// End it with this outcome; it is not in the task set.
    Refuse(Outcome),
}

/// The order of one task set, kept by counting. The caller keeps the queue of what is held, oldest first.
#[derive(Clone, Debug, Default)]
pub struct TaskSet {
    /// Commands that run, by attribute; none with ACA.
    running: [u32; 4],
    held: u32,
}

impl TaskSet {
    /// An empty task set.
    #[must_use]
    pub const fn new() -> Self {
        Self { running: [0; 4], held: 0 }
    }

    /// A command has arrived.
    #[inline]
    pub fn admit(&mut self, attribute: TaskAttribute) -> Admission {
        match attribute {
            TaskAttribute::Aca => return Admission::Refuse(Outcome::check(Sense::INVALID_MESSAGE_ERROR)),
            TaskAttribute::HeadOfQueue => {}
            // Nothing overtakes what is held.
            _ if self.held > 0 || !self.may_run(attribute) => {
                self.held = self.held.saturating_add(1);
                return Admission::Hold;
            }
            _ => {}
        }
        self.start(attribute);
        Admission::Run
    }

    /// A command that ran has ended, however it ended.
    #[inline]
    pub fn done(&mut self, attribute: TaskAttribute) {
        if let Some(running) = self.running.get_mut(attribute as usize) {
            debug_assert!(*running > 0, "a command ended that was not running");
            *running = running.saturating_sub(1);
        }
    }

    /// May the oldest held command, which has this attribute, run now? If so it is running from here on; take it from
    /// the queue and ask for the next.
    #[must_use]
    pub fn release(&mut self, oldest: TaskAttribute) -> bool {
        debug_assert!(self.held > 0, "a command was released that was not held");
        let released = self.held > 0 && self.may_run(oldest);
        if released {
            self.held = self.held.saturating_sub(1);
            self.start(oldest);
        }
        released
    }

    /// A held command was taken from the queue without running: it was aborted.
    pub fn forget(&mut self) {
        debug_assert!(self.held > 0, "a command was forgotten that was not held");
        self.held = self.held.saturating_sub(1);
    }

    /// Commands that wait.
    #[must_use]
    pub const fn held(&self) -> u32 {
        self.held
    }

    /// Nothing runs and nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held == 0 && self.running.iter().all(|count| *count == 0)
    }

    fn may_run(&self, attribute: TaskAttribute) -> bool {
        let [simple, ordered, head_of_queue, _] = self.running;
        let blocked = ordered > 0 || head_of_queue > 0;
        match attribute {
            TaskAttribute::Simple => !blocked,
            TaskAttribute::Ordered => !blocked && simple == 0,
            TaskAttribute::HeadOfQueue | TaskAttribute::Aca => true,
        }
    }

    #[inline]
    fn start(&mut self, attribute: TaskAttribute) {
        if let Some(running) = self.running.get_mut(attribute as usize) {
            *running = running.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TaskAttribute::*;

    #[test]
    fn simple_commands_run_side_by_side() {
        let mut set = TaskSet::new();
        assert!((0..100).all(|_| set.admit(Simple) == Admission::Run));
        (0..100).for_each(|_| set.done(Simple));
        assert!(set.is_empty());
    }

    #[test]
    fn ordered_waits_for_all_older_and_holds_all_younger() {
        let mut set = TaskSet::new();
        assert_eq!(set.admit(Simple), Admission::Run);
        assert_eq!(set.admit(Simple), Admission::Run);
        assert_eq!(set.admit(Ordered), Admission::Hold);
        assert_eq!(set.admit(Simple), Admission::Hold);
        assert_eq!(set.held(), 2);
        set.done(Simple);
        assert!(!set.release(Ordered));
        set.done(Simple);
        assert!(set.release(Ordered) && !set.release(Simple));
        set.done(Ordered);
        assert!(set.release(Simple));
        set.done(Simple);
        assert!(set.is_empty());
    }

    #[test]
    fn ordered_commands_run_one_after_the_other() {
        let mut set = TaskSet::new();
        assert_eq!(set.admit(Ordered), Admission::Run);
        assert_eq!(set.admit(Ordered), Admission::Hold);
        assert!(!set.release(Ordered));
        set.done(Ordered);
        assert!(set.release(Ordered));
    }

    #[test]
    fn head_of_queue_overtakes_the_held_and_holds_them_back() {
        let mut set = TaskSet::new();
        assert_eq!(set.admit(Ordered), Admission::Run);
        assert_eq!(set.admit(Simple), Admission::Hold);
        assert_eq!(set.admit(HeadOfQueue), Admission::Run);
        set.done(Ordered);
        assert!(!set.release(Simple));
        set.done(HeadOfQueue);
        assert!(set.release(Simple));
    }

    #[test]
    fn an_aborted_waiter_makes_room() {
        let mut set = TaskSet::new();
        assert_eq!(set.admit(Simple), Admission::Run);
        assert_eq!(set.admit(Ordered), Admission::Hold);
        set.forget();
        assert_eq!(set.admit(Simple), Admission::Run);
    }

    #[test]
    fn aca_is_refused_and_counts_nowhere() {
        let mut set = TaskSet::new();
        assert_eq!(set.admit(Aca), Admission::Refuse(Outcome::check(Sense::INVALID_MESSAGE_ERROR)));
        assert!(set.is_empty());
    }

    /// Every history of up to six arrivals and ends, against the rules written out over the list of commands.
    #[test]
    fn counting_agrees_with_the_rules() {
        fn may_run(older: &[(TaskAttribute, bool)], all: &[(TaskAttribute, bool)], attribute: TaskAttribute) -> bool {
            let head_runs = all.iter().any(|&(a, runs)| a == HeadOfQueue && runs);
            match attribute {
                HeadOfQueue => true,
                Ordered => older.is_empty() && !head_runs,
                _ => older.iter().all(|&(a, runs)| a == Simple && runs) && !head_runs,
            }
        }
        fn go(set: &TaskSet, list: &[(TaskAttribute, bool)], steps: u32) {
            if steps == 0 {
                return;
            }
            for attribute in [Simple, Ordered, HeadOfQueue] {
                let (mut set, mut list) = (set.clone(), list.to_vec());
                let runs = may_run(&list, &list, attribute);
                assert_eq!(set.admit(attribute) == Admission::Run, runs, "{list:?} then {attribute:?}");
                list.push((attribute, runs));
                go(&set, &list, steps - 1);
            }
            for i in 0..list.len() {
                if !list[i].1 {
                    continue;
                }
                let (mut set, mut list) = (set.clone(), list.to_vec());
                set.done(list.remove(i).0);
                while let Some(oldest) = list.iter().position(|&(_, runs)| !runs) {
                    let attribute = list[oldest].0;
                    let expected = may_run(&list[..oldest], &list, attribute);
                    assert_eq!(set.release(attribute), expected, "{list:?}");
                    if !expected {
                        break;
                    }
                    list[oldest].1 = true;
                }
                go(&set, &list, steps - 1);
            }
        }
        go(&TaskSet::new(), &[], 6);
    }
}
