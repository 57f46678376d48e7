//! `LoopCore`: the part of an event loop that futures, tasks and handles need, so that they schedule without knowing the
//! house: the ready ring, the timers, the current task, and the question whether somebody overrides something.
//!
//! Called by `futures`, `tasks` and every room that schedules; `base_events` derives the loop from it. Calls `engine` for
//! the ring and the heap, and nothing above.
//!
//! What is queued are entries (see `entry`): Handles, and native objects that need none.
//!
//! Two modes for each queue. A loop starts with the native ring and heap. The first time somebody looks at `_ready` or
//! `_scheduled` (test suites and virtual-time loops do), that queue moves into a real `deque` or `list`, entries turned
//! into Handles, and lives there from then on: everything Python can do to it works, and the loop is a little slower.
//!
//! The straight path. A method that others may override (`call_soon`, `time`, ...) is a [`Hook`]. [`LoopCore::overrides`]
//! looks all hooks up once and remembers the class's version; a subclass, an assignment to the class later, or an
//! attribute on the instance is noticed at the next use. As long as a hook is the native one, rooms skip it.
//!
//! Invariants: no Python call and no drop of an entry while `ready` or `timers` is borrowed. A closed loop has no entries.

use std::cell::{Cell, RefCell};

use engine::inbox::{Inbox, Wake};
use engine::ready::Ready;
use engine::timers::Timers;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use slots::intern;
use slots::{Class, Own, Ref, Registry, Slot, Spec, Version, Visit, Visitor, class};

use super::entry::{Entry, Kind, NativeCallback};
use super::handle::{Handle, TimerHandle};
use crate::library;
use crate::tasks::Task;

/// The ready ring as a field.
#[derive(Default)]
pub struct ReadyRing(pub RefCell<Ready<Entry>>);

impl Visit for ReadyRing {
    fn visit(&self, visitor: &Visitor) {
        if let Ok(ready) = self.0.try_borrow() {
            ready.iter().for_each(|entry| entry.visit(visitor));
        }
    }
    fn clear(&self) {
        let entries = self.0.borrow_mut().take();
        drop(entries);
    }
}

/// The timer heap as a field.
#[derive(Default)]
pub struct TimerHeap(pub RefCell<Timers<Own>>);

impl Visit for TimerHeap {
    fn visit(&self, visitor: &Visitor) {
        if let Ok(timers) = self.0.try_borrow() {
            timers.iter().for_each(|(_, timer)| timer.visit(visitor));
        }
    }
    fn clear(&self) {
        let timers = self.0.borrow_mut().drain();
        drop(timers);
    }
}

/// What Python code may put in the place of a native method of the loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Hook {
    CallSoon = 0,
    CallLater,
    CallAt,
    CallSoonThreadsafe,
    Time,
    CreateTask,
    CreateFuture,
    RunOnce,
    ProcessEvents,
    WriteToSelf,
    AddReader,
    RemoveReader,
    AddWriter,
    RemoveWriter,
    AddCallback,
    CheckClosed,
    GetDebug,
    TimerHandleCancelled,
    CallExceptionHandler,
    Stop,
    MakeSocketTransport,
}

const HOOKS: [(&str, Hook); 21] = [
    ("call_soon", Hook::CallSoon),
    ("call_later", Hook::CallLater),
    ("call_at", Hook::CallAt),
    ("call_soon_threadsafe", Hook::CallSoonThreadsafe),
    ("time", Hook::Time),
    ("create_task", Hook::CreateTask),
    ("create_future", Hook::CreateFuture),
    ("_run_once", Hook::RunOnce),
    ("_process_events", Hook::ProcessEvents),
    ("_write_to_self", Hook::WriteToSelf),
    ("_add_reader", Hook::AddReader),
    ("_remove_reader", Hook::RemoveReader),
    ("_add_writer", Hook::AddWriter),
    ("_remove_writer", Hook::RemoveWriter),
    ("_add_callback", Hook::AddCallback),
    ("_check_closed", Hook::CheckClosed),
    ("get_debug", Hook::GetDebug),
    ("_timer_handle_cancelled", Hook::TimerHandleCancelled),
    ("call_exception_handler", Hook::CallExceptionHandler),
    ("stop", Hook::Stop),
    ("_make_socket_transport", Hook::MakeSocketTransport),
];

