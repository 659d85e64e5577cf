//! A running engine for tests of the program.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const ISERE: &str = env!("CARGO_BIN_EXE_isere");

/// Longer than anything here takes; a test that meets it fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Serving {
    pub child: Child,
    pub socket: PathBuf,
    pub dir: tempfile::TempDir,
}

pub fn serve(dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(ISERE);
    command.arg("serve").arg("--rpc-socket").arg(dir.join("rpc.sock"));
    command.args(["--memory", "64M", "--hugepages", "off", "--idle", "adaptive"]).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Serving {
    pub fn start(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = serve(dir.path(), more).spawn().unwrap();
        let serving = Self { child, socket: dir.path().join("rpc.sock"), dir };
        let begun = Instant::now();
        while serving.rpc(&["spdk_get_version"]).status.code() == Some(3) {
            assert!(begun.elapsed() < PATIENCE, "does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        serving
    }

    pub fn rpc(&self, arguments: &[&str]) -> Output {
        Command::new(ISERE).arg("rpc").arg("--rpc-socket").arg(&self.socket).args(arguments).output().unwrap()
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.rpc(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits for the end and returns the exit code.
    pub fn end(mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(!self.socket.exists(), "the socket is removed");
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Only a test that failed leaves it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The target that [`export`] makes.
pub const TARGET: &str = "iqn.2016-06.io.spdk:test";

/// A port nobody listens on just now.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Exports a block device as LUN 0 of [`TARGET`] on a loopback port.
pub fn export(serving: &Serving, bdev: &str, port: u16) {
    let portal = format!(r#"{{"tag":1,"portals":[{{"host":"127.0.0.1","port":"{port}"}}]}}"#);
    serving.ok(&["iscsi_create_portal_group", &portal]);
    serving.ok(&["iscsi_create_initiator_group", r#"{"tag":1,"initiators":["ANY"],"netmasks":["127.0.0.0/8"]}"#]);
    let target = format!(
        r#"{{"name":"test","alias_name":"","pg_ig_maps":[{{"pg_tag":1,"ig_tag":1}}],"queue_depth":32,
        "luns":[{{"lun_id":0,"bdev_name":"{bdev}"}}],"disable_chap":true}}"#
    );
    serving.ok(&["iscsi_create_target_node", &target]);
}
