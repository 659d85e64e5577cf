//! The login state machine.
use super::fault::Fault;
use super::header::{self, Asked, Identity, VERSION};
use super::identify::{Session, check_keys};
use super::security::Security;
use super::{Access, Authenticated, Established, Registered, Registration, Response, Step, Transport};
use crate::keys::Key;
use crate::limits;
use crate::negotiate::{Offer, Parameters};
use crate::text::{Gather, Outgoing, Pairs, TextWriter};
use crate::wire::{Bhs, LoginRequest, LoginResponse, LoginStatus, Opcode, Stage};
use alloc::vec::Vec;
use primitives::Serial;

/// The login phase of one connection.
#[derive(Debug)]
pub struct Login {
    transport: Transport,
    entropy: [u8; limits::LOGIN_ENTROPY],
    requests: u32,
    identity: Option<Identity>,
    stat_sn: Serial,
    /// Text of the initiator that is not complete yet.
    gather: Gather,
    /// Text of ours that is not sent yet.
    outgoing: Outgoing,
    state: State,
}

/// One variant per stage.
#[derive(Debug)]
enum State {
    /// The first request is not complete.
    Start,
    Security(Session, Security),
    Operational(Session, Authenticated),
    /// The caller is at [`Step::Register`].
    Registering(Pending),
    /// Established, refused or closed.
    Over,
}

/// The final response, while the session is being registered.
#[derive(Debug)]
struct Pending {
    session: Session,
    parameters: Parameters,
    /// The stage that is left.
    from: Stage,
    text: Vec<u8>,
    proof: Authenticated,
}

impl Login {
    /// A login on a fresh connection. `entropy` must be random and used for no other login.
    #[must_use]
    pub fn new(transport: Transport, entropy: [u8; limits::LOGIN_ENTROPY]) -> Self {
        Self {
            transport,
            entropy,
            requests: 0,
            identity: None,
            stat_sn: Serial(0),
            gather: Gather::default(),
            outgoing: Outgoing::default(),
            state: State::Start,
        }
    }

    /// Handles one PDU; `data` is its data segment without padding.
    pub fn receive(&mut self, pdu: &Bhs, data: &[u8], access: &impl Access) -> Step {
        if matches!(self.state, State::Over | State::Registering(_)) {
            self.state = State::Over;
            return Step::Close("a PDU where none is expected");
        }
        if pdu.opcode() != Opcode::LOGIN_REQUEST {
            return self.not_a_login();
        }
        let request = LoginRequest::decode(pdu);
        match self.request(pdu, &request, data, access) {
            Ok(step) => step,
            Err(fault) => self.refuse(fault),
        }
    }

    /// Answers [`Step::Register`]. Anything but [`Step::Established`] means that the session is not used.
    pub fn registered(&mut self, result: Result<Registered, LoginStatus>) -> Step {
        let (State::Registering(pending), Some(identity)) =
            (core::mem::replace(&mut self.state, State::Over), self.identity)
        else {
            return Step::Close("no registration was asked for");
        };
        let tsih = match result {
            Ok(Registered { tsih: 0 }) => {
                return self.refuse(Fault::new(LoginStatus::TARGET_ERROR, "a session was registered without TSIH"));
            }
            Ok(Registered { tsih }) => tsih,
            Err(status) => return self.refuse(Fault::new(status, "the session was not registered")),
        };
        let window = u32::from(pending.session.command_window);
        let header = LoginResponse { tsih, ..self.header(identity, pending.from, Some(Stage::FullFeature), window) };
        let response = self.response(header, pending.text);
        let established = Established {
            initiator_name: pending.session.initiator,
            isid: identity.isid,
            tsih,
            cid: identity.cid,
            session: pending.session.kind,
            parameters: pending.parameters,
            exp_cmd_sn: identity.cmd_sn,
            stat_sn: self.stat_sn,
            command_window: pending.session.command_window,
            authenticated: pending.proof,
        };
        Step::Established(response, established)
    }

    /// RFC 7143 §6.3, §4.2.4: as the first PDU a reason to close at once, later a reason to refuse.
    fn not_a_login(&mut self) -> Step {
        if self.identity.is_some() {
            return self.refuse(Fault::new(LoginStatus::INVALID_DURING_LOGIN, "another PDU during login"));
        }
        self.state = State::Over;
        Step::Close("the first PDU is not a Login Request")
    }

