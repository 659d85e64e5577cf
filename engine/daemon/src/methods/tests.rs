//! The methods over an engine that does nothing, or fails where a test says so.

use super::table;
use crate::context::Control;
use crate::engine::Rehearsal;
use crate::log::{Level, LogControl};
use rpc::{MethodTable, RpcError};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

mod bdev;
mod iscsi;
mod process;
mod spdk_client;

/// A control plane and its methods.
pub struct Daemon {
    pub ctx: Control,
    table: MethodTable<Control>,
}

impl Daemon {
    /// Before initialisation.
    pub fn new() -> Self {
        Self::on(Rehearsal::default())
    }

    /// Before initialisation, on a given engine.
    pub fn on(engine: Rehearsal) -> Self {
        let ctx = Control::new(Box::new(engine), LogControl::detached(Level::Notice));
        let table = table();
        ctx.set_catalog(table.catalog());
        Self { ctx, table }
    }

    /// After it.
    pub fn running() -> Self {
        let daemon = Self::new();
        daemon.ok("framework_start_init", Value::Null);
        daemon
    }

    pub fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let params = (!params.is_null()).then(|| to_raw_value(&params).unwrap());
        self.table.call(&self.ctx, method, params.as_deref())
    }

    pub fn ok(&self, method: &str, params: Value) -> Value {
        self.call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    pub fn code(&self, method: &str, params: Value) -> i32 {
        self.call(method, params).expect_err(method).code
    }

    /// Asserts a refusal as "Invalid parameters: `start`…".
    pub fn invalid(&self, method: &str, params: Value, start: &str) {
        let error = self.call(method, params.clone()).expect_err(&format!("{method} {params}"));
        assert_eq!(error.code, -32602, "{method} {params}: {error}");
        let detail = error.message.strip_prefix("Invalid parameters: ");
        assert!(detail.is_some_and(|detail| detail.starts_with(start)), "{method} {params}: {error}");
    }

    /// A malloc device `M0`, portal group 1, initiator group 1, and target `disk1` of LUN 0.
    pub fn with_target() -> Self {
        let daemon = Self::running();
        daemon.ok("bdev_malloc_create", json!({"name": "M0", "num_blocks": 128, "block_size": 512}));
        let portals = json!([{"host": "127.0.0.1", "port": "3260"}]);
        daemon.ok("iscsi_create_portal_group", json!({"tag": 1, "portals": portals}));
        daemon.ok("iscsi_create_initiator_group", json!({"tag": 1, "initiators": ["ANY"], "netmasks": ["ANY"]}));
        daemon.ok(
            "iscsi_create_target_node",
            json!({
                "name": "disk1",
                "alias_name": "a disk",
                "pg_ig_maps": [{"pg_tag": 1, "ig_tag": 1}],
                "luns": [{"bdev_name": "M0", "lun_id": 0}],
                "queue_depth": 32,
                "mutual_chap": false,
            }),
        );
        daemon
    }

    pub fn target(&self) -> Value {
        self.ok("iscsi_get_target_nodes", Value::Null)[0].clone()
    }
}
