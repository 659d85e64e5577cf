//! Shutdown: drain all, then stop all, each within bounds.

use super::Fleet;
use super::thread::Event;
use crate::limits::STOP_GRACE;
use crate::mail::{Job, PostError};
use crate::percore::{Core, CoreId};
use crate::reactor::Leftover;
use std::fmt;
use std::sync::PoisonError;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The threads of a fleet and what they tell.
#[derive(Debug)]
pub(super) struct Crew {
    threads: Vec<JoinHandle<()>>,
    pub(super) events: Receiver<(CoreId, Event)>,
    /// What the first shutdown found, for those that come later.
    report: Option<ShutdownReport>,
}

/// What a shutdown left undone.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ShutdownReport {
    /// The cores that left something, by number.
    pub left: Vec<CoreLeftover>,
}

/// What one core left undone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreLeftover {
    /// The core.
    pub core: CoreId,
    /// What it left; `None` if its thread did not even stop and was abandoned.
    pub left: Option<Leftover>,
}

impl ShutdownReport {
    /// Every poller drained, every buffer came back, every thread ended. Control-plane tasks that were cut short, for
    /// instance servers that never end by themselves, do not count.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let clean = |l: &Leftover| l.pollers.is_empty() && l.buffers == 0;
        self.left.iter().all(|c| c.left.as_ref().is_some_and(clean))
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.left.is_empty() {
            return write!(f, "everything was drained");
        }
        for (i, entry) in self.left.iter().enumerate() {
            let comma = if i == 0 { "" } else { "; " };
            write!(f, "{comma}core {}: ", entry.core)?;
            match &entry.left {
                None => write!(f, "its thread did not stop")?,
                Some(l) => write!(
                    f,
                    "{} pollers not drained ({}), {} tasks cut short, {} buffers not returned",
                    l.pollers.len(),
                    l.pollers.join(", "),
                    l.tasks,
                    l.buffers
                )?,
            }
        }
        Ok(())
    }
}

impl Fleet {
    /// Asks every poller of every core to drain and waits until all have, or for `deadline`; then stops all cores
    /// and joins their threads. Cores keep turning until the last one has drained, as they may need each other.
    /// Returns what was left; a second call returns the same.
    pub fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let mut crew = self.crew.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = &crew.report {
            return report.clone();
        }
        let start = Instant::now();
        self.tell_all(start, deadline, || Box::new(Core::begin_drain));
        let mut stopped = vec![None; self.cores()];
        crew.listen(start, deadline, &mut stopped, Await::Drained);
        let stop = Instant::now();
        self.tell_all(stop, STOP_GRACE, || Box::new(Core::stop));
        crew.listen(stop, STOP_GRACE, &mut stopped, Await::Stopped);
        let report = crew.join(stopped);
        crew.report = Some(report.clone());
        report
    }

    /// Posts a job to every core, waiting for room in their mailboxes until the time is up.
    fn tell_all(&self, start: Instant, limit: Duration, job: impl Fn() -> Job) {
        for core in self.core_ids().take(self.cores()) {
            while let Err(PostError::Full(_)) = self.mail.post(core, job()) {
                if start.elapsed() >= limit {
                    tracing::error!(%core, "the core takes no messages");
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Await {
    Drained,
    Stopped,
}

impl Crew {
    pub(super) fn new(threads: Vec<JoinHandle<()>>, events: Receiver<(CoreId, Event)>) -> Self {
        Self { threads, events, report: None }
    }

    pub(super) fn add(&mut self, thread: JoinHandle<()>) {
        self.threads.push(thread);
    }

    /// Collects events until every core is `awaited`, or the time is up. A core that stopped has nothing to drain.
    fn listen(&self, start: Instant, limit: Duration, stopped: &mut [Option<Leftover>], awaited: Await) {
        let mut drained = vec![false; stopped.len()];
        let done = |drained: &[bool], stopped: &[Option<Leftover>]| {
            drained.iter().zip(stopped).all(|(d, s)| s.is_some() || (*d && awaited == Await::Drained))
        };
        while !done(&drained, stopped) {
            let Ok((core, event)) = self.events.recv_timeout(limit.saturating_sub(start.elapsed())) else { break };
            match event {
                Event::Drained => drained.iter_mut().skip(core.index()).take(1).for_each(|d| *d = true),
                Event::Stopped(left) => {
                    stopped.iter_mut().skip(core.index()).take(1).for_each(|s| *s = Some(left.clone()))
                }
                Event::Started(_) => {}
            }
        }
    }

    /// Joins the threads that ended, abandons the others, and says what was left.
    fn join(&mut self, stopped: Vec<Option<Leftover>>) -> ShutdownReport {
        for (thread, left) in self.threads.drain(..).zip(&stopped) {
            if left.is_some() {
                // It ends now, and its panics were caught.
                let _ = thread.join();
            }
        }
        let entry = |(i, left): (usize, Option<Leftover>)| CoreLeftover { core: CoreId(i as u16), left };
        let left = stopped.into_iter().enumerate().map(entry);
        ShutdownReport { left: left.filter(|c| c.left.as_ref().is_none_or(|l| !l.is_empty())).collect() }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let report = self.shutdown(STOP_GRACE);
        if !report.is_clean() {
            tracing::error!("the fleet was dropped and left work behind: {report}");
        }
    }
}
