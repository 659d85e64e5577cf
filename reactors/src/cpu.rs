//! CPUs: their numbers, lists of them, and which ones this process may use.

use crate::limits::MAX_CPUS;
use std::fmt;
use std::str::FromStr;

/// The operating system's number of a CPU. Not a [`crate::CoreId`], which counts reactors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CpuId(pub u16);

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Distinct CPUs, in the order given: the first becomes core 0.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CpuList(Vec<CpuId>);

/// Why a text is no list of CPUs.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CpuListError {
    /// Nothing in it.
    #[error("the list of CPUs is empty; write for example 0-3,5 or [0,1,2] or 0xf")]
    Empty,
    /// A part is not a number, a range or a mask.
    #[error("'{part}' is not a CPU, a range of CPUs or a mask; write for example 0-3,5 or [0,1,2] or 0xf")]
    Syntax {
        /// The part.
        part: String,
    },
    /// A range ends before it begins.
    #[error("the range '{part}' runs backwards; write {last}-{first}")]
    Backwards {
        /// The range.
        part: String,
        /// Its first number.
        first: usize,
        /// Its last number.
        last: usize,
    },
    /// A number beyond what the operating system can name.
    #[error("CPU {cpu} is out of range; CPU numbers end at {}", MAX_CPUS - 1)]
    OutOfRange {
        /// The number.
        cpu: usize,
    },
    /// A CPU is named twice.
    #[error("CPU {cpu} is named twice; a reactor needs a CPU of its own")]
    Duplicate {
        /// The CPU.
        cpu: CpuId,
    },
    /// More CPUs are asked for than there are.
    #[error("{asked} CPUs are asked for, but this process may use only {usable}; ask for at most {usable}")]
    TooMany {
        /// How many are asked for.
        asked: usize,
        /// How many there are.
        usable: usize,
    },
}

impl CpuList {
    /// Reads `0-3,5`, SPDK's `[0,1,2]`, or a hexadecimal mask `0x3`.
    ///
    /// # Errors
    /// A [`CpuListError`] that says what is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Self, CpuListError> {
        let text = text.trim();
        if let Some(mask) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            return Self::from_mask(mask);
        }
        let text = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if text.trim().is_empty() {
            return Err(CpuListError::Empty);
        }
        let mut list = Self::default();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first, part)?, number(last, part)?);
            if first > last {
                return Err(CpuListError::Backwards { part: part.to_owned(), first, last });
            }
            for cpu in first..=last {
                list.push(cpu)?;
            }
        }
        Ok(list)
    }

    /// The first `n` CPUs this process may use.
    ///
    /// # Errors
    /// [`CpuListError::TooMany`] or [`CpuListError::Empty`].
    pub fn first(n: usize) -> Result<Self, CpuListError> {
        let usable = usable();
        if n == 0 {
            return Err(CpuListError::Empty);
        }
        let list = usable.get(..n).ok_or(CpuListError::TooMany { asked: n, usable: usable.len() })?;
        Ok(Self(list.to_vec()))
    }

    /// All CPUs this process may use.
    #[must_use]
    pub fn usable() -> Self {
        Self(usable())
    }

    /// The CPUs.
    #[must_use]
    pub fn as_slice(&self) -> &[CpuId] {
        &self.0
    }

    /// The CPUs, for [`crate::FleetConfig::cores`].
    #[must_use]
    pub fn into_vec(self) -> Vec<CpuId> {
        self.0
    }

    fn from_mask(digits: &str) -> Result<Self, CpuListError> {
        let mut list = Self::default();
        for (place, digit) in digits.chars().rev().enumerate() {
            let bits = digit.to_digit(16).ok_or_else(|| CpuListError::Syntax { part: format!("0x{digits}") })?;
            for bit in (0..4).filter(|bit| bits >> bit & 1 == 1) {
                list.push(place * 4 + bit)?;
            }
        }
        if list.0.is_empty() { Err(CpuListError::Empty) } else { Ok(list) }
    }

    fn push(&mut self, cpu: usize) -> Result<(), CpuListError> {
        if cpu >= MAX_CPUS {
            return Err(CpuListError::OutOfRange { cpu });
        }
        let cpu = CpuId(cpu as u16);
        if self.0.contains(&cpu) {
            return Err(CpuListError::Duplicate { cpu });
        }
        self.0.push(cpu);
        Ok(())
    }
}

fn number(text: &str, part: &str) -> Result<usize, CpuListError> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let value = if digits { text.parse().ok() } else { None };
    value.ok_or_else(|| CpuListError::Syntax { part: part.to_owned() })
}

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        Self::parse(text)
    }
}

/// Writes ranges: `0-3,5`.
impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|a, b| a.0.checked_add(1) == Some(b.0));
        for (i, run) in runs.enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match run {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [one] => write!(f, "{comma}{one}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

/// The CPUs the calling thread may run on, by rising number. Call it from a thread that is not pinned.
#[must_use]
pub fn usable() -> Vec<CpuId> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    ids.into_iter().filter_map(|c| u16::try_from(c.id).ok()).map(CpuId).collect()
}

/// The CPUs the kernel keeps everything else off (`isolcpus=`).
#[must_use]
pub fn isolated() -> Vec<CpuId> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/isolated").unwrap_or_default();
    CpuList::parse(&text).unwrap_or_default().into_vec()
}

/// Binds the calling thread to `cpu`; `false` if the kernel refuses.
#[must_use]
pub(crate) fn pin(cpu: CpuId) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: usize::from(cpu.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<u16> {
        CpuList::parse(text).unwrap().0.iter().map(|c| c.0).collect()
    }

    fn refusal(text: &str) -> String {
        CpuList::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn reads_lists_ranges_and_masks() {
        assert_eq!(numbers("0-3,5"), [0, 1, 2, 3, 5]);
        assert_eq!(numbers(" [0,1, 2] "), [0, 1, 2]);
        assert_eq!(numbers("[2-3]"), [2, 3]);
        assert_eq!(numbers("7"), [7]);
        assert_eq!(numbers("3,1"), [3, 1]);
        assert_eq!(numbers("0x3"), [0, 1]);
        assert_eq!(numbers("0XF0"), [4, 5, 6, 7]);
        assert_eq!(numbers(&format!("0x1{}", "0".repeat(20))), [80]);
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0-3,5", "7", "3,1", "0-1"] {
            assert_eq!(CpuList::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(refusal("").contains("empty") && refusal("[]").contains("empty") && refusal("0x0").contains("empty"));
        for bad in ["a", "1,", ",1", "1-", "-1", "1-2-3", "+1", "0x", "0xg", "[1", "1;2", "99999999999999999999"] {
            let message = refusal(bad);
            assert!(message.contains("for example"), "{bad}: {message}");
        }
        assert!(refusal("3-1").contains("write 1-3"));
        assert!(refusal("1,0-2").contains("CPU 1 is named twice"));
        assert!(refusal("1024").contains("CPU 1024 is out of range"));
        assert!(refusal("0-4000000000").contains("out of range"));
        assert!(refusal(&format!("0x1{}", "0".repeat(256))).contains("CPU 1024 is out of range"));
    }

    #[test]
    fn takes_usable_cpus_only() {
        let usable = usable();
        assert!(!usable.is_empty());
        assert_eq!(CpuList::first(1).unwrap().as_slice(), &usable[..1]);
        let message = CpuList::first(usable.len() + 1).unwrap_err().to_string();
        assert!(message.contains(&format!("at most {}", usable.len())), "{message}");
        assert_eq!(CpuList::first(0), Err(CpuListError::Empty));
    }
}
