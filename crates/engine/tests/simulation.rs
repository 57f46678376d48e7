//! A mini loop made of the engine's parts, on a manual clock, against the plainest loop that could be right.
//!
//! A [`Scenario`] is a program: callbacks by number, each with the moves it makes when it runs, and a world in which
//! other threads hand entries over and descriptors become readable at certain times. Two loops run it. [`Engine`]
//! uses `ready`, `timers`, `turn` and `inbox` as `run_once` of base_events does. [`Plain`] follows asyncio's
//! documented turn with lists that it sorts and scans. Their traces (what ran, and when) must be equal; that covers
//! the order, early timers, starvation and lost items. What only the engine has is checked in the course: no wait
//! while there is work, no wait that ends for nothing, no push that fails to wake a waiting loop.

use engine::clock::{Clock, Manual};
use engine::inbox::{Block, Inbox, Wake};
use engine::ready::Ready;
use engine::timers::Timers;
use engine::turn::{Claims, Courtesy, Gil, Sight, Wait, is_due, plan};
use proptest::prelude::*;
use std::collections::HashSet;

/// What is run: the index of its script, and a serial number by which the trace tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Callback {
    script: usize,
    serial: u32,
}

#[derive(Clone, Debug)]
enum Move {
    CallSoon { script: usize },
    CallLater { delay: f64, script: usize },
    CancelTimer { pick: usize },
    Work { seconds: f64 },
    Stop,
}

#[derive(Clone, Copy, Debug)]
enum Outside {
    /// Another thread calls call_soon_threadsafe.
    Push { script: usize },
    /// A watched descriptor becomes readable once.
    Readable { script: usize },
}

#[derive(Clone, Debug)]
struct Scenario {
    start: f64,
    scripts: Vec<Vec<Move>>,
    outside: Vec<(f64, Outside)>,
    /// How much later than asked the kernel comes back, in turn.
    lateness: Vec<f64>,
    claims: Vec<Claims>,
    watched: usize,
}

#[derive(Debug, PartialEq)]
struct Ran {
    at: f64,
    callback: Callback,
}

/// Callbacks made in one scenario at most; scripts that breed come to an end by it.
const MOST_CALLBACKS: u32 = 300;
/// Timers beyond this are left over when nothing else can happen.
const FAR: f64 = 3e5;
const RESOLUTION: f64 = 1e-9;

/// What both loops share: the program, the clock and what happens outside.
struct World<'a> {
    scenario: &'a Scenario,
    clock: Manual,
    outside: std::iter::Peekable<std::vec::IntoIter<(f64, Outside)>>,
    readable: Vec<usize>,
    waits: usize,
    serial: u32,
    trace: Vec<Ran>,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let mut outside = scenario.outside.clone();
        for event in &mut outside {
            event.0 += scenario.start;
        }
        outside.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self {
            scenario,
            clock: Manual::at(scenario.start),
            outside: outside.into_iter().peekable(),
            readable: Vec::new(),
            waits: 0,
            serial: 0,
            trace: Vec::new(),
        }
    }

    fn callback(&mut self, script: usize) -> Callback {
        self.serial += 1;
        let script = script % self.scenario.scripts.len();
        Callback { script, serial: self.serial }
    }

    fn may_breed(&self) -> bool {
        self.serial < MOST_CALLBACKS
    }

    /// Let time pass until `until`, or until the first event outside that `ends` it; every event on the way goes to
    /// `pushed` or to the readable descriptors. Says whether an event ended it.
    fn pass(&mut self, until: f64, mut ends: impl FnMut(Option<Callback>) -> bool) -> bool {
        while let Some(&(at, event)) = self.outside.peek() {
            if at > until {
                break;
            }
            self.outside.next();
            self.clock.advance_to(at);
            let ended = match event {
                Outside::Push { script } => {
                    let callback = self.callback(script);
                    ends(Some(callback))
                }
                Outside::Readable { script } => {
                    self.readable.push(script);
                    ends(None)
                }
            };
            if ended {
                return true;
            }
        }
        self.clock.advance_to(until);
        false
    }

    /// When the kernel comes back from a wait that should last until `until`.
    fn late(&mut self, until: f64) -> f64 {
        self.waits += 1;
        let lateness = &self.scenario.lateness;
        until + lateness[self.waits % lateness.len()]
    }

    fn take_readable(&mut self) -> Vec<Callback> {
        let readable = std::mem::take(&mut self.readable);
        readable.into_iter().map(|script| self.callback(script)).collect()
    }
}

/// How a run ended, and what was left in the loop.
#[derive(Debug, PartialEq)]
struct Outcome {
    trace: Vec<Ran>,
    stopped: bool,
    left: Vec<Callback>,
}

