//! Running a loop: `run_forever`, `run_until_complete`, `stop`, `close`, and the turn.
//!
//! Called by users and `runners`; calls the turn, which calls everything else.
//!
//! A turn: cancelled timers are cleared away; the wait is worked out; events are fetched and become entries; due timers
//! become entries; exactly the entries that are there now are run. What they add waits for the next turn. An entry that
//! raises SystemExit or KeyboardInterrupt ends the turn; the rest of the batch stays queued.
//!
//! The parts of a turn are functions here, shared by the general turn ([`turn`]) and the native one of `selector_events`.
//! Each works on the native queue or on the exposed one (see `events::core`).
//!
//! Differs from CPython: timers of equal deadline run in the order in which they were made; there the order is an
//! accident of the heap.

use std::ffi::CStr;

use engine::inbox::Block;
use engine::turn::LONGEST_WAIT;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Own, Ref, Signature, Spec, add_function, arg};

use super::schedule::now;
use super::{BaseEventLoop, own};
use crate::events::running::set_running_loop;
use crate::events::{Entry, Hook, LoopCore, TimerHandle};
use crate::futures::Future;
use crate::log::logger;
use crate::tasks::Task;
use crate::{face, library};

/// The loop's time: its own clock, unless `time` is overridden.
pub fn time_of(this: &Ref<'_, LoopCore>) -> PyResult<f64> {
    now(this)
}

/// Takes cancelled timers away: all of them if they are many, else those at the head.
pub fn clear_cancelled_timers(this: &Ref<'_, LoopCore>) -> PyResult<()> {
    let py = this.py();
    if this.scheduled_list.is_set() {
        return clear_cancelled_in_list(this);
    }
    if this.timers.0.borrow().cancelled() == 0 {
        return Ok(());
    }
    let is_cancelled =
        |timer: &Own| Ref::<TimerHandle>::cast(timer.bind(py)).is_some_and(|timer| timer.cancelled.get());
    let gone = {
        let mut timers = this.timers.0.borrow_mut();
        let mut gone = if timers.wants_compacting() { timers.compact(is_cancelled) } else { Vec::new() };
        while let Some(timer) = timers.pop_cancelled(is_cancelled) {
            gone.push(timer);
        }
        gone
    };
    for timer in gone {
        if let Some(timer) = Ref::<TimerHandle>::cast(timer.bind(py)) {
            timer.scheduled.set(false);
        }
    }
    Ok(())
}

#[cold]
fn clear_cancelled_in_list(this: &Ref<'_, LoopCore>) -> PyResult<()> {
    let py = this.py();
    let list = this.scheduled_list.get_or_none(py);
    let count = list.len()?;
    let cancelled = |timer: &Bound<'_, PyAny>| timer.getattr(intern!(py, "_cancelled"))?.is_truthy();
    let base_events = face(py, "base_events")?;
    let least: usize = base_events.getattr(intern!(py, "_MIN_SCHEDULED_TIMER_HANDLES"))?.extract()?;
    let fraction: f64 = base_events.getattr(intern!(py, "_MIN_CANCELLED_TIMER_HANDLES_FRACTION"))?.extract()?;
    let heapq = library(py, "heapq")?;
    if count > least && this.cancelled_in_list() as f64 / count as f64 > fraction {
        let kept = slots::list(py)?;
        for timer in list.try_iter()? {
            let timer = timer?;
            if cancelled(&timer)? {
                timer.setattr(intern!(py, "_scheduled"), false)?;
            } else {
                kept.append(timer)?;
            }
        }
        heapq.call_method1(intern!(py, "heapify"), (&kept,))?;
        this.scheduled_list.set(kept.into_any());
        this.set_cancelled_in_list(0);
        return Ok(());
    }
    while list.len()? > 0 && cancelled(&list.get_item(0)?)? {
        this.set_cancelled_in_list(this.cancelled_in_list().saturating_sub(1));
        heapq.call_method1(intern!(py, "heappop"), (&list,))?.setattr(intern!(py, "_scheduled"), false)?;
    }
    Ok(())
}

