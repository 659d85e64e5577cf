//! The basic header segment and the fields all PDUs share (RFC 7143 §11.2.1).
use super::Opcode;
use primitives::Serial;

/// Bytes in a basic header segment.
pub const BHS_LEN: usize = 48;

/// The tag value that names no task and no transfer (RFC 7143 §11.2.1.8, §11.7.4).
pub const RESERVED_TAG: u32 = 0xffff_ffff;

/// A basic header segment, as received or ready to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Bhs(pub [u8; BHS_LEN]);

impl Bhs {
    /// All zero but for the opcode.
    #[must_use]
    #[inline]
    pub const fn new(opcode: Opcode) -> Self {
        let mut bytes = [0; BHS_LEN];
        bytes[0] = opcode.0 & Opcode::MASK;
        Self(bytes)
    }

    /// The first 48 bytes of `bytes`; `None` when there are fewer.
    #[must_use]
    #[inline]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().copied().map(Self)
    }

    #[must_use]
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; BHS_LEN] {
        &self.0
    }

    #[must_use]
    #[inline]
    pub const fn opcode(&self) -> Opcode {
        Opcode(self.0[0] & Opcode::MASK)
    }

    /// The I bit: deliver at once, outside the CmdSN order (requests only).
    #[must_use]
    #[inline]
    pub const fn immediate(&self) -> bool {
        self.0[0] & 0x40 != 0
    }

    /// The F bit; in login PDUs the same bit is T.
    #[must_use]
    #[inline]
    pub const fn final_bit(&self) -> bool {
        self.0[1] & 0x80 != 0
    }

    /// The length of all additional header segments, in 4-byte words.
    #[must_use]
    #[inline]
    pub const fn total_ahs_length(&self) -> u8 {
        self.0[4]
    }

    /// The length of all additional header segments, in bytes (at most 1,020).
    #[must_use]
    #[inline]
    pub const fn ahs_bytes(&self) -> usize {
        self.0[4] as usize * 4
    }

    /// The length of the data segment in bytes, without padding; 24 bits on the wire.
    #[must_use]
    #[inline]
    pub const fn data_segment_length(&self) -> u32 {
        u32::from_be_bytes([0, self.0[5], self.0[6], self.0[7]])
    }

    /// The eight LUN bytes as SAM formats them.
    #[must_use]
    #[inline]
    pub fn lun(&self) -> [u8; 8] {
        self.array(8)
    }

    /// The Initiator Task Tag.
    #[must_use]
    #[inline]
    pub fn itt(&self) -> u32 {
        self.word(16)
    }

    /// The Target Transfer Tag, in the PDUs that have one.
    #[must_use]
    #[inline]
    pub fn ttt(&self) -> u32 {
        self.word(20)
    }

    /// CmdSN, in requests that have one (all but Data-Out and SNACK).
    #[must_use]
    #[inline]
    pub fn cmd_sn(&self) -> Serial {
        Serial(self.word(24))
    }

    /// ExpStatSN, in every request.
    #[must_use]
    #[inline]
    pub fn exp_stat_sn(&self) -> Serial {
        Serial(self.word(28))
    }

    /// StatSN, in every response.
    #[must_use]
    #[inline]
    pub fn stat_sn(&self) -> Serial {
        Serial(self.word(24))
    }

    /// ExpCmdSN, in every response.
    #[must_use]
    #[inline]
    pub fn exp_cmd_sn(&self) -> Serial {
        Serial(self.word(28))
    }

    /// MaxCmdSN, in every response.
    #[must_use]
    #[inline]
    pub fn max_cmd_sn(&self) -> Serial {
        Serial(self.word(32))
    }

    /// Writes the data segment length; what does not fit 24 bits is cut off, so callers bound it first.
    #[inline]
    pub fn set_data_segment_length(&mut self, bytes: u32) {
        debug_assert!(bytes < 1 << 24, "DataSegmentLength has 24 bits");
        self.0[5..8].copy_from_slice(&bytes.to_be_bytes()[1..]);
    }

    /// This header with its data segment length set.
    #[must_use]
    #[inline]
    pub fn with_data_segment_length(mut self, bytes: u32) -> Self {
        self.set_data_segment_length(bytes);
        self
    }

    /// This header with the length of its additional header segments set, in 4-byte words.
    #[must_use]
    #[inline]
    pub fn with_total_ahs_length(mut self, words: u8) -> Self {
        self.0[4] = words;
        self
    }

    /// Writes StatSN, ExpCmdSN and MaxCmdSN of a response: what is only known when it is really sent.
    #[inline]
    pub fn stamp(&mut self, stat_sn: Serial, exp_cmd_sn: Serial, max_cmd_sn: Serial) {
        self.put_word(24, stat_sn.0);
        self.put_word(28, exp_cmd_sn.0);
        self.put_word(32, max_cmd_sn.0);
    }

    /// The bytes at the constant place `at`.
    #[inline]
    pub(super) fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.0[at..at + N]);
        out
    }

    #[inline]
    pub(super) fn put_array<const N: usize>(&mut self, at: usize, value: [u8; N]) {
        self.0[at..at + N].copy_from_slice(&value);
    }

    #[inline]
    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    #[inline]
    fn put_word(&mut self, at: usize, value: u32) {
        self.put_array(at, value.to_be_bytes());
    }
}

impl core::fmt::Debug for Bhs {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Bhs(")?;
        for word in self.0.chunks(4) {
            for byte in word {
                write!(f, "{byte:02x}")?;
            }
            write!(f, " ")?;
        }
        write!(f, ")")
    }
}
