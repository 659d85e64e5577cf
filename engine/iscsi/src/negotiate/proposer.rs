//! The initiator's side of a negotiation.
use super::responder::in_range;
use super::{DigestPolicy, NegotiationError, Offer, Parameters, Policy, TaskReporting, Transport};
use crate::keys::{Boolean, Extreme, Key, KeySet, Kind, Stage};
use crate::text::{self, Overflow, TextWriter, answer};

/// What is offered for one key.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Flag(bool),
    Number(u32),
    List(&'static str),
}

/// Keys every normal session offers, in this order.
const NORMAL: [Key; 13] = [
    Key::HeaderDigest,
    Key::DataDigest,
    Key::DefaultTime2Wait,
    Key::DefaultTime2Retain,
    Key::ErrorRecoveryLevel,
    Key::InitialR2t,
    Key::ImmediateData,
    Key::MaxBurstLength,
    Key::FirstBurstLength,
    Key::MaxOutstandingR2t,
    Key::MaxConnections,
    Key::DataPduInOrder,
    Key::DataSequenceInOrder,
];

/// Keys a discovery session offers.
const DISCOVERY: [Key; 5] =
    [Key::HeaderDigest, Key::DataDigest, Key::DefaultTime2Wait, Key::DefaultTime2Retain, Key::ErrorRecoveryLevel];

/// Keys a normal session over iSER offers first (RFC 7145 §6.3).
const ISER: [Key; 3] = [Key::RdmaExtensions, Key::TargetRecvDataSegmentLength, Key::InitiatorRecvDataSegmentLength];

/// Negotiates the operational parameters of one login as the initiator. Of a [`Policy`] it reads what concerns an
/// initiator; `max_recv_data_segment_length` is its own.
#[derive(Debug)]
pub struct Proposer {
    transport: Transport,
    discovery: bool,
    policy: Policy,
    parameters: Parameters,
    offered: KeySet,
    answered: KeySet,
}

impl Proposer {
    #[must_use]
    pub fn new(transport: Transport, discovery: bool, policy: Policy) -> Self {
        Self {
            transport,
            discovery,
            policy: policy.legal(),
            parameters: Parameters::default(),
            offered: KeySet::default(),
            answered: KeySet::default(),
        }
    }

    /// Writes all offers and declarations, for the first request of the operational stage.
    ///
    /// # Errors
    /// [`Overflow`] when `out` is too small for them.
    pub fn offer(&mut self, out: &mut TextWriter) -> Result<(), Overflow> {
        let iser = self.transport == Transport::Iser && !self.discovery;
        let first: &[Key] = if iser { &ISER } else { &[] };
        let rest: &[Key] = if self.discovery { &DISCOVERY } else { &NORMAL };
        for &key in first.iter().chain(rest) {
            match self.wish(key) {
                Wish::Flag(yes) => out.push(key.name(), text::yes_no(yes))?,
                Wish::Number(n) => out.push(key.name(), n)?,
                Wish::List(list) => out.push(key.name(), list)?,
            }
            self.offered.insert(key);
        }
        if self.policy.task_reporting != TaskReporting::Rfc3720 && !self.discovery {
            self.offer_extra(Key::TaskReporting, out)?;
        }
        if self.policy.protocol_level > 1 && !self.discovery {
            self.offer_extra(Key::ProtocolLevel, out)?;
        }
        if !iser {
            out.push(Key::MaxRecvDataSegmentLength.name(), self.policy.max_recv_data_segment_length)?;
            self.parameters.initiator_max_recv = self.policy.max_recv_data_segment_length;
        }
        Ok(())
    }

