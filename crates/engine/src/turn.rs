//! What one turn of the loop does about waiting: whether to ask the kernel, for how long, and whether to lend the GIL.
//!
//! `run_once` gathers what it knows in a [`Sight`] and obeys the [`Plan`]; this file makes no system call and keeps
//! no state but [`Courtesy`]. Deciding in one pure function is what lets `tests/simulation.rs` try thousands of
//! situations.
//!
//! How long ([`Wait`]):
//! - something is ready, in the inbox, or the loop is stopping: do not wait, only look (`Poll`). CPython looks even
//!   when it stops, so `stop(); run_forever()` is one whole turn, descriptors included;
//! - the look itself is left out (`Skip`) when nothing is watched, so that it could show nothing: wakes come through
//!   the inbox, which the turn reads anyway. Nobody can tell, and a chain of `sleep(0)` makes no system call. Nor does
//!   the loop look again when all that has run since the last look is its own code that took from descriptors what it
//!   had seen there: what comes now could as well have come a moment later. When the GIL is asked for, the loop looks
//!   all the same, because that is where it lends it;
//! - else wait for the first deadline, rounded **up** to the nanosecond and cut to a day, as asyncio's selectors are:
//!   never early, so no second turn for the same timer, and never zero, so no spinning towards it;
//! - no deadline, or one that never comes (NaN): wait for as long as it takes.
//!
//! Whether to lend the GIL ([`Gil`]): always around a wait. Around a mere look it is lent when somebody has a
//! [`Claims`] on it. Never lending it there costs a busy loop's executor jobs the interpreter's whole 5 ms switch
//! interval; lending it every time costs the loop more than the look itself.
//!
//! Differs from CPython, which looks every turn and always releases the GIL to do so.

use std::time::Duration;

/// The longest wait, in seconds; asyncio's own limit, which keeps every selector's arithmetic from overflowing.
pub const LONGEST_WAIT: f64 = 24.0 * 3600.0;

/// How long a busy loop may keep the GIL before it lends it unasked, in seconds.
pub const GIL_PATIENCE: f64 = 0.001;

/// What the loop knows at the start of a turn.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Entries wait in the ready ring.
    pub ready: bool,
    /// `stop()` was called: this turn is the last.
    pub stopping: bool,
    /// Another thread left something in the inbox.
    pub inbox: bool,
    /// The first deadline, in seconds of the loop's clock.
    pub deadline: Option<f64>,
    /// Now by the same clock; not looked at without a deadline or when something is ready.
    pub now: f64,
    /// The clock's resolution in seconds.
    pub resolution: f64,
    /// How many descriptors the poller watches, not counting the waker.
    pub watched: usize,
    /// Nothing has run since the last look that could have made a descriptor ready.
    pub fresh: bool,
    /// Who else could use the GIL.
    pub claims: Claims,
}

/// Reasons to lend the GIL around a look that cannot block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The interpreter has been asked to hand the GIL over.
    pub drop_requested: bool,
    /// Executor jobs that this loop awaits.
    pub executor_jobs: usize,
    /// The inbox holds an entry from another thread, so that thread is likely to be at work.
    pub foreign_entry: bool,
    /// The loop has had the GIL for longer than [`GIL_PATIENCE`]; see [`Courtesy`].
    pub overdue: bool,
}

/// What the turn is to do before it runs its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a plan does nothing by itself"]
pub struct Plan {
    /// Whether and how long to ask the kernel.
    pub wait: Wait,
    /// Whether to lend the GIL meanwhile.
    pub gil: Gil,
}

/// Whether and how long to ask the kernel for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: there is something to run and the kernel could show nothing.
    Skip,
    /// Look, without waiting.
    Poll,
    /// Wait, but no longer than this; never zero.
    AtMost(Duration),
    /// Wait for an event or a wake.
    Forever,
}

/// Whether to lend the GIL to other threads while the kernel is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gil {
    /// Keep it.
    Keep,
    /// Release it before the system call and take it back after.
    Lend,
}

impl Wait {
    /// The timeout for [`crate::sys::Poller::wait`]; None for `Forever`. `Skip` must not get that far.
    pub fn timeout(self) -> Option<Duration> {
        match self {
            Wait::Skip | Wait::Poll => Some(Duration::ZERO),
            Wait::AtMost(duration) => Some(duration),
            Wait::Forever => None,
        }
    }
}

