//! `isere serve`.

use crate::log::{Format, Level};
use crate::metrics;
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  isere serve                                     one core, the default socket
  isere serve --cores 0-3,6 --hugepages require   five cores, huge pages or nothing
  isere serve --cores 0xf --config /etc/isere.json --metrics 9090
  isere serve --wait-for-rpc                      set options, then: isere rpc framework_start_init

Ends on SIGINT or SIGTERM, after draining what is in flight.";

const CORES_HELP: &str = "CPUs to run on, one reactor each: a list (0-3,6), SPDK's list ([0,1]) or a mask (0xf) \
                          [default: the first CPU this process may use]";

/// Arguments of `isere serve`.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// CPUs to run on, one reactor each
    #[arg(long, short = 'm', value_name = "LIST|MASK", help = CORES_HELP)]
    pub cores: Option<String>,

    /// Socket for RPC, created with mode 0600
    #[arg(long, short = 'r', value_name = "PATH", env = "ISERE_RPC_SOCKET", default_value = super::DEFAULT_RPC_SOCKET)]
    pub rpc_socket: PathBuf,

    /// Configuration to start with, as save_config writes it
    #[arg(long, short = 'c', value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Memory for I/O buffers of all cores together: a number with K, M or G
    #[arg(long, short = 's', value_name = "SIZE", default_value = "256M", value_parser = parse_size)]
    pub memory: u64,

    /// Whether that memory is of huge pages
    #[arg(long, value_enum, default_value_t)]
    pub hugepages: HugePages,

    /// What a reactor does when there is nothing to do
    #[arg(long, value_enum, default_value_t)]
    pub idle: Idle,

    /// Whether soft-iWARP protects what it sends with CRC32C (MPA, RFC 5044)
    #[arg(long, value_enum, default_value_t)]
    pub siw_crc: Crc,

    /// Serve Prometheus metrics over HTTP at this address; a port alone means loopback
    #[arg(long, value_name = "ADDR", value_parser = metrics::parse_address)]
    pub metrics: Option<SocketAddr>,

    /// How much is logged
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    pub log_level: Level,

    /// How it is logged
    #[arg(long, value_enum, default_value_t)]
    pub log_format: Format,

    /// Do not initialise before the framework_start_init RPC
    #[arg(long, conflicts_with = "config")]
    pub wait_for_rpc: bool,
}

/// Whether the buffer arena uses huge pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum HugePages {
    /// If there are enough
    #[default]
    Auto,
    /// Or do not start
    Require,
    /// Never
    Off,
}

/// When soft-iWARP uses CRC32C.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Crc {
    /// If the initiator wants it
    #[default]
    IfAsked,
    /// On every connection
    Always,
}

/// What a reactor does when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Idle {
    /// Spin if it has a CPU to itself, else adaptive
    #[default]
    Auto,
    /// Always poll
    Spin,
    /// Poll for a while, then sleep until something happens
    Adaptive,
}

/// A length in bytes: a number, optionally with K, M, G or T (powers of 1024).
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err("expected a number with K, M, G or T".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a number with K, M, G or T".to_owned())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).ok_or_else(|| "expected 1 byte to 16 EiB".into())
}
