//! `isere perf`: from the command line to the benchmark in the crate `initiator`, and its report.

#[cfg(feature = "verbs")]
mod rdma_devices;

use crate::cli::exit::Exit;
use crate::cli::perf::{Pattern as Order, PerfArgs};
use initiator::perf::{self, Options, Pattern, PerfError, Progress, Rw};
use initiator::{Chap, Digest, Error};
use reactors::CpuList;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Runs the benchmark and prints its report.
pub fn run(args: &PerfArgs) -> Exit {
    let options = match options(args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("isere perf: {error}");
            return Exit::Usage;
        }
    };
    let show = !args.json && io::stderr().is_terminal();
    let report = perf::run(&options, |progress| {
        if show {
            print_progress(&progress);
        }
    });
    match report {
        Ok(report) => {
            // A closed pipe (`| head`) is no failure of the benchmark.
            let _ = match args.json {
                true => writeln!(io::stdout(), "{:#}", report.to_json()),
                false => writeln!(io::stdout(), "{report}"),
            };
            if report.errors == 0 { Exit::Success } else { Exit::Failure }
        }
        Err(error) => {
            eprintln!("isere perf: {error}");
            exit_code(&error)
        }
    }
}

fn options(args: &PerfArgs) -> Result<Options, String> {
    let (rw, pattern) = match args.rw {
        Order::Read => (Rw::Read, Pattern::Sequential),
        Order::Write => (Rw::Write, Pattern::Sequential),
        Order::Rw => (Rw::Mixed { read_percent: args.mix }, Pattern::Sequential),
        Order::RandRead => (Rw::Read, Pattern::Random),
        Order::RandWrite => (Rw::Write, Pattern::Random),
        Order::RandRw => (Rw::Mixed { read_percent: args.mix }, Pattern::Random),
    };
    let pin_cpus: Vec<usize> = match &args.cores {
        Some(text) => CpuList::parse(text).map_err(|error| format!("--cores: {error}"))?.into_vec(),
        None => Vec::new(),
    }
    .into_iter()
    .map(|cpu| usize::from(cpu.0))
    .collect();
    let connections = u32::from(args.connections);
    let threads = u32::try_from(pin_cpus.len()).unwrap_or(u32::MAX).clamp(1, connections);
    let mut options = Options::new(args.url.clone());
    #[cfg(feature = "verbs")]
    {
        options.rdma_devices = Some(std::sync::Arc::new(rdma_devices::ByRoute));
    }
    if let Some(name) = &args.initiator_name {
        options.initiator_name.clone_from(name);
    }
    options.chap = chap(args.chap_user.as_deref(), args.chap_secret.as_deref());
    options.mutual_chap = chap(args.mutual_user.as_deref(), args.mutual_secret.as_deref());
    options.header_digest = digest(args.header_digest);
    options.data_digest = digest(args.data_digest);
    Ok(Options {
        rw,
        pattern,
        block_bytes: u32::try_from(args.bs).map_err(|_| format!("--bs: expected less than 4G, got {}", args.bs))?,
        queue_depth: u32::from(args.qd),
        connections,
        threads,
        duration: Duration::from_secs(args.time),
        warmup: Duration::from_secs(args.warmup),
        rate: args.rate.map(|rate| rate as f64),
        verify: args.verify,
        seed: args.seed,
        pin_cpus,
        ..options
    })
}

fn chap(user: Option<&str>, secret: Option<&str>) -> Option<Chap> {
    Some(Chap { user: user?.to_owned(), secret: secret?.to_owned() })
}

fn digest(required: bool) -> Digest {
    if required { Digest::Require } else { Digest::Off }
}

fn print_progress(progress: &Progress) {
    let phase = if progress.warming_up { " (warming up)" } else { "" };
    let megabytes = progress.bytes_per_second / 1e6;
    let seconds = progress.elapsed.as_secs_f64();
    eprintln!("{seconds:6.1} s  {:10.0} IOPS  {megabytes:9.1} MB/s  {} errors{phase}", progress.iops, progress.errors);
}

fn exit_code(error: &PerfError) -> Exit {
    match error {
        PerfError::Option { .. } => Exit::Usage,
        PerfError::Session(error) => match error {
            Error::Url { .. } | Error::NoIser { .. } | Error::Option { .. } => Exit::Usage,
            Error::Resolve { .. }
            | Error::Connect { .. }
            | Error::Rdma { .. }
            | Error::LoginRefused { .. }
            | Error::Redirected { .. }
            | Error::Login { .. } => Exit::NoConnection,
            _ => Exit::Failure,
        },
        _ => Exit::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn parse(more: &str) -> PerfArgs {
        let line = format!("isere perf iscsi://127.0.0.1:1/iqn.2020-01.x:t/0 {more}");
        match Cli::parse_from(line.split_whitespace()).command {
            Command::Perf(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn arguments_become_options() {
        let options =
            options(&parse("--rw rw --mix 30 --bs 8k --qd 4 --connections 2 --cores 0-3 --rate 100 --header-digest"));
        let options = options.unwrap();
        assert_eq!((options.rw, options.pattern), (Rw::Mixed { read_percent: 30 }, Pattern::Sequential));
        assert_eq!((options.block_bytes, options.queue_depth, options.connections, options.threads), (8192, 4, 2, 2));
        assert_eq!(
            (options.rate, options.header_digest, options.data_digest),
            (Some(100.0), Digest::Require, Digest::Off)
        );
    }

    #[test]
    fn exit_codes_tell_usage_from_connection() {
        assert_eq!(run(&parse("--bs 8G")), Exit::Usage);
        assert_eq!(run(&parse("--cores x")), Exit::Usage);
        // Nothing listens at port 1.
        assert_eq!(run(&parse("--time 1")), Exit::NoConnection);
    }
}
