//! Login Request and Login Response (RFC 7143 §11.12, §11.13).
use super::layout::{At, Bit, Bits, pdu};
use primitives::Serial;

/// A stage of the login phase, as in the CSG and NSG fields (RFC 7143 §11.12.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Stage {
    Security = 0,
    Operational = 1,
    FullFeature = 3,
}

impl Stage {
    /// The stage a two-bit field names; `None` for the reserved value 2.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Security),
            1 => Some(Self::Operational),
            3 => Some(Self::FullFeature),
            _ => None,
        }
    }

    /// The value of the field.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// Status-Class and Status-Detail of a Login Response (RFC 7143 §11.13.5), as `class << 8 | detail`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct LoginStatus(pub u16);

impl LoginStatus {
    pub const SUCCESS: Self = Self(0x0000);
    pub const MOVED_TEMPORARILY: Self = Self(0x0101);
    pub const MOVED_PERMANENTLY: Self = Self(0x0102);
    pub const INITIATOR_ERROR: Self = Self(0x0200);
    pub const AUTHENTICATION_FAILURE: Self = Self(0x0201);
    pub const AUTHORIZATION_FAILURE: Self = Self(0x0202);
    pub const NOT_FOUND: Self = Self(0x0203);
    pub const TARGET_REMOVED: Self = Self(0x0204);
    pub const UNSUPPORTED_VERSION: Self = Self(0x0205);
    pub const TOO_MANY_CONNECTIONS: Self = Self(0x0206);
    pub const MISSING_PARAMETER: Self = Self(0x0207);
    pub const CANNOT_INCLUDE_IN_SESSION: Self = Self(0x0208);
    pub const SESSION_TYPE_NOT_SUPPORTED: Self = Self(0x0209);
    pub const SESSION_DOES_NOT_EXIST: Self = Self(0x020a);
    pub const INVALID_DURING_LOGIN: Self = Self(0x020b);
    pub const TARGET_ERROR: Self = Self(0x0300);
    pub const SERVICE_UNAVAILABLE: Self = Self(0x0301);
    pub const OUT_OF_RESOURCES: Self = Self(0x0302);

    #[must_use]
    pub const fn class(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    #[must_use]
    pub const fn detail(self) -> u8 {
        self.0.to_be_bytes()[1]
    }

    #[must_use]
    pub const fn is_redirect(self) -> bool {
        self.class() == 1
    }
}

impl core::fmt::Debug for LoginStatus {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "LoginStatus({:04x})", self.0)
    }
}

pdu! {
    /// Login Request (RFC 7143 §11.12).
    LoginRequest = LOGIN_REQUEST, fixed [(0, 0x43)] {
        /// The T bit: ready to leave the current stage for `nsg`.
        transit: bool = Bit(1, 0x80),
        /// The C bit: the text goes on in the next request.
        cont: bool = Bit(1, 0x40),
        /// Current stage, see [`Stage::from_bits`].
        csg: u8 = Bits(1, 0x0c),
        /// Next stage; valid only with `transit`.
        nsg: u8 = Bits(1, 0x03),
        version_max: u8 = At(2),
        version_min: u8 = At(3),
        isid: [u8; 6] = At(8),
        /// 0 asks for a new session.
        tsih: u16 = At(14),
        itt: u32 = At(16),
        cid: u16 = At(20),
        cmd_sn: Serial = At(24),
        exp_stat_sn: Serial = At(28),
    }
}

pdu! {
    /// Login Response (RFC 7143 §11.13).
    LoginResponse = LOGIN_RESPONSE, fixed [] {
        transit: bool = Bit(1, 0x80),
        cont: bool = Bit(1, 0x40),
        csg: u8 = Bits(1, 0x0c),
        nsg: u8 = Bits(1, 0x03),
        version_max: u8 = At(2),
        version_active: u8 = At(3),
        isid: [u8; 6] = At(8),
        /// The session's handle, in the final response of a new session.
        tsih: u16 = At(14),
        itt: u32 = At(16),
        /// Valid only when the status class is 0.
        stat_sn: Serial = At(24),
        exp_cmd_sn: Serial = At(28),
        max_cmd_sn: Serial = At(32),
        status_class: u8 = At(36),
        status_detail: u8 = At(37),
    }
}

impl LoginResponse {
    /// Status-Class and Status-Detail together.
    #[must_use]
    pub const fn status(&self) -> LoginStatus {
        LoginStatus(u16::from_be_bytes([self.status_class, self.status_detail]))
    }
}
