//! The target's side of a negotiation.
use super::{DigestPolicy, NegotiationError, Parameters, Policy, TaskReporting, Transport};
use crate::keys::{Boolean, Extreme, Key, KeySet, Kind, Stage};
use crate::text::{self, Pair, TextWriter, answer};
use alloc::vec::Vec;

/// One pair as received, with its key if we understand it.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// `None`: not understood.
    pub key: Option<Key>,
    pub name: &'a str,
    pub value: &'a str,
}

impl<'a> From<Pair<'a>> for Offer<'a> {
    fn from(pair: Pair<'a>) -> Self {
        Self { key: Key::named(pair.key), name: pair.key, value: pair.value }
    }
}

/// What is said about an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Nothing,
    Number(u32),
    Flag(bool),
    Text(&'static str),
}

const REJECT: Answer = Answer::Text(answer::REJECT);
const IRRELEVANT: Answer = Answer::Text(answer::IRRELEVANT);

/// Negotiates the operational parameters of one login.
#[derive(Debug)]
pub struct Responder {
    transport: Transport,
    discovery: bool,
    policy: Policy,
    parameters: Parameters,
    seen: KeySet,
    declared: KeySet,
}

impl Responder {
    /// Begins with nothing negotiated. `discovery` is SessionType=Discovery.
    #[must_use]
    pub fn new(transport: Transport, discovery: bool, policy: Policy) -> Self {
        Self {
            transport,
            discovery,
            policy: policy.legal(),
            parameters: Parameters::default(),
            seen: KeySet::default(),
            declared: KeySet::default(),
        }
    }