class! {
    /// The scheduling part of a loop.
    pub struct LoopCore {
        pub(crate) ready: ReadyRing,
        pub(crate) timers: TimerHeap,
        pub(crate) inbox: Incoming,
        /// The deque that `_ready` became when somebody looked at it.
        pub(crate) ready_deque: Slot,
        /// The list that `_scheduled` became when somebody looked at it.
        pub(crate) scheduled_list: Slot,
        pub(crate) current_task: Slot,
        pub(crate) tasks: Registry<Task>,
        pub(crate) clock_resolution: Cell<f64>,
        pub(crate) debug: Cell<bool>,
        /// The stdlib's asyncio is loaded beside us and told which task runs here.
        pub(crate) published: Cell<bool>,
        /// The stdlib's asyncio uses the loop: what `create_task()` and `create_future()` make is of its classes.
        pub(crate) hosted: Cell<bool>,
        pub(crate) closed: Cell<bool>,
        pub(crate) stopping: Cell<bool>,
        /// `threading.get_ident()` of the thread that runs the loop; 0 while it does not run.
        pub(crate) thread_id: Cell<u64>,
        /// Cancelled timers in `scheduled_list`.
        list_cancelled: Cell<usize>,
        /// Executor jobs that have not come back.
        pub(crate) jobs: Cell<usize>,
        overridden: Cell<u32>,
        version: Cell<Version>,
        on_instance: Cell<u32>,
    }
}

/// Handles from other threads.
#[derive(Default)]
pub struct Incoming(Inbox<Py<PyAny>>);

impl std::ops::Deref for Incoming {
    type Target = Inbox<Py<PyAny>>;
    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Visit for Incoming {
    fn visit(&self, visitor: &Visitor) {
        self.0.visit(|handle| handle.visit(visitor));
    }
    fn clear(&self) {
        let mut handles = Vec::new();
        self.0.drain_into(&mut handles);
        drop(handles);
    }
}

impl LoopCore {
    /// `object` as a loop of ours.
    #[inline]
    pub fn of<'a, 'py>(object: &'a Bound<'py, PyAny>) -> Option<&'a Ref<'py, LoopCore>> {
        Ref::<LoopCore>::cast(object)
    }

    /// Whether Python code overrides `hook` on this loop.
    #[inline]
    pub fn overrides(this: &Ref<'_, LoopCore>, hook: Hook) -> bool {
        if !this.version.get().is_of(this) {
            LoopCore::look_up_hooks(this);
        }
        (this.overridden.get() | this.on_instance.get()) & (1 << hook as u32) != 0
    }

    /// Whether `call_soon` may be skipped: native, not in debug mode, the loop open, the queue not exposed.
    #[inline]
    pub fn is_straight(this: &Ref<'_, LoopCore>) -> bool {
        !this.debug.get() && !this.closed.get() && !LoopCore::overrides(this, Hook::CallSoon)
    }

    #[cold]
    fn look_up_hooks(this: &Ref<'_, LoopCore>) {
        let py = this.py();
        let kind = this.any().get_type();
        let mut overridden = 0;
        for (name, hook) in HOOKS {
            // A method made by `slots` is a method descriptor; whatever else stands there is somebody's own.
            let native = kind.getattr(slots::Text(name)).is_ok_and(|method| is_method_descriptor(&method));
            if !native {
                overridden |= 1 << hook as u32;
            }
        }
        let _ = py;
        this.overridden.set(overridden);
        this.version.set(Version::of(this.any()));
    }

