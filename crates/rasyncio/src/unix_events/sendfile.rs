//! `_sock_sendfile_native`: a file goes to a socket by `os.sendfile`, without a copy in this process.
//!
//! Called by `BaseEventLoop.sock_sendfile` through the shell; calls `os.sendfile`, which releases the GIL, by the face's name
//! `os`, and the loop's own `add_writer` and `remove_writer`.
//!
//! States of one file: sent from `step` to `step`, between two of which the loop waits until the socket can be written ->
//! ended (the future has the count or an error, and the file's position tells where it is) or cancelled (the writer removed).
//!
//! An error before the first byte was sent means that this is no file for `sendfile`: SendfileNotAvailableError, on which
//! the caller falls back. Later errors are the caller's.
//!
//! Up to 3.12 the file's position is left where it was if nothing was sent; from 3.13.10 it becomes the offset.

use pyo3::exceptions::{
    PyAttributeError, PyBlockingIOError, PyConnectionError, PyInterruptedError, PyKeyboardInterrupt, PyOSError,
    PySystemExit, PyTypeError,
};
use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Own, Ref, Signature, Spec, arg, opt};

use super::UnixSelectorEventLoop;
use crate::base_events::create_future;
use crate::{exceptions, face, library};

/// The most bytes for one call: more does not fit into a C integer everywhere.
const MOST: isize = isize::MAX / 2 + 1;

fn os(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    face(py, "unix_events")?.getattr(intern!(py, "os"))
}

fn unavailable(py: Python<'_>, text: &'static str) -> PyErr {
    match exceptions::sendfile_not_available_error(py) {
        Ok(class) => PyErr::from_type(class.clone(), text),
        Err(error) => error,
    }
}

/// The descriptor and the size of a regular file, the size as None where there is none.
fn look<'py>(file: &Bound<'py, PyAny>) -> PyResult<[Bound<'py, PyAny>; 2]> {
    let py = file.py();
    let os = os(py)?;
    if !os.hasattr(intern!(py, "sendfile"))? {
        return Err(unavailable(py, "os.sendfile() is not available"));
    }
    let no_file = |error: PyErr| slots::raised_from(py, error, unavailable(py, "not a regular file"));
    let number = match file.call_method0(intern!(py, "fileno")) {
        Ok(number) => number,
        Err(error) => {
            let unsupported =
                face(py, "unix_events")?.getattr(intern!(py, "io"))?.getattr(slots::Text("UnsupportedOperation"))?;
            let expected = error.is_instance_of::<PyAttributeError>(py) || error.is_instance(py, &unsupported);
            return Err(if expected { no_file(error) } else { error });
        }
    };
    match os.call_method1(intern!(py, "fstat"), (&number,)) {
        Ok(status) => Ok([number, status.getattr(intern!(py, "st_size"))?]),
        Err(error) if error.is_instance_of::<PyOSError>(py) => Err(no_file(error)),
        Err(error) => Err(error),
    }
}

/// What the shell awaits: a future, or None if there is nothing to send.
fn begin<'py>(this: &Ref<'py, UnixSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = this.py();
    let [socket, file, offset, count] = args.positional() else {
        return Err(PyTypeError::new_err("_begin_sendfile() takes four arguments"));
    };
    let [number, size] = look(file)?;
    let block = if count.is_truthy()? { count.clone() } else { size };
    if !block.is_truthy()? {
        return Ok(None);
    }
    let future = create_future(this.any())?;
    let none = py.None();
    let arguments = (&future, none, socket, number, offset, count, block, 0);
    this.any().call_method1(intern!(py, "_sock_sendfile_native_impl"), arguments)?;
    Ok(Some(future))
}

/// `_sock_sendfile_native_impl`: one call of `os.sendfile`, and what comes of it.
fn step<'py>(this: &Ref<'py, UnixSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<()> {
    const SIGNATURE: Signature<8> = Signature::method(
        "_UnixSelectorEventLoop._sock_sendfile_native_impl",
        [
            arg("fut"),
            arg("registered_fd"),
            arg("sock"),
            arg("fileno"),
            arg("offset"),
            arg("count"),
            arg("blocksize"),
            arg("total_sent"),
        ],
    );
    let py = this.py();
    let [Some(future), Some(watched), Some(socket), Some(number), Some(offset), Some(count), Some(block), Some(sent)] =
        args.parse(&SIGNATURE)?
    else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    let fd = socket.call_method0(intern!(py, "fileno"))?;
    let is_first = watched.is_none();
    if !is_first {
        this.any().call_method1(intern!(py, "remove_writer"), (watched,))?;
    }
    let put_position = |offset: &Bound<'py, PyAny>| -> PyResult<()> {
        let name = intern!(py, "_sock_sendfile_update_filepos");
        match slots::VERSION >= (3, 13) {
            true => this.any().call_method1(name, (number, offset)),
            false => this.any().call_method1(name, (number, offset, sent)),
        }
        .map(drop)
    };
    let end = |method: &str, value: &Bound<'py, PyAny>| -> PyResult<()> {
        put_position(offset)?;
        future.call_method1(slots::Text(method), (value,)).map(drop)
    };
    if future.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
        return put_position(offset);
    }
    let mut block = block.clone();
    if count.is_truthy()? {
        block = count.sub(sent)?;
        if block.le(0)? {
            return end("set_result", sent);
        }
    }
    if block.gt(MOST)? {
        block = MOST.into_pyobject(py)?.into_any();
    }
    let wait = |offset: &Bound<'py, PyAny>, sent: &Bound<'py, PyAny>| -> PyResult<()> {
        if is_first {
            this.any().call_method1(intern!(py, "_sock_add_cancellation_callback"), (future, socket))?;
        }
        let again = this.any().getattr(intern!(py, "_sock_sendfile_native_impl"))?;
        let arguments = [&fd, &again, future, &fd, socket, number, offset, count, &block, sent];
        this.any().call_method1(intern!(py, "add_writer"), slots::tuple(py, arguments)?).map(drop)
    };
    match os(py)?.call_method1(intern!(py, "sendfile"), (&fd, number, offset, &block)) {
        Ok(now) if now.eq(0)? => end("set_result", sent),
        Ok(now) => wait(&offset.add(&now)?, &sent.add(&now)?),
        Err(error)
            if error.is_instance_of::<PyBlockingIOError>(py) || error.is_instance_of::<PyInterruptedError>(py) =>
        {
            wait(offset, sent)
        }
        Err(error) if error.is_instance_of::<PyOSError>(py) => {
            let error = error_object(py, error);
            let error = if is_first { error } else { normalized(error)? };
            if sent.eq(0)? {
                return end("set_exception", &error_object(py, unavailable(py, "os.sendfile call failed")));
            }
            end("set_exception", &error)
        }
        Err(error) if error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py) => {
            Err(error)
        }
        Err(error) => end("set_exception", &error_object(py, error)),
    }
}