/// The first deadline.
pub fn next_deadline(this: &Ref<'_, LoopCore>) -> PyResult<Option<f64>> {
    let py = this.py();
    match this.scheduled_list.get(py) {
        None => Ok(this.timers.0.borrow().peek_deadline()),
        Some(list) if list.len()? == 0 => Ok(None),
        Some(list) => list.get_item(0)?.getattr(intern!(py, "_when"))?.extract().map(Some),
    }
}

/// Moves due timers to the queue. `now` by the loop's clock.
pub fn collect_due(this: &Ref<'_, LoopCore>, now: f64) -> PyResult<()> {
    let py = this.py();
    let resolution = this.clock_resolution.get();
    if let Some(list) = this.scheduled_list.get(py) {
        let heapq = library(py, "heapq")?;
        while list.len()? > 0 {
            let when: f64 = list.get_item(0)?.getattr(intern!(py, "_when"))?.extract()?;
            if !engine::turn::is_due(when, now, resolution) {
                break;
            }
            let timer = heapq.call_method1(intern!(py, "heappop"), (&list,))?;
            timer.setattr(intern!(py, "_scheduled"), false)?;
            LoopCore::push(this, Entry { object: timer.into(), argument: None, kind: None })?;
        }
        return Ok(());
    }
    loop {
        let due = this.timers.0.borrow_mut().pop_due(now, resolution);
        let Some(timer) = due else { return Ok(()) };
        if let Some(timer) = Ref::<TimerHandle>::cast(timer.bind(py)) {
            timer.scheduled.set(false);
            if timer.cancelled.get() {
                this.timers.0.borrow_mut().note_cancelled_taken();
            }
        }
        LoopCore::push(this, Entry { object: timer, argument: None, kind: None })?;
    }
}

/// Whether anything waits to be run.
pub fn has_ready(this: &Ref<'_, LoopCore>) -> PyResult<bool> {
    match this.ready_deque.get(this.py()) {
        Some(deque) => Ok(deque.len()? > 0),
        None => Ok(!this.ready.0.borrow().is_empty()),
    }
}

/// Runs the entries that are there now; answers how many they were.
pub fn run_batch(this: &Ref<'_, BaseEventLoop>) -> PyResult<usize> {
    let py = this.py();
    let core = this.base();
    if this.ready_deque.is_set() {
        let count = this.ready_deque.get_or_none(py).len()?;
        run_deque(this, count)?;
        return Ok(count);
    }
    let mut batch = core.ready.0.borrow().batch();
    let count = batch.left();
    loop {
        let left = batch.left();
        let entry = {
            let mut ready = core.ready.0.borrow_mut();
            batch.next(&mut ready)
        };
        let Some(entry) = entry else {
            // Somebody looked at `_ready` meanwhile: the rest of the batch is in the deque.
            if left > 0 && this.ready_deque.is_set() {
                run_deque(this, left)?;
            }
            return Ok(count);
        };
        if this.debug.get() {
            run_watched(this, entry)?;
        } else {
            entry.run(py)?;
        }
    }
}

#[cold]
fn run_deque(this: &Ref<'_, BaseEventLoop>, count: usize) -> PyResult<()> {
    let py = this.py();
    for _ in 0..count {
        let deque = this.ready_deque.get_or_none(py);
        if deque.len()? == 0 {
            return Ok(());
        }
        let handle = deque.call_method0(intern!(py, "popleft"))?;
        let entry = Entry { object: handle.into(), argument: None, kind: None };
        if entry.is_cancelled(py)? {
            continue;
        }
        if this.debug.get() {
            run_watched(this, entry)?;
        } else {
            entry.run(py)?;
        }
    }
    Ok(())
}

/// Debug mode: runs an entry and logs it if it takes long.
#[cold]
fn run_watched(this: &Ref<'_, BaseEventLoop>, entry: Entry) -> PyResult<()> {
    let py = this.py();
    if entry.is_cancelled(py)? {
        return Ok(());
    }
    let handle = entry.into_handle(py, this.base())?;
    this.current_handle.set(handle.clone());
    let result = run_timed(this, &handle);
    this.current_handle.unset();
    result
}

