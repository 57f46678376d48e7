//! Where a coroutine is: the frames of its stack.
//!
//! Called by the graph; asks coroutines by the names that they have in Python, so that anybody's coroutines have a stack.
//!
//! A coroutine function of rasyncio that is answered by a native object (`coroutines::shells`) has no frame. While such a call
//! waits, a [`StandIn`] takes the frame's place: it has the code, the line and the generator that a frame would have.
//!
//! From 3.14 on a frame knows its coroutine; before, its code tells what kind of function it belongs to.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use slots::intern;
use slots::{Class, Own, Ref, Slot, Spec, class};

class! {
    /// What stands for the frame of a coroutine that is native.
    pub struct StandIn { code: Slot, coroutine: Slot }
}

impl Class for StandIn {
    const NAME: &'static std::ffi::CStr = c"rasyncio.graph._Frame";
    const CALLABLE: bool = false;
    const SUBCLASSABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.get(c"f_code", c"The code of the coroutine function.", |this| Ok(this.code.get(this.py()).map(Own::new)))
            .get(c"f_generator", c"What is awaited in the coroutine's place.", |this| {
                Ok(this.coroutine.get(this.py()).map(Own::new))
            })
            .get(c"f_lineno", c"The line on which the function begins.", |this| {
                let py = this.py();
                this.code.get_or_none(py).getattr(intern!(py, "co_firstlineno")).map(Own::new)
            })
            .get(c"f_back", c"", |_| Ok(()))
            .repr(|this| {
                let py = this.py();
                let code = this.code.get_or_none(py);
                let (file, name) = (code.getattr(intern!(py, "co_filename"))?, code.getattr(intern!(py, "co_name"))?);
                Ok(format!("<frame of a native coroutine, file {}, code {name}>", file.repr()?))
            });
    }
}

/// What a frame belongs to.
#[derive(PartialEq)]
pub enum Style {
    Plain,
    Coroutine,
    AsyncGenerator,
    Generator,
}

impl Style {
    /// That of a frame.
    pub fn of(frame: &Bound<'_, PyAny>) -> PyResult<Style> {
        const GENERATOR: u32 = 0x20;
        const COROUTINE: u32 = 0x80;
        const ASYNC_GENERATOR: u32 = 0x200;
        let py = frame.py();
        if Ref::<StandIn>::cast_exact(frame).is_some() {
            return Ok(Style::Coroutine);
        }
        if slots::VERSION >= (3, 14) {
            let owner = frame.getattr(intern!(py, "f_generator"))?;
            return Ok(match () {
                () if owner.is_none() => Style::Plain,
                () if owner.hasattr(intern!(py, "cr_frame"))? => Style::Coroutine,
                () if owner.hasattr(intern!(py, "ag_frame"))? => Style::AsyncGenerator,
                () => Style::Generator,
            });
        }
        let flags: u32 = frame.getattr(intern!(py, "f_code"))?.getattr(intern!(py, "co_flags"))?.extract()?;
        Ok(match flags {
            flags if flags & COROUTINE != 0 => Style::Coroutine,
            flags if flags & ASYNC_GENERATOR != 0 => Style::AsyncGenerator,
            flags if flags & GENERATOR != 0 => Style::Generator,
            _ => Style::Plain,
        })
    }
}

/// The frames of a coroutine that is suspended, outermost first.
pub fn of_coroutine(coroutine: Bound<'_, PyAny>) -> PyResult<Vec<Bound<'_, PyAny>>> {
    let py = coroutine.py();
    let (mut frames, mut next) = (Vec::new(), coroutine);
    while !next.is_none() {
        let names = if next.hasattr(intern!(py, "cr_await"))? {
            ["cr_frame", "cr_await"]
        } else if next.hasattr(intern!(py, "ag_await"))? {
            ["ag_frame", "ag_await"]
        } else {
            break;
        };
        let frame = next.getattr(names[0])?;
        if frame.is_none() {
            frames.extend(stand_in(&next)?);
        } else {
            frames.push(frame);
        }
        next = next.getattr(names[1])?;
    }
    Ok(frames)
}

/// The place of a call that is native and has not ended.
fn stand_in<'py>(coroutine: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = coroutine.py();
    let waits = |name: &str| coroutine.getattr(slots::Text(name)).and_then(|is| is.is_truthy());
    if slots::is_exact_coroutine(coroutine) || !(waits("cr_suspended")? || waits("cr_running")?) {
        return Ok(None);
    }
    let code = coroutine.getattr(intern!(py, "cr_code"))?;
    if code.is_none() {
        return Ok(None);
    }
    let made = StandIn { code: Slot::of(code), coroutine: Slot::of(coroutine.clone()) };
    Ok(Some(Ref::create(py, made)?.into_any()))
}

/// The frames of the running task, innermost first, from `skip` frames above the caller to the task's outermost coroutine.
pub fn above(py: Python<'_>, skip: i64) -> PyResult<Vec<Bound<'_, PyAny>>> {
    let too_deep = || PyValueError::new_err("call stack is not deep enough");
    let mut frame = slots::current_frame(py).ok_or_else(too_deep)?;
    for _ in 0..skip {
        frame = frame.getattr(intern!(py, "f_back"))?;
        if frame.is_none() {
            return Err(too_deep());
        }
    }
    let mut frames = Vec::new();
    while !frame.is_none() {
        let back = frame.getattr(intern!(py, "f_back"))?;
        let is_async = matches!(Style::of(&frame)?, Style::Coroutine | Style::AsyncGenerator);
        frames.push(frame);
        // Below the outermost coroutine is whoever runs the task.
        if is_async && !back.is_none() && Style::of(&back)? == Style::Plain {
            break;
        }
        frame = back;
    }
    Ok(frames)
}

/// Puts the class in the extension module.
pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    slots::add_class::<StandIn>(module)
}
