//! `ladder`: what each rung of the engine costs, beside the floor it stands on.
//!
//! * `ladder loop`: a turn in which nothing happens.
//! * `ladder bdev`: the block layer alone, one reactor and one channel; the counterpart of SPDK's bdevperf.
//!   With `--scsi` each I/O begins as a CDB.
//! * `ladder floor`: bare sockets that move the bytes of a storage protocol and know nothing of one.
//! * `ladder uring`: bare io_uring with registered files and buffers, as fio drives it.
//!
//! `benches/climb` runs them in turns with the whole target and makes the table. See benches/README.md.

mod block;
mod floor;
mod idle;
mod latency;
mod machine;
mod pattern;
mod report;
mod uring;

use clap::{Parser, Subcommand};

/// Whatever went wrong, to be told to whoever runs the benchmark.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What each rung of the engine costs.
#[derive(Parser, Debug)]
#[command(name = "ladder", version, about)]
struct Cli {
    #[command(subcommand)]
    rung: Rung,
}

#[derive(Subcommand, Debug)]
enum Rung {
    /// A turn in which nothing happens.
    Loop(idle::Args),
    /// The block layer alone: one reactor that keeps I/Os in flight through a channel.
    Bdev(block::Args),
    /// Bare sockets with the bytes of a storage protocol.
    Floor(floor::Args),
    /// Bare io_uring, registered files and buffers.
    Uring(uring::Args),
}

/// A length of time on the command line.
fn seconds(text: &str) -> std::result::Result<f64, String> {
    let found = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
    found.ok_or_else(|| "write seconds, 0 to 3600".to_owned())
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.rung {
        Rung::Loop(args) => idle::run(args),
        Rung::Bdev(args) => block::run(args),
        Rung::Floor(args) => floor::run(args),
        Rung::Uring(args) => uring::run(args),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ladder: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
