//! Options of the block layer, and examination, which has nothing to do here.

use super::params::ByName;
use crate::context::Control;
use crate::model::BdevOptions;
use rpc::{MethodTable, Phase, RpcError};
use serde_json::Value;

pub fn register(table: &mut MethodTable<Control>) {
    table.add("bdev_set_options", Phase::Startup, set_options);
    table.add_bare("bdev_wait_for_examine", Phase::Runtime, |_| Ok(true.into()));
    table.add("bdev_examine", Phase::Both, |_: &Control, _: ByName| Ok(true.into()));
}

fn set_options(ctx: &Control, params: BdevOptions) -> Result<Value, RpcError> {
    ctx.change(|model, _| {
        model.bdev_options = params;
        Ok::<_, RpcError>(true.into())
    })
}
