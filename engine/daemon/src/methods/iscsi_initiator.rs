//! Initiator groups.

use super::params::ByTag;
use crate::context::Control;
use crate::limits::MAX_INITIATOR_GROUPS;
use crate::model::{InitiatorGroup, Model, ModelError};
use rpc::{MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::{Value, json};

pub fn register(table: &mut MethodTable<Control>) {
    table.add("iscsi_create_initiator_group", Phase::Runtime, create);
    table.add("iscsi_delete_initiator_group", Phase::Runtime, delete);
    table.add("iscsi_initiator_group_add_initiators", Phase::Runtime, add);
    table.add("iscsi_initiator_group_remove_initiators", Phase::Runtime, remove);
    table.add_bare("iscsi_get_initiator_groups", Phase::Runtime, |ctx| Ok(json!(ctx.model().initiator_groups)));
}

fn create(ctx: &Control, params: InitiatorGroup) -> Result<Value, RpcError> {
    let group = params.normalise()?;
    ctx.change(|model, _| {
        if model.initiator_group(group.tag).is_some() {
            return Err(ModelError::invalid("tag", format!("initiator group {} exists already", group.tag)));
        }
        if model.initiator_groups.len() >= MAX_INITIATOR_GROUPS {
            return Err(ModelError::invalid(
                "tag",
                format!("expected at most {MAX_INITIATOR_GROUPS} initiator groups"),
            ));
        }
        model.initiator_groups.push(group);
        Ok(true.into())
    })
}

fn find(model: &mut Model, tag: i32) -> Result<&mut InitiatorGroup, ModelError> {
    let found = model.initiator_groups.iter_mut().find(|group| group.tag == tag);
    found.ok_or_else(|| ModelError::invalid("tag", format!("there is no initiator group {tag}")))
}

fn delete(ctx: &Control, params: ByTag) -> Result<Value, RpcError> {
    let tag = params.tag;
    ctx.change(|model, _| {
        find(model, tag)?;
        model.initiator_groups.retain(|group| group.tag != tag);
        for target in &mut model.targets {
            target.retain_maps(|map| map.ig_tag != tag);
        }
        Ok::<_, ModelError>(true.into())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    tag: i32,
    #[serde(default)]
    initiators: Vec<String>,
    #[serde(default)]
    netmasks: Vec<String>,
}

fn add(ctx: &Control, params: Members) -> Result<Value, RpcError> {
    ctx.change(|model, _| {
        let group = find(model, params.tag)?;
        group.initiators.extend(params.initiators);
        group.netmasks.extend(params.netmasks);
        *group = group.clone().normalise()?;
        Ok::<_, ModelError>(true.into())
    })
}

fn remove(ctx: &Control, params: Members) -> Result<Value, RpcError> {
    ctx.change(|model, _| {
        let group = find(model, params.tag)?;
        take("initiators", &mut group.initiators, &params.initiators)?;
        take("netmasks", &mut group.netmasks, &params.netmasks)?;
        Ok::<_, ModelError>(true.into())
    })
}

fn take(field: &str, from: &mut Vec<String>, what: &[String]) -> Result<(), ModelError> {
    for text in what {
        let Some(at) = from.iter().position(|member| member == text) else {
            return Err(ModelError::invalid(field, format!("{text:?} is not in the group")));
        };
        from.remove(at);
    }
    Ok(())
}
