//! The text keys (RFC 7143 §12, §13; RFC 7144 §7; RFC 7145 §6) and the rule of each, as one table.
use Boolean::{And, Or};
use Extreme::{Maximum, Minimum};
use Kind::{Declared, DeclaredBoolean, DeclaredNumber, Flag, List, Marker, MarkerInterval, Number};
use Stage::{Any, FullFeature, Operational, Security};

/// A key this implementation understands. Negotiated keys are ordered so that one that decides about another (is it
/// relevant, how large may it be) comes before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Key {
    InitiatorName,
    InitiatorAlias,
    TargetName,
    TargetAlias,
    TargetAddress,
    TargetPortalGroupTag,
    SessionType,
    SendTargets,
    NodeArchitecture,
    AuthMethod,
    ChapA,
    ChapI,
    ChapC,
    ChapN,
    ChapR,
    RdmaExtensions,
    HeaderDigest,
    DataDigest,
    MaxConnections,
    InitialR2t,
    ImmediateData,
    MaxRecvDataSegmentLength,
    MaxBurstLength,
    FirstBurstLength,
    DefaultTime2Wait,
    DefaultTime2Retain,
    MaxOutstandingR2t,
    DataPduInOrder,
    DataSequenceInOrder,
    ErrorRecoveryLevel,
    TaskReporting,
    ProtocolLevel,
    TargetRecvDataSegmentLength,
    InitiatorRecvDataSegmentLength,
    MaxOutstandingUnexpectedPdus,
    MaxAhsLength,
    TaggedBufferForSolicitedDataOnly,
    IserHelloRequired,
    IfMarker,
    OfMarker,
    IfMarkInt,
    OfMarkInt,
}

/// Where a key may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The security stage of login.
    Security,
    /// The operational stage of login.
    Operational,
    /// Both stages of login.
    Any,
    /// Only full-feature phase.
    FullFeature,
}

/// Result function of a boolean negotiation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Boolean {
    And,
    Or,
}

/// Result function of a numerical negotiation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extreme {
    Minimum,
    Maximum,
}

/// How a key is negotiated, and the range of numbers it admits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A declared text.
    Declared,
    /// A declared number.
    DeclaredNumber(u32, u32),
    /// A declared Yes or No.
    DeclaredBoolean,
    /// A negotiated Yes or No.
    Flag(Boolean),
    /// A negotiated number.
    Number(Extreme, u32, u32),
    /// The first acceptable of a list.
    List,
    /// Obsolete IFMarker and OFMarker: answered No (RFC 7143 §13.25).
    Marker,
    /// Obsolete IFMarkInt and OFMarkInt: answered Reject (RFC 7143 §13.25).
    MarkerInterval,
}

/// The rule of one key.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub key: Key,
    pub name: &'static str,
    pub kind: Kind,
    pub stage: Stage,
    /// Also legal in full-feature phase ("Use: ALL").
    pub full_feature: bool,
    /// Only a target sends it.
    pub target_only: bool,
    /// Without meaning when SessionType=Discovery.
    pub normal_only: bool,
    /// Without meaning unless RDMAExtensions=Yes.
    pub iser_only: bool,
}

const fn rule(key: Key, name: &'static str, stage: Stage, kind: Kind) -> Rule {
    Rule { key, name, kind, stage, full_feature: false, target_only: false, normal_only: false, iser_only: false }
}

impl Rule {
    const fn always(self) -> Self {
        Self { full_feature: true, ..self }
    }

    const fn target_only(self) -> Self {
        Self { target_only: true, ..self }
    }

    const fn normal_only(self) -> Self {
        Self { normal_only: true, ..self }
    }

    const fn iser_only(self) -> Self {
        Self { iser_only: true, normal_only: true, ..self }
    }

    /// The sender declares a value and expects no answer.
    #[must_use]
    pub const fn is_declared(&self) -> bool {
        matches!(self.kind, Declared | DeclaredNumber(..) | DeclaredBoolean)
    }
}

/// 2²⁴ − 1, the largest length a 24-bit field can say.
const MAX_24: u32 = (1 << 24) - 1;

