//! `Handle` and `TimerHandle`: a callback with its arguments and context, on its way through a loop.
//!
//! Called by `base_events` (`call_soon` and its kin), by `futures` for done-callbacks, and by Python code that makes handles of
//! its own; calls the callback, and the loop's exception handler with what it raises.
//!
//! States: scheduled -> run, or scheduled -> cancelled. Cancelling lets go of callback and arguments at once, so that a
//! cancelled timer an hour away keeps nothing alive but itself.
//!
//! Up to two arguments stand in the handle itself; a tuple is made for more, or when Python asks for `_args`.
//!
//! Invariant: a handle of exactly these classes is run by Rust; one of a derived class by its `_run`, as CPython's loop does.
//! Differs from CPython in that `_args` of a live handle is a new tuple each time.

use std::cell::Cell;
use std::ffi::CStr;

use pyo3::exceptions::{PyKeyboardInterrupt, PySystemExit};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Slot, Spec, arg, class, opt};

use super::core::{Hook, LoopCore};
use crate::format_helpers;

/// Where a handle keeps its arguments.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
enum Count {
    #[default]
    Unset,
    Zero,
    One,
    Two,
    Tuple,
}

class! {
    /// A scheduled callback.
    pub struct Handle {
        callback: Slot,
        first: Slot,
        second: Slot,
        context: Slot,
        event_loop: Slot,
        source_traceback: Slot,
        repr: Slot,
        count: Cell<Count>,
        pub(crate) cancelled: Cell<bool>,
    }
}

class! {
    /// A callback scheduled for a time.
    pub struct TimerHandle: Handle {
        pub(crate) when: Cell<f64>,
        when_object: Slot,
        pub(crate) scheduled: Cell<bool>,
    }
}

fn debug_of(event_loop: &Bound<'_, PyAny>) -> PyResult<bool> {
    match LoopCore::of(event_loop) {
        Some(core) if !LoopCore::overrides(core, Hook::GetDebug) => Ok(core.debug.get()),
        _ => event_loop.call_method0(intern!(event_loop.py(), "get_debug"))?.is_truthy(),
    }
}

impl Handle {
    #[inline]
    pub(super) fn fresh<'py>(
        callback: Bound<'py, PyAny>,
        args: &[Bound<'py, PyAny>],
        event_loop: Bound<'py, PyAny>,
        context: Bound<'py, PyAny>,
    ) -> PyResult<Handle> {
        let handle = Handle {
            callback: Slot::of(callback),
            context: Slot::of(context),
            event_loop: Slot::of(event_loop),
            ..Handle::default()
        };
        match args {
            [] => handle.count.set(Count::Zero),
            [one] => {
                handle.first.set(one.clone());
                handle.count.set(Count::One);
            }
            [one, two] => {
                handle.first.set(one.clone());
                handle.second.set(two.clone());
                handle.count.set(Count::Two);
            }
            many => {
                let py = many[0].py();
                handle.first.set(slots::tuple(py, many.iter().cloned())?.into_any());
                handle.count.set(Count::Tuple);
            }
        }
        Ok(handle)
    }

