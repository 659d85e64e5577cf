//! The thread of one reactor.

use super::failure::{FailureCell, FleetFailure};
use crate::clock::{Clock, Nanos};
use crate::cpu::{self, CpuId};
use crate::idle::Sleeper;
use crate::limits::Limits;
use crate::mail::Mail;
use crate::memory::Part;
use crate::panics::guarded;
use crate::percore::{CoreId, Phase};
use crate::pools::Pools;
use crate::reactor::{Leftover, Reactor};
use crate::stats::CoreStats;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// All a reactor thread is given.
pub(super) struct Berth {
    pub(super) core: CoreId,
    /// Where to pin it, if at all.
    pub(super) pin: Option<CpuId>,
    pub(super) spins: bool,
    pub(super) part: Part,
    pub(super) poison: bool,
    pub(super) limits: Limits,
    pub(super) mail: Mail,
    pub(super) clock: Clock,
    pub(super) failure: Arc<FailureCell>,
    pub(super) events: Sender<(CoreId, Event)>,
}

/// What a reactor thread tells the fleet.
#[derive(Debug)]
pub(super) enum Event {
    /// It runs, or could not be bound to its CPU.
    Started(Result<Arc<CoreStats>, CpuId>),
    /// Every poller has drained.
    Drained,
    /// The thread is about to end.
    Stopped(Leftover),
}

thread_local! {
    static ON_REACTOR: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is a reactor's, which must never block.
pub(super) fn on_reactor() -> bool {
    ON_REACTOR.get()
}

/// The thread's whole life.
pub(super) fn main(berth: Berth) {
    ON_REACTOR.set(true);
    let (core, failure, events) = (berth.core, berth.failure.clone(), berth.events.clone());
    let leftover = guarded(|| live(berth)).unwrap_or_else(|message| {
        tracing::error!(%core, message, "the reactor panicked");
        failure.set(FleetFailure { core, why: message });
        Leftover::default()
    });
    // If the fleet is gone nobody wants to know.
    let _ = events.send((core, Event::Stopped(leftover)));
}

fn live(berth: Berth) -> Leftover {
    prepare_thread();
    if let Some(cpu) = berth.pin
        && !cpu::pin(cpu)
    {
        let _ = berth.events.send((berth.core, Event::Started(Err(cpu))));
        return Leftover::default();
    }
    // Created here, where it lives: pools touch their book-keeping on the right node.
    let mut pools = Pools::new(berth.core.0, berth.part);
    if berth.poison {
        pools.poison();
    }
    let mut reactor = Reactor::new(berth.core, &berth.mail, pools, berth.limits);
    let _ = berth.events.send((berth.core, Event::Started(Ok(reactor.stats().clone()))));
    let mut news =
        News { core: berth.core, failed: false, drained: false, failure: berth.failure, events: berth.events };
    turn_until_stopped(&mut reactor, berth.spins, &berth.clock, &mut news);
    reactor.finish()
}

/// Turns of a reactor that never sleeps, between two looks at how it is.
const TURNS_AT_ONCE: u32 = 256;

fn turn_until_stopped(reactor: &mut Reactor, spins: bool, clock: &Clock, news: &mut News) {
    let mut sleeper = Sleeper::default();
    let turns = if spins { TURNS_AT_ONCE } else { 1 };
    while reactor.phase() != Phase::Stopped {
        let mut now = Nanos::ZERO;
        let progress = reactor.turns(turns, || {
            now = clock.now();
            now
        });
        if reactor.phase() == Phase::Draining || reactor.failure().is_some() {
            news.tell(reactor);
        }
        if !spins {
            sleeper.after(reactor, now, progress, clock);
        }
    }
}

/// What is told once.
struct News {
    core: CoreId,
    failed: bool,
    drained: bool,
    failure: Arc<FailureCell>,
    events: Sender<(CoreId, Event)>,
}

impl News {
    fn tell(&mut self, reactor: &Reactor) {
        if let Some(failure) = reactor.failure()
            && !std::mem::replace(&mut self.failed, true)
        {
            self.failure.set(FleetFailure { core: self.core, why: failure.to_string() });
        }
        if reactor.is_drained() && !std::mem::replace(&mut self.drained, true) {
            let _ = self.events.send((self.core, Event::Drained));
        }
    }
}

/// Signals meant for the process go to other threads, and sleeps end on time.
fn prepare_thread() {
    // Not those the processor raises: a fault must stay visible.
    const ELSEWHERE: [libc::c_int; 6] =
        [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD];
    // SAFETY: `set` is a valid signal set to fill and read; all calls only affect this thread.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        for signal in ELSEWHERE {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
    // The default slack delays a sleep's end by up to 50 µs.
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}
