//! A private `tgtd` (Debian package tgt) with one target of one memory-backed disk: a peer of foreign make.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use initiator::Url;

pub const TARGET: &str = "iqn.2001-04.com.example:disk";
pub const DISK_BYTES: u64 = 64 << 20;

/// A running daemon; ends with this value.
pub struct Tgtd {
    child: Child,
    control: u16,
    pub portal: SocketAddr,
    disk: PathBuf,
    log: PathBuf,
}

impl Tgtd {
    /// What is missing on this machine, if anything. Only that is a reason to skip: a daemon that is there and does not
    /// start is a failure.
    pub fn missing() -> Option<&'static str> {
        ["/usr/sbin/tgtd", "/usr/sbin/tgtadm"].into_iter().find(|tool| !Path::new(tool).exists())
    }

    /// Starts one.
    pub fn start() -> Result<Self, String> {
        let portal = free_portal()?;
        // One control socket per port, so that tests do not meet each other's daemon; tgtd takes numbers up to 32767.
        let control = portal.port() % 32_768;
        let disk = std::env::temp_dir().join(format!("initiator-test-{control}.disk"));
        let file = std::fs::File::create(&disk).map_err(|e| format!("{}: {e}", disk.display()))?;
        file.set_len(DISK_BYTES).map_err(|e| e.to_string())?;
        let log = std::env::temp_dir().join(format!("initiator-test-{control}.log"));
        let errors = std::fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let child = Command::new("/usr/sbin/tgtd")
            .args(["-f", "--iscsi", &format!("portal={portal}"), "-C", &control.to_string()])
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .map_err(|e| format!("tgtd does not start: {e}"))?;
        let mut daemon = Self { child, control, portal, disk, log };
        daemon.await_listening()?;
        daemon.set_up()?;
        Ok(daemon)
    }

    pub fn url(&self) -> Url {
        self.url_with("")
    }

    /// The URL with `user%secret@` before the host.
    pub fn url_with(&self, credentials: &str) -> Url {
        format!("iscsi://{credentials}{}/{TARGET}/1", self.portal).parse().unwrap()
    }

    pub fn admin(&self, args: &str) -> Result<(), String> {
        let control = self.control.to_string();
        let out =
            Command::new("/usr/sbin/tgtadm").args(["-C", &control, "--lld", "iscsi"]).args(args.split(' ')).output();
        match out {
            Ok(out) if out.status.success() => Ok(()),
            Ok(out) => Err(format!("tgtadm {args}: {}", String::from_utf8_lossy(&out.stderr))),
            Err(e) => Err(format!("tgtadm: {e}")),
        }
    }

    fn set_up(&self) -> Result<(), String> {
        self.admin(&format!("--op new --mode target --tid 1 -T {TARGET}"))?;
        self.admin(&format!("--op new --mode logicalunit --tid 1 --lun 1 -b {}", self.disk.display()))?;
        // It offers no digests unless told to.
        self.admin("--op update --mode target --tid 1 -n HeaderDigest -v None,CRC32C")?;
        self.admin("--op update --mode target --tid 1 -n DataDigest -v None,CRC32C")?;
        self.admin("--op bind --mode target --tid 1 -I ALL")
    }

    fn await_listening(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if TcpStream::connect(self.portal).is_ok() && self.admin("--op show --mode target").is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("tgtd ended with {status}: {}", self.said()));
            }
            sleep(Duration::from_millis(20));
        }
        Err(format!("tgtd does not listen: {}", self.said()))
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Tgtd {
    fn drop(&mut self) {
        // Whatever fails here has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.disk);
        let _ = std::fs::remove_file(&self.log);
    }
}

fn free_portal() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    listener.local_addr().map_err(|e| e.to_string())
}

/// Starts a daemon. Where none is installed, says that the test is skipped; one that does not start fails the test.
#[macro_export]
macro_rules! tgtd_or_skip {
    () => {
        match support::Tgtd::missing() {
            Some(tool) => {
                eprintln!("SKIPPED: {tool} is not installed (Debian package tgt)");
                return;
            }
            None => support::Tgtd::start().unwrap(),
        }
    };
}