    fn request(&mut self, pdu: &Bhs, request: &LoginRequest, data: &[u8], access: &impl Access) -> Result<Step, Fault> {
        let identity = *self.identity.get_or_insert_with(|| {
            // Ours to choose on a new connection. What the initiator calls the next one surprises it least.
            self.stat_sn = request.exp_stat_sn;
            Identity::of(request)
        });
        self.requests += 1;
        if self.requests > limits::LOGIN_EXCHANGES_MAX {
            return Err(Fault::initiator("too many Login Requests"));
        }
        identity.check(request)?;
        let asked = header::check(pdu, request, data)?;
        if self.stage().is_some_and(|stage| stage != asked.stage) {
            return Err(Fault::initiator("CSG is not the current stage"));
        }
        if !self.outgoing.is_done() {
            // The C bit of our last response asks for an empty request (RFC 7143 §6.2).
            if asked.cont || !data.is_empty() {
                return Err(Fault::initiator("text before the target's text was complete"));
            }
            return self.reply(identity, asked);
        }
        self.gather.push(data, text_limit(asked.stage))?;
        if asked.cont {
            let header = self.header(identity, asked.stage, None, 1);
            return Ok(Step::Reply(self.response(header, Vec::new())));
        }
        let text = self.gather.take();
        let offers: Vec<Offer<'_>> = Pairs::new(&text).map(|pair| pair.map(Offer::from)).collect::<Result<_, _>>()?;
        self.text(identity, asked, &offers, access)?;
        self.reply(identity, asked)
    }

