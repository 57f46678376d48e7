//! Making connections and servers: `create_connection`, `create_server`, `connect_accepted_socket`, `getaddrinfo`.
//!
//! Called by the shells on the face, which give all arguments by position; calls the executor for names, the socket module
//! (by the face's name `socket`, so that patches to it hold), and the loop's own methods for connecting and transports.
//!
//! A numeric host is answered at once, without the executor. A socket that was made here is closed on every way out but
//! success, cancellation included.

use pyo3::exceptions::{PyNotImplementedError, PyOSError, PyTimeoutError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyModule, PySet, PyString, PyTuple};
use slots::{Args, Co, Kept, Own, Ref, Signature, Spec, add_function, arg, opt};

use super::{BaseEventLoop, create_future};
use crate::face;

fn socket_module(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    face(py, "base_events")?.getattr(intern!(py, "socket"))
}

fn constant(py: Python<'_>, name: &str) -> PyResult<i64> {
    socket_module(py)?.getattr(name)?.extract()
}

fn none(py: Python<'_>) -> Bound<'_, PyAny> {
    py.None().into_bound(py)
}

/// The address info of a numeric host, or None where a look-up is needed.
fn ipaddr_info<'py>(py: Python<'py>, given: &[Option<&Bound<'py, PyAny>>; 7]) -> PyResult<Option<Bound<'py, PyAny>>> {
    let [Some(host), Some(port), Some(family), Some(kind), Some(proto), flow, scope] = given else { return Ok(None) };
    let socket = socket_module(py)?;
    if !socket.hasattr(intern!(py, "inet_pton"))? || host.is_none() {
        return Ok(None);
    }
    let (tcp, udp) = (constant(py, "IPPROTO_TCP")?, constant(py, "IPPROTO_UDP")?);
    if ![0, tcp, udp].contains(&proto.extract::<i64>()?) {
        return Ok(None);
    }
    let proto = match kind.extract::<i64>()? {
        kind if kind == constant(py, "SOCK_STREAM")? => tcp,
        kind if kind == constant(py, "SOCK_DGRAM")? => udp,
        _ => return Ok(None),
    };
    let is_empty = |value: &Bound<'py, PyAny>| -> PyResult<bool> {
        Ok((value.is_instance_of::<PyString>() || value.is_instance_of::<pyo3::types::PyBytes>()) && value.len()? == 0)
    };
    let port = if port.is_none() || is_empty(port)? {
        0i32.into_pyobject(py)?.into_any()
    } else {
        match py.get_type::<pyo3::types::PyInt>().call1((*port,)) {
            Ok(port) => port,
            Err(error) if error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyValueError>(py) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    };
    let host = if host.is_instance_of::<pyo3::types::PyBytes>() {
        host.call_method1(intern!(py, "decode"), ("idna",))?
    } else {
        (*host).clone()
    };
    if host.contains("%")? {
        // A scoped address is getaddrinfo's business.
        return Ok(None);
    }
    let six = face(py, "base_events")?.getattr(intern!(py, "_HAS_IPv6"))?.is_truthy()?;
    let inet6 = socket.getattr_opt(intern!(py, "AF_INET6"))?;
    let unspecified = socket.getattr(intern!(py, "AF_UNSPEC"))?;
    let mut families = vec![(*family).clone()];
    if family.eq(&unspecified)? {
        families = vec![socket.getattr(intern!(py, "AF_INET"))?];
        if let (true, Some(inet6)) = (six, &inet6) {
            families.push(inet6.clone());
        }
    }
    for family in families {
        match socket.call_method1(intern!(py, "inet_pton"), (&family, &host)) {
            Ok(_) => {
                let is_six = six && inet6.as_ref().is_some_and(|inet6| family.eq(inet6).unwrap_or(false));
                let zero = 0i32.into_pyobject(py)?.into_any();
                let address = if is_six {
                    let (flow, scope) = (flow.unwrap_or(&zero), scope.unwrap_or(&zero));
                    PyTuple::new(py, [host, port, flow.clone(), scope.clone()])?
                } else {
                    PyTuple::new(py, [host, port])?
                };
                return Ok(Some((family, (*kind).clone(), proto, "", address).into_pyobject(py)?.into_any()));
            }
            Err(error) if error.is_instance_of::<PyOSError>(py) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Addresses reordered so that families take turns, after `first` of the first family.
fn interleave<'py>(infos: &Bound<'py, PyAny>, first: usize) -> PyResult<Bound<'py, PyAny>> {
    let py = infos.py();
    let mut families: Vec<(Bound<'py, PyAny>, std::collections::VecDeque<Bound<'py, PyAny>>)> = Vec::new();
    for info in infos.try_iter()? {
        let info = info?;
        let family = info.get_item(0)?;
        let mut place = None;
        for (at, (known, _)) in families.iter().enumerate() {
            if known.eq(&family)? {
                place = Some(at);
            }
        }
        match place {
            Some(at) => families[at].1.push_back(info),
            None => families.push((family, [info].into())),
        }
    }
    let ordered = PyList::empty(py);
    if let Some((_, list)) = families.first_mut() {
        for _ in 1..first {
            if let Some(info) = list.pop_front() {
                ordered.append(info)?;
            }
        }
    }
    while families.iter().any(|(_, list)| !list.is_empty()) {
        for (_, list) in &mut families {
            if let Some(info) = list.pop_front() {
                ordered.append(info)?;
            }
        }
    }
    Ok(ordered.into_any())
}

fn set_nodelay(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = socket.py();
    let number = |name: &str| -> PyResult<i64> { socket.getattr(name)?.extract() };
    let family = number("family")?;
    if (family == constant(py, "AF_INET")? || family == constant(py, "AF_INET6")?)
        && number("type")? == constant(py, "SOCK_STREAM")?
        && number("proto")? == constant(py, "IPPROTO_TCP")?
    {
        let (level, option) = (constant(py, "IPPROTO_TCP")?, constant(py, "TCP_NODELAY")?);
        socket.call_method1(intern!(py, "setsockopt"), (level, option, 1))?;
    }
    Ok(())
}

fn check_ssl_socket(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = socket.py();
    // Nobody can have an SSLSocket without the ssl module.
    let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?;
    let ssl = modules.call_method1(intern!(py, "get"), ("ssl",))?;
    if !ssl.is_none() && socket.is_instance(&ssl.getattr(intern!(py, "SSLSocket"))?)? {
        return Err(PyTypeError::new_err("Socket cannot be of type SSLSocket"));
    }
    Ok(())
}

fn no_tls() -> PyErr {
    PyNotImplementedError::new_err("rasyncio has no TLS yet")
}

fn stream_socket_expected(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = socket.py();
    if socket.getattr(intern!(py, "type"))?.extract::<i64>()? == constant(py, "SOCK_STREAM")? {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("A Stream Socket was expected, got {}", socket.repr()?)))
}

/// `_ensure_resolved`: an address as a list of address infos.
fn ensure_resolved<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const SIGNATURE: Signature<6> = Signature::method(
        "_ensure_resolved",
        [arg("address"), opt("family"), opt("type"), opt("proto"), opt("flags"), opt("loop")],
    );
    let py = this.py();
    let [Some(address), family, kind, proto, flags, event_loop] = args.parse(&SIGNATURE)? else {
        return Err(PyTypeError::new_err("address is missing"));
    };
    let zero = 0i32.into_pyobject(py)?.into_any();
    let stream = socket_module(py)?.getattr(intern!(py, "SOCK_STREAM"))?;
    let (family, kind) = (family.unwrap_or(&zero), kind.unwrap_or(&stream));
    let (proto, flags) = (proto.unwrap_or(&zero), flags.unwrap_or(&zero));
    let event_loop = event_loop.cloned().unwrap_or_else(|| this.any().clone());
    let (host, port) = (address.get_item(0)?, address.get_item(1)?);
    let more = |at: usize| address.get_item(at).ok();
    let (flow, scope) = (more(2), more(3));
    let given = [Some(&host), Some(&port), Some(family), Some(kind), Some(proto), flow.as_ref(), scope.as_ref()];
    if let Some(info) = ipaddr_info(py, &given)? {
        let list = PyList::new(py, [info])?.into_any();
        return slots::coroutine(py, "BaseEventLoop._ensure_resolved", [list], |co, [list]| async move {
            Ok(co.get(list).into())
        });
    }
    let keywords = PyDict::new(py);
    for (name, value) in [("family", family), ("type", kind), ("proto", proto), ("flags", flags)] {
        keywords.set_item(name, value)?;
    }
    let looking = event_loop.getattr(intern!(py, "getaddrinfo"))?.call((host, port), Some(&keywords))?;
    slots::coroutine(py, "BaseEventLoop._ensure_resolved", [looking], |co, [looking]| async move {
        co.wait(&co.get(looking)).await
    })
}

/// Calls `_ensure_resolved` by name, as overriding loops expect.
fn resolve<'py>(
    event_loop: &Bound<'py, PyAny>,
    address: Bound<'py, PyAny>,
    options: [&Bound<'py, PyAny>; 3],
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let keywords = PyDict::new(py);
    for (name, value) in ["family", "proto", "flags"].into_iter().zip(options) {
        keywords.set_item(name, value)?;
    }
    keywords.set_item(intern!(py, "type"), socket_module(py)?.getattr(intern!(py, "SOCK_STREAM"))?)?;
    keywords.set_item(intern!(py, "loop"), event_loop)?;
    event_loop.getattr(intern!(py, "_ensure_resolved"))?.call((address,), Some(&keywords))
}

/// Closes a socket that was made here and is not needed; an OSError of that is of no interest to anybody.
fn close_new(socket: &Bound<'_, PyAny>) -> PyResult<()> {
    match socket.call_method0(intern!(socket.py(), "close")) {
        Err(error) if !error.is_instance_of::<PyOSError>(socket.py()) => Err(error),
        _ => Ok(()),
    }
}

/// One attempt to connect: a socket, or an OSError; all errors of the attempt go to a list of their own in `errors`.
fn connect_one<'py>(
    event_loop: &Bound<'py, PyAny>,
    errors: &Bound<'py, PyAny>,
    info: &Bound<'py, PyAny>,
    local: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let own = PyList::empty(py);
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
        match co.wait(&co.get(connecting)).await {
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
    let keywords = PyDict::new(py);
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
        return Err(PyErr::from_value(errors.call_method0(intern!(py, "pop"))?));
    }
    Err(PyOSError::new_err(format!("no matching local address with family={} found", family.str()?)))
}