impl Claims {
    /// Whether anybody has a claim.
    #[inline]
    pub fn any(&self) -> bool {
        self.drop_requested || self.executor_jobs > 0 || self.foreign_entry || self.overdue
    }
}

/// Decide what to do before this turn's batch.
#[inline]
pub fn plan(sight: &Sight) -> Plan {
    let lend = sight.claims.any();
    let look = Plan { wait: Wait::Poll, gil: if lend { Gil::Lend } else { Gil::Keep } };
    if sight.ready || sight.inbox || sight.stopping {
        let useless = sight.watched == 0 || (sight.fresh && sight.ready && !sight.stopping);
        return if useless && !lend { Plan { wait: Wait::Skip, gil: Gil::Keep } } else { look };
    }
    let wait = match sight.deadline {
        None => Wait::Forever,
        Some(deadline) if deadline.is_nan() => Wait::Forever,
        Some(deadline) if is_due(deadline, sight.now, sight.resolution) => return look,
        Some(deadline) => Wait::AtMost(at_most(deadline - sight.now)),
    };
    Plan { wait, gil: Gil::Lend }
}

/// Whether a deadline has come, by the rule of asyncio: less than one resolution of the clock is left.
///
/// A deadline equal to now is due even where now is so large that adding the resolution does not change it, where
/// CPython would go round until the clock shows another number. NaN is never due.
#[inline]
pub fn is_due(deadline: f64, now: f64, resolution: f64) -> bool {
    deadline <= now || deadline < now + resolution
}

/// The wait that ends no sooner than in `seconds`, within (0, [`LONGEST_WAIT`]].
fn at_most(seconds: f64) -> Duration {
    // NaN is what is left when somebody's own `time()` returned NaN.
    if seconds >= LONGEST_WAIT || seconds.is_nan() {
        return Duration::from_secs_f64(LONGEST_WAIT);
    }
    let nanoseconds = (seconds * 1e9).ceil().max(1.0);
    Duration::from_nanos(nanoseconds as u64)
}

/// Keeps account of how long the loop has had the GIL, without reading the clock every turn.
///
/// The entries a busy loop runs natively take some 0.1 us each, and a reading of the clock a quarter of that, so it
/// is read once in [`Courtesy::LOOK_EVERY`] entries. An entry that runs Python code for long needs no help: the
/// interpreter itself hands the GIL over there.
#[derive(Debug)]
pub struct Courtesy {
    lent_at: f64,
    ran: usize,
}

impl Courtesy {
    /// Entries run between two readings of the clock.
    pub const LOOK_EVERY: usize = 128;

    /// Start to count; `now` is by [`crate::clock::Monotonic`], whatever clock the loop shows its users.
    pub fn new(now: f64) -> Self {
        Self { lent_at: now, ran: 0 }
    }

    /// Note that a turn ran `entries` entries. A turn counts for one at least.
    #[inline]
    pub fn ran(&mut self, entries: usize) {
        self.ran += entries.max(1);
    }

    /// Note that the GIL was lent, until `now`.
    #[inline]
    pub fn lent(&mut self, now: f64) {
        self.lent_at = now;
        self.ran = 0;
    }

    /// Whether the loop has kept the GIL for too long. Calls `now` only when it may be so.
    #[inline]
    pub fn is_overdue(&mut self, now: impl FnOnce() -> f64) -> bool {
        if self.ran < Self::LOOK_EVERY {
            return false;
        }
        self.ran = 0;
        now() - self.lent_at > GIL_PATIENCE
    }
}

/// How many events a turn takes, so that what it reads stays near the processor until the tasks that it wakes have used it.
///
/// Waking tasks one turn and running them the next means that all reads of a turn come before all that is done with the
/// bytes. A turn that has read more than a cache holds takes fewer events from then on; one that had its full number and read
/// little, more. Which descriptors come first is the kernel's choice in any case, and those left out come next.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    most: usize,
}

impl Portion {
    /// Bytes read in a turn, above which they are too many; a part of a usual second-level cache.
    pub const BYTES: usize = 256 * 1024;

    /// A turn takes so many events in any case.
    pub const LEAST: usize = 4;

    /// The most events for the next turn.
    #[inline]
    pub fn most(self) -> usize {
        self.most
    }

