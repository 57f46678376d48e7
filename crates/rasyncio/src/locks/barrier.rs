//! `Barrier`: tasks that wait until so many of them are there.
//!
//! Called by the shells `wait`, `reset`, `abort`; calls a Condition for all waiting.
//!
//! States: Filling -> Draining (the last has come; all leave) -> Filling; Filling -> Resetting (all leave with
//! BrokenBarrierError) -> Filling; any -> Broken, until a reset. While it drains or resets, newcomers wait outside.

use std::cell::Cell;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use slots::intern;
use slots::{Class, Co, Kept, Own, Ref, Signature, Slot, Spec, arg, class};

use crate::exceptions;
use crate::mixins::LoopBoundMixin;

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Filling,
    Draining,
    Resetting,
    Broken,
}

class! {
    /// Tasks that wait until so many of them are there.
    pub struct Barrier: LoopBoundMixin { condition: Slot, parties: Cell<i64>, count: Cell<i64>, state: Cell<State> }
}

fn broken(py: Python<'_>, text: &'static str) -> PyErr {
    match exceptions::broken_barrier_error(py) {
        Ok(class) => PyErr::from_type(class.clone(), text),
        Err(error) => error,
    }
}

fn condition<'py>(this: &Ref<'py, Barrier>) -> Bound<'py, PyAny> {
    this.condition.get_or_none(this.py())
}

fn notify_all(this: &Ref<'_, Barrier>) -> PyResult<()> {
    condition(this).call_method0(intern!(this.py(), "notify_all")).map(drop)
}

/// Waits for news until `over` says that there are none to be waited for.
async fn until(co: &Co, this: Kept, over: impl Fn(State) -> bool) -> PyResult<()> {
    loop {
        let news = {
            let this = co.get_as::<Barrier>(this);
            if over(this.state.get()) {
                return Ok(());
            }
            co.keep(condition(&this).call_method0(intern!(co.py(), "wait"))?)
        };
        co.wait(news).await?;
    }
}

fn wait<'py>(this: &Ref<'py, Barrier>) -> PyResult<Bound<'py, PyAny>> {
    slots::coroutine(this.py(), "Barrier.wait", [this.any().clone()], |co, [this]| async move {
        enter(&co, this).await?;
        let result = inside(&co, this).await;
        leave(&co, this)?;
        result
    })
}

async fn enter(co: &Co, this: Kept) -> PyResult<()> {
    let acquire = {
        let this = co.get_as::<Barrier>(this);
        co.keep(condition(&this).call_method0(intern!(co.py(), "acquire"))?)
    };
    co.wait(acquire).await.map(drop)
}

fn leave(co: &Co, this: Kept) -> PyResult<()> {
    condition(&co.get_as::<Barrier>(this)).call_method0(intern!(co.py(), "release")).map(drop)
}

async fn inside(co: &Co, this: Kept) -> PyResult<Own> {
    until(co, this, |state| !matches!(state, State::Draining | State::Resetting)).await?;
    if co.get_as::<Barrier>(this).state.get() == State::Broken {
        return Err(broken(co.py(), "Barrier aborted"));
    }
    let (index, is_last) = {
        let this = co.get_as::<Barrier>(this);
        let index = this.count.get();
        this.count.set(index + 1);
        (index, index + 1 == this.parties.get())
    };
    let waited = if is_last {
        let this = co.get_as::<Barrier>(this);
        this.state.set(State::Draining);
        notify_all(&this)
    } else {
        match until(co, this, |state| state != State::Filling).await {
            Ok(()) => match co.get_as::<Barrier>(this).state.get() {
                State::Broken | State::Resetting => Err(broken(co.py(), "Abort or reset of barrier")),
                _ => Ok(()),
            },
            Err(error) => Err(error),
        }
    };
    let this = co.get_as::<Barrier>(this);
    this.count.set(this.count.get() - 1);
    if this.count.get() == 0 {
        if matches!(this.state.get(), State::Resetting | State::Draining) {
            this.state.set(State::Filling);
        }
        notify_all(&this)?;
    }
    waited?;
    Ok(index.into_pyobject(co.py())?.into_any().into())
}

fn change<'py>(this: &Ref<'py, Barrier>, name: &str, next: fn(&Barrier) -> State) -> PyResult<Own> {
    slots::coroutine(this.py(), name, [this.any().clone()], move |co, [this]| async move {
        enter(&co, this).await?;
        let changed = {
            let this = co.get_as::<Barrier>(this);
            this.state.set(next(&this));
            notify_all(&this)
        };
        leave(&co, this)?;
        changed?;
        Ok(co.py().None().into_bound(co.py()).into())
    })
    .map(Own::new)
}

impl Class for Barrier {
    const NAME: &'static std::ffi::CStr = c"rasyncio.locks.Barrier";
    const DOC: &'static std::ffi::CStr = c"Barrier(parties)\n--\n\n\
        Holds tasks back until parties of them wait, then lets them all go on; again and again. Not thread-safe.";
    const DICT: bool = true;

    fn define(spec: &mut Spec<Self>) {
        const INIT: Signature<1> = Signature::method("Barrier.__init__", [arg("parties")]);
        spec.init(|this, args| {
            let py = this.py();
            let [parties] = args.parse(&INIT)?;
            let Some(parties) = parties else { return Ok(()) };
            if parties.lt(1)? {
                let text = if slots::VERSION < (3, 12) { "parties must be > 0" } else { "parties must be >= 1" };
                return Err(PyValueError::new_err(text));
            }
            this.parties.set(parties.extract()?);
            this.condition.set(crate::face(py, "locks")?.getattr(intern!(py, "Condition"))?.call0()?);
            Ok(())
        })
        .repr(|this| {
            let kind = this.any().get_type();
            let state = match this.state.get() {
                State::Filling => "filling",
                State::Draining => "draining",
                State::Resetting => "resetting",
                State::Broken => "broken",
            };
            let mut extra = state.to_owned();
            if this.state.get() != State::Broken {
                let waiting = if this.state.get() == State::Filling { this.count.get() } else { 0 };
                extra.push_str(&format!(", waiters:{waiting}/{}", this.parties.get()));
            }
            Ok(format!("<{}.{} object at {:p} [{extra}]>", kind.module()?, kind.qualname()?, this.any().as_ptr()))
        })
        .method0(c"_wait_for_all", c"_wait_for_all($self, /)\n--\n\nThe body of wait().", |this| {
            wait(this).map(Own::new)
        })
        .method0(c"_reset", c"_reset($self, /)\n--\n\nThe body of reset().", |this| {
            change(
                this,
                "Barrier.reset",
                |barrier| if barrier.count.get() > 0 { State::Resetting } else { State::Filling },
            )
        })
        .method0(c"_abort", c"_abort($self, /)\n--\n\nThe body of abort().", |this| {
            change(this, "Barrier.abort", |_| State::Broken)
        })
        .get(c"parties", c"How many tasks it takes.", |this| Ok(this.parties.get()))
        .get(c"n_waiting", c"How many tasks wait.", |this| {
            Ok(if this.state.get() == State::Filling { this.count.get() } else { 0 })
        })
        .get(c"broken", c"Whether the barrier was aborted.", |this| Ok(this.state.get() == State::Broken))
        .get(c"_cond", c"", |this| Ok(Own::new(condition(this))))
        .get(c"_parties", c"", |this| Ok(this.parties.get()))
        .get(c"_count", c"", |this| Ok(this.count.get()));
    }
}
