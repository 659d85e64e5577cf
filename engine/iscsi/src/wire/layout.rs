//! The places of fields in a header, written once per field and used in both directions.
use super::Bhs;
use primitives::Serial;

/// A whole field that starts at a constant byte.
#[derive(Clone, Copy)]
pub(super) struct At(pub usize);

/// One flag: a mask in a constant byte.
#[derive(Clone, Copy)]
pub(super) struct Bit(pub usize, pub u8);

/// A few adjacent bits of a constant byte, read as a number.
#[derive(Clone, Copy)]
pub(super) struct Bits(pub usize, pub u8);

/// Where a value of type `T` is in a header. Offsets are constants of the format, so nothing here can run past it.
pub(super) trait Place<T> {
    fn get(self, bhs: &Bhs) -> T;
    fn put(self, bhs: &mut Bhs, value: T);
}

impl Place<bool> for Bit {
    #[inline]
    fn get(self, bhs: &Bhs) -> bool {
        bhs.0[self.0] & self.1 != 0
    }

    #[inline]
    fn put(self, bhs: &mut Bhs, value: bool) {
        if value {
            bhs.0[self.0] |= self.1;
        }
    }
}

impl Place<u8> for Bits {
    #[inline]
    fn get(self, bhs: &Bhs) -> u8 {
        (bhs.0[self.0] & self.1) >> self.1.trailing_zeros()
    }

    #[inline]
    fn put(self, bhs: &mut Bhs, value: u8) {
        bhs.0[self.0] |= (value << self.1.trailing_zeros()) & self.1;
    }
}

impl<const N: usize> Place<[u8; N]> for At {
    #[inline]
    fn get(self, bhs: &Bhs) -> [u8; N] {
        bhs.array(self.0)
    }

    #[inline]
    fn put(self, bhs: &mut Bhs, value: [u8; N]) {
        bhs.put_array(self.0, value);
    }
}

macro_rules! place_of_number {
    ($($t:ty)*) => {$(
        impl Place<$t> for At {
            #[inline]
            fn get(self, bhs: &Bhs) -> $t {
                <$t>::from_be_bytes(bhs.array(self.0))
            }

            #[inline]
            fn put(self, bhs: &mut Bhs, value: $t) {
                bhs.put_array(self.0, value.to_be_bytes());
            }
        }
    )*};
}

place_of_number!(u8 u16 u32);

impl Place<Serial> for At {
    #[inline]
    fn get(self, bhs: &Bhs) -> Serial {
        Serial(self.get_number(bhs))
    }

    #[inline]
    fn put(self, bhs: &mut Bhs, value: Serial) {
        Place::<u32>::put(self, bhs, value.0);
    }
}

impl At {
    #[inline]
    fn get_number(self, bhs: &Bhs) -> u32 {
        self.get(bhs)
    }
}

/// Declares a PDU as a struct whose fields name their place in the header, with `decode` and `encode`.
/// `fixed` lists bytes that always have one value (an F bit that must be 1, a tag that must be reserved).
macro_rules! pdu {
    (
        $(#[$meta:meta])*
        $name:ident = $opcode:ident, fixed [$(($at:literal, $byte:literal)),*] {
            $($(#[$field_meta:meta])* $field:ident: $t:ty = $place:expr,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $t,)*
        }

        impl $name {
            /// The opcode of this PDU.
            pub const OPCODE: $crate::wire::Opcode = $crate::wire::Opcode::$opcode;

            /// Reads the fields. The opcode is not looked at: the caller chose this type by it.
            #[must_use]
            #[inline]
            pub fn decode(bhs: &$crate::wire::Bhs) -> Self {
                Self { $($field: $crate::wire::layout::Place::get($place, bhs),)* }
            }

            /// Writes the header; reserved fields and both lengths are zero.
            #[must_use]
            #[inline]
            pub fn encode(&self) -> $crate::wire::Bhs {
                let mut bhs = $crate::wire::Bhs::new(Self::OPCODE);
                $(bhs.0[$at] = $byte;)*
                $($crate::wire::layout::Place::put($place, &mut bhs, self.$field);)*
                bhs
            }
        }
    };
}

pub(super) use pdu;