/// What create_connection() raises when no attempt worked.
fn all_failed<'py>(py: Python<'py>, lists: &Bound<'py, PyAny>, as_group: bool) -> PyErr {
    let failed = || -> PyResult<PyErr> {
        let errors = PyList::empty(py);
        for list in lists.try_iter()? {
            for error in list?.try_iter()? {
                errors.append(error?)?;
            }
        }
        if as_group {
            let group = py.import(intern!(py, "builtins"))?.getattr(intern!(py, "ExceptionGroup"))?;
            return Ok(PyErr::from_value(group.call1(("create_connection failed", errors))?));
        }
        let texts: Vec<String> = errors.iter().map(|e| Ok(e.str()?.to_string())).collect::<PyResult<_>>()?;
        match texts.first() {
            None if slots::VERSION >= (3, 13) => Ok(PyTimeoutError::new_err("create_connection failed")),
            None => Ok(PyOSError::new_err("Multiple exceptions: ")),
            Some(first) if texts.iter().all(|text| text == first) => Ok(PyErr::from_value(errors.get_item(0)?)),
            Some(_) => Ok(PyOSError::new_err(format!("Multiple exceptions: {}", texts.join(", ")))),
        }
    };
    failed().unwrap_or_else(|error| error)
}

/// The transport and protocol for a connected socket: `_create_connection_transport`. Until the transport has taken it over,
/// a socket that is `ours` is closed if something fails.
async fn connect_transport(co: &Co, event_loop: Kept, socket: Kept, factory: Kept, ours: bool) -> PyResult<Own> {
    let (transport, protocol, waiter) = match begin_transport(co, event_loop, socket, factory) {
        Ok([transport, protocol, waiter]) => (co.keep(transport), co.keep(protocol), co.keep(waiter)),
        Err(error) => {
            if ours {
                co.get(socket).call_method0(intern!(co.py(), "close"))?;
            }
            return Err(error);
        }
    };
    if let Err(error) = co.wait(&co.get(waiter)).await {
        co.get(transport).call_method0(intern!(co.py(), "close"))?;
        return Err(error);
    }
    let py = co.py();
    Ok(PyTuple::new(py, [co.get(transport), co.get(protocol)])?.into_any().into())
}

