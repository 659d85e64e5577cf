//! Checks of a Login Request's header (RFC 7143 §11.12).
use super::fault::Fault;
use crate::limits::LOGIN_SEGMENT_MAX;
use crate::wire::{Bhs, LoginRequest, LoginStatus, Stage};
use primitives::Serial;

/// The only protocol version there is (RFC 7143 §11.12.4).
pub(super) const VERSION: u8 = 0;

/// What all requests of one login phase have in common, taken from the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub isid: [u8; 6],
    pub tsih: u16,
    pub cid: u16,
    pub itt: u32,
    pub cmd_sn: Serial,
    /// The stage the login began in; `None` when it was none.
    pub stage: Option<Stage>,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The stage the request belongs to.
    pub stage: Stage,
    /// The stage to go to, if the T bit was set.
    pub next: Option<Stage>,
    /// The C bit.
    pub cont: bool,
}

impl Identity {
    pub(super) const fn of(request: &LoginRequest) -> Self {
        let LoginRequest { isid, tsih, cid, itt, cmd_sn, csg, .. } = *request;
        Self { isid, tsih, cid, itt, cmd_sn, stage: Stage::from_bits(csg) }
    }

    /// ISID, TSIH, CID and ITT must not change (RFC 7143 §11.12.5-7, §6.3).
    pub(super) fn check(&self, request: &LoginRequest) -> Result<(), Fault> {
        let now = Self::of(request);
        if (now.isid, now.tsih, now.cid, now.itt) == (self.isid, self.tsih, self.cid, self.itt) {
            Ok(())
        } else {
            Err(Fault::initiator("ISID, TSIH, CID or ITT changed during login"))
        }
    }
}

/// Checks what one request can be checked for by itself.
pub(super) fn check(bhs: &Bhs, request: &LoginRequest, data: &[u8]) -> Result<Asked, Fault> {
    if request.version_min > VERSION {
        return Err(Fault::new(LoginStatus::UNSUPPORTED_VERSION, "no common protocol version"));
    }
    if bhs.total_ahs_length() != 0 {
        return Err(Fault::initiator("a Login Request with AHS"));
    }
    if usize::try_from(bhs.data_segment_length()) != Ok(data.len()) {
        return Err(Fault::initiator("DataSegmentLength is not the length of the data"));
    }
    if data.len() > LOGIN_SEGMENT_MAX {
        return Err(Fault::initiator("a Login Request above the default MaxRecvDataSegmentLength"));
    }
    if request.cont && request.transit {
        return Err(Fault::initiator("T and C bits together"));
    }
    // Nothing would come of it, and it could go on for ever.
    if request.cont && data.is_empty() {
        return Err(Fault::initiator("C bit without data"));
    }
    let stage = match Stage::from_bits(request.csg) {
        Some(stage @ (Stage::Security | Stage::Operational)) => stage,
        _ => return Err(Fault::initiator("CSG is not a stage of login")),
    };
    let next = if request.transit { Some(next_stage(stage, request.nsg)?) } else { None };
    Ok(Asked { stage, next, cont: request.cont })
}

fn next_stage(stage: Stage, nsg: u8) -> Result<Stage, Fault> {
    let next = Stage::from_bits(nsg).ok_or_else(|| Fault::initiator("NSG is reserved"))?;
    if next > stage { Ok(next) } else { Err(Fault::initiator("NSG does not follow CSG")) }
}
