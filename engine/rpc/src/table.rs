//! Methods by name, with typed parameters.

use crate::envelope::{self, Call, Message};
use crate::error::{INVALID_PARAMS, INVALID_STATE, METHOD_NOT_FOUND, PARSE_ERROR, RpcError};
use crate::limits::MAX_RESPONSE_BYTES;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What handlers work on.
pub trait Context: Send + Sync + 'static {
    /// Whether initialisation is over: decides which phase's methods may be called.
    fn is_running(&self) -> bool;
}

/// When a method may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Only before initialisation.
    Startup,
    /// Only after initialisation.
    Runtime,
    /// At any time.
    Both,
}

impl Phase {
    /// Whether a method of this phase may be called now.
    pub fn allows(self, running: bool) -> bool {
        match self {
            Phase::Startup => !running,
            Phase::Runtime => running,
            Phase::Both => true,
        }
    }
}

/// A method's name and phase, for `rpc_get_methods`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodInfo {
    /// Name as called.
    pub name: &'static str,
    /// When it may be called.
    pub phase: Phase,
}

type Handler<C> = Box<dyn Fn(&C, Option<&RawValue>) -> Result<Value, RpcError> + Send + Sync>;

struct Method<C> {
    phase: Phase,
    handler: Handler<C>,
}

/// All methods a server offers.
pub struct MethodTable<C> {
    methods: BTreeMap<&'static str, Method<C>>,
}

impl<C> std::fmt::Debug for MethodTable<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.methods.keys()).finish()
    }
}

impl<C> Default for MethodTable<C> {
    fn default() -> Self {
        Self { methods: BTreeMap::new() }
    }
}

impl<C: Context> MethodTable<C> {
    /// Adds a method whose parameters decode into `P` (which should deny unknown fields). A request without parameters
    /// is decoded as one with an empty object.
    ///
    /// # Panics
    /// If the name is taken: that is a mistake in the program.
    pub fn add<P, F>(&mut self, name: &'static str, phase: Phase, handler: F)
    where
        P: DeserializeOwned,
        F: Fn(&C, P) -> Result<Value, RpcError> + Send + Sync + 'static,
    {
        self.insert(name, phase, Box::new(move |ctx, params| handler(ctx, decode(params)?)));
    }

    /// Adds a method without parameters; as in SPDK, even an empty object is refused.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn add_bare<F>(&mut self, name: &'static str, phase: Phase, handler: F)
    where
        F: Fn(&C) -> Result<Value, RpcError> + Send + Sync + 'static,
    {
        let refuse = move || RpcError::new(INVALID_PARAMS, format!("{name} method requires no parameters"));
        let handler = move |ctx: &C, params: Option<&RawValue>| match params {
            None => handler(ctx),
            Some(_) => Err(refuse()),
        };
        self.insert(name, phase, Box::new(handler));
    }

    fn insert(&mut self, name: &'static str, phase: Phase, handler: Handler<C>) {
        let taken = self.methods.insert(name, Method { phase, handler });
        assert!(taken.is_none(), "method {name} is defined twice");
    }

    /// Names and phases, by name.
    pub fn catalog(&self) -> Vec<MethodInfo> {
        self.methods.iter().map(|(&name, method)| MethodInfo { name, phase: method.phase }).collect()
    }

    /// Calls one method.
    ///
    /// # Errors
    /// The method's own, "Method not found", or "invalid state" when called in the wrong phase.
    pub fn call(&self, ctx: &C, method: &str, params: Option<&RawValue>) -> Result<Value, RpcError> {
        let Some(found) = self.methods.get(method) else {
            return Err(RpcError::new(METHOD_NOT_FOUND, "Method not found"));
        };
        let running = ctx.is_running();
        if !found.phase.allows(running) {
            return Err(wrong_phase(running));
        }
        // A defect in one handler must cost that call, not the process. Handlers keep their state behind locks and
        // replace it whole, so what a panicking one leaves behind is the state before it.
        let outcome = catch_unwind(AssertUnwindSafe(|| (found.handler)(ctx, params)));
        let outcome = outcome.unwrap_or_else(|_| Err(RpcError::internal(format!("method {method} panicked"))));
        if let Err(error) = &outcome {
            // The message is left out on purpose: it may quote parameters, and those may hold secrets.
            tracing::debug!(method, code = error.code, "rpc failed");
        }
        outcome
    }

    /// Answers one whole JSON value: the response text ending in a newline, empty where none is due.
    pub(crate) fn answer(&self, ctx: &C, message: &[u8]) -> Answer {
        match envelope::parse_message(message) {
            Err(error) => {
                Answer { close: error.code == PARSE_ERROR, text: line(envelope::response(None, &Err(error))) }
            }
            Ok(Message::Single(text)) => {
                let text = self.answer_one(ctx, text).map(line).unwrap_or_default();
                Answer { close: false, text }
            }
            Ok(Message::Batch(calls)) => Answer { close: false, text: self.answer_batch(ctx, &calls) },
        }
    }

    fn answer_one(&self, ctx: &C, text: &str) -> Option<String> {
        match envelope::parse_call(text) {
            Err(error) => Some(envelope::response(None, &Err(error))),
            Ok(Call { method, params, id }) => {
                let outcome = self.call(ctx, &method, params);
                // A notification is answered only when it fails, as SPDK does.
                (id.is_some() || outcome.is_err()).then(|| bounded(envelope::response(id, &outcome), id))
            }
        }
    }

    fn answer_batch(&self, ctx: &C, calls: &[&RawValue]) -> String {
        let mut text = String::new();
        for call in calls {
            let Some(one) = self.answer_one(ctx, call.get()) else { continue };
            // Beyond the limit the calls are still made, but only their number is bounded by the request's length.
            if text.len() <= MAX_RESPONSE_BYTES {
                text.push(if text.is_empty() { '[' } else { ',' });
                text.push_str(&one);
            }
        }
        if text.is_empty() {
            return text;
        }
        text.push(']');
        line(bounded(text, None))
    }
}

/// What to send for a message, and whether the connection ends with it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub text: String,
    pub close: bool,
}

fn line(mut text: String) -> String {
    text.push('\n');
    text
}

/// Puts an error in place of a response that is too long.
fn bounded(text: String, id: Option<&RawValue>) -> String {
    if text.len() <= MAX_RESPONSE_BYTES {
        return text;
    }
    let reason = format!("response longer than {MAX_RESPONSE_BYTES} bytes");
    envelope::response(id, &Err(RpcError::internal(reason)))
}

fn wrong_phase(running: bool) -> RpcError {
    let message = if running {
        "Method may only be called before framework is initialized. Use --wait-for-rpc command line parameter and then \
         issue this RPC before the framework_start_init RPC."
    } else {
        "Method may only be called after framework is initialized using framework_start_init RPC."
    };
    RpcError::new(INVALID_STATE, message)
}

/// Decodes parameters, naming the field that is wrong.
fn decode<P: DeserializeOwned>(params: Option<&RawValue>) -> Result<P, RpcError> {
    let text = params.map_or("{}", RawValue::get);
    // A derived structure would also take an array of its fields in order.
    if !text.starts_with('{') {
        return Err(RpcError::invalid_params("expected an object of named parameters"));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner().to_string();
        // The position within the parameters says less than the path.
        let reason = reason.rfind(" at line ").map_or(reason.as_str(), |cut| &reason[..cut]);
        match path.as_str() {
            "." => RpcError::invalid_params(reason),
            path => RpcError::invalid_params(format!("{path}: {reason}")),
        }
    })
}

#[cfg(test)]
mod tests;
