//! The initiator's side of CHAP during login (RFC 7143 §12.1.3).

use std::io::Read;

use iscsi::chap::{Algorithm, respond};
use iscsi::keys::Key;
use iscsi::limits::{CHAP_BINARY_MAX, LOGIN_ENTROPY};
use iscsi::text::{Base16, Pair, TextWriter, binary};

use crate::error::Error;
use crate::options::{Chap, Options};

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    /// AuthMethod=None was offered.
    NotWanted,
    /// AuthMethod=CHAP was offered.
    Offered,
    /// CHAP_A was sent.
    Listed,
    /// CHAP_N and CHAP_R were sent, with this algorithm.
    Answered(Algorithm),
    /// The target has proved itself too, or need not.
    Satisfied,
}

/// One authentication.
#[derive(Debug)]
pub(super) struct Exchange {
    own: Option<Chap>,
    peer: Option<Chap>,
    algorithms: Vec<Algorithm>,
    /// Our CHAP_I and CHAP_C, if the target must prove itself.
    entropy: [u8; LOGIN_ENTROPY],
    progress: Progress,
}

impl Exchange {
    pub fn new(options: &Options) -> Result<Self, Error> {
        let mut entropy = [0; LOGIN_ENTROPY];
        if options.mutual_chap.is_some() {
            let filled = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut entropy));
            filled.map_err(|e| Error::Option { option: "mutual_chap", why: format!("no random numbers: {e}") })?;
        }
        let progress = if options.chap.is_some() { Progress::Offered } else { Progress::NotWanted };
        let (own, peer, algorithms) =
            (options.chap.clone(), options.mutual_chap.clone(), options.chap_algorithms.clone());
        Ok(Self { own, peer, algorithms, entropy, progress })
    }

    /// The value of AuthMethod.
    pub fn method(&self) -> &'static str {
        if self.is_wanted() { "CHAP" } else { "None" }
    }

    pub fn is_wanted(&self) -> bool {
        self.own.is_some()
    }

    pub fn is_satisfied(&self) -> bool {
        matches!(self.progress, Progress::NotWanted | Progress::Satisfied)
    }

    /// Takes what the target said in the security stage and writes the answer. Returns `true` when we have nothing
    /// more to say in this stage.
    pub fn take(&mut self, pairs: &[Pair<'_>], out: &mut TextWriter) -> Result<bool, &'static str> {
        let value = |key: Key| pairs.iter().find(|p| p.key == key.name()).map(|p| p.value);
        match self.progress {
            Progress::NotWanted => match value(Key::AuthMethod) {
                None | Some("None") => Ok(true),
                Some(_) => Err("the target demands authentication; give a CHAP user and secret (user%secret@host)"),
            },
            Progress::Offered => match value(Key::AuthMethod) {
                Some("CHAP") => {
                    let list: Vec<String> = self.algorithms.iter().map(|a| a.number().to_string()).collect();
                    push(out, Key::ChapA, list.join(","))?;
                    self.progress = Progress::Listed;
                    Ok(false)
                }
                _ => Err("the target does not agree to CHAP; leave the CHAP user out, or set one up on the target"),
            },
            Progress::Listed => {
                let (Some(a), Some(i), Some(c)) = (value(Key::ChapA), value(Key::ChapI), value(Key::ChapC)) else {
                    return Err("the target sent no whole CHAP challenge");
                };
                self.answer((a, i, c), out)?;
                Ok(true)
            }
            Progress::Answered(algorithm) => {
                self.check_target(algorithm, value(Key::ChapN), value(Key::ChapR))?;
                self.progress = Progress::Satisfied;
                Ok(true)
            }
            Progress::Satisfied => Ok(true),
        }
    }

    fn answer(&mut self, challenge: (&str, &str, &str), out: &mut TextWriter) -> Result<(), &'static str> {
        let own = self.own.as_ref().ok_or("there is no CHAP secret")?;
        let (identifier, own_challenge) = self.entropy.split_first().ok_or("there is no entropy")?;
        let (algorithm, response) = respond(challenge, Algorithm::Md5, own.secret.as_bytes())
            .ok()
            .filter(|(algorithm, _)| self.algorithms.contains(algorithm))
            .ok_or("the target's CHAP challenge is malformed, or of an algorithm that was not offered")?;
        push(out, Key::ChapN, &own.user)?;
        push(out, Key::ChapR, Base16(response.as_bytes()))?;
        if self.peer.is_some() {
            push(out, Key::ChapI, identifier)?;
            push(out, Key::ChapC, Base16(own_challenge))?;
        }
        self.progress = Progress::Answered(algorithm);
        Ok(())
    }

    fn check_target(
        &self,
        algorithm: Algorithm,
        name: Option<&str>,
        response: Option<&str>,
    ) -> Result<(), &'static str> {
        let Some(peer) = &self.peer else { return Ok(()) };
        let (Some(name), Some(response)) = (name, response) else {
            return Err("the target did not prove its identity; it may have no mutual CHAP secret set up");
        };
        let response = binary(response, CHAP_BINARY_MAX).ok_or("the target's CHAP response is malformed")?;
        let (identifier, challenge) = self.entropy.split_first().ok_or("there is no entropy")?;
        let expected = algorithm.response(*identifier, peer.secret.as_bytes(), challenge);
        if name == peer.user && expected.matches(&response) {
            Ok(())
        } else {
            Err("the target failed to prove its identity; check the mutual CHAP user and secret")
        }
    }
}

fn push(out: &mut TextWriter, key: Key, value: impl std::fmt::Display) -> Result<(), &'static str> {
    out.push(key.name(), value).map_err(|_| "the CHAP user is too long")
}