fn error_object(py: Python<'_>, error: PyErr) -> Bound<'_, PyAny> {
    error.into_value(py).into_bound(py).into_any()
}

/// ENOTCONN in the middle is what some systems say where others say that the connection is lost.
fn normalized(error: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let py = error.py();
    let not_connected = face(py, "unix_events")?.getattr(intern!(py, "errno"))?.getattr(intern!(py, "ENOTCONN"))?;
    let class = py.get_type::<PyConnectionError>();
    if !error.getattr(intern!(py, "errno"))?.eq(&not_connected)? || error.get_type().is(&class) {
        return Ok(error);
    }
    let lost = slots::raise(&class.call1(("socket is not connected", not_connected))?);
    lost.set_cause(py, Some(PyErr::from_value(error)));
    Ok(error_object(py, lost))
}

/// `_sock_sendfile_update_filepos`: from 3.13.10 in any case, before that if something was sent.
fn update_position(args: &Args<'_, '_>) -> PyResult<()> {
    const SIGNATURE: Signature<3> = Signature::method(
        "_UnixSelectorEventLoop._sock_sendfile_update_filepos",
        [arg("fileno"), arg("offset"), opt("total_sent")],
    );
    let (number, offset) = match args.parse(&SIGNATURE)? {
        [Some(number), Some(offset), sent] if sent.is_none_or(|sent| sent.gt(0).unwrap_or(true)) => (number, offset),
        _ => return Ok(()),
    };
    let os = os(number.py())?;
    os.call_method1(slots::Text("lseek"), (number, offset, os.getattr(slots::Text("SEEK_SET"))?)).map(drop)
}

/// `_sock_add_cancellation_callback`: a future that is cancelled takes its writer with it.
fn watch_cancellation<'py>(this: &Ref<'py, UnixSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<()> {
    let py = this.py();
    const SIGNATURE: Signature<2> =
        Signature::method("_UnixSelectorEventLoop._sock_add_cancellation_callback", [arg("fut"), arg("sock")]);
    let [Some(future), Some(socket)] = args.parse(&SIGNATURE)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    let done = this.any().getattr(intern!(py, "_sock_sendfile_done"))?;
    let callback = library(py, "functools")?.getattr(intern!(py, "partial"))?.call1((done, socket))?;
    future.call_method1(intern!(py, "add_done_callback"), (callback,)).map(drop)
}

fn done<'py>(this: &Ref<'py, UnixSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<()> {
    let py = this.py();
    let [socket, future] = args.positional() else {
        return Err(PyTypeError::new_err("_sock_sendfile_done() takes a socket and a future"));
    };
    if !future.call_method0(intern!(py, "cancelled"))?.is_truthy()? {
        return Ok(());
    }
    let fd = socket.call_method0(intern!(py, "fileno"))?;
    if fd.ne(-1)? {
        this.any().call_method1(intern!(py, "remove_writer"), (fd,))?;
    }
    Ok(())
}

pub(super) fn define(spec: &mut Spec<UnixSelectorEventLoop>) {
    spec.method(
        c"_begin_sendfile",
        c"_begin_sendfile($self, sock, file, offset, count, /)\n--\n\n\
        The future behind _sock_sendfile_native(), or None if there is nothing to send.",
        |this, args| Ok(begin(this, args)?.map(Own::new)),
    )
    .method(
        c"_sock_sendfile_native_impl",
        c"_sock_sendfile_native_impl($self, /, fut, registered_fd, sock, fileno, offset, count, blocksize, total_sent)\n--\n\n\
        Send a part of a file, and go on when the socket can be written.",
        step,
    )
    .method(
        c"_sock_sendfile_update_filepos",
        c"_sock_sendfile_update_filepos($self, /, fileno, offset, total_sent=1)\n--\n\nPut a file at a position.",
        |_, args| update_position(args),
    )
    .method(
        c"_sock_add_cancellation_callback",
        c"_sock_add_cancellation_callback($self, /, fut, sock)\n--\n\nA cancelled future removes its writer.",
        watch_cancellation,
    )
    .method(c"_sock_sendfile_done", c"_sock_sendfile_done($self, sock, fut, /)\n--\n\nRemove a cancelled future's writer.", done);
}
