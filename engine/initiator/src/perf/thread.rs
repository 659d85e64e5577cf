//! One measuring thread: polls its connections until the time is up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::PerfError;
use super::host;
use super::pacing::Pacing;
use super::tally::Tally;
use super::worker::Worker;
use crate::transport::Transport;

/// Times of a run, in nanoseconds since `epoch`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub epoch: Instant,
    /// The warm-up ends.
    pub measure_from_ns: u64,
    /// No I/O is issued from here on.
    pub measure_to_ns: u64,
    /// What is still outstanding here is given up.
    pub give_up_ns: u64,
}

impl Schedule {
    fn elapsed(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

/// What a thread shows of itself while it runs. Only it writes; on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Gauge {
    pub ios: AtomicU64,
    pub errors: AtomicU64,
}

/// A thread and what it works on.
pub(super) struct Measuring<'a> {
    pub workers: Vec<Worker>,
    pub pacing: Option<Pacing>,
    pub schedule: Schedule,
    pub gauge: &'a Gauge,
    /// Another thread failed.
    pub stop: &'a AtomicBool,
}

impl Measuring<'_> {
    /// Runs to the end of the schedule.
    pub fn run(mut self) -> Result<Tally, PerfError> {
        let mut tally = Tally::new(self.schedule.measure_from_ns, self.schedule.measure_to_ns);
        let outcome = self.measure(&mut tally);
        if outcome.is_err() {
            self.stop.store(true, Relaxed);
        }
        outcome.map(|()| tally)
    }

    fn measure(&mut self, tally: &mut Tally) -> Result<(), PerfError> {
        let mut cost = Cost::default();
        let mut began = Instant::now();
        loop {
            let ns = self.schedule.elapsed(began);
            cost.look(ns, &self.schedule);
            let issuing = ns < self.schedule.measure_to_ns;
            if self.stop.load(Relaxed) || ns >= self.schedule.give_up_ns {
                break;
            }
            if !issuing && self.workers.iter().all(Worker::is_idle) {
                break;
            }
            let (mut now, mut worked) = (began, false);
            for index in 0..self.workers.len() {
                let turn = self.turn(index, now, tally)?;
                (now, worked) = (turn.at, worked | turn.worked);
            }
            if worked {
                now = Instant::now();
                cost.turn(ns, self.schedule.elapsed(now), &self.schedule);
            }
            began = now;
            self.gauge.ios.store(tally.total, Relaxed);
            self.gauge.errors.store(tally.errors, Relaxed);
        }
        (tally.cpu_user_ns, tally.cpu_system_ns) = cost.processor();
        tally.busy_ns = cost.busy_ns;
        tally.backlog = self.pacing.map_or(0, |pacing| pacing.backlog(self.schedule.measure_to_ns));
        self.give_up_the_rest(tally);
        for counters in self.workers.iter().filter_map(|worker| worker.session.transport().rdma_counters()) {
            tally.count_rdma(counters);
        }
        self.log_out();
        Ok(())
    }

    /// One turn of one connection.
    fn turn(&mut self, index: usize, now: Instant, tally: &mut Tally) -> Result<Turn, PerfError> {
        let worker = &mut self.workers[index];
        let mut worked = worker.session.poll(now);
        let now = Instant::now();
        let ns = self.schedule.elapsed(now);
        while let Some(event) = worker.session.next_event() {
            worker.take(event, ns, tally)?;
        }
        if ns < self.schedule.measure_to_ns {
            match &mut self.pacing {
                None => {
                    while worker.can_issue() {
                        worker.issue(ns, now);
                        worked = true;
                    }
                }
                Some(pacing) => {
                    while worker.can_issue()
                        && let Some(due) = pacing.due(ns)
                    {
                        worker.issue(due, now);
                        pacing.issued();
                        worked = true;
                    }
                }
            }
        }
        worker.session.flush();
        Ok(Turn { at: now, worked })
    }

    fn give_up_the_rest(&self, tally: &mut Tally) {
        for worker in &self.workers {
            for _ in 0..worker.session.outstanding() {
                tally.error(|| "an I/O was never answered".to_owned());
            }
        }
    }

    /// Says goodbye, without waiting for answers: closing would do, but a target logs it as a failure.
    fn log_out(&mut self) {
        let now = Instant::now();
        for worker in &mut self.workers {
            if worker.session.log_out(now).is_ok() {
                worker.session.flush();
            }
        }
    }
}

/// What a turn of one connection came to.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// The time, read once: after the receive, for all that it brought.
    at: Instant,
    /// Something came or was issued.
    worked: bool,
}

/// What the measured time cost the thread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// Processor time when the measured time began and ended, user and system.
    from: Option<(u64, u64)>,
    to: Option<(u64, u64)>,
    /// In turns that found something: a thread that polls uses its processor anyway.
    pub busy_ns: u64,
}

impl Cost {
    /// Looks at the thread's processor time when the measured time begins and ends.
    fn look(&mut self, ns: u64, schedule: &Schedule) {
        if self.from.is_none() && ns >= schedule.measure_from_ns {
            self.from = Some(host::thread_time());
        }
        if self.to.is_none() && ns >= schedule.measure_to_ns {
            self.to = Some(host::thread_time());
        }
    }

    /// A turn from `began` to `ended` found something.
    pub fn turn(&mut self, began: u64, ended: u64, schedule: &Schedule) {
        if (schedule.measure_from_ns..schedule.measure_to_ns).contains(&began) {
            self.busy_ns += ended - began;
        }
    }

    fn processor(&self) -> (u64, u64) {
        let (from, to) = (self.from.unwrap_or_default(), self.to.unwrap_or_default());
        (to.0.saturating_sub(from.0), to.1.saturating_sub(from.1))
    }
}
