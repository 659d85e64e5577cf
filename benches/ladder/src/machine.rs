//! What the machine is: it stands beside every number.

use std::fs;
use std::process::Command;

use reactors::{CpuId, CpuList};
use serde::Serialize;

use crate::Result;

/// The facts without which a number says nothing.
#[derive(Serialize, Debug)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// CPUs this process may use.
    pub cpus: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Load average of the last minute.
    pub load: f64,
    /// The source tree's commit, marked when there are changes.
    pub commit: String,
}

impl Machine {
    /// This machine, now.
    pub fn observe() -> Self {
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cpus: CpuList::usable().as_slice().len(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN),
            commit: commit(),
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        format!(
            "{} ({} CPUs), Linux {}, load average {:.2}, commit {}",
            self.cpu, self.cpus, self.kernel, self.load, self.commit
        )
    }
}

/// Refuses CPUs that do not exist or are named twice: threads that share one measure the scheduler.
pub fn check_cpus(wanted: &[u16]) -> Result<Vec<CpuId>> {
    let usable = CpuList::usable();
    let cpus: Vec<_> = wanted.iter().copied().map(CpuId).collect();
    for (i, cpu) in cpus.iter().enumerate() {
        if !usable.as_slice().contains(cpu) {
            return Err(format!("CPU {cpu} cannot be used; this process may use {usable}").into());
        }
        if cpus[..i].contains(cpu) {
            return Err(format!("CPU {cpu} is named twice; each thread needs a CPU of its own").into());
        }
    }
    Ok(cpus)
}

/// Binds the calling thread.
pub fn pin(cpu: CpuId) -> Result<()> {
    match core_affinity::set_for_current(core_affinity::CoreId { id: cpu.0.into() }) {
        true => Ok(()),
        false => Err(format!("cannot bind a thread to CPU {cpu}").into()),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["--no-optional-locks", "-C", env!("CARGO_MANIFEST_DIR")])
            .args(arguments)
            .output();
        output.ok().filter(|o| o.status.success()).map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
    };
    match (git(&["rev-parse", "--short=12", "HEAD"]), git(&["status", "--porcelain"])) {
        (Some(head), Some(changes)) => format!("{head}{}", if changes.is_empty() { "" } else { "+changes" }),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_checked_before_anything_is_measured() {
        let first = CpuList::usable().as_slice()[0].0;
        assert_eq!(check_cpus(&[first]).unwrap(), [CpuId(first)]);
        assert!(check_cpus(&[first, first]).unwrap_err().to_string().contains("named twice"));
        assert!(check_cpus(&[u16::MAX]).unwrap_err().to_string().contains("cannot be used"));
    }

    #[test]
    fn the_banner_is_filled_in() {
        let machine = Machine::observe();
        assert!(machine.cpus > 0 && machine.load.is_finite() && !machine.kernel.is_empty());
        assert!(machine.describe().contains(&machine.kernel));
    }
}
