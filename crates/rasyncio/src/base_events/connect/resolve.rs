//! Address infos: what a host and a port mean (asyncio's `_ensure_resolved`, `_ipaddr_info`, `getaddrinfo`).
//!
//! Called by `client` and `listen` for each host, and by the shells `getaddrinfo` and `getnameinfo`; calls `socket.getaddrinfo`
//! in the executor, by the face's name, so that patches to it hold.
//!
//! A numeric host is answered at once, without the executor: the answer is what getaddrinfo() would say of it, or nothing
//! where that is not known for sure, and then it is asked. In debug mode the time of each look-up is logged.
//!
//! Differs from CPython in nothing that shows: the order of the infos is the resolver's, families take turns only where
//! `interleave` was asked for.

use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PySlice, PyString};
use slots::intern;
use slots::{Args, Co, Kept, Own, Ref, Signature, arg, opt};

use super::{BaseEventLoop, constant, none, socket_module};
use crate::base_events::run;
use crate::face;
use crate::log::logger;

/// The address info of a numeric host, or None where a look-up is needed.
pub(super) fn ipaddr_info<'py>(
    py: Python<'py>,
    given: &[Option<&Bound<'py, PyAny>>; 7],
) -> PyResult<Option<Bound<'py, PyAny>>> {
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
    if host.contains(slots::Text("%"))? {
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
                    slots::tuple(py, [host, port, flow.clone(), scope.clone()])?
                } else {
                    slots::tuple(py, [host, port])?
                };
                let name = intern!(py, "").object()?.clone().into_any();
                return Ok(Some(
                    slots::tuple(py, [family, (*kind).clone(), slots::int(py, proto)?, name, address.into_any()])?
                        .into_any(),
                ));
            }
            Err(error) if error.is_instance_of::<PyOSError>(py) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Addresses reordered so that families take turns, after `first` of the first family.
pub(super) fn interleave<'py>(infos: &Bound<'py, PyAny>, first: usize) -> PyResult<Bound<'py, PyAny>> {
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
    let ordered = slots::list(py)?;
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

/// `_ensure_resolved`: an address as a list of address infos.
pub(super) fn ensure_resolved<'py>(
    this: &Ref<'py, BaseEventLoop>,
    args: &Args<'_, 'py>,
) -> PyResult<Bound<'py, PyAny>> {
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
    let part = |from: isize, to: isize| -> PyResult<Vec<Bound<'py, PyAny>>> {
        slots::items(&address.get_item(PySlice::new(py, from, to, 1))?)
    };
    let pair = part(0, 2)?;
    let [host, port] = &pair[..] else {
        return Err(PyValueError::new_err(format!("not enough values to unpack (expected 2, got {})", pair.len())));
    };
    // The flow and scope of an IPv6 address.
    let more = part(2, isize::MAX)?;
    if more.len() > 2 {
        let text = "_ipaddr_info() takes from 5 to 7 positional arguments but";
        return Err(PyTypeError::new_err(format!("{text} {} were given", more.len() + 5)));
    }
    let given = [Some(host), Some(port), Some(family), Some(kind), Some(proto), more.first(), more.get(1)];
    if let Some(info) = ipaddr_info(py, &given)? {
        let list = slots::list_of(py, [info])?.into_any();
        return slots::coroutine(py, "BaseEventLoop._ensure_resolved", [list], |co, [list]| async move {
            Ok(co.get(list).into())
        });
    }
    let keywords = slots::dict(py)?;
    for (name, value) in [("family", family), ("type", kind), ("proto", proto), ("flags", flags)] {
        keywords.set_item(name, value)?;
    }
    let looking = event_loop.getattr(intern!(py, "getaddrinfo"))?.call((host, port), Some(&keywords))?;
    slots::coroutine(
        py,
        "BaseEventLoop._ensure_resolved",
        [looking],
        |co, [looking]| async move { co.wait(looking).await },
    )
}

/// Calls `_ensure_resolved` by name, as overriding loops expect.
pub(super) fn resolve<'py>(
    event_loop: &Bound<'py, PyAny>,
    address: Bound<'py, PyAny>,
    options: [&Bound<'py, PyAny>; 3],
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    let keywords = slots::dict(py)?;
    for (name, value) in ["family", "proto", "flags"].into_iter().zip(options) {
        keywords.set_item(name, value)?;
    }
    keywords.set_item(intern!(py, "type"), socket_module(py)?.getattr(intern!(py, "SOCK_STREAM"))?)?;
    keywords.set_item(intern!(py, "loop"), event_loop)?;
    event_loop.getattr(intern!(py, "_ensure_resolved"))?.call((address,), Some(&keywords))
}

pub(super) async fn look_up(co: &Co, event_loop: Kept, address: Kept, options: Kept) -> PyResult<Kept> {
    let looking = {
        let options = co.get(options);
        let (family, proto, flags) = (options.get_item(0)?, options.get_item(1)?, options.get_item(2)?);
        co.keep(resolve(&co.get(event_loop), co.get(address), [&family, &proto, &flags])?)
    };
    let infos = co.wait(looking).await?;
    if infos.bind(co.py()).len()? == 0 {
        return Err(PyOSError::new_err("getaddrinfo() returned empty list"));
    }
    Ok(co.keep(infos.into_bound(co.py())))
}

pub(super) fn getaddrinfo<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Own> {
    let py = this.py();
    let function = if this.debug.get() {
        this.any().getattr(intern!(py, "_getaddrinfo_debug"))?
    } else {
        socket_module(py)?.getattr(intern!(py, "getaddrinfo"))?
    };
    let mut all = vec![none(py), function];
    all.extend(args.positional().iter().cloned());
    this.any().call_method1(intern!(py, "run_in_executor"), slots::tuple(py, all)?).map(Own::new)
}

/// Debug mode's getaddrinfo, in the executor: the time is logged.
pub(super) fn getaddrinfo_debug<'py>(this: &Ref<'py, BaseEventLoop>, args: &Args<'_, 'py>) -> PyResult<Own> {
    let py = this.py();
    const SIGNATURE: Signature<6> = Signature::method(
        "BaseEventLoop._getaddrinfo_debug",
        [arg("host"), arg("port"), arg("family"), arg("type"), arg("proto"), arg("flags")],
    );
    let all: Vec<_> = args.parse(&SIGNATURE)?.into_iter().flatten().collect();
    let [host, port, rest @ ..] = all.as_slice() else {
        return Err(PyTypeError::new_err("host and port are missing"));
    };
    let mut text = format!("{}:{}", host.str()?, port.repr()?);
    for (name, value) in ["family", "type", "proto", "flags"].into_iter().zip(rest) {
        if value.is_truthy()? {
            text.push_str(&format!(", {name}={}", value.repr()?));
        }
    }
    let logger = logger(py, "base_events")?;
    logger.log("debug", ("Get address info %s", &text))?;
    let begun = run::time_of(this.base())?;
    let positional = slots::tuple(py, &all)?;
    let infos = socket_module(py)?.getattr(intern!(py, "getaddrinfo"))?.call1(positional)?;
    let taken = run::time_of(this.base())? - begun;
    let text = format!("Getting address info {text} took {:.3}ms: {}", taken * 1e3, infos.repr()?);
    let limit: f64 = this.any().getattr(intern!(py, "slow_callback_duration"))?.extract()?;
    logger.log(if taken >= limit { "info" } else { "debug" }, (text,))?;
    Ok(infos.into())
}