fn run_timed<'py>(this: &Ref<'py, BaseEventLoop>, handle: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    let begun = now(this.base())?;
    Entry { object: handle.clone().into(), argument: None, kind: None }.run(py)?;
    let taken = now(this.base())? - begun;
    let limit = this.any().getattr(intern!(py, "slow_callback_duration"))?.extract::<f64>()?;
    if taken >= limit {
        let base_events = face(py, "base_events")?;
        let text = base_events.call_method1(intern!(py, "_format_handle"), (handle,))?;
        let logger = logger(py, "base_events")?;
        logger.log("warning", ("Executing %s took %.3f seconds", text, taken))?;
    }
    Ok(())
}

/// The general turn: by attribute wherever a loop written in Python may have its own.
pub fn turn(this: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
    let py = this.py();
    let core = this.base();
    LoopCore::drain_inbox(core)?;
    clear_cancelled_timers(core)?;
    let timeout = if has_ready(core)? || this.stopping.get() {
        0i32.into_pyobject(py)?.into_any()
    } else {
        match next_deadline(core)? {
            None => py.None().into_bound(py),
            Some(deadline) => {
                let seconds = deadline - now(core)?;
                if seconds <= 0.0 {
                    0i32.into_pyobject(py)?.into_any()
                } else {
                    let longest = face(py, "base_events")?.getattr(intern!(py, "MAXIMUM_SELECT_TIMEOUT"))?;
                    let longest = longest.extract::<f64>().unwrap_or(LONGEST_WAIT);
                    if seconds > longest {
                        face(py, "base_events")?.getattr(intern!(py, "MAXIMUM_SELECT_TIMEOUT"))?
                    } else {
                        slots::float(py, seconds)?
                    }
                }
            }
        }
    };
    let selector = this.any().getattr(intern!(py, "_selector"))?;
    // Other threads wake the loop only if it has said that it may sleep.
    let sleeps = !timeout.eq(0)? && matches!(core.inbox.prepare_to_block(), Block::MayBlock);
    let timeout = if sleeps { timeout } else { 0i32.into_pyobject(py)?.into_any() };
    let events = selector.call_method1(intern!(py, "select"), (timeout,));
    if sleeps {
        core.inbox.unblocked();
    }
    let events = events?;
    this.any().call_method1(intern!(py, "_process_events"), (events,))?;
    LoopCore::drain_inbox(core)?;
    collect_due(core, now(core)?)?;
    run_batch(this).map(drop)
}

/// Makes one turn, by `_run_once` where that is overridden.
#[inline]
fn run_once(this: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
    if LoopCore::overrides(this.base(), Hook::RunOnce) {
        return this.any().call_method0(intern!(this.py(), "_run_once")).map(drop);
    }
    make_turn(this)
}

#[inline]
fn make_turn(this: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
    match this.turn.get() {
        Some(native) => native(this),
        None => turn(this),
    }
}

/// A turn for whoever makes his own.
fn turn_by_hand(this: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
    this.by_hand.set(true);
    let turned = make_turn(this);
    this.by_hand.set(true);
    turned
}

fn check_running(this: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
    let py = this.py();
    if this.any().call_method0(intern!(py, "is_running"))?.is_truthy()? {
        return Err(PyRuntimeError::new_err("This event loop is already running"));
    }
    if face(py, "events")?.call_method0(intern!(py, "_get_running_loop"))?.is_none() {
        return Ok(());
    }
    Err(PyRuntimeError::new_err("Cannot run the event loop while another loop is running"))
}

/// What `_run_forever_setup` does.
pub fn setup(this: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
    let py = this.py();
    super::preload::for_small_stacks(py)?;
    this.any().call_method0(intern!(py, "_check_closed"))?;
    this.any().call_method0(intern!(py, "_check_running"))?;
    crate::keep_modules(py)?;
    this.any().call_method1(intern!(py, "_set_coroutine_origin_tracking"), (this.debug.get(),))?;
    let sys = library(py, "sys")?;
    this.old_asyncgen_hooks.set(sys.call_method0(intern!(py, "get_asyncgen_hooks"))?);
    this.thread_id.set(slots::thread_ident(py));
    let hooks = slots::dict(py)?;
    hooks.set_item(intern!(py, "firstiter"), this.any().getattr(intern!(py, "_asyncgen_firstiter_hook"))?)?;
    hooks.set_item(intern!(py, "finalizer"), this.any().getattr(intern!(py, "_asyncgen_finalizer_hook"))?)?;
    sys.getattr(intern!(py, "set_asyncgen_hooks"))?.call((), Some(&hooks))?;
    set_running_loop(py, Some(this.any().clone()))
}

