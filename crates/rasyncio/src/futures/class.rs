//! `Future` as Python sees it: methods, attributes, finalizer.
//!
//! Called by CPython; calls the transitions in `futures`. The underscored attributes are API: CPython's C class shows the
//! same ones, and debuggers, test suites and other event loops read them.

use std::ffi::CStr;

use pyo3::exceptions::{PyAttributeError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Spec, arg, kw_opt, opt};

use super::{Future, FutureIter, given_loop};
use crate::{base_futures, graph};

fn own(value: Option<Bound<'_, PyAny>>) -> Option<Own> {
    value.map(Own::new)
}

/// An argument that was given and is not None.
pub(crate) fn given<'a, 'py>(value: &Option<&'a Bound<'py, PyAny>>) -> Option<&'a Bound<'py, PyAny>> {
    value.filter(|v| !v.is_none())
}

/// The context argument of `add_done_callback` and its kin: the one given, or a copy of the current one.
pub(crate) fn given_context<'py>(py: Python<'py>, context: &Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
    match given(context) {
        Some(context) => Ok(context.clone()),
        None => slots::copy_current(py),
    }
}

/// What `__class__` answers, and isinstance() believes beside the true class: on a loop that the stdlib's asyncio uses, the class
/// of that asyncio in whose place an exact future or task of ours stands.
pub(crate) fn class_to_see(this: &Ref<'_, Future>, name: &str) -> PyResult<Own> {
    let exact =
        Ref::<Future>::cast_exact(this.any()).is_some() || Ref::<crate::tasks::Task>::cast_exact(this.any()).is_some();
    let theirs = match this.core(this.py()) {
        Some(core) if exact => crate::events::running::class_in_stdlib(&core, name)?,
        _ => None,
    };
    Ok(Own::new(theirs.unwrap_or_else(|| this.any().get_type().into_any())))
}

fn init(this: &Ref<'_, Future>, args: &Args<'_, '_>) -> PyResult<()> {
    const SIGNATURE: Signature<1> = Signature::method("Future.__init__", [kw_opt("loop")]);
    let [event_loop] = args.parse(&SIGNATURE)?;
    Future::initialize(this, given(&event_loop))
}

impl Future {
    /// What `Future.__init__` does, also for a task.
    pub(crate) fn initialize<'py>(this: &Ref<'py, Future>, event_loop: Option<&Bound<'py, PyAny>>) -> PyResult<()> {
        if slots::VERSION >= (3, 15) && (this.core.is_set() || this.foreign_loop.is_set()) {
            let class = this.any().get_type();
            let text = format!("{}.{} object is already initialized", class.module()?, class.qualname()?);
            return Err(PyRuntimeError::new_err(text));
        }
        let event_loop = given_loop(this.py(), event_loop)?;
        this.reset();
        Future::set_loop(this, &event_loop)
    }

    fn reset(&self) {
        use slots::Visit;
        if self.core.is_set() || self.foreign_loop.is_set() {
            self.clear();
            self.state.set(super::State::Pending);
            self.blocking.set(false);
            self.log_traceback.set(false);
        }
    }
}

