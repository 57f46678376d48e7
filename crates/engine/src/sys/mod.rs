//! The kernel, and the only place with `unsafe`: one folder for each family of systems, one set of names for all.
//!
//! The rest of the crate and the rooms use the names re-exported here and never name a platform. A new back end is a
//! new folder that provides the list below, and two lines in the `cfg` block under this header; nothing else changes.
//!
//! # The duties of a platform
//!
//! 1. [`Poller`]: owns one kernel queue of readiness.
//!    - `new() -> io::Result<Poller>`: the handle does not survive `exec`.
//!    - `add`, `modify`, `delete` ([`Registrar`]): the kernel watches a descriptor under a `u64` token.
//!      [`Trigger::Level`]: readiness is reported by every wait for as long as it lasts, since asyncio's
//!      `add_reader` promises that. [`Trigger::Edge`]: it is reported once when something new has come. Errors are the kernel's own, and [`Refusal::of`] sorts them, because the table in
//!      `interest` acts on three of them; an unpollable file (`EPERM` on epoll) must be an error and not silence.
//!      They never retry and never block.
//!    - `wait(timeout, &mut Events)`: None waits for ever, zero looks only. It must not return before the timeout
//!      unless there is an event (round **up** to what the kernel can do). `EINTR` is returned, not retried, because
//!      the caller has signal handlers to run. It may be called with the GIL released, so it touches nothing but its
//!      arguments.
//!    - an event says `token`, `readable`, `writable`. Errors and hang-ups are reported as both, so that whoever
//!      listens finds out by reading or writing, as asyncio's selectors do.
//!    - the events of a wait say `tells_all`: that none was left out, and that no descriptor has ended, be it by half. Where that is
//!      not known (`EPOLLRDHUP`, `EV_EOF`) the answer is no, which costs a look.
//!    - more than one fd may be ready than the buffer holds: the rest must come with the next waits, in turn.
//!    - `fd()` where the queue itself has one, so that it can be put into another loop's poller.
//! 2. [`Waker`]: ends a wait from elsewhere.
//!    - `wake()` from any thread and from a signal handler: no lock, no allocation, no blocking. Many wakes may merge
//!      into one, but a wake after `drain` always ends the next wait.
//!    - `fd()` to register (under [`WAKER_TOKEN`]), `drain()` to make it quiet.
//! 3. [`socket`]: what stream transports do to a socket, non-blocking, each an `io::Result` with the kernel's error
//!    number kept; `EINTR` is retried; sending never raises `SIGPIPE`; new descriptors do not survive `exec`.
//!    [`datagram`]: the same for datagram transports, a datagram a call.
//! 4. [`pipe`]: reading and writing by number, for pipes and character devices, under the same rules.
//! 5. [`SignalPipe`], where the system has signals: a descriptor for `signal.set_wakeup_fd` and one to watch.
//! 6. [`Process`], a child process by a descriptor to watch, where the system has such: reaping and signals by it.
//! 7. [`forked`], where the system has it: what a child must not touch says so, `is_inherited`. A poller that is inherited
//!    takes every change without a word and makes none; it is replaced before the next wait.
//! 8. [`Mapping`], where other processes look for files in this one's memory: one at an address of the caller's choice.
//! 9. A clock: `clock::Monotonic`, equal to Python's `time.monotonic()` on that platform.
//!
//! A kqueue back end: `EVFILT_READ` and `EVFILT_WRITE` are two registrations, so `modify` adds one and deletes the
//! other; `EV_CLEAR` for edges alone; the token in `udata`; `EVFILT_USER` or a pipe for the waker; timeouts are a timespec
//! already. A completion port has no readiness: its poller is the proactor rooms' own, fed with operations instead of
//! interest, and shares only the waker (`PostQueuedCompletionStatus`) and the rounding of timeouts with this list.

#[cfg(unix)]
mod unix;

#[cfg(unix)]
pub use unix::{
    datagram,
    epoll::{Events, Poller},
    fork::forked,
    mapping::Mapping,
    pipe,
    process::Process,
    signal_pipe::SignalPipe,
    socket,
    waker::Waker,
};

use std::io;

/// The platform's name for an open file, as Python passes it in (`fileno()`).
pub type Descriptor = i32;

/// The token under which a loop registers its [`Waker`]; the interest table never makes it.
pub const WAKER_TOKEN: u64 = u64::MAX;

/// What to hear of about a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// That it can be read.
    Read,
    /// That it can be written.
    Write,
    /// Both.
    Both,
}

impl Interest {
    /// The interest made of two halves; None if there is neither.
    pub fn of(read: bool, write: bool) -> Option<Interest> {
        match (read, write) {
            (true, false) => Some(Interest::Read),
            (false, true) => Some(Interest::Write),
            (true, true) => Some(Interest::Both),
            (false, false) => None,
        }
    }

    /// Both interests together.
    pub fn with(self, other: Interest) -> Interest {
        if self == other { self } else { Interest::Both }
    }

    /// Whether reading is part of it.
    pub fn read(self) -> bool {
        self != Interest::Write
    }

    /// Whether writing is part of it.
    pub fn write(self) -> bool {
        self != Interest::Read
    }
}

/// When a readiness is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By every wait, for as long as it lasts.
    Level,
    /// By one wait, whenever something new has come: bytes, the end, an error, room.
    Edge,
}

/// One report of the poller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What the descriptor was registered under.
    pub token: u64,
    /// A read would not block: there are bytes, the end, or an error.
    pub readable: bool,
    /// A write would not block: there is room, or an error.
    pub writable: bool,
}

/// What a platform's error means to whoever registers descriptors; [`Refusal::of`] is the platform's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An add of a descriptor that is watched already.
    AlreadyWatched,
    /// A modify or delete of an open descriptor that is not watched.
    NotWatched,
    /// The descriptor is not open.
    NotOpen,
    /// Anything else: not pollable, out of memory, over a limit.
    Other,
}

/// The registering half of a poller, apart so that the interest table can be tested against a model of a kernel.
pub trait Registrar {
    /// Begin to watch a descriptor.
    fn add(&self, fd: Descriptor, token: u64, interest: Interest, trigger: Trigger) -> io::Result<()>;

    /// Watch a descriptor for something else, or under another token.
    fn modify(&self, fd: Descriptor, token: u64, interest: Interest, trigger: Trigger) -> io::Result<()>;

    /// Cease to watch a descriptor.
    fn delete(&self, fd: Descriptor) -> io::Result<()>;
}
