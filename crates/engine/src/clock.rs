//! Where the time comes from: the kernel's monotonic clock, or a hand that a test turns.
//!
//! The loop's `time()` and the deadlines in [`crate::timers`] are seconds in an `f64`, because that is what asyncio's
//! API speaks: `call_at` takes them, `TimerHandle.when()` returns them and people compare them with
//! `time.monotonic()`.
//!
//! Invariants:
//! - [`Monotonic::now`] gives the very number that Python's `time.monotonic()` would give at that instant: the same
//!   clock, and the same conversion (whole seconds exactly, anything else through one division);
//! - a clock never goes back, and two readings closer than [`Clock::resolution`] cannot be told apart. Deadlines
//!   within one resolution of now count as due, as in asyncio (see [`crate::turn::is_due`]).

#[cfg(unix)]
use rustix::time::{ClockId, clock_getres, clock_gettime};
use std::cell::Cell;

/// A source of time that never goes back.
pub trait Clock {
    /// Now, in seconds since an arbitrary start.
    fn now(&self) -> f64;

    /// The smallest difference the clock can show, in seconds.
    fn resolution(&self) -> f64;
}

/// The kernel's `CLOCK_MONOTONIC`, the clock behind Python's `time.monotonic()`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Monotonic;

#[cfg(unix)]
impl Clock for Monotonic {
    #[inline]
    fn now(&self) -> f64 {
        let reading = clock_gettime(ClockId::Monotonic);
        seconds(reading.tv_sec as i64, reading.tv_nsec as i64)
    }

    fn resolution(&self) -> f64 {
        let reading = clock_getres(ClockId::Monotonic);
        seconds(reading.tv_sec as i64, reading.tv_nsec as i64)
    }
}

/// Seconds as CPython's clock functions convert them, to the last bit.
///
/// A count of nanoseconds beyond 2^53 (104 days) does not fit an `f64`; whole seconds are therefore not sent
/// through it.
#[inline]
fn seconds(whole: i64, nanoseconds: i64) -> f64 {
    if nanoseconds == 0 { whole as f64 } else { (whole * 1_000_000_000 + nanoseconds) as f64 / 1e9 }
}

/// A clock that moves when it is told to, for tests and simulations.
#[derive(Debug)]
pub struct Manual {
    now: Cell<f64>,
    resolution: f64,
}

impl Manual {
    /// A clock that shows `now` seconds, with the resolution of a nanosecond.
    pub fn at(now: f64) -> Self {
        Self { now: Cell::new(now), resolution: 1e-9 }
    }

    /// Move on by `seconds`, which must not be negative.
    pub fn advance(&self, seconds: f64) {
        assert!(seconds >= 0.0, "a clock never goes back");
        self.now.set(self.now.get() + seconds);
    }

    /// Move on to `now`; a time already past is ignored.
    pub fn advance_to(&self, now: f64) {
        self.now.set(self.now.get().max(now));
    }
}

impl Clock for Manual {
    fn now(&self) -> f64 {
        self.now.get()
    }

    fn resolution(&self) -> f64 {
        self.resolution
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_are_exact_however_long_the_machine_is_up() {
        // 400 days in nanoseconds is odd beyond 2^53: the division would be off.
        assert_eq!(seconds(34_560_001, 0), 34_560_001.0);
        assert_eq!(seconds(1, 500_000_000), 1.5);
        assert_eq!(seconds(12, 345_678_901), 12_345_678_901_f64 / 1e9);
    }

    #[test]
    fn monotonic_moves_on_and_has_a_resolution() {
        let first = Monotonic.now();
        let second = Monotonic.now();
        assert!(first > 0.0 && second >= first);
        assert!(Monotonic.resolution() > 0.0 && Monotonic.resolution() < 0.1);
    }

    #[test]
    fn manual_moves_only_when_told_and_never_back() {
        let clock = Manual::at(10.0);
        assert_eq!(clock.now(), 10.0);
        clock.advance(0.5);
        clock.advance_to(3.0);
        assert_eq!(clock.now(), 10.5);
        clock.advance_to(11.0);
        assert_eq!(clock.now(), 11.0);
    }
}