fn begin_transport(co: &Co, event_loop: Kept, socket: Kept, factory: Kept) -> PyResult<[Bound<'_, PyAny>; 3]> {
    let py = co.py();
    co.get(socket).call_method1(intern!(py, "setblocking"), (false,))?;
    let protocol = co.get(factory).call0()?;
    let event_loop = co.get(event_loop);
    let waiter = create_future(&event_loop)?;
    let arguments = (co.get(socket), &protocol, &waiter);
    let transport = event_loop.call_method1(intern!(py, "_make_socket_transport"), arguments)?;
    Ok([transport, protocol, waiter])
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

fn create_connection<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
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
    if tls {
        return Err(no_tls());
    }
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
    let address = PyTuple::new(py, [or_none(host), or_none(port)])?.into_any();
    let options = PyTuple::new(py, [or_none(family), or_none(proto), or_none(flags)])?.into_any();
    let kept = [
        this.any().clone(),
        or_none(factory),
        or_none(socket),
        address,
        options,
        or_none(local),
        or_none(delay),
        PyList::empty(py).into_any(),
    ];
    slots::coroutine(py, "BaseEventLoop.create_connection", kept, move |co, kept| async move {
        let [event_loop, factory, socket, address, options, local, delay, errors] = kept;
        let socket = if has_address {
            let wanted = [event_loop, address, options, local, delay, errors];
            let connected = connect_any(&co, wanted, order, as_group).await?;
            co.keep(connected.into_bound(co.py()))
        } else {
            socket
        };
        connect_transport(&co, event_loop, socket, factory, has_address).await
    })
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
            let attempts = PyList::empty(py);
            for info in co.get(infos).try_iter()? {
                let local = co.get(local_infos);
                let attempt = Attempt::make(py, [co.get(event_loop), co.get(errors), info?, local])?;
                attempts.append(attempt)?;
            }
            let keywords = PyDict::new(py);
            keywords.set_item(intern!(py, "loop"), co.get(event_loop))?;
            let race = face(py, "staggered")?.getattr(intern!(py, "staggered_race"))?;
            co.keep(race.call((attempts, co.get(delay)), Some(&keywords))?)
        };
        let raced = co.wait(&co.get(racing)).await?;
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
        match co.wait(&co.get(connecting)).await {
            Ok(socket) => return Ok(socket),
            Err(error) if error.is_instance_of::<PyOSError>(co.py()) => {}
            Err(error) => return Err(error),
        }
    }
    Err(all_failed(co.py(), &co.get(errors), as_group))
}

