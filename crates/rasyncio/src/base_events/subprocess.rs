//! `subprocess_exec` and `subprocess_shell`: a child process under a transport that the loop's hook makes.
//!
//! Called by the shells; calls the protocol factory, then `_make_subprocess_transport`, which derived loops bring.
//!
//! What Popen would do to text is refused: pipes bring bytes.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyModule, PyString, PyTuple};
use slots::intern;
use slots::{Args, Own, Ref, Signature, Spec, add_function, arg};

use super::BaseEventLoop;
use crate::log::logger;

/// The refusals, in their order: the argument's place among the checked, and the text.
const REFUSALS: [(usize, &str); 6] = [
    (0, "universal_newlines must be False"),
    (1, ""),
    (2, "bufsize must be 0"),
    (5, "text must be False"),
    (3, "encoding must be None"),
    (4, "errors must be None"),
];

/// `checked`: universal_newlines, shell, bufsize, encoding, errors, text.
fn check(program: &Bound<'_, PyAny>, is_shell: bool, checked: &Bound<'_, PyTuple>) -> PyResult<()> {
    let is_text = program.is_instance_of::<PyString>() || program.is_instance_of::<PyBytes>();
    if is_shell && !is_text {
        return Err(PyValueError::new_err("cmd must be a string"));
    }
    for (place, text) in REFUSALS {
        let value = checked.get_item(place)?;
        let refused = match place {
            1 => value.is_truthy()? != is_shell,
            2 => value.ne(0)?,
            3 | 4 => !value.is_none(),
            _ => value.is_truthy()?,
        };
        if refused {
            let wanted = if is_shell { "shell must be True" } else { "shell must be False" };
            return Err(PyValueError::new_err(if place == 1 { wanted } else { text }));
        }
    }
    Ok(())
}

fn is_debug(this: &Bound<'_, PyAny>) -> bool {
    Ref::<BaseEventLoop>::cast(this).is_some_and(|this| this.debug.get())
}

fn format_pipe(end: &Bound<'_, PyAny>) -> PyResult<String> {
    match () {
        () if end.eq(-1)? => Ok("<pipe>".to_owned()),
        () if end.eq(-2)? => Ok("<stdout>".to_owned()),
        () => Ok(end.repr()?.to_string()),
    }
}

fn log_start<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<()> {
    const LOG: Signature<4> =
        Signature::method("BaseEventLoop._log_subprocess", [arg("msg"), arg("stdin"), arg("stdout"), arg("stderr")]);
    let [Some(message), Some(stdin), Some(stdout), Some(stderr)] = args.parse(&LOG)? else { return Ok(()) };
    let mut text = message.str()?.to_string();
    if !stdin.is_none() {
        text.push_str(&format!(" stdin={}", format_pipe(stdin)?));
    }
    if !stdout.is_none() && stderr.eq(-2)? {
        text.push_str(&format!(" stdout=stderr={}", format_pipe(stdout)?));
    } else {
        for (name, end) in [("stdout", stdout), ("stderr", stderr)] {
            if !end.is_none() {
                text.push_str(&format!(" {name}={}", format_pipe(end)?));
            }
        }
    }
    let logger = logger(this.py(), "base_events")?;
    logger.log("debug", (text,)).map(drop)
}

/// The arguments: the factory, the command, whether it is for the shell, the three ends, the checked ones, and the others by name.
fn subprocess<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const SUBPROCESS: Signature<6> = Signature::method(
        "BaseEventLoop._subprocess",
        [arg("factory"), arg("program"), arg("shell"), arg("ends"), arg("checked"), arg("others")],
    );
    let py = this.py();
    let [Some(factory), Some(program), Some(shell), Some(ends), Some(checked), Some(others)] =
        args.parse(&SUBPROCESS)?
    else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    let is_shell = shell.is_truthy()?;
    check(program, is_shell, checked.cast()?)?;
    let name = if is_shell { "BaseEventLoop.subprocess_shell" } else { "BaseEventLoop.subprocess_exec" };
    let kept = [this.any().clone(), factory.clone(), program.clone(), ends.clone(), others.clone()];
    slots::coroutine(py, name, kept, move |co, [event_loop, factory, program, ends, others]| async move {
        let protocol = co.keep(co.get(factory).call0()?);
        let log = match is_debug(&co.get(event_loop)) {
            true => Some(co.keep(describe(&co.get(event_loop), &co.get(program), is_shell, &co.get(ends))?)),
            false => None,
        };
        let making = {
            let (event_loop, program) = (co.get(event_loop), co.get(program));
            let mut all =
                vec![co.get(protocol), program, pyo3::types::PyBool::new(co.py(), is_shell).to_owned().into_any()];
            all.extend(slots::items(&co.get(ends))?);
            all.push(0i32.into_pyobject(co.py())?.into_any());
            let make = event_loop.getattr(intern!(co.py(), "_make_subprocess_transport"))?;
            co.keep(make.call(slots::tuple(co.py(), all)?, Some(co.get(others).cast::<PyDict>()?))?)
        };
        let transport = co.keep(co.wait(making).await?.into_bound(co.py()));
        if let (Some(log), true) = (log, is_debug(&co.get(event_loop))) {
            let logger = logger(co.py(), "base_events")?;
            logger.log("info", ("%s: %r", co.get(log), co.get(transport)))?;
        }
        Ok(Own::new(slots::tuple(co.py(), [co.get(transport), co.get(protocol)])?.into_any()))
    })
}

/// Debug mode's words for a start, already in its log. Arguments are not in them: they may be secret.
fn describe<'py>(
    event_loop: &Bound<'py, PyAny>,
    program: &Bound<'py, PyAny>,
    is_shell: bool,
    ends: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let text = match is_shell {
        true => format!("run shell command {}", program.repr()?),
        false => format!("execute program {}", program.get_item(0)?.repr()?),
    };
    let text = text.into_pyobject(py)?.into_any();
    let mut all = vec![text.clone()];
    all.extend(slots::items(ends)?);
    event_loop.getattr(intern!(py, "_log_subprocess"))?.call1(slots::tuple(py, all)?)?;
    Ok(text)
}

pub(super) fn define(spec: &mut Spec<BaseEventLoop>) {
    spec.method(
        c"_subprocess",
        c"_subprocess($self, /, *args)\n--\n\nThe body of subprocess_exec() and subprocess_shell().",
        |this, args| subprocess(this, args).map(Own::new),
    )
    .method(
        c"_log_subprocess",
        c"_log_subprocess($self, msg, stdin, stdout, stderr)\n--\n\nDebug mode's record of a process that is started.",
        log_start,
    );
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(module, c"_format_pipe", c"_format_pipe(fd)\n--\n\nAn end of a process, for the log.", |_, args| {
        const SIGNATURE: Signature<1> = Signature::function("_format_pipe", [arg("fd")]);
        match args.parse(&SIGNATURE)? {
            [Some(end)] => format_pipe(end),
            [None] => Err(PyTypeError::new_err("fd is missing")),
        }
    })
}
