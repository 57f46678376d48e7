//! `Task` as Python sees it: methods, attributes, finalizer.
//!
//! Called by CPython; calls the transitions in `tasks`. As for `Future`, the underscored attributes are API.

use std::ffi::CStr;

use pyo3::exceptions::{PyAttributeError, PyRuntimeError};
use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Class, Own, Ref, Signature, Spec, arg, kw_opt, opt};

use super::{Options, Task};
use crate::futures::{Future, State};
use crate::{base_tasks, face};

fn own(value: Option<Bound<'_, PyAny>>) -> Option<Own> {
    value.map(Own::new)
}

fn init(this: &Ref<'_, Task>, args: &Args<'_, '_>) -> PyResult<()> {
    const SIGNATURE: Signature<5> = Signature::method(
        "Task.__init__",
        [arg("coro"), kw_opt("loop"), kw_opt("name"), kw_opt("context"), kw_opt("eager_start")],
    );
    let given = args.parse(&SIGNATURE)?;
    let [coroutine, event_loop, name, context, eager] = given;
    let py = this.py();
    Future::initialize(this.base(), event_loop.filter(|l| !l.is_none()))?;
    this.cancel_requests.set(0);
    this.must_cancel.set(false);
    let event_loop = this.event_loop(py).unwrap_or_else(|| py.None().into_bound(py));
    let options =
        Options { name, context: context.filter(|c| !c.is_none()), eager: eager.map_or(Ok(false), |e| e.is_truthy())? };
    match coroutine {
        Some(coroutine) => Task::begin(this, coroutine, &event_loop, options),
        None => Ok(()),
    }
}

impl Class for Task {
    const NAME: &'static CStr = c"rasyncio.tasks.Task";
    const DOC: &'static CStr = c"Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\n\
        A coroutine run by an event loop, and the future of its result (PEPs 3156 and 492).\n\n\
        With eager_start the first step is made at once if the loop is running. Not thread-safe.";
    const FREE_LIST: usize = 2048;
    const DICT: bool = true;
    const IMMUTABLE: bool = true;
    const FINALIZER: bool = true;

    fn wants_finalizer(&self) -> bool {
        self.log_traceback.get() || (self.state() == State::Pending && self.log_destroy_pending.get())
    }

    fn finalize(this: &Ref<'_, Self>) -> PyResult<()> {
        let py = this.py();
        // Whoever is told of it here may keep it; it is no task of the loop any more all the same.
        this.registration.leave();
        if this.state() == State::Pending && this.log_destroy_pending.get() {
            let Some(event_loop) = this.event_loop(py) else { return Ok(()) };
            let details = slots::dict(py)?;
            details.set_item(intern!(py, "task"), this.any())?;
            details.set_item(intern!(py, "message"), "Task was destroyed but it is pending!")?;
            if let Some(stack) = this.any().getattr(intern!(py, "_source_traceback")).ok().filter(|s| !s.is_none()) {
                details.set_item(intern!(py, "source_traceback"), stack)?;
            }
            event_loop.call_method1(intern!(py, "call_exception_handler"), (details,))?;
        }
        if this.log_traceback.get() { Future::finalize(this.base()) } else { Ok(()) }
    }

    fn retire(&self) {
        self.registration.leave();
    }

