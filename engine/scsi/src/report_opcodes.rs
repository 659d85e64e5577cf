//! REPORT SUPPORTED OPERATION CODES (SPC-4): the command table, as the initiator may read it.

use crate::plan::Plan;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::table::{self, COMMANDS, Call, Command};
use crate::unit::LogicalUnit;

const RCTD: u8 = 7;
/// A command timeouts descriptor follows; the bit stands in different places of the two formats.
const CTDP_ALL: u8 = 0x02;
const CTDP_ONE: u8 = 0x80;
const SERVACTV: u8 = 0x01;
/// SUPPORT of the one-command format.
const NOT_SUPPORTED: u8 = 0x01;
const AS_IN_THE_STANDARD: u8 = 0x03;

pub(crate) fn decide(call: &mut Call<'_>) -> Result<Plan, Sense> {
    let cdb = call.cdb;
    let lu = call.view.lu;
    let (opcode, service_action) = (cdb.byte(3), cdb.u16(4));
    let timeouts = cdb.bit(2, RCTD);
    let mut reply = Reply::new(call.reply);
    match cdb.byte(2) & 0x07 {
        0 => all(lu, timeouts, &mut reply),
        options @ 1..=3 => one(requested(lu, options, opcode, service_action)?, timeouts, &mut reply),
        _ => return Err(Sense::cdb_bit(2, 2)),
    }
    Ok(reply.finish(cdb.length32(6)))
}

/// The command that REPORTING OPTIONS names: by operation code (001b), which must have no service actions; by service
/// action (010b), which it must have; or by whichever it has (011b).
fn requested(lu: &LogicalUnit, options: u8, opcode: u8, action: u16) -> Result<Option<&'static Command>, Sense> {
    let rows = table::rows(opcode);
    let has_actions = rows.iter().any(|command| command.service_action.is_some());
    match options {
        1 if has_actions => return Err(Sense::cdb_byte(3)),
        2 if !rows.is_empty() && !has_actions => return Err(Sense::cdb_byte(3)),
        3 if !has_actions && action != 0 => return Ok(None),
        _ => {}
    }
    let wanted = has_actions.then_some(action);
    Ok(rows.iter().find(|command| command.service_action == wanted && command.exists_on(lu)))
}

/// The all-commands format: a descriptor for each.
fn all(lu: &LogicalUnit, timeouts: bool, reply: &mut Reply<'_>) {
    reply.zeros(4);
    for command in COMMANDS.iter().filter(|command| command.exists_on(lu)) {
        let servactv = if command.service_action.is_some() { SERVACTV } else { 0 };
        let ctdp = if timeouts { CTDP_ALL } else { 0 };
        reply.bytes(&[command.opcode(), 0]);
        reply.u16(command.service_action.unwrap_or(0));
        reply.bytes(&[0, ctdp | servactv]);
        reply.u16(length(command));
        if timeouts {
            timeouts_descriptor(reply);
        }
    }
    reply.patch_u32(0, reply.len().saturating_sub(4));
}

/// The one-command format: the CDB usage data of one command.
fn one(command: Option<&Command>, timeouts: bool, reply: &mut Reply<'_>) {
    let Some(command) = command else {
        return reply.bytes(&[0, NOT_SUPPORTED, 0, 0]);
    };
    reply.bytes(&[0, AS_IN_THE_STANDARD | if timeouts { CTDP_ONE } else { 0 }]);
    reply.u16(length(command));
    reply.bytes(command.usage);
    if timeouts {
        timeouts_descriptor(reply);
    }
}

fn length(command: &Command) -> u16 {
    u16::try_from(command.cdb_length()).unwrap_or(u16::MAX)
}

/// A command timeouts descriptor that says that no timeouts are known.
fn timeouts_descriptor(reply: &mut Reply<'_>) {
    reply.u16(0x000A);
    reply.zeros(10);
}
