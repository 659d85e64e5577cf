//! The command line.

pub mod exit;
pub mod perf;
pub mod rpc;
pub mod serve;

use clap::{Parser, Subcommand};

/// Where the RPC socket is unless said otherwise.
pub const DEFAULT_RPC_SOCKET: &str = "/var/tmp/isere.sock";

/// A polled-mode, user-space storage engine: an iSER and iSCSI target, and a load generator.
#[derive(Debug, Parser)]
#[command(name = "isere", version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  isere serve --cores 0-1 --memory 1G
  isere rpc bdev_malloc_create '{\"name\":\"M0\",\"num_blocks\":131072,\"block_size\":512}'
  isere rpc iscsi_create_portal_group '{\"tag\":1,\"portals\":[{\"host\":\"127.0.0.1\",\"port\":\"3260\"}]}'
  isere rpc iscsi_create_initiator_group '{\"tag\":1,\"initiators\":[\"ANY\"],\"netmasks\":[\"127.0.0.0/8\"]}'
  isere rpc iscsi_create_target_node '{\"name\":\"disk1\",\"alias_name\":\"\",\"queue_depth\":64,
      \"luns\":[{\"bdev_name\":\"M0\",\"lun_id\":0}],\"pg_ig_maps\":[{\"pg_tag\":1,\"ig_tag\":1}]}'
  isere perf iscsi://127.0.0.1/iqn.2016-06.io.spdk:disk1/0 --rw randread --bs 4k --qd 32 --time 10

SPDK's own client works too: spdk-rpc -s /var/tmp/isere.sock bdev_get_bdevs

Exit codes:
  0  success
  1  the operation failed (an RPC error, a verification error, a failed start)
  2  wrong usage
  3  cannot connect";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the target.
    Serve(serve::ServeArgs),
    /// Call a method of a running target and print its result.
    Rpc(rpc::RpcArgs),
    /// Generate load on a target and measure it.
    Perf(perf::PerfArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the version.
    Version,
}

/// Prints the completion script.
pub fn completions(shell: clap_complete::Shell) {
    let mut command = <Cli as clap::CommandFactory>::command();
    clap_complete::generate(shell, &mut command, "isere", &mut std::io::stdout());
}

#[cfg(test)]
mod tests;
