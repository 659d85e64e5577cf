//! `isere perf`: arguments. What they do is in the crate `initiator`.

use super::serve::parse_size;
use clap::{Args, ValueEnum};
use initiator::Url;

const EXAMPLES: &str = "\
Examples:
  isere perf iser://10.0.0.1/iqn.2016-06.io.spdk:disk1/0
  isere perf iscsi://10.0.0.1:3260/iqn.2016-06.io.spdk:disk1/0 --rw randrw --mix 70 --bs 4k --qd 64 --connections 4
  isere perf iscsi://10.0.0.1/iqn.2016-06.io.spdk:disk1/0 --rw write --bs 128k --time 60 --json
  isere perf iscsi://10.0.0.1/iqn.2016-06.io.spdk:disk1/0 --rw randwrite --verify --seed 7

WRITING DESTROYS what is on the logical unit.
Exit codes: 0 done, 1 an I/O or verification error, 2 wrong usage, 3 cannot connect or log in.
iser://… instead of iscsi://… is over RDMA: by the device that reaches the target, else by soft-iWARP. A
?provider=siw or ?provider=verbs behind the URL chooses.";

/// Arguments of `isere perf`.
#[derive(Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct PerfArgs {
    /// The logical unit
    #[arg(help = "The logical unit: iscsi://[USER[%SECRET]@]HOST[:PORT]/TARGET/LUN, or iser://…[?provider=siw|verbs]")]
    #[arg(value_name = "URL")]
    pub url: Url,

    /// Pattern
    #[arg(long, value_enum, default_value_t)]
    pub rw: Pattern,

    /// Share of reads in rw and randrw, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub mix: u8,

    /// Bytes of one command: a number with K or M
    #[arg(long, value_name = "SIZE", default_value = "4K", value_parser = parse_size)]
    pub bs: u64,

    /// Commands in flight on each connection
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub qd: u16,

    /// Connections, each a session of its own
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub connections: u16,

    /// Seconds measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub time: u64,

    /// Seconds of load before measuring
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub warmup: u64,

    /// Commands a second over all connections, evenly spaced; latency then counts from when each was due [default: as
    /// fast as they complete]
    #[arg(long, value_name = "IOPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,

    /// Write stamped blocks and check every block read
    #[arg(long)]
    pub verify: bool,

    /// Seed of the random sequence and of the stamps
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// CPUs to run on, a polling thread each: 0-3,6 or 0xf [default: one thread on any CPU]
    #[arg(long, value_name = "LIST|MASK")]
    pub cores: Option<String>,

    /// Initiator name
    #[arg(long, value_name = "IQN")]
    pub initiator_name: Option<String>,

    /// CHAP user
    #[arg(long, value_name = "USER", requires = "chap_secret")]
    pub chap_user: Option<String>,

    /// CHAP secret; better given in the environment than here, where other users see it
    #[arg(long, value_name = "SECRET", env = "ISERE_CHAP_SECRET", hide_env_values = true, requires = "chap_user")]
    pub chap_secret: Option<String>,

    /// CHAP user that the target must answer with
    #[arg(long, value_name = "USER", requires_all = ["chap_user", "mutual_secret"])]
    pub mutual_user: Option<String>,

    /// The target's CHAP secret
    #[arg(long, value_name = "SECRET", env = "ISERE_MUTUAL_SECRET", hide_env_values = true, requires = "mutual_user")]
    pub mutual_secret: Option<String>,

    /// Require header digests
    #[arg(long)]
    pub header_digest: bool,

    /// Require data digests
    #[arg(long)]
    pub data_digest: bool,

    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

impl std::fmt::Debug for PerfArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerfArgs").field("rw", &self.rw).finish_non_exhaustive()
    }
}

/// Order and direction of the commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Pattern {
    /// Sequential reads
    Read,
    /// Sequential writes
    Write,
    /// Random reads
    #[default]
    RandRead,
    /// Random writes
    RandWrite,
    /// Sequential reads and writes
    Rw,
    /// Random reads and writes
    RandRw,
}