impl Class for Future {
    const NAME: &'static CStr = c"rasyncio.futures.Future";
    const DOC: &'static CStr = c"Future(*, loop=None)\n--\n\n\
        A result that is not there yet (PEP 3156). Await it for the result.\n\n\
        loop is the event loop it belongs to, by default the running one. Not thread-safe.";
    const FREE_LIST: usize = 2048;
    const DICT: bool = true;
    const IMMUTABLE: bool = true;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.log_traceback.get()
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        let py = this.py();
        this.log_traceback.set(false);
        let (Some(exception), Some(event_loop)) = (this.exception.get(py), this.event_loop(py)) else { return Ok(()) };
        let details = slots::dict(py)?;
        let name = this.any().get_type().name()?;
        details.set_item(intern!(py, "message"), format!("{name} exception was never retrieved"))?;
        details.set_item(intern!(py, "exception"), exception)?;
        details.set_item(intern!(py, "future"), this.any())?;
        if let Some(stack) = this.source_traceback.get(py) {
            details.set_item(intern!(py, "source_traceback"), stack)?;
        }
        event_loop.call_method1(intern!(py, "call_exception_handler"), (details,)).map(drop)
    }

    fn define(spec: &mut Spec<Self>) {
        const ADD: Signature<2> = Signature::method("Future.add_done_callback", [arg("fn"), kw_opt("context")]);
        const CANCEL: Signature<1> = Signature::method("Future.cancel", [opt("msg")]);
        spec.init(init)
            .generic()
            .awaits(|this| {
                this.check_initialized()?;
                Ok(Own::new(FutureIter::create(this)?.into_any()))
            })
            .iter(|this| {
                this.check_initialized()?;
                Ok(Own::new(FutureIter::create(this)?.into_any()))
            })
            .repr(|this| match this.check_initialized() {
                Ok(()) => base_futures::future_repr(this.any()),
                Err(_) => Ok(format!("<{} (uninitialized)>", crate::events::core::class_name(this.any()))),
            })
            .method0(
                c"result",
                c"result($self, /)\n--\n\nThe result, or the exception raised. CancelledError if cancelled;\nInvalidStateError if not done.",
                |this| Future::outcome(this).map(Own::new),
            )
            .method0(
                c"exception",
                c"exception($self, /)\n--\n\nThe exception, or None if there is a result. CancelledError if cancelled;\nInvalidStateError if not done.",
                |this| Ok(own(Future::exception(this)?)),
            )
            .method1(
                c"set_result",
                c"set_result($self, result, /)\n--\n\nFinish with a result. InvalidStateError if already done.",
                |this, result| Future::set_result(this, result.clone()),
            )
            .method1(
                c"set_exception",
                c"set_exception($self, exception, /)\n--\n\nFinish with an exception, given as instance or class.\nInvalidStateError if already done.",
                Future::set_exception,
            )
            .method(
                c"add_done_callback",
                c"add_done_callback($self, fn, /, *, context=<unrepresentable>)\n--\n\nHave fn(future) called by the loop when the future is done, in context.\nIf it is done already, fn is called soon.",
                |this, args| {
                    let [callback, context] = args.parse(&ADD)?;
                    let context = given_context(this.py(), &context)?;
                    callback.map_or(Ok(()), |callback| Future::add_done_callback(this, callback.clone(), context))
                },
            )
            .method1(
                c"remove_done_callback",
                c"remove_done_callback($self, fn, /)\n--\n\nRemove every callback equal to fn; answer how many there were.",
                Future::remove_done_callback,
            )
            .method(
                c"cancel",
                c"cancel($self, /, msg=None)\n--\n\nCancel the future and schedule its callbacks. Answer whether it was pending.",
                |this, args| {
                    let [message] = args.parse(&CANCEL)?;
                    Future::cancel(this, given(&message))
                },
            )
            .method0(c"cancelled", c"cancelled($self, /)\n--\n\nWhether the future was cancelled.", |this| {
                Ok(this.state.get() == super::State::Cancelled)
            })
            .method0(c"done", c"done($self, /)\n--\n\nWhether the future is cancelled or finished.", |this| Ok(this.is_done()))
            .method0(c"get_loop", c"get_loop($self, /)\n--\n\nThe event loop that the future belongs to.", |this| {
                this.check_initialized()?;
                Ok(own(this.event_loop(this.py())))
            })
            .method0(
                c"_make_cancelled_error",
                c"_make_cancelled_error($self, /)\n--\n\nThe CancelledError to raise for this future.",
                |this| Future::make_cancelled_error(this).map(Own::new),
            )
            .get(c"__class__", c"", |this| class_to_see(this, "Future"))
            .get(c"_state", c"", |this| Ok(this.state.get().name()))
            .get_set(
                c"_asyncio_future_blocking",
                c"",
                |this| Ok(this.blocking.get()),
                |this, value| match value {
                    Some(value) => {
                        this.check_initialized()?;
                        this.blocking.set(value.is_truthy()?);
                        Ok(())
                    }
                    None => Err(PyAttributeError::new_err("cannot delete attribute")),
                },
            )
            .get(c"_loop", c"", |this| Ok(own(this.event_loop(this.py()))))
            .get(c"_callbacks", c"", |this| Ok(own(Future::callbacks(this)?)))
            .get(c"_result", c"", |this| Ok(own(this.result.get(this.py()))))
            .get(c"_exception", c"", |this| Ok(own(this.exception.get(this.py()))))
            .get_set(
                c"_cancel_message",
                c"",
                |this| Ok(own(this.cancel_message.get(this.py()))),
                |this, value| {
                    this.set_cancel_message(value);
                    Ok(())
                },
            )
            .get(c"_source_traceback", c"", |this| Ok(own(this.source_traceback.get(this.py()))))
            .get_set(
                c"_log_traceback",
                c"",
                |this| Ok(this.log_traceback.get()),
                |this, value| match value {
                    None => Err(PyAttributeError::new_err("cannot delete attribute")),
                    Some(value) if value.is_truthy()? => {
                        Err(PyValueError::new_err("_log_traceback can only be set to False"))
                    }
                    Some(_) => {
                        this.log_traceback.set(false);
                        Ok(())
                    }
                },
            )
            .get(c"_asyncio_awaited_by", c"", |this| Ok(graph::awaited_by(this)?.map(|set| Own::new(set.into_any()))));
    }
}
