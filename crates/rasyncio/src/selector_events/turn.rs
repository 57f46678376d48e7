//! The native turn: one look at the poller, straight from events to entries.
//!
//! Called by `base_events::run` for loops with their own poller; calls `engine::turn` for the plan and the parts of a turn that
//! `base_events::run` shares.
//!
//! The GIL is kept for a mere look and lent for a wait, or when somebody has a claim on it (see `engine::turn`). A wait that is
//! likely to be over at once is tried as a look first. Signals are
//! looked for after every look at the poller and every few turns without one, so that a handler set in Python runs, and
//! Ctrl-C raises, however little Python the turns run. A loop that has something to run and watches nothing but the pipe of
//! signals looks at that when a signal has been noted.
//!
//! A batch that did nothing but feed readers ([`BaseSelectorEventLoop::note_fed`]) is followed by the tasks that it woke, without a
//! look in between: no Python code has run that could have made a descriptor ready. Nor may it be known that the next look would
//! show something: a descriptor that has ended behind its bytes, or still has some; or where somebody waits to write, since to
//! read at one end of a connection makes room at the other, which may be ours too.
//!
//! Nothing is borrowed while the poller waits or an entry is pushed.

use std::time::Duration;

use engine::clock::{Clock, Monotonic};
use engine::inbox::Block;
use engine::sys::{Events, Poller};
use engine::turn::{Claims, Gil, Plan, Sight, Wait, plan};
use pyo3::prelude::*;
use slots::Ref;

use super::{BaseSelectorEventLoop, WAKER_TOKEN, watch};
use crate::base_events::{BaseEventLoop, run};
use crate::events::{Entry, Handle, Hook, LoopCore};
use crate::exceptions;

/// Turns without a look at the poller between two looks for signals. A turn that runs Python code looks for them there.
const SIGNALS_EVERY: u32 = 32;

/// Turns of a busy loop that watches nothing but signals between two looks at their pipe. A look at each turn would cost as much
/// as all the rest of a short one, and a signal with a handler of the loop's is noted anyway: this is for one whose handler
/// somebody has put another in the place of.
const PIPE_EVERY: u32 = 1024;

/// One turn.
pub(super) fn turn(base: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
    let py = base.py();
    let core = base.base();
    let Some(this) = BaseSelectorEventLoop::of(base.any()) else { return run::turn(base) };
    if this.selector.is_set() || LoopCore::overrides(core, Hook::ProcessEvents) {
        return run::turn(base);
    }
    let foreign_entry = !core.inbox.is_empty();
    if foreign_entry {
        LoopCore::drain_inbox(core)?;
    }
    run::clear_cancelled_timers(core)?;
    let own_time = LoopCore::overrides(core, Hook::Time);
    let clock = |own: bool| if own { run::time_of(core) } else { Ok(Monotonic.now()) };
    let ready = run::has_ready(core)?;
    let deadline = run::next_deadline(core)?;
    let now = if ready || deadline.is_none() { 0.0 } else { clock(own_time)? };
    let overdue = this.courtesy.borrow_mut().as_mut().is_some_and(|c| c.is_overdue(|| Monotonic.now()));
    let (mut watched, writers) =
        this.interests.0.borrow().as_ref().map_or((0, 0), |table| (table.watched(), table.writers()));
    let signals = this.signals_watched.get();
    if watched == signals
        && ready
        && !core.stopping.get()
        && !this.signal_seen.get()
        && this.quiet_turns.get() < PIPE_EVERY
    {
        watched = 0;
    }
    let (entries, fed, told_all) = (this.last_batch.take(), this.fed.take(), this.told_all.take());
    let by_hand = base.by_hand.take();
    let fresh = entries > 0
        && entries == fed
        && told_all
        && writers == 0
        && !foreign_entry
        && !this.signal_seen.get()
        && !by_hand
        && LoopCore::is_straight(core);
    let claims = Claims { drop_requested: false, executor_jobs: core.jobs.get(), foreign_entry, overdue };
    let sight = Sight {
        ready,
        stopping: core.stopping.get(),
        inbox: false,
        deadline,
        now,
        resolution: core.clock_resolution.get(),
        watched,
        fresh,
        claims,
    };
    let mut looked = plan(&sight);
    let blocks = !matches!(looked.wait, Wait::Skip | Wait::Poll);
    if blocks && matches!(core.inbox.prepare_to_block(), Block::HasWork) {
        looked = Plan { wait: Wait::Poll, gil: Gil::Lend };
    }
    if looked.wait != Wait::Skip {
        this.signal_seen.set(false);
        let waited = look(this, looked, blocks && !claims.any());
        if blocks {
            core.inbox.unblocked();
        }
        waited?;
    }
    let quiet = if looked.wait == Wait::Skip { this.quiet_turns.get().wrapping_add(1) } else { 0 };
    this.quiet_turns.set(quiet);
    if quiet % SIGNALS_EVERY == 0 {
        py.check_signals()?;
    }
    if !core.inbox.is_empty() {
        LoopCore::drain_inbox(core)?;
    }
    if deadline.is_some() {
        run::collect_due(core, clock(own_time)?)?;
    }
    let ran = run::run_batch(base)?;
    this.last_batch.set(ran);
    if let Some(courtesy) = this.courtesy.borrow_mut().as_mut() {
        courtesy.ran(ran);
    }
    Ok(())
}

