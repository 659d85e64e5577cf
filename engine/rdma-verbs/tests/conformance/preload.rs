//! Runs this program again, under soft-iWARP, if it was not told of a device.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Names the local address of the device.
pub const ADDRESS: &str = "RDMA_VERBS_ADDRESS";

/// Before the test harness: it makes threads, and a program cannot be replaced from one of many in good order.
#[used]
// SAFETY: the C library calls the functions in this section, with arguments that this one leaves alone, before `main`.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    if std::env::var_os(ADDRESS).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let beside = program.with_file_name("libsoftverbs.so");
    let library = std::env::var_os("SOFTVERBS").map_or(beside, PathBuf::from);
    if !library.exists() {
        eprintln!("{} is missing: cargo build -p softverbs", library.display());
        return;
    }
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1));
    command.env("LD_PRELOAD", library).env(ADDRESS, "127.0.0.1").env("RUST_TEST_THREADS", "1");
    eprintln!("softverbs cannot be used: {}", command.exec());
}
