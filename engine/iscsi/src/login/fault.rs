//! Why a login fails.
use super::Refusal;
use crate::chap::Refused;
use crate::negotiate::NegotiationError;
use crate::text::{Overflow, TextError};
use crate::wire::LoginStatus;

/// A refusal on its way to the initiator, with the reason for our own log.
#[derive(Debug)]
pub(super) struct Fault {
    pub refusal: Refusal,
    pub why: &'static str,
}

impl Fault {
    pub(super) fn new(status: LoginStatus, why: &'static str) -> Self {
        Self { refusal: status.into(), why }
    }

    /// Status 0200: the initiator broke the protocol.
    pub(super) fn initiator(why: &'static str) -> Self {
        Self::new(LoginStatus::INITIATOR_ERROR, why)
    }

    /// Status 0201. The initiator is never told more than this.
    pub(super) fn authentication(why: &'static str) -> Self {
        Self::new(LoginStatus::AUTHENTICATION_FAILURE, why)
    }
}

impl From<TextError> for Fault {
    fn from(error: TextError) -> Self {
        Self::initiator(match error {
            TextError::NoEquals => "text without '='",
            TextError::NoNul => "text without a final NUL",
            TextError::KeyLength => "a key name is empty or too long",
            TextError::KeyCharacter => "a key name has an illegal character",
            TextError::ValueLength => "a value is too long",
            TextError::ValueCharacter => "a value is not UTF-8",
            TextError::TooManyPairs => "too many keys",
            TextError::TooLong => "too much text",
        })
    }
}

impl From<NegotiationError> for Fault {
    fn from(error: NegotiationError) -> Self {
        Self::initiator(error.reason())
    }
}

impl From<Overflow> for Fault {
    fn from(_: Overflow) -> Self {
        Self::initiator(NegotiationError::AnswerTooLong.reason())
    }
}

impl From<Refused> for Fault {
    fn from(_: Refused) -> Self {
        Self::authentication("CHAP failed")
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, why: "access refused" }
    }
}