    /// A new handle; the caller looks after debug mode.
    #[inline]
    pub fn create<'py>(
        py: Python<'py>,
        callback: Bound<'py, PyAny>,
        args: &[Bound<'py, PyAny>],
        event_loop: Bound<'py, PyAny>,
        context: Bound<'py, PyAny>,
    ) -> PyResult<Ref<'py, Handle>> {
        Ref::create(py, Handle::fresh(callback, args, event_loop, context)?)
    }

    /// Remembers where the handle was made, for debug mode; the innermost frame is the caller's.
    pub fn note_source(this: &Ref<'_, Handle>) -> PyResult<()> {
        if let Some(stack) = format_helpers::extract_stack(this.py())? {
            this.source_traceback.set(stack);
        }
        Ok(())
    }

    pub(super) fn init<'py>(this: &Ref<'py, Handle>, given: [Option<&Bound<'py, PyAny>>; 4]) -> PyResult<()> {
        let py = this.py();
        let [Some(callback), Some(args), Some(event_loop), context] = given else { return Ok(()) };
        this.cancelled.set(false);
        this.callback.set(callback.clone());
        this.first.set(args.clone());
        this.count.set(Count::Tuple);
        this.event_loop.set(event_loop.clone());
        this.context.set(match context {
            Some(context) if !context.is_none() => context.clone(),
            _ => slots::copy_current(py)?,
        });
        if debug_of(event_loop)? {
            Handle::note_source(this)?;
        }
        Ok(())
    }

    /// The arguments as `_args` shows them.
    fn args<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(match self.count.get() {
            Count::Unset => None,
            Count::Zero => Some(PyTuple::empty(py).into_any()),
            Count::One => Some(slots::tuple(py, [self.first.get_or_none(py)])?.into_any()),
            Count::Two => Some(slots::tuple(py, [self.first.get_or_none(py), self.second.get_or_none(py)])?.into_any()),
            Count::Tuple => self.first.get(py),
        })
    }

    /// Runs the callback. An error is SystemExit or KeyboardInterrupt.
    #[inline]
    pub fn run(this: &Ref<'_, Handle>) -> PyResult<()> {
        let py = this.py();
        if this.cancelled.get() {
            return Ok(());
        }
        let (Some(callback), Some(context)) = (this.callback.get(py), this.context.get(py)) else { return Ok(()) };
        let called = slots::enter_context(&context, || match this.count.get() {
            Count::Unset | Count::Zero => callback.call0(),
            Count::One => callback.call1((this.first.get_or_none(py),)),
            Count::Two => callback.call1((this.first.get_or_none(py), this.second.get_or_none(py))),
            Count::Tuple => match this.first.get(py) {
                Some(args) => match args.cast_into::<PyTuple>() {
                    Ok(args) => callback.call1(args),
                    Err(other) => callback.call1(slots::tuple(py, slots::items(&other.into_inner())?)?),
                },
                None => callback.call0(),
            },
        });
        match called.and_then(|result| result) {
            Ok(_) => Ok(()),
            Err(error) => Handle::failed(this, error),
        }
    }

    /// Reports what the callback raised to the loop's exception handler, or passes SystemExit and KeyboardInterrupt on.
    #[cold]
    pub(super) fn failed(this: &Ref<'_, Handle>, error: PyErr) -> PyResult<()> {
        let py = this.py();
        if error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py) {
            return Err(error);
        }
        slots::excepting(py, error, |error| Handle::report(this, error))
    }

    fn report(this: &Ref<'_, Handle>, error: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = this.py();
        this.show();
        let event_loop = this.event_loop.get_or_none(py);
        let callback = this.callback.get_or_none(py);
        let args = this.args(py)?.unwrap_or_else(|| PyTuple::empty(py).into_any());
        let source = format_helpers::callback_source(&callback, &args, debug_of(&event_loop)?)?;
        let details = slots::dict(py)?;
        details.set_item(intern!(py, "message"), format!("Exception in callback {source}"))?;
        details.set_item(intern!(py, "exception"), error)?;
        details.set_item(intern!(py, "handle"), this.any())?;
        if let Some(stack) = this.source_traceback.get(py) {
            if !stack.is_none() {
                details.set_item(intern!(py, "source_traceback"), stack)?;
            }
        }
        event_loop.call_method1(intern!(py, "call_exception_handler"), (details,)).map(drop)
    }

    fn repr_info<'py>(this: &Ref<'py, Handle>) -> PyResult<Bound<'py, PyList>> {
        let py = this.py();
        let info = slots::list_of(py, [this.any().get_type().name()?])?;
        if this.cancelled.get() {
            info.append(slots::Text("cancelled"))?;
        }
        if let Some(callback) = this.callback.get(py).filter(|c| !c.is_none()) {
            let args = this.args(py)?.unwrap_or_else(|| PyTuple::empty(py).into_any());
            info.append(format_helpers::callback_source(
                &callback,
                &args,
                debug_of(&this.event_loop.get_or_none(py))?,
            )?)?;
        }
        if let Some(stack) = this.source_traceback.get(py) {
            if stack.is_truthy()? {
                let frame = stack.get_item(-1)?;
                info.append(format!("created at {}:{}", frame.get_item(0)?, frame.get_item(1)?))?;
            }
        }
        Ok(info)
    }

    fn repr_text(this: &Ref<'_, Handle>) -> PyResult<String> {
        let py = this.py();
        if let Some(text) = this.repr.get(py) {
            if !text.is_none() {
                return text.extract();
            }
        }
        let info = this.any().call_method0(intern!(py, "_repr_info"))?;
        let parts = info.try_iter()?.map(|part| part?.str()?.extract::<String>()).collect::<PyResult<Vec<_>>>()?;
        Ok(format!("<{}>", parts.join(" ")))
    }

    /// Cancels the handle; the loop skips it then.
    pub fn cancel(this: &Ref<'_, Handle>) -> PyResult<()> {
        if this.cancelled.replace(true) {
            return Ok(());
        }
        let py = this.py();
        if let Some(event_loop) = this.event_loop.get(py) {
            if debug_of(&event_loop)? {
                // The text has to tell of the callback after it is let go.
                this.repr.set(this.any().repr()?.into_any());
            }
        }
        this.count.set(Count::Unset);
        let gone = (this.callback.take(py), this.first.take(py), this.second.take(py));
        drop(gone);
        Ok(())
    }
}

