//! Events.

use crate::context::Control;
use rpc::{MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::{Value, json};

/// A block device was created.
pub const BDEV_REGISTER: &str = "bdev_register";
/// A block device was deleted.
pub const BDEV_UNREGISTER: &str = "bdev_unregister";
/// A block device has another size.
pub const BDEV_RESIZE: &str = "bdev_resize";

pub fn register(table: &mut MethodTable<Control>) {
    table.add_bare("notify_get_types", Phase::Runtime, |_| Ok(json!([BDEV_REGISTER, BDEV_UNREGISTER, BDEV_RESIZE])));
    table.add("notify_get_notifications", Phase::Runtime, get_notifications);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetNotifications {
    /// First event wanted.
    #[serde(default)]
    id: u64,
    /// Most events wanted.
    #[serde(default = "all")]
    max: u64,
}

fn all() -> u64 {
    u64::MAX
}

fn get_notifications(ctx: &Control, params: GetNotifications) -> Result<Value, RpcError> {
    let events = ctx.notifications(params.id, params.max);
    Ok(events.iter().map(|event| json!({"type": event.kind, "ctx": event.what, "id": event.id})).collect())
}
