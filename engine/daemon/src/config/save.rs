//! From the model to method calls.

use crate::model::{AuthPolicy, Model, PortalGroup, TargetNode};
use serde_json::{Value, json};

/// Subsystems and those they depend on, dependencies first.
pub const SUBSYSTEMS: [(&str, &[&str]); 3] = [("bdev", &[]), ("scsi", &["bdev"]), ("iscsi", &["scsi"])];

/// The whole configuration.
pub fn document(model: &Model) -> Value {
    let subsystem = |name: &str| json!({"subsystem": name, "config": subsystem_config(model, name)});
    json!({"subsystems": SUBSYSTEMS.iter().map(|(name, _)| subsystem(name)).collect::<Vec<_>>()})
}

/// The calls that make one subsystem what it is; `None` if there is no such subsystem.
pub fn subsystem_config(model: &Model, name: &str) -> Option<Vec<Value>> {
    match name {
        "bdev" => Some(bdev_config(model)),
        "scsi" => Some(vec![]),
        "iscsi" => Some(iscsi_config(model)),
        _ => None,
    }
}

fn call(method: &str, params: impl serde::Serialize) -> Value {
    json!({"method": method, "params": params})
}

fn bdev_config(model: &Model) -> Vec<Value> {
    let mut calls = vec![call("bdev_set_options", model.bdev_options)];
    for bdev in &model.bdevs {
        calls.push(call(bdev.create_method(), bdev));
        calls.extend(rate_limits(model, bdev.name()));
    }
    calls.push(json!({"method": "bdev_wait_for_examine"}));
    calls
}

fn rate_limits(model: &Model, bdev: &str) -> Option<Value> {
    let mut params = json!({"name": bdev});
    params.as_object_mut()?.extend(model.rate_limits.get(bdev)?.given());
    Some(call("bdev_set_qos_limit", params))
}

/// Authentication groups come before what refers to them, unlike in SPDK's files, which load as well.
fn iscsi_config(model: &Model) -> Vec<Value> {
    let mut calls = vec![call("iscsi_set_options", &model.options)];
    calls.extend(model.auth_groups.iter().map(|group| call("iscsi_create_auth_group", group)));
    for group in &model.portal_groups {
        calls.push(call("iscsi_create_portal_group", group));
        calls.extend(portal_auth(model, group));
    }
    calls.extend(model.initiator_groups.iter().map(|group| call("iscsi_create_initiator_group", group)));
    for target in &model.targets {
        calls.push(call("iscsi_create_target_node", describe_target(target)));
        calls.extend(redirects(target));
    }
    calls
}

/// A group starts with the global policy; only another one needs a call. (SPDK does not save it.)
fn portal_auth(model: &Model, group: &PortalGroup) -> Option<Value> {
    if group.auth == model.options.discovery() {
        return None;
    }
    let AuthPolicy { disable_chap, require_chap, mutual_chap, chap_group } = group.auth;
    let params = json!({
        "tag": group.tag,
        "disable_chap": disable_chap,
        "require_chap": require_chap,
        "mutual_chap": mutual_chap,
        "chap_group": chap_group,
    });
    Some(call("iscsi_portal_group_set_auth", params))
}

/// (SPDK does not save these either.)
fn redirects(target: &TargetNode) -> impl Iterator<Item = Value> {
    target.redirects.iter().map(|redirect| {
        let params = json!({
            "name": target.name,
            "pg_tag": redirect.pg_tag,
            "redirect_host": redirect.to.ip().to_string(),
            "redirect_port": redirect.to.port().to_string(),
        });
        call("iscsi_target_node_set_redirect", params)
    })
}

/// A target as `iscsi_get_target_nodes` shows it, which is also how it is created.
pub fn describe_target(target: &TargetNode) -> Value {
    let mut value = json!({"name": target.name});
    if !target.alias.is_empty() {
        value["alias_name"] = json!(target.alias);
    }
    value["pg_ig_maps"] = json!(target.maps);
    value["luns"] = json!(target.luns);
    value["queue_depth"] = json!(target.queue_depth);
    value["disable_chap"] = json!(target.auth.disable_chap);
    value["require_chap"] = json!(target.auth.require_chap);
    value["mutual_chap"] = json!(target.auth.mutual_chap);
    value["chap_group"] = json!(target.auth.chap_group);
    value["header_digest"] = json!(target.header_digest);
    value["data_digest"] = json!(target.data_digest);
    value
}
