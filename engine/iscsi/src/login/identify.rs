//! Who is logging in, to what: the declarations of the first request (RFC 7143 §6.3, §13.4, §13.5, §13.21).
use super::fault::Fault;
use super::{Access, AuthPolicy, SessionKind, Transport};
use crate::keys::{Key, KeySet};
use crate::names::IscsiName;
use crate::negotiate::{Offer, Responder};
use crate::text::{Overflow, TextWriter, answer};
use crate::wire::LoginStatus;
use alloc::string::String;

/// A login whose parties are known.
#[derive(Debug)]
pub(super) struct Session {
    pub initiator: IscsiName,
    target: Option<IscsiName>,
    pub kind: SessionKind,
    pub auth: AuthPolicy,
    pub responder: Responder,
    pub command_window: u16,
    portal_group_tag: Option<u16>,
    alias: Option<String>,
}

impl Session {
    /// Reads the names and asks for access.
    pub(super) fn identify(offers: &[Offer<'_>], transport: Transport, access: &impl Access) -> Result<Self, Fault> {
        let name = value(offers, Key::InitiatorName).ok_or_else(|| missing("InitiatorName is missing"))?;
        let initiator = IscsiName::parse(name).map_err(|_| Fault::initiator("InitiatorName is not an iSCSI name"))?;
        match value(offers, Key::SessionType) {
            None | Some("Normal") => Self::normal(initiator, offers, transport, access),
            Some("Discovery") => Self::discovery(initiator, transport, access),
            Some(_) => Err(Fault::new(LoginStatus::SESSION_TYPE_NOT_SUPPORTED, "unknown SessionType")),
        }
    }

    fn normal(
        initiator: IscsiName,
        offers: &[Offer<'_>],
        transport: Transport,
        access: &impl Access,
    ) -> Result<Self, Fault> {
        let name = value(offers, Key::TargetName).ok_or_else(|| missing("TargetName is missing"))?;
        // A name that cannot exist is the name of no target.
        let target = IscsiName::parse(name)
            .map_err(|_| Fault::new(LoginStatus::NOT_FOUND, "TargetName is not an iSCSI name"))?;
        let granted = access.target(initiator.as_str(), target.as_str())?;
        Ok(Self {
            initiator,
            target: Some(target),
            kind: SessionKind::Normal { target: granted.handle },
            auth: granted.auth,
            responder: Responder::new(transport, false, granted.policy),
            command_window: granted.policy.command_window.max(1),
            portal_group_tag: Some(granted.portal_group_tag),
            alias: granted.alias,
        })
    }

    fn discovery(initiator: IscsiName, transport: Transport, access: &impl Access) -> Result<Self, Fault> {
        let granted = access.discovery(initiator.as_str())?;
        Ok(Self {
            initiator,
            target: None,
            kind: SessionKind::Discovery,
            auth: granted.auth,
            responder: Responder::new(transport, true, granted.policy),
            command_window: granted.policy.command_window.max(1),
            portal_group_tag: granted.portal_group_tag,
            alias: None,
        })
    }

    /// Writes what the first response of the leading connection must say (RFC 7143 §6.3.1, §13.6, §13.9).
    pub(super) fn introduce(&self, out: &mut TextWriter) -> Result<(), Overflow> {
        if let Some(tag) = self.portal_group_tag {
            out.push(Key::TargetPortalGroupTag.name(), tag)?;
        }
        match &self.alias {
            Some(alias) => out.push(Key::TargetAlias.name(), alias),
            None => Ok(()),
        }
    }

    /// Checks the declarations of a later request. RFC 7143 forbids to declare a name again; libiscsi does so at the
    /// begin of the operational stage. The same name does no harm, another one does.
    pub(super) fn check_declarations(&self, offers: &[Offer<'_>]) -> Result<(), Fault> {
        for offer in offers {
            let same = match offer.key {
                Some(Key::InitiatorName) => IscsiName::parse(offer.value).as_ref() == Ok(&self.initiator),
                Some(Key::TargetName) if self.kind == SessionKind::Discovery => true,
                Some(Key::TargetName) => IscsiName::parse(offer.value).ok() == self.target,
                Some(Key::SessionType) => (offer.value == "Discovery") == (self.kind == SessionKind::Discovery),
                _ => true,
            };
            if !same {
                return Err(Fault::initiator("a name or the session type changed during login"));
            }
        }
        Ok(())
    }
}

/// Refuses what no request of any stage may hold: a key twice, a key only a target sends (unless to say that it was
/// not understood), a key of full-feature phase.
pub(super) fn check_keys(offers: &[Offer<'_>]) -> Result<(), Fault> {
    let mut seen = KeySet::default();
    for offer in offers {
        let Some(key) = offer.key else { continue };
        if !seen.insert(key) {
            return Err(Fault::initiator("a key was sent twice"));
        }
        if key.rule().target_only && offer.value != answer::NOT_UNDERSTOOD {
            return Err(Fault::initiator("a key that only a target sends"));
        }
        if key == Key::SendTargets {
            return Err(Fault::initiator("SendTargets during login"));
        }
    }
    Ok(())
}

fn value<'a>(offers: &[Offer<'a>], key: Key) -> Option<&'a str> {
    offers.iter().find(|offer| offer.key == Some(key)).map(|offer| offer.value)
}

fn missing(why: &'static str) -> Fault {
    Fault::new(LoginStatus::MISSING_PARAMETER, why)
}