    /// Has a hook called by its name on this loop from now on.
    pub fn ask_by_name(this: &Ref<'_, LoopCore>, hook: Hook) {
        this.on_instance.set(this.on_instance.get() | 1 << hook as u32);
    }

    /// Notes an attribute set on the instance. Answers whether it is to be set.
    fn note_attribute(
        this: &Ref<'_, LoopCore>,
        name: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let name = name.cast::<PyString>().ok().and_then(|name| name.to_str().ok());
        if let Some((_, hook)) = HOOKS.iter().find(|(hook, _)| Some(*hook) == name) {
            let bit = 1 << *hook as u32;
            let bits = this.on_instance.get();
            this.on_instance.set(if value.is_some() { bits | bit } else { bits & !bit });
        }
        Ok(true)
    }

    /// Puts an entry at the end of the queue.
    #[inline]
    pub fn push(this: &Ref<'_, LoopCore>, entry: Entry) -> PyResult<()> {
        if !this.inbox.is_empty() {
            LoopCore::drain_inbox(this)?;
        }
        if this.ready_deque.is_set() {
            return LoopCore::push_exposed(this, entry);
        }
        this.ready.0.borrow_mut().push_back(entry);
        Ok(())
    }

    #[cold]
    fn push_exposed(this: &Ref<'_, LoopCore>, entry: Entry) -> PyResult<()> {
        let py = this.py();
        let handle = entry.into_handle(py, this)?;
        this.ready_deque.get_or_none(py).call_method1(intern!(py, "append"), (handle,)).map(drop)
    }

    /// Moves what other threads have sent to the end of the queue.
    #[cold]
    pub fn drain_inbox(this: &Ref<'_, LoopCore>) -> PyResult<()> {
        let py = this.py();
        let mut items = Vec::new();
        this.inbox.drain_into(&mut items);
        for item in items {
            let object = item.into_bound(py);
            if let Some(handle) = Ref::<Handle>::cast(&object).filter(|handle| !handle.is_sole()) {
                handle.show();
            }
            let entry = Entry { object: object.into(), argument: None, kind: None };
            if this.ready_deque.is_set() {
                LoopCore::push_exposed(this, entry)?;
            } else {
                this.ready.0.borrow_mut().push_back(entry);
            }
        }
        Ok(())
    }

    /// Schedules a native object: straight onto the ring, or by the loop's own `call_soon` where that is overridden.
    #[inline]
    pub fn schedule(
        this: &Ref<'_, LoopCore>,
        object: Bound<'_, PyAny>,
        argument: Option<Bound<'_, PyAny>>,
        kind: &'static Kind,
    ) -> PyResult<()> {
        if LoopCore::is_straight(this) {
            return LoopCore::push(
                this,
                Entry { object: object.into(), argument: argument.map(Own::new), kind: Some(kind) },
            );
        }
        call_soon_by_name(this.any(), object, argument, kind)
    }

    /// The native queue's next entry.
    #[inline]
    pub fn pop(&self) -> Option<Entry> {
        self.ready.0.borrow_mut().pop_front()
    }

    /// `_ready`, a deque from now on.
    pub fn expose_ready<'py>(this: &Ref<'py, LoopCore>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        if let Some(deque) = this.ready_deque.get(py) {
            return Ok(deque);
        }
        LoopCore::drain_inbox(this)?;
        let deque = library(py, "collections")?.getattr(intern!(py, "deque"))?.call0()?;
        let entries = this.ready.0.borrow_mut().take();
        for entry in entries {
            deque.call_method1(intern!(py, "append"), (entry.into_handle(py, this)?,))?;
        }
        this.ready_deque.set(deque.clone());
        Ok(deque)
    }

