use super::{Fabric, Message, NAME, Target};
use initiator::session::{Command, Event};
use initiator::transport::Data;
use initiator::transport::iser::{Iser, Setup};
use initiator::{Arena, Options, Session};
use iscsi::wire::ScsiCommand;
use std::collections::VecDeque;
use std::time::Instant;

pub struct Rig<F: Fabric> {
    /// Dropped before the fabric is finished.
    pub session: Option<Session<Iser<F::P>>>,
    pub target: Target<F::P>,
    pub fabric: F,
    /// What the session reported while something else was waited for.
    reported: VecDeque<Event>,
    pub now: Instant,
    pub epoch: Instant,
}

impl<F: Fabric> Rig<F> {
    /// A session that has begun to connect.
    pub fn new(options: &Options) -> Self {
        Self::with_target(options, Some(NAME), |_| {})
    }

    pub fn with_target(options: &Options, name: Option<&str>, prepare: impl FnOnce(&mut Target<F::P>)) -> Self {
        let (fabric, ours, theirs, at) = F::build();
        let mut target = Target::new(theirs, at);
        prepare(&mut target);
        let iser = Iser::connect(ours, "iser/test", target.at, Setup::of(options)).unwrap();
        let now = Instant::now();
        let session = Session::over(iser, target.at, name, options, now).unwrap();
        Self { session: Some(session), target, fabric, reported: VecDeque::new(), now, epoch: now }
    }

    pub fn logged_in() -> Self {
        Self::logged_in_with(&options(), |_| {})
    }

    pub fn logged_in_with(options: &Options, prepare: impl FnOnce(&mut Target<F::P>)) -> Self {
        let mut rig = Self::with_target(options, Some(NAME), prepare);
        rig.log_in();
        rig
    }

    pub fn log_in(&mut self) {
        for _ in 0..2 {
            let message = self.request();
            self.target.answer_login(&message);
        }
        assert!(matches!(self.event(), Event::LoggedIn(_)));
    }

    pub fn session(&mut self) -> &mut Session<Iser<F::P>> {
        self.session.as_mut().expect("it lives")
    }

    pub fn turn(&mut self) {
        let now = self.now;
        self.session().poll(now);
        self.rest();
    }

    /// Everything but the session turns.
    pub fn rest(&mut self) {
        self.target.turn(self.epoch.elapsed().as_nanos() as u64);
        self.fabric.pass();
    }

    /// Turns until `found` finds something.
    pub fn until<R>(&mut self, mut found: impl FnMut(&mut Self) -> Option<R>) -> R {
        for _ in 0..F::PATIENCE {
            if let Some(result) = found(self) {
                return result;
            }
            self.turn();
            // One at a time: the next call may take the segment of the last away.
            if self.reported.is_empty()
                && let Some(event) = self.session().next_event()
            {
                self.reported.push_back(event);
            }
        }
        panic!("nothing happens; reported: {:?}", self.reported);
    }

    /// The next thing the session reports.
    pub fn event(&mut self) -> Event {
        self.until(|rig| rig.reported.pop_front())
    }

    /// There is something the session has reported.
    pub fn has_reported(&self) -> bool {
        !self.reported.is_empty()
    }

    /// The next thing the target hears.
    pub fn request(&mut self) -> Message {
        self.until(|rig| rig.target.inbox.pop_front())
    }

    pub fn command(&mut self) -> (ScsiCommand, Message) {
        self.until(|rig| rig.target.command())
    }

    /// What the next RDMA Read of the target brings.
    pub fn fetched(&mut self) -> Vec<u8> {
        self.until(|rig| rig.target.fetched.pop_front())
    }

    pub fn submit(&mut self, command: Command) {
        let now = self.now;
        self.session().submit(command, now).unwrap_or_else(|refused| panic!("{:?}", refused.why));
    }

    /// An arena that is registered.
    pub fn arena(&mut self, count: usize, bytes: usize) -> Arena {
        let arena = Arena::new(count, bytes);
        self.session().register(&arena).unwrap();
        arena
    }

    /// Ends everything orderly; nothing may be left of it.
    pub fn finish(mut self) {
        if self.target.queue.is_some() {
            self.target.hang_up();
        }
        for _ in 0..F::PATIENCE {
            self.turn();
            while self.session().next_event().is_some() {}
            if self.session().has_ended() && self.target.is_drained() {
                break;
            }
        }
        assert!(self.session().has_ended() && self.target.is_drained());
        // The message buffers come back too.
        (0..64).for_each(|_| self.turn());
        let (session, target) = (self.session.take(), self.target);
        drop(session);
        drop(target);
        self.fabric.finish();
    }
}

pub fn options() -> Options {
    Options { queue_depth: 4, ..Options::default() }
}

pub fn command(data: Data) -> Command {
    Command { data, ..Command::default() }
}

pub fn read_of(arena: &mut Arena, len: u32) -> Command {
    command(Data::Read { buf: arena.take().expect("a buffer"), len })
}

pub fn write_of(arena: &mut Arena, bytes: &[u8]) -> Command {
    let mut buf = arena.take().expect("a buffer");
    buf.copy_in(0, bytes);
    command(Data::Write { buf })
}
