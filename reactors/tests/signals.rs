//! Signal handling is the process's, so each case runs in a process of its own: this binary, started again.

use reactors::signal::{SignalError, Signals, Woken};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::Duration;

const CASE: &str = "REACTORS_SIGNAL_CASE";

fn run_case(case: &str) -> ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "the_case", "--ignored", "--nocapture"]).env(CASE, case).status().unwrap()
}

fn raise(signal: i32) {
    // SAFETY: sends a signal to this thread; the handler is installed.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

#[test]
#[ignore = "started by the other tests, in a process of its own"]
fn the_case() {
    let Ok(case) = std::env::var(CASE) else { return };
    let signals = Signals::install().unwrap();
    assert!(matches!(Signals::install(), Err(SignalError::Installed)));
    match case.as_str() {
        "first" => first(&signals),
        "second" => {
            raise(libc::SIGTERM);
            raise(libc::SIGINT);
            unreachable!("the second signal ends the process at once");
        }
        "thread" => from_elsewhere(&signals),
        other => panic!("no such case: {other}"),
    }
}

fn first(signals: &Signals) {
    assert_eq!(signals.wait(None, Some(Duration::ZERO)), Woken::Timeout);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"x").unwrap();
    assert_eq!(signals.wait(Some(theirs.as_fd()), None), Woken::Other);
    // Writing to a closed pipe is an error, not the end.
    drop(theirs);
    assert!(ours.write_all(b"x").is_err());
    assert_eq!(signals.received(), None);
    raise(libc::SIGINT);
    assert_eq!(signals.wait(Some(ours.as_fd()), None), Woken::Signal(libc::SIGINT), "a signal goes first");
    assert_eq!(signals.wait(None, None), Woken::Signal(libc::SIGINT), "and stays");
    assert_eq!(signals.received(), Some(libc::SIGINT));
}

fn from_elsewhere(signals: &Signals) {
    std::thread::spawn(|| raise(libc::SIGTERM));
    assert_eq!(signals.wait(None, None), Woken::Signal(libc::SIGTERM));
}

#[test]
fn the_first_signal_is_told() {
    assert!(run_case("first").success());
    assert!(run_case("thread").success());
}

#[test]
fn the_second_signal_ends_the_process() {
    let status = run_case("second");
    assert_eq!((status.code(), status.signal()), (Some(128 + libc::SIGINT), None));
}
