//! Log levels and flags. See [`crate::log`] for what they mean here.

use crate::context::Control;
use crate::log::Level;
use rpc::error::INVALID_PARAMS;
use rpc::{MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::{Value, json};

pub fn register(table: &mut MethodTable<Control>) {
    for name in ["log_get_level", "log_get_print_level"] {
        table.add_bare(name, Phase::Both, |ctx| Ok(json!(ctx.log.level())));
    }
    for name in ["log_set_level", "log_set_print_level"] {
        table.add(name, Phase::Both, set_level);
    }
    table.add_bare("log_get_flags", Phase::Both, |ctx| Ok(json!(ctx.log.flags())));
    table.add("log_set_flag", Phase::Both, |ctx, params| set_flag(ctx, &params, true));
    table.add("log_clear_flag", Phase::Both, |ctx, params| set_flag(ctx, &params, false));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetLevel {
    level: Level,
}

fn set_level(ctx: &Control, params: SetLevel) -> Result<Value, RpcError> {
    ctx.log.set_level(params.level);
    Ok(true.into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flag {
    flag: String,
}

fn set_flag(ctx: &Control, params: &Flag, on: bool) -> Result<Value, RpcError> {
    if ctx.log.set_flag(&params.flag, on) {
        return Ok(true.into());
    }
    Err(RpcError::new(INVALID_PARAMS, "invalid log flag"))
}
