//! `create_connection`: a connected socket under a transport (RFC 8305 where `happy_eyeballs_delay` is given).
//!
//! Called by the shell, which gives all arguments by position; calls `resolve` for the addresses, `staggered` for attempts that
//! overlap, the loop's own `sock_connect`, and `connect_transport` at the end.
//!
//! Addresses are tried in order, or overlapping. The first that connects wins, the sockets of all others are closed. If none
//! does, all errors come together: as a group with `all_errors`, alone if they say the same, else in one text.
//!
//! Each attempt has a list of its own for its errors: the list of lists is in the order of the attempts.
//!
//! Invariant: a socket made here is closed on every way out but success, cancellation included; one that the user gave
//! (`sock`) is the user's until it is under a transport.

use pyo3::exceptions::{PyOSError, PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use slots::intern;
use slots::{Args, Co, Kept, Own, Ref, Signature, Spec, arg};

use super::resolve::{interleave, look_up};
use super::{
    BaseEventLoop, Tls, check_ssl_socket, close_new, connect_transport, is_debug, none, socket_module,
    stream_socket_expected, tls_options,
};
use crate::log::logger;
use crate::{face, library};

/// One attempt to connect: a socket, or an OSError; all errors of the attempt go to a list of their own in `errors`.
fn connect_one<'py>(
    event_loop: &Bound<'py, PyAny>,
    errors: &Bound<'py, PyAny>,
    info: &Bound<'py, PyAny>,
    local: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let own = slots::list(py)?;
    errors.call_method1(intern!(py, "append"), (&own,))?;
    let local = local.cloned().unwrap_or_else(|| none(py));
    let kept = [event_loop.clone(), own.into_any(), info.clone(), local];
    slots::coroutine(py, "BaseEventLoop._connect_sock", kept, |co, [event_loop, errors, info, local]| async move {
        let socket = match open_socket(co.py(), &co.get(info), &co.get(local), &co.get(errors)) {
            Ok(socket) => co.keep(socket),
            Err(error) => {
                note(&co, errors, &error)?;
                return Err(error);
            }
        };
        let connecting = {
            let py = co.py();
            let address = co.get(info).get_item(4)?;
            let made = co.get(event_loop).call_method1(intern!(py, "sock_connect"), (co.get(socket), address));
            match made {
                Ok(connecting) => co.keep(connecting),
                Err(error) => {
                    note(&co, errors, &error)?;
                    close_new(&co.get(socket))?;
                    return Err(error);
                }
            }
        };
        match co.wait(connecting).await {
            Ok(_) => Ok(co.get(socket).into()),
            Err(error) => {
                note(&co, errors, &error)?;
                close_new(&co.get(socket))?;
                Err(error)
            }
        }
    })
}

/// Adds an OSError to the list of the attempt.
fn note(co: &Co, errors: Kept, error: &PyErr) -> PyResult<()> {
    let py = co.py();
    if error.is_instance_of::<PyOSError>(py) {
        co.get(errors).call_method1(intern!(py, "append"), (error.value(py),))?;
    }
    Ok(())
}

/// A non-blocking socket for an address info, bound to the first local address that works.
fn open_socket<'py>(
    py: Python<'py>,
    info: &Bound<'py, PyAny>,
    local: &Bound<'py, PyAny>,
    errors: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let keywords = slots::dict(py)?;
    for (name, at) in [("family", 0), ("type", 1), ("proto", 2)] {
        keywords.set_item(name, info.get_item(at)?)?;
    }
    let socket = socket_module(py)?.getattr(intern!(py, "socket"))?.call((), Some(&keywords))?;
    match bind_local(&socket, info, local, errors) {
        Ok(()) => Ok(socket),
        Err(error) => {
            close_new(&socket)?;
            Err(error)
        }
    }
}

fn bind_local<'py>(
    socket: &Bound<'py, PyAny>,
    info: &Bound<'py, PyAny>,
    local: &Bound<'py, PyAny>,
    errors: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = socket.py();
    socket.call_method1(intern!(py, "setblocking"), (false,))?;
    if local.is_none() {
        return Ok(());
    }
    let family = info.get_item(0)?;
    for candidate in local.try_iter()? {
        let candidate = candidate?;
        // A socket cannot be bound to an address of another family.
        if candidate.get_item(0)?.ne(&family)? {
            continue;
        }
        let address = candidate.get_item(4)?;
        match socket.call_method1(intern!(py, "bind"), (&address,)) {
            Ok(_) => return Ok(()),
            Err(error) if error.is_instance_of::<PyOSError>(py) => {
                let reason = error.value(py).str()?.to_string().to_lowercase();
                let text = format!("error while attempting to bind on address {}: {reason}", address.repr()?);
                let errno = error.value(py).getattr(intern!(py, "errno"))?;
                errors.call_method1(intern!(py, "append"), (py.get_type::<PyOSError>().call1((errno, text))?,))?;
            }
            Err(error) => return Err(error),
        }
    }
    if errors.len()? > 0 {
        return Err(slots::raise(&errors.call_method0(intern!(py, "pop"))?));
    }
    Err(PyOSError::new_err(format!("no matching local address with family={} found", family.repr()?)))
}

