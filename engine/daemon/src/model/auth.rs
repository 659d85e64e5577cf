//! CHAP: policies, groups of secrets.

use super::ModelError;
use crate::limits::{MAX_CHAP_BYTES, MAX_SECRETS, MIN_CHAP_SECRET_BYTES};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whether sessions must authenticate, and with whose secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthPolicy {
    /// No authentication, even if the initiator offers it.
    pub disable_chap: bool,
    /// CHAP or nothing.
    pub require_chap: bool,
    /// The target authenticates itself too. Only together with `require_chap`.
    pub mutual_chap: bool,
    /// Tag of the authentication group; 0 is none.
    pub chap_group: i32,
}

impl AuthPolicy {
    /// Checks that the flags make sense together.
    ///
    /// # Errors
    /// Names the flags in the way.
    pub fn check(&self) -> Result<(), ModelError> {
        if self.chap_group < 0 {
            return Err(ModelError::invalid("chap_group", format!("expected 0 or more, got {}", self.chap_group)));
        }
        if self.disable_chap && (self.require_chap || self.mutual_chap) {
            return Err(ModelError::invalid("disable_chap", "expected alone, without require_chap and mutual_chap"));
        }
        if self.mutual_chap && !self.require_chap {
            return Err(ModelError::invalid("mutual_chap", "expected together with require_chap"));
        }
        Ok(())
    }
}

/// A CHAP secret. It has no [`fmt::Debug`] text of its own and its decoding errors do not quote it, so that it cannot
/// end up in a log.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn is_weak(&self) -> bool {
        self.0.len() < MIN_CHAP_SECRET_BYTES
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret(text.to_owned()))
            }

            // The provided methods quote what they refuse.
            fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
                Err(E::custom("expected a string, got a number"))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom("expected a string, got a number"))
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
                Err(E::custom("expected a string, got a number"))
            }
        }
        // `deserialize_str` would refuse a number itself, and quote it.
        deserializer.deserialize_any(Text)
    }
}

/// One initiator's user and secret, and optionally the target's own for mutual CHAP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// CHAP_N the initiator sends.
    pub user: String,
    /// Its secret.
    pub secret: Secret,
    /// CHAP_N the target answers with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub muser: Option<String>,
    /// The target's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msecret: Option<Secret>,
}

impl Credential {
    /// Checks lengths and that mutual user and secret come together.
    ///
    /// # Errors
    /// Names the field; never quotes a secret.
    pub fn check(&self) -> Result<(), ModelError> {
        check_length("user", &self.user)?;
        check_length("secret", self.secret.expose())?;
        match (&self.muser, &self.msecret) {
            (None, None) => {}
            (Some(muser), Some(msecret)) => {
                check_length("muser", muser)?;
                check_length("msecret", msecret.expose())?;
                // RFC 7143 §12.1.3: one secret for both directions lets either side replay the other's answer.
                if *msecret == self.secret {
                    return Err(ModelError::invalid("msecret", "expected a secret other than \"secret\""));
                }
            }
            _ => return Err(ModelError::invalid("muser", "expected together with msecret")),
        }
        Ok(())
    }

    /// Whether one of its secrets is shorter than RFC 7143 §12.1.3 wants: allowed, but worth a warning.
    pub fn is_weak(&self) -> bool {
        [Some(&self.secret), self.msecret.as_ref()].into_iter().flatten().any(Secret::is_weak)
    }
}

fn check_length(field: &str, text: &str) -> Result<(), ModelError> {
    if (1..=MAX_CHAP_BYTES).contains(&text.len()) && !text.contains('\0') {
        return Ok(());
    }
    Err(ModelError::invalid(field, format!("expected 1 to {MAX_CHAP_BYTES} bytes without NUL")))
}

/// Secrets under a tag that policies refer to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthGroup {
    /// Unique, greater than 0.
    pub tag: i32,
    /// One per user.
    #[serde(default)]
    pub secrets: Vec<Credential>,
}

impl AuthGroup {
    /// Checks the tag and every secret.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), ModelError> {
        if self.tag < 1 {
            return Err(ModelError::invalid("tag", format!("expected 1 or more, got {}", self.tag)));
        }
        if self.secrets.len() > MAX_SECRETS {
            return Err(ModelError::invalid("secrets", format!("expected at most {MAX_SECRETS}")));
        }
        for (at, credential) in self.secrets.iter().enumerate() {
            credential.check()?;
            if self.secrets[..at].iter().any(|earlier| earlier.user == credential.user) {
                return Err(ModelError::invalid("user", format!("{:?} is in the group already", credential.user)));
            }
        }
        Ok(())
    }

    /// The credential of a user.
    pub fn find(&self, user: &str) -> Option<&Credential> {
        self.secrets.iter().find(|credential| credential.user == user)
    }
}
