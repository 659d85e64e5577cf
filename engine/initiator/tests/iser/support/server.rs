//! A disk served over soft-iWARP by a thread, to any number of connections.

use super::{Disk, NAME, Target};
use initiator::Url;
use rdma::{Event, Provider};
use siw::{Config, Siw};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

pub struct Server {
    pub at: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves a disk of so many bytes; `prepare` sees the target of each connection first.
    pub fn start(bytes: usize, invalidate: bool, prepare: fn(&mut Target<Siw>)) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut front = Siw::new(Config::default()).unwrap();
            let at = front.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 16).unwrap();
            tell.send(at).unwrap();
            serve(&mut front, at, &Disk::new(bytes, invalidate), &stopped, prepare);
        });
        Self { at: told.recv().unwrap(), stop, thread: Some(thread) }
    }

    pub fn url(&self, query: &str) -> Url {
        format!("iser://{}/{NAME}/0{query}", self.at).parse().unwrap()
    }
}

/// One device listens; each connection has a device of its own.
fn serve(front: &mut Siw, at: SocketAddr, disk: &Disk, stop: &AtomicBool, prepare: fn(&mut Target<Siw>)) {
    let epoch = Instant::now();
    let mut connections: Vec<(Target<Siw>, Disk)> = Vec::new();
    while !stop.load(Relaxed) {
        let now = epoch.elapsed().as_nanos() as u64;
        front.progress(now);
        while let Some(event) = front.poll() {
            let Event::Request(request) = event else { continue };
            let Some(parcel) = front.detach(request.id) else { continue };
            let mut device = Siw::new(Config::default()).unwrap();
            device.attach(parcel).unwrap();
            let mut target = Target::for_requests(device, at);
            prepare(&mut target);
            connections.push((target, disk.again()));
        }
        for (target, disk) in &mut connections {
            target.turn(now);
            disk.serve(target);
        }
        connections.retain(|(target, _)| target.ended.is_none() || !target.is_drained());
        std::thread::yield_now();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the server panicked");
    }
}
