//! The mode pages: their values and which of their bits an initiator may change.

use super::ModePages;
use crate::limits::MODE_PAGE;
use crate::unit::Medium;

/// A page image. Bytes behind the page's length are zero.
pub(super) type Image = [u8; MODE_PAGE];

type Values = fn(&ModePages, &mut Image);
type Changeable = fn(&Medium, &mut Image);
type Adopt = fn(&mut ModePages, &Image);

/// A mode page of this device server.
pub(super) struct Page {
    pub code: u8,
    pub subpage: u8,
    /// Bytes in all.
    pub len: usize,
    values: Values,
    /// Sets the bits that MODE SELECT may change.
    changeable: Changeable,
    /// Takes the changeable bits of an image.
    pub adopt: Adopt,
}

/// In byte 0 of a page: it is a subpage.
pub(super) const SPF: u8 = 0x40;

/// Caching page, byte 2.
const WCE: u8 = 0x04;
/// Caching page, byte 12: nothing is read ahead.
const DRA: u8 = 0x20;
/// Control page, byte 2: one task set per I_T nexus (TST=001b), and D_SENSE.
const TST_PER_NEXUS: u8 = 0x20;
const D_SENSE: u8 = 0x04;
/// Control page, byte 3: tasks with SIMPLE attribute run in any order (QUEUE ALGORITHM MODIFIER=1h).
const UNRESTRICTED: u8 = 0x10;
/// Control page, byte 4.
const SWP: u8 = 0x08;
/// Control page, byte 5.
const TAS: u8 = 0x40;
/// Informational Exceptions page, byte 2: there are none.
const DEXCPT: u8 = 0x08;

/// All pages, in the order MODE SENSE returns them.
pub(super) const PAGES: [Page; 5] = [READ_WRITE_ERROR_RECOVERY, CACHING, CONTROL, CONTROL_EXTENSION, EXCEPTIONS];

const READ_WRITE_ERROR_RECOVERY: Page = Page::new(0x01, 0x00, 12, |_, _| {});

const CACHING: Page = Page::new(0x08, 0x00, 20, |modes, image| {
    set(image, 2, WCE, modes.wce);
    set(image, 12, DRA, true);
})
.changing(|medium, image| set(image, 2, WCE, medium.write_cache), |modes, image| modes.wce = is_set(image, 2, WCE));

const CONTROL: Page = Page::new(0x0A, 0x00, 12, |modes, image| {
    set(image, 2, TST_PER_NEXUS, true);
    set(image, 2, D_SENSE, modes.d_sense);
    set(image, 3, UNRESTRICTED, true);
    set(image, 4, SWP, modes.swp);
    set(image, 5, TAS, modes.tas);
})
.changing(
    |_, image| {
        set(image, 2, D_SENSE, true);
        set(image, 4, SWP, true);
        set(image, 5, TAS, true);
    },
    |modes, image| {
        modes.d_sense = is_set(image, 2, D_SENSE);
        modes.swp = is_set(image, 4, SWP);
        modes.tas = is_set(image, 5, TAS);
    },
);

const CONTROL_EXTENSION: Page = Page::new(0x0A, 0x01, 32, |_, _| {});

const EXCEPTIONS: Page = Page::new(0x1C, 0x00, 12, |_, image| set(image, 2, DEXCPT, true));

impl Page {
    /// A page none of whose bits can be changed.
    const fn new(code: u8, subpage: u8, len: usize, values: Values) -> Self {
        Self { code, subpage, len, values, changeable: |_, _| {}, adopt: |_, _| {} }
    }

    const fn changing(mut self, changeable: Changeable, adopt: Adopt) -> Self {
        self.changeable = changeable;
        self.adopt = adopt;
        self
    }

    /// The page with the values of `modes`.
    pub fn values(&self, modes: &ModePages) -> Image {
        let mut image = self.header();
        (self.values)(modes, &mut image);
        image
    }

    /// The page with ones in the bits that can be changed.
    pub fn changeable(&self, medium: &Medium) -> Image {
        let mut image = self.header();
        (self.changeable)(medium, &mut image);
        image
    }

    /// Bytes in front of the parameters; subpages have a longer header.
    pub const fn header_len(&self) -> usize {
        if self.subpage == 0 { 2 } else { 4 }
    }

    /// PS is 0: no page can be saved.
    fn header(&self) -> Image {
        let mut image = [0; MODE_PAGE];
        let length = u8::try_from(self.len.saturating_sub(self.header_len())).unwrap_or(u8::MAX);
        let header = match self.subpage {
            0 => [self.code, length, 0, 0],
            subpage => [self.code | SPF, subpage, 0, length],
        };
        for (to, from) in image.iter_mut().zip(header) {
            *to = from;
        }
        image
    }
}

fn set(image: &mut Image, at: usize, mask: u8, on: bool) {
    if let Some(byte) = image.get_mut(at).filter(|_| on) {
        *byte |= mask;
    }
}

fn is_set(image: &Image, at: usize, mask: u8) -> bool {
    image.get(at).is_some_and(|byte| byte & mask != 0)
}
