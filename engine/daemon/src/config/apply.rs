//! Replaying the calls of a file.

use super::Call;
use crate::context::Control;
use rpc::{Context, MethodTable, Phase};
use serde_json::value::RawValue;
use std::fmt;

/// What is wrong with a configuration: the file, the method if it got that far, and why. The reason names the field.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file; empty until it is known.
    pub file: String,
    /// The call that failed.
    pub method: Option<String>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [Some(self.file.as_str()).filter(|file| !file.is_empty()), self.method.as_deref()];
        for part in parts.into_iter().flatten() {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// The same, naming the file.
    pub fn in_file(self, path: &std::path::Path) -> Self {
        Self { file: path.display().to_string(), ..self }
    }
}

/// Which calls to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// Those of start-up, then initialise, then the rest.
    All,
    /// The process is running: those of start-up are left out, as SPDK's own loader does.
    Runtime,
}

/// Makes the calls, in the order of the file within each phase. They are rehearsed first, so that a mistake anywhere
/// changes nothing; only what the system refuses (an address in use, a missing file) can still fail half-way.
///
/// # Errors
/// The first call that fails.
pub fn apply(table: &MethodTable<Control>, ctx: &Control, calls: &[Call], which: Apply) -> Result<(), ConfigError> {
    // What is worth a log line is logged by the performance.
    let quiet = tracing::subscriber::NoSubscriber::default();
    tracing::subscriber::with_default(quiet, || make_all(table, &ctx.rehearsal(), calls, which))?;
    make_all(table, ctx, calls, which)
}

fn make_all(table: &MethodTable<Control>, ctx: &Control, calls: &[Call], which: Apply) -> Result<(), ConfigError> {
    let catalog = table.catalog();
    let phase_of = |method: &str| catalog.iter().find(|known| known.name == method).map(|known| known.phase);
    if let Some(call) = calls.iter().find(|call| phase_of(&call.method).is_none() || !is_configuration(&call.method)) {
        return Err(failed(&call.method, "no method that a configuration may call"));
    }
    let early = |call: &&Call| phase_of(&call.method) == Some(Phase::Startup);
    if which == Apply::All {
        for call in calls.iter().filter(early) {
            make(table, ctx, &call.method, call.params.as_deref())?;
        }
        if !ctx.is_running() {
            make(table, ctx, "framework_start_init", None)?;
        }
    }
    for call in calls.iter().filter(|call| !early(call)) {
        make(table, ctx, &call.method, call.params.as_deref())?;
    }
    Ok(())
}

/// A file describes a state. It neither ends the process nor waits, nor does it load or write files.
fn is_configuration(method: &str) -> bool {
    !["spdk_kill_instance", "framework_start_init", "framework_wait_init", "load_config", "save_config"]
        .contains(&method)
}

fn make(
    table: &MethodTable<Control>,
    ctx: &Control,
    method: &str,
    params: Option<&RawValue>,
) -> Result<(), ConfigError> {
    // `"params": null` is the same as none, as over the socket.
    let params = params.filter(|params| params.get() != "null");
    table.call(ctx, method, params).map(drop).map_err(|error| failed(method, &error.message))
}

fn failed(method: &str, reason: &str) -> ConfigError {
    ConfigError { file: String::new(), method: Some(method.to_owned()), reason: reason.to_owned() }
}