async fn look_up(co: &Co, event_loop: Kept, address: Kept, options: Kept) -> PyResult<Kept> {
    let looking = {
        let options = co.get(options);
        let (family, proto, flags) = (options.get_item(0)?, options.get_item(1)?, options.get_item(2)?);
        co.keep(resolve(&co.get(event_loop), co.get(address), [&family, &proto, &flags])?)
    };
    let infos = co.wait(&co.get(looking)).await?;
    if infos.bind(co.py()).len()? == 0 {
        return Err(PyOSError::new_err("getaddrinfo() returned empty list"));
    }
    Ok(co.keep(infos.into_bound(co.py())))
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

const SERVER: Signature<14> = Signature::method(
    "BaseEventLoop.create_server",
    [
        arg("protocol_factory"),
        arg("host"),
        arg("port"),
        arg("family"),
        arg("flags"),
        arg("sock"),
        arg("backlog"),
        arg("ssl"),
        arg("reuse_address"),
        arg("reuse_port"),
        arg("keep_alive"),
        arg("ssl_handshake_timeout"),
        arg("ssl_shutdown_timeout"),
        arg("start_serving"),
    ],
);

fn create_server<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    let py = this.py();
    let given = args.parse(&SERVER)?.map(|value| value.filter(|v| !v.is_none()));
    let [
        factory,
        host,
        port,
        family,
        flags,
        socket,
        backlog,
        ssl,
        reuse_address,
        reuse_port,
        keep_alive,
        handshake,
        shutdown,
        start,
    ] = given;
    if ssl.is_some_and(|s| s.is_instance_of::<PyBool>()) {
        return Err(PyTypeError::new_err("ssl argument must be an SSLContext or None"));
    }
    for (value, name) in [(handshake, "ssl_handshake_timeout"), (shutdown, "ssl_shutdown_timeout")] {
        if value.is_some() && ssl.is_none() {
            return Err(PyValueError::new_err(format!("{name} is only meaningful with ssl")));
        }
    }
    if ssl.is_some() {
        return Err(no_tls());
    }
    if let Some(socket) = socket {
        check_ssl_socket(socket)?;
    }
    let has_address = host.is_some() || port.is_some();
    if has_address && socket.is_some() {
        return Err(PyValueError::new_err("host/port and sock can not be specified at the same time"));
    }
    match socket {
        Some(socket) => stream_socket_expected(socket)?,
        None if !has_address => return Err(PyValueError::new_err("Neither host/port nor sock were specified")),
        None => {}
    }
    let truth = |value: Option<&Bound<'py, PyAny>>, default: bool| value.map_or(Ok(default), |v| v.is_truthy());
    let options = Options {
        reuse_address: truth(reuse_address, true)?,
        reuse_port: truth(reuse_port, false)?,
        keep_alive: truth(keep_alive, false)?,
    };
    let start = truth(start, false)?;
    let or_none = |value: Option<&Bound<'py, PyAny>>| value.cloned().unwrap_or_else(|| none(py));
    let hosts = PyList::empty(py);
    match host {
        Some(host) if host.eq("")? => hosts.append(none(py))?,
        Some(host) if !host.is_instance_of::<PyString>() && host.try_iter().is_ok() => {
            for host in host.try_iter()? {
                hosts.append(host?)?;
            }
        }
        host => hosts.append(or_none(host))?,
    }
    let kept = [
        this.any().clone(),
        or_none(factory),
        hosts.into_any(),
        or_none(port),
        or_none(family),
        or_none(flags),
        or_none(socket),
        or_none(backlog),
    ];
    slots::coroutine(py, "BaseEventLoop.create_server", kept, move |co, kept| async move {
        let [event_loop, factory, hosts, port, family, flags, socket, backlog] = kept;
        let sockets = if has_address {
            let infos = {
                let py = co.py();
                let looking = PyList::empty(py);
                let keywords = PyDict::new(py);
                keywords.set_item(intern!(py, "family"), co.get(family))?;
                keywords.set_item(intern!(py, "flags"), co.get(flags))?;
                let look = co.get(event_loop).getattr(intern!(py, "_create_server_getaddrinfo"))?;
                for host in co.get(hosts).try_iter()? {
                    looking.append(look.call((host?, co.get(port)), Some(&keywords))?)?;
                }
                co.keep(face(py, "tasks")?.getattr(intern!(py, "gather"))?.call1(looking.to_tuple())?)
            };
            let infos = co.wait(&co.get(infos)).await?;
            bind_all(&co.get(event_loop), infos.bind(co.py()), options)?
        } else {
            PyList::new(co.py(), [co.get(socket)])?
        };
        let server = {
            let py = co.py();
            for socket in &sockets {
                socket.call_method1(intern!(py, "setblocking"), (false,))?;
            }
            let class = face(py, "base_events")?.getattr(intern!(py, "Server"))?;
            let none = py.None();
            co.keep(class.call1((
                co.get(event_loop),
                sockets,
                co.get(factory),
                &none,
                co.get(backlog),
                &none,
                &none,
            ))?)
        };
        if start {
            co.get(server).call_method0(intern!(co.py(), "_start_serving"))?;
            // Let the loop run once, so that the server is listening when this returns.
            co.give(co.py().None().into_bound(co.py())).await?;
        }
        let py = co.py();
        if co.get(event_loop).call_method0(intern!(py, "get_debug"))?.is_truthy()? {
            let logger = face(py, "base_events")?.getattr(intern!(py, "logger"))?;
            logger.call_method1(intern!(py, "info"), ("%r is serving", co.get(server)))?;
        }
        Ok(co.get(server).into())
    })
}