/// Asks the poller and turns its events into entries. Where nobody has a claim on the GIL (`unclaimed`), a wait that is
/// likely to be over at once is tried as a look first.
fn look(this: &Ref<'_, BaseSelectorEventLoop>, looked: Plan, unclaimed: bool) -> PyResult<()> {
    let py = this.py();
    let poller = this.poller.borrow().clone();
    let Some(mut poller) = poller else { return Ok(()) };
    let mut lost = Vec::new();
    if poller.is_inherited() {
        poller = BaseSelectorEventLoop::renew_poller(this)?;
        lost = this.interests.0.borrow_mut().as_mut().map(|table| table.adopt(&*poller)).unwrap_or_default();
        BaseSelectorEventLoop::renew_self_pipe(this, &poller)?;
    }
    lost.extend(this.interests.0.borrow_mut().as_mut().map(|table| table.flush(&*poller)).unwrap_or_default());
    for lost in lost {
        // Closed behind its owner's back: whoever listens finds out by trying.
        let watchers = [lost.released.reader, lost.released.writer];
        for watcher in watchers.into_iter().flatten() {
            LoopCore::push(super::core(this), Entry { object: watcher.object, argument: None, kind: watcher.kind })?;
        }
    }
    let mut events = this.events.borrow_mut().take().unwrap_or_default();
    let mut portion = this.portion.get();
    portion.took(events.len(), this.bytes_read.take());
    events.limit(portion.most());
    this.portion.set(portion);
    let timeout = looked.wait.timeout();
    let mut hunch = this.hunch.get();
    let mut waited = Ok(0);
    if unclaimed && hunch.is_likely() {
        waited = poller.wait(Some(Duration::ZERO), &mut events);
        hunch.looked(*waited.as_ref().unwrap_or(&0));
    }
    match looked.gil {
        Gil::Keep => waited = poller.wait(timeout, &mut events),
        Gil::Lend if matches!(waited, Ok(0)) => {
            let (poller, events): (&Poller, &mut Events) = (&poller, &mut events);
            let since = Monotonic.now();
            waited = py.detach(|| poller.wait(timeout, events));
            let now = Monotonic.now();
            hunch.waited(now - since, *waited.as_ref().unwrap_or(&0));
            if let Some(courtesy) = this.courtesy.borrow_mut().as_mut() {
                courtesy.lent(now);
            }
        }
        Gil::Lend => {}
    }
    this.hunch.set(hunch);
    this.told_all.set(waited.is_ok() && events.tells_all());
    let result = match waited {
        Ok(0) => Ok(()),
        Ok(_) => push_events(this, &events),
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
        Err(error) => Err(exceptions::os_error(py, error)),
    };
    *this.events.borrow_mut() = Some(events);
    result
}

fn push_events(this: &Ref<'_, BaseSelectorEventLoop>, events: &Events) -> PyResult<()> {
    let py = this.py();
    let core = super::core(this);
    for event in events.iter() {
        if event.token == WAKER_TOKEN {
            let waker = this.waker.borrow().clone();
            if let Some(waker) = waker {
                waker.drain().map_err(|error| exceptions::os_error(py, error))?;
            }
            continue;
        }
        let (fd, entries) = {
            let table = this.interests.0.borrow();
            let Some(listeners) = table.as_ref().and_then(|table| table.lookup(event)) else { continue };
            let entry = |watcher: &watch::Watcher| Entry {
                object: watcher.object.clone_ref(py),
                argument: None,
                kind: watcher.kind,
            };
            (listeners.fd, [listeners.reader.map(entry), listeners.writer.map(entry)])
        };
        let [reader, writer] = entries;
        if let Some(entry) = reader {
            push_event(core, entry, fd, watch::remove_reader)?;
        }
        if let Some(entry) = writer {
            push_event(core, entry, fd, watch::remove_writer)?;
        }
    }
    Ok(())
}

/// A watcher whose handle was cancelled by its owner is removed instead of run.
fn push_event<'py>(
    core: &Ref<'py, LoopCore>,
    entry: Entry,
    fd: i32,
    remove: fn(&Ref<'py, LoopCore>, i32) -> PyResult<bool>,
) -> PyResult<()> {
    if entry.kind.is_none() && Ref::<Handle>::cast(entry.object.bind(core.py())).is_some_and(|h| h.cancelled.get()) {
        return remove(core, fd).map(drop);
    }
    LoopCore::push(core, entry)
}