struct Engine<'a> {
    world: World<'a>,
    ready: Ready<Callback>,
    timers: Timers<Callback>,
    inbox: Inbox<Callback>,
    courtesy: Courtesy,
    cancelled: HashSet<Callback>,
    /// Timers in the heap, for scripts to cancel.
    live: Vec<Callback>,
    stopping: bool,
}

impl<'a> Engine<'a> {
    fn run(scenario: &'a Scenario) -> Outcome {
        let world = World::new(scenario);
        let mut engine = Engine {
            courtesy: Courtesy::new(scenario.start),
            world,
            ready: Ready::new(),
            timers: Timers::new(),
            inbox: Inbox::new(),
            cancelled: HashSet::new(),
            live: Vec::new(),
            stopping: false,
        };
        let first = engine.world.callback(0);
        engine.ready.push_back(first);
        let mut turns = 0;
        while engine.turn() {
            turns += 1;
            assert!(turns < 5000, "the loop spins");
        }
        let mut left: Vec<Callback> = engine.ready.take().into();
        left.extend(engine.inbox.close());
        left.extend(engine.timers.drain().into_iter().filter(|it| !engine.cancelled.contains(it)));
        Outcome { trace: engine.world.trace, stopped: engine.stopping, left }
    }

    /// One turn; false when it was the last.
    fn turn(&mut self) -> bool {
        if self.timers.wants_compacting() {
            for callback in self.timers.compact(|it| self.cancelled.contains(it)) {
                assert!(self.cancelled.contains(&callback));
            }
        }
        while self.timers.pop_cancelled(|it| self.cancelled.contains(it)).is_some() {}
        let claims = &self.world.scenario.claims;
        let mut claims = claims[self.world.waits % claims.len()];
        claims.overdue = self.courtesy.is_overdue(|| self.world.clock.now());
        let mut sight = Sight {
            ready: !self.ready.is_empty(),
            stopping: self.stopping,
            inbox: !self.inbox.is_empty(),
            deadline: self.timers.peek_deadline(),
            now: self.world.clock.now(),
            resolution: self.world.clock.resolution(),
            watched: self.world.scenario.watched,
            fresh: false,
            claims,
        };
        let mut plan_made = plan(&sight);
        let waits = |wait| matches!(wait, Wait::AtMost(_) | Wait::Forever);
        if waits(plan_made.wait) && self.inbox.prepare_to_block() == Block::HasWork {
            sight.inbox = true;
            plan_made = plan(&sight);
        }
        if plan_made.gil == Gil::Lend {
            self.courtesy.lent(self.world.clock.now());
        }
        assert!(plan_made.wait != Wait::Skip || (plan_made.gil == Gil::Keep && sight.watched == 0));
        let mut promise = Promise::Nothing;
        if waits(plan_made.wait) {
            assert!(self.ready.is_empty() && self.inbox.is_empty() && !self.stopping);
            assert_eq!(plan_made.gil, Gil::Lend);
            let nothing_comes = self.world.outside.peek().is_none();
            if nothing_comes && sight.deadline.is_none_or(|at| at - sight.now > FAR) {
                self.inbox.unblocked();
                return false;
            }
            let until = match plan_made.wait {
                Wait::AtMost(duration) => self.world.late(sight.now + duration.as_secs_f64()),
                _ => f64::MAX,
            };
            let inbox = &self.inbox;
            let watched = sight.watched > 0;
            let ended = self.world.pass(until, |pushed| match pushed {
                Some(callback) => {
                    assert_eq!(inbox.push(callback), Ok(Wake::Needed), "the loop sleeps on");
                    true
                }
                None => watched,
            });
            self.inbox.unblocked();
            promise = match (ended, sight.deadline) {
                (false, Some(deadline)) if deadline - sight.now < 86400.0 => Promise::TimerIsDue,
                (false, _) => Promise::Nothing,
                (true, _) => Promise::SomethingIsReady,
            };
        }
        self.collect();
        if plan_made.wait != Wait::Skip && sight.watched > 0 {
            for callback in self.world.take_readable() {
                self.ready.push_back(callback);
            }
        }
        let now = self.world.clock.now();
        while let Some(callback) = self.timers.pop_due(now, RESOLUTION) {
            self.live.retain(|live| *live != callback);
            self.ready.push_back(callback);
        }
        assert!(promise == Promise::Nothing || !self.ready.is_empty(), "woke for nothing: {promise:?}");
        let mut batch = self.ready.batch();
        self.courtesy.ran(batch.left());
        while let Some(callback) = batch.next(&mut self.ready) {
            if self.cancelled.contains(&callback) {
                continue;
            }
            self.world.trace.push(Ran { at: self.world.clock.now(), callback });
            self.perform(callback);
        }
        !self.stopping
    }

