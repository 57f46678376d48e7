//! [`Child`]: a started process by a descriptor of it, as long as nobody has reaped it.
//!
//! Made by `unix_events::children` for each process that a loop starts, and kept by its transport as `_child`; called by the
//! transport to signal and by `children` to reap. Calls `engine::sys::Process`.
//!
//! States: running, with a descriptor (watched by the loop: the loop reaps, and nobody else should) or without one, where the
//! system has none -> reaped, without: from then on no signal is sent.
//!
//! Invariant: the descriptor is closed when the process is reaped, and with the loop, not later.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::time::Duration;

use engine::sys::{Descriptor, Process};
use pyo3::prelude::*;
use slots::intern;
use slots::{Class, Link, Plain, Ref, Slot, Spec, class};

use super::Transport;
use crate::events::LoopCore;
use crate::exceptions;

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    /// Somebody else reaps: a watcher.
    #[default]
    Running,
    /// The loop watches the descriptor and reaps.
    Watched,
    Reaped,
}

class! {
    /// A process that a loop has started.
    pub struct Child {
        process: Plain<RefCell<Option<Process>>>,
        state: Cell<State>,
        /// The process's transport.
        pub transport: Slot,
        /// The loop that watches.
        pub core: Link<LoopCore>,
        /// The context that the exit is handled in.
        pub context: Slot,
    }
}

const KILL: i32 = 9;

/// How long a killed process is waited for where no loop is there to do it.
const GRACE: Duration = Duration::from_millis(200);

/// The transport's child, if it has one.
pub(super) fn of<'py>(transport: &Transport<'py>) -> PyResult<Option<Ref<'py, Child>>> {
    let child = transport.any().getattr_opt(intern!(transport.py(), "_child"))?;
    Ok(child.and_then(|child| Ref::<Child>::cast(&child).cloned()))
}

/// Waits a moment for a killed process whose loop is no more, so that no zombie is left.
pub(super) fn reap_after_loop(process: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = process.py();
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "timeout"), GRACE.as_secs_f64())?;
    match process.getattr(intern!(py, "wait"))?.call((), Some(&keywords)) {
        // It cannot be killed for now. Popen asks again when the next process is started.
        Err(error) if error.get_type(py).name()? == "TimeoutExpired" => Ok(()),
        other => other.map(drop),
    }
}

impl Child {
    /// The process of this number; None if the system gives no descriptor of it.
    pub fn open<'py>(py: Python<'py>, pid: i32) -> PyResult<Option<Ref<'py, Child>>> {
        let Ok(process) = Process::open(pid) else { return Ok(None) };
        Ref::create(py, Child { process: Plain(RefCell::new(Some(process))), ..Child::default() }).map(Some)
    }

    /// A process without a descriptor.
    pub fn bare(py: Python<'_>) -> PyResult<Ref<'_, Child>> {
        Ref::create(py, Child::default())
    }

    fn ask<R>(&self, question: impl FnOnce(&Process) -> R) -> Option<R> {
        self.process.borrow().as_ref().map(question)
    }

    /// The descriptor, for the poller.
    pub fn fd(&self) -> Option<Descriptor> {
        self.ask(Process::fd)
    }

    /// From now on the loop reaps it.
    pub fn set_watched(&self) {
        self.state.set(State::Watched);
    }

    /// Whether the loop reaps it.
    pub fn is_watched(&self) -> bool {
        self.state.get() == State::Watched
    }

    /// It was reaped, by whomever: no signal is sent any more.
    pub fn set_reaped(&self) {
        self.state.set(State::Reaped);
        self.process.borrow_mut().take();
    }

    /// Whether it was reaped.
    pub fn is_reaped(&self) -> bool {
        self.state.get() == State::Reaped
    }

    /// Whether it can be signalled by a descriptor.
    pub fn has_descriptor(&self) -> bool {
        self.process.borrow().is_some()
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.ask(Process::is_running).unwrap_or(false)
    }

    /// Sends a signal; ProcessLookupError if it was reaped.
    pub fn signal(&self, py: Python<'_>, number: i32) -> PyResult<()> {
        let sent = self.ask(|process| process.signal(number)).unwrap_or(Ok(()));
        sent.map_err(|error| exceptions::os_error(py, error))
    }

    /// Sends SIGKILL.
    pub fn kill(&self, py: Python<'_>) -> PyResult<()> {
        self.signal(py, KILL)
    }

    /// Reaps it, if it has ended: its exit code, None if somebody else has reaped it. It is reaped afterwards in any case.
    pub fn reap(this: &Ref<'_, Child>) -> Option<i32> {
        let process = this.process.borrow_mut().take()?;
        this.state.set(State::Reaped);
        match process.reap() {
            // It has ended, as the poller says, but cannot be reaped yet: a debugger has the first word.
            Ok(None) => this.py().detach(|| process.wait_and_reap()).ok(),
            other => other.ok().flatten(),
        }
    }

    /// The loop ends: reaps it if it has ended, or was killed and ends in a moment. Its exit code if so. It is watched no more.
    pub fn leave(&self, is_killed: bool) -> Option<i32> {
        let process = self.process.borrow_mut().take()?;
        self.state.set(State::Running);
        if is_killed {
            // An error is as good as a process that does not end.
            let _ = process.wait_for_end(GRACE);
        }
        let answer = process.reap();
        if !matches!(answer, Ok(None)) {
            self.state.set(State::Reaped);
        }
        answer.ok().flatten()
    }
}

impl Class for Child {
    const NAME: &'static CStr = c"rasyncio.base_subprocess._Child";
    const CALLABLE: bool = false;

    fn define(_: &mut Spec<Self>) {}
}