/// What `_run_forever_cleanup` does: all of it, whatever fails.
pub fn cleanup(this: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
    let py = this.py();
    this.stopping.set(false);
    this.thread_id.set(0);
    let shown = LoopCore::show_entries(this.base());
    let cleared = set_running_loop(py, None);
    let untracked = this.any().call_method1(intern!(py, "_set_coroutine_origin_tracking"), (false,));
    let restored = this.old_asyncgen_hooks.take(py).map_or(Ok(()), |hooks| {
        let sys = library(py, "sys")?;
        sys.call_method1(intern!(py, "set_asyncgen_hooks"), (hooks.get_item(0)?, hooks.get_item(1)?)).map(drop)
    });
    shown.and(cleared).and(untracked.map(drop)).and(restored).and(crate::keep_modules(py))
}

fn track_origins(this: &Ref<'_, BaseEventLoop>, enabled: bool) -> PyResult<()> {
    let py = this.py();
    if enabled == this.origin_depth.get().is_some() {
        return Ok(());
    }
    let sys = library(py, "sys")?;
    let set = |depth: i32| sys.call_method1(intern!(py, "set_coroutine_origin_tracking_depth"), (depth,));
    match this.origin_depth.take() {
        Some(depth) => set(depth)?,
        None => {
            this.origin_depth
                .set(Some(sys.call_method0(intern!(py, "get_coroutine_origin_tracking_depth"))?.extract()?));
            set(face(py, "constants")?.getattr(intern!(py, "DEBUG_STACK_DEPTH"))?.extract()?)?
        }
    };
    Ok(())
}

/// After a call of one of the two above that has failed: no loop runs here, whatever was done of it.
fn give_up(this: &Ref<'_, BaseEventLoop>) {
    if this.thread_id.get() != 0 {
        // Why it was called for is what is raised.
        drop(slots::caught(this.py(), || cleanup(this)));
    }
}

fn run_forever(this: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
    let py = this.py();
    let was_running = this.thread_id.get() != 0;
    let begun = slots::caught(py, || this.any().call_method0(intern!(py, "_run_forever_setup")));
    if begun.is_err() && !was_running {
        give_up(this);
    }
    begun?;
    let turns = |stay: &slots::Stay| {
        loop {
            stay.claim();
            run_once(this)?;
            if this.stopping.get() {
                return Ok(());
            }
        }
    };
    this.by_hand.set(true);
    let result = slots::caught(py, || slots::stay(py, turns));
    this.by_hand.set(true);
    let cleaned = slots::caught(py, || this.any().call_method0(intern!(py, "_run_forever_cleanup")));
    if cleaned.is_err() {
        give_up(this);
    }
    result.and(cleaned.map(drop))
}

/// The callback of `run_until_complete`: stops the future's loop, unless the future brings SystemExit or KeyboardInterrupt,
/// which leave the loop by themselves.
fn completed(future: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = future.py();
    if !future.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
        let exception = future.call_method0(intern!(py, "exception"))?;
        if exception.is_instance_of::<pyo3::exceptions::PySystemExit>()
            || exception.is_instance_of::<pyo3::exceptions::PyKeyboardInterrupt>()
        {
            return Ok(());
        }
    }
    // Asked natively where it can be: a bound method of the future takes memory, and without this call the loop never ends.
    let event_loop = match Ref::<Task>::cast_exact(future).and_then(|task| task.event_loop(py)) {
        Some(event_loop) => event_loop,
        None => crate::futures::loop_of(future)?,
    };
    event_loop.call_method0(intern!(py, "stop")).map(drop)
}

