//! What is connected, and to what.

use crate::context::Control;
use crate::engine::{ConnectionInfo, ConnectionState};
use crate::model::{Model, TargetNode};
use rpc::{MethodTable, Phase};
use serde_json::{Value, json};

pub fn register(table: &mut MethodTable<Control>) {
    table.add_bare("iscsi_get_connections", Phase::Runtime, |ctx| {
        Ok(ctx.engine().connections().iter().map(describe).collect())
    });
    table.add_bare("scsi_get_devices", Phase::Runtime, |ctx| Ok(scsi_devices(&ctx.model())));
    table.add_bare("iscsi_get_stats", Phase::Runtime, |ctx| Ok(stats(&ctx.engine().connections())));
}

fn describe(connection: &ConnectionInfo) -> Value {
    // SPDK's short name is what follows the first colon.
    let short = connection.target.split_once(':').map_or("", |(_, short)| short);
    json!({
        "id": connection.id,
        "cid": connection.cid,
        // SPDK's −1 of 16 bits stands for "not logged in yet".
        "tsih": connection.tsih.unwrap_or(u16::MAX),
        "state": state_name(connection.state),
        "login_phase": connection.login_phase,
        "initiator_addr": connection.initiator.ip().to_string(),
        "target_addr": connection.local.ip().to_string(),
        "target_node_name": short,
        "thread_name": format!("iscsi_poll_group_{}", connection.core),
        // From here on ours.
        "initiator_name": connection.initiator_name,
        "target_name": connection.target,
        "pg_tag": connection.pg_tag,
        "transport": if connection.iser { "iser" } else { "tcp" },
    })
}

/// A target is one SCSI device.
fn scsi_devices(model: &Model) -> Value {
    let one = |(id, target): (usize, &TargetNode)| json!({"id": id, "device_name": target.name});
    model.targets.iter().enumerate().map(one).collect()
}

fn state_name(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Running => "running",
        ConnectionState::Exiting => "exiting",
    }
}

fn stats(connections: &[ConnectionInfo]) -> Value {
    let count = |state| connections.iter().filter(|connection| connection.state == state).count();
    json!({
        "invalid": 0,
        "running": count(ConnectionState::Running),
        "exiting": count(ConnectionState::Exiting),
        "exited": 0,
    })
}
