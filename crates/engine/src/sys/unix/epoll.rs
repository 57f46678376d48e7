//! The poller on Linux: one epoll instance, level-triggered but for those who ask for edges.
//!
//! `run_once` calls [`Poller::wait`], the interest table calls the [`Registrar`] half. What both may rely on is
//! written in the header of `sys`.
//!
//! A positive timeout goes through `epoll_pwait2`, which takes nanoseconds (Linux 5.11). Where the kernel or a
//! seccomp filter refuses it (`ENOSYS`, `EPERM`), the poller remembers that and uses `epoll_pwait` with whole
//! milliseconds, rounded up. CPython's own selector always has milliseconds, so its timers are up to one late where
//! ours are not. A look (zero) and a wait without end need no precision and use the old call.
//!
//! Any method may be called from any thread (epoll itself allows it); the loop uses it from its own.

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::borrow;
use super::fork::Birth;
use crate::sys::{Descriptor, Event, Interest, Registrar, Trigger};

/// An epoll instance.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    /// The kernel takes nanoseconds, as far as we know.
    precise: AtomicBool,
    birth: Birth,
}

/// Where a wait puts its events; kept by the caller from wait to wait.
pub struct Events {
    list: Vec<epoll::Event>,
    most: usize,
}

// SAFETY: the list holds tokens, which we put there as plain numbers; the pointer in the kernel's union is never used.
unsafe impl Send for Events {}

/// What is asked for of a descriptor that is read: beside the bytes, whether their end has come too, which is no event of its own.
const READ: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);

/// The most events one wait returns; beyond it they come in several turns.
const MOST_EVENTS: usize = 4096;

impl Poller {
    /// A new instance that watches nothing.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, precise: AtomicBool::new(true), birth: Birth::now() })
    }

    /// Whether it is the parent process's, which this one must not change.
    #[inline]
    pub fn is_inherited(&self) -> bool {
        self.birth.is_inherited()
    }

    /// The descriptor of the instance itself, for `fileno()`.
    pub fn fd(&self) -> Descriptor {
        self.epoll.as_raw_fd()
    }

    /// Wait until something happens or the timeout has passed, and return how many events there are.
    ///
    /// `EINTR` is returned as such: the caller runs its signal handlers and comes back.
    pub fn wait(&self, timeout: Option<Duration>, events: &mut Events) -> io::Result<usize> {
        events.make_room();
        match timeout {
            None => self.wait_plainly(None, events),
            Some(Duration::ZERO) => self.wait_plainly(Some(Timespec::default()), events),
            Some(timeout) => self.wait_precisely(timeout, events),
        }?;
        Ok(events.list.len())
    }

    fn wait_precisely(&self, timeout: Duration, events: &mut Events) -> io::Result<()> {
        if self.precise.load(Ordering::Relaxed) {
            match pwait2(&self.epoll, timeout, &mut events.list) {
                Err(Errno::NOSYS | Errno::PERM) => self.precise.store(false, Ordering::Relaxed),
                other => return Ok(other?),
            }
        }
        self.wait_plainly(Some(whole_milliseconds(timeout)), events)
    }

    fn wait_plainly(&self, timeout: Option<Timespec>, events: &mut Events) -> io::Result<()> {
        epoll::wait(&self.epoll, spare_capacity(&mut events.list), timeout.as_ref())?;
        Ok(())
    }
}

impl Registrar for Poller {
    fn add(&self, fd: Descriptor, token: u64, interest: Interest, trigger: Trigger) -> io::Result<()> {
        if self.is_inherited() {
            return Ok(());
        }
        let data = EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, borrow(fd)?, data, flags(interest, trigger))?)
    }

    fn modify(&self, fd: Descriptor, token: u64, interest: Interest, trigger: Trigger) -> io::Result<()> {
        if self.is_inherited() {
            return Ok(());
        }
        let data = EventData::new_u64(token);
        Ok(epoll::modify(&self.epoll, borrow(fd)?, data, flags(interest, trigger))?)
    }

    fn delete(&self, fd: Descriptor) -> io::Result<()> {
        if self.is_inherited() {
            return Ok(());
        }
        Ok(epoll::delete(&self.epoll, borrow(fd)?)?)
    }
}

impl Events {
    /// Room for a first handful; it grows with the need.
    pub fn new() -> Self {
        Self { list: Vec::with_capacity(64), most: MOST_EVENTS }
    }

    /// Have waits return no more than `most` events from now on; the others come with the next.
    pub fn limit(&mut self, most: usize) {
        self.most = most.clamp(1, MOST_EVENTS);
    }