    /// Note how many events a turn had, and how many bytes it read.
    #[inline]
    pub fn took(&mut self, events: usize, bytes: usize) {
        if bytes > Self::BYTES {
            self.most = (events * Self::BYTES / bytes).clamp(Self::LEAST, self.most.max(Self::LEAST));
        } else if events >= self.most {
            self.most = self.most.saturating_mul(2);
        }
    }
}

impl Default for Portion {
    fn default() -> Self {
        Portion { most: usize::MAX }
    }
}

/// Whether a wait is likely to be over at once, so that a mere look, with the GIL kept, is worth trying first.
///
/// A loop whose connections are busy finds events whenever it looks; lending the GIL and taking it back then costs more
/// than the look. Where a wait takes its time, the look before it would be one system call for nothing. So a wait that
/// was over at once is the reason to try, and a look that found nothing the reason to stop trying.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hunch {
    likely: bool,
}

impl Hunch {
    /// A wait that takes no longer than this, in seconds, was no wait: the events were there.
    pub const AT_ONCE: f64 = 3e-6;

    /// Whether to look before waiting.
    #[inline]
    pub fn is_likely(self) -> bool {
        self.likely
    }

    /// Note what a look that stood before a wait found.
    #[inline]
    pub fn looked(&mut self, found: usize) {
        self.likely = found > 0;
    }

