//! Text requests in full-feature phase: SendTargets (RFC 7143 §13.3, appendix C) and negotiation outside login
//! (§6.4, §11.10, §11.11).
//!
//! [`TextExchange`] consumes Text Requests and yields [`TextStep`]s. Their headers have no StatSN, ExpCmdSN and
//! MaxCmdSN yet: [`Bhs::stamp`] them.
use crate::keys::{Key, KeySet, Kind};
use crate::limits;
use crate::names::IscsiName;
use crate::negotiate::{Offer, Parameters};
use crate::text::{Gather, Outgoing, Pairs, TextWriter, answer, number};
use crate::wire::{Bhs, RESERVED_TAG, TextRequest, TextResponse, reject_reason};
use alloc::vec::Vec;

mod portal;

#[cfg(test)]
mod tests;

pub use portal::{Portal, TargetRecord};

/// Which targets SendTargets asks for. A session only ever learns of targets it may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// All of them; only in a discovery session.
    All,
    /// This one, if the session may see it: in a normal session, only its own target.
    Named(IscsiName),
    /// The target of this normal session.
    Own,
}

/// What happens next.
#[derive(Debug)]
pub enum TextStep {
    /// Send this Text Response.
    Reply {
        /// Its DataSegmentLength is that of `text`.
        bhs: Bhs,
        text: Vec<u8>,
    },
    /// Find these targets, then call [`TextExchange::listed`].
    List(Which),
    /// Send a Reject with this reason; the exchange is over.
    Reject(u8),
}

/// The text exchange of one connection: there is one at a time (RFC 7143 §6.2).
#[derive(Debug)]
pub struct TextExchange {
    discovery: bool,
    last_ttt: u32,
    active: Option<Active>,
}

/// An exchange that goes on.
#[derive(Debug, Default)]
struct Active {
    itt: u32,
    /// The tag the next request must carry.
    ttt: u32,
    seen: KeySet,
    gather: Gather,
    outgoing: Outgoing,
    /// A new MaxRecvDataSegmentLength of the initiator, in force once the exchange is complete (RFC 7143 §6.4).
    redeclared: Option<u32>,
    /// The request that is being answered.
    request: TextRequest,
}

/// What one logical text data segment asks for.
enum Asked {
    Answered(TextWriter),
    List(Which),
}

impl TextExchange {
    /// For one connection of a discovery or a normal session.
    #[must_use]
    pub const fn new(discovery: bool) -> Self {
        Self { discovery, last_ttt: 0, active: None }
    }

    /// Handles one Text Request; `data` is its data segment without padding. No response has more than `segment_max`
    /// bytes of text, nor more than the initiator declared.
    pub fn receive(&mut self, pdu: &Bhs, data: &[u8], parameters: &mut Parameters, segment_max: usize) -> TextStep {
        match self.request(&TextRequest::decode(pdu), data, parameters, segment_max) {
            Ok(step) => step,
            Err(reason) => {
                self.active = None;
                TextStep::Reject(reason)
            }
        }
    }

