//! CHAP (RFC 1994, RFC 7143 §12.1.3), both sides. Challenges and identifiers are values passed in.
//!
//! A [`Refused`] says nothing about what was wrong: neither the peer nor a timing may tell an unknown user from a wrong
//! secret.
use crate::limits;
use crate::text;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use sha3::Sha3_256;
use subtle::ConstantTimeEq;

#[cfg(test)]
mod tests;

/// Hash algorithms by their CHAP_A number, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Algorithm {
    #[default]
    Md5 = 5,
    Sha1 = 6,
    Sha256 = 7,
    Sha3_256 = 8,
}

impl Algorithm {
    /// All algorithms, strongest first: the order an initiator should offer them in.
    pub const ALL: [Self; 4] = [Self::Sha3_256, Self::Sha256, Self::Sha1, Self::Md5];

    /// The algorithm with this CHAP_A number.
    #[must_use]
    pub fn numbered(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| u64::from(algorithm.number()) == number)
    }

    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// hash(identifier ‖ secret ‖ challenge), RFC 1994 §4.1.
    #[must_use]
    pub fn response(self, identifier: u8, secret: &[u8], challenge: &[u8]) -> Response {
        match self {
            Self::Md5 => hash::<Md5>(identifier, secret, challenge),
            Self::Sha1 => hash::<Sha1>(identifier, secret, challenge),
            Self::Sha256 => hash::<Sha256>(identifier, secret, challenge),
            Self::Sha3_256 => hash::<Sha3_256>(identifier, secret, challenge),
        }
    }
}

fn hash<D: sha2::Digest>(identifier: u8, secret: &[u8], challenge: &[u8]) -> Response {
    let digest = D::new().chain_update([identifier]).chain_update(secret).chain_update(challenge).finalize();
    Response(digest.to_vec())
}

/// A CHAP response value.
#[derive(Clone, Debug)]
pub struct Response(Vec<u8>);

impl Response {
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Compares without telling by its time where a difference is.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}

/// What one CHAP user knows.
#[derive(Clone)]
pub struct Secret {
    /// The initiator proves that it knows this.
    pub secret: Vec<u8>,
    /// The target proves that it knows this, if the initiator asks.
    pub mutual: Option<Mutual>,
}

/// The target's own name and secret.
#[derive(Clone)]
pub struct Mutual {
    pub user: String,
    pub secret: Vec<u8>,
}

impl Secret {
    /// One secret for both ways would let either side answer with what it was asked (RFC 7143 §9.2.1).
    #[must_use]
    pub fn has_distinct_secrets(&self) -> bool {
        !self.mutual.as_ref().is_some_and(|mutual| mutual.secret.ct_eq(&self.secret).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("mutual", &self.mutual).finish_non_exhaustive()
    }
}

impl fmt::Debug for Mutual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutual").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Authentication failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

/// A challenge of the target that waits for its answer.
#[derive(Debug)]
pub struct Challenge {
    pub algorithm: Algorithm,
    pub identifier: u8,
    pub bytes: [u8; limits::CHAP_CHALLENGE],
}

/// The keys of an initiator's answer, as text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// CHAP_N.
    pub name: Option<&'a str>,
    /// CHAP_R.
    pub response: Option<&'a str>,
    /// CHAP_I, when the target must prove itself too.
    pub identifier: Option<&'a str>,
    /// CHAP_C, when the target must prove itself too.
    pub challenge: Option<&'a str>,
}

/// What the target proves itself with.
#[derive(Debug)]
pub struct Proof {
    /// CHAP_N.
    pub user: String,
    /// CHAP_R.
    pub response: Response,
}

impl Challenge {
    /// Takes the first algorithm of a CHAP_A list that is not weaker than `weakest`. `entropy` must be fresh.
    ///
    /// # Errors
    /// [`Refused`] when there is none.
    pub fn choose(list: &str, weakest: Algorithm, entropy: &[u8; limits::LOGIN_ENTROPY]) -> Result<Self, Refused> {
        let algorithm = list
            .split(',')
            .take(limits::CHAP_ALGORITHMS_MAX)
            .filter_map(|item| text::number(item).and_then(Algorithm::numbered))
            .find(|&algorithm| algorithm >= weakest)
            .ok_or(Refused)?;
        let (identifier, bytes) = entropy.split_first().ok_or(Refused)?;
        let bytes = bytes.try_into().map_err(|_| Refused)?;
        Ok(Self { algorithm, identifier: *identifier, bytes })
    }

    /// Checks an answer. `lookup` finds the secret of a user. The result is what the target owes in return, if the
    /// initiator asked for it.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn verify(
        &self,
        answer: &Answer<'_>,
        mutual_required: bool,
        lookup: impl FnOnce(&str) -> Option<Secret>,
    ) -> Result<Option<Proof>, Refused> {
        let name = answer.name.filter(|name| name.len() <= limits::SIMPLE_VALUE_MAX).ok_or(Refused)?;
        let response = answer.response.and_then(|r| text::binary(r, limits::CHAP_BINARY_MAX)).ok_or(Refused)?;
        let known = lookup(name).filter(|known| !known.secret.is_empty());
        // An unknown user costs the same hash as a known one.
        let secret = known.as_ref().map_or(&[0; 16][..], |known| &known.secret);
        let matches = self.algorithm.response(self.identifier, secret, &self.bytes).matches(&response);
        let known = known.filter(|_| matches).ok_or(Refused)?;
        known.has_distinct_secrets().then_some(()).ok_or(Refused)?;
        match (answer.identifier, answer.challenge) {
            (None, None) if mutual_required => Err(Refused),
            (None, None) => Ok(None),
            (Some(identifier), Some(challenge)) => self.prove(&known, identifier, challenge).map(Some),
            _ => Err(Refused),
        }
    }

    /// The target's answer to the initiator's challenge.
    fn prove(&self, known: &Secret, identifier: &str, challenge: &str) -> Result<Proof, Refused> {
        let identifier = text::number(identifier).and_then(|i| u8::try_from(i).ok()).ok_or(Refused)?;
        let challenge = text::binary(challenge, limits::CHAP_BINARY_MAX).ok_or(Refused)?;
        let mutual = known.mutual.as_ref().filter(|mutual| !mutual.secret.is_empty()).ok_or(Refused)?;
        // Whoever sends our own challenge back wants us to compute its answer (RFC 7143 §9.2.1).
        if challenge == self.bytes {
            return Err(Refused);
        }
        let response = self.algorithm.response(identifier, &mutual.secret, &challenge);
        Ok(Proof { user: mutual.user.clone(), response })
    }
}

/// The initiator's answer to CHAP_A, CHAP_I and CHAP_C of a target.
///
/// # Errors
/// [`Refused`] for an algorithm weaker than `weakest` or unknown, or a malformed or empty item.
pub fn respond(
    (algorithm, identifier, challenge): (&str, &str, &str),
    weakest: Algorithm,
    secret: &[u8],
) -> Result<(Algorithm, Response), Refused> {
    let algorithm = text::number(algorithm).and_then(Algorithm::numbered).filter(|&a| a >= weakest).ok_or(Refused)?;
    let identifier = text::number(identifier).and_then(|i| u8::try_from(i).ok()).ok_or(Refused)?;
    let challenge = text::binary(challenge, limits::CHAP_BINARY_MAX).ok_or(Refused)?;
    Ok((algorithm, algorithm.response(identifier, secret, &challenge)))
}