/// What create_connection() raises when no attempt worked.
fn all_failed<'py>(py: Python<'py>, lists: &Bound<'py, PyAny>, as_group: bool) -> PyErr {
    let failed = || -> PyResult<PyErr> {
        let errors = slots::list(py)?;
        for list in lists.try_iter()? {
            for error in list?.try_iter()? {
                errors.append(error?)?;
            }
        }
        if as_group {
            let group = library(py, "builtins")?.getattr(intern!(py, "ExceptionGroup"))?;
            return Ok(slots::raise(&group.call1(("create_connection failed", errors))?));
        }
        let texts: Vec<String> = errors.iter().map(|e| Ok(e.str()?.to_string())).collect::<PyResult<_>>()?;
        match texts.first() {
            None if slots::VERSION >= (3, 13) => Ok(PyTimeoutError::new_err("create_connection failed")),
            None => Ok(PyOSError::new_err("Multiple exceptions: ")),
            Some(first) if texts.iter().all(|text| text == first) => Ok(slots::raise(&errors.get_item(0)?)),
            Some(_) => Ok(PyOSError::new_err(format!("Multiple exceptions: {}", texts.join(", ")))),
        }
    };
    failed().unwrap_or_else(|error| error)
}

const CONNECTION: Signature<15> = Signature::method(
    "BaseEventLoop.create_connection",
    [
        arg("protocol_factory"),
        arg("host"),
        arg("port"),
        arg("ssl"),
        arg("family"),
        arg("proto"),
        arg("flags"),
        arg("sock"),
        arg("local_addr"),
        arg("server_hostname"),
        arg("ssl_handshake_timeout"),
        arg("ssl_shutdown_timeout"),
        arg("happy_eyeballs_delay"),
        arg("interleave"),
        arg("all_errors"),
    ],
);
pub(super) fn create_connection<'py>(
    this: &Ref<'py, BaseEventLoop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let given = args.parse(&CONNECTION)?.map(|value| value.filter(|v| !v.is_none()));
    let [
        factory,
        host,
        port,
        ssl,
        family,
        proto,
        flags,
        socket,
        local,
        hostname,
        handshake,
        shutdown,
        delay,
        order,
        group,
    ] = given;
    let tls = ssl.map_or(Ok(false), |s| s.is_truthy())?;
    let only_with_ssl = |value: Option<&Bound<'py, PyAny>>, name: &str| match value {
        Some(_) if !tls => Err(PyValueError::new_err(format!("{name} is only meaningful with ssl"))),
        _ => Ok(()),
    };
    only_with_ssl(hostname, "server_hostname")?;
    if tls && hostname.is_none() && !host.map_or(Ok(false), |h| h.is_truthy())? {
        return Err(PyValueError::new_err("You must set server_hostname when using ssl without a host"));
    }
    only_with_ssl(handshake, "ssl_handshake_timeout")?;
    only_with_ssl(shutdown, "ssl_shutdown_timeout")?;
    if let Some(socket) = socket {
        check_ssl_socket(socket)?;
    }
    let order: usize = match (order, delay) {
        (Some(order), _) => order.extract()?,
        (None, Some(_)) => 1,
        (None, None) => 0,
    };
    let has_address = host.is_some() || port.is_some();
    if has_address && socket.is_some() {
        return Err(PyValueError::new_err("host/port and sock can not be specified at the same time"));
    }
    match socket {
        Some(socket) => stream_socket_expected(socket)?,
        None if !has_address => {
            return Err(PyValueError::new_err("host and port was not specified and no sock specified"));
        }
        None => {}
    }
    let as_group = group.map_or(Ok(false), |g| g.is_truthy())?;
    let or_none = |value: Option<&Bound<'py, PyAny>>| value.cloned().unwrap_or_else(|| none(py));
    let address = slots::tuple(py, [or_none(host), or_none(port)])?.into_any();
    let options = slots::tuple(py, [or_none(family), or_none(proto), or_none(flags)])?.into_any();
    let kept = [
        this.any().clone(),
        or_none(factory),
        or_none(socket),
        address,
        options,
        or_none(local),
        or_none(delay),
        slots::list(py)?.into_any(),
        tls_options(py, Tls { context: ssl, server_side: false, hostname: hostname.or(host), handshake, shutdown })?,
    ];
    slots::coroutine(py, "BaseEventLoop.create_connection", kept, move |co, kept| async move {
        let [event_loop, factory, socket, address, options, local, delay, errors, tls] = kept;
        let socket = if has_address {
            let wanted = [event_loop, address, options, local, delay, errors];
            let connected = connect_any(&co, wanted, order, as_group).await?;
            co.keep(connected.into_bound(co.py()))
        } else {
            socket
        };
        let connected = connect_transport(&co, [event_loop, socket, factory, tls], has_address).await?;
        log_connected(&co, event_loop, address, &connected)?;
        Ok(connected)
    })
}

