//! Buffer pools. Each core has its own; the smallest buffers are SPDK's small pool, all others its large one.

use crate::context::Control;
use crate::engine::{CoreInfo, PoolInfo};
use rpc::{MethodTable, Phase};
use serde_json::{Value, json};

pub fn register(table: &mut MethodTable<Control>) {
    table.add_bare("iobuf_get_stats", Phase::Runtime, |ctx| {
        Ok(ctx.engine().cores().iter().map(core_pools).collect::<Value>())
    });
}

fn core_pools(core: &CoreInfo) -> Value {
    let smallest = core.pools.iter().map(|pool| pool.buffer_bytes).min();
    let sum = |small: bool| {
        let of = |count: fn(&PoolInfo) -> u64| -> u64 {
            core.pools.iter().filter(|pool| (Some(pool.buffer_bytes) == smallest) == small).map(count).sum()
        };
        json!({
            "cache": of(|pool| pool.taken),
            "main": 0,
            "retry": of(|pool| pool.exhausted),
            "cache_size": of(|pool| pool.total),
        })
    };
    json!({"module": super::framework::thread_name(core), "small_pool": sum(true), "large_pool": sum(false)})
}
