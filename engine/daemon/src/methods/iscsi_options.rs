//! iSCSI options and discovery authentication.

use crate::context::Control;
use crate::model::{AuthPolicy, ModelError, Options};
use rpc::{MethodTable, Phase, RpcError};
use serde_json::{Value, json};

pub fn register(table: &mut MethodTable<Control>) {
    table.add("iscsi_set_options", Phase::Startup, set_options);
    table.add_bare("iscsi_get_options", Phase::Runtime, |ctx| Ok(json!(ctx.model().options)));
    table.add("iscsi_set_discovery_auth", Phase::Runtime, set_discovery_auth);
}

fn set_options(ctx: &Control, params: Options) -> Result<Value, RpcError> {
    params.check()?;
    ctx.change(|model, _| {
        model.options = params;
        Ok::<_, ModelError>(true.into())
    })
}

fn set_discovery_auth(ctx: &Control, params: AuthPolicy) -> Result<Value, RpcError> {
    params.check()?;
    ctx.change(|model, _| {
        model.options.set_discovery(params);
        Ok::<_, ModelError>(true.into())
    })
}
