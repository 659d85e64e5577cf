//! The process itself: `rpc_get_methods`, versions, signals.

use crate::context::Control;
use rpc::{Context, MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::{Value, json};

/// The SPDK release whose methods these are.
const SPDK_RELEASE: (u32, u32) = (26, 9);

pub fn register(table: &mut MethodTable<Control>) {
    table.add("rpc_get_methods", Phase::Both, get_methods);
    table.add_bare("spdk_get_version", Phase::Both, |_| Ok(spdk_version()));
    // Ours.
    table.add_bare("isere_get_version", Phase::Both, |_| Ok(json!({"version": env!("CARGO_PKG_VERSION")})));
    table.add("spdk_kill_instance", Phase::Both, kill_instance);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct GetMethods {
    /// Only those that may be called now.
    current: bool,
    /// There are no aliases; accepted because clients send it.
    #[serde(rename = "include_aliases")]
    _include_aliases: bool,
}

fn get_methods(ctx: &Control, params: GetMethods) -> Result<Value, RpcError> {
    let callable = |phase: Phase| !params.current || phase.allows(ctx.is_running());
    Ok(ctx.catalog().iter().filter(|method| callable(method.phase)).map(|method| method.name).collect())
}

fn spdk_version() -> Value {
    let (major, minor) = SPDK_RELEASE;
    let ours = env!("CARGO_PKG_VERSION");
    json!({
        "version": format!("SPDK v{major}.{minor:02} (isere v{ours})"),
        "fields": {"major": major, "minor": minor, "patch": 0, "suffix": format!("-isere-{ours}")},
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KillInstance {
    sig_name: Signal,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Signal {
    SigInt,
    SigTerm,
    SigQuit,
    SigHup,
    SigKill,
    SigUsr1,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Self::SigInt => libc::SIGINT,
            Self::SigTerm => libc::SIGTERM,
            Self::SigQuit => libc::SIGQUIT,
            Self::SigHup => libc::SIGHUP,
            Self::SigKill => libc::SIGKILL,
            Self::SigUsr1 => libc::SIGUSR1,
        }
    }
}

fn kill_instance(_: &Control, params: KillInstance) -> Result<Value, RpcError> {
    // SAFETY: kill(2) has no memory effects; the process is our own.
    if unsafe { libc::kill(libc::getpid(), params.sig_name.number()) } != 0 {
        return Err(RpcError::internal(std::io::Error::last_os_error().to_string()));
    }
    Ok(true.into())
}
