//! `isere`: an iSER and iSCSI target, and a load generator. This crate is wiring: the command line, the configuration
//! model, the RPC methods and metrics; see `docs/ARCHITECTURE.md` for what it wires.

mod cli;
mod config;
mod context;
mod engine;
mod limits;
mod log;
mod methods;
mod metrics;
mod model;
mod perf;
mod serve;

use clap::Parser;
use cli::exit::Exit;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let exit = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Rpc(args) => cli::rpc::run(&args),
        Command::Perf(args) => perf::run(&args),
        Command::Completions { shell } => {
            cli::completions(shell);
            Exit::Success
        }
        Command::Version => {
            println!("isere {}", env!("CARGO_PKG_VERSION"));
            Exit::Success
        }
    };
    exit.into()
}
