//! Every limit of this crate. Running into one is a refusal with a clear status, never growth.

/// Longest key name (RFC 7143 §6.1).
pub const KEY_MAX: usize = 63;

/// Longest value of a key, as encoded text. 1,024 bytes of CHAP challenge are 2,050 characters in hex.
pub const VALUE_MAX: usize = 4096;

/// Longest simple value (RFC 7143 §6.1).
pub const SIMPLE_VALUE_MAX: usize = 255;

/// Most key=value pairs in one logical text data segment.
pub const PAIRS_MAX: usize = 256;

/// Most text one logical text data segment may hold, outside security negotiation (RFC 7143 §6.1: at least 8,192).
pub const TEXT_MAX: usize = 8192;

/// Most text one logical text data segment may hold while security is negotiated (RFC 7143 §6.1: at least 64 KiB).
pub const SECURITY_TEXT_MAX: usize = 65_536;

/// Most text of ours that answers one logical text data segment. Each of [`PAIRS_MAX`] longest keys answered with
/// NotUnderstood fits.
pub const ANSWER_MAX: usize = PAIRS_MAX * (KEY_MAX + 16);

/// The data segment both sides can take during login, where the default MaxRecvDataSegmentLength holds (RFC 7143 §6.3).
pub const LOGIN_SEGMENT_MAX: usize = 8192;

/// Most Login Requests on one connection: 64 KiB of security text in 1 KiB segments, and then some.
pub const LOGIN_EXCHANGES_MAX: u32 = 96;

/// Random bytes a login takes: a CHAP challenge and its identifier.
pub const LOGIN_ENTROPY: usize = CHAP_CHALLENGE + 1;

/// Bytes in the CHAP challenges of the target.
pub const CHAP_CHALLENGE: usize = 32;

/// Longest binary CHAP item (RFC 7143 §12.1.3).
pub const CHAP_BINARY_MAX: usize = 1024;

/// Most algorithms looked at in one CHAP_A list.
pub const CHAP_ALGORITHMS_MAX: usize = 32;

/// Longest iSCSI name in bytes (RFC 7143 §4.2.7.2).
pub const NAME_MAX: usize = 223;

/// Characters of a peer's string that a log line shows.
pub const PRINTABLE_MAX: usize = 256;

/// Largest SendTargets answer of one session, over all its PDUs.
pub const SEND_TARGETS_MAX: usize = 4 << 20;

/// What an iSER initiator can surely receive in one PDU of a discovery session: its login buffer.
pub const ISER_DISCOVERY_SEGMENT_MAX: u32 = 8192;

/// Immediate requests in progress at a time that a connection takes beside its CmdSN window (RFC 7143 §4.2.2.1: at
/// least one task management request and one other).
pub const IMMEDIATE_COMMANDS: u16 = 16;