    /// Handles one logical text data segment; the answer is in `outgoing` then.
    fn text(
        &mut self,
        identity: Identity,
        asked: Asked,
        offers: &[Offer<'_>],
        access: &impl Access,
    ) -> Result<(), Fault> {
        check_keys(offers)?;
        let mut out = TextWriter::new(limits::ANSWER_MAX);
        let state = match core::mem::replace(&mut self.state, State::Over) {
            State::Start => self.begin(identity, asked, offers, access, &mut out)?,
            known => known,
        };
        self.state = match state {
            State::Security(session, security) => {
                session.check_declarations(offers)?;
                let security = security.step(offers, session.auth, &self.entropy, access, &mut out)?;
                if matches!(security, Security::Open) && session.auth.is_required() && asked.next.is_some() {
                    return Err(Fault::authentication("authentication is required and was not offered"));
                }
                State::Security(session, security)
            }
            State::Operational(mut session, proof) => {
                session.check_declarations(offers)?;
                if offers.iter().any(|o| o.key.is_some_and(|key| !key.belongs_in(crate::keys::Stage::Operational))) {
                    return Err(Fault::initiator("a key of another stage in the operational stage"));
                }
                session.responder.answer(offers, &mut out)?;
                State::Operational(session, proof)
            }
            other => other,
        };
        self.outgoing = Outgoing::new(out.into_bytes());
        Ok(())
    }

    /// The first request is complete: who is it, and where does it begin?
    fn begin(
        &self,
        identity: Identity,
        asked: Asked,
        offers: &[Offer<'_>],
        access: &impl Access,
        out: &mut TextWriter,
    ) -> Result<State, Fault> {
        let session = Session::identify(offers, self.transport, access)?;
        // Only on the leading connection (RFC 7143 §6.3.1).
        if identity.tsih == 0 {
            session.introduce(out)?;
        }
        match (asked.stage, Security::Open) {
            (Stage::Security, security) => Ok(State::Security(session, security)),
            (_, security) => match security.finish(session.auth) {
                Ok(proof) => Ok(State::Operational(session, proof)),
                Err(_) => Err(Fault::authentication("authentication is required and was skipped")),
            },
        }
    }

    /// Sends the next segment of our text, and with the last one makes the transition that was asked for, if it can
    /// be made. A target answers T=1 only to T=1 (RFC 7143 §11.13.6).
    fn reply(&mut self, identity: Identity, asked: Asked) -> Result<Step, Fault> {
        let text = self.outgoing.next_segment(limits::LOGIN_SEGMENT_MAX);
        if !self.outgoing.is_done() {
            let header = LoginResponse { cont: true, ..self.header(identity, asked.stage, None, 1) };
            return Ok(Step::Reply(self.response(header, text)));
        }
        match asked.next.and_then(|next| self.advance(asked.stage, next)) {
            Some(Stage::FullFeature) => self.register(identity, asked.stage, text),
            next => {
                let header = self.header(identity, asked.stage, next, 1);
                Ok(Step::Reply(self.response(header, text)))
            }
        }
    }

    /// Leaves the current stage if it is complete. The result is where this went: never beyond what was asked for.
    fn advance(&mut self, from: Stage, next: Stage) -> Option<Stage> {
        let (state, reached) = match core::mem::replace(&mut self.state, State::Over) {
            State::Security(session, security) => match security.finish(session.auth) {
                Ok(proof) => {
                    let skip = next == Stage::FullFeature && !session.responder.needs_operational_stage();
                    let reached = if skip { Stage::FullFeature } else { Stage::Operational };
                    (State::Operational(session, proof), Some(reached))
                }
                Err(security) => (State::Security(session, security), None),
            },
            State::Operational(session, proof) => (State::Operational(session, proof), Some(Stage::FullFeature)),
            other => (other, None),
        };
        debug_assert!(reached.is_none_or(|reached| reached > from && reached <= next));
        self.state = state;
        reached
    }

    /// Negotiation is over; the session is the caller's business now.
    fn register(&mut self, identity: Identity, from: Stage, text: Vec<u8>) -> Result<Step, Fault> {
        let State::Operational(session, proof) = core::mem::replace(&mut self.state, State::Over) else {
            return Err(Fault::new(LoginStatus::TARGET_ERROR, "full-feature phase without a login"));
        };
        let parameters = session.responder.finish()?;
        let registration = Registration {
            initiator_name: session.initiator.clone(),
            isid: identity.isid,
            tsih: identity.tsih,
            cid: identity.cid,
            session: session.kind,
            parameters,
            exp_cmd_sn: identity.cmd_sn,
            authenticated: Authenticated(()),
        };
        self.state = State::Registering(Pending { session, parameters, from, text, proof });
        Ok(Step::Register(registration))
    }

    /// A Login reject (RFC 7143 §6.3.1: T, CSG and NSG are reserved in it).
    fn refuse(&mut self, fault: Fault) -> Step {
        self.state = State::Over;
        let Some(identity) = self.identity else { return Step::Close(fault.why) };
        let mut out = TextWriter::new(limits::LOGIN_SEGMENT_MAX);
        if let Some(address) = &fault.refusal.address
            && out.push(Key::TargetAddress.name(), address).is_err()
        {
            return self.refuse(Fault::new(LoginStatus::TARGET_ERROR, "the address of a redirection is too long"));
        }
        let status = fault.refusal.status;
        let header = LoginResponse {
            csg: 0,
            status_class: status.class(),
            status_detail: status.detail(),
            ..self.header(identity, Stage::Security, None, 1)
        };
        Step::Refuse(self.response(header, out.into_bytes()), fault.why)
    }

    /// The stage that requests must belong to, once one is known.
    fn stage(&self) -> Option<Stage> {
        match self.state {
            State::Security(..) => Some(Stage::Security),
            State::Operational(..) => Some(Stage::Operational),
            // The first text may take several requests, all of one stage.
            State::Start => self.identity.and_then(|identity| identity.stage),
            State::Registering(_) | State::Over => None,
        }
    }

    /// A response header; `window` is the number of ordered commands that MaxCmdSN lets in.
    fn header(&self, identity: Identity, stage: Stage, next: Option<Stage>, window: u32) -> LoginResponse {
        LoginResponse {
            transit: next.is_some(),
            cont: false,
            csg: stage.bits(),
            nsg: next.map_or(0, Stage::bits),
            version_max: VERSION,
            version_active: VERSION,
            isid: identity.isid,
            tsih: identity.tsih,
            itt: identity.itt,
            stat_sn: self.stat_sn,
            exp_cmd_sn: identity.cmd_sn,
            max_cmd_sn: identity.cmd_sn.plus(window).minus(1),
            status_class: 0,
            status_detail: 0,
        }
    }

    /// The whole response; it takes its StatSN.
    fn response(&mut self, header: LoginResponse, text: Vec<u8>) -> Response {
        self.stat_sn.take();
        let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
        debug_assert!(text.len() <= limits::LOGIN_SEGMENT_MAX);
        Response { bhs: header.encode().with_data_segment_length(len), text }
    }
}

/// How much text one logical text data segment may hold (RFC 7143 §6.1).
const fn text_limit(stage: Stage) -> usize {
    match stage {
        Stage::Security => limits::SECURITY_TEXT_MAX,
        Stage::Operational | Stage::FullFeature => limits::TEXT_MAX,
    }
}