/// Indexed by [`Key`].
static RULES: [Rule; 42] = [
    rule(Key::InitiatorName, "InitiatorName", Any, Declared),
    rule(Key::InitiatorAlias, "InitiatorAlias", Any, Declared).always(),
    rule(Key::TargetName, "TargetName", Any, Declared),
    rule(Key::TargetAlias, "TargetAlias", Any, Declared).always().target_only(),
    rule(Key::TargetAddress, "TargetAddress", Any, Declared).always().target_only(),
    rule(Key::TargetPortalGroupTag, "TargetPortalGroupTag", Any, Declared).target_only(),
    rule(Key::SessionType, "SessionType", Any, Declared),
    rule(Key::SendTargets, "SendTargets", FullFeature, Declared).always(),
    rule(Key::NodeArchitecture, "X#NodeArchitecture", Any, Declared),
    rule(Key::AuthMethod, "AuthMethod", Security, List),
    rule(Key::ChapA, "CHAP_A", Security, List),
    rule(Key::ChapI, "CHAP_I", Security, Declared),
    rule(Key::ChapC, "CHAP_C", Security, Declared),
    rule(Key::ChapN, "CHAP_N", Security, Declared),
    rule(Key::ChapR, "CHAP_R", Security, Declared),
    rule(Key::RdmaExtensions, "RDMAExtensions", Operational, Flag(And)).normal_only(),
    rule(Key::HeaderDigest, "HeaderDigest", Operational, List),
    rule(Key::DataDigest, "DataDigest", Operational, List),
    rule(Key::MaxConnections, "MaxConnections", Operational, Number(Minimum, 1, 65_535)).normal_only(),
    rule(Key::InitialR2t, "InitialR2T", Operational, Flag(Or)).normal_only(),
    rule(Key::ImmediateData, "ImmediateData", Operational, Flag(And)).normal_only(),
    rule(Key::MaxRecvDataSegmentLength, "MaxRecvDataSegmentLength", Operational, DeclaredNumber(512, MAX_24)).always(),
    rule(Key::MaxBurstLength, "MaxBurstLength", Operational, Number(Minimum, 512, MAX_24)).normal_only(),
    rule(Key::FirstBurstLength, "FirstBurstLength", Operational, Number(Minimum, 512, MAX_24)).normal_only(),
    rule(Key::DefaultTime2Wait, "DefaultTime2Wait", Operational, Number(Maximum, 0, 3600)),
    rule(Key::DefaultTime2Retain, "DefaultTime2Retain", Operational, Number(Minimum, 0, 3600)),
    rule(Key::MaxOutstandingR2t, "MaxOutstandingR2T", Operational, Number(Minimum, 1, 65_535)).normal_only(),
    rule(Key::DataPduInOrder, "DataPDUInOrder", Operational, Flag(Or)).normal_only(),
    rule(Key::DataSequenceInOrder, "DataSequenceInOrder", Operational, Flag(Or)).normal_only(),
    rule(Key::ErrorRecoveryLevel, "ErrorRecoveryLevel", Operational, Number(Minimum, 0, 2)),
    rule(Key::TaskReporting, "TaskReporting", Operational, List).normal_only(),
    rule(Key::ProtocolLevel, "iSCSIProtocolLevel", Operational, Number(Minimum, 0, 31)).normal_only(),
    rule(Key::TargetRecvDataSegmentLength, "TargetRecvDataSegmentLength", Operational, Number(Minimum, 512, MAX_24))
        .iser_only(),
    rule(
        Key::InitiatorRecvDataSegmentLength,
        "InitiatorRecvDataSegmentLength",
        Operational,
        Number(Minimum, 512, MAX_24),
    )
    .iser_only(),
    rule(Key::MaxOutstandingUnexpectedPdus, "MaxOutstandingUnexpectedPDUs", Operational, DeclaredNumber(0, u32::MAX))
        .iser_only(),
    rule(Key::MaxAhsLength, "MaxAHSLength", Operational, DeclaredNumber(0, u32::MAX)).iser_only(),
    rule(Key::TaggedBufferForSolicitedDataOnly, "TaggedBufferForSolicitedDataOnly", Operational, DeclaredBoolean)
        .iser_only(),
    rule(Key::IserHelloRequired, "iSERHelloRequired", Operational, DeclaredBoolean).iser_only(),
    rule(Key::IfMarker, "IFMarker", Operational, Marker),
    rule(Key::OfMarker, "OFMarker", Operational, Marker),
    rule(Key::IfMarkInt, "IFMarkInt", Operational, MarkerInterval),
    rule(Key::OfMarkInt, "OFMarkInt", Operational, MarkerInterval),
];

impl Key {
    /// The key of this exact name; `None` for one not understood.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        RULES.iter().find(|rule| rule.name == name).map(|rule| rule.key)
    }

    #[must_use]
    pub fn rule(self) -> &'static Rule {
        &RULES[self as usize]
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        self.rule().name
    }

    /// The key may be sent in this stage of login.
    #[must_use]
    pub fn belongs_in(self, stage: Stage) -> bool {
        let own = self.rule().stage;
        own == stage || own == Any
    }
}

/// A set of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeySet(u64);

impl KeySet {
    /// Adds a key; `false` when it was there already.
    pub fn insert(&mut self, key: Key) -> bool {
        let bit = 1 << key as u64;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }

    #[must_use]
    pub fn contains(self, key: Key) -> bool {
        self.0 & (1 << key as u64) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_indexed_by_key_and_names_are_unique() {
        for (index, rule) in RULES.iter().enumerate() {
            assert_eq!(rule.key as usize, index, "{}", rule.name);
            assert_eq!(Key::named(rule.name), Some(rule.key));
            assert!(rule.name.len() <= crate::limits::KEY_MAX);
        }
        assert!(RULES.len() <= 64, "KeySet has 64 bits");
        assert_eq!(Key::named("maxburstlength"), None);
    }

    #[test]
    fn deciding_keys_come_first() {
        assert!(Key::RdmaExtensions < Key::HeaderDigest);
        assert!(Key::MaxBurstLength < Key::FirstBurstLength);
        assert!(RULES.iter().filter(|r| r.iser_only).all(|r| r.key > Key::RdmaExtensions));
    }

    #[test]
    fn stages() {
        assert!(Key::InitiatorName.belongs_in(Security) && Key::InitiatorName.belongs_in(Operational));
        assert!(!Key::ChapA.belongs_in(Operational) && !Key::MaxBurstLength.belongs_in(Security));
        assert!(!Key::SendTargets.belongs_in(Operational) && !Key::SendTargets.belongs_in(Security));
    }

    #[test]
    fn a_set_tells_the_second_time() {
        let mut set = KeySet::default();
        assert!(set.insert(Key::OfMarkInt) && !set.insert(Key::OfMarkInt));
        assert!(set.contains(Key::OfMarkInt) && !set.contains(Key::InitiatorName));
    }
}
