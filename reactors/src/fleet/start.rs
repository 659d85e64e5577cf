//! Starting a fleet: everything is checked before anything is started.

use super::config::FleetConfig;
use super::failure::FailureCell;
use super::shutdown::Crew;
use super::thread::{self, Berth, Event};
use super::{Fleet, Member};
use crate::clock::Clock;
use crate::cpu::{CpuId, CpuList};
use crate::idle::Machine;
use crate::limits::{MAX_CORES, MIN_POOL_MEMORY_PER_CORE};
use crate::mail::Mail;
use crate::memory::{Arena, MemoryError, Part, format_size};
use crate::percore::CoreId;
use crate::stats::CoreStats;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Why a fleet does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No CPU was named.
    #[error("no CPU is given; name at least one, for example --cores 0")]
    NoCores,
    /// More than [`MAX_CORES`].
    #[error("{asked} reactors are asked for; there may be at most {MAX_CORES}")]
    TooManyReactors {
        /// How many are asked for.
        asked: usize,
    },
    /// A CPU was named twice.
    #[error("CPU {cpu} is named twice; a reactor needs a CPU of its own, so name each once")]
    Duplicate {
        /// The CPU.
        cpu: CpuId,
    },
    /// More reactors than CPUs.
    #[error(
        "{asked} reactors are asked for, but this process may use only {} CPUs ({usable}); name at most {}, all of \
         them from that list", .usable.as_slice().len(), .usable.as_slice().len()
    )]
    TooFewCpus {
        /// How many reactors are asked for.
        asked: usize,
        /// The CPUs there are.
        usable: CpuList,
    },
    /// A CPU that does not exist, is offline, or is not in the process's affinity.
    #[error(
        "CPU {cpu} cannot be used; this process may use {usable} (check --cores, taskset and the container's cpuset)"
    )]
    Unknown {
        /// The CPU.
        cpu: CpuId,
        /// The CPUs there are.
        usable: CpuList,
    },
    /// The pools would be too small.
    #[error(
        "{} of pool memory are too little for {cores} cores; give at least --memory {}M", format_size(*.asked),
        .least >> 20
    )]
    TooLittleMemory {
        /// Bytes asked for.
        asked: usize,
        /// Cores to be served.
        cores: usize,
        /// Bytes needed.
        least: usize,
    },
    /// The pools' memory could not be had.
    #[error("no memory for the buffer pools: {0}")]
    Memory(#[from] MemoryError),
    /// The kernel refused to bind a thread.
    #[error("the kernel refuses to bind a thread to CPU {cpu}; check the container's cpuset and seccomp profile")]
    Pin {
        /// The CPU.
        cpu: CpuId,
    },
    /// A thread or descriptor could not be had.
    #[error("cannot start a reactor: {0}; check `ulimit -u` and `ulimit -n`")]
    System(#[from] io::Error),
}

impl Fleet {
    /// Starts one reactor thread per CPU and returns when all of them turn. To be called from a thread that is not
    /// pinned, as its affinity is what the reactors may use.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start(config: FleetConfig) -> Result<Self, StartError> {
        check_cpus(&config, &CpuList::usable())?;
        check_memory(&config)?;
        let arena = Arena::new(config.memory.hugepages);
        let near: &[CpuId] = if config.pin { &config.cores } else { &[] };
        let parts = arena.region_near(config.memory.pools, near)?.split(config.cores.len());
        let mail = Mail::new(config.cores.len(), config.limits.mailbox_depth)?;
        let failure = Arc::new(FailureCell::new()?);
        let (sender, events) = channel();
        let mut fleet =
            Self { cores: Vec::new(), mail, arena, failure, crew: Mutex::new(Crew::new(Vec::new(), events)) };
        // On any error from here on, dropping `fleet` stops the threads started so far.
        fleet.launch(&config, parts, &sender)?;
        Ok(fleet)
    }

    fn launch(
        &mut self,
        config: &FleetConfig,
        parts: Vec<Part>,
        events: &Sender<(CoreId, Event)>,
    ) -> Result<(), StartError> {
        let machine = Machine::observe(config.cores.len());
        let clock = Clock::new();
        for ((core, cpu), part) in self.mail.core_ids().zip(&config.cores).zip(parts) {
            let berth = Berth {
                core,
                pin: config.pin.then_some(*cpu),
                spins: config.idle.spins(*cpu, &machine),
                part,
                poison: config.memory.poison,
                limits: config.limits,
                mail: self.mail.clone(),
                clock,
                failure: self.failure.clone(),
                events: events.clone(),
            };
            let spins = berth.spins;
            let crew = self.crew.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            crew.add(spawn(berth)?);
            let stats = crew.await_start()?;
            self.cores.push(Member { cpu: *cpu, spins, stats });
        }
        Ok(())
    }
}

