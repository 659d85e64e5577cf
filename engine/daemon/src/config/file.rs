//! Reading and writing the file.

use super::ConfigError;
use crate::limits::MAX_CONFIG_BYTES;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// One method call of a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Method name.
    pub method: String,
    /// Its parameters, as written.
    #[serde(default)]
    pub params: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    subsystems: Vec<Subsystem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subsystem {
    #[serde(rename = "subsystem")]
    _name: String,
    /// SPDK writes null for a subsystem without configuration.
    config: Option<Vec<Entry>>,
}

/// SPDK may write calls that belong together as an array (`with_batches`).
#[derive(Deserialize)]
struct Entry(Box<RawValue>);

/// Reads a configuration file.
///
/// # Errors
/// The file cannot be read, is too long, or is not of the form described in [`crate::config`].
pub fn read(path: &Path) -> Result<Vec<Call>, ConfigError> {
    let failed = |reason: String| ConfigError { file: path.display().to_string(), method: None, reason };
    let mut text = String::new();
    let opened = File::open(path).and_then(|file| file.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text));
    opened.map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > MAX_CONFIG_BYTES {
        return Err(failed(format!("longer than {MAX_CONFIG_BYTES} bytes")));
    }
    let calls = parse(&text).map_err(|error| failed(error.to_string()))?;
    Ok(calls)
}

fn parse(text: &str) -> serde_json::Result<Vec<Call>> {
    let document: Document = serde_json::from_str(text)?;
    let mut calls = Vec::new();
    for Entry(raw) in document.subsystems.into_iter().filter_map(|subsystem| subsystem.config).flatten() {
        if raw.get().starts_with('[') {
            calls.extend(serde_json::from_str::<Vec<Call>>(raw.get())?);
        } else {
            calls.push(serde_json::from_str(raw.get())?);
        }
    }
    Ok(calls)
}

/// Writes a configuration so that the file is at all times either the old or the new one: to a temporary file beside
/// it, synced, renamed, and the directory synced. The file may hold CHAP secrets and is readable by its owner alone.
///
/// # Errors
/// The system's; the old file is then untouched.
pub fn write(path: &Path, document: &Value) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| io::Error::from_raw_os_error(libc::EISDIR))?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = directory.join(temporary);
    let written = write_synced(&temporary, document).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&temporary);
        return written;
    }
    File::open(directory)?.sync_all()
}

fn write_synced(path: &Path, document: &Value) -> io::Result<()> {
    // Left over from a process of this number that died; never followed if it is a link.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(format!("{document:#}\n").as_bytes())?;
    file.sync_all()
}