#[derive(Clone, Copy)]
struct Options {
    reuse_address: bool,
    reuse_port: bool,
    keep_alive: bool,
}

/// Bound sockets for all address infos; none is left open if one fails.
fn bind_all<'py>(
    event_loop: &Bound<'py, PyAny>,
    lists: &Bound<'py, PyAny>,
    options: Options,
) -> PyResult<Bound<'py, PyList>> {
    let py = event_loop.py();
    let infos = PySet::empty(py)?;
    for list in lists.try_iter()? {
        for info in list?.try_iter()? {
            infos.add(info?)?;
        }
    }
    let sockets = PyList::empty(py);
    let bound = infos.iter().try_for_each(|info| bind_one(event_loop, &info, options, &sockets));
    let bound = bound.and_then(|()| {
        if !sockets.is_empty() {
            return Ok(());
        }
        let addresses = infos.iter().map(|info| info.get_item(4)).collect::<PyResult<Vec<_>>>()?;
        let list = PyList::new(py, addresses)?;
        Err(PyOSError::new_err(format!("could not bind on any address out of {}", list.repr()?)))
    });
    match bound {
        Ok(()) => Ok(sockets),
        Err(error) => {
            for socket in &sockets {
                socket.call_method0(intern!(py, "close"))?;
            }
            Err(error)
        }
    }
}