    /// The events of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Event> {
        self.list.iter().map(|&event| {
            // As CPython's selectors read them: whatever is not the one is (also) the other, so errors and hang-ups
            // are both.
            let flags = event.flags;
            Event {
                token: event.data.u64(),
                readable: flags.intersects(!EventFlags::OUT),
                writable: flags.intersects(!READ),
            }
        })
    }

    /// Event `index` of the last wait, for a caller who cannot keep a borrow.
    pub fn get(&self, index: usize) -> Option<Event> {
        self.iter().nth(index)
    }

    /// How many events the last wait found.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether another look, when all bytes that the last wait has told of are taken, could show nothing but what comes in between:
    /// no descriptor has ended, and none was left out for want of room.
    pub fn tells_all(&self) -> bool {
        let plain = READ.difference(EventFlags::RDHUP) | EventFlags::OUT;
        self.list.len() < self.list.capacity() && self.list.iter().all(|&event| plain.contains(event.flags))
    }

    /// Whether the last wait found nothing.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Empty the list, and let it grow if the last wait filled it: there may have been more.
    fn make_room(&mut self) {
        let (count, capacity) = (self.list.len(), self.list.capacity());
        self.list.clear();
        if capacity > self.most {
            self.list = Vec::with_capacity(self.most);
        } else if count == capacity && capacity < self.most {
            self.list = Vec::with_capacity((capacity * 2).min(self.most));
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

fn flags(interest: Interest, trigger: Trigger) -> EventFlags {
    let interest = match interest {
        Interest::Read => READ,
        Interest::Write => EventFlags::OUT,
        Interest::Both => READ | EventFlags::OUT,
    };
    match trigger {
        Trigger::Level => interest,
        Trigger::Edge => interest | EventFlags::ET,
    }
}

/// The timeout that the old call makes of whole milliseconds, rounded up and cut to what an `int` holds.
fn whole_milliseconds(timeout: Duration) -> Timespec {
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
    let milliseconds = milliseconds.min(i32::MAX as u128) as i64;
    Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 }
}

/// `epoll_pwait2` into the spare capacity of `list`.
///
/// By number because neither glibc before 2.35 nor the run-time choice of rustix offers it together with a way back.
fn pwait2(epoll: &OwnedFd, timeout: Duration, list: &mut Vec<epoll::Event>) -> Result<(), Errno> {
    let timeout = libc::timespec {
        // No wait is longer than a day; what a second is counted in differs from one C library to another.
        tv_sec: timeout.as_secs().min(i32::MAX as u64) as _,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let length = list.len();
    let spare = list.spare_capacity_mut();
    let room = spare.len().min(i32::MAX as usize);
    // SAFETY: the kernel reads `timeout`, which outlives the call, and writes at most `room` events to `spare`, which
    // has that many places. rustix's `Event` has the layout of the kernel's `epoll_event`: its own `epoll::wait`
    // hands it to the kernel. The null signal mask means that the mask is left alone; its size is then not read.
    let found = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            spare.as_mut_ptr(),
            room as libc::c_int,
            &raw const timeout,
            std::ptr::null::<libc::sigset_t>(),
            0usize,
        )
    };
    let Ok(found) = usize::try_from(found) else {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    };
    // SAFETY: the kernel has written the first `found` of the `room` spare places, by its contract.
    unsafe { list.set_len(length + found) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    const LOOK: Option<Duration> = Some(Duration::ZERO);

    fn seen(poller: &Poller, timeout: Option<Duration>) -> Vec<Event> {
        let mut events = Events::new();
        poller.wait(timeout, &mut events).expect("wait");
        events.iter().collect()
    }

    #[test]
    fn reports_what_is_readable_for_as_long_as_it_is() {
        let poller = Poller::new().unwrap();
        let (mut near, mut far) = UnixStream::pair().unwrap();
        poller.add(near.as_raw_fd(), 7, Interest::Read, Trigger::Level).unwrap();
        assert_eq!(seen(&poller, LOOK), []);
        far.write_all(b"x").unwrap();
        let readable = Event { token: 7, readable: true, writable: false };
        assert_eq!(seen(&poller, None), [readable]);
        assert_eq!(seen(&poller, LOOK), [readable], "level-triggered");
        near.read_exact(&mut [0]).unwrap();
        assert_eq!(seen(&poller, LOOK), []);
        poller.modify(near.as_raw_fd(), 8, Interest::Both, Trigger::Level).unwrap();
        let writable = Event { token: 8, readable: false, writable: true };
        assert_eq!(seen(&poller, LOOK), [writable]);
        poller.delete(near.as_raw_fd()).unwrap();
        assert_eq!(seen(&poller, LOOK), []);
    }

    #[test]
    fn tells_whether_a_look_at_what_is_read_would_show_more() {
        let poller = Poller::new().unwrap();
        let (mut near, mut far) = UnixStream::pair().unwrap();
        poller.add(near.as_raw_fd(), 7, Interest::Both, Trigger::Level).unwrap();
        let mut events = Events::new();
        let mut look = |most| {
            events.limit(most);
            poller.wait(LOOK, &mut events).unwrap();
            (events.iter().collect::<Vec<_>>(), events.tells_all())
        };
        let event = |readable, writable| vec![Event { token: 7, readable, writable }];
        assert_eq!(look(64), (event(false, true), true));
        far.write_all(b"x").unwrap();
        assert_eq!(look(64), (event(true, true), true));
        assert_eq!(look(1), (event(true, true), false), "there may be others");
        far.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(look(64), (event(true, true), false), "the end comes behind the byte");
        poller.modify(near.as_raw_fd(), 7, Interest::Read, Trigger::Level).unwrap();
        assert_eq!(look(64), (event(true, false), false), "a half of the end is none of writing");
        near.read_exact(&mut [0]).unwrap();
        poller.modify(near.as_raw_fd(), 7, Interest::Write, Trigger::Level).unwrap();
        assert_eq!(look(64), (event(false, true), true), "and nobody who writes is told of it");
    }

    #[test]
    fn a_hang_up_is_both_readable_and_writable() {
        let poller = Poller::new().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        poller.add(near.as_raw_fd(), 1, Interest::Read, Trigger::Level).unwrap();
        drop(far);
        let both = Event { token: 1, readable: true, writable: true };
        for interest in [Interest::Read, Interest::Write] {
            poller.modify(near.as_raw_fd(), 1, interest, Trigger::Level).unwrap();
            assert_eq!(seen(&poller, None), [both], "{interest:?}");
        }
    }

    #[test]
    fn the_kernel_s_refusals_keep_their_numbers() {
        let poller = Poller::new().unwrap();
        let (near, _far) = UnixStream::pair().unwrap();
        let fd = near.as_raw_fd();
        let number = |result: io::Result<()>| result.unwrap_err().raw_os_error();
        assert_eq!(number(poller.modify(fd, 1, Interest::Read, Trigger::Level)), Some(libc::ENOENT));
        assert_eq!(number(poller.delete(fd)), Some(libc::ENOENT));
        poller.add(fd, 1, Interest::Read, Trigger::Level).unwrap();
        assert_eq!(number(poller.add(fd, 1, Interest::Read, Trigger::Level)), Some(libc::EEXIST));
        assert_eq!(number(poller.add(-1, 1, Interest::Read, Trigger::Level)), Some(libc::EBADF));
        assert_eq!(number(poller.add(1 << 30, 1, Interest::Read, Trigger::Level)), Some(libc::EBADF));
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(number(poller.add(file.as_raw_fd(), 1, Interest::Read, Trigger::Level)), Some(libc::EPERM));
    }

    #[test]
    fn a_wait_lasts_at_least_its_timeout_on_either_call() {
        for precise in [true, false] {
            let poller = Poller::new().unwrap();
            poller.precise.store(precise, Ordering::Relaxed);
            for timeout in [1, 300_000, 2_500_000].map(Duration::from_nanos) {
                let start = Instant::now();
                assert_eq!(seen(&poller, Some(timeout)), []);
                assert!(start.elapsed() >= timeout, "{precise} {timeout:?}");
            }
        }
    }

    #[test]
    fn a_long_timeout_still_ends_with_an_event() {
        for precise in [true, false] {
            let poller = Poller::new().unwrap();
            poller.precise.store(precise, Ordering::Relaxed);
            let (near, mut far) = UnixStream::pair().unwrap();
            poller.add(near.as_raw_fd(), 3, Interest::Read, Trigger::Level).unwrap();
            far.write_all(b"x").unwrap();
            assert_eq!(seen(&poller, Some(Duration::MAX)).len(), 1);
            assert_eq!(seen(&poller, Some(Duration::from_secs(86400))).len(), 1);
        }
    }

    #[test]
    fn milliseconds_are_rounded_up_and_cut() {
        let of = |timeout| {
            let spec = whole_milliseconds(timeout);
            (spec.tv_sec, spec.tv_nsec)
        };
        assert_eq!(of(Duration::from_nanos(1)), (0, 1_000_000));
        assert_eq!(of(Duration::from_micros(1500)), (0, 2_000_000));
        assert_eq!(of(Duration::from_secs(2)), (2, 0));
        assert_eq!(of(Duration::MAX), (2_147_483, 647_000_000));
    }

    #[test]
    fn the_list_grows_until_all_ready_descriptors_fit() {
        let poller = Poller::new().unwrap();
        let pairs: Vec<_> = (0..200).map(|_| UnixStream::pair().unwrap()).collect();
        for (token, (near, _)) in pairs.iter().enumerate() {
            poller.add(near.as_raw_fd(), token as u64, Interest::Write, Trigger::Level).unwrap();
        }
        let mut events = Events::new();
        assert_eq!(poller.wait(LOOK, &mut events).unwrap(), 64);
        poller.wait(LOOK, &mut events).unwrap();
        let found = poller.wait(LOOK, &mut events).unwrap();
        assert_eq!(found, 200);
        let mut tokens: Vec<u64> = events.iter().map(|event| event.token).collect();
        tokens.sort_unstable();
        assert!(tokens.into_iter().eq(0..200));
        assert_eq!(events.get(200), None);
    }
}
