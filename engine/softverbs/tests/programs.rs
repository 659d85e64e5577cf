//! Programs written for the real libraries, from Debian's `rdmacm-utils`, in two processes. Without that package there
//! is nothing to run, and these tests say so and pass.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Time after which a program that should have ended never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// Cargo leaves the library beside the tests of its package.
fn library() -> PathBuf {
    let library = std::env::current_exe().unwrap().with_file_name("libsoftverbs.so");
    assert!(library.exists(), "{} is missing", library.display());
    library
}

/// A program that does not outlive its test.
struct Running(Option<Child>);

impl Running {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it has not ended")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The program under the library; `None` if it is not installed.
fn program(name: &str, args: &[&str]) -> Option<Running> {
    let mut command = Command::new(name);
    command.args(args).env("LD_PRELOAD", library()).stdout(Stdio::piped()).stderr(Stdio::piped());
    match command.spawn() {
        Ok(child) => Some(Running(Some(child))),
        Err(error) => {
            eprintln!("{name} cannot be run ({error}): nothing is tested");
            None
        }
    }
}

/// A port that is free now.
fn port(at: SocketAddr) -> String {
    TcpListener::bind(at).unwrap().local_addr().unwrap().port().to_string()
}

fn ended(mut running: Running, what: &str) -> Output {
    let began = Instant::now();
    let in_time = || began.elapsed() < PATIENCE;
    while running.child().try_wait().unwrap().is_none() && in_time() {
        std::thread::sleep(Duration::from_millis(5));
    }
    if !in_time() {
        running.child().kill().unwrap();
    }
    let output = running.0.take().expect("it has not ended").wait_with_output().unwrap();
    assert!(output.status.success(), "{what}: {output:?}");
    output
}

/// Waits until somebody listens. The connection that finds out is no MPA request, which the library has to bear.
fn listening(at: SocketAddr, server: &mut Running) {
    let began = Instant::now();
    while TcpStream::connect(at).is_err() {
        assert!(server.child().try_wait().unwrap().is_none(), "the server has ended");
        assert!(began.elapsed() < PATIENCE, "nobody listens at {at}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a server and a client of it to their good ends.
fn pair(name: &str, address: SocketAddr, server: &[&str], client: &[&str]) -> Option<Output> {
    let port = port(address);
    let at = SocketAddr::new(address.ip(), port.parse().unwrap());
    let mut server = program(name, &[server, &["-p", &port]].concat())?;
    listening(at, &mut server);
    let client = program(name, &[client, &["-p", &port]].concat())?;
    let output = ended(client, "the client");
    ended(server, "the server");
    Some(output)
}

const V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

/// Sends, RDMA Reads and RDMA Writes, and the data is compared.
#[test]
fn rping_transfers_and_verifies() {
    let server = ["-s", "-a", "127.0.0.1", "-C", "100", "-S", "5000", "-V"];
    let client = ["-c", "-a", "127.0.0.1", "-C", "100", "-S", "5000", "-V"];
    pair("rping", V4, &server, &client);
}

#[test]
fn rping_makes_its_own_queue_pair_and_speaks_ipv6() {
    pair("rping", V6, &["-s", "-a", "::1", "-C", "10", "-q", "-V"], &["-c", "-a", "::1", "-C", "10", "-q", "-V"]);
}

/// A server of many connections in a row, with a thread for each.
#[test]
fn rping_is_served_again_and_again() {
    let port = port(V4);
    let at = SocketAddr::new(V4.ip(), port.parse().unwrap());
    let Some(mut server) = program("rping", &["-s", "-P", "-a", "127.0.0.1", "-p", &port]) else { return };
    listening(at, &mut server);
    helper_takes_no_signals(server.child().id());
    for _ in 0..10 {
        let client = program("rping", &["-c", "-a", "127.0.0.1", "-p", &port, "-C", "20", "-V"]).unwrap();
        ended(client, "a client");
    }
}

#[test]
fn ucmatose_connects_many_and_migrates() {
    let (server, client) = (["-c", "20", "-C", "5"], ["-s", "127.0.0.1", "-c", "20", "-C", "5"]);
    pair("ucmatose", V4, &server, &client);
    pair("ucmatose", V4, &["-m", "1"], &["-s", "127.0.0.1", "-m", "1"]);
}

/// The library's thread blocks all signals: those a program waits for are not for it.
fn helper_takes_no_signals(process: u32) {
    let began = Instant::now();
    // It names itself, soon after it was started.
    let helper = loop {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let mut statuses = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
        if let Some(helper) = statuses.find(|status| status.contains("Name:\tsoftverbs\n")) {
            break helper;
        }
        assert!(began.elapsed() < PATIENCE, "the library has no thread");
    };
    let blocked = helper.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).expect("a mask");
    let blocked = u64::from_str_radix(blocked, 16).unwrap();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM, libc::SIGCHLD] {
        assert!(blocked >> (signal - 1) & 1 == 1, "signal {signal} is not blocked: {blocked:x}");
    }
}