fn bind_one<'py>(
    event_loop: &Bound<'py, PyAny>,
    info: &Bound<'py, PyAny>,
    options: Options,
    sockets: &Bound<'py, PyList>,
) -> PyResult<()> {
    let py = event_loop.py();
    let module = socket_module(py)?;
    let base_events = face(py, "base_events")?;
    let debug = event_loop.call_method0(intern!(py, "get_debug"))?.is_truthy()?;
    let warn = |text: String| -> PyResult<()> {
        if debug {
            base_events.getattr(intern!(py, "logger"))?.call_method1(intern!(py, "warning"), (text,))?;
        }
        Ok(())
    };
    let (family, kind, proto, address) = (info.get_item(0)?, info.get_item(1)?, info.get_item(2)?, info.get_item(4)?);
    let socket = match module.call_method1(intern!(py, "socket"), (&family, &kind, &proto)) {
        Ok(socket) => socket,
        Err(error) if error.is_instance_of::<PyOSError>(py) => {
            // An address family that the system does not know.
            let text = format!(
                "create_server() failed to create socket.socket({}, {}, {})",
                family.repr()?,
                kind.repr()?,
                proto.repr()?
            );
            return warn(text);
        }
        Err(error) => return Err(error),
    };
    sockets.append(&socket)?;
    let set = |level: &str, option: &str| -> PyResult<()> {
        let (level, option) = (module.getattr(level)?, module.getattr(option)?);
        socket.call_method1(intern!(py, "setsockopt"), (level, option, true)).map(drop)
    };
    if options.reuse_address {
        set("SOL_SOCKET", "SO_REUSEADDR")?;
    }
    let number: i64 = family.extract()?;
    let is_six = number == constant(py, "AF_INET6")?;
    if options.reuse_port && (is_six || number == constant(py, "AF_INET")?) {
        if !module.hasattr(intern!(py, "SO_REUSEPORT"))? {
            return Err(PyValueError::new_err("reuse_port not supported by socket module"));
        }
        set("SOL_SOCKET", "SO_REUSEPORT").map_err(|_| {
            PyValueError::new_err(
                "reuse_port not supported by socket module, SO_REUSEPORT defined but not implemented.",
            )
        })?;
    }
    if options.keep_alive {
        set("SOL_SOCKET", "SO_KEEPALIVE")?;
    }
    if is_six && base_events.getattr(intern!(py, "_HAS_IPv6"))?.is_truthy()? {
        // The same port on both families needs a socket for each.
        set("IPPROTO_IPV6", "IPV6_V6ONLY")?;
    }
    let Err(error) = socket.call_method1(intern!(py, "bind"), (&address,)) else { return Ok(()) };
    if !error.is_instance_of::<PyOSError>(py) {
        return Err(error);
    }
    let reason = error.value(py).str()?.to_string().to_lowercase();
    let text = format!("error while attempting to bind on address {}: {reason}", address.repr()?);
    let errno = error.value(py).getattr(intern!(py, "errno"))?;
    let unavailable = py.import(intern!(py, "errno"))?.getattr(intern!(py, "EADDRNOTAVAIL"))?;
    if errno.eq(unavailable)? {
        sockets.call_method0(intern!(py, "pop"))?;
        socket.call_method0(intern!(py, "close"))?;
        return warn(text);
    }
    Err(PyErr::from_value(py.get_type::<PyOSError>().call1((errno, text))?))
}