fn set_slot(slot: &Slot, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match value {
        Some(value) => slot.set(value.clone()),
        None => slot.unset(),
    }
    Ok(())
}

impl Class for Handle {
    const NAME: &'static CStr = c"rasyncio.events.Handle";
    const DOC: &'static CStr = c"Handle(callback, args, loop, context=None)\n--\n\n\
        A callback that a loop is to run; what call_soon() and call_soon_threadsafe() answer.\n\n\
        Not thread-safe, except that the handle of call_soon_threadsafe() may be cancelled from any thread.";
    const FREE_LIST: usize = 1024;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<4> =
            Signature::method("Handle.__init__", [arg("callback"), arg("args"), arg("loop"), opt("context")]);
        spec.init(|this, args| Handle::init(this, args.parse(&INIT)?))
            .method0(
                c"cancel",
                c"cancel($self, /)\n--\n\nKeep the callback from running. Cancelling twice does nothing more.",
                Handle::cancel,
            )
            .method0(c"cancelled", c"cancelled($self, /)\n--\n\nWhether the handle was cancelled.", |this| {
                Ok(this.cancelled.get())
            })
            .method0(
                c"get_context",
                c"get_context($self, /)\n--\n\nThe contextvars.Context that the callback runs in.",
                |this| Ok(this.context.get(this.py()).map(Own::new)),
            )
            .method0(c"_run", c"_run($self, /)\n--\n\nRun the callback; the loop calls this.", Handle::run)
            .method0(c"_repr_info", c"_repr_info($self, /)\n--\n\nThe parts of the repr.", |this| {
                Ok(Own::new(Handle::repr_info(this)?.into_any()))
            })
            .repr(Handle::repr_text)
            .get_set(
                c"_callback",
                c"",
                |this| Ok(this.callback.get(this.py()).map(Own::new)),
                |this, value| set_slot(&this.callback, value),
            )
            .get_set(
                c"_args",
                c"",
                |this| Ok(this.args(this.py())?.map(Own::new)),
                |this, value| {
                    this.second.unset();
                    this.count.set(if value.is_some() { Count::Tuple } else { Count::Unset });
                    set_slot(&this.first, value)
                },
            )
            .get_set(
                c"_context",
                c"",
                |this| Ok(this.context.get(this.py()).map(Own::new)),
                |this, value| set_slot(&this.context, value),
            )
            .get_set(
                c"_loop",
                c"",
                |this| Ok(this.event_loop.get(this.py()).map(Own::new)),
                |this, value| set_slot(&this.event_loop, value),
            )
            .get_set(
                c"_source_traceback",
                c"",
                |this| Ok(this.source_traceback.get(this.py()).map(Own::new)),
                |this, value| set_slot(&this.source_traceback, value),
            )
            .get_set(
                c"_repr",
                c"",
                |this| Ok(this.repr.get(this.py()).map(Own::new)),
                |this, value| set_slot(&this.repr, value),
            )
            .get_set(
                c"_cancelled",
                c"",
                |this| Ok(this.cancelled.get()),
                |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.cancelled.set(v))),
            );
    }
}

