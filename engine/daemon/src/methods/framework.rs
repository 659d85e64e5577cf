//! The framework's state: initialisation, subsystems, reactors.

use crate::config::{SUBSYSTEMS, subsystem_config};
use crate::context::Control;
use crate::engine::CoreInfo;
use rpc::{MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::{Value, json};

/// Nanoseconds: what all times in ticks are counted in.
pub const TICK_RATE: u64 = 1_000_000_000;

pub fn register(table: &mut MethodTable<Control>) {
    table.add_bare("framework_start_init", Phase::Startup, start_init);
    table.add_bare("framework_wait_init", Phase::Both, |ctx| {
        ctx.wait_running();
        Ok(true.into())
    });
    table.add_bare("framework_get_subsystems", Phase::Runtime, |_| Ok(subsystems()));
    table.add("framework_get_config", Phase::Runtime, get_config);
    table.add_bare("framework_get_reactors", Phase::Runtime, |ctx| Ok(reactors(&ctx.engine().cores())));
    table.add_bare("framework_get_scheduler", Phase::Both, |ctx| Ok(scheduler(&ctx.engine().cores())));
}

fn start_init(ctx: &Control) -> Result<Value, RpcError> {
    ctx.change(|_, _| Ok::<_, RpcError>(()))?;
    ctx.set_running();
    Ok(true.into())
}

fn subsystems() -> Value {
    SUBSYSTEMS.iter().map(|(name, depends_on)| json!({"subsystem": name, "depends_on": depends_on})).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetConfig {
    name: String,
    /// Batches are never written; accepted because clients send it.
    #[serde(default, rename = "with_batches")]
    _with_batches: bool,
}

fn get_config(ctx: &Control, params: GetConfig) -> Result<Value, RpcError> {
    match subsystem_config(&ctx.model(), &params.name) {
        Some(calls) => Ok(calls.into()),
        None => Err(RpcError::invalid_params(format!("name: Subsystem '{}' not found", params.name))),
    }
}

fn reactors(cores: &[CoreInfo]) -> Value {
    let one = |core: &CoreInfo| {
        let name = thread_name(core);
        json!({
            "lcore": core.cpu,
            "numa_id": 0,
            "tid": core.tid,
            "busy": core.busy,
            "idle": core.idle,
            "in_interrupt": false,
            "irq": 0,
            "sys": 0,
            "usr": core.busy,
            "lw_threads": [{
                "name": name,
                "id": u64::from(core.core) + 1,
                "cpumask": cpu_mask(core.cpu),
                "elapsed": core.busy + core.idle,
            }],
        })
    };
    json!({
        "tick_rate": TICK_RATE,
        "pid": std::process::id(),
        "reactors": cores.iter().map(one).collect::<Vec<_>>(),
    })
}

fn scheduler(cores: &[CoreInfo]) -> Value {
    json!({
        "scheduler_name": "static",
        "scheduler_period": 0,
        "isolated_core_mask": "0x0",
        "scheduling_core": cores.first().map_or(0, |core| core.cpu),
    })
}

/// SPDK's name for what runs on a core.
pub fn thread_name(core: &CoreInfo) -> String {
    format!("iscsi_poll_group_{}", core.core)
}

/// One CPU as a hexadecimal mask without prefix, as SPDK prints it.
pub fn cpu_mask(cpu: u32) -> String {
    let (digits, bit) = (cpu / 4, cpu % 4);
    format!("{:x}{}", 1 << bit, "0".repeat(digits as usize))
}
