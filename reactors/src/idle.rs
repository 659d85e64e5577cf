//! What a reactor does while there is nothing to do: spin, or sleep until something happens.

use crate::bell::wait_readable;
use crate::clock::{Clock, Nanos};
use crate::cpu::CpuId;
use crate::limits::SPIN_BEFORE_SLEEP;
use crate::poller::Progress;
use crate::reactor::Reactor;
use std::os::fd::RawFd;
use std::str::FromStr;

/// The idle policy (`--idle`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Idle {
    /// Never sleep: lowest latency, a CPU at 100 %.
    Spin,
    /// Sleep after [`SPIN_BEFORE_SLEEP`] without work, until a message, a descriptor or a deadline.
    Adaptive,
    /// Spin where the reactor has its CPU to itself, else adaptive: see [`Idle::spins`].
    #[default]
    Auto,
}

impl FromStr for Idle {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "spin" => Ok(Self::Spin),
            "adaptive" => Ok(Self::Adaptive),
            "auto" => Ok(Self::Auto),
            other => Err(format!("'{other}' is not an idle policy; write spin, adaptive or auto")),
        }
    }
}

/// What `Auto` decides by.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Reactors of the fleet.
    pub reactors: usize,
    /// CPUs the process may use at once: its affinity, cut by a control group's CPU quota.
    pub cpus: usize,
    /// CPUs the kernel keeps everything else off.
    pub isolated: Vec<CpuId>,
}

impl Machine {
    /// This machine, for a fleet of `reactors`.
    #[must_use]
    pub fn observe(reactors: usize) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { reactors, cpus, isolated: crate::cpu::isolated() }
    }
}

impl Idle {
    /// Whether a reactor on `cpu` never sleeps. `Auto` spins if the kernel isolates the CPU, or if the fleet leaves
    /// at least one CPU to everything else on the machine; a spinning reactor on the last CPU would be preempted by
    /// the very programs that talk to it.
    #[must_use]
    pub fn spins(self, cpu: CpuId, machine: &Machine) -> bool {
        match self {
            Self::Spin => true,
            Self::Adaptive => false,
            Self::Auto => machine.isolated.contains(&cpu) || machine.reactors < machine.cpus,
        }
    }
}

/// Puts an adaptive reactor's thread to sleep.
#[derive(Debug, Default)]
pub(crate) struct Sleeper {
    last_work: Nanos,
    fds: Vec<RawFd>,
    waits: Vec<libc::pollfd>,
}

impl Sleeper {
    /// To be called after each turn. Sleeps if there has been no work for long enough.
    #[inline]
    pub(crate) fn after(&mut self, reactor: &mut Reactor, now: Nanos, progress: Progress, clock: &Clock) {
        if progress.is_busy() {
            self.last_work = now;
        } else if now.since(self.last_work) >= SPIN_BEFORE_SLEEP && reactor.may_sleep() {
            self.sleep(reactor, clock);
        }
    }

    #[cold]
    fn sleep(&mut self, reactor: &mut Reactor, clock: &Clock) {
        reactor.arm();
        // Whatever arrived before arming rang no bell; this turn finds it.
        let now = clock.now();
        if reactor.turn(now).is_busy() {
            self.last_work = now;
        } else if reactor.may_sleep() {
            self.wait(reactor, now);
        }
        reactor.disarm();
    }

    fn wait(&mut self, reactor: &mut Reactor, now: Nanos) {
        self.fds.clear();
        reactor.wake_fds(&mut self.fds);
        self.waits.clear();
        self.waits.extend(self.fds.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }));
        let timeout = reactor.deadline().map(|at| at.since(now));
        reactor.stats().sleeps.add(1);
        let woken = wait_readable(&mut self.waits, timeout);
        if woken > 0 {
            reactor.stats().wakes.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::mail::Mail;
    use crate::percore::CoreId;
    use crate::poller::{Poller, Turn};
    use crate::pools::Pools;
    use std::time::Duration;

    #[test]
    fn auto_spins_only_with_a_cpu_to_spare_or_isolated() {
        let machine = |reactors, cpus| Machine { reactors, cpus, isolated: vec![CpuId(3)] };
        assert!(Idle::Auto.spins(CpuId(0), &machine(1, 2)));
        assert!(!Idle::Auto.spins(CpuId(0), &machine(2, 2)));
        assert!(!Idle::Auto.spins(CpuId(0), &machine(1, 1)));
        assert!(Idle::Auto.spins(CpuId(3), &machine(2, 2)));
        assert!(Idle::Spin.spins(CpuId(0), &machine(2, 2)));
        assert!(!Idle::Adaptive.spins(CpuId(3), &machine(1, 2)));
        assert!(Machine::observe(1).cpus >= 1);
    }

    #[test]
    fn reads_its_names() {
        assert_eq!("spin".parse(), Ok(Idle::Spin));
        assert_eq!("adaptive".parse(), Ok(Idle::Adaptive));
        assert_eq!("auto".parse(), Ok(Idle::Auto));
        assert!("lazy".parse::<Idle>().unwrap_err().contains("spin, adaptive or auto"));
    }

    /// Something arrives just before the flag goes up, so no bell rings for it.
    struct Late {
        arrived: bool,
        deadline: Nanos,
    }

    impl Poller for Late {
        fn poll(&mut self, _: &mut Turn<'_>) -> Progress {
            Progress::from_bool(std::mem::take(&mut self.arrived))
        }

        fn name(&self) -> &'static str {
            "late"
        }

        fn before_sleep(&mut self) {
            self.arrived = true;
        }

        // Lets the test fail instead of hang.
        fn deadline(&self) -> Option<Nanos> {
            Some(self.deadline)
        }
    }

    #[test]
    fn what_arrives_while_falling_asleep_is_not_slept_over() {
        let (clock, mail) = (Clock::monotonic(), Mail::new(1, 1).unwrap());
        let mut reactor = Reactor::new(CoreId(0), &mail, Pools::empty(0), Limits::default());
        let deadline = clock.now() + Duration::from_secs(1);
        reactor.core().add_poller(Box::new(Late { arrived: false, deadline })).unwrap();
        let mut sleeper = Sleeper::default();
        let now = clock.now();
        let progress = reactor.turn(now);
        sleeper.after(&mut reactor, now, progress, &clock);
        assert_eq!(reactor.stats().snapshot().sleeps, 0);
        assert_eq!(reactor.stats().snapshot().busy_polls, 1);
        assert!(sleeper.last_work > now, "and it spins again first");
    }
}
