//! The security stage: choice of a method, and CHAP (RFC 7143 §6.3.2, §12.1).
use super::fault::Fault;
use super::{Access, AuthPolicy, Authenticated, ChapPolicy};
use crate::chap::{self, Challenge};
use crate::keys::Key;
use crate::limits::LOGIN_ENTROPY;
use crate::negotiate::Offer;
use crate::text::{Base16, TextWriter, answer};

/// How far authentication has come.
#[derive(Debug)]
pub(super) enum Security {
    /// No method was chosen.
    Open,
    /// AuthMethod was offered and nothing of it could be used; nor was anything needed.
    Declined,
    /// CHAP was chosen; CHAP_A comes next.
    Chap(ChapPolicy),
    /// The challenge was sent; its answer comes next.
    Challenged(ChapPolicy, Challenge),
    /// Nothing more to prove.
    Done(Authenticated),
}

/// The security keys of one logical text data segment.
#[derive(Debug, Default)]
struct Keys<'a> {
    auth_method: Option<&'a str>,
    algorithms: Option<&'a str>,
    answer: chap::Answer<'a>,
}

impl Security {
    /// Handles one logical text data segment. `entropy` is spent on at most one challenge: a login that was
    /// challenged never comes back to [`Security::Chap`].
    pub(super) fn step(
        self,
        offers: &[Offer<'_>],
        auth: AuthPolicy,
        entropy: &[u8; LOGIN_ENTROPY],
        access: &impl Access,
        out: &mut TextWriter,
    ) -> Result<Self, Fault> {
        let keys = Keys::collect(offers, out)?;
        let state = match keys.auth_method {
            Some(methods) => self.choose(methods, auth, out)?,
            None => self,
        };
        let chose_now = keys.auth_method.is_some();
        match state {
            Self::Chap(policy) if keys.algorithms.is_some() && !keys.has_answer() => {
                let list = keys.algorithms.unwrap_or_default();
                let challenge = Challenge::choose(list, policy.weakest, entropy)?;
                out.push(Key::ChapA.name(), challenge.algorithm.number())?;
                out.push(Key::ChapI.name(), challenge.identifier)?;
                out.push(Key::ChapC.name(), Base16(&challenge.bytes))?;
                Ok(Self::Challenged(policy, challenge))
            }
            Self::Chap(_) if chose_now && !keys.has_chap() => Ok(state),
            Self::Challenged(policy, challenge) if keys.algorithms.is_none() => {
                let lookup = |user: &str| access.secret(policy.group, user);
                if let Some(proof) = challenge.verify(&keys.answer, policy.mutual_required, lookup)? {
                    out.push(Key::ChapN.name(), &proof.user)?;
                    out.push(Key::ChapR.name(), Base16(proof.response.as_bytes()))?;
                }
                Ok(Self::Done(Authenticated(())))
            }
            Self::Open | Self::Declined | Self::Done(_) if !keys.has_chap() => Ok(state),
            _ => Err(Fault::authentication("CHAP keys out of order")),
        }
    }

    /// The right to leave the stage; the state again when there is none yet.
    pub(super) fn finish(self, auth: AuthPolicy) -> Result<Authenticated, Self> {
        match self {
            Self::Done(proof) => Ok(proof),
            Self::Open | Self::Declined if !auth.is_required() => Ok(Authenticated(())),
            unfinished => Err(unfinished),
        }
    }

    /// Takes the first method of the list that may be used (RFC 7143 §6.3.2).
    fn choose(self, methods: &str, auth: AuthPolicy, out: &mut TextWriter) -> Result<Self, Fault> {
        if !matches!(self, Self::Open) {
            return Err(Fault::initiator("AuthMethod was offered twice"));
        }
        let choice = methods.split(',').find_map(|method| match (method, auth) {
            ("CHAP", AuthPolicy::Optional(policy) | AuthPolicy::Required(policy)) => Some(Self::Chap(policy)),
            ("None", AuthPolicy::None | AuthPolicy::Optional(_)) => Some(Self::Done(Authenticated(()))),
            _ => None,
        });
        let (state, said) = match choice {
            Some(chap @ Self::Chap(_)) => (chap, "CHAP"),
            Some(done) => (done, "None"),
            None if auth.is_required() => return Err(Fault::authentication("CHAP is required and was not offered")),
            None => (Self::Declined, answer::REJECT),
        };
        out.push(Key::AuthMethod.name(), said)?;
        Ok(state)
    }
}

impl<'a> Keys<'a> {
    /// Sorts out the keys; those that are not understood are answered, those of another stage are an error
    /// (RFC 7143 §6.3).
    fn collect(offers: &[Offer<'a>], out: &mut TextWriter) -> Result<Self, Fault> {
        let mut keys = Self::default();
        for offer in offers {
            let place = match offer.key {
                None => {
                    out.push(offer.name, answer::NOT_UNDERSTOOD)?;
                    continue;
                }
                Some(Key::AuthMethod) => &mut keys.auth_method,
                Some(Key::ChapA) => &mut keys.algorithms,
                Some(Key::ChapN) => &mut keys.answer.name,
                Some(Key::ChapR) => &mut keys.answer.response,
                Some(Key::ChapI) => &mut keys.answer.identifier,
                Some(Key::ChapC) => &mut keys.answer.challenge,
                Some(key) if key.belongs_in(crate::keys::Stage::Security) => continue,
                Some(_) => return Err(Fault::initiator("an operational key in the security stage")),
            };
            *place = Some(offer.value);
        }
        Ok(keys)
    }

    const fn has_answer(&self) -> bool {
        let chap::Answer { name, response, identifier, challenge } = &self.answer;
        name.is_some() || response.is_some() || identifier.is_some() || challenge.is_some()
    }

    const fn has_chap(&self) -> bool {
        self.algorithms.is_some() || self.has_answer()
    }
}