/// Debug mode's record of a new connection.
fn log_connected(co: &Co, event_loop: Kept, address: Kept, connected: &Own) -> PyResult<()> {
    let py = co.py();
    if !is_debug(&co.get(event_loop)) {
        return Ok(());
    }
    let (transport, protocol) = connected.bind(py).extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
    let (host, port) = co.get(address).extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
    let socket = transport.call_method1(intern!(py, "get_extra_info"), (intern!(py, "socket"),))?;
    let logger = logger(py, "base_events")?;
    let text = "%r connected to %s:%r: (%r, %r)";
    logger.log("debug", (text, socket, host, port, transport, protocol)).map(drop)
}

/// Resolves and tries the addresses until one is connected.
async fn connect_any(co: &Co, kept: [Kept; 6], order: usize, as_group: bool) -> PyResult<Own> {
    let [event_loop, address, options, local, delay, errors] = kept;
    let infos = look_up(co, event_loop, address, options).await?;
    let local_infos = if co.get(local).is_none() { local } else { look_up(co, event_loop, local, options).await? };
    if order > 0 {
        let ordered = interleave(&co.get(infos), order)?;
        co.change(infos, ordered);
    }
    if !co.get(delay).is_none() {
        let racing = {
            let py = co.py();
            let attempts = slots::list(py)?;
            for info in co.get(infos).try_iter()? {
                let local = co.get(local_infos);
                let attempt = Attempt::make(py, [co.get(event_loop), co.get(errors), info?, local])?;
                attempts.append(attempt)?;
            }
            let keywords = slots::dict(py)?;
            keywords.set_item(intern!(py, "loop"), co.get(event_loop))?;
            let race = face(py, "staggered")?.getattr(intern!(py, "staggered_race"))?;
            co.keep(race.call((attempts, co.get(delay)), Some(&keywords))?)
        };
        let raced = co.wait(racing).await?;
        let winner = raced.bind(co.py()).get_item(0)?;
        if !winner.is_none() {
            return Ok(winner.into());
        }
        return Err(all_failed(co.py(), &co.get(errors), as_group));
    }
    let count = co.get(infos).len()?;
    for at in 0..count {
        let connecting = {
            let info = co.get(infos).get_item(at)?;
            let local = Some(co.get(local_infos)).filter(|l| !l.is_none());
            co.keep(connect_one(&co.get(event_loop), &co.get(errors), &info, local.as_ref())?)
        };
        match co.wait(connecting).await {
            Ok(socket) => return Ok(socket),
            Err(error) if error.is_instance_of::<PyOSError>(co.py()) => {}
            Err(error) => return Err(error),
        }
    }
    Err(all_failed(co.py(), &co.get(errors), as_group))
}

slots::class! {
    /// A callable that makes one attempt to connect, for the staggered race.
    pub struct Attempt {
        event_loop: slots::Slot,
        errors: slots::Slot,
        info: slots::Slot,
        local: slots::Slot,
    }
}

impl Attempt {
    fn make<'py>(
        py: Python<'py>,
        [event_loop, errors, info, local]: [Bound<'py, PyAny>; 4],
    ) -> PyResult<Bound<'py, PyAny>> {
        let slot = slots::Slot::of;
        let attempt =
            Attempt { event_loop: slot(event_loop), errors: slot(errors), info: slot(info), local: slot(local) };
        Ok(Ref::create(py, attempt)?.into_any())
    }
}

impl slots::Class for Attempt {
    const NAME: &'static std::ffi::CStr = c"rasyncio.base_events._Attempt";
    const CALLABLE: bool = false;

    fn define(spec: &mut Spec<Self>) {
        spec.call(|this, _| {
            let py = this.py();
            let local = this.local.get(py).filter(|l| !l.is_none());
            let (event_loop, errors) = (this.event_loop.get_or_none(py), this.errors.get_or_none(py));
            connect_one(&event_loop, &errors, &this.info.get_or_none(py), local.as_ref()).map(Own::new)
        });
    }
}
