//! The login phase (RFC 7143 §6.3), as requests out and responses in; no socket.
mod chap;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use iscsi::keys::Key;
use iscsi::negotiate::{DigestPolicy, Offer, Policy, Proposer, Transport as Protocol};
use iscsi::text::{Gather, Pair, Pairs, TextWriter};
use iscsi::wire::{Bhs, LoginRequest, LoginResponse, LoginStatus, Opcode, Stage};
use primitives::Serial;

use crate::error::{Error, Violation};
use crate::limits::{ISER_LARGE_SEGMENT, ISER_SEGMENT, MAX_LOGIN_ROUNDS, MAX_LOGIN_TEXT};
use crate::options::{Digest, Options};
use crate::transport::Agreed;
use chap::Exchange;

/// The segment a target surely takes during login (RFC 7143 §6.3).
const REQUEST_TEXT: usize = 8192;

/// The ITT of every login request; the session's own tags come later.
const LOGIN_TAG: u32 = 0;

/// The numbers and parameters a session begins with.
#[derive(Clone, Copy, Debug)]
pub struct LoggedIn {
    /// What was agreed on.
    pub agreed: Agreed,
    /// The session's handle.
    pub tsih: u16,
    /// CmdSN of the first command.
    pub cmd_sn: Serial,
    /// ExpCmdSN of the last response.
    pub exp_cmd_sn: Serial,
    /// MaxCmdSN of the last response.
    pub max_cmd_sn: Serial,
    /// The StatSN that comes next.
    pub exp_stat_sn: Serial,
}

/// What to do after a response.
#[derive(Debug)]
pub enum Step {
    /// Send [`Login::request`].
    Send,
    /// Full-feature phase has begun.
    Done(LoggedIn),
}

/// One login.
#[derive(Debug)]
pub struct Login {
    peer: SocketAddr,
    target: Option<String>,
    initiator: String,
    isid: [u8; 6],
    stage: Stage,
    /// Text and T bit of the next request.
    next: (Vec<u8>, bool),
    gather: Gather,
    exchange: Exchange,
    proposer: Proposer,
    policy: Policy,
    exp_stat_sn: Serial,
    rounds: u32,
}

impl Login {
    const FIRST_CMD_SN: Serial = Serial(1);

    /// A login to `target` of the portal `peer` by the rules of `protocol`; `None` is a discovery session.
    ///
    /// # Errors
    /// [`Error::Option`] when no random numbers for mutual CHAP can be had.
    pub fn new(peer: SocketAddr, protocol: Protocol, target: Option<&str>, options: &Options) -> Result<Self, Error> {
        let policy = policy(options, protocol);
        let mut login = Self {
            peer,
            target: target.map(str::to_owned),
            initiator: options.initiator_name.clone(),
            isid: isid(options.isid_qualifier),
            stage: Stage::Security,
            next: (Vec::new(), false),
            gather: Gather::default(),
            exchange: Exchange::new(options)?,
            proposer: Proposer::new(protocol, target.is_none(), policy),
            policy,
            exp_stat_sn: Serial(0),
            rounds: 0,
        };
        login.next = login.opening()?;
        Ok(login)
    }

    /// The request that is due.
    #[must_use]
    pub fn request(&mut self) -> (Bhs, Vec<u8>) {
        let (text, transit) = std::mem::take(&mut self.next);
        let next_stage = if self.stage == Stage::Security { Stage::Operational } else { Stage::FullFeature };
        let request = LoginRequest {
            transit,
            csg: self.stage.bits(),
            nsg: if transit { next_stage.bits() } else { 0 },
            isid: self.isid,
            itt: LOGIN_TAG,
            cmd_sn: Self::FIRST_CMD_SN,
            exp_stat_sn: self.exp_stat_sn,
            ..LoginRequest::default()
        };
        (request.encode(), text)
    }

    /// Takes a response with its data segment.
    ///
    /// # Errors
    /// [`Error::LoginRefused`], [`Error::Redirected`], [`Error::Login`] or [`Error::Protocol`]; the login is over.
    pub fn response(&mut self, bhs: &Bhs, segment: &[u8]) -> Result<Step, Error> {
        self.rounds += 1;
        if self.rounds > MAX_LOGIN_ROUNDS {
            return Err(self.failure("the target never comes to an end"));
        }
        if bhs.opcode() != Opcode::LOGIN_RESPONSE {
            return Err(self.violation(Violation::Opcode(bhs.opcode().0)));
        }
        let response = LoginResponse::decode(bhs);
        self.check(&response, segment)?;
        self.exp_stat_sn = response.stat_sn.plus(1);
        if self.gather.push(segment, MAX_LOGIN_TEXT).is_err() {
            return Err(self.failure("the target's text is too long"));
        }
        if response.cont {
            // RFC 7143 §6.2: an empty request of the same stage asks for the rest.
            self.next = (Vec::new(), false);
            return Ok(Step::Send);
        }
        let text = self.gather.take();
        let pairs =
            Pairs::collect_all(&text).map_err(|e| self.failure(&format!("the target's text is malformed ({e:?})")))?;
        match self.stage {
            Stage::Security => self.security(&response, &pairs),
            _ => self.operational(&response, &pairs),
        }
    }