    /// `_scheduled`, a list that is a heap from now on.
    pub fn expose_scheduled<'py>(this: &Ref<'py, LoopCore>) -> PyResult<Bound<'py, PyAny>> {
        let py = this.py();
        if let Some(list) = this.scheduled_list.get(py) {
            return Ok(list);
        }
        // In order of deadline, which is a heap as it stands.
        let mut timers = Vec::new();
        {
            let mut heap = this.timers.0.borrow_mut();
            while let Some(timer) = heap.pop() {
                timers.push(timer);
            }
        }
        this.list_cancelled.set(this.timers.0.borrow().cancelled());
        let list = slots::list_of(py, timers.into_iter().map(|t| t.into_bound(py)))?.into_any();
        this.scheduled_list.set(list.clone());
        Ok(list)
    }

    /// Adds a timer to the heap.
    pub fn push_timer(this: &Ref<'_, LoopCore>, timer: Ref<'_, TimerHandle>) -> PyResult<()> {
        let py = this.py();
        timer.scheduled.set(true);
        if let Some(list) = this.scheduled_list.get(py) {
            let heapq = library(py, "heapq")?;
            return heapq.call_method1(intern!(py, "heappush"), (list, timer.into_any())).map(drop);
        }
        let when = timer.when.get();
        this.timers.0.borrow_mut().push(when, timer.into_any().into());
        Ok(())
    }

    /// How many timers are cancelled and not yet cleared away.
    pub fn cancelled_timers(&self) -> usize {
        if self.scheduled_list.is_set() { self.list_cancelled.get() } else { self.timers.0.borrow().cancelled() }
    }

    /// How many timers in the exposed list are cancelled.
    pub fn cancelled_in_list(&self) -> usize {
        self.list_cancelled.get()
    }

    /// Sets that count.
    pub fn set_cancelled_in_list(&self, count: usize) {
        self.list_cancelled.set(count);
    }

    /// Counts one more cancelled timer.
    pub fn count_cancelled_timer(&self) {
        if self.scheduled_list.is_set() {
            self.list_cancelled.set(self.list_cancelled.get() + 1);
        } else {
            self.timers.0.borrow_mut().note_cancelled();
        }
    }

    /// Lets go of all entries and timers, and takes no more from other threads.
    pub fn forget_everything(this: &Ref<'_, LoopCore>) -> PyResult<()> {
        let py = this.py();
        let late = this.inbox.close();
        drop(late);
        let entries = this.ready.0.borrow_mut().take();
        drop(entries);
        let timers = this.timers.0.borrow_mut().drain();
        for timer in timers {
            if let Some(timer) = Ref::<TimerHandle>::cast(timer.bind(py)) {
                timer.scheduled.set(false);
            }
        }
        for exposed in [this.ready_deque.get(py), this.scheduled_list.get(py)].into_iter().flatten() {
            exposed.call_method0(intern!(py, "clear"))?;
        }
        Ok(())
    }

    /// `RuntimeError: Event loop is closed`, if it is.
    #[inline]
    pub fn check_closed(&self) -> PyResult<()> {
        if self.closed.get() { Err(PyRuntimeError::new_err("Event loop is closed")) } else { Ok(()) }
    }

    /// Sends a Handle from another thread. Answers whether the loop has to be woken.
    ///
    /// A thread may send tens of thousands before it loses the GIL, and the collector would look at all of them several
    /// times. So it does not see them while nobody but the loop has them: a handle is shown when it is taken in and somebody
    /// else has it, when Python gets it, when it stays behind in a loop that has stopped.
    pub fn send(&self, handle: &Ref<'_, Handle>) -> Result<Wake, Py<PyAny>> {
        handle.hide();
        self.inbox.push(handle.any().clone().unbind())
    }

    /// Shows the collector what a loop that no longer runs still has in its queue.
    pub fn show_entries(this: &Ref<'_, LoopCore>) -> PyResult<()> {
        LoopCore::drain_inbox(this)?;
        let py = this.py();
        for entry in this.ready.0.borrow().iter() {
            if let Some(handle) = Ref::<Handle>::cast(entry.object.bind(py)) {
                handle.show();
            }
        }
        Ok(())
    }
}