fn run_until_complete(this: &Ref<'_, BaseEventLoop>, given: &Bound<'_, PyAny>) -> PyResult<Own> {
    let py = this.py();
    this.any().call_method0(intern!(py, "_check_closed"))?;
    this.any().call_method0(intern!(py, "_check_running"))?;
    let is_new = !crate::base_futures::isfuture(given)?;
    let future = if this.hosted.get() && crate::coroutines::is_coroutine(given)? {
        this.any().call_method1(intern!(py, "create_task"), (given,))?
    } else {
        let keywords = slots::dict(py)?;
        keywords.set_item(intern!(py, "loop"), this.any())?;
        face(py, "tasks")?.getattr(intern!(py, "ensure_future"))?.call((given,), Some(&keywords))?
    };
    if is_new {
        // An error is raised if it does not complete, so there is nothing to report about it.
        match Ref::<Task>::cast_exact(&future) {
            Some(task) => task.log_destroy_pending.set(false),
            None => future.setattr(intern!(py, "_log_destroy_pending"), false)?,
        }
    }
    let done = face(py, "base_events")?.getattr(intern!(py, "_run_until_complete_cb"))?;
    future.call_method1(intern!(py, "add_done_callback"), (&done,))?;
    let ran = this.any().call_method0(intern!(py, "run_forever"));
    let is = |method: &str| future.call_method0(slots::Text(method))?.is_truthy();
    if ran.is_err() && is_new && is("done")? && !is("cancelled")? {
        // The caller has no way to ask for the exception; asking here keeps it from being reported.
        future.call_method0(intern!(py, "exception"))?;
    }
    future.call_method1(intern!(py, "remove_done_callback"), (&done,))?;
    ran?;
    if !is("done")? {
        return Err(PyRuntimeError::new_err("Event loop stopped before Future completed."));
    }
    match Ref::<Future>::cast_exact(&future) {
        Some(native) => Future::outcome(native).map(Own::new),
        None => future.call_method0(intern!(py, "result")).map(Own::new),
    }
}

pub(super) fn close(this: &Ref<'_, BaseEventLoop>) -> PyResult<()> {
    let py = this.py();
    if this.any().call_method0(intern!(py, "is_running"))?.is_truthy()? {
        return Err(PyRuntimeError::new_err("Cannot close a running event loop"));
    }
    if this.closed.get() {
        return Ok(());
    }
    if this.debug.get() {
        logger(py, "base_events")?.log("debug", ("Close %r", this.any()))?;
    }
    this.closed.set(true);
    LoopCore::forget_everything(this.base())?;
    this.executor_shut_down.set(true);
    if let Some(executor) = this.default_executor.take(py) {
        let keywords = slots::dict(py)?;
        keywords.set_item(intern!(py, "wait"), false)?;
        executor.getattr(intern!(py, "shutdown"))?.call((), Some(&keywords))?;
    }
    Ok(())
}

/// A handle as the slow-callback log writes it: a task's step as the task.
fn format_handle(handle: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = handle.py();
    if let Some(callback) = handle.getattr_opt(intern!(py, "_callback"))? {
        if let Some(owner) = callback.getattr_opt(intern!(py, "__self__"))? {
            if Ref::<Task>::cast(&owner).is_some() {
                return Ok(owner.repr()?.to_string());
            }
        }
    }
    Ok(handle.str()?.to_string())
}