    /// Checks and notes what the target said in one logical text data segment.
    ///
    /// # Errors
    /// [`NegotiationError`]; the initiator then drops the connection (RFC 7143 §6.3).
    pub fn accept(&mut self, said: &[Offer<'_>]) -> Result<(), NegotiationError> {
        for offer in said {
            // A key we do not know is the target's own proposal; it is not agreed to.
            let Some(key) = offer.key else { continue };
            if key.rule().stage == Stage::Any {
                continue;
            }
            if !self.answered.insert(key) {
                return Err(NegotiationError::Duplicate(key));
            }
            let inadmissible = NegotiationError::Inadmissible(key);
            if let Kind::DeclaredNumber(low, high) = key.rule().kind {
                let value = in_range(offer.value, low, high).ok_or(inadmissible)?;
                if key == Key::MaxRecvDataSegmentLength {
                    self.parameters.target_max_recv = value;
                }
                continue;
            }
            if !self.offered.contains(key) {
                return Err(NegotiationError::NotAllowed(key));
            }
            self.take(key, offer.value).ok_or(inadmissible)?;
        }
        Ok(())
    }

    /// Ends the negotiation and gives its outcome.
    ///
    /// # Errors
    /// [`NegotiationError::Inadmissible`] for an offer that was owed an answer,
    /// [`NegotiationError::DigestRequired`], [`NegotiationError::RdmaExtensionsRequired`].
    pub fn finish(&self) -> Result<Parameters, NegotiationError> {
        let unanswered = |key: &&Key| {
            self.offered.contains(**key) && !self.answered.contains(**key) && !self.is_decided_by_offer(**key)
        };
        if let Some(&key) = ISER.iter().chain(&NORMAL).find(unanswered) {
            return Err(NegotiationError::Inadmissible(key));
        }
        if self.offered.contains(Key::RdmaExtensions) && !self.parameters.rdma_extensions {
            return Err(NegotiationError::RdmaExtensionsRequired);
        }
        if self.transport == Transport::Tcp {
            for (policy, agreed, key) in [
                (self.policy.header_digest, self.parameters.header_digest, Key::HeaderDigest),
                (self.policy.data_digest, self.parameters.data_digest, Key::DataDigest),
            ] {
                if policy == DigestPolicy::Required && !agreed {
                    return Err(NegotiationError::DigestRequired(key));
                }
            }
        }
        let mut parameters = self.parameters;
        parameters.settle(self.transport);
        Ok(parameters)
    }

    fn offer_extra(&mut self, key: Key, out: &mut TextWriter) -> Result<(), Overflow> {
        match self.wish(key) {
            Wish::List(list) => out.push(key.name(), list)?,
            Wish::Number(n) => out.push(key.name(), n)?,
            Wish::Flag(yes) => out.push(key.name(), text::yes_no(yes))?,
        }
        self.offered.insert(key);
        Ok(())
    }

    fn wish(&self, key: Key) -> Wish {
        let policy = &self.policy;
        match key {
            Key::HeaderDigest => Wish::List(self.digests(policy.header_digest)),
            Key::DataDigest => Wish::List(self.digests(policy.data_digest)),
            Key::TaskReporting => Wish::List(match policy.task_reporting {
                TaskReporting::FastAbort => "FastAbort,ResponseFence,RFC3720",
                _ => "ResponseFence,RFC3720",
            }),
            Key::InitialR2t => Wish::Flag(policy.initial_r2t),
            Key::ImmediateData => Wish::Flag(policy.immediate_data),
            Key::RdmaExtensions | Key::DataPduInOrder | Key::DataSequenceInOrder => Wish::Flag(true),
            Key::MaxBurstLength => Wish::Number(policy.max_burst),
            Key::FirstBurstLength => Wish::Number(policy.first_burst),
            Key::DefaultTime2Wait => Wish::Number(policy.time2wait.into()),
            Key::DefaultTime2Retain => Wish::Number(policy.time2retain.into()),
            Key::MaxOutstandingR2t => Wish::Number(policy.max_outstanding_r2t.into()),
            Key::MaxConnections => Wish::Number(policy.max_connections.into()),
            Key::ProtocolLevel => Wish::Number(policy.protocol_level.into()),
            Key::TargetRecvDataSegmentLength => Wish::Number(policy.target_recv_data_segment_length),
            Key::InitiatorRecvDataSegmentLength => Wish::Number(policy.initiator_recv_data_segment_length),
            // ErrorRecoveryLevel: session recovery only.
            _ => Wish::Number(0),
        }
    }

    fn digests(&self, policy: DigestPolicy) -> &'static str {
        match policy {
            _ if self.transport == Transport::Iser => "None",
            DigestPolicy::Never => "None",
            DigestPolicy::Allowed => "None,CRC32C",
            DigestPolicy::Required => "CRC32C",
        }
    }

    /// The two cases in which no answer is owed (RFC 7143 §6.2.2).
    fn is_decided_by_offer(&self, key: Key) -> bool {
        match (key.rule().kind, self.wish(key)) {
            (Kind::Flag(Boolean::And), Wish::Flag(yes)) => !yes,
            (Kind::Flag(Boolean::Or), Wish::Flag(yes)) => yes,
            _ => false,
        }
    }

    /// Notes an answer; `None` when the rules of the key do not admit it.
    fn take(&mut self, key: Key, value: &str) -> Option<()> {
        match value {
            // The key stays at its default, which we can live with or `finish` says so.
            answer::REJECT | answer::IRRELEVANT => return Some(()),
            // Only keys younger than RFC 7143 may be unknown to the target (RFC 7143 §6.2).
            answer::NOT_UNDERSTOOD => {
                return matches!(key, Key::TaskReporting | Key::ProtocolLevel | Key::RdmaExtensions).then_some(());
            }
            _ => {}
        }
        match (key.rule().kind, self.wish(key)) {
            (Kind::Flag(function), Wish::Flag(ours)) => {
                let theirs = text::boolean(value)?;
                let admissible = match function {
                    Boolean::And => ours || !theirs,
                    Boolean::Or => !ours || theirs,
                };
                admissible.then(|| self.parameters.set_flag(key, theirs))
            }
            (Kind::Number(function, low, high), Wish::Number(ours)) => {
                let theirs = in_range(value, low, high)?;
                let admissible = match function {
                    Extreme::Minimum => theirs <= ours,
                    Extreme::Maximum => theirs >= ours,
                };
                admissible.then(|| self.parameters.set_number(key, theirs))
            }
            (Kind::List, Wish::List(ours)) => {
                ours.split(',').any(|word| word == value).then(|| self.parameters.set_choice(key, value))
            }
            _ => None,
        }
    }
}