    /// Checks what is the same for all responses.
    fn check(&self, response: &LoginResponse, segment: &[u8]) -> Result<(), Error> {
        let status = response.status();
        if status.is_redirect() {
            let address = Pairs::new(segment).flatten().find(|p| p.key == Key::TargetAddress.name());
            let address = address.ok_or_else(|| self.failure("the target redirects, but does not say where to"))?;
            return Err(Error::Redirected { target: self.whom(), address: address.value.to_owned(), hops: 0 });
        }
        if status != LoginStatus::SUCCESS {
            return Err(Error::LoginRefused { target: self.whom(), status });
        }
        if response.itt != LOGIN_TAG {
            return Err(self.violation(Violation::TaskTag(response.itt)));
        }
        if response.version_active != 0 {
            return Err(self.failure("the target chose a protocol version that was not offered"));
        }
        if response.csg != self.stage.bits() {
            return Err(self.violation(Violation::Field("a login response of another stage")));
        }
        if response.transit && response.cont {
            return Err(self.violation(Violation::Field("a login response with T and C")));
        }
        Ok(())
    }

    fn opening(&self) -> Result<(Vec<u8>, bool), Error> {
        let mut out = TextWriter::new(REQUEST_TEXT);
        let mut push =
            |key: Key, value: &str| out.push(key.name(), value).map_err(|_| self.failure("the names are too long"));
        push(Key::InitiatorName, &self.initiator)?;
        match &self.target {
            Some(target) => {
                push(Key::SessionType, "Normal")?;
                push(Key::TargetName, target)?;
            }
            None => push(Key::SessionType, "Discovery")?,
        }
        push(Key::AuthMethod, self.exchange.method())?;
        Ok((out.into_bytes(), !self.exchange.is_wanted()))
    }

    fn security(&mut self, response: &LoginResponse, pairs: &[Pair<'_>]) -> Result<Step, Error> {
        let mut out = TextWriter::new(REQUEST_TEXT);
        let done = self.exchange.take(pairs, &mut out).map_err(|why| self.failure(why))?;
        if !response.transit {
            self.next = (out.into_bytes(), done);
            return Ok(Step::Send);
        }
        if !self.exchange.is_satisfied() {
            return Err(
                self.failure("the target ends the security stage before CHAP has ended; it may not ask for CHAP")
            );
        }
        match Stage::from_bits(response.nsg) {
            Some(Stage::Operational) => {
                self.stage = Stage::Operational;
                let mut out = TextWriter::new(REQUEST_TEXT);
                self.proposer.offer(&mut out).map_err(|_| self.failure("the offers are too long"))?;
                self.next = (out.into_bytes(), true);
                Ok(Step::Send)
            }
            _ => Err(self.violation(Violation::Field("a login response with a next stage that was not asked for"))),
        }
    }

    fn operational(&mut self, response: &LoginResponse, pairs: &[Pair<'_>]) -> Result<Step, Error> {
        let said: Vec<Offer<'_>> = pairs.iter().map(|&pair| pair.into()).collect();
        self.proposer.accept(&said).map_err(|e| self.failure(&format!("{} ({e:?})", e.reason())))?;
        if !response.transit {
            self.next = (Vec::new(), true);
            return Ok(Step::Send);
        }
        if Stage::from_bits(response.nsg) != Some(Stage::FullFeature) {
            return Err(self.violation(Violation::Field("a login response with a next stage that was not asked for")));
        }
        let agreed = self.agreed()?;
        Ok(Step::Done(LoggedIn {
            agreed,
            tsih: response.tsih,
            cmd_sn: Self::FIRST_CMD_SN,
            exp_cmd_sn: response.exp_cmd_sn,
            max_cmd_sn: response.max_cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
        }))
    }

    fn agreed(&self) -> Result<Agreed, Error> {
        let p = self.proposer.finish().map_err(|e| self.failure(&format!("{} ({e:?})", e.reason())))?;
        if self.target.is_some() && !(p.data_pdu_in_order && p.data_sequence_in_order) {
            return Err(self.failure("the target wants to send data out of order"));
        }
        Ok(Agreed {
            header_digest: p.header_digest,
            data_digest: p.data_digest,
            initial_r2t: p.initial_r2t,
            immediate_data: p.immediate_data,
            max_send_segment: p.target_max_recv,
            max_recv_segment: p.initiator_max_recv,
            max_burst: p.max_burst,
            first_burst: p.first_burst,
            max_outstanding_r2t: p.max_outstanding_r2t.min(self.policy.max_outstanding_r2t),
        })
    }

    fn whom(&self) -> String {
        self.target.clone().unwrap_or_else(|| self.peer.to_string())
    }

    fn failure(&self, why: &str) -> Error {
        Error::Login { target: self.whom(), why: why.to_owned() }
    }

    fn violation(&self, violation: Violation) -> Error {
        Error::Protocol { peer: self.peer, violation }
    }
}

/// An ISID of the "random" format, 10b (RFC 7143 §11.12.5): the process in place of the random number, so that two
/// of this program on one host do not reinstate each other's sessions.
fn isid(qualifier: u16) -> [u8; 6] {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let [d, e] = qualifier.to_be_bytes();
    [0x80, a, b, c, d, e]
}

fn policy(options: &Options, protocol: Protocol) -> Policy {
    let digest = |d| match d {
        Digest::Off => DigestPolicy::Never,
        Digest::Allow => DigestPolicy::Allowed,
        Digest::Require => DigestPolicy::Required,
    };
    Policy {
        header_digest: digest(options.header_digest),
        data_digest: digest(options.data_digest),
        initial_r2t: options.initial_r2t,
        immediate_data: options.immediate_data,
        max_recv_data_segment_length: match protocol {
            Protocol::Tcp => options.max_recv_data_segment_length,
            // Of a discovery session only, which lives on the buffers of the login.
            Protocol::Iser => ISER_LARGE_SEGMENT,
        },
        max_burst: options.max_burst_length,
        first_burst: options.first_burst_length,
        max_outstanding_r2t: options.max_outstanding_r2t,
        target_recv_data_segment_length: ISER_LARGE_SEGMENT,
        initiator_recv_data_segment_length: ISER_SEGMENT,
        ..Policy::default()
    }
}