    /// Answers [`TextStep::List`].
    pub fn listed<'a>(
        &mut self,
        targets: impl IntoIterator<Item = TargetRecord<'a>>,
        parameters: &mut Parameters,
        segment_max: usize,
    ) -> TextStep {
        let mut out = TextWriter::new(limits::SEND_TARGETS_MAX);
        for target in targets {
            if target.write(&mut out).is_err() {
                self.active = None;
                return TextStep::Reject(reject_reason::OUT_OF_RESOURCES);
            }
        }
        match self.active.take() {
            Some(active) => {
                self.reply(Active { outgoing: Outgoing::new(out.into_bytes()), ..active }, parameters, segment_max)
            }
            None => TextStep::Reject(reject_reason::PROTOCOL_ERROR),
        }
    }

    fn request(
        &mut self,
        request: &TextRequest,
        data: &[u8],
        parameters: &mut Parameters,
        segment_max: usize,
    ) -> Result<TextStep, u8> {
        // An empty text that is to be continued could be continued for ever.
        if request.cont && (request.final_bit || data.is_empty()) {
            return Err(reject_reason::PROTOCOL_ERROR);
        }
        let mut active = self.resume(request)?;
        if !active.outgoing.is_done() {
            if request.cont || !data.is_empty() {
                return Err(reject_reason::PROTOCOL_ERROR);
            }
            return Ok(self.reply(active, parameters, segment_max));
        }
        active.gather.push(data, limits::TEXT_MAX).map_err(|_| reject_reason::PROTOCOL_ERROR)?;
        if request.cont {
            return Ok(self.reply(active, parameters, segment_max));
        }
        let text = active.gather.take();
        match self.text(&mut active, &text, parameters)? {
            Asked::Answered(out) => {
                active.outgoing = Outgoing::new(out.into_bytes());
                Ok(self.reply(active, parameters, segment_max))
            }
            Asked::List(which) => {
                self.active = Some(active);
                Ok(TextStep::List(which))
            }
        }
    }

    /// The exchange this request belongs to: a new one with the reserved tag (which resets an old one), else the one
    /// we gave the tag for (RFC 7143 §11.10.4).
    fn resume(&mut self, request: &TextRequest) -> Result<Active, u8> {
        let active = if request.ttt == RESERVED_TAG {
            Active { itt: request.itt, ..Active::default() }
        } else {
            let known = |active: &Active| active.ttt == request.ttt && active.itt == request.itt;
            self.active.take().filter(known).ok_or(reject_reason::INVALID_PDU_FIELD)?
        };
        Ok(Active { request: *request, ..active })
    }

    /// Handles one logical text data segment.
    fn text(&self, active: &mut Active, text: &[u8], parameters: &Parameters) -> Result<Asked, u8> {
        let offers: Vec<Offer<'_>> = Pairs::new(text)
            .map(|pair| pair.map(Offer::from))
            .collect::<Result<_, _>>()
            .map_err(|_| reject_reason::PROTOCOL_ERROR)?;
        let mut out = TextWriter::new(limits::ANSWER_MAX);
        for offer in &offers {
            let said = match offer.key {
                None => Some(answer::NOT_UNDERSTOOD),
                Some(key) if !active.seen.insert(key) => return Err(reject_reason::PROTOCOL_ERROR),
                // The only key of its exchange (appendix C).
                Some(Key::SendTargets) if offers.len() == 1 => {
                    return self.send_targets(offer.value).map(|which| which.map_or(Asked::Answered(out), Asked::List));
                }
                Some(key) => negotiate(active, key, offer.value, parameters)?,
            };
            if let Some(said) = said {
                out.push(offer.name, said).map_err(|_| reject_reason::OUT_OF_RESOURCES)?;
            }
        }
        Ok(Asked::Answered(out))
    }

    /// What SendTargets=`value` asks for; `None` for nothing that could exist.
    fn send_targets(&self, value: &str) -> Result<Option<Which>, u8> {
        match value {
            "All" if self.discovery => Ok(Some(Which::All)),
            // MUST NOT be supported on an operational session (appendix C).
            "All" => Err(reject_reason::PROTOCOL_ERROR),
            "" if self.discovery => Ok(None),
            "" => Ok(Some(Which::Own)),
            name => Ok(IscsiName::parse(name).ok().map(Which::Named)),
        }
    }

    /// Sends the next segment of our text. The exchange ends with the response in which both sides have nothing
    /// more to say (RFC 7143 §11.11.1).
    fn reply(&mut self, mut active: Active, parameters: &mut Parameters, segment_max: usize) -> TextStep {
        let peer_max = usize::try_from(parameters.initiator_max_recv).unwrap_or(usize::MAX);
        let text = active.outgoing.next_segment(segment_max.min(peer_max));
        let cont = !active.outgoing.is_done();
        let final_bit = active.request.final_bit && !cont;
        let mut header =
            TextResponse { final_bit, cont, itt: active.itt, ttt: RESERVED_TAG, ..TextResponse::default() };
        if final_bit {
            if let Some(length) = active.redeclared {
                parameters.initiator_max_recv = length;
            }
        } else {
            active.ttt = self.next_ttt();
            header.ttt = active.ttt;
            header.lun = active.request.lun;
            self.active = Some(active);
        }
        let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
        TextStep::Reply { bhs: header.encode().with_data_segment_length(len), text }
    }

    /// A tag no request has seen lately.
    fn next_ttt(&mut self) -> u32 {
        self.last_ttt = self.last_ttt.wrapping_add(1);
        if self.last_ttt == RESERVED_TAG {
            self.last_ttt = 1;
        }
        self.last_ttt
    }
}

/// Handles a key of "Use: ALL" (RFC 7143 §13); any other is an error here. The result is the answer, if one is due.
fn negotiate(active: &mut Active, key: Key, value: &str, parameters: &Parameters) -> Result<Option<&'static str>, u8> {
    let rule = key.rule();
    let allowed = rule.full_feature && key != Key::SendTargets;
    if !allowed || (rule.target_only && value != answer::NOT_UNDERSTOOD) {
        return Err(reject_reason::PROTOCOL_ERROR);
    }
    if key == Key::MaxRecvDataSegmentLength
        && let Kind::DeclaredNumber(low, high) = rule.kind
    {
        // In iSER-assisted mode the key is to be ignored (RFC 7145 §6.2).
        if parameters.rdma_extensions {
            return Ok(None);
        }
        let declared = number(value).and_then(|n| u32::try_from(n).ok()).filter(|n| (low..=high).contains(n));
        active.redeclared = declared;
        return Ok(if declared.is_some() { None } else { Some(answer::REJECT) });
    }
    Ok(None)
}
