//! Operational negotiation (RFC 7143 §6.2, §13; RFC 7144 §7; RFC 7145 §6): what both sides end up with.
//!
//! [`Responder`] is the target's side: it answers what is offered and no more, but for the declarations a target owes.
//! [`Proposer`] is the initiator's side: it writes the offers and checks the answers.
use crate::keys::Key;

mod parameters;
mod policy;
mod proposer;
mod responder;

#[cfg(test)]
mod tests;

pub use parameters::Parameters;
pub use policy::{DigestPolicy, Policy, TaskReporting, Transport};
pub use proposer::Proposer;
pub use responder::{Offer, Responder};

/// Why a negotiation cannot succeed. Each ends a login with "initiator error" (RFC 7143 §6.3, §7.12) and a
/// negotiation in full-feature phase with a Reject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NegotiationError {
    /// The key was offered before (RFC 7143 §6.3).
    Duplicate(Key),
    /// Reject, Irrelevant or NotUnderstood as a proposal (RFC 7143 §6.2).
    ReservedWord(Key),
    /// The key may not be sent by this side, in this stage.
    NotAllowed(Key),
    /// Our answers would exceed [`limits::ANSWER_MAX`](crate::limits::ANSWER_MAX).
    AnswerTooLong,
    /// The target demands this digest and the initiator did not agree to it.
    DigestRequired(Key),
    /// A normal session over iSER without RDMAExtensions=Yes (RFC 7145 §6.3).
    RdmaExtensionsRequired,
    /// The peer answered with a value that the rules of the key do not admit, or that was not offered.
    Inadmissible(Key),
}

impl NegotiationError {
    /// A sentence for the log.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Duplicate(_) => "a key was offered twice",
            Self::ReservedWord(_) => "a reserved word was proposed as a value",
            Self::NotAllowed(_) => "a key was sent where it is not allowed",
            Self::AnswerTooLong => "the answers do not fit the limit",
            Self::DigestRequired(_) => "a digest this target demands was not negotiated",
            Self::RdmaExtensionsRequired => "RDMAExtensions=Yes was not negotiated over iSER",
            Self::Inadmissible(_) => "an answer is not admissible",
        }
    }
}

impl From<crate::text::Overflow> for NegotiationError {
    fn from(_: crate::text::Overflow) -> Self {
        Self::AnswerTooLong
    }
}
