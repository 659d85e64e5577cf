//! Status codes and how a command ended (SAM-5).

use crate::sense::Sense;

/// SCSI status byte (SAM-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Completed without error.
    Good = 0x00,
    /// Completed with sense data.
    CheckCondition = 0x02,
    /// PRE-FETCH: all the blocks fit.
    ConditionMet = 0x04,
    /// The unit cannot take the command now; the initiator should try again.
    Busy = 0x08,
    /// Another I_T nexus holds a reservation that forbids the command.
    ReservationConflict = 0x18,
    /// No room for another task.
    TaskSetFull = 0x28,
    /// An auto contingent allegiance is in effect (never reported: NormACA is 0).
    AcaActive = 0x30,
    /// Aborted by another I_T nexus while the Control mode page says TAS=1.
    TaskAborted = 0x40,
}

/// How a command ended: its status and, with CHECK CONDITION, the sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Status byte.
    pub status: Status,
    /// Sense data; present exactly when the status is CHECK CONDITION.
    pub sense: Option<Sense>,
}

impl Outcome {
    /// GOOD.
    pub const GOOD: Self = Self::status(Status::Good);
    /// CONDITION MET.
    pub const CONDITION_MET: Self = Self::status(Status::ConditionMet);
    /// BUSY.
    pub const BUSY: Self = Self::status(Status::Busy);
    /// RESERVATION CONFLICT.
    pub const RESERVATION_CONFLICT: Self = Self::status(Status::ReservationConflict);

    /// A status that carries no sense.
    #[must_use]
    pub const fn status(status: Status) -> Self {
        Self { status, sense: None }
    }

    /// CHECK CONDITION with `sense`.
    #[must_use]
    pub const fn check(sense: Sense) -> Self {
        Self { status: Status::CheckCondition, sense: Some(sense) }
    }

    /// GOOD or CONDITION MET.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        matches!(self.status, Status::Good | Status::ConditionMet)
    }
}

impl From<Sense> for Outcome {
    fn from(sense: Sense) -> Self {
        Self::check(sense)
    }
}
