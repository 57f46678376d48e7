//! `_sendfile_native`: a file over a transport, by the loop's `sock_sendfile` on the transport's own socket.
//!
//! Called by `BaseEventLoop.sendfile` through the shell; calls the transport by its own methods.
//!
//! States: what the transport has buffered is sent first -> the file is sent, and the transport takes no writes -> the
//! transport is as before. Reading is paused throughout.
//!
//! Invariant: the transport gets its descriptor, its reading and its writing back on every way out. asyncio does not give
//! them back to a transport whose buffer was still being sent when the caller was cancelled.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Co, Kept, Own, Ref, Spec};

use super::BaseSelectorEventLoop;

/// Sends the file once the transport's buffer is empty.
async fn send(co: &Co, event_loop: Kept, given: [Kept; 4]) -> PyResult<Own> {
    let [transport, file, offset, count] = given;
    let emptied = co.keep(co.get(transport).call_method0(intern!(co.py(), "_make_empty_waiter"))?);
    let sent = match co.wait(emptied).await {
        Err(error) => Err(error),
        Ok(_) => match begin(co, event_loop, [transport, file, offset, count]) {
            Ok(sending) => co.wait(sending).await,
            Err(error) => Err(error),
        },
    };
    co.get(transport).call_method0(intern!(co.py(), "_reset_empty_waiter"))?;
    sent
}

fn begin(co: &Co, event_loop: Kept, given: [Kept; 4]) -> PyResult<Kept> {
    let py = co.py();
    let [transport, file, offset, count] = given.map(|kept| co.get(kept));
    let keywords = slots::dict(py)?;
    keywords.set_item(intern!(py, "fallback"), false)?;
    let socket = transport.getattr(intern!(py, "_sock"))?;
    let send = co.get(event_loop).getattr(intern!(py, "sock_sendfile"))?;
    Ok(co.keep(send.call((socket, file, offset, count), Some(&keywords))?))
}

fn sendfile<'py>(this: &Ref<'py, BaseSelectorEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let [transport, file, offset, count] = args.positional() else {
        return Err(PyTypeError::new_err("_send_natively() takes four arguments"));
    };
    let fd = transport.getattr(intern!(py, "_sock_fd"))?;
    this.any().getattr(intern!(py, "_transports"))?.del_item(&fd)?;
    let was_reading = transport.call_method0(intern!(py, "is_reading"))?.is_truthy()?;
    transport.call_method0(intern!(py, "pause_reading"))?;
    let kept = [this.any().clone(), fd, transport.clone(), file.clone(), offset.clone(), count.clone()];
    slots::coroutine(py, "BaseSelectorEventLoop._sendfile_native", kept, move |co, kept| async move {
        let [event_loop, fd, transport, file, offset, count] = kept;
        let sent = send(&co, event_loop, [transport, file, offset, count]).await;
        let py = co.py();
        let transport = co.get(transport);
        if was_reading {
            transport.call_method0(intern!(py, "resume_reading"))?;
        }
        co.get(event_loop).getattr(intern!(py, "_transports"))?.set_item(co.get(fd), transport)?;
        sent
    })
}

pub(super) fn define(spec: &mut Spec<BaseSelectorEventLoop>) {
    spec.method(
        c"_send_natively",
        c"_send_natively($self, transp, file, offset, count, /)\n--\n\nThe body of _sendfile_native().",
        |this, args| sendfile(this, args).map(Own::new),
    );
}