pub(super) fn define(spec: &mut Spec<BaseEventLoop>) {
    const UNTIL: &CStr = c"run_until_complete($self, /, future)\n--\n\n\
        Run until the future (or the coroutine, as a task) is done; answer its result or raise its exception.";
    spec.method0(c"run_forever", c"run_forever($self, /)\n--\n\nRun until stop() is called.", run_forever)
        .method1_named(
            c"run_until_complete",
            UNTIL,
            || ("BaseEventLoop.run_until_complete", "future"),
            run_until_complete,
        )
        .method0(c"stop", c"stop($self, /)\n--\n\nStop after the turn that is being made; what is scheduled already still runs.", |this| {
            this.stopping.set(true);
            Ok(())
        })
        .method0(c"close", c"close($self, /)\n--\n\nClose the loop and let go of everything scheduled. It must not be running.", close)
        .method0(c"is_closed", c"is_closed($self, /)\n--\n\nWhether the loop was closed.", |this| Ok(this.closed.get()))
        .method0(c"is_running", c"is_running($self, /)\n--\n\nWhether the loop runs.", |this| Ok(this.is_running()))
        .method0(c"_check_closed", c"_check_closed($self, /)\n--\n\nRuntimeError if the loop is closed.", |this| this.check_closed())
        .method0(c"_check_running", c"_check_running($self, /)\n--\n\nRuntimeError if this loop, or another on this thread, runs.", check_running)
        .method0(c"_run_forever_setup", c"_run_forever_setup($self, /)\n--\n\nWhat run_forever() does first; for loops that drive the turns themselves.", setup)
        .method0(c"_run_forever_cleanup", c"_run_forever_cleanup($self, /)\n--\n\nWhat run_forever() does last.", cleanup)
        .method0(c"_run_once", c"_run_once($self, /)\n--\n\nMake one turn.", turn_by_hand)
        .method1_named(c"_process_events", c"_process_events($self, /, event_list)\n--\n\nTurn events into entries.", || ("BaseEventLoop._process_events", "event_list"), |_, _| {
            Err::<(), _>(BaseEventLoop::not_implemented("_process_events"))
        })
        .method(c"_make_socket_transport", c"_make_socket_transport($self, /, sock, protocol, waiter=None, *, extra=None, server=None)\n--\n\nFor derived classes.", |_, _| {
            Err::<(), _>(BaseEventLoop::not_implemented("_make_socket_transport"))
        })
        .method(c"_make_ssl_transport", if cfg!(Py_3_15) { c"_make_ssl_transport($self, /, rawsock, protocol, sslcontext, waiter=None, *, server_side=False, server_hostname=None, extra=None, server=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None, call_connection_made=True, context=None)\n--\n\nFor derived classes." } else { c"_make_ssl_transport($self, /, rawsock, protocol, sslcontext, waiter=None, *, server_side=False, server_hostname=None, extra=None, server=None, ssl_handshake_timeout=None, ssl_shutdown_timeout=None, call_connection_made=True)\n--\n\nFor derived classes." }, |_, _| {
            Err::<(), _>(BaseEventLoop::not_implemented("_make_ssl_transport"))
        })
        .method(c"_make_datagram_transport", c"_make_datagram_transport($self, /, sock, protocol, address=None, waiter=None, extra=None)\n--\n\nFor derived classes.", |_, _| {
            Err::<(), _>(BaseEventLoop::not_implemented("_make_datagram_transport"))
        })
        .method(c"_make_read_pipe_transport", c"_make_read_pipe_transport($self, /, pipe, protocol, waiter=None, extra=None)\n--\n\nFor derived classes.", |_, _| {
            Err::<(), _>(BaseEventLoop::not_implemented("_make_read_pipe_transport"))
        })
        .method(c"_make_write_pipe_transport", c"_make_write_pipe_transport($self, /, pipe, protocol, waiter=None, extra=None)\n--\n\nFor derived classes.", |_, _| {
            Err::<(), _>(BaseEventLoop::not_implemented("_make_write_pipe_transport"))
        })
        .method1_named(c"_set_coroutine_origin_tracking", c"_set_coroutine_origin_tracking($self, /, enabled)\n--\n\nHave coroutines remember where they were made, or not.", || ("BaseEventLoop._set_coroutine_origin_tracking", "enabled"), |this, enabled| {
            track_origins(this, enabled.is_truthy()?)
        })
        .get(c"_coroutine_origin_tracking_enabled", c"", |this| Ok(this.origin_depth.get().is_some()))
        .get(c"_old_agen_hooks", c"", |this| Ok(own(this.old_asyncgen_hooks.get(this.py()))))
        .get_set(
            c"_timer_cancelled_count",
            c"",
            |this| Ok(this.cancelled_timers()),
            |this, value| value.map_or(Ok(()), |v| v.extract().map(|n| this.set_cancelled_in_list(n))),
        );
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(
        module,
        c"_run_until_complete_cb",
        c"_run_until_complete_cb(fut)\n--\n\nStop the loop of a future that is done.",
        |_, args| {
            const SIGNATURE: Signature<1> = Signature::function("_run_until_complete_cb", [arg("fut")]);
            match args.parse(&SIGNATURE)? {
                [Some(future)] => completed(future),
                _ => Err(PyTypeError::new_err("fut is missing")),
            }
        },
    )?;
    add_function(
        module,
        c"_format_handle",
        c"_format_handle(handle)\n--\n\nHow a handle is written in the log of slow callbacks.",
        |_, args| {
            const SIGNATURE: Signature<1> = Signature::function("_format_handle", [arg("handle")]);
            match args.parse(&SIGNATURE)? {
                [Some(handle)] => format_handle(handle),
                _ => Err(PyTypeError::new_err("handle is missing")),
            }
        },
    )
}