    /// What came from other threads is older than what the loop's own thread pushes next.
    fn collect(&mut self) {
        let mut entries = Vec::new();
        self.inbox.drain_into(&mut entries);
        entries.into_iter().for_each(|callback| self.ready.push_back(callback));
    }

    fn perform(&mut self, callback: Callback) {
        let scenario = self.world.scenario;
        for one in &scenario.scripts[callback.script] {
            match *one {
                Move::CallSoon { script } if self.world.may_breed() => {
                    let callback = self.world.callback(script);
                    self.collect();
                    self.ready.push_back(callback);
                }
                Move::CallLater { delay, script } if self.world.may_breed() => {
                    let callback = self.world.callback(script);
                    self.timers.push(self.world.clock.now() + delay, callback);
                    self.live.push(callback);
                }
                Move::CancelTimer { pick } if !self.live.is_empty() => {
                    let callback = self.live.swap_remove(pick % self.live.len());
                    assert!(self.cancelled.insert(callback));
                    self.timers.note_cancelled();
                }
                Move::Work { seconds } => {
                    let until = self.world.clock.now() + seconds;
                    let inbox = &self.inbox;
                    self.world.pass(until, |pushed| {
                        if let Some(callback) = pushed {
                            assert_eq!(inbox.push(callback), Ok(Wake::NotNeeded), "it is running");
                        }
                        false
                    });
                }
                Move::Stop => self.stopping = true,
                _ => {}
            }
        }
    }
}

/// What the end of a wait promises the turn after it.
#[derive(Debug, PartialEq, Eq)]
enum Promise {
    Nothing,
    SomethingIsReady,
    TimerIsDue,
}

/// asyncio's turn with lists: no batch type, no heap, no lock, no plan.
struct Plain<'a> {
    world: World<'a>,
    ready: Vec<Callback>,
    timers: Vec<(f64, Callback)>,
    live: Vec<Callback>,
    cancelled: HashSet<Callback>,
    stopping: bool,
}

impl<'a> Plain<'a> {
    fn run(scenario: &'a Scenario) -> Outcome {
        let mut plain = Plain {
            world: World::new(scenario),
            ready: Vec::new(),
            timers: Vec::new(),
            live: Vec::new(),
            cancelled: HashSet::new(),
            stopping: false,
        };
        let first = plain.world.callback(0);
        plain.ready.push(first);
        while plain.turn() {}
        let mut left = plain.ready;
        left.extend(plain.timers.into_iter().map(|timer| timer.1));
        Outcome { trace: plain.world.trace, stopped: plain.stopping, left }
    }

    fn turn(&mut self) -> bool {
        let watched = self.world.scenario.watched > 0;
        let now = self.world.clock.now();
        let first = self.timers.first().map(|timer| timer.0);
        let due = first.is_some_and(|deadline| is_due(deadline, now, RESOLUTION));
        if self.ready.is_empty() && !self.stopping && !due {
            let nothing_comes = self.world.outside.peek().is_none();
            if nothing_comes && first.is_none_or(|at| at - now > FAR) {
                return false;
            }
            let until = match first {
                Some(deadline) => {
                    let seconds = (deadline - now).min(86400.0);
                    self.world.late(now + (seconds * 1e9).ceil() / 1e9)
                }
                None => f64::MAX,
            };
            let ready = &mut self.ready;
            self.world.pass(until, |pushed| {
                ready.extend(pushed);
                pushed.is_some() || watched
            });
        }
        if watched {
            let readable = self.world.take_readable();
            self.ready.extend(readable);
        }
        let now = self.world.clock.now();
        while let Some(&(deadline, callback)) = self.timers.first() {
            if !is_due(deadline, now, RESOLUTION) {
                break;
            }
            self.timers.remove(0);
            self.live.retain(|live| *live != callback);
            self.ready.push(callback);
        }
        let late = self.ready.split_off(self.ready.len());
        let batch = std::mem::replace(&mut self.ready, late);
        for callback in batch {
            if self.cancelled.contains(&callback) {
                continue;
            }
            self.world.trace.push(Ran { at: self.world.clock.now(), callback });
            self.perform(callback);
        }
        !self.stopping
    }

