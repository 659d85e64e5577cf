//! Logging to stderr, with a level that can be changed while running.
//!
//! SPDK has five levels, of which NOTICE and INFO are both "info" here. It also has two thresholds, one for its log
//! and one for stderr; there is one sink here, so both names set and show the same thing.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// Flags that turn on debugging of one part: SPDK's word for it, and the crate.
const FLAGS: [(&str, &str); 9] = [
    ("app", "isere"),
    ("bdev", "bdev"),
    ("iscsi", "iscsi"),
    ("iscsi_tcp", "iscsi_tcp"),
    ("iser", "iser"),
    ("reactor", "reactors"),
    ("rpc", "rpc"),
    ("scsi", "scsi"),
    ("target", "target"),
];

/// Log levels, by SPDK's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// What went wrong.
    Error,
    /// What may be wrong.
    #[value(alias = "warn")]
    Warning,
    /// What happened.
    #[default]
    Notice,
    /// Details of what happened.
    Info,
    /// Details for developers.
    Debug,
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warning => LevelFilter::WARN,
            Self::Notice | Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Changes what is logged. Clones act on the same log.
#[derive(Clone, Debug)]
pub struct LogControl {
    state: Arc<Mutex<State>>,
    handle: Option<reload::Handle<Targets, Registry>>,
}

#[derive(Debug)]
struct State {
    level: Level,
    flags: BTreeMap<&'static str, bool>,
}

impl LogControl {
    /// A control whose changes reach no log.
    pub fn detached(level: Level) -> Self {
        let flags = FLAGS.iter().map(|(name, _)| (*name, false)).collect();
        Self { state: Arc::new(Mutex::new(State { level, flags })), handle: None }
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.lock().level
    }

    /// Sets the level.
    pub fn set_level(&self, level: Level) {
        self.lock().level = level;
        self.apply();
    }

    /// All flags and whether they are on.
    pub fn flags(&self) -> BTreeMap<&'static str, bool> {
        self.lock().flags.clone()
    }

    /// Sets a flag, or all of them (`all`); false if there is none of that name.
    pub fn set_flag(&self, name: &str, on: bool) -> bool {
        let mut known = false;
        for (flag, value) in &mut self.lock().flags {
            if name == "all" || name.eq_ignore_ascii_case(flag) {
                *value = on;
                known = true;
            }
        }
        self.apply();
        known
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn targets(&self) -> Targets {
        let state = self.lock();
        let debugged = FLAGS.iter().filter(|(flag, _)| state.flags[flag]);
        Targets::new()
            .with_default(state.level.filter())
            .with_targets(debugged.map(|(_, part)| (*part, LevelFilter::DEBUG)))
    }

    fn apply(&self) {
        let Some(handle) = &self.handle else { return };
        if let Err(error) = handle.reload(self.targets()) {
            tracing::error!(%error, "cannot change the log level");
        }
    }
}

/// Starts logging to stderr. A second call in one process changes nothing.
pub fn start(level: Level, format: Format) -> LogControl {
    let mut control = LogControl::detached(level);
    let (filter, handle) = reload::Layer::new(control.targets());
    let coloured = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(coloured);
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().boxed(),
    };
    control.handle = Some(handle);
    // Only a second subscriber is an error here, and the first one serves.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    control
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_turn_on_one_part() {
        let log = LogControl::detached(Level::Notice);
        assert!(!log.targets().would_enable("bdev", &tracing::Level::DEBUG));
        assert!(log.set_flag("bdev", true));
        assert!(log.targets().would_enable("bdev::uring", &tracing::Level::DEBUG));
        assert!(!log.targets().would_enable("iscsi", &tracing::Level::DEBUG));
        assert!(!log.set_flag("nonsense", true));
        assert!(log.set_flag("all", false) && log.flags().values().all(|on| !on));
    }

    #[test]
    fn levels_filter() {
        let log = LogControl::detached(Level::Warning);
        assert!(!log.targets().would_enable("x", &tracing::Level::INFO));
        log.set_level(Level::Info);
        assert!(log.targets().would_enable("x", &tracing::Level::INFO));
    }
}