fn spawn(berth: Berth) -> io::Result<JoinHandle<()>> {
    let name = format!("reactor-{}", berth.core);
    std::thread::Builder::new().name(name).spawn(move || thread::main(berth))
}

impl Crew {
    /// Waits for the thread added last.
    fn await_start(&mut self) -> Result<Arc<CoreStats>, StartError> {
        match self.events.recv() {
            Ok((_, Event::Started(Ok(stats)))) => Ok(stats),
            Ok((_, Event::Started(Err(cpu)))) => Err(StartError::Pin { cpu }),
            _ => Err(io::Error::other("the reactor's thread ended while starting").into()),
        }
    }
}

fn check_cpus(config: &FleetConfig, usable: &CpuList) -> Result<(), StartError> {
    let cores = &config.cores;
    if cores.is_empty() {
        return Err(StartError::NoCores);
    }
    if cores.len() > MAX_CORES {
        return Err(StartError::TooManyReactors { asked: cores.len() });
    }
    if let Some(cpu) = cores.iter().enumerate().find_map(|(i, cpu)| cores[..i].contains(cpu).then_some(*cpu)) {
        return Err(StartError::Duplicate { cpu });
    }
    if !config.pin {
        return Ok(());
    }
    if cores.len() > usable.as_slice().len() {
        return Err(StartError::TooFewCpus { asked: cores.len(), usable: usable.clone() });
    }
    match cores.iter().find(|cpu| !usable.as_slice().contains(cpu)) {
        Some(cpu) => Err(StartError::Unknown { cpu: *cpu, usable: usable.clone() }),
        None => Ok(()),
    }
}

fn check_memory(config: &FleetConfig) -> Result<(), StartError> {
    let (asked, cores) = (config.memory.pools, config.cores.len());
    let least = cores * MIN_POOL_MEMORY_PER_CORE;
    if asked < least { Err(StartError::TooLittleMemory { asked, cores, least }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(cpus: &[u16], usable: &str) -> String {
        let mut config = FleetConfig::for_tests(1);
        config.pin = true;
        config.cores = cpus.iter().map(|n| CpuId(*n)).collect();
        check_cpus(&config, &CpuList::parse(usable).unwrap()).expect_err("is refused").to_string()
    }

    #[test]
    fn impossible_placements_are_refused_with_what_which_and_what_to_do() {
        assert!(refusal(&[], "0-1").contains("--cores 0"));
        assert!(refusal(&[1, 0, 1], "0-3").contains("CPU 1 is named twice"));
        let message = refusal(&[0, 1, 2], "0,3");
        assert!(message.contains("3 reactors") && message.contains("only 2 CPUs (0,3)"), "{message}");
        let message = refusal(&[0, 7], "0-3");
        assert!(message.contains("CPU 7") && message.contains("0-3"), "{message}");
        let many: Vec<u16> = (0..=MAX_CORES as u16).collect();
        assert!(refusal(&many, "0-1").contains("at most 256"));
    }

    #[test]
    fn too_little_memory_is_refused() {
        let mut config = FleetConfig::for_tests(3);
        config.memory.pools -= 1;
        let message = check_memory(&config).unwrap_err().to_string();
        assert!(message.contains("3 cores") && message.contains("--memory 12M"), "{message}");
    }
}
