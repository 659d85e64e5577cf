//! What runs on the cores. A core of ours is one SPDK thread.

use super::framework::{TICK_RATE, cpu_mask, thread_name};
use crate::context::Control;
use crate::engine::{CoreInfo, PollerInfo};
use rpc::{MethodTable, Phase};
use serde_json::{Value, json};

pub fn register(table: &mut MethodTable<Control>) {
    table.add_bare("thread_get_stats", Phase::Runtime, |ctx| Ok(per_core(ctx, stats)));
    table.add_bare("thread_get_pollers", Phase::Runtime, |ctx| Ok(per_core(ctx, pollers)));
    table.add_bare("thread_get_io_channels", Phase::Runtime, |ctx| Ok(per_core(ctx, io_channels)));
}

fn per_core(ctx: &Control, describe: fn(&CoreInfo) -> Value) -> Value {
    let threads: Vec<Value> = ctx.engine().cores().iter().map(describe).collect();
    json!({"tick_rate": TICK_RATE, "threads": threads})
}

fn stats(core: &CoreInfo) -> Value {
    json!({
        "name": thread_name(core),
        "id": u64::from(core.core) + 1,
        "cpumask": cpu_mask(core.cpu),
        "busy": core.busy,
        "idle": core.idle,
        "active_pollers_count": core.pollers.len(),
        "timed_pollers_count": 0,
        "paused_pollers_count": 0,
    })
}

fn pollers(core: &CoreInfo) -> Value {
    let one = |poller: &PollerInfo| {
        json!({
            "name": poller.name,
            "id": poller.id,
            "state": "waiting",
            "run_count": poller.polls,
            "busy_count": poller.busy_polls,
        })
    };
    json!({
        "name": thread_name(core),
        "id": u64::from(core.core) + 1,
        "active_pollers": core.pollers.iter().map(one).collect::<Vec<_>>(),
        "timed_pollers": [],
        "paused_pollers": [],
    })
}

/// Channels belong to sessions here, and are not listed.
fn io_channels(core: &CoreInfo) -> Value {
    json!({"name": thread_name(core), "io_channels": []})
}
