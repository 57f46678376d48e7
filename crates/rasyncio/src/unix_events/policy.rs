//! The event loop policy of Unix: the default one, and up to Python 3.13 the watcher of child processes with it.
//!
//! Called by `events::policy`, by users and by `_make_subprocess_transport`; calls the watcher.
//!
//! The watcher: none -> made when somebody asks for it, or set. A watcher that is replaced is closed. It is attached to each loop that
//! the main thread gets.
//!
//! A loop starts processes without any watcher while nobody has asked for one: see `children`.

use std::ffi::CStr;

use pyo3::exceptions::PyAssertionError;
use pyo3::prelude::*;
use slots::intern;
use slots::{Class, Own, Ref, Slot, Spec, class};

use super::watchers::{AbstractChildWatcher, deprecated};
use crate::events::policy::{DefaultPolicy, is_main_thread, set_loop_of_thread};
use crate::face;

class! {
    /// The native half of the policy of Unix.
    pub struct UnixPolicy: DefaultPolicy {
        watcher: Slot,
    }
}

/// The watcher, made now if there is none.
fn watcher<'py>(this: &Ref<'py, UnixPolicy>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    if let Some(watcher) = this.watcher.get(py) {
        return Ok(watcher);
    }
    let unix_events = face(py, "unix_events")?;
    let can_use_pidfd =
        slots::VERSION >= (3, 12) && unix_events.call_method0(intern!(py, "can_use_pidfd"))?.is_truthy()?;
    let name = if can_use_pidfd { "PidfdChildWatcher" } else { "ThreadedChildWatcher" };
    let watcher = unix_events.getattr(slots::Text(name))?.call0()?;
    this.watcher.set(watcher.clone());
    Ok(watcher)
}

fn set_watcher<'py>(this: &Ref<'py, UnixPolicy>, watcher: &Bound<'py, PyAny>) -> PyResult<()> {
    let py = this.py();
    if !watcher.is_none() && !watcher.is_instance(&crate::class_object::<AbstractChildWatcher>(py)?)? {
        return Err(PyAssertionError::new_err(()));
    }
    if let Some(old) = this.watcher.get(py) {
        old.call_method0(intern!(py, "close"))?;
    }
    match watcher.is_none() {
        true => this.watcher.unset(),
        false => this.watcher.set(watcher.clone()),
    }
    deprecated(py, "set_child_watcher")
}

/// Whether nobody has asked for a watcher, or given a way of his own to get one: then a loop needs none.
pub fn needs_no_watcher(policy: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = policy.py();
    let Some(this) = Ref::<UnixPolicy>::cast(policy) else { return Ok(false) };
    let own = slots::type_of::<UnixPolicy>(py)?.getattr(intern!(py, "get_child_watcher"))?;
    Ok(!this.watcher.is_set() && policy.get_type().getattr(intern!(py, "get_child_watcher"))?.is(&own))
}

impl Class for UnixPolicy {
    const NAME: &'static CStr = c"rasyncio.unix_events._UnixPolicy";
    const DOC: &'static CStr = c"_UnixPolicy()\n--\n\nThe native half of the policy of Unix.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        spec.get(c"_watcher", c"The watcher of child processes; None until somebody asks for it.", |this| {
            Ok(this.watcher.get(this.py()).map(Own::new))
        })
        .method1_named(
            c"set_event_loop",
            c"set_event_loop($self, /, loop)\n--\n\nMake loop (or None) the calling thread's; in the main thread also the watcher's.",
            || ("_UnixDefaultEventLoopPolicy.set_event_loop", "loop"),
            |this, event_loop| {
                set_loop_of_thread(this.base(), event_loop)?;
                match this.watcher.get(this.py()) {
                    Some(watcher) if is_main_thread(this.py())? => {
                        watcher.call_method1(intern!(this.py(), "attach_loop"), (event_loop,)).map(drop)
                    }
                    _ => Ok(()),
                }
            },
        )
        .method0(
            c"get_child_watcher",
            c"get_child_watcher($self, /)\n--\n\nThe watcher of child processes, made if there is none. Deprecated by 3.12.",
            |this| {
                let watcher = watcher(this)?;
                deprecated(this.py(), "get_child_watcher")?;
                Ok(Own::new(watcher))
            },
        )
        .method1_named(
            c"set_child_watcher",
            c"set_child_watcher($self, /, watcher)\n--\n\nSet the watcher of child processes, or None. Deprecated by 3.12.",
            || ("_UnixDefaultEventLoopPolicy.set_child_watcher", "watcher"),
            set_watcher,
        );
    }
}