    fn perform(&mut self, callback: Callback) {
        let scenario = self.world.scenario;
        for one in &scenario.scripts[callback.script] {
            match *one {
                Move::CallSoon { script } if self.world.may_breed() => {
                    let callback = self.world.callback(script);
                    self.ready.push(callback);
                }
                Move::CallLater { delay, script } if self.world.may_breed() => {
                    let callback = self.world.callback(script);
                    let deadline = self.world.clock.now() + delay;
                    let at = self.timers.partition_point(|timer| timer.0 <= deadline);
                    self.timers.insert(at, (deadline, callback));
                    self.live.push(callback);
                }
                Move::CancelTimer { pick } if !self.live.is_empty() => {
                    let callback = self.live.swap_remove(pick % self.live.len());
                    self.timers.retain(|timer| timer.1 != callback);
                    self.cancelled.insert(callback);
                }
                Move::Work { seconds } => {
                    let until = self.world.clock.now() + seconds;
                    let ready = &mut self.ready;
                    self.world.pass(until, |pushed| {
                        ready.extend(pushed);
                        false
                    });
                }
                Move::Stop => self.stopping = true,
                _ => {}
            }
        }
    }
}

fn delays() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => prop_oneof![Just(0.0), Just(0.001), Just(0.1), Just(0.1 + 0.2), Just(0.3), Just(1.0)],
        2 => 0.0..0.01f64,
        1 => prop_oneof![Just(-1.0), Just(1e-10), Just(1e-9), Just(2e5), Just(1e12), Just(f64::INFINITY)],
    ]
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let script = || 0usize..8;
    let one = prop_oneof![
        6 => script().prop_map(|script| Move::CallSoon { script }),
        8 => (delays(), script()).prop_map(|(delay, script)| Move::CallLater { delay, script }),
        4 => any::<usize>().prop_map(|pick| Move::CancelTimer { pick }),
        3 => prop_oneof![0.0..0.002f64, 0.0..0.5f64].prop_map(|seconds| Move::Work { seconds }),
    ];
    let scripts = proptest::collection::vec(proptest::collection::vec(one, 0..5), 1..8);
    let outside = prop_oneof![
        script().prop_map(|script| Outside::Push { script }),
        script().prop_map(|script| Outside::Readable { script }),
    ];
    let outside = proptest::collection::vec((prop_oneof![0.0..2.0f64, 0.0..0.02f64], outside), 0..12);
    let lateness = proptest::collection::vec(prop_oneof![Just(0.0), 0.0..0.002f64], 1..5);
    let claims = proptest::collection::vec(
        prop_oneof![
            3 => Just(Claims::default()),
            1 => Just(Claims { executor_jobs: 1, ..Claims::default() }),
            1 => Just(Claims { drop_requested: true, ..Claims::default() }),
        ],
        1..4,
    );
    let start = prop_oneof![Just(0.0), Just(1e9), 0.0..1e6f64];
    let stop = proptest::option::weighted(0.3, (any::<usize>(), any::<usize>()));
    (start, scripts, outside, lateness, claims, 0usize..2, stop).prop_map(
        |(start, mut scripts, outside, lateness, claims, watched, stop)| {
            if let Some((script, place)) = stop {
                let scripts_count = scripts.len();
                let script = &mut scripts[script % scripts_count];
                script.insert(place % (script.len() + 1), Move::Stop);
            }
            Scenario { start, scripts, outside, lateness, claims, watched }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_engine_s_loop_and_the_plain_loop_do_the_same(scenario in scenarios()) {
        let engine = Engine::run(&scenario);
        let plain = Plain::run(&scenario);
        let differ = engine.trace.iter().zip(&plain.trace).position(|(one, other)| one != other);
        if let Some(at) = differ {
            prop_assert_eq!(&engine.trace[at], &plain.trace[at], "entry {} of the traces", at);
        }
        prop_assert_eq!(engine.trace.len(), plain.trace.len());
        prop_assert_eq!((engine.stopped, engine.left), (plain.stopped, plain.left));
    }
}

/// A callback that reschedules itself for ever must not keep a descriptor or another thread waiting: each is served
/// in the turn after it became known.
#[test]
fn a_busy_loop_starves_nobody() {
    let scenario = Scenario {
        start: 0.0,
        scripts: vec![vec![Move::Work { seconds: 0.01 }, Move::CallSoon { script: 0 }], vec![]],
        outside: vec![(0.105, Outside::Readable { script: 1 }), (0.505, Outside::Push { script: 1 })],
        lateness: vec![0.0],
        claims: vec![Claims::default()],
        watched: 1,
    };
    let outcome = Engine::run(&scenario);
    let served: Vec<f64> = outcome.trace.iter().filter(|ran| ran.callback.script == 1).map(|ran| ran.at).collect();
    assert_eq!(served.len(), 2);
    for (served, known) in served.into_iter().zip([0.105, 0.505]) {
        assert!(served - known < 0.0201, "{served} is more than a turn after {known}");
    }
}
