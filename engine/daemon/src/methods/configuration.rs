//! Saving and loading configurations on the server's side. Both methods are ours; SPDK's clients save and load by
//! `framework_get_config` and by calling the methods in the file.

use crate::config;
use crate::context::Control;
use rpc::{Context, MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;

pub fn register(table: &mut MethodTable<Control>) {
    table.add("save_config", Phase::Runtime, save);
    table.add("load_config", Phase::Both, load);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Save {
    /// Where to; the configuration is the result if absent.
    #[serde(default)]
    filename: Option<PathBuf>,
}

fn save(ctx: &Control, params: Save) -> Result<Value, RpcError> {
    let document = config::document(&ctx.model());
    let Some(path) = params.filename else { return Ok(document) };
    config::write(&path, &document).map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        RpcError::errno(errno, path.display().to_string())
    })?;
    Ok(true.into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    filename: PathBuf,
}

/// Calls what the file says. On a configuration that is not empty this adds to it.
fn load(ctx: &Control, params: Load) -> Result<Value, RpcError> {
    let refuse = |error: config::ConfigError| RpcError::invalid_params(format!("filename: {error}"));
    let calls = config::read(&params.filename).map_err(refuse)?;
    // The table is cheap to build, and a handler does not see the one it was called from.
    let table = super::table();
    let when = if ctx.is_running() { config::Apply::Runtime } else { config::Apply::All };
    config::apply(&table, ctx, &calls, when).map_err(|error| refuse(error.in_file(&params.filename)))?;
    Ok(true.into())
}