    /// Note how many seconds a wait took, and what it found.
    #[inline]
    pub fn waited(&mut self, seconds: f64, found: usize) {
        self.likely = found > 0 && seconds < Self::AT_ONCE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn idle() -> Sight {
        Sight {
            ready: false,
            stopping: false,
            inbox: false,
            deadline: None,
            now: 100.0,
            resolution: 1e-9,
            watched: 1,
            fresh: false,
            claims: Claims::default(),
        }
    }

    #[test]
    fn a_turn_takes_as_many_events_as_a_cache_holds_bytes() {
        let mut portion = Portion::default();
        portion.took(64, 64 * 1024);
        assert_eq!(portion.most(), usize::MAX, "small messages are never limited");
        portion.took(64, 64 * Portion::BYTES / 16);
        assert_eq!(portion.most(), 16);
        portion.took(16, Portion::BYTES);
        assert_eq!(portion.most(), 32, "all that were allowed came, and they were not too much");
        portion.took(3, 100);
        assert_eq!(portion.most(), 32, "there were no more");
        portion.took(32, usize::MAX / 64);
        assert_eq!(portion.most(), Portion::LEAST);
        for _ in 0..100 {
            portion.took(portion.most(), 100);
        }
        assert_eq!(portion.most(), usize::MAX);
    }

    #[test]
    fn a_look_before_a_wait_is_tried_for_as_long_as_it_finds_something() {
        let mut hunch = Hunch::default();
        assert!(!hunch.is_likely());
        hunch.waited(1e-3, 1);
        assert!(!hunch.is_likely(), "it did wait");
        hunch.waited(1e-6, 0);
        assert!(!hunch.is_likely(), "a timeout is no event");
        hunch.waited(1e-6, 1);
        assert!(hunch.is_likely());
        hunch.looked(2);
        assert!(hunch.is_likely());
        hunch.looked(0);
        assert!(!hunch.is_likely());
    }

    #[test]
    fn an_idle_loop_waits_for_ever_and_lends_the_gil() {
        let expected = Plan { wait: Wait::Forever, gil: Gil::Lend };
        assert_eq!(plan(&idle()), expected);
        let never = Some(f64::NAN);
        assert_eq!(plan(&Sight { deadline: never, ..idle() }), expected);
        assert_eq!(plan(&Sight { watched: 0, ..idle() }), expected);
    }

    #[test]
    fn something_to_do_means_a_look_that_keeps_the_gil() {
        let look = Plan { wait: Wait::Poll, gil: Gil::Keep };
        assert_eq!(plan(&Sight { ready: true, ..idle() }), look);
        assert_eq!(plan(&Sight { inbox: true, ..idle() }), look);
        assert_eq!(plan(&Sight { stopping: true, ..idle() }), look);
        let due = Some(100.0);
        assert_eq!(plan(&Sight { deadline: due, ..idle() }), look);
    }

    #[test]
    fn a_look_is_not_repeated_unless_something_could_have_come_of_what_ran_or_the_gil_is_asked_for() {
        let fed = Sight { ready: true, fresh: true, ..idle() };
        assert_eq!(plan(&fed).wait, Wait::Skip);
        assert_eq!(plan(&Sight { fresh: false, ..fed }).wait, Wait::Poll);
        assert_eq!(plan(&Sight { stopping: true, ..fed }).wait, Wait::Poll, "the last turn is a whole one");
        assert_eq!(plan(&Sight { ready: false, ..fed }).wait, Wait::Forever);
        let claims = Claims { executor_jobs: 1, ..Claims::default() };
        assert_eq!(plan(&Sight { claims, ..fed }), Plan { wait: Wait::Poll, gil: Gil::Lend });
    }

    #[test]
    fn nothing_watched_means_no_look_unless_the_gil_is_asked_for() {
        let busy = Sight { ready: true, watched: 0, ..idle() };
        assert_eq!(plan(&busy).wait, Wait::Skip);
        assert_eq!(plan(&busy).gil, Gil::Keep);
        let all = [
            Claims { drop_requested: true, ..Claims::default() },
            Claims { executor_jobs: 1, ..Claims::default() },
            Claims { foreign_entry: true, ..Claims::default() },
            Claims { overdue: true, ..Claims::default() },
        ];
        for claims in all {
            let plan = plan(&Sight { claims, ..busy });
            assert_eq!((plan.wait, plan.gil), (Wait::Poll, Gil::Lend), "{claims:?}");
        }
    }

    #[test]
    fn waits_are_rounded_up_and_cut_to_a_day() {
        let until = |deadline: f64| plan(&Sight { deadline: Some(deadline), now: 0.0, ..idle() }).wait;
        assert_eq!(until(0.25), Wait::AtMost(Duration::from_millis(250)));
        assert_eq!(until(1.5e-9), Wait::AtMost(Duration::from_nanos(2)));
        assert_eq!(until(1.0), Wait::AtMost(Duration::from_secs(1)));
        let day = Wait::AtMost(Duration::from_secs(24 * 3600));
        assert_eq!(until(1e6), day);
        assert_eq!(until(1e300), day);
        assert_eq!(until(f64::INFINITY), day);
        assert_eq!(until(f64::NEG_INFINITY), Wait::Poll);
    }

    #[test]
    fn a_deadline_of_now_is_due_at_any_time() {
        // At 1e9 s the resolution is lost in the sum.
        assert!(is_due(1e9, 1e9, 1e-9));
        assert!(is_due(0.3, 0.1 + 0.2 - 1e-16, 1e-9));
        assert!(!is_due(0.3, 0.29, 1e-9));
        assert!(!is_due(f64::NAN, 1.0, 1e-9));
    }

    #[test]
    fn courtesy_reads_the_clock_rarely_and_asks_after_a_millisecond() {
        let mut courtesy = Courtesy::new(5.0);
        courtesy.ran(Courtesy::LOOK_EVERY - 1);
        assert!(!courtesy.is_overdue(|| panic!("too early to read the clock")));
        courtesy.ran(1);
        assert!(!courtesy.is_overdue(|| 5.0005));
        courtesy.ran(Courtesy::LOOK_EVERY);
        assert!(courtesy.is_overdue(|| 5.0011));
        courtesy.lent(5.0012);
        courtesy.ran(Courtesy::LOOK_EVERY);
        assert!(!courtesy.is_overdue(|| 5.002));
    }

    proptest! {
        #[test]
        fn a_wait_ends_when_the_timer_is_due_and_not_before(now in 0.0..1e7f64, left in 0.0..1e5f64) {
            let deadline = now + left;
            let sight = Sight { deadline: Some(deadline), now, ..idle() };
            match plan(&sight).wait {
                Wait::Poll => prop_assert!(is_due(deadline, now, sight.resolution)),
                Wait::AtMost(wait) => {
                    prop_assert!(!is_due(deadline, now, sight.resolution));
                    prop_assert!(wait > Duration::ZERO);
                    let after = now + wait.as_secs_f64();
                    let error = 2.0 * (after - now).max(after) * f64::EPSILON;
                    prop_assert!(left >= LONGEST_WAIT || after + error >= deadline);
                    prop_assert!(wait.as_secs_f64() <= left.max(1e-9) + 1.1e-9 + error);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
