//! Which core gets a connection. Pure: what the cores did comes in as numbers.

use crate::limits::PLACEMENT_SPREAD;

/// A core's time is divided into so many parts.
const WHOLE: u64 = 4096;

/// Cores whose busy shares are in the same of so many bands are alike: below a sixteenth, differences are noise.
const BANDS: u64 = 16;

/// A sample of busy shares holds for so long at least, in nanoseconds: a shorter one would see single turns.
const WINDOW: u64 = 10_000_000;

/// How a core spent its life up to now, in nanoseconds.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Worked {
    /// In turns that found work.
    pub busy: u64,
    /// In all.
    pub all: u64,
}

/// What is remembered of one core.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    at: Worked,
    /// How busy it was between the last two samples, of [`WHOLE`].
    share: u64,
    /// Connections it got since: their load is in no sample yet.
    newcomers: u32,
}

/// Chooses cores for connections.
#[derive(Debug)]
pub(super) struct Placement {
    cores: Vec<Seen>,
    /// The core chosen last.
    last: usize,
}

impl Placement {
    pub fn new(cores: usize) -> Self {
        Self { cores: vec![Seen::default(); cores], last: cores.saturating_sub(1) }
    }

    /// Learns what the cores did since the last sample, unless that was a moment ago.
    pub fn sample(&mut self, worked: impl Iterator<Item = Worked> + Clone) {
        // A core that sleeps has no time of its own: the one that was awake longest says how much has passed.
        let elapsed = self.cores.iter().zip(worked.clone()).map(|(seen, now)| now.all.saturating_sub(seen.at.all));
        let Some(elapsed) = elapsed.max().filter(|elapsed| *elapsed >= WINDOW) else { return };
        for (seen, now) in self.cores.iter_mut().zip(worked) {
            let busy = now.busy.saturating_sub(seen.at.busy).min(elapsed);
            let share = u128::from(busy) * u128::from(WHOLE) / u128::from(elapsed);
            *seen = Seen { at: now, share: share as u64, newcomers: 0 };
        }
    }

    /// The core for the next connection, when each has so many.
    pub fn pick(&mut self, connections: &[u32]) -> usize {
        let cores = self.cores.len();
        let fewest = connections.iter().min().copied().unwrap_or(0);
        let each = self.expected_of_newcomer(connections);
        let rank = |core: &usize| {
            let Seen { share, newcomers, .. } = self.cores[*core];
            let band = (share + u64::from(newcomers) * each) * BANDS / WHOLE;
            (band, connections[*core], (core + cores - self.last - 1) % cores)
        };
        let open = (0..cores.min(connections.len())).filter(|core| connections[*core] <= fewest + PLACEMENT_SPREAD);
        let Some(chosen) = open.min_by_key(rank) else { return 0 };
        self.cores[chosen].newcomers += 1;
        self.last = chosen;
        chosen
    }

    /// The load a newcomer is taken to bring until a sample shows it: that of the average connection.
    fn expected_of_newcomer(&self, connections: &[u32]) -> u64 {
        let newcomers: u64 = self.cores.iter().map(|seen| u64::from(seen.newcomers)).sum();
        let known = connections.iter().map(|count| u64::from(*count)).sum::<u64>().saturating_sub(newcomers);
        let load: u64 = self.cores.iter().map(|seen| seen.share).sum();
        load.checked_div(known).unwrap_or(0).clamp(1, WHOLE)
    }
}