    /// Answers one logical text data segment of the operational stage. Keys that belong to either stage of login
    /// are passed over; keys that are not understood are answered.
    ///
    /// # Errors
    /// [`NegotiationError`]; the login then fails.
    pub fn answer(&mut self, offers: &[Offer<'_>], out: &mut TextWriter) -> Result<(), NegotiationError> {
        let mut order: Vec<usize> = (0..offers.len()).collect();
        order.sort_by_key(|&i| offers[i].key);
        let mut answers = alloc::vec![Answer::Nothing; offers.len()];
        for i in order {
            answers[i] = match offers[i].key {
                None => Answer::Text(answer::NOT_UNDERSTOOD),
                Some(key) if key.rule().stage == Stage::Any => Answer::Nothing,
                Some(key) => self.resolve(key, offers[i].value)?,
            };
        }
        for (offer, said) in offers.iter().zip(answers) {
            match said {
                Answer::Nothing => {}
                Answer::Number(n) => out.push(offer.name, n)?,
                Answer::Flag(yes) => out.push(offer.name, text::yes_no(yes))?,
                Answer::Text(word) => out.push(offer.name, word)?,
            }
        }
        self.declare(out)
    }

    /// Ends the negotiation and gives its outcome.
    ///
    /// # Errors
    /// [`NegotiationError::DigestRequired`], [`NegotiationError::RdmaExtensionsRequired`].
    pub fn finish(&self) -> Result<Parameters, NegotiationError> {
        let mut parameters = self.parameters;
        if self.transport == Transport::Iser && !self.discovery && !parameters.rdma_extensions {
            return Err(NegotiationError::RdmaExtensionsRequired);
        }
        if self.transport == Transport::Tcp {
            let lacks = |policy, agreed: bool| policy == DigestPolicy::Required && !agreed;
            if lacks(self.policy.header_digest, parameters.header_digest) {
                return Err(NegotiationError::DigestRequired(Key::HeaderDigest));
            }
            if lacks(self.policy.data_digest, parameters.data_digest) {
                return Err(NegotiationError::DigestRequired(Key::DataDigest));
            }
        }
        parameters.settle(self.transport);
        Ok(parameters)
    }

    /// Full-feature phase cannot follow the security stage directly: something must be negotiated that only the
    /// operational stage negotiates (RDMAExtensions over iSER, a digest this target demands).
    #[must_use]
    pub fn needs_operational_stage(&self) -> bool {
        match self.transport {
            Transport::Iser => !self.discovery,
            Transport::Tcp => {
                self.policy.header_digest == DigestPolicy::Required || self.policy.data_digest == DigestPolicy::Required
            }
        }
    }

    /// Decides about one offer and notes the outcome.
    fn resolve(&mut self, key: Key, value: &str) -> Result<Answer, NegotiationError> {
        let rule = key.rule();
        if rule.stage != Stage::Operational {
            return Err(NegotiationError::NotAllowed(key));
        }
        if !self.seen.insert(key) {
            return Err(NegotiationError::Duplicate(key));
        }
        if matches!(value, answer::NOT_UNDERSTOOD | answer::IRRELEVANT | answer::REJECT) {
            return Err(NegotiationError::ReservedWord(key));
        }
        if (rule.normal_only && self.discovery) || (rule.iser_only && !self.parameters.rdma_extensions) {
            return Ok(if rule.is_declared() { Answer::Nothing } else { IRRELEVANT });
        }
        Ok(match rule.kind {
            Kind::Flag(function) => self.flag(key, function, value),
            Kind::Number(function, low, high) => self.number(key, function, low, high, value),
            Kind::DeclaredNumber(low, high) => self.declared_number(key, low, high, value),
            Kind::DeclaredBoolean => self.declared_boolean(key, value),
            Kind::List => self.list(key, value),
            Kind::Marker => Answer::Text("No"),
            Kind::MarkerInterval => REJECT,
            Kind::Declared => Answer::Nothing,
        })
    }

    fn flag(&mut self, key: Key, function: Boolean, value: &str) -> Answer {
        let Some(theirs) = text::boolean(value) else { return REJECT };
        let ours = match key {
            Key::RdmaExtensions => self.transport == Transport::Iser,
            Key::InitialR2t => self.policy.initial_r2t,
            Key::ImmediateData => self.policy.immediate_data,
            // DataPDUInOrder, DataSequenceInOrder.
            _ => true,
        };
        let result = match function {
            Boolean::And => theirs && ours,
            Boolean::Or => theirs || ours,
        };
        self.parameters.set_flag(key, result);
        Answer::Flag(result)
    }

    fn number(&mut self, key: Key, function: Extreme, low: u32, high: u32, value: &str) -> Answer {
        let Some(theirs) = in_range(value, low, high) else { return REJECT };
        let policy = &self.policy;
        let ours = match key {
            Key::MaxConnections => policy.max_connections.into(),
            Key::MaxBurstLength => policy.max_burst,
            Key::FirstBurstLength => policy.first_burst.min(self.parameters.max_burst),
            Key::DefaultTime2Wait => policy.time2wait.into(),
            Key::DefaultTime2Retain => policy.time2retain.into(),
            Key::MaxOutstandingR2t => policy.max_outstanding_r2t.into(),
            Key::ProtocolLevel => policy.protocol_level.into(),
            Key::TargetRecvDataSegmentLength => policy.target_recv_data_segment_length,
            Key::InitiatorRecvDataSegmentLength => policy.initiator_recv_data_segment_length,
            // ErrorRecoveryLevel: session recovery only.
            _ => 0,
        };
        let result = match function {
            Extreme::Minimum => theirs.min(ours),
            Extreme::Maximum => theirs.max(ours),
        };
        // An earlier FirstBurstLength of this login binds MaxBurstLength from below (RFC 7143 §13.14).
        if key == Key::MaxBurstLength
            && self.seen.contains(Key::FirstBurstLength)
            && result < self.parameters.first_burst
        {
            return REJECT;
        }
        self.parameters.set_number(key, result);
        Answer::Number(result)
    }

    fn declared_number(&mut self, key: Key, low: u32, high: u32, value: &str) -> Answer {
        let Some(theirs) = in_range(value, low, high) else { return REJECT };
        // 1 is left out of these ranges (RFC 7145 §6.7, §6.8).
        if theirs == 1 && low == 0 {
            return REJECT;
        }
        self.parameters.set_number(key, theirs);
        Answer::Nothing
    }

    fn declared_boolean(&mut self, key: Key, value: &str) -> Answer {
        let Some(theirs) = text::boolean(value) else { return REJECT };
        self.parameters.set_flag(key, theirs);
        Answer::Nothing
    }

    fn list(&mut self, key: Key, list: &str) -> Answer {
        let choice = match key {
            Key::HeaderDigest => self.digest(self.policy.header_digest, list),
            Key::DataDigest => self.digest(self.policy.data_digest, list),
            _ => self.task_reporting(list),
        };
        match choice {
            Some(choice) => {
                self.parameters.set_choice(key, choice);
                Answer::Text(choice)
            }
            None if self.transport == Transport::Iser && key != Key::TaskReporting => IRRELEVANT,
            None => REJECT,
        }
    }

    /// The first digest of the list that we may use.
    fn digest(&self, policy: DigestPolicy, list: &str) -> Option<&'static str> {
        // Both digests end as None over iSER, whatever is configured (RFC 7145 §6.1).
        let policy = if self.transport == Transport::Iser { DigestPolicy::Never } else { policy };
        list.split(',').find_map(|name| match name {
            "CRC32C" if policy != DigestPolicy::Never => Some("CRC32C"),
            "None" if policy != DigestPolicy::Required => Some("None"),
            _ => None,
        })
    }

    fn task_reporting(&self, list: &str) -> Option<&'static str> {
        let supported = self.policy.task_reporting;
        list.split(',').filter_map(TaskReporting::named).find(|&offered| offered <= supported).map(TaskReporting::name)
    }

    /// Says, once, what a target declares unasked: its MaxRecvDataSegmentLength; and over iSER, where that key means
    /// nothing, the limits the initiator showed it understands by declaring its own (Linux ends a login on any key it
    /// does not know).
    fn declare(&mut self, out: &mut TextWriter) -> Result<(), NegotiationError> {
        let policy = self.policy;
        if self.transport == Transport::Tcp && self.declared.insert(Key::MaxRecvDataSegmentLength) {
            let ours = policy.max_recv_data_segment_length;
            out.push(Key::MaxRecvDataSegmentLength.name(), ours)?;
            self.parameters.target_max_recv = ours;
        }
        for (key, ours) in [
            (Key::MaxOutstandingUnexpectedPdus, policy.max_outstanding_unexpected_pdus),
            (Key::MaxAhsLength, policy.max_ahs_length),
        ] {
            if self.parameters.rdma_extensions && self.seen.contains(key) && self.declared.insert(key) {
                out.push(key.name(), ours)?;
            }
        }
        Ok(())
    }
}

/// A number in a key's range.
pub(super) fn in_range(value: &str, low: u32, high: u32) -> Option<u32> {
    text::number(value).and_then(|n| u32::try_from(n).ok()).filter(|n| (low..=high).contains(n))
}
