//! epoll, with a clock of nanoseconds.

use std::{
    io,
    mem::MaybeUninit,
    num::NonZeroU64,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    time::Timespec,
};

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 256;

/// Waits for many sockets, each known by a number.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<(u32, EventFlags)>,
}

impl Poller {
    /// An empty one.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new() -> io::Result<Self> {
        // A thread is woken up to 50 µs late unless it asks for better; paced messages want to leave on time.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Waits for `socket` from now on, until it is closed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn add(&self, socket: impl AsFd, number: u32, interest: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(number.into()), interest)?)
    }

    /// Waits for something else.
    ///
    /// # Errors
    /// The operating system's.
    pub fn modify(&self, socket: impl AsFd, number: u32, interest: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(number.into()), interest)?)
    }

    /// Waits for events, `timeout` at most.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec { tv_sec: timeout.as_secs().cast_signed(), tv_nsec: timeout.subsec_nanos().into() };
        let mut room = [MaybeUninit::<Event>::uninit(); EVENTS_MAX];
        self.events.clear();
        match epoll::wait(&self.epoll, &mut room, Some(&timeout)) {
            Ok((events, _)) => {
                let number = |event: &Event| u32::try_from(event.data.u64()).unwrap_or(u32::MAX);
                self.events.extend(events.iter().map(|event| (number(event), event.flags)));
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How many events the last wait brought.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a count, not a collection")]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// One of them: the number it was added under, and what happened.
    #[must_use]
    pub fn event(&self, index: usize) -> (u32, EventFlags) {
        self.events[index]
    }
}

/// Nanoseconds since the run began; the same for all threads.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Its zero is now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the zero.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