impl TimerHandle {
    /// A new timer; the caller looks after debug mode.
    #[inline]
    pub fn create<'py>(
        py: Python<'py>,
        when: f64,
        callback: Bound<'py, PyAny>,
        args: &[Bound<'py, PyAny>],
        event_loop: Bound<'py, PyAny>,
        context: Bound<'py, PyAny>,
    ) -> PyResult<Ref<'py, TimerHandle>> {
        let base = Handle::fresh(callback, args, event_loop, context)?;
        Ref::create(py, TimerHandle { base, when: Cell::new(when), ..TimerHandle::default() })
    }

    /// Keeps the very object that the caller gave as time (an int stays an int).
    pub fn keep_when(&self, when: &Bound<'_, PyAny>) {
        if !when.is_exact_instance_of::<pyo3::types::PyFloat>() {
            self.when_object.set(when.clone());
        }
    }

    fn when_own(this: &Ref<'_, TimerHandle>) -> PyResult<Own> {
        let py = this.py();
        Ok(match this.when_object.get(py) {
            Some(when) => when.into(),
            None => slots::float(py, this.when.get())?.into(),
        })
    }

    fn set_when(this: &Ref<'_, TimerHandle>, when: &Bound<'_, PyAny>) -> PyResult<()> {
        this.when_object.unset();
        this.keep_when(when);
        // A time that is no number is kept and shown, and sorts first.
        this.when.set(when.extract::<f64>().unwrap_or(f64::NEG_INFINITY));
        Ok(())
    }

    /// Cancels the timer and tells the loop, which counts cancelled timers.
    pub fn cancel(this: &Ref<'_, TimerHandle>) -> PyResult<()> {
        let py = this.py();
        if !this.cancelled.get() {
            if let Some(event_loop) = this.event_loop.get(py) {
                match LoopCore::of(&event_loop) {
                    Some(core) if !LoopCore::overrides(core, Hook::TimerHandleCancelled) => {
                        core.note_timer_cancelled(this);
                    }
                    _ => {
                        event_loop.call_method1(intern!(py, "_timer_handle_cancelled"), (this.any(),))?;
                    }
                }
            }
        }
        Handle::cancel(this.base())
    }

    fn equals(this: &Ref<'_, TimerHandle>, other: &Ref<'_, TimerHandle>) -> PyResult<bool> {
        let py = this.py();
        let none = || py.None().into_bound(py);
        Ok(this.when.get() == other.when.get()
            && this.callback.get_or_none(py).eq(other.callback.get_or_none(py))?
            && this.args(py)?.unwrap_or_else(none).eq(other.args(py)?.unwrap_or_else(none))?
            && this.cancelled.get() == other.cancelled.get())
    }
}

impl LoopCore {
    /// Counts a timer that was cancelled while it waits.
    #[inline]
    pub fn note_timer_cancelled(&self, timer: &TimerHandle) {
        if timer.scheduled.get() {
            self.count_cancelled_timer();
        }
    }
}

impl Class for TimerHandle {
    const NAME: &'static CStr = c"rasyncio.events.TimerHandle";
    const DOC: &'static CStr = c"TimerHandle(when, callback, args, loop, context=None)\n--\n\n\
        A callback that a loop is to run at a time; what call_later() and call_at() answer.\n\nNot thread-safe.";
    const FREE_LIST: usize = 1024;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<5> = Signature::method(
            "TimerHandle.__init__",
            [arg("when"), arg("callback"), arg("args"), arg("loop"), opt("context")],
        );
        fn init(this: &Ref<'_, TimerHandle>, args: &Args<'_, '_>) -> PyResult<()> {
            let [when, callback, arguments, event_loop, context] = args.parse(&INIT)?;
            Handle::init(this.base(), [callback, arguments, event_loop, context])?;
            this.scheduled.set(false);
            when.map_or(Ok(()), |when| TimerHandle::set_when(this, when))
        }
        spec.init(init)
            .method0(
                c"cancel",
                c"cancel($self, /)\n--\n\nKeep the callback from running. Cancelling twice does nothing more.",
                TimerHandle::cancel,
            )
            .method0(
                c"when",
                c"when($self, /)\n--\n\nThe time for which the callback is scheduled, in seconds of loop.time().",
                TimerHandle::when_own,
            )
            .method0(c"_repr_info", c"_repr_info($self, /)\n--\n\nThe parts of the repr.", |this| {
                let info = Handle::repr_info(this.base())?;
                let at = if this.cancelled.get() { 2 } else { 1 };
                let when = TimerHandle::when_own(this)?;
                info.insert(at, format!("when={}", when.bind(this.py()).str()?))?;
                Ok(Own::new(info.into_any()))
            })
            .get_set(c"_when", c"", TimerHandle::when_own, |this, value| {
                value.map_or(Ok(()), |when| TimerHandle::set_when(this, when))
            })
            .get_set(
                c"_scheduled",
                c"",
                |this| Ok(this.scheduled.get()),
                |this, value| value.map_or(Ok(()), |v| v.is_truthy().map(|v| this.scheduled.set(v))),
            )
            .hash(|this| TimerHandle::when_own(this)?.bind(this.py()).hash())
            .compare(|this, other, op| {
                use pyo3::basic::CompareOp::*;
                let Some(other) = Ref::<TimerHandle>::cast(other) else { return Ok(None) };
                let (mine, theirs) = (this.when.get(), other.when.get());
                Ok(Some(match op {
                    Lt => mine < theirs,
                    Gt => mine > theirs,
                    Le => mine < theirs || TimerHandle::equals(this, other)?,
                    Ge => mine > theirs || TimerHandle::equals(this, other)?,
                    Eq => TimerHandle::equals(this, other)?,
                    Ne => !TimerHandle::equals(this, other)?,
                }))
            });
    }
}
