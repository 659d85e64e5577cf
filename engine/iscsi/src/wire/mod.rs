//! iSCSI PDU headers as they are on the wire (RFC 7143 §11, RFC 7144 §5-6).
//!
//! [`Bhs`] is the 48-byte basic header segment; what every PDU has in common is read straight from it. Each PDU type
//! is a plain struct that both decodes from a `Bhs` and encodes into one, from a single table of field places, so
//! the initiator and the target cannot disagree. Decoding is total (every 48 bytes mean something; whether they are
//! legal is for the layer above) and reserved fields are written as zero.
//!
//! Lengths belong to framing, not to a PDU: they are read with [`Bhs::data_segment_length`] and written with
//! [`Bhs::with_data_segment_length`].
pub mod ahs;
mod async_message;
mod bhs;
mod command;
mod data;
mod layout;
mod login;
mod logout;
mod nop;
pub mod opcode;
mod reject;
mod snack;
mod text;
mod tmf;

#[cfg(test)]
mod tests;

pub use async_message::{AsyncMessage, event};
pub use bhs::{BHS_LEN, Bhs, RESERVED_TAG};
pub use command::{ScsiCommand, ScsiResponse, attribute, service};
pub use data::{DataIn, DataOut, R2t};
pub use login::{LoginRequest, LoginResponse, LoginStatus, Stage};
pub use logout::{LogoutRequest, LogoutResponse, logout_reason, logout_response};
pub use nop::{NopIn, NopOut};
pub use opcode::Opcode;
pub use reject::{Reject, reject_reason};
pub use snack::{SnackRequest, snack_type};
pub use text::{TextRequest, TextResponse};
pub use tmf::{TmfRequest, TmfResponse, function, tmf_response};