pub fn is_method_descriptor(object: &Bound<'_, PyAny>) -> bool {
    object.get_type().name().is_ok_and(|name| name == "method_descriptor")
}

/// Schedules `callback(argument)` in `context`, straight where the loop allows it.
#[inline]
pub fn call_soon<'py>(
    event_loop: &Bound<'py, PyAny>,
    callback: Bound<'py, PyAny>,
    argument: &Bound<'py, PyAny>,
    context: Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = event_loop.py();
    if let Some(core) = LoopCore::of(event_loop) {
        if LoopCore::is_straight(core) {
            let handle = Handle::create(py, callback, std::slice::from_ref(argument), event_loop.clone(), context)?;
            return LoopCore::push(core, Entry::handle(handle));
        }
    }
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "context"), context)?;
    event_loop.getattr(intern!(py, "call_soon"))?.call((callback, argument), Some(&keywords)).map(drop)
}

/// Schedules a native object by the `call_soon` of whatever `event_loop` is.
#[cold]
pub fn call_soon_by_name(
    event_loop: &Bound<'_, PyAny>,
    object: Bound<'_, PyAny>,
    argument: Option<Bound<'_, PyAny>>,
    kind: &'static Kind,
) -> PyResult<()> {
    let py = event_loop.py();
    let context = (kind.context)(&object).map(|c| c.into_bound(py));
    let callback = NativeCallback::make(py, object, kind)?;
    let keywords = slots::dict(py)?;
    if let Some(context) = context {
        keywords.set_item(intern!(py, "context"), context)?;
    }
    let call_soon = event_loop.getattr(intern!(py, "call_soon"))?;
    match argument {
        Some(argument) => call_soon.call((callback, argument), Some(&keywords))?,
        None => call_soon.call((callback,), Some(&keywords))?,
    };
    Ok(())
}

impl Class for LoopCore {
    const NAME: &'static std::ffi::CStr = c"rasyncio.events._LoopCore";
    const DOC: &'static std::ffi::CStr = c"The scheduling part of an event loop.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.on_set_attribute(LoopCore::note_attribute)
            .get_set(
                c"_ready",
                c"The handles that the next turn runs; a deque.",
                |this| Ok(Own::new(LoopCore::expose_ready(this)?)),
                |this, value| {
                    LoopCore::expose_ready(this)?;
                    if let Some(v) = value {
                        this.ready_deque.set(v.clone())
                    }
                    Ok(())
                },
            )
            .get_set(
                c"_scheduled",
                c"The timers; a list that is a heap.",
                |this| Ok(Own::new(LoopCore::expose_scheduled(this)?)),
                |this, value| {
                    LoopCore::expose_scheduled(this)?;
                    if let Some(v) = value {
                        this.scheduled_list.set(v.clone())
                    }
                    Ok(())
                },
            )
            .get_set(
                c"_debug",
                c"",
                |this| Ok(this.debug.get()),
                |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.debug.set(v))),
            )
            .get_set(
                c"_closed",
                c"",
                |this| Ok(this.closed.get()),
                |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.closed.set(v))),
            )
            .get_set(
                c"_stopping",
                c"",
                |this| Ok(this.stopping.get()),
                |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.stopping.set(v))),
            )
            .get_set(
                c"_thread_id",
                c"",
                |this| Ok(Some(this.thread_id.get()).filter(|id| *id != 0)),
                |this, value| {
                    let id = match value {
                        Some(value) if !value.is_none() => value.extract::<u64>()?,
                        _ => 0,
                    };
                    this.thread_id.set(id);
                    Ok(())
                },
            )
            .get_set(
                c"_clock_resolution",
                c"",
                |this| Ok(this.clock_resolution.get()),
                |this, value| value.map_or(Ok(()), |v| v.extract::<f64>().map(|v| this.clock_resolution.set(v))),
            );
    }
}

/// The class of a loop's type, for error texts.
pub fn class_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map(|n| n.to_string()).unwrap_or_default()
}