fn connect_accepted<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Bound<'py, PyAny>> {
    const SIGNATURE: Signature<5> = Signature::method(
        "BaseEventLoop.connect_accepted_socket",
        [arg("protocol_factory"), arg("sock"), arg("ssl"), arg("ssl_handshake_timeout"), arg("ssl_shutdown_timeout")],
    );
    let py = this.py();
    let [Some(factory), Some(socket), ssl, handshake, shutdown] = args.parse(&SIGNATURE)? else {
        return Err(PyTypeError::new_err("an argument is missing"));
    };
    stream_socket_expected(socket)?;
    let tls = ssl.map_or(Ok(false), |s| s.is_truthy())?;
    for (value, name) in [(handshake, "ssl_handshake_timeout"), (shutdown, "ssl_shutdown_timeout")] {
        if value.is_some_and(|v| !v.is_none()) && !tls {
            return Err(PyValueError::new_err(format!("{name} is only meaningful with ssl")));
        }
    }
    if tls {
        return Err(no_tls());
    }
    check_ssl_socket(socket)?;
    let kept = [this.any().clone(), factory.clone(), socket.clone()];
    slots::coroutine(
        py,
        "BaseEventLoop.connect_accepted_socket",
        kept,
        |co, [event_loop, factory, socket]| async move { connect_transport(&co, event_loop, socket, factory, false).await },
    )
}

fn getaddrinfo<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Own> {
    let py = this.py();
    let function = if this.debug.get() {
        this.any().getattr(intern!(py, "_getaddrinfo_debug"))?
    } else {
        socket_module(py)?.getattr(intern!(py, "getaddrinfo"))?
    };
    let mut all = vec![none(py), function];
    all.extend(args.positional().iter().cloned());
    this.any().call_method1(intern!(py, "run_in_executor"), PyTuple::new(py, all)?).map(Own::new)
}

