//! The socket file: created private, locked against a second instance, removed when done.

use crate::limits::{LISTEN_BACKLOG, MAX_SOCKET_PATH_BYTES};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process holds the lock or answers on the socket.
    #[error("{0}: another instance is listening there; stop it or choose another --rpc-socket")]
    InUse(PathBuf),
    /// Something that is no socket has this name; it is left alone.
    #[error("{0}: exists and is not a socket")]
    NotASocket(PathBuf),
    /// `sun_path` is short.
    #[error("{0}: longer than the {MAX_SOCKET_PATH_BYTES} bytes a unix socket's path may have, or holds a NUL")]
    BadPath(PathBuf),
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

/// A listening unix socket of mode 0600 and the lock that goes with it.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: UnixListener,
    path: PathBuf,
    // Held, never read: the lock on `<path>.lock` goes with the file.
    _lock: File,
}

impl Listener {
    /// Locks `<path>.lock`, removes a socket that a dead process left behind, and listens.
    ///
    /// The lock file stays when the listener goes: removing it would let two instances each lock a different file of
    /// the same name.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        if path.as_os_str().len() > MAX_SOCKET_PATH_BYTES || path.as_os_str().as_bytes().contains(&0) {
            return Err(ListenError::BadPath(path.to_owned()));
        }
        let lock = lock(path)?;
        remove_stale(path)?;
        let socket = listen_private(path).map_err(|error| io_error(path, error))?;
        Ok(Self { socket, path: path.to_owned(), _lock: lock })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the rpc socket");
        }
    }
}

fn io_error(path: &Path, error: io::Error) -> ListenError {
    ListenError::Io { path: path.to_owned(), error }
}

fn lock(path: &Path) -> Result<File, ListenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let mut options = OpenOptions::new();
    // No symbolic link is followed: the usual directory is writable by everybody.
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(&name).map_err(|error| io_error(&name, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ListenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error(&name, error)),
    }
}

fn remove_stale(path: &Path) -> Result<(), ListenError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error(path, error)),
        Ok(found) if !found.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        // Someone answers without holding our lock: another program's socket.
        Ok(_) => Err(ListenError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| io_error(path, error))
        }
        Err(error) => Err(io_error(path, error)),
    }
}

/// Like `UnixListener::bind`, but the file is born with mode 0600: on Linux the mode of the unbound socket, less the
/// umask, becomes the mode of the file. A chmod afterwards would leave a moment in which others could connect, and
/// changing the umask would affect every thread of the process.
fn listen_private(path: &Path) -> io::Result<UnixListener> {
    // SAFETY: plain socket(2); the result is checked before it is used.
    let fd = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: fd was just opened and is owned by nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: fd is open.
    check(unsafe { libc::fchmod(fd.as_raw_fd(), 0o600) })?;

    // SAFETY: sockaddr_un is plain data for which all zeroes is a value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // `bind` checked that the path and a terminating NUL fit.
    for (to, from) in address.sun_path.iter_mut().zip(path.as_os_str().as_bytes()) {
        *to = *from as libc::c_char;
    }
    let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the address is initialised and `length` is its size.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
    // SAFETY: fd is an open, bound socket.
    check(unsafe { libc::listen(fd.as_raw_fd(), LISTEN_BACKLOG) })?;
    Ok(UnixListener::from(fd))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_socket_is_private_and_goes_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc.sock");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_instance_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc.sock");
        let first = Listener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path), Err(ListenError::InUse(_))));
        drop(first);
        Listener::bind(&path).unwrap();
    }

    #[test]
    fn a_stale_socket_is_removed_and_a_live_foreign_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc.sock");
        let foreign = UnixListener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path), Err(ListenError::InUse(_))));
        drop(foreign);
        assert!(path.exists(), "left behind");
        Listener::bind(&path).unwrap();
    }

    #[test]
    fn other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&path), Err(ListenError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_symbolic_link_in_place_of_the_lock_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), dir.path().join("rpc.sock.lock")).unwrap();
        assert!(matches!(Listener::bind(&dir.path().join("rpc.sock")), Err(ListenError::Io { .. })));
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn long_paths_are_refused_by_name() {
        let path = PathBuf::from(format!("/tmp/{}", "x".repeat(MAX_SOCKET_PATH_BYTES)));
        assert!(matches!(Listener::bind(&path), Err(ListenError::BadPath(_))));
    }
}