    fn define(spec: &mut Spec<Self>) {
        const CANCEL: Signature<1> = Signature::method("Task.cancel", [opt("msg")]);
        const GET_STACK: Signature<1> = Signature::method("Task.get_stack", [kw_opt("limit")]);
        const PRINT_STACK: Signature<2> = Signature::method("Task.print_stack", [kw_opt("limit"), kw_opt("file")]);
        spec.init(init)
            .generic()
            .repr(|this| match this.check_initialized() {
                Ok(()) => base_tasks::task_repr(this.any()),
                Err(_) => Ok(format!("<{} (uninitialized)>", crate::events::core::class_name(this.any()))),
            })
            .method(
                c"cancel",
                c"cancel($self, /, msg=None)\n--\n\nAsk the task to stop: CancelledError is raised where it waits, and may be caught there.\n\
                  Answer whether the task was still running. See also uncancel().",
                |this, args| {
                    let [message] = args.parse(&CANCEL)?;
                    Task::cancel(this, crate::futures::given(&message))
                },
            )
            .method0(c"cancelling", c"cancelling($self, /)\n--\n\nHow often cancel() was called, less uncancel().", |this| {
                Ok(this.cancelling())
            })
            .method0(
                c"uncancel",
                c"uncancel($self, /)\n--\n\nTake one cancel() back; answer how many are left. For code that catches CancelledError\nand goes on, as timeouts do.",
                |this| Ok(Task::uncancel(this)),
            )
            .method(
                c"get_stack",
                c"get_stack($self, /, *, limit=None)\n--\n\nThe frames of the suspended coroutine, oldest first, or of the traceback if it failed.",
                |this, args| {
                    let [limit] = args.parse(&GET_STACK)?;
                    let py = this.py();
                    let limit = limit.map_or_else(|| py.None().into_bound(py), |l| l.clone());
                    face(py, "base_tasks")?.call_method1(intern!(py, "_task_get_stack"), (this.any(), limit)).map(Own::new)
                },
            )
            .method(
                c"print_stack",
                c"print_stack($self, /, *, limit=None, file=None)\n--\n\nPrint the stack or traceback of the task, in the manner of the traceback module.",
                |this, args| {
                    let [limit, file] = args.parse(&PRINT_STACK)?;
                    let py = this.py();
                    let none = || py.None().into_bound(py);
                    let (limit, file) = (limit.map_or_else(none, |l| l.clone()), file.map_or_else(none, |f| f.clone()));
                    face(py, "base_tasks")?
                        .call_method1(intern!(py, "_task_print_stack"), (this.any(), limit, file))
                        .map(Own::new)
                },
            )
            .method0(c"get_coro", c"get_coro($self, /)\n--\n\nThe coroutine, or None if the task finished eagerly.", |this| {
                Ok(own(this.coroutine(this.py())))
            })
            .method0(c"get_context", c"get_context($self, /)\n--\n\nThe contextvars.Context that the coroutine runs in.", |this| {
                Ok(own(this.context(this.py())))
            })
            .method0(c"get_name", c"get_name($self, /)\n--\n\nThe name of the task.", |this| Ok(Own::new(this.name(this.py()))))
            .method1(c"set_name", c"set_name($self, value, /)\n--\n\nSet the name; anything but a str is converted.", |this, value| {
                this.name.set(value.str()?.into_any());
                Ok(())
            })
            .method1(c"set_result", c"set_result($self, result, /)\n--\n\nAlways a RuntimeError: the coroutine gives the result.", |_, _| {
                Err::<(), _>(PyRuntimeError::new_err("Task does not support set_result operation"))
            })
            .method1(c"set_exception", c"set_exception($self, exception, /)\n--\n\nAlways a RuntimeError: the coroutine raises.", |_, _| {
                Err::<(), _>(PyRuntimeError::new_err("Task does not support set_exception operation"))
            })
            .get_set(
                c"_log_destroy_pending",
                c"",
                |this| Ok(this.log_destroy_pending.get()),
                |this, value| match value {
                    Some(value) => value.is_truthy().map(|v| this.log_destroy_pending.set(v)),
                    None => Err(PyAttributeError::new_err("cannot delete attribute")),
                },
            )
            .get(c"__class__", c"", |this| crate::futures::class_to_see(this.base(), "Task"))
            .get(c"_must_cancel", c"", |this| Ok(this.must_cancel.get()))
            .get(c"_coro", c"", |this| Ok(own(this.coroutine(this.py()))))
            .get(c"_fut_waiter", c"", |this| Ok(own(this.waits_for.get(this.py()))))
            .get(c"_num_cancels_requested", c"", |this| Ok(this.cancelling()));
    }
}