/// Debug mode's getaddrinfo, in the executor: the time is logged.
fn getaddrinfo_debug<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Own> {
    let py = this.py();
    let [host, port, rest @ ..] = args.positional() else {
        return Err(PyTypeError::new_err("host and port are missing"));
    };
    let mut text = format!("{}:{}", host.str()?, port.repr()?);
    for (name, value) in ["family", "type", "proto", "flags"].into_iter().zip(rest) {
        if value.is_truthy()? {
            text.push_str(&format!(", {name}={}", value.repr()?));
        }
    }
    let logger = face(py, "base_events")?.getattr(intern!(py, "logger"))?;
    logger.call_method1(intern!(py, "debug"), ("Get address info %s", &text))?;
    let begun = super::run::time_of(this.base())?;
    let positional = PyTuple::new(py, args.positional().iter().cloned())?;
    let infos = socket_module(py)?.getattr(intern!(py, "getaddrinfo"))?.call1(positional)?;
    let taken = super::run::time_of(this.base())? - begun;
    let text = format!("Getting address info {text} took {:.3}ms: {}", taken * 1e3, infos.repr()?);
    let limit: f64 = this.any().getattr(intern!(py, "slow_callback_duration"))?.extract()?;
    logger.call_method1(if taken >= limit { "info" } else { "debug" }, (text,))?;
    Ok(infos.into())
}

pub(super) fn define(spec: &mut Spec<BaseEventLoop>) {
    spec.method(c"_create_connection", c"_create_connection($self, /, *args)\n--\n\nThe body of create_connection().", |this, args| {
        create_connection(this, args).map(Own::new)
    })
    .method(c"_create_server", c"_create_server($self, /, *args)\n--\n\nThe body of create_server().", |this, args| {
        create_server(this, args).map(Own::new)
    })
    .method(c"_connect_accepted_socket", c"_connect_accepted_socket($self, /, *args)\n--\n\nThe body of connect_accepted_socket().", |this, args| {
        connect_accepted(this, args).map(Own::new)
    })
    .method(c"_resolve", c"_resolve($self, address, /, **kwargs)\n--\n\nAddress infos for an address.", |this, args| {
        ensure_resolved(this, args).map(Own::new)
    })
    .method(c"_getaddrinfo", c"_getaddrinfo($self, host, port, family, type, proto, flags, /)\n--\n\nThe future behind getaddrinfo().", getaddrinfo)
    .method(c"_getaddrinfo_debug", c"_getaddrinfo_debug($self, host, port, family, type, proto, flags, /)\n--\n\ngetaddrinfo() with its time logged.", getaddrinfo_debug)
    .method(c"_getnameinfo", c"_getnameinfo($self, sockaddr, flags, /)\n--\n\nThe future behind getnameinfo().", |this, args| {
        let py = this.py();
        let mut all = vec![none(py), socket_module(py)?.getattr(intern!(py, "getnameinfo"))?];
        all.extend(args.positional().iter().cloned());
        this.any().call_method1(intern!(py, "run_in_executor"), PyTuple::new(py, all)?).map(Own::new)
    });
}

pub(super) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_function(module, c"_ipaddr_info", c"_ipaddr_info(host, port, family, type, proto, flowinfo=0, scopeid=0)\n--\n\nThe address info of a numeric host, or None.", |py, args| {
        const SIGNATURE: Signature<7> = Signature::function(
            "_ipaddr_info",
            [arg("host"), arg("port"), arg("family"), arg("type"), arg("proto"), opt("flowinfo"), opt("scopeid")],
        );
        Ok(ipaddr_info(py, &args.parse(&SIGNATURE)?)?.map(Own::new))
    })?;
    add_function(module, c"_interleave_addrinfos", c"_interleave_addrinfos(addrinfos, first_address_family_count=1)\n--\n\nAddress infos with families taking turns.", |_, args| {
        const SIGNATURE: Signature<2> =
            Signature::function("_interleave_addrinfos", [arg("addrinfos"), opt("first_address_family_count")]);
        let [Some(infos), first] = args.parse(&SIGNATURE)? else { return Err(PyTypeError::new_err("addrinfos is missing")) };
        interleave(infos, first.map_or(Ok(1), |f| f.extract())?).map(Own::new)
    })?;
    add_function(module, c"_set_nodelay", c"_set_nodelay(sock)\n--\n\nSend small packets at once.", |_, args| {
        args.positional().first().map_or(Ok(()), set_nodelay)
    })?;
    add_function(
        module,
        c"_check_ssl_socket",
        c"_check_ssl_socket(sock)\n--\n\nTypeError for an SSLSocket.",
        |_, args| args.positional().first().map_or(Ok(()), check_ssl_socket),
    )
}
