//! REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4).

use crate::plan::Plan;
use crate::reply::Reply;
use crate::sense::Sense;
use crate::table::Call;

/// ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET and target resets; no CLEAR ACA, as there is no ACA.
const FUNCTIONS: u8 = 0x80 | 0x40 | 0x10 | 0x08 | 0x02;
/// REPD asks for the extended format.
const REPD: u8 = 7;

pub(crate) fn decide(call: &mut Call<'_>) -> Result<Plan, Sense> {
    let mut reply = Reply::new(call.reply);
    reply.bytes(&[FUNCTIONS, 0, 0, 0]);
    if call.cdb.bit(2, REPD) {
        // Twelve more bytes; no timeouts are known.
        reply.pad_to(16);
        reply.patch_u8(3, 12);
    }
    Ok(reply.finish(call.cdb.length32(6)))
}
