//! The iterator behind `await future`.
//!
//! Called by CPython's `await` and by a task's step; calls nothing but its future.
//!
//! States: fresh (the future is yielded, marked as awaited) -> resumed (the future must be done) -> over. A pending future
//! at the second resumption means that somebody iterates it who is no task: RuntimeError.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use slots::{Class, Input, Link, Ref, Sent, Spec, class};

use super::Future;

class! {
    /// The iterator of one `await`.
    pub struct FutureIter { future: Link<Future> }
}

impl FutureIter {
    /// The iterator for `await future`.
    #[inline]
    pub fn create<'py>(future: &Ref<'py, Future>) -> PyResult<Ref<'py, FutureIter>> {
        Ref::create(future.py(), FutureIter { future: Link::of(future.clone()) })
    }
}

fn resume<'py>(this: &Ref<'py, FutureIter>, input: Input<'py>) -> PyResult<Sent<'py>> {
    let py = this.py();
    if let Input::Throw(error) = input {
        this.future.unset();
        return Err(error);
    }
    let Some(future) = this.future.get(py) else { return Ok(Sent::Return(py.None().into_bound(py))) };
    if future.is_done() {
        this.future.unset();
        return Future::outcome(&future).map(Sent::Return);
    }
    if future.blocking.replace(true) {
        return Err(PyRuntimeError::new_err("await wasn't used with future"));
    }
    Ok(Sent::Yield(future.into_any()))
}

impl Class for FutureIter {
    const NAME: &'static std::ffi::CStr = c"rasyncio.futures.FutureIter";
    const FREE_LIST: usize = 1024;
    const CALLABLE: bool = false;
    const SUBCLASSABLE: bool = false;
    const WEAK: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.machine(resume);
    }
}
