//! Shells: the coroutine functions of the faces, and what is answered in their place.
//!
//! Called by the faces for each of their `async def`s ([`divert`]); calls the rooms' `quick` functions.
//!
//! `Queue.get` must be a coroutine function to `inspect`, so the face has a Python one: the shell. What it does is native,
//! and for the shells that are called most the coroutine itself costs more than that. Where a call is plain (exactly our
//! class, positional arguments, on one of our loops that is not in debug mode), a native object stands in for the
//! coroutine: it does nothing until awaited, warns if it never is, and says of itself what a coroutine says: class, name, code.
//! What it has not got is a frame. In every other case the shell itself is called.
//!
//! A stand-in is a `futures::Wait` (or a machine of the room's own) that points to its [`Shell`].

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Args, Native, Own, Ref, Spec, add_function};

use crate::events::{LoopCore, running_loop};
use crate::futures::{Next, Then, Wait};
use crate::library;
use crate::{locks, queues, selector_events, streams, tasks, timeouts};

/// What there is to know of a coroutine function that native objects stand in for.
pub struct Shell {
    /// The face that has it.
    pub room: &'static str,
    /// Its dotted name there.
    pub name: &'static str,
    /// What is done when it is first awaited.
    pub begin: for<'py> fn(&Ref<'py, Wait>) -> PyResult<Next<'py>>,
    /// What is done each time the future that it waits for is done.
    pub then: Then,
}

impl Shell {
    /// The Python function.
    fn function<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (owner, method) = self.name.split_once('.').map_or((self.name, None), |(o, m)| (o, Some(m)));
        let found = crate::face(py, self.room)?.getattr(slots::Text(owner))?;
        method.map_or(Ok(found.clone()), |method| found.getattr(slots::Text(method)))
    }

    /// What Python says of a coroutine that is dropped without having been awaited.
    pub fn warn_never_awaited(&self, py: Python<'_>) -> PyResult<()> {
        let text = std::ffi::CString::new(format!("coroutine '{}' was never awaited", self.name))?;
        PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &text, 1)
    }
}

/// Where a stand-in is in its life.
#[derive(Clone, Copy, PartialEq)]
pub enum Progress {
    Created,
    Running,
    Suspended,
    Closed,
}

/// Gives a class what a coroutine says of itself. `look` answers the shell, or None where the object stands for none.
pub fn pose<T: Native, F>(spec: &mut Spec<T>, _look: F)
where
    F: Fn(&T) -> Option<(&'static Shell, Progress)> + Copy + 'static,
{
    macro_rules! told {
        ($name:literal, $value:expr, $without:expr) => {
            spec.get($name, c"", move |this| match _look(this) {
                Some((shell, progress)) =>
                {
                    #[allow(clippy::redundant_closure_call)]
                    $value(this.py(), shell, progress)
                }
                None => $without(this.py()),
            });
        };
    }
    let _ = &spec;
    told!(
        c"__class__",
        |py: Python<'_>, _: &Shell, _| Ok(Own::new(library(py, "types")?.getattr(intern!(py, "CoroutineType"))?)),
        |py| Ok(Own::new(crate::class_object::<T>(py)?))
    );
    told!(c"__qualname__", |_, shell: &Shell, _| Ok(shell.name), |_| Ok("_Wait"));
    told!(c"__name__", |_, shell: &Shell, _| Ok(shell.name.rsplit('.').next().unwrap_or(shell.name)), |_| Ok("_Wait"));
    told!(
        c"cr_code",
        |py, shell: &Shell, _| shell.function(py)?.getattr(intern!(py, "__code__")).map(|code| Some(Own::new(code))),
        |_| Ok(None)
    );
    told!(c"cr_running", |_, _: &Shell, progress| Ok(progress == Progress::Running), |_| Ok(false));
    told!(c"cr_suspended", |_, _: &Shell, progress| Ok(progress == Progress::Suspended), |_| Ok(false));
    spec.get(c"cr_frame", c"", |_| Ok(())).get(c"cr_origin", c"", |_| Ok(()));
}

/// Whether a call may be answered by a stand-in: a loop of ours runs, and nobody wants to see frames and origins.
#[inline]
pub fn may_stand_in(py: Python<'_>) -> bool {
    match &running_loop(py) {
        Some(event_loop) => LoopCore::of(event_loop).is_some_and(|core| !core.debug.get()),
        None => false,
    }
}

/// A stand-in for a call of `shell` on `owner`.
#[inline]
pub fn stand_in<'py>(
    shell: &'static Shell,
    owner: &Bound<'py, PyAny>,
    extra: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Own>> {
    if may_stand_in(owner.py()) { Wait::called(shell, owner, extra).map(Some) } else { Ok(None) }
}

/// Has calls of a shell ask its room first; a function that no room answers for is left as it is.
fn divert(function: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = function.py();
    let name: String = function.getattr(intern!(py, "__qualname__"))?.extract()?;
    match name.as_str() {
        "sleep" => slots::divert(function, tasks::quick_sleep),
        "wait_for" => slots::divert(function, tasks::quick_wait_for),
        "Queue.get" => slots::divert(function, queues::quick_get),
        "Queue.put" => slots::divert(function, queues::quick_put),
        "Lock.acquire" => slots::divert(function, locks::quick_acquire),
        "Lock.__aenter__" => slots::divert(function, locks::quick_enter),
        "Lock.__aexit__" => slots::divert(function, locks::quick_exit),
        "Timeout.__aenter__" => slots::divert(function, timeouts::quick_enter),
        "Timeout.__aexit__" => slots::divert(function, timeouts::quick_exit),
        "BaseSelectorEventLoop.sock_recv" => slots::divert(function, selector_events::quick_recv),
        "BaseSelectorEventLoop.sock_sendall" => slots::divert(function, selector_events::quick_sendall),
        "StreamReader.read" => slots::divert(function, streams::quick_read),
        "StreamReader.readexactly" => slots::divert(function, streams::quick_readexactly),
        "StreamReader.readline" => slots::divert(function, streams::quick_readline),
        "StreamWriter.drain" => slots::divert(function, streams::quick_drain),
        _ => Ok(()),
    }
}

/// Whether a call has exactly `N` positional arguments; those.
#[inline]
pub fn plain<'a, 'py, const N: usize>(args: &Args<'a, 'py>) -> Option<&'a [Bound<'py, PyAny>; N]> {
    if args.has_keywords() { None } else { args.positional().try_into().ok() }
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(
        module,
        c"_divert",
        c"_divert(function)\n--\n\nHave plain calls of a shell answered without a coroutine.",
        |_, args| args.positional().first().map_or(Ok(()), divert),
    )
}
